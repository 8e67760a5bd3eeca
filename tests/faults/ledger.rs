//! The ledger: what the steps themselves wrote down, a line a mark, durable before the step goes on.

use crate::waiting;
use std::fmt::{self, Display};
use std::path::Path;

/// The shell function that steps mark with, to be sourced: `. ./mark; mark start; …; mark end`.
/// One write with `O_APPEND` a line, then fsync.
pub const MARK: &str = r#"mark() {
  printf '%s %s %s %s %s\n' "$TREES_RUN_ID" "$TREES_STEP" "$TREES_ATTEMPT" "$TREES_IDEMPOTENCY_KEY" "$1" |
    dd of=ledger oflag=append conv=notrunc,fsync status=none
}
"#;

/// The same function without a call of fsync: the file is opened to be durable at each write.
pub fn quiet_mark() -> String {
    let mark = MARK.replace("oflag=append", "oflag=append,dsync").replace("conv=notrunc,fsync", "conv=notrunc");
    assert!(!mark.contains("fsync"), "{mark}");
    mark
}

/// What the harness itself writes between two sittings.
const CRASH: &str = "crash";

/// All lines so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger(pub Vec<Line>);

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A mark of a step.
    Mark {
        /// The run's id.
        run: String,
        /// The step or instance.
        step: String,
        /// Its attempt.
        attempt: u32,
        /// Its idempotency key.
        key: String,
        /// `start`, `end`, or what else a step says.
        word: String,
    },
    /// Everything of `trees` was killed here.
    Crash,
}

impl Ledger {
    /// Reads one; none yet is an empty one. A line without an end is being written.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Self(whole.lines().map(Line::of).collect())
    }

    /// Waits until a step has marked this word.
    ///
    /// Only then has the process of a step begun: `step_started` is told when its record is durable,
    /// which is before anything is launched.
    #[track_caller]
    pub fn until(path: &Path, step: &str, word: &str) {
        let marked = || Self::read(path).marked(word).iter().any(|(marked, _)| *marked == step);
        waiting::until(path.parent().unwrap(), &format!("the mark {word} of {step}"), marked);
    }

    /// Notes that `trees` was killed, as steps that outlive it may still write.
    pub fn note_crash(path: &Path) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        // One write: a step that outlived the kill may be marking just now.
        file.write_all(format!("{CRASH}\n").as_bytes()).unwrap();
    }

    /// The steps that marked this word, in order, with their attempts.
    pub fn marked(&self, wanted: &str) -> Vec<(&str, u32)> {
        let of = |line: &'_ Line| matches!(line, Line::Mark { word, .. } if word == wanted);
        self.0
            .iter()
            .filter(|l| of(l))
            .filter_map(|l| if let Line::Mark { step, attempt, .. } = l { Some((step.as_str(), *attempt)) } else { None })
            .collect()
    }
}

impl Line {
    fn of(line: &str) -> Self {
        if line == CRASH {
            return Self::Crash;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [run, step, attempt, key, word] = words[..] else { panic!("no line of a ledger: `{line}`") };
        let attempt = attempt.parse().unwrap_or_else(|e| panic!("{e}: `{line}`"));
        Self::Mark { run: run.into(), step: step.into(), attempt, key: key.into(), word: word.into() }
    }
}

impl Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            match line {
                Line::Mark { step, attempt, word, .. } => writeln!(f, "{step} {attempt} {word}")?,
                Line::Crash => writeln!(f, "{CRASH}")?,
            }
        }
        Ok(())
    }
}
