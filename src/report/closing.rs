//! The last lines of a sitting: how it ended, what is missing, the command that goes on from here.

use super::clean::clean;
use super::said::{plural, status_word, took};
use super::style::{Line, Paint};
use super::view::Tally;
use std::collections::BTreeMap;
use std::time::Duration;
use trees_core::event::{RunStatus, StepStatus};
use trees_core::path::RunId;

/// How a sitting ended.
pub struct Closing {
    /// The run.
    pub run: RunId,
    /// How.
    pub status: RunStatus,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long the sitting took.
    pub took: Duration,
    /// How far the run came.
    pub tally: Tally,
    /// What was answered and not taken up yet: who said what, by step.
    pub words: BTreeMap<String, String>,
}

/// Told one by one; of the others only how many they are.
const FEW: usize = 5;

impl Closing {
    /// What is said.
    pub fn lines(&self) -> Vec<Line> {
        let (paint, word) = status_word(self.status);
        let mut lines = vec![
            Line::default()
                .with(Paint::Strong, format!("{} ", self.tally.name))
                .with(paint, word)
                .with(Paint::Faint, format!(" after {}: {} (run {})", took(self.took), self.counts(), self.run)),
        ];
        let mut texts = self.reason();
        texts.extend(self.next());
        lines.extend(texts.into_iter().map(|text| Line::default().with(Paint::Plain, format!("  {text}"))));
        lines
    }

    fn counts(&self) -> String {
        let count = |status: &StepStatus| self.tally.counts.get(status).copied().unwrap_or_default();
        let done: u64 = [StepStatus::Succeeded, StepStatus::Cached, StepStatus::Skipped].iter().map(count).sum();
        let mut text = format!("{done} of {} done", plural(usize::try_from(self.tally.total).unwrap_or(usize::MAX), "step"));
        for status in [
            StepStatus::Cached,
            StepStatus::Skipped,
            StepStatus::Failed,
            StepStatus::TimedOut,
            StepStatus::Rejected,
            StepStatus::Blocked,
            StepStatus::Cancelled,
            StepStatus::Interrupted,
            StepStatus::Undone,
            StepStatus::UndoFailed,
        ] {
            if count(&status) > 0 {
                text.push_str(&format!(", {} {}", count(&status), status.as_str().replace('_', " ")));
            }
        }
        text
    }

    /// Why it rests, or what is wrong beside the steps that failed.
    fn reason(&self) -> Vec<String> {
        match (self.status, self.signal, &self.tally.reason) {
            (_, Some(signal), _) => vec![format!("ended by {}", signal_name(signal))],
            // What follows says more.
            (RunStatus::Waiting, None, _) if !self.awaited().is_empty() => Vec::new(),
            (_, None, Some(reason)) => reason.lines().map(clean).filter(|l| !l.is_empty()).collect(),
            (_, None, None) => Vec::new(),
        }
    }

    /// What can be done from here.
    fn next(&self) -> Vec<String> {
        let run = &self.run;
        match self.status {
            RunStatus::Failed | RunStatus::Interrupted | RunStatus::Paused | RunStatus::Cancelled => {
                vec![format!("go on with: trees resume {run}")]
            }
            RunStatus::Waiting => self.awaited(),
            RunStatus::RolledBack => vec![format!("run it again with: trees resume {run}")],
            RunStatus::RollbackStuck => {
                vec![format!("mend what the undo failed at, then go on with: trees rollback {run} (or --skip STEP, --mark-undone STEP)")]
            }
            RunStatus::Pending | RunStatus::Running | RunStatus::RollingBack | RunStatus::Succeeded | RunStatus::SucceededWithWarnings => {
                Vec::new()
            }
        }
    }

