//! Skips and blocks that follow from one another, and results taken over from one run, said in one line
//! with their cause.

use super::clean::clean;
use super::style::{Line, Paint};
use std::collections::HashMap;
use trees_core::event::{Event, EventKind, Reason};
use trees_core::path::StepPath;

/// The code of a result that comes from another run.
const TAKEN_OVER: &str = "taken_over";

/// The cascades of the moment.
#[derive(Default)]
pub struct Cascades {
    /// For each step that was skipped or blocked because of another: what it goes back to.
    roots: HashMap<StepPath, Root>,
    groups: Vec<Group>,
}

#[derive(Clone)]
struct Root {
    cause: StepPath,
    text: String,
}

struct Group {
    root: Root,
    end: End,
    steps: Vec<StepPath>,
}

/// How the steps of a cascade ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Skipped,
    Blocked,
    TakenOver,
}

impl Cascades {
    /// Whether the event belongs to a cascade; it is said with the others then.
    pub fn take(&mut self, event: &Event) -> bool {
        let (reason, end) = match &event.kind {
            EventKind::StepSkipped { reason } => (reason, End::Skipped),
            EventKind::StepBlocked { reason } => (reason, End::Blocked),
            EventKind::StepCached { reason, .. } if reason.code == TAKEN_OVER => (reason, End::TakenOver),
            _ => {
                // What happens to it now is of its own.
                event.step.as_ref().map(|step| self.roots.remove(step));
                return false;
            }
        };
        let Some(step) = &event.step else { return false };
        let Some((cause, text)) = cause(reason) else { return false };
        let root = self.roots.get(&cause).cloned().unwrap_or(Root { cause, text });
        self.roots.insert(step.clone(), root.clone());
        match self.groups.iter_mut().find(|g| g.root.cause == root.cause && g.end == end) {
            Some(group) => group.steps.push(step.clone()),
            None => self.groups.push(Group { root, end, steps: vec![step.clone()] }),
        }
        true
    }

    /// One line for each cascade since the last time.
    pub fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.groups).iter().map(Group::line).collect()
    }
}

impl Group {
    fn line(&self) -> Line {
        let (paint, sign, word) = match self.end {
            End::Skipped => (Paint::Faint, "-", "skipped"),
            End::Blocked => (Paint::Faint, "⊘", "blocked"),
            End::TakenOver => (Paint::Good, "✓", "cached"),
        };
        let shown: Vec<&str> = self.steps.iter().take(3).map(StepPath::as_str).collect();
        let rest = self.steps.len() - shown.len();
        let names = match (shown.as_slice(), rest) {
            ([all @ .., last], 0) if !all.is_empty() => format!("{} and {last}", all.join(", ")),
            (names, 0) => names.concat(),
            (names, rest) => format!("{} and {rest} more", names.join(", ")),
        };
        Line::default()
            .with(paint, format!("{sign} "))
            .with(Paint::Plain, format!("{names} {word}"))
            .with(Paint::Faint, format!(": {}", self.root.text))
    }
}

/// The step because of which this one does not run, and how it ended, if that is the reason.
fn cause(reason: &Reason) -> Option<(StepPath, String)> {
    if reason.code == "not_asked" {
        // What was asked for instead is the cause of all of them.
        return Some((StepPath(reason.text.clone()), clean(&reason.text)));
    }
    if let (TAKEN_OVER, Some(run)) = (reason.code.as_str(), reason.values.get("run")) {
        let text = format!("taken over from run {run}");
        return Some((StepPath(text.clone()), text));
    }
    if !matches!(reason.code.as_str(), "need_failed" | "need_skipped" | "none_succeeded") {
        return None;
    }
    let (path, status) = reason.values.first_key_value()?;
    Some((StepPath(path.clone()), format!("{path} {}", clean(&status.replace('_', " ")))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trees_core::event::Json;
    use trees_core::path::RunId;

    fn event(step: &str, code: &str) -> Event {
        let values = if code.contains(' ') { code.split_once(' ').unwrap() } else { ("run", "abc") };
        let values = [(values.0.to_owned(), values.1.to_owned())].into();
        let need = if code.contains(' ') { "need_failed" } else { code };
        let reason = Reason { code: need.into(), text: "not asked for (--only x)".into(), file: None, line: None, values };
        let kind = match code {
            "not_asked" => EventKind::StepSkipped { reason },
            "reopened" => EventKind::StepReopened { reason },
            _ if code.contains(' ') => EventKind::StepBlocked { reason },
            _ => EventKind::StepCached { reason, outputs: Json::Null, artifacts: Default::default(), digests: None },
        };
        let step = Some(StepPath(step.into()));
        Event { v: 1, run: RunId("r".into()), seq: 1, ts: jiff::Timestamp::UNIX_EPOCH, step, attempt: None, actor: None, kind }
    }

    #[test]
    fn a_cause_of_before_is_none_any_more() {
        let mut cascades = Cascades::default();
        assert!(cascades.take(&event("mid", "pre failed")) && cascades.take(&event("end", "mid blocked")));
        let line = |cascades: &mut Cascades| cascades.take_lines().iter().map(Line::plain).collect::<Vec<_>>();
        assert_eq!(line(&mut cascades), ["⊘ mid and end blocked: pre failed"]);
        assert!(!cascades.take(&event("mid", "reopened")));
        assert!(cascades.take(&event("end", "mid failed")));
        assert_eq!(line(&mut cascades), ["⊘ end blocked: mid failed"]);
    }

    #[test]
    fn what_has_no_part_in_a_run_is_one_line() {
        let mut cascades = Cascades::default();
        for (step, code) in [("a", "taken_over"), ("b", "not_asked"), ("c", "taken_over"), ("d", "not_asked")] {
            assert!(cascades.take(&event(step, code)), "{step}");
        }
        assert!(!cascades.take(&event("e", "inputs")), "a cached step is said alone");
        let lines: Vec<String> = cascades.take_lines().iter().map(Line::plain).collect();
        assert_eq!(lines, ["✓ a and c cached: taken over from run abc", "- b and d skipped: not asked for (--only x)"]);
    }
}
