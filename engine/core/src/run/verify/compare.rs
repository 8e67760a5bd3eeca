//! What was recorded beside what happens now: whether it is the same decision, and in which words
//! it is told.

use super::Difference;
use crate::event::{Event, EventKind, Item, Json, StepError};
use crate::run::Run;
use crate::units::few;
use jiff::Timestamp;

/// Recorded times have microseconds.
const CLOSE: i64 = 5;

/// The first that differs: the recorded event, by its index, and what happens in its place.
pub struct Unlike<'a> {
    /// Nothing recorded stands against `now` where there is none.
    pub recorded: Option<usize>,
    /// Nothing happens where there is none.
    pub now: Option<&'a Event>,
}

/// Compares what one turn recorded with what follows now, whatever the order.
pub fn unlike<'a>(recorded: &[Event], now: &'a [Event]) -> Option<Unlike<'a>> {
    let mut left: Vec<&Event> = now.iter().collect();
    let mut first: Option<usize> = None;
    for (at, event) in recorded.iter().enumerate() {
        match left.iter().position(|e| same(event, e)) {
            Some(index) => drop(left.remove(index)),
            None => drop(first.get_or_insert(at)),
        }
    }
    match first {
        Some(at) => {
            let step = recorded.get(at).and_then(|e| e.step.as_ref());
            let now = left.iter().find(|e| e.step.as_ref() == step).or_else(|| left.first()).copied();
            Some(Unlike { recorded: Some(at), now })
        }
        None => left.first().map(|extra| Unlike { recorded: None, now: Some(extra) }),
    }
}

/// Whether they are the same decision.
pub fn same(a: &Event, b: &Event) -> bool {
    a.step == b.step && a.attempt == b.attempt && same_kind(&a.kind, &b.kind)
}

fn same_kind(a: &EventKind, b: &EventKind) -> bool {
    use EventKind as K;
    match (a, b) {
        (K::StepCached { reason: a, .. }, K::StepCached { reason: b, .. })
        | (K::StepReopened { reason: a }, K::StepReopened { reason: b })
        | (K::StepSkipped { reason: a }, K::StepSkipped { reason: b })
        | (K::StepBlocked { reason: a }, K::StepBlocked { reason: b })
        | (K::StepCancelled { reason: a }, K::StepCancelled { reason: b }) => a.code == b.code,
        (K::StepFailed { error: a }, K::StepFailed { error: b })
        | (K::StepTimedOut { error: a }, K::StepTimedOut { error: b })
        | (K::StepInterrupted { error: a }, K::StepInterrupted { error: b })
        | (K::UndoFailed { error: a }, K::UndoFailed { error: b }) => alike(a, b),
        (K::AttemptFailed { error: a, retry_at: s }, K::AttemptFailed { error: b, retry_at: t }) => alike(a, b) && close(*s, *t),
        (K::StepStarted { digests: a, .. }, K::StepStarted { digests: b, .. }) => a.is_some() == b.is_some(),
        (K::StepExpanded { items: a }, K::StepExpanded { items: b }) => a == b,
        (K::StepWaiting { what: a, .. }, K::StepWaiting { what: b, .. }) => a == b,
        (K::StepResolved { resolution: a, .. }, K::StepResolved { resolution: b, .. }) => a == b,
        (K::StepSucceeded { outputs: a, .. }, K::StepSucceeded { outputs: b, .. }) => a == b,
        (K::ApprovalRequested { shown: a, expires_at: s, .. }, K::ApprovalRequested { shown: b, expires_at: t, .. }) => {
            a == b && s.is_some() == t.is_some() && s.zip(*t).is_none_or(|(s, t)| close(s, t))
        }
        (K::RunFinished { status: a, outputs: s, .. }, K::RunFinished { status: b, outputs: t, .. }) => a == b && s == t,
        (K::RunSuspended { status: a, .. }, K::RunSuspended { status: b, .. }) => a == b,
        (K::RollbackStarted(a), K::RollbackStarted(b)) => (&a.to, &a.skip) == (&b.to, &b.skip),
        (K::ActionSucceeded { outputs: a, artifacts: s }, K::ActionSucceeded { outputs: b, artifacts: t }) => a == b && s == t,
        (K::IntentRecorded { record: a }, K::IntentRecorded { record: b }) => a == b,
        (K::CancelRequested { now: a }, K::CancelRequested { now: b }) => a == b,
        // What they hold was heard, not decided.
        (K::RunStarted(_), K::RunStarted(_))
        | (K::RunResumed { .. }, K::RunResumed { .. })
        | (K::ApprovalGiven { .. }, K::ApprovalGiven { .. })
        | (K::ApprovalRejected { .. }, K::ApprovalRejected { .. })
        | (K::ApprovalExpired, K::ApprovalExpired)
        | (K::UndoStarted, K::UndoStarted)
        | (K::UndoSucceeded, K::UndoSucceeded) => true,
        (
            K::RunStarted(_)
            | K::RunResumed { .. }
            | K::RunSuspended { .. }
            | K::RunFinished { .. }
            | K::CancelRequested { .. }
            | K::RollbackStarted(_)
            | K::StepStarted { .. }
            | K::ActionSucceeded { .. }
            | K::StepSucceeded { .. }
            | K::StepCached { .. }
            | K::StepReopened { .. }
            | K::StepSkipped { .. }
            | K::StepBlocked { .. }
            | K::StepFailed { .. }
            | K::StepTimedOut { .. }
            | K::StepCancelled { .. }
            | K::StepInterrupted { .. }
            | K::StepResolved { .. }
            | K::StepExpanded { .. }
            | K::StepWaiting { .. }
            | K::AttemptFailed { .. }
            | K::ApprovalRequested { .. }
            | K::ApprovalGiven { .. }
            | K::ApprovalRejected { .. }
            | K::ApprovalExpired
            | K::IntentRecorded { .. }
            | K::UndoStarted
            | K::UndoSucceeded
            | K::UndoFailed { .. },
            _,
        ) => false,
    }
}