    /// What a person is asked, each with the command that answers it.
    fn awaited(&self) -> Vec<String> {
        let run = &self.run;
        let open = |name: &String| !self.words.contains_key(name);
        let questions: Vec<_> = self.tally.questions.iter().filter(|(name, _)| open(name)).collect();
        let undecided: Vec<_> = self.tally.undecided.iter().filter(|step| open(step)).collect();
        let mut texts: Vec<String> = self.words.iter().map(|(name, word)| format!("{name} was {}", clean(word))).collect();
        for (name, message) in questions.iter().take(FEW) {
            texts.push(format!("{name} asks: {message}"));
            texts.push(format!("  answer with: trees approve {run} {name}, or: trees reject {run} {name} --note WHY"));
        }
        for step in undecided.iter().take(FEW) {
            texts.push(format!("nobody knows how {step} ended; look, then say: trees resolve {run} {step} --done|--retry|--fail"));
        }
        let more = questions.len().saturating_sub(FEW) + undecided.len().saturating_sub(FEW);
        if more > 0 {
            texts.push(format!("and {more} more: trees show {run}"));
        }
        if !texts.is_empty() {
            texts.push(format!("then go on with: trees resume {run}"));
        }
        texts
    }
}

/// `SIGINT (Ctrl-C)`.
pub fn signal_name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".into(),
        2 => "SIGINT (Ctrl-C)".into(),
        15 => "SIGTERM".into(),
        other => format!("signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: RunStatus, signal: Option<i32>, tally: Tally, expected: &[&str]) {
        let tally = Tally { name: "chat #3".into(), total: 9, ..tally };
        let word = |(name, _): &(String, String)| name.starts_with("answered").then(|| (name.clone(), "approved by ada".into()));
        let words = tally.questions.iter().filter_map(word).collect();
        let closing = Closing { run: RunId("abc".into()), status, signal, took: Duration::from_millis(1200), tally, words };
        assert_eq!(closing.lines().iter().map(Line::plain).collect::<Vec<_>>(), expected);
    }

    fn counts(all: &[(StepStatus, u64)]) -> Tally {
        Tally { counts: all.iter().copied().collect(), ..Tally::default() }
    }

    #[test]
    fn each_end_says_how_to_go_on() {
        let some = counts(&[(StepStatus::Succeeded, 4), (StepStatus::Cached, 3), (StepStatus::Skipped, 2)]);
        check(RunStatus::Succeeded, None, some, &["chat #3 succeeded after 1.2s: 9 of 9 steps done, 3 cached, 2 skipped (run abc)"]);
        let some = counts(&[(StepStatus::Succeeded, 4), (StepStatus::Failed, 1), (StepStatus::TimedOut, 1), (StepStatus::Blocked, 2)]);
        let lines =
            ["chat #3 failed after 1.2s: 4 of 9 steps done, 1 failed, 1 timed out, 2 blocked (run abc)", "  go on with: trees resume abc"];
        check(RunStatus::Failed, None, some, &lines);
        let some = Tally { reason: Some("ended by a signal".into()), ..counts(&[(StepStatus::Interrupted, 1)]) };
        let lines = [
            "chat #3 was interrupted after 1.2s: 0 of 9 steps done, 1 interrupted (run abc)",
            "  ended by SIGINT (Ctrl-C)",
            "  go on with: trees resume abc",
        ];
        check(RunStatus::Interrupted, Some(2), some, &lines);
    }

    #[test]
    fn what_was_answered_is_not_asked_again() {
        let waits = Tally {
            questions: vec![("answered".into(), "Ship it?".into())],
            undecided: vec!["pay".into()],
            ..counts(&[(StepStatus::Waiting, 2)])
        };
        let lines = [
            "chat #3 waits after 1.2s: 0 of 9 steps done (run abc)",
            "  answered was approved by ada",
            "  nobody knows how pay ended; look, then say: trees resolve abc pay --done|--retry|--fail",
            "  then go on with: trees resume abc",
        ];
        check(RunStatus::Waiting, None, waits, &lines);
    }

    #[test]
    fn a_run_that_waits_says_for_what_and_how_to_answer() {
        let waits = Tally {
            reason: Some("waiting for a person: ask".into()),
            questions: vec![("ask".into(), "Ship it?".into())],
            undecided: vec!["pay".into()],
            ..counts(&[(StepStatus::Waiting, 2)])
        };
        let lines = [
            "chat #3 waits after 1.2s: 0 of 9 steps done (run abc)",
            "  ask asks: Ship it?",
            "    answer with: trees approve abc ask, or: trees reject abc ask --note WHY",
            "  nobody knows how pay ended; look, then say: trees resolve abc pay --done|--retry|--fail",
            "  then go on with: trees resume abc",
        ];
        check(RunStatus::Waiting, None, waits, &lines);
    }
}
