//! Each event as one line for people. The only place where events become sentences: the terminal,
//! the plain screen and `trees show -f` all say it so.

use super::clean::clean;
use super::style::{Line, Paint};
use jiff::Timestamp;
use std::time::Duration;
use trees_core::event::{ErrorReason, Event, EventKind, Failure, Reason, Resolution, RunStatus, StepError, StepStatus, WaitFor};
use trees_core::path::StepPath;

/// Lines of an error that are shown beyond its first.
const MORE: usize = 20;

/// Something to say, and the log whose end belongs under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The line.
    pub line: Line,
    /// What a failure says beyond its first line.
    pub more: Vec<String>,
    /// The log of a failure, relative to the state folder.
    pub log: Option<String>,
    /// Said also with `--quiet`.
    pub important: bool,
}

impl Said {
    /// A line without a log.
    pub fn line(line: Line) -> Self {
        Self { line, more: Vec::new(), log: None, important: false }
    }

    /// A line that is said also with `--quiet`.
    pub fn important(line: Line) -> Self {
        Self { important: true, ..Self::line(line) }
    }
}

/// The status of the step of an event after it, if the event changes it.
pub fn status_after(kind: &EventKind) -> Option<StepStatus> {
    Some(match kind {
        EventKind::StepStarted { .. } => StepStatus::Running,
        EventKind::StepSucceeded { .. } => StepStatus::Succeeded,
        EventKind::StepCached { .. } => StepStatus::Cached,
        EventKind::StepReopened { .. } => StepStatus::Pending,
        EventKind::StepSkipped { .. } => StepStatus::Skipped,
        EventKind::StepBlocked { .. } => StepStatus::Blocked,
        EventKind::StepFailed { .. } => StepStatus::Failed,
        EventKind::StepTimedOut { .. } | EventKind::ApprovalExpired => StepStatus::TimedOut,
        EventKind::StepCancelled { .. } => StepStatus::Cancelled,
        EventKind::StepInterrupted { .. } => StepStatus::Interrupted,
        EventKind::StepResolved { resolution, .. } => match resolution {
            Resolution::Done | Resolution::Skip => StepStatus::Succeeded,
            Resolution::Retry => StepStatus::Pending,
            Resolution::Fail => StepStatus::Failed,
            Resolution::Undone => StepStatus::Undone,
        },
        EventKind::StepWaiting { .. } | EventKind::ApprovalRequested { .. } => StepStatus::Waiting,
        EventKind::AttemptFailed { .. } => StepStatus::RetryWait,
        EventKind::ApprovalGiven { .. } => StepStatus::Succeeded,
        EventKind::ApprovalRejected { .. } => StepStatus::Rejected,
        EventKind::UndoStarted => StepStatus::Undoing,
        EventKind::UndoSucceeded => StepStatus::Undone,
        EventKind::UndoFailed { .. } => StepStatus::UndoFailed,
        EventKind::RunStarted(_)
        | EventKind::RunResumed { .. }
        | EventKind::RunSuspended { .. }
        | EventKind::RunFinished { .. }
        | EventKind::CancelRequested { .. }
        | EventKind::RollbackStarted(_)
        | EventKind::ActionSucceeded { .. }
        | EventKind::StepExpanded { .. }
        | EventKind::IntentRecorded { .. } => return None,
    })
}

