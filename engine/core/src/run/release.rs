//! What a run left deployed, by environment.

use super::state::NodeId;
use super::{Run, tables};
use crate::event::{Deployed, DeployedStep, StepStatus};
use crate::tree::Action;
use std::collections::BTreeMap;

impl Run {
    /// What stands deployed by this run, for each environment in which a step of it deployed something.
    /// An environment of which a part of the deploying steps was left out (`--only`, `--skip`, taken
    /// over) is not among them: nobody could go back to that by this run.
    pub(super) fn deployed(&self) -> Vec<Deployed> {
        let mut all: BTreeMap<String, Option<Vec<DeployedStep>>> = BTreeMap::new();
        for id in 0..tables::index(self.nodes.len()) {
            let Some(kind) = self.deploying_kind(id) else { continue };
            let steps = all.entry(self.environment_of(id)).or_insert_with(|| Some(Vec::new()));
            if self.node(id).aside().is_some() || self.was_left_out(id) {
                *steps = None;
            } else if let Some(steps) = steps {
                let failed = matches!(self.node(id).status, StepStatus::Failed | StepStatus::TimedOut);
                if failed || matches!(self.node(id).status, StepStatus::Succeeded | StepStatus::Cached) {
                    let step = DeployedStep::new(self.node(id).path.clone(), kind.to_owned(), &self.outputs_of(id));
                    steps.push(DeployedStep { failed, ..step });
                }
            }
        }
        let project = || self.facts().map(|facts| facts.project.clone()).unwrap_or_default();
        let known = all.into_iter().filter_map(|(environment, steps)| Some((environment, steps?)));
        known
            .filter(|(environment, steps)| !steps.is_empty() || self.has_deployed(environment))
            .map(|(environment, steps)| Deployed { project: project(), environment, steps })
            .collect()
    }

    /// The kind of a leaf that deploys.
    fn deploying_kind(&self, id: NodeId) -> Option<&str> {
        match &self.spec(id).action {
            Action::Uses { kind, .. } if self.node(id).fan.is_none() && self.deploying.contains(kind) => Some(kind),
            Action::Uses { .. } | Action::Run(_) | Action::Tree { .. } | Action::Approve { .. } => None,
        }
    }

    /// Whether a person's word stands for what contains it.
    fn was_left_out(&self, id: NodeId) -> bool {
        let mut at = Some(id);
        while let Some(container) = at.and_then(|id| self.container(id)) {
            if self.node(container).aside().is_some() {
                return true;
            }
            at = Some(container);
        }
        false
    }

    /// Whether this run changed something there, though nothing of it stands any more.
    fn has_deployed(&self, environment: &str) -> bool {
        (0..tables::index(self.nodes.len())).any(|id| {
            let node = self.node(id);
            let taken_back = matches!(node.status, StepStatus::Undone | StepStatus::UndoFailed);
            let touched = taken_back || node.more.as_ref().is_some_and(|more| more.acted || !more.intents.is_empty());
            touched && self.deploying_kind(id).is_some() && self.environment_of(id) == environment
        })
    }
}
