//! What a step prints: every byte into one log file an attempt, in the order of arrival, never held
//! in memory.
//!
//! Standard output and standard error share one pipe, so their order is exact. The file is made
//! with the first byte. Beyond its limit the head and the newest bytes are kept (these in a ring in
//! a side file until the end) with a line between that says how much was cut. [`times`] says when.

pub mod times;

use crate::clock::Clock;
use crate::mask::{Masker, Stream};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use times::Times;
use tokio::net::unix::pipe::Receiver;
use trees_points::{Point, hit};

/// The log's name in the attempt folder.
pub const FILE: &str = "output.log";
/// What a log may have unless the step says otherwise.
pub const LIMIT: u64 = 64 << 20;
const RING: &str = "output.tail";
const CHUNK: usize = 64 << 10;
const LINE: usize = 512;
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// Gets the newest line of a running step: masked, lossy UTF-8, at most 512 bytes.
pub type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// What became of the output.
#[derive(Debug, Default)]
pub struct Kept {
    /// Bytes printed (after masking).
    pub bytes: u64,
    /// How many of them are not in the file.
    pub cut: u64,
    /// Writing the log failed; the step's output was drained all the same.
    pub error: Option<io::Error>,
}

/// The log of one attempt while it is written.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    limit: u64,
    head: Option<File>,
    ring: Option<File>,
    bytes: u64,
    times: Times,
    error: Option<io::Error>,
}

impl Log {
    /// In the attempt folder; nothing is made before the first byte. A log that is there already is
    /// replaced with the first byte.
    pub fn new(folder: &Path, limit: u64, clock: Clock) -> Self {
        let times = Times::new(folder, clock);
        Self { folder: folder.into(), limit: limit.max(2), head: None, ring: None, bytes: 0, times, error: None }
    }

    /// Adds bytes. After a failure nothing more is written; [`Log::finish`] tells.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none() && !bytes.is_empty() {
            self.error = self.times.mark(self.bytes).and_then(|()| self.put(bytes)).err();
        }
        self.bytes += bytes.len() as u64;
    }

    /// Room of the head, and of the ring.
    fn halves(&self) -> (u64, u64) {
        (self.limit - self.limit / 2, self.limit / 2)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (head, ring) = self.halves();
        let left = usize::try_from(head.saturating_sub(self.bytes)).unwrap_or(usize::MAX).min(bytes.len());
        let (first, mut rest) = bytes.split_at(left);
        if !first.is_empty() {
            open(&mut self.head, &self.folder.join(FILE))?.write_all(first)?;
        }
        let mut at = (self.bytes + left as u64).saturating_sub(head);
        if rest.len() as u64 > ring {
            let skip = rest.len() - usize::try_from(ring).unwrap_or(0);
            at += skip as u64;
            rest = &rest[skip..];
        }
        while !rest.is_empty() {
            let place = at % ring;
            let room = usize::try_from(ring - place).unwrap_or(usize::MAX).min(rest.len());
            open(&mut self.ring, &self.folder.join(RING))?.write_all_at(&rest[..room], place)?;
            at += room as u64;
            rest = &rest[room..];
        }
        Ok(())
    }

    /// Joins head and tail.
    pub fn finish(mut self) -> Kept {
        let cut = self.bytes.saturating_sub(self.limit);
        if self.error.is_none() {
            self.error = self.join(cut).err();
        }
        Kept { bytes: self.bytes, cut, error: self.error }
    }

    fn join(&mut self, cut: u64) -> io::Result<()> {
        let (head, size) = self.halves();
        let (Some(ring), Some(log)) = (self.ring.take(), self.head.as_mut()) else { return Ok(()) };
        let mut start = 0;
        if cut > 0 {
            let mut before = [0];
            File::open(self.folder.join(FILE))?.read_exact_at(&mut before, head - 1)?;
            let gap = if before == *b"\n" { "" } else { "\n" };
            let mark = format!("{gap}… trees cut {cut} bytes here: the log has a limit of {} …\n", self.limit);
            log.write_all(mark.as_bytes())?;
            self.times.cut(head, cut, mark.len() as u64)?;
            start = (self.bytes - head) % size;
        }
        copy(&ring, start, size.min(self.bytes - head) - start, log)?;
        copy(&ring, 0, start, log)?;
        std::fs::remove_file(self.folder.join(RING))
    }
}

fn open<'a>(file: &'a mut Option<File>, path: &Path) -> io::Result<&'a mut File> {
    let opened = match file.take() {
        Some(open) => open,
        None => create(path).or_else(|e| match (e.kind(), path.parent()) {
            // The attempt folder is made with the first byte.
            (io::ErrorKind::NotFound, Some(folder)) => std::fs::create_dir_all(folder).and_then(|()| create(path)),
            _ => Err(e),
        })?,
    };
    Ok(file.insert(opened))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn copy(from: &File, start: u64, length: u64, to: &mut File) -> io::Result<()> {
    let mut from = from;
    from.seek(SeekFrom::Start(start))?;
    io::copy(&mut from.take(length), to).map(drop)
}

