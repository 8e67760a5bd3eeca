//! Events into tables. Exhaustive over [`EventKind`]; used by a live run and by replay alike.

use super::state::{Aside, Gate, Halt, NodeId, Product, ROOT};
use super::{IllegalEvent, Run};
use crate::event::{
    ArtifactRef, Digests, ErrorReason, Event, EventKind, Json, Reason, Resolution, RunStatus, StepError, StepStatus, WaitFor,
};
use crate::tree::{Action, OnFailure};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

type Applied = Result<(), IllegalEvent>;

impl Run {
    pub(super) fn apply(&mut self, event: &Event) -> Applied {
        if event.seq != self.seq + 1 {
            return Err(illegal(event, "the run", &format!("at event {}", self.seq)));
        }
        match &event.kind {
            EventKind::RunStarted(facts) => {
                self.begin(event.ts, facts.clone());
                self.clock.last = Some(event.ts);
            }
            EventKind::RunResumed { .. } | EventKind::CancelRequested { .. } | EventKind::RollbackStarted(_) if self.scopes.is_empty() => {
                return Err(illegal(event, "the run", "not begun"));
            }
            EventKind::RunResumed { definition, .. } => {
                if let Some(digest) = definition {
                    let known = self.later.iter().find(|(d, _)| d == digest).map(|(_, tree)| Arc::clone(tree));
                    self.adopt(known.ok_or_else(|| illegal(event, "the run", "without that definition"))?);
                }
                self.clock.last = Some(event.ts);
                if self.rollback.is_some() { self.reopen_rollback() } else { self.reopen() }
            }
            EventKind::RunSuspended { status, .. } => self.end_sitting(event.ts, *status),
            EventKind::RunFinished { status, .. } => {
                // One that is stuck goes on with what it was asked.
                if *status != RunStatus::RollbackStuck {
                    self.rollback = None;
                }
                self.end_sitting(event.ts, *status);
            }
            EventKind::CancelRequested { now } => self.apply_cancel(*now),
            EventKind::RollbackStarted(how) => self.begin_rollback(event.ts, how),
            _ => self.apply_step(event)?,
        }
        self.seq = event.seq;
        self.clock.newest = Some(event.ts);
        self.advance(event.ts);
        Ok(())
    }

    fn end_sitting(&mut self, ts: Timestamp, status: RunStatus) {
        self.advance(ts);
        self.status = status;
        self.clock.last = None;
    }

    fn apply_cancel(&mut self, now: bool) {
        self.cancel_now = now;
        match &mut self.rollback {
            Some(rollback) => rollback.cancelled = true,
            None => self.scopes[ROOT as usize].halt = Some(Halt::Cancelled),
        }
    }

    fn apply_step(&mut self, event: &Event) -> Applied {
        let path = event.step.as_ref().ok_or_else(|| illegal(event, "no step", ""))?;
        if let Some(environment) = path.as_str().strip_prefix("environment:") {
            return self.apply_gate(event, environment);
        }
        let id = self.find(path).ok_or_else(|| illegal(event, path.as_str(), "unknown"))?;
        let node = self.node(id);
        if node.status.is_final()
            && !matches!(
                event.kind,
                EventKind::StepResolved { .. } | EventKind::StepReopened { .. } | EventKind::UndoStarted | EventKind::IntentRecorded { .. }
            )
            && !undo(&event.kind)
        {
            return Err(illegal(event, path.as_str(), node.status.as_str()));
        }
        self.apply_node(event, id)
    }

