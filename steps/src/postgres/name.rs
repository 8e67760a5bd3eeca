//! Names and texts as they stand in a statement.

use trees_runner::kind::KindError;

/// What PostgreSQL keeps of a name; it cuts longer ones without a word.
const LONGEST: usize = 63;

/// What is wrong with a name of a database, role or table.
pub fn wrong(field: &str, name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(format!("{field}: it is empty"));
    }
    if name.contains('\0') {
        return Some(format!("{field}: it holds a NUL byte"));
    }
    (name.len() > LONGEST).then(|| format!("{field}: `{name}` has {} bytes; PostgreSQL keeps {LONGEST}", name.len()))
}

/// A name in double quotes: whatever it holds, it is one name.
pub fn ident(name: &str) -> Result<String, KindError> {
    match wrong("name", name) {
        Some(wrong) => Err(KindError::new(wrong)),
        None => Ok(format!("\"{}\"", name.replace('"', "\"\""))),
    }
}

/// A text in single quotes: whatever it holds, it is one text.
pub fn literal(text: &str) -> Result<String, KindError> {
    if text.contains('\0') {
        return Err(KindError::new("a text for PostgreSQL cannot hold a NUL byte"));
    }
    let quoted = text.replace('\'', "''");
    Ok(if text.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") })
}

#[cfg(test)]
mod tests {
    use super::{ident, literal, wrong};

    #[test]
    fn a_name_or_text_stays_one_whatever_it_holds() {
        assert_eq!(ident("a\"; DROP").unwrap(), "\"a\"\"; DROP\"");
        assert_eq!(literal("it's").unwrap(), "'it''s'");
        assert_eq!(literal("a\\'b").unwrap(), " E'a\\\\''b'");
        for name in ["", "a\0", &"ä".repeat(32)] {
            assert!(ident(name).is_err() && wrong("name", name).is_some(), "{name}");
        }
        assert!(literal("\0").is_err());
    }
}
