//! Sentences that the scheduler writes into events and that the verification reads out of them: each
//! is written and read here and nowhere else.

use crate::path::StepPath;
use std::fmt::Display;

/// A person wants a step to run again.
pub(super) const FORCED: &str = "forced by --force";
/// A `timeout` or `deadline` of what contains it passed.
pub(super) const LATE: &str = "the time of the run or the sub-tree is over";

const WAITS: &str = "waiting for a person: ";
const REFUSED: &str = "external steps would run again because of a change: ";
const IN_IT: &str = " in it runs again: ";
const HELD: &str = " (held by ";
const EXITED: (&str, &str) = ("it exited with ", ", which skips");

/// The run rests for these answers.
pub(super) fn waits_for(asked: impl Display) -> String {
    format!("{WAITS}{asked}")
}

/// Whether a run rests for a person.
pub(super) fn waits(reason: &str) -> bool {
    reason.starts_with(WAITS)
}

/// The run rests because these steps, each as [`again`] says it, may not run again unasked.
pub(super) fn refusal(list: impl Display, run: impl Display) -> String {
    format!("{REFUSED}{list}\nif that is what you want: trees resume {run} --accept-changes")
}

/// A step that would run again, and why.
pub(super) fn again(step: &StepPath, why: &str) -> String {
    format!("{step} ({why})")
}

/// The list of a refusal.
pub(super) fn refused(reason: &str) -> Option<&str> {
    reason.strip_prefix(REFUSED)
}

/// Whether the list of a refusal names a step.
pub(super) fn is_refused(list: &str, step: &StepPath) -> bool {
    list.split("), ").any(|part| part.strip_prefix(step.as_str()).is_some_and(|rest| rest.starts_with(" (")))
}

/// What contains a step runs again because of it.
pub(super) fn in_it(step: &StepPath, why: &str) -> String {
    format!("{step}{IN_IT}{why}")
}

/// The step in it because of which a container runs again.
pub(super) fn inner(reason: &str) -> Option<&str> {
    reason.split_once(IN_IT).map(|(inner, _)| inner)
}

/// A lock, and who has it.
pub(super) fn held(lock: &str, holder: &str) -> String {
    format!("{lock}{HELD}{holder})")
}

/// The lock and its holder.
pub(super) fn holder(on: &str) -> Option<(&str, &str)> {
    let (lock, holder) = on.split_once(HELD)?;
    Some((lock, holder.strip_suffix(')').unwrap_or(holder)))
}

/// An exit code that skips.
pub(super) fn skips(code: i32) -> String {
    format!("{}{code}{}", EXITED.0, EXITED.1)
}

/// The exit code that skipped.
pub(super) fn skipping(reason: &str) -> Option<i32> {
    reason.strip_prefix(EXITED.0)?.strip_suffix(EXITED.1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let path = |text: &str| StepPath(text.into());
        assert!(waits(&waits_for("ask")) && !waits("paused"));
        let list = [again(&path("a"), "inputs, of (x)"), again(&path("b/c"), "definition")].join(", ");
        let reason = refusal(list, "r");
        let list = refused(&reason).unwrap();
        assert!(is_refused(list, &path("a")) && is_refused(list, &path("b/c")) && !is_refused(list, &path("b")));
        assert_eq!(inner(&in_it(&path("a[x]/b"), "forced")), Some("a[x]/b"));
        assert_eq!(holder(&held("db", "run r, process 1")), Some(("db", "run r, process 1")));
        assert_eq!((skipping(&skips(77)), skipping(&skips(-1)), skipping("the check says so")), (Some(77), Some(-1), None));
    }
}