/// The newest line, as it stands at the end of what came.
#[derive(Default)]
struct Newest {
    line: Vec<u8>,
    /// The line has not ended yet.
    partial: bool,
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Newest {
    fn take(&mut self, bytes: &[u8]) {
        let is_end = |b: &u8| matches!(b, b'\n' | b'\r');
        let Some(last) = bytes.iter().rposition(|b| !is_end(b)) else {
            self.partial = false;
            return;
        };
        let from = bytes[..last].iter().rposition(is_end).map_or(0, |i| i + 1);
        if from > 0 || !self.partial {
            self.line.clear();
        }
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend(bytes[from..=last].iter().take(room));
        self.partial = last + 1 == bytes.len();
        if self.due.is_none() {
            self.due = Some(self.last.map_or_else(Instant::now, |last| last + PUBLISH_EVERY));
        }
    }

    fn publish(&mut self, on_line: &OnLine, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.last = Some(now);
            on_line(&String::from_utf8_lossy(&self.line));
        }
    }
}

/// Reads the pipe of one process into its log.
pub(crate) struct Pump {
    pipe: Option<Receiver>,
    log: Log,
    mask: Option<Stream>,
    masked: Vec<u8>,
    newest: Newest,
    on_line: Option<OnLine>,
}

/// What reading the pipe gave.
enum Piece {
    Some,
    Nothing,
    End,
}

thread_local! {
    /// One buffer a thread serves all steps, as nothing waits while it is in use.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

impl Pump {
    pub fn new(pipe: Receiver, log: Log, mask: &Masker, on_line: Option<OnLine>) -> Self {
        let mask = (!mask.is_empty()).then(|| mask.stream());
        Self { pipe: Some(pipe), log, mask, masked: Vec::new(), newest: Newest::default(), on_line }
    }

    /// Whether more may come.
    pub fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Waits for output or for the moment to show a line, and deals with it. May be dropped while
    /// it waits.
    pub async fn step(&mut self) {
        let due = self.newest.due.filter(|_| self.on_line.is_some());
        let Some(pipe) = &self.pipe else { return };
        let ready = tokio::select! {
            ready = pipe.readable() => Some(ready),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => None,
        };
        match ready {
            Some(Ok(())) if self.read_some() => tokio::task::yield_now().await,
            Some(Ok(())) | None => {}
            Some(Err(e)) => self.broken(e),
        }
        self.show(Instant::now());
    }

    /// Reads until the pipe is empty or closed.
    pub fn drain(&mut self) {
        while self.read_some() {}
    }

    /// Reads a few buffers; whether there may be more at once.
    fn read_some(&mut self) -> bool {
        for _ in 0..4 {
            match BUFFER.with_borrow_mut(|buffer| self.read(buffer)) {
                Ok(Piece::Some) => {}
                Ok(Piece::Nothing) => return false,
                Ok(Piece::End) => {
                    self.pipe = None;
                    return false;
                }
                Err(e) => {
                    self.broken(e);
                    return false;
                }
            }
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Piece> {
        let Some(pipe) = &self.pipe else { return Ok(Piece::End) };
        let count = match pipe.try_read(buffer) {
            Ok(0) => return Ok(Piece::End),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Piece::Nothing),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(Piece::Some),
            Err(e) => return Err(e),
        };
        hit(Point::OutputRead);
        let bytes = &buffer[..count];
        match &mut self.mask {
            None => keep(&mut self.log, &mut self.newest, bytes),
            Some(mask) => {
                self.masked.clear();
                mask.push(bytes, &mut self.masked);
                keep(&mut self.log, &mut self.newest, &self.masked);
            }
        }
        hit(Point::OutputKept);
        Ok(Piece::Some)
    }

    fn broken(&mut self, e: io::Error) {
        self.pipe = None;
        self.log.error.get_or_insert(e);
    }

    fn show(&mut self, now: Instant) {
        if let Some(on_line) = &self.on_line {
            self.newest.publish(on_line, now);
        }
    }

    /// Stops reading: what is still to come is lost to whoever writes it.
    pub fn finish(mut self) -> Kept {
        self.pipe = None;
        if let Some(mask) = &mut self.mask {
            self.masked.clear();
            mask.finish(&mut self.masked);
            keep(&mut self.log, &mut self.newest, &self.masked);
        }
        if let (Some(on_line), Some(due)) = (&self.on_line, self.newest.due) {
            self.newest.publish(on_line, due);
        }
        self.log.finish()
    }
}

fn keep(log: &mut Log, newest: &mut Newest, bytes: &[u8]) {
    log.write(bytes);
    newest.take(bytes);
}

/// The last lines of a file (at most 1 KiB of each, at most 1 MiB read), lossy UTF-8, control
/// characters left in.
///
/// # Errors
/// When the file cannot be read; a missing one has no lines.
pub fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    const MOST: u64 = 1 << 20;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let size = file.metadata()?.len();
    let mut want = 16u64 << 10;
    loop {
        let from = size.saturating_sub(want);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        (&file).take(want).read_to_end(&mut bytes)?;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let found = text.iter().filter(|b| **b == b'\n').count() + 1;
        if from == 0 || found > lines || want >= MOST {
            return Ok(last_lines(text, lines));
        }
        want *= 4;
    }
}

fn last_lines(text: &[u8], lines: usize) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let show = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8_lossy(&line[..line.len().min(1 << 10)]).into_owned()
    };
    let mut last: Vec<String> = text.rsplit(|b| *b == b'\n').take(lines).map(show).collect();
    last.reverse();
    last
}

#[cfg(test)]
mod tests;