/// What to say of an event; `started` is when its step began, if it runs. A container's own start
/// and end are not said: its leaves speak.
pub fn say(event: &Event, started: Option<Timestamp>, container: bool) -> Option<Said> {
    let name = event.step.as_ref().map_or("", StepPath::as_str);
    let took = started.map(|t| Duration::try_from(event.ts.duration_since(t)).unwrap_or_default());
    let line = match &event.kind {
        EventKind::StepSucceeded { .. } | EventKind::StepStarted { .. } | EventKind::ApprovalGiven { .. } if container => return None,
        EventKind::StepSucceeded { .. } => good(name, "succeeded", took, ""),
        EventKind::StepCached { reason, .. } => good(name, "cached", None, &reason.text),
        EventKind::StepReopened { reason } => care(name, &format!("runs again: {}", clean(&reason.text))),
        EventKind::StepSkipped { reason } => quiet("-", name, "skipped", reason),
        EventKind::StepCancelled { reason } => quiet("-", name, "cancelled", reason),
        EventKind::StepBlocked { reason } => quiet("⊘", name, "blocked", reason),
        // Its instances have told their failures already.
        EventKind::StepFailed { error } if container && error.log.is_none() => {
            let text = message(error);
            bad(name, &format!("failed: {}", text.split_once(" instances failed").map_or(text.as_str(), |(count, _)| count)))
        }
        EventKind::StepFailed { error } => return Some(failure(name, "failed", error, took)),
        EventKind::StepTimedOut { error } => return Some(failure(name, "timed out", error, took)),
        EventKind::UndoFailed { error } => return Some(failure(name, "could not be taken back", error, took)),
        EventKind::StepInterrupted { error } => care(name, &format!("interrupted: {}", clean(&error.message))),
        EventKind::AttemptFailed { error, retry_at } => care(name, &again(event, error, *retry_at)),
        EventKind::StepResolved { resolution, note, .. } => care(name, &resolved(event, *resolution, note.as_deref())),
        EventKind::StepWaiting { what: WaitFor::Approval, .. } => return None,
        EventKind::StepWaiting { what: WaitFor::Lock, on } => care(name, &format!("waits for the lock {}", clean(on))),
        EventKind::StepWaiting { what: WaitFor::Decision, .. } => {
            let run = &event.run;
            care(name, &format!("waits for a decision: trees resolve {run} {name} --done|--retry|--fail"))
        }
        EventKind::StepExpanded { items } => {
            Line::default().with(Paint::Faint, format!("… {name} has {}", plural(items.len(), "instance")))
        }
        EventKind::ApprovalRequested { message, .. } => {
            care(name, &format!("asks: {} (trees approve {} {name})", clean(message), event.run))
        }
        EventKind::ApprovalGiven { note } => good(name, &by("approved", event, note.as_deref()), None, ""),
        EventKind::ApprovalRejected { note } => bad(name, &by("rejected", event, note.as_deref())),
        EventKind::ApprovalExpired => bad(name, "was not answered in time"),
        EventKind::UndoSucceeded => good(name, "taken back", None, ""),
        EventKind::CancelRequested { now } => {
            care("run", &by(if *now { "is being cancelled at once" } else { "is being cancelled" }, event, None))
        }
        EventKind::RollbackStarted(_) => care("run", "is being taken back"),
        EventKind::StepStarted { .. }
        | EventKind::RunStarted(_)
        | EventKind::RunResumed { .. }
        | EventKind::RunSuspended { .. }
        | EventKind::RunFinished { .. }
        | EventKind::ActionSucceeded { .. }
        | EventKind::IntentRecorded { .. }
        | EventKind::UndoStarted => return None,
    };
    let important = matches!(
        event.kind,
        EventKind::ApprovalRequested { .. }
            | EventKind::ApprovalRejected { .. }
            | EventKind::ApprovalExpired
            | EventKind::StepWaiting { .. }
    );
    Some(if important { Said::important(line) } else { Said::line(line) })
}

/// What the plain screen says where the terminal shows a bar: starts.
pub fn begun(event: &Event) -> Option<Line> {
    let name = event.step.as_ref().map_or("", StepPath::as_str);
    match &event.kind {
        EventKind::RunStarted(facts) => {
            Some(Line::default().with(Paint::Strong, format!("{} #{} started as {}", facts.tree, facts.number, event.run)))
        }
        EventKind::RunResumed { .. } => Some(Line::default().with(Paint::Strong, format!("run {} goes on", event.run))),
        EventKind::StepStarted { .. } => {
            let again = event.attempt.filter(|n| *n > 1).map(|n| format!(", attempt {n}")).unwrap_or_default();
            Some(Line::default().with(Paint::Faint, "• ").with(Paint::Plain, format!("{name} started{again}")))
        }
        EventKind::UndoStarted => Some(Line::default().with(Paint::Faint, "• ").with(Paint::Plain, format!("{name} is being taken back"))),
        _ => None,
    }
}

