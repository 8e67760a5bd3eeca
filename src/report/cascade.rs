//! Skips and blocks that follow from one another, said in one line with their cause.

use super::clean::clean;
use super::style::{Line, Paint};
use std::collections::HashMap;
use trees_core::event::{Event, EventKind, Reason};
use trees_core::path::StepPath;

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
    blocked: bool,
    steps: Vec<StepPath>,
}

impl Cascades {
    /// Whether the event belongs to a cascade; it is said with the others then.
    pub fn take(&mut self, event: &Event) -> bool {
        let (reason, blocked) = match &event.kind {
            EventKind::StepSkipped { reason } => (reason, false),
            EventKind::StepBlocked { reason } => (reason, true),
            _ => return false,
        };
        let Some(step) = &event.step else { return false };
        let Some((cause, text)) = cause(reason) else { return false };
        let root = self.roots.get(&cause).cloned().unwrap_or(Root { cause, text });
        self.roots.insert(step.clone(), root.clone());
        match self.groups.iter_mut().find(|g| g.root.cause == root.cause && g.blocked == blocked) {
            Some(group) => group.steps.push(step.clone()),
            None => self.groups.push(Group { root, blocked, steps: vec![step.clone()] }),
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
        let (sign, word) = if self.blocked { ("⊘", "blocked") } else { ("-", "skipped") };
        let shown: Vec<&str> = self.steps.iter().take(3).map(StepPath::as_str).collect();
        let rest = self.steps.len() - shown.len();
        let names = match (shown.as_slice(), rest) {
            ([all @ .., last], 0) if !all.is_empty() => format!("{} and {last}", all.join(", ")),
            (names, 0) => names.concat(),
            (names, rest) => format!("{} and {rest} more", names.join(", ")),
        };
        Line::default()
            .with(Paint::Faint, format!("{sign} "))
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
    if !matches!(reason.code.as_str(), "need_failed" | "need_skipped" | "none_succeeded") {
        return None;
    }
    let (path, status) = reason.values.first_key_value()?;
    Some((StepPath(path.clone()), format!("{path} {}", clean(&status.replace('_', " ")))))
}
