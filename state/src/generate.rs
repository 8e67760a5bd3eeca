//! Random text from the system: ids of runs, new secrets.

use trees_core::store::Generate;
use zeroize::Zeroizing;

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A new run's id: 60 random bits.
pub(crate) fn id() -> Result<String, String> {
    let mut bytes = [0_u8; 12];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| char::from(CROCKFORD[usize::from(byte & 31)])).collect())
}

/// A new secret.
pub(crate) fn secret(how: &Generate) -> Result<Zeroizing<String>, String> {
    if !(1..=4096).contains(&how.length) {
        return Err(format!("a generated secret has 1 to 4096 characters, not {}", how.length));
    }
    let letters: Vec<u8> = match how.charset.as_str() {
        "alphanumeric" => (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').collect(),
        "hex" => (b'0'..=b'9').chain(b'a'..=b'f').collect(),
        "base64url" => (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').chain(*b"-_").collect(),
        "ascii" => (b'!'..=b'~').collect(),
        other => return Err(format!("no charset `{other}`; there are alphanumeric, hex, base64url, ascii")),
    };
    let mut text = Zeroizing::new(String::with_capacity(how.length as usize));
    let fair = 256 - 256 % letters.len();
    let mut pool = Zeroizing::new([0_u8; 64]);
    while text.len() < how.length as usize {
        getrandom::fill(&mut pool[..]).map_err(|error| format!("the system gives no random numbers: {error}"))?;
        let room = how.length as usize - text.len();
        // A byte beyond the last whole round would favour the first letters.
        let fresh = pool.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair).take(room);
        text.extend(fresh.map(|byte| char::from(letters[byte % letters.len()])));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(charset: &str, length: u32, allowed: impl Fn(char) -> bool) {
        let text = secret(&Generate { length, charset: charset.into() }).unwrap();
        assert_eq!(text.len(), length as usize);
        assert!(text.chars().all(allowed), "{}", *text);
    }

    #[test]
    fn secrets_have_their_length_and_letters() {
        check("alphanumeric", 4096, |c| c.is_ascii_alphanumeric());
        check("hex", 33, |c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        check("base64url", 64, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        check("ascii", 1, |c| c.is_ascii_graphic());
        let all = secret(&Generate { length: 4096, charset: "ascii".into() }).unwrap();
        assert!((b'!'..=b'~').all(|byte| all.contains(char::from(byte))), "every letter turns up");
    }

    #[test]
    fn what_cannot_be_generated_is_said() {
        let no = |length, charset: &str| secret(&Generate { length, charset: charset.into() }).unwrap_err();
        assert_eq!(no(0, "hex"), "a generated secret has 1 to 4096 characters, not 0");
        assert_eq!(no(5, "emoji"), "no charset `emoji`; there are alphanumeric, hex, base64url, ascii");
    }

    #[test]
    fn ids_are_crockford_letters_and_differ() {
        let (a, b) = (id().unwrap(), id().unwrap());
        assert!(crate::folder::is_run_id(&a) && crate::folder::is_run_id(&b), "{a} {b}");
        assert_ne!(a, b);
    }
}
