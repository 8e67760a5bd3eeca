//! What others may see of a run at work.

use super::Run;
use super::state::{NodeId, ROOT, ScopeId};
use crate::event::{Json, Progress, RunStarted, RunStatus, StepError, StepStatus};
use crate::path::{RunId, StepPath};
use jiff::Timestamp;

/// A step or instance as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// Its path.
    pub path: StepPath,
    /// Its status.
    pub status: StepStatus,
    /// The number of its last attempt; 0: none.
    pub attempt: u32,
    /// It contains others (a fan-out or a sub-tree).
    pub contains: bool,
    /// How it failed, if it did.
    pub error: Option<StepError>,
}

impl Run {
    /// Its id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// What a step returned, where it succeeded.
    pub fn outputs(&self, path: &StepPath) -> Option<Json> {
        self.find(path).map(|id| self.outputs_of(id)).filter(|outputs| !outputs.is_null())
    }

    /// Its status.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// The number of its last event.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Its first event, once there is one.
    pub fn facts(&self) -> Option<&RunStarted> {
        self.facts.as_deref()
    }

    /// All steps and instances known so far, in the order in which they came to be.
    pub fn steps(&self) -> impl Iterator<Item = StepView> + '_ {
        self.nodes.iter().map(view)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        if !self.scopes.is_empty() {
            self.count_scope(ROOT, &mut progress);
        }
        progress
    }

    fn count_scope(&self, scope: ScopeId, progress: &mut Progress) {
        self.scope(scope).nodes.iter().for_each(|id| self.count_leaves(*id, progress));
    }

    fn count_leaves(&self, id: NodeId, progress: &mut Progress) {
        let node = self.node(id);
        // One that never began takes its leaves with it; else they speak for themselves.
        let whole = matches!(node.status, StepStatus::Skipped | StepStatus::Blocked);
        match (&node.fan, node.child) {
            (Some(fan), _) if !whole => fan.children.iter().for_each(|instance| self.count_leaves(*instance, progress)),
            (None, Some(scope)) if !whole => self.count_scope(scope, progress),
            (Some(fan), _) => progress.add(node.status, fan.children.len() as u64 * self.spec(id).leaves()),
            (None, _) => progress.add(node.status, self.spec(id).leaves()),
        }
    }

    /// The environment that a step works for.
    pub fn environment(&self, path: &StepPath) -> Option<String> {
        self.find(path).map(|id| self.environment_of(id))
    }

    /// One step or instance.
    pub fn step(&self, path: &StepPath) -> Option<StepView> {
        self.find(path).map(|id| view(self.node(id)))
    }

    /// Attempts that the journal calls running: after a load, those that were cut off.
    pub fn running(&self) -> Vec<(StepPath, u32)> {
        let all = 0..super::tables::index(self.nodes.len());
        let undoing = |id: &NodeId| self.node(*id).status == StepStatus::Undoing;
        let cut_off = all.filter(|id| undoing(id) || (self.node(*id).status == StepStatus::Running && self.was_cut_off(*id)));
        cut_off.map(|id| self.node(id)).map(|n| (n.path.clone(), n.attempt)).collect()
    }

    /// When the question of an approval step expires, where it does.
    pub fn expires_at(&self, name: &str) -> Option<Timestamp> {
        self.named(name).and_then(|id| self.node(id).more.as_ref()).and_then(|m| m.expires_at)
    }
}

fn view(node: &super::state::Node) -> StepView {
    StepView {
        path: node.path.clone(),
        status: node.status,
        attempt: node.attempt,
        contains: node.fan.is_some() || node.child.is_some(),
        error: node.error.as_deref().cloned(),
    }
}
