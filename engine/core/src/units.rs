//! Durations, sizes and lists as people write them.

use std::time::Duration;

/// The first `most` of some names, and how many more there are: `a, b and 3 more`.
pub fn few(names: impl IntoIterator<Item = impl std::fmt::Display>, most: usize) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(most).map(|n| n.to_string()).collect();
    let more = names.count();
    let text = first.join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

/// Reads `500ms`, `30s`, `10m`, `24h`, `7d`: a whole number and one unit.
///
/// # Errors
/// One lower-case sentence with the form that is wanted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration: write a whole number and a unit, like 500ms, 30s, 10m, 24h or 7d");
    let (number, unit) = split(text).ok_or_else(bad)?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(bad)
}

/// Reads `512B`, `64KiB`, `16MiB`, `1GiB`: bytes.
///
/// # Errors
/// One lower-case sentence with the form that is wanted.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no size: write a whole number and a unit, like 512B, 64KiB, 16MiB or 1GiB");
    let (number, unit) = split(text).ok_or_else(bad)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).ok_or_else(bad)
}

/// Writes a duration the way [`duration`] reads it, in the largest unit that keeps it whole.
pub fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}
