//! Passwords: what is sent in their place, and whether one is the right one, without showing either.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::password;
use sha2::Sha256;

/// What the server keeps of a password: it is computed here, so that the password never stands in a
/// statement, which a server may log.
pub fn verifier(password: &str) -> String {
    password::scram_sha_256(password.as_bytes())
}

/// Whether a verifier was made of this password; `None`: it is of a kind that cannot be told.
pub fn fits(verifier: &str, role: &str, password: &str) -> Option<bool> {
    if verifier.starts_with("md5") {
        return Some(verifier == password::md5(password.as_bytes(), role));
    }
    let (rounds, salt, server_key) = parts(verifier)?;
    proves(password, rounds, salt, &server_key)
}

/// `SCRAM-SHA-256$<rounds>:<salt>$<stored key>:<server key>`.
fn parts(verifier: &str) -> Option<(&str, &str, Vec<u8>)> {
    let (first, second) = verifier.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let ((rounds, salt), (_, key)) = (first.split_once(':')?, second.split_once(':')?);
    Some((rounds, salt, STANDARD.decode(key).ok()?))
}

/// Plays the server of a login with what it keeps: the client believes it only where its own password
/// leads to the same key.
fn proves(password: &str, rounds: &str, salt: &str, server_key: &[u8]) -> Option<bool> {
    let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    let hello = String::from_utf8(client.message().to_vec()).ok()?;
    let bare = hello.split_once(",,")?.1;
    let nonce = bare.split_once("r=")?.1;
    let offer = format!("r={nonce}trees,s={salt},i={rounds}");
    client.update(offer.as_bytes()).ok()?;
    let answer = String::from_utf8(client.message().to_vec()).ok()?;
    let unproved = answer.split_once(",p=")?.0;
    let mut mac = Hmac::<Sha256>::new_from_slice(server_key).ok()?;
    mac.update(format!("{bare},{offer},{unproved}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    Some(client.finish(format!("v={signature}").as_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::{fits, parts, verifier};
    use postgres_protocol::password::md5;

    #[test]
    fn a_verifier_fits_its_password_only() {
        for password in ["p", "pass word", "Grüße", "a\u{a0}b", ",=n"] {
            let kept = verifier(password);
            assert!(kept.starts_with("SCRAM-SHA-256$4096:") && parts(&kept).is_some());
            assert_eq!(fits(&kept, "ann", password), Some(true), "{password}");
            assert_eq!(fits(&kept, "ann", "other"), Some(false), "{password}");
            assert_ne!(kept, verifier(password), "the salt is another each time");
        }
        assert_eq!(fits(&md5(b"p", "ann"), "ann", "p"), Some(true));
        assert_eq!(fits(&md5(b"p", "ann"), "bob", "p"), Some(false));
        assert_eq!(fits("SCRAM-SHA-256$x", "ann", "p"), None);
        assert_eq!(fits("", "ann", "p"), None);
    }
}
