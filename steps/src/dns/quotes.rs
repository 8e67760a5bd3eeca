//! Texts in quotes, as zone files have them: parts of at most 255 bytes, odd bytes as `\DDD`.

/// A text that reads the same without quotes.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.starts_with('"') && !text.chars().any(char::is_control)
}

/// A text as records hold it: in parts of at most 255 bytes, at least one.
pub(super) fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.is_empty() { vec![&[]] } else { bytes.chunks(255).collect() }
}

pub(super) fn quoted(bytes: &[u8]) -> String {
    parts(bytes).into_iter().map(one_quoted).collect::<Vec<_>>().join(" ")
}

pub(super) fn one_quoted(bytes: &[u8]) -> String {
    let mut text = String::from('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text.push('"');
    text
}

/// Texts in quotes, joined.
pub(super) fn unquoted(text: &str) -> Result<Vec<u8>, String> {
    let mut found = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Ok(found),
            [b'"', inner @ ..] => rest = one_unquoted(inner, &mut found)?,
            _ => return Err("has text behind its quotes: leave the quotes out, or put all in quotes".into()),
        }
    }
}

/// Up to the closing quote; gives what stands behind it.
fn one_unquoted<'a>(mut rest: &'a [u8], found: &mut Vec<u8>) -> Result<&'a [u8], String> {
    loop {
        match rest {
            [b'"', behind @ ..] => return Ok(behind),
            [b'\\', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', behind @ ..] => {
                let number = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
                found.push(u8::try_from(number).map_err(|_| format!("has `\\{number}`, which is no byte"))?);
                rest = behind;
            }
            [b'\\', byte, behind @ ..] | [byte, behind @ ..] => {
                found.push(*byte);
                rest = behind;
            }
            [] => return Err("has a quote that does not end".into()),
        }
    }
}
