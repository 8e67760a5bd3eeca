//! The end of a log file, as shown under a failure: bounded however long the log is.

use super::clean::clean;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// No more of a file is read.
const BYTES: u64 = 64 * 1024;

/// The last `count` lines of a file, cleaned; empty lines at its end left out.
pub fn tail(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // What comes before the first line break may be half a line.
    let text = if from > 0 { text.split_once('\n').map_or(&*text, |(_, rest)| rest) } else { &text };
    let lines: Vec<&str> = text.trim_end().lines().collect();
    Ok(lines[lines.len().saturating_sub(count)..].iter().map(|line| clean(line)).collect())
}

#[cfg(test)]
mod tests {
    use super::tail;
    use std::fmt::Write as _;

    #[test]
    fn only_the_end_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut text = String::new();
        for n in 0..20_000 {
            writeln!(text, "line {n}").unwrap();
        }
        std::fs::write(&path, text + "\u{1b}[31mlast\u{1b}[0m\n\n").unwrap();
        assert_eq!(tail(&path, 3).unwrap(), ["line 19998", "line 19999", "last"]);
        std::fs::write(&path, "only").unwrap();
        assert_eq!(tail(&path, 20).unwrap(), ["only"]);
        std::fs::write(&path, "").unwrap();
        assert!(tail(&path, 20).unwrap().is_empty());
        assert!(tail(&folder.path().join("none"), 20).is_err());
    }
}
