//! One row of the screen: a step at work, one that waits, a question; gauges and clocks.

use crate::report::style::{Line, Paint, cut, pad};
use jiff::Timestamp;
use std::time::Duration;
use trees_core::path::StepPath;

/// A step at work.
pub struct Running {
    pub step: StepPath,
    pub since: Timestamp,
    pub attempt: u32,
    pub newest: String,
    pub fraction: Option<f64>,
}

/// A step that waits for its turn.
pub struct Held {
    pub step: StepPath,
    pub until: Until,
}

/// For what.
pub enum Until {
    /// Its next attempt.
    Attempt { number: u32, at: Timestamp },
    /// A lock that another run has.
    Lock { name: String, since: Timestamp },
}

impl Running {
    /// Its line.
    pub fn line(&self, width: usize, name_width: usize, now: Timestamp) -> Line {
        let name = pad(&cut(self.step.as_str(), name_width), name_width);
        let again = if self.attempt > 1 { format!(" try {}", self.attempt) } else { String::new() };
        let mut line = Line::default().with(Paint::Care, "• ").with(Paint::Plain, name);
        line = line.with(Paint::Faint, format!(" {:>5}", clock(since(self.since, now)))).with(Paint::Care, again);
        if let Some(fraction) = self.fraction {
            let room = if width >= 80 { 20 } else { 8 };
            line = line.with(Paint::Plain, " ").with(Paint::Good, gauge(fraction, room));
            line = line.with(Paint::Plain, format!(" {:>3.0}%", fraction * 100.0));
        }
        let left = width.saturating_sub(line.width() + 1);
        if left >= 4 && !self.newest.is_empty() {
            line = line.with(Paint::Faint, format!(" {}", cut(&self.newest, left)));
        }
        line.fit(width)
    }
}

impl Held {
    /// Its line.
    pub fn line(&self, width: usize, name_width: usize, now: Timestamp) -> Line {
        let name = pad(&cut(self.step.as_str(), name_width), name_width);
        let line = Line::default().with(Paint::Faint, "~ ").with(Paint::Plain, name);
        let (time, text) = match &self.until {
            Until::Attempt { number, at } => (since(now, *at), format!(" until try {number}")),
            Until::Lock { name, since: start } => (since(*start, now), format!(" waits for the lock {name}")),
        };
        line.with(Paint::Faint, format!(" {:>5}{text}", clock(time))).fit(width)
    }
}

/// A question: its text is cut, then what it is called, so that what to press stays in sight.
pub fn question(message: &str, name: &str, width: usize) -> Line {
    let keys = " y/n";
    let all = width.saturating_sub(2 + keys.len());
    let room = all.saturating_sub(console::measure_text_width(name)).max(all / 3);
    let message = cut(message, room);
    let name = cut(name, all.saturating_sub(console::measure_text_width(&message)));
    Line::default().with(Paint::Care, "? ").with(Paint::Strong, message).with(Paint::Plain, format!("{name}{keys}")).fit(width)
}

/// A part of a whole, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a share for a bar of some forty columns")]
pub fn share(done: u64, total: u64) -> f64 {
    if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) }
}

/// A bar of so many columns.
pub fn gauge(fraction: f64, columns: usize) -> String {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "columns are few")]
    let full = (fraction * columns as f64).floor() as usize;
    format!("{}{}", "█".repeat(full.min(columns)), "░".repeat(columns - full.min(columns)))
}

/// From then to now.
pub fn since(start: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(start)).unwrap_or_default()
}

/// Whole seconds, short: `7s`, `1m02s`, `2h03m`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}
