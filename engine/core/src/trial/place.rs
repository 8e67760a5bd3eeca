//! The steps of a tree as a test file names them, and what is wrong with a name.

use crate::diagnostic::Diagnostic;
use crate::language::near::{did_you_mean, listed};
use crate::language::nodes::Ref;
use crate::path::StepPath;
use crate::tree::{Action, Kinds, Step, Tree};

/// A step as a path names it.
#[derive(Clone, Copy)]
pub struct Place<'t> {
    /// The step.
    pub step: &'t Step,
    /// One instance is meant, not all.
    pub instance: bool,
}

/// The step that a path names; without keys: of all instances.
pub fn find<'t>(tree: &'t Tree, path: Ref<'_>, found: &mut Vec<Diagnostic>) -> Option<(StepPath, Place<'t>)> {
    let written = StepPath::written(path.scalar()?);
    let mut at = tree;
    let mut parts = written.as_str().split('/').peekable();
    let mut above = String::new();
    while let Some(part) = parts.next() {
        let (id, instance) = part.split_once('[').map_or((part, false), |(id, _)| (id, true));
        let Some(step) = at.step(id) else {
            found.push(unknown(path, at, id, &above));
            return None;
        };
        if instance && step.fan_out.is_none() {
            let message = format!("`{above}{id}` has no instances: it has neither `foreach` nor `matrix`");
            found.push(Diagnostic::error("unknown-step", path.span(), message).help(format!("write `{above}{id}`")));
            return None;
        }
        match (&step.action, parts.peek()) {
            (_, None) => return Some((written.clone(), Place { step, instance })),
            (Action::Tree { tree: inner, .. }, Some(_)) => at = inner,
            (Action::Run(_) | Action::Uses { .. } | Action::Approve { .. }, Some(_)) => {
                let message = format!("`{above}{id}` is no sub-tree, so it has no steps");
                found.push(Diagnostic::error("unknown-step", path.span(), message).help(format!("write `{above}{id}`")));
                return None;
            }
        }
        above = format!("{above}{part}/");
    }
    None
}

fn unknown(path: Ref<'_>, tree: &Tree, id: &str, above: &str) -> Diagnostic {
    let known = tree.steps.iter().map(|s| s.id.as_str());
    let message = format!("the tree `{}` has no step `{id}`{}", tree.name, did_you_mean(id, known.clone()));
    let names: Vec<String> = known.map(|k| format!("{above}{k}")).collect();
    Diagnostic::error("unknown-step", path.span(), message).help(format!("it has {}", listed(names.iter().map(String::as_str))))
}

impl Place<'_> {
    /// Whether it is a sub-tree.
    pub fn is_tree(&self) -> bool {
        matches!(self.step.action, Action::Tree { .. })
    }

    /// Whether something takes it back.
    pub fn may_be_undone(&self, kinds: &dyn Kinds) -> bool {
        let kind = matches!(&self.step.action, Action::Uses { kind, .. } if kinds.kind(kind).is_some_and(|k| k.undoes));
        self.step.undo.is_some() || kind
    }

    /// Whether something could call it done before it runs.
    pub fn may_be_done(&self, kinds: &dyn Kinds) -> bool {
        let observes = matches!(&self.step.action, Action::Uses { kind, .. } if kinds.kind(kind).is_some_and(|k| k.observes));
        self.step.cache || self.step.check.is_some() || observes
    }
}