    fn apply_node(&mut self, event: &Event, id: NodeId) -> Applied {
        match &event.kind {
            EventKind::StepStarted { digests, .. } => self.start_node(id, event.attempt, digests.clone()),
            EventKind::ActionSucceeded { outputs, artifacts } => {
                let product = Product { outputs: Json::Object(outputs.clone()), artifacts: artifacts.clone() };
                let more = self.node_mut(id).more();
                more.action = Some(product);
                more.acted = true;
            }
            EventKind::StepSucceeded { outputs, artifacts } => {
                if self.node(id).attempt > 0 {
                    self.node_mut(id).more().acted = true;
                }
                self.produce(id, StepStatus::Succeeded, outputs, artifacts);
            }
            EventKind::StepCached { reason, outputs, artifacts, digests } => {
                self.set_aside(id, &reason.code);
                if digests.is_some() {
                    self.node_mut(id).more().digests.clone_from(digests);
                }
                self.produce(id, StepStatus::Cached, outputs, artifacts);
            }
            EventKind::StepReopened { reason } => self.open_again(id, reason),
            EventKind::StepSkipped { reason } => {
                self.set_aside(id, &reason.code);
                self.node_mut(id).follows = true;
                self.end(id, StepStatus::Skipped, None);
            }
            EventKind::StepBlocked { reason } => {
                self.node_mut(id).follows = matches!(reason.code.as_str(), "need_failed" | "none_succeeded");
                self.end(id, StepStatus::Blocked, None);
            }
            EventKind::StepFailed { error } => {
                self.note_effect(id, error);
                self.end(id, StepStatus::Failed, Some(error));
            }
            EventKind::StepTimedOut { error } => {
                self.note_effect(id, error);
                self.end(id, StepStatus::TimedOut, Some(error));
            }
            EventKind::StepCancelled { .. } => self.end(id, StepStatus::Cancelled, None),
            EventKind::StepInterrupted { error } => self.cut_off(id, error),
            EventKind::StepResolved { resolution, outputs, .. } => self.apply_resolution(id, *resolution, &Json::Object(outputs.clone())),
            EventKind::StepExpanded { items } => self.expand(id, items),
            EventKind::StepWaiting { what, .. } => {
                self.node_mut(id).more().undecided = *what == WaitFor::Decision;
                self.set(id, if *what == WaitFor::Lock { self.node(id).status } else { StepStatus::Waiting });
            }
            EventKind::AttemptFailed { error, retry_at } => self.wait_to_retry(id, error, *retry_at),
            EventKind::ApprovalRequested { shown, expires_at, .. } => self.begin_question(id, shown, *expires_at),
            EventKind::ApprovalGiven { .. } | EventKind::ApprovalExpired => self.drop_timer(id),
            EventKind::ApprovalRejected { .. } => {
                self.drop_timer(id);
                self.end(id, StepStatus::Rejected, None);
            }
            EventKind::IntentRecorded { record } => self.node_mut(id).more().intents.push(record.clone()),
            EventKind::UndoStarted => self.start_undo(id),
            EventKind::UndoSucceeded => self.taken_back(id),
            EventKind::UndoFailed { error } => self.end_undo(id, error),
            EventKind::RunStarted(_)
            | EventKind::RunResumed { .. }
            | EventKind::RunSuspended { .. }
            | EventKind::RunFinished { .. }
            | EventKind::CancelRequested { .. }
            | EventKind::RollbackStarted(_) => return Err(illegal(event, "a step", "")),
        }
        Ok(())
    }

    /// It had ended well, and runs again.
    fn open_again(&mut self, id: NodeId, reason: &Reason) {
        if reason.code != "forced" && self.was_in_doubt(id) {
            self.doubt(id)
        } else {
            self.renew(id)
        }
        let more = self.node_mut(id).more();
        more.action = None;
        more.aside = None;
        more.generation += 1;
        self.todo.push_back(id);
    }

    /// Nobody knows what came of its attempt.
    fn cut_off(&mut self, id: NodeId, error: &StepError) {
        let cut_off = self.node(id).status == StepStatus::Running;
        self.set(id, StepStatus::Interrupted);
        let node = self.node_mut(id);
        node.tries = node.tries.saturating_sub(u32::from(cut_off));
        node.error = Some(Box::new(error.clone()));
        node.more().unsettled = true;
        if self.halted(id).is_some_and(Halt::ends_all) {
            self.end(id, StepStatus::Interrupted, None);
        }
    }

    /// A try of the action or of the undo failed, and another follows.
    fn wait_to_retry(&mut self, id: NodeId, error: &StepError, retry_at: Timestamp) {
        let undoing = self.node(id).status == StepStatus::Undoing;
        let mut only_looks = false;
        if !undoing {
            self.note_effect(id, error);
            // Nor does the limit of a sub-tree's attempt outlive it.
            self.drop_timer(id);
            self.set(id, StepStatus::RetryWait);
            only_looks = self.is_external(id) && self.node(id).tries >= self.spec(id).retry.attempts;
        }
        let node = self.node_mut(id);
        node.error = Some(Box::new(error.clone()));
        node.more().retry_at = Some(retry_at);
        if only_looks {
            node.more().unknown = Some(error.clone());
        }
        self.retries.insert((retry_at, id));
    }

    fn begin_question(&mut self, id: NodeId, shown: &str, expires_at: Option<Timestamp>) {
        self.set(id, StepStatus::Waiting);
        let seq = self.seq + 1;
        let more = self.node_mut(id).more();
        more.begun_at = seq;
        shown.clone_into(&mut more.shown);
        more.expires_at = expires_at;
        if let Some(at) = expires_at {
            self.limits.insert((at, id));
        }
    }

    fn taken_back(&mut self, id: NodeId) {
        self.drop_timer(id);
        self.node_mut(id).taken_back();
        if self.is_rolled_back(id) {
            self.set(id, StepStatus::Undone);
        } else {
            // `on_crash: undo_first`: now it may run.
            self.renew(id);
            self.todo.push_back(id);
        }
    }

