//! Events to a screen: bars on a terminal, plain lines elsewhere, JSON for programs; and the two
//! streams every command prints to.
//!
//! Standard output is data, standard error everything else; a broken pipe is no error. Colour and
//! width are decided in [`style`], sentences in [`said`]. Read [`screen::Screen`] first.

mod ask;
mod cascade;
pub mod clean;
pub mod clock;
pub mod closing;
mod echo;
mod json;
pub mod junit;
mod plain;
pub mod plan;
pub mod said;
pub mod screen;
pub mod shape;
pub mod style;
pub mod tail;
mod terminal;
pub mod tone;
pub mod view;
mod writer;

pub use clean::clean;
pub use style::{ColorChoice, Line, Paint, color};

use crate::failure::{Exit, Failure};
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::{self, IsTerminal, Write as _};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The bars on the terminal, while there are some: what is printed meanwhile goes above them.
static BARS: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A terminal that takes nothing any more is not written to.
static MUTE: AtomicBool = AtomicBool::new(false);

fn mute() {
    MUTE.store(true, Ordering::Release);
}

/// Whether a stream is a terminal that takes nothing any more.
fn is_mute(stream: &impl IsTerminal) -> bool {
    MUTE.load(Ordering::Acquire) && stream.is_terminal()
}

fn bars() -> Option<ProgressBar> {
    BARS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set_bars(bars: Option<ProgressBar>) {
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = bars;
}

/// Prints data to standard output; false when nobody reads it any more.
pub fn out(text: &str) -> bool {
    if is_mute(&io::stdout()) {
        return false;
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Prints a line of data to standard output; false when nobody reads it any more.
pub fn out_line(line: &str) -> bool {
    out(&format!("{line}\n"))
}

/// Prints painted lines to standard output, until nobody reads them any more.
pub fn out_lines(lines: &[Line]) {
    lines.iter().all(|line| out_line(&line.painted_out()));
}

/// Prints a JSON document to standard output.
pub fn out_json(document: &impl Serialize) {
    if is_mute(&io::stdout()) {
        return;
    }
    let mut stdout = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    if serde_json::to_writer_pretty(&mut stdout, document).is_ok() {
        drop(stdout.write_all(b"\n").and_then(|()| stdout.flush()));
    }
}

/// Says a line on standard error, above the bars if there are some.
pub fn say(line: &str) {
    match bars() {
        _ if is_mute(&io::stderr()) => {}
        Some(bars) => bars.suspend(|| drop(io::stderr().lock().write_all(format!("{line}\n").as_bytes()))),
        None => drop(io::stderr().lock().write_all(format!("{line}\n").as_bytes())),
    }
}

/// Says a painted line on standard error.
pub fn say_line(line: &Line) {
    say(&line.painted());
}

/// Puts the terminal back as it was found, for others; whether it has to be taken up again.
pub fn set_aside() -> bool {
    echo::set_aside()
}

/// Goes on with the terminal.
pub fn take_up(was_ours: bool) {
    if was_ours {
        echo::off();
    }
}

/// Ends a command: says what stopped it, gives the exit code.
pub fn finish(result: Result<Exit, Failure>) -> Exit {
    echo::restore();
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            say_line(&Line::default().with(Paint::Bad, "error: ").with(Paint::Plain, clean_lines(&failure.to_string())));
            for hint in failure.way_on() {
                say_line(&Line::default().with(Paint::Faint, "  hint: ").with(Paint::Plain, clean_lines(hint)));
            }
            failure.kind.exit()
        }
    }
}

fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// What a panic prints: it is our mistake, whatever it was.
pub fn bug(info: &PanicHookInfo<'_>) {
    echo::restore();
    let text = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
    say(&format!("this is a bug in trees {}: {text}{place}", env!("CARGO_PKG_VERSION")));
    say("  what was recorded is safe; `trees resume` goes on. Please report it with this text and the output of `trees doctor`.");
}

/// Where the log of the crates goes: standard error, above the bars.
pub struct LogWriter;

impl LogWriter {
    /// One for each line of the log.
    pub fn new() -> Self {
        Self
    }
}

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            say(&clean(line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