fn alike(a: &StepError, b: &StepError) -> bool {
    (a.reason, a.code) == (b.reason, b.code)
}

fn close(a: Timestamp, b: Timestamp) -> bool {
    (a.as_microsecond() - b.as_microsecond()).abs() <= CLOSE
}

/// The difference in words. `at` is the recorded event in whose place it was found.
pub fn tell(run: &Run, at: Option<&Event>, last: u64, unlike: &Unlike<'_>) -> Difference {
    let step = at.and_then(|e| e.step.clone());
    let other = unlike.now.and_then(|e| e.step.as_ref()).filter(|other| step.as_ref() != Some(other));
    let (recorded, mut now) = match (at, unlike.now) {
        (Some(a), Some(b)) => words(&a.kind, Some(&b.kind)),
        (Some(a), None) => (words(&a.kind, None).0, "nothing".into()),
        (None, Some(b)) => ("nothing".into(), words(&b.kind, None).0),
        (None, None) => ("nothing".into(), "nothing".into()),
    };
    now.push_str(&other.map(|other| format!(" at {other}")).unwrap_or_default());
    let known = step.as_ref().and_then(|s| run.place(s));
    if let (Some(path), None, None) = (&step, &known, unlike.now)
        && !path.as_str().starts_with("environment:")
    {
        now = "no such step".into();
    }
    // What only happens now stands where its step does.
    let place = if unlike.recorded.is_none() { other.and_then(|o| run.place(o)).or(known) } else { known.or_else(|| run.place(other?)) };
    let file = place.as_ref().map(|p| p.0.clone()).or_else(|| Some(run.tree.file.clone()));
    Difference { seq: at.map_or(last + 1, |e| e.seq), step, recorded, now, file, line: place.map(|p| p.1), edited: false }
}

