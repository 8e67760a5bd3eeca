//! Durations and sizes: read as a plain reading has it, and what is shown is read again.

use std::time::Duration;
use trees_core::units;

const TIMES: [(&str, u128); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u128); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Any text, and the first eight bytes as milliseconds.
pub fn run(data: &[u8]) {
    if let Some(bytes) = data.first_chunk() {
        shown(Duration::from_millis(u64::from_le_bytes(*bytes)));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let duration = units::duration(text);
    assert_eq!(duration.as_ref().ok(), plainly(text, &TIMES).map(Duration::from_millis).as_ref(), "{text:?}");
    duration.map_or_else(said, shown);
    let size = units::size(text);
    assert_eq!(size.as_ref().ok(), plainly(text, &SIZES).as_ref(), "{text:?}");
    size.map_or_else(said, |_| ());
}

fn shown(duration: Duration) {
    let text = units::show(duration);
    assert_eq!(units::duration(&text), Ok(duration), "{text}");
}

fn said(message: String) {
    assert!(message.contains("write a whole number and a unit"), "{message}");
}

/// Digits and one unit, digit by digit.
fn plainly(text: &str, units: &[(&str, u128)]) -> Option<u64> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (_, factor) = units.iter().find(|(unit, _)| *unit == &text[digits..])?;
    let mut number: u128 = 0;
    for digit in text[..digits].bytes() {
        number = (number * 10 + u128::from(digit - b'0')).min(u128::from(u64::MAX) + 1);
    }
    u64::try_from(number * factor).ok().filter(|_| digits > 0)
}
