//! When which byte of a log came: `output.idx` beside it, a line for each group of output at least
//! 100 ms after the one before, and only if there is more than one group.
//!
//! A line is `OFFSET MICROSECONDS` (since 1970) or, once, `cut OFFSET BYTES MARK`: at this place of
//! the file so many bytes are missing and a mark of so many stands instead. Offsets are of all that
//! was printed; [`read`] turns them into places in the file.

use crate::clock::Clock;
use jiff::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name in the attempt folder.
pub const FILE: &str = "output.idx";
const EVERY: Duration = Duration::from_millis(100);

/// Writes the index of one log.
#[derive(Debug)]
pub(super) struct Times {
    path: PathBuf,
    file: Option<File>,
    first: Option<(u64, Timestamp)>,
    last: Option<Duration>,
    clock: Clock,
}

impl Times {
    pub fn new(folder: &Path, clock: Clock) -> Self {
        Self { path: folder.join(FILE), file: None, first: None, last: None, clock }
    }

    /// Bytes from this offset on come now.
    pub fn mark(&mut self, offset: u64) -> io::Result<()> {
        let now = self.clock.passed();
        if self.last.is_some_and(|last| now.saturating_sub(last) < EVERY) {
            return Ok(());
        }
        self.last = Some(now);
        self.add(offset, self.clock.at(now))
    }

    fn add(&mut self, offset: u64, ts: Timestamp) -> io::Result<()> {
        let Some(first) = self.first else {
            self.first = Some((offset, ts));
            return Ok(());
        };
        let line = line((offset, ts));
        self.append(first, &line)
    }

    /// The file lacks `bytes` at `offset`, where a mark stands instead.
    pub fn cut(&mut self, offset: u64, bytes: u64, mark: u64) -> io::Result<()> {
        let first = self.first.unwrap_or_else(|| (0, self.clock.now()));
        self.append(first, &format!("cut {offset} {bytes} {mark}\n"))
    }

    fn append(&mut self, first: (u64, Timestamp), text: &str) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.write_all(text.as_bytes());
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        file.write_all((line(first) + text).as_bytes())?;
        self.file = Some(file);
        Ok(())
    }
}

fn line((offset, ts): (u64, Timestamp)) -> String {
    format!("{offset} {}\n", ts.as_microsecond())
}

/// Places in the log file with the time of what follows, in order; empty where all of it came at
/// once. What is cut short or no number is left out.
///
/// # Errors
/// When the index is there and cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<(u64, Timestamp)>> {
    match std::fs::read_to_string(folder.join(FILE)) {
        Ok(text) => Ok(parse(&text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn parse(text: &str) -> Vec<(u64, Timestamp)> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut entries: Vec<(u64, Timestamp)> = Vec::new();
    let mut cut = None;
    for line in whole.lines() {
        if let Some(rest) = line.strip_prefix("cut ") {
            let numbers: Vec<u64> = rest.split(' ').filter_map(|n| n.parse().ok()).collect();
            if let [offset, bytes, mark] = numbers[..] {
                cut = Some((offset, bytes, mark));
            }
        } else if let Some((offset, micros)) = line.split_once(' ')
            && let (Ok(offset), Ok(micros)) = (offset.parse(), micros.parse())
            && let Ok(ts) = Timestamp::from_microsecond(micros)
        {
            entries.push((offset, ts));
        }
    }
    let Some((from, bytes, mark)) = cut else { return entries };
    let mut placed: Vec<(u64, Timestamp)> = Vec::new();
    for (offset, ts) in entries {
        match offset {
            o if o < from => placed.push((o, ts)),
            // What came while the cut bytes came: its time holds for what follows the mark.
            o => {
                let place = o.max(from + bytes) - bytes + mark;
                placed.pop_if(|(p, _)| *p == place);
                placed.push((place, ts));
            }
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(u64, i64)]) {
        let found: Vec<(u64, i64)> = parse(text).into_iter().map(|(o, ts)| (o, ts.as_microsecond())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn an_index_reads_as_places_of_the_file() {
        check("", &[]);
        check("0 5\n10 7\n", &[(0, 5), (10, 7)]);
        check("0 5\n10 7\n12 8", &[(0, 5), (10, 7)]);
        check("0 5\nx y\n10 7\n", &[(0, 5), (10, 7)]);
        check("0 1\n50 2\n150 3\n160 4\n250 5\ncut 100 100 30\n", &[(0, 1), (50, 2), (130, 4), (180, 5)]);
    }

    #[test]
    fn one_group_of_output_needs_no_index() {
        let folder = tempfile::tempdir().unwrap();
        let mut times = Times::new(folder.path(), Clock::default());
        times.mark(0).unwrap();
        times.mark(4).unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
        times.add(9, Timestamp::from_microsecond(77).unwrap()).unwrap();
        let entries = read(folder.path()).unwrap();
        assert_eq!((entries.len(), entries[0].0, entries[1]), (2, 0, (9, Timestamp::from_microsecond(77).unwrap())));
    }

    #[test]
    fn output_has_the_times_of_the_sitting_also_where_the_wall_is_behind() {
        let folder = tempfile::tempdir().unwrap();
        let future = Timestamp::now().checked_add(jiff::SignedDuration::from_hours(5)).unwrap();
        let mut times = Times::new(folder.path(), Clock::after(Some(future)));
        times.mark(0).unwrap();
        assert!(times.first.unwrap().1 >= future);
    }
}