    fn end_undo(&mut self, id: NodeId, error: &StepError) {
        self.drop_timer(id);
        self.set(id, StepStatus::UndoFailed);
        let node = self.node_mut(id);
        node.error = Some(Box::new(error.clone()));
        node.more().undo_tries = 0;
    }

    fn apply_gate(&mut self, event: &Event, environment: &str) -> Applied {
        let gate: &mut Gate = self.gates.entry(environment.to_owned()).or_default();
        match &event.kind {
            EventKind::ApprovalRequested { .. } => gate.asked = true,
            EventKind::ApprovalGiven { .. } => gate.answer = Some(true),
            EventKind::ApprovalRejected { .. } => gate.answer = Some(false),
            _ => return Err(illegal(event, environment, "an environment")),
        }
        Ok(())
    }

    fn begin(&mut self, ts: Timestamp, facts: Box<crate::event::RunStarted>) {
        self.status = RunStatus::Running;
        self.started = Some(ts);
        let environment = facts.environment.clone();
        self.facts = Some(facts);
        let tree = Arc::clone(&self.tree);
        self.open_scope(tree, None, environment);
        self.activate(ROOT);
    }

    fn start_node(&mut self, id: NodeId, attempt: Option<u32>, digests: Option<Digests>) {
        let (driven, seq) = (self.clock.driven, self.seq + 1);
        self.set(id, StepStatus::Running);
        let node = self.node_mut(id);
        node.attempt = attempt.unwrap_or(node.attempt + 1);
        node.tries += 1;
        let more = node.more();
        (more.begun_at, more.unsettled) = (seq, false);
        let retry_at = node.more.as_mut().and_then(|m| m.retry_at.take());
        if digests.is_some() {
            node.more().digests = digests;
        }
        if self.spec(id).deadline.is_some() || self.spec(id).timeout.is_some() {
            self.node_mut(id).more().begun.get_or_insert(driven);
        }
        if let Some(at) = retry_at {
            self.retries.remove(&(at, id));
        }
        self.forget_action(id);
        self.open_child(id);
    }

    /// The sub-tree of a step: made when it first starts, reopened when it starts again.
    fn open_child(&mut self, id: NodeId) {
        let Action::Tree { tree, .. } = &self.spec(id).action else { return };
        let (tree, environment) = (Arc::clone(tree), self.environment_of(id));
        if self.repeats_only_verify(id) {
            return;
        }
        match self.node(id).child {
            Some(child) => self.reopen_scope(child),
            None => {
                let child = self.open_scope(tree, Some(id), environment);
                self.node_mut(id).child = Some(child);
            }
        }
        if let (Some(child), None) = (self.node(id).child, &self.spec(id).check) {
            self.activate(child);
        }
    }

    /// What a failed attempt says of what is left in the world: outputs are looked at after a success.
    fn note_effect(&mut self, id: NodeId, error: &StepError) {
        let unknown = self.is_unknown(id, error);
        let acted = error.reason == ErrorReason::Output;
        if acted || unknown {
            let more = self.node_mut(id).more();
            more.acted |= acted;
            more.unsettled |= unknown;
        }
    }

    /// A local step that runs again repeats action and verify; an external one only the verify.
    fn forget_action(&mut self, id: NodeId) {
        if self.repeats_only_verify(id) {
            return;
        }
        if let Some(more) = &mut self.node_mut(id).more {
            more.action = None;
        }
    }

    fn produce(&mut self, id: NodeId, status: StepStatus, outputs: &Json, artifacts: &BTreeMap<String, ArtifactRef>) {
        if let Some(more) = &mut self.node_mut(id).more {
            more.action = None;
        }
        if self.is_leaf(id) {
            let before = self.node(id).result.as_ref().map_or(0, |r| volume(&r.outputs));
            self.volume = self.volume.saturating_sub(before) + volume(outputs);
        }
        if !outputs.is_null() || !artifacts.is_empty() {
            self.node_mut(id).result = Some(Box::new(Product { outputs: outputs.clone(), artifacts: artifacts.clone() }));
        }
        self.end(id, status, None);
    }

