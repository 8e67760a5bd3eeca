//! SHA-256 of canonical JSON and of contents: the one way two things are called the same.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of bytes as 64 lower-case hexadecimal digits.
pub fn bytes(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// The SHA-256 of a value's canonical JSON: object keys sorted bytewise, no white space
/// (`serde_json` without `preserve_order` keeps maps sorted).
///
/// # Errors
/// When the value cannot be written as JSON (a map whose keys are no strings).
pub fn json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let value = serde_json::to_value(value)?;
    Ok(bytes(value.to_string().as_bytes()))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}
