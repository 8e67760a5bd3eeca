//! How a tree falls into leaves: what a path of an event stands for, and how much of the run it is.

use std::sync::Arc;
use trees_core::path::StepPath;
use trees_core::tree::{Action, AllowFailure, Tree};

/// The leaves of a tree.
#[derive(Debug, Clone)]
pub struct Shape(Arc<Tree>);

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A process, a kind or an approval.
    Leaf,
    /// A fan-out or a sub-tree, with the leaves of one instance.
    Container(u64),
}

impl Shape {
    /// Of a tree.
    pub fn new(tree: Arc<Tree>) -> Self {
        Self(tree)
    }

    /// Leaves known before the run: a fan-out counts as one instance.
    pub fn leaves(&self) -> u64 {
        self.0.leaves()
    }

    /// Whether a failure of the step counts as success; a resume keeps it then.
    pub fn may_fail(&self, path: &StepPath) -> bool {
        let mut tree = &self.0;
        for segment in path.as_str().split('/') {
            let Some(step) = tree.step(segment.split('[').next().unwrap_or(segment)) else { return false };
            if step.allow_failure != AllowFailure::No || step.tolerate.is_some() {
                return true;
            }
            let Action::Tree { tree: inner, .. } = &step.action else { return false };
            tree = inner;
        }
        false
    }

    /// What a path stands for; a path that the tree does not know is a leaf.
    pub fn part(&self, path: &StepPath) -> Part {
        let mut tree = &self.0;
        let mut segments = path.as_str().split('/').peekable();
        while let Some(segment) = segments.next() {
            let (id, instance) = segment.split_once('[').map_or((segment, false), |(id, _)| (id, true));
            let Some(step) = tree.step(id) else { return Part::Leaf };
            match (&step.action, segments.peek()) {
                (Action::Tree { tree: inner, .. }, Some(_)) => tree = inner,
                (Action::Tree { .. }, None) => return Part::Container(step.leaves()),
                _ if step.fan_out.is_some() && !instance => return Part::Container(step.leaves()),
                _ => return Part::Leaf,
            }
        }
        Part::Leaf
    }
}