    fn apply_resolution(&mut self, id: NodeId, resolution: Resolution, outputs: &Json) {
        let was_final = self.node(id).status.is_final();
        let more = self.node_mut(id).more();
        more.unsettled = false;
        more.acted |= resolution == Resolution::Done;
        match resolution {
            Resolution::Done | Resolution::Skip if was_final => {}
            Resolution::Done => self.produce(id, StepStatus::Succeeded, outputs, &BTreeMap::new()),
            Resolution::Skip => {
                self.node_mut(id).more().aside = Some(Aside::Skipped);
                self.end(id, StepStatus::Succeeded, None);
            }
            Resolution::Retry => {
                self.renew(id);
                self.node_mut(id).more().action = None;
                self.todo.push_back(id);
            }
            Resolution::Fail if was_final => {}
            Resolution::Fail => {
                // From here on it is known: a later resume runs it again like any other.
                let error = self.node(id).error.clone().map(|e| StepError { reason: ErrorReason::Exit, ..*e });
                self.end(id, StepStatus::Failed, error.as_ref());
            }
            Resolution::Undone => {
                self.node_mut(id).taken_back();
                if self.node(id).counted { self.set(id, StepStatus::Undone) } else { self.end(id, StepStatus::Undone, None) }
            }
        }
    }

    /// A node ended: everything that counts it is told.
    pub(super) fn end(&mut self, id: NodeId, status: StepStatus, error: Option<&StepError>) {
        if self.node(id).status == StepStatus::Pending {
            // A fan-out that ends without expanding has no instances, whatever a former pass had.
            self.node_mut(id).fan = None;
        }
        self.set(id, status);
        if let Some(error) = error {
            self.node_mut(id).error = Some(Box::new(error.clone()));
        }
        self.drop_timer(id);
        let seq = self.seq + 1;
        if let Some(more) = &mut self.node_mut(id).more {
            more.ended_at = seq;
        }
        let node = self.node_mut(id);
        (node.counted, node.suspect) = (true, false);
        if self.node(id).status.is_failure() {
            self.note_failure(id);
        }
        match self.node(id).group {
            Some(group) => self.count_instance(group, id),
            None => self.count_step(id),
        }
    }

    fn note_failure(&mut self, id: NodeId) {
        let halt = match self.on_failure() {
            OnFailure::Continue => return,
            OnFailure::Stop | OnFailure::Rollback => Some(Halt::Stopped),
            OnFailure::Cancel => Some(Halt::Failing),
            OnFailure::Pause => None,
        };
        if self.is_allowed(id) || !self.decides_run(id) || self.rollback.is_some() {
            return;
        }
        match halt {
            Some(halt) => drop(self.scopes[ROOT as usize].halt.get_or_insert(halt)),
            None => self.pausing |= self.scopes[ROOT as usize].halt.is_none(),
        }
    }

    /// What a failure does to the rest of this run.
    pub(super) fn on_failure(&self) -> OnFailure {
        let paused = self.facts.as_ref().is_some_and(|f| f.pause_on_failure);
        if paused { OnFailure::Pause } else { self.tree.on_failure }
    }

    /// Whether a failure here is bound to fail the run.
    fn decides_run(&self, id: NodeId) -> bool {
        let mut at = id;
        loop {
            let spec = self.spec(at);
            let tolerated = self.node(at).group.is_some() && spec.tolerate.is_some();
            let again = matches!(spec.action, Action::Tree { .. }) && self.node(at).tries < spec.retry.attempts && at != id;
            if spec.finally || tolerated || again || (at != id && spec.allow_failure != crate::tree::AllowFailure::No) {
                return false;
            }
            match self.scope(self.node(at).scope).parent {
                Some(parent) => at = parent,
                None => return true,
            }
        }
    }

    /// Moves the clock of driven time on.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let Some(last) = self.clock.last else { return };
        let Ok(step) = std::time::Duration::try_from(now.duration_since(last)) else { return };
        self.clock.driven += step;
        if !self.only_people() {
            self.clock.worked += step;
        }
        self.clock.last = Some(now);
    }

    /// Whether nothing is under way but questions to people.
    pub(super) fn only_people(&self) -> bool {
        let count = &self.count;
        count.outstanding == 0 && count.running == 0 && self.retries.is_empty() && self.waits_for_people()
    }
}

fn undo(kind: &EventKind) -> bool {
    matches!(kind, EventKind::UndoSucceeded | EventKind::UndoFailed { .. })
}

fn illegal(event: &Event, step: &str, status: &str) -> IllegalEvent {
    let kind = serde_json::to_value(&event.kind).ok().and_then(|v| v["type"].as_str().map(str::to_owned)).unwrap_or_default();
    IllegalEvent { seq: event.seq, kind, step: step.into(), status: status.into() }
}

/// The bytes of some outputs as JSON.
pub(super) fn volume(outputs: &Json) -> u64 {
    match outputs {
        Json::Null => 0,
        Json::String(text) => text.len() as u64 + 2,
        Json::Bool(_) | Json::Number(_) => 8,
        Json::Array(items) => items.iter().map(|i| volume(i) + 1).sum(),
        Json::Object(entries) => entries.iter().map(|(name, value)| name.len() as u64 + volume(value) + 4).sum(),
    }
}