/// Two events in words that differ where they do.
fn words(a: &EventKind, b: Option<&EventKind>) -> (String, String) {
    use EventKind as K;
    let (name, other) = (name(a), b.map(name).unwrap_or_default());
    match (a, b) {
        (K::StepExpanded { items: a }, Some(K::StepExpanded { items: b })) => {
            (format!("{name} into {}", keys(a, b)), format!("{other} into {}", keys(b, a)))
        }
        (K::AttemptFailed { error: e, retry_at: s }, Some(K::AttemptFailed { error: f, retry_at: t })) if alike(e, f) => {
            (format!("{name}, the next at {s:.3}"), format!("the next at {t:.3}"))
        }
        (K::StepSucceeded { outputs: a, .. }, Some(K::StepSucceeded { outputs: b, .. })) => {
            (format!("{name} with {}", short(a)), format!("with {}", short(b)))
        }
        (K::RunFinished { outputs: a, status: s, .. }, Some(K::RunFinished { outputs: b, status: t, .. })) if s == t => {
            (format!("{name} with {}", short(&Json::Object(a.clone()))), format!("with {}", short(&Json::Object(b.clone()))))
        }
        (K::ApprovalRequested { message: a, .. }, Some(K::ApprovalRequested { message: b, .. })) => {
            (format!("{name}: {}", cut(a)), format!("{other}: {}", cut(b)))
        }
        _ => (name, other),
    }
}

/// The type of the contract, with what decides.
fn name(kind: &EventKind) -> String {
    use EventKind as K;
    let name = serde_json::to_value(kind).ok().and_then(|v| v.get("type").and_then(Json::as_str).map(str::to_owned)).unwrap_or_default();
    let more = match kind {
        K::StepCached { reason, .. }
        | K::StepReopened { reason }
        | K::StepSkipped { reason }
        | K::StepBlocked { reason }
        | K::StepCancelled { reason } => Some(reason.code.clone()),
        K::StepFailed { error }
        | K::StepTimedOut { error }
        | K::AttemptFailed { error, .. }
        | K::UndoFailed { error }
        | K::StepInterrupted { error } => Some(sort(error)),
        K::RunFinished { status, .. } | K::RunSuspended { status, .. } => Some(status.as_str().into()),
        K::StepWaiting { what, .. } => serde_json::to_value(what).ok().and_then(|v| v.as_str().map(str::to_owned)),
        _ => None,
    };
    more.map_or_else(|| name.clone(), |more| format!("{name} ({more})"))
}

fn sort(error: &StepError) -> String {
    let reason = serde_json::to_value(error.reason).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    error.code.map_or_else(|| reason.clone(), |code| format!("{reason} {code}"))
}

/// The keys of items; the values where only those differ.
fn keys(items: &[Item], other: &[Item]) -> String {
    let keyed = items.iter().map(|i| &i.key).ne(other.iter().map(|i| &i.key));
    let shown = |i: &Item| if keyed { i.key.clone() } else { format!("{}: {}", i.key, short(&i.value)) };
    format!("[{}]", few(items.iter().map(shown), 10))
}

fn short(value: &Json) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(a: Json, b: Json, expected: bool) {
        let kind = |value: &Json| -> EventKind { serde_json::from_value(value.clone()).unwrap() };
        assert!(same_kind(&kind(&a), &kind(&a)) && same_kind(&kind(&b), &kind(&b)));
        assert_eq!((same_kind(&kind(&a), &kind(&b)), same_kind(&kind(&b), &kind(&a))), (expected, expected), "{a} {b}");
    }

    #[test]
    fn what_an_event_holds_is_compared_where_it_is_decided() {
        let action = |n: u8| json!({ "type": "action_succeeded", "outputs": { "n": n } });
        check(action(1), action(2), false);
        let kept = |sha256: &str| json!({ "type": "action_succeeded", "artifacts": { "a": { "path": "a", "sha256": sha256, "size": 1 } } });
        check(kept("aa"), kept("bb"), false);
        let intent = |n: u8| json!({ "type": "intent_recorded", "record": { "n": n } });
        check(intent(1), intent(2), false);
        check(json!({ "type": "cancel_requested", "now": true }), json!({ "type": "cancel_requested", "now": false }), false);
        check(json!({ "type": "approval_given", "note": "a" }), json!({ "type": "approval_given", "note": "b" }), true);
        check(json!({ "type": "undo_started" }), json!({ "type": "undo_succeeded" }), false);
    }
}