/// How a run stands, as a participle with its colour.
pub fn status_word(status: RunStatus) -> (Paint, &'static str) {
    match status {
        RunStatus::Succeeded => (Paint::Good, "succeeded"),
        RunStatus::SucceededWithWarnings => (Paint::Care, "succeeded with warnings"),
        RunStatus::Failed => (Paint::Bad, "failed"),
        RunStatus::Cancelled => (Paint::Care, "was cancelled"),
        RunStatus::RolledBack => (Paint::Care, "was rolled back"),
        RunStatus::RollbackStuck => (Paint::Bad, "is stuck in its rollback"),
        RunStatus::Waiting => (Paint::Care, "waits"),
        RunStatus::Paused => (Paint::Care, "is paused"),
        RunStatus::Interrupted => (Paint::Care, "was interrupted"),
        RunStatus::RollingBack => (Paint::Care, "is being rolled back"),
        RunStatus::Pending | RunStatus::Running => (Paint::Plain, "is running"),
    }
}

/// `1 step`, `2 steps`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A duration as it is told afterwards: `0.4s`, `12s`, `3m10s`.
pub fn took(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{:.1}s", time.as_secs_f64()) } else { super::view::clock(time) }
}

fn good(name: &str, word: &str, time: Option<Duration>, more: &str) -> Line {
    let mut line = Line::default().with(Paint::Good, "✓ ").with(Paint::Plain, format!("{name} {word}"));
    if let Some(time) = time {
        line = line.with(Paint::Faint, format!(" {}", took(time)));
    }
    if more.is_empty() { line } else { line.with(Paint::Faint, format!(": {}", clean(more))) }
}

fn quiet(sign: &str, name: &str, word: &str, reason: &Reason) -> Line {
    Line::default()
        .with(Paint::Faint, format!("{sign} "))
        .with(Paint::Plain, format!("{name} {word}"))
        .with(Paint::Faint, because(&reason.text))
}

fn because(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {}", clean(text)) }
}

fn care(name: &str, text: &str) -> Line {
    Line::default().with(Paint::Care, "! ").with(Paint::Plain, format!("{name} {text}"))
}

fn bad(name: &str, text: &str) -> Line {
    Line::default().with(Paint::Bad, format!("✗ {name} ")).with(Paint::Plain, text)
}

/// Why a run is taken back.
pub fn cause(failure: &Failure) -> String {
    let why = failure.error.as_ref().map(|error| format!(": {}", message(error))).unwrap_or_default();
    format!("because {} failed{why}", failure.step)
}

fn failure(name: &str, word: &str, error: &StepError, took_time: Option<Duration>) -> Said {
    let mut line = Line::default().with(Paint::Bad, format!("✗ {name} {word}"));
    if let Some(time) = took_time {
        line = line.with(Paint::Faint, format!(" after {}", took(time)));
    }
    Said { line: line.with(Paint::Plain, because(&message(error))), more: more(error), log: error.log.clone(), important: true }
}

/// What an error says beyond its first line.
pub fn more(error: &StepError) -> Vec<String> {
    error.message.lines().map(clean).filter(|l| !l.is_empty()).skip(1).take(MORE).collect()
}

/// The first line of an error.
pub fn message(error: &StepError) -> String {
    let text = error.message.lines().map(clean).find(|l| !l.is_empty()).unwrap_or_default();
    match (error.reason, error.code) {
        _ if !text.is_empty() => text,
        (ErrorReason::Exit, Some(code)) => format!("exit code {code}"),
        (ErrorReason::Signal, Some(code)) => format!("ended by signal {code}"),
        _ => String::new(),
    }
}

fn again(event: &Event, error: &StepError, retry_at: Timestamp) -> String {
    let wait = Duration::try_from(retry_at.duration_since(event.ts)).unwrap_or_default();
    let attempt = event.attempt.map(|n| format!("attempt {n} ")).unwrap_or_default();
    format!("{attempt}failed{}; again in {}", because(&message(error)), took(wait))
}

fn resolved(event: &Event, resolution: Resolution, note: Option<&str>) -> String {
    let word = match resolution {
        Resolution::Done => "was settled as done",
        Resolution::Retry => "will be tried again",
        Resolution::Fail => "was settled as failed",
        Resolution::Undone => "was settled as taken back",
        Resolution::Skip => "was skipped",
    };
    by(word, event, note)
}

/// What somebody did, with his word on it.
pub fn by(word: &str, event: &Event, note: Option<&str>) -> String {
    let actor = event.actor.as_deref().map(|a| format!(" by {}", clean(a))).unwrap_or_default();
    let note = note.map(|n| format!(" ({})", clean(n))).unwrap_or_default();
    format!("{word}{actor}{note}")
}
