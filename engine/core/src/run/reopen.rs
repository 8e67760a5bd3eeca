//! Resume: what is kept, what starts anew, and what became of attempts that the engine left.

use super::input::Recovered;
use super::state::{Halt, NodeId, ROOT, ScopeId, Stage};
use super::{IllegalEvent, Run, RunStatus};
use crate::event::{ErrorReason, EventKind, StepError, StepStatus};
use crate::tree::OnCrash;
use jiff::Timestamp;

impl Run {
    /// The run is held again: its tables are those of the journal.
    pub(super) fn recover(&mut self, how: Recovered, now: Timestamp) -> Result<(), IllegalEvent> {
        let Recovered { epoch, approved, definition, accept_changes, force, skip, actor } = how;
        self.accepts_changes = accept_changes;
        self.approved = self.facts.as_ref().map(|f| f.approved.clone()).unwrap_or_default();
        self.approved.extend(approved);
        if self.status == RunStatus::Pending {
            return Ok(());
        }
        let ended = self.status.is_ended();
        self.record(now, None, None, None, EventKind::RunResumed { epoch, definition })?;
        for step in skip {
            let kind = super::select::skipped();
            self.record(now, Some(step), None, Some(actor.clone()), kind)?;
        }
        if self.rollback.is_none() {
            self.suspect_all(&force, ended, now)?;
        }
        for id in 0..super::tables::index(self.nodes.len()) {
            self.recover_node(id, now)?;
        }
        for environment in self.gates.keys().cloned().collect::<Vec<_>>() {
            let name = format!("environment:{environment}");
            if self.is_approved_beforehand(&name) {
                self.answer(&name, true, "--approve", None, now)?;
            }
        }
        Ok(())
    }

    pub(super) fn recover_node(&mut self, id: NodeId, now: Timestamp) -> Result<(), IllegalEvent> {
        if !self.is_live(id) {
            return Ok(());
        }
        if self.node(id).status == StepStatus::Running && self.was_cut_off(id) {
            self.emit(now, Some(id), EventKind::StepInterrupted { error: cut_off() })?;
        }
        match self.node(id).status {
            // `on_crash: undo_first`, cut off in its undo.
            StepStatus::Undoing if !self.is_rolled_back(id) => self.emit(now, Some(id), EventKind::StepInterrupted { error: cut_off() }),
            StepStatus::Waiting if self.is_approval(id) => {
                let expires = self.node(id).more.as_ref().and_then(|m| m.expires_at);
                self.limits.extend(expires.map(|at| (at, id)));
                self.ask_again(id, now)
            }
            StepStatus::RetryWait => {
                self.restore_timer(id, now);
                Ok(())
            }
            StepStatus::Running if self.node(id).child.is_some() => {
                // It takes its places and locks again before anything in it starts.
                self.stage(id, Stage::Queued);
                if self.node(id).scope == ROOT {
                    self.ready.push_back(id);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// All trees above it are at work.
    pub(super) fn is_live(&self, id: NodeId) -> bool {
        let mut at = id;
        while let Some(parent) = self.scope(self.node(at).scope).parent {
            if self.node(parent).status != StepStatus::Running {
                return false;
            }
            at = parent;
        }
        true
    }

    /// Whether a running node had an attempt under way (a fan-out and a sub-tree only contain some).
    pub(super) fn was_cut_off(&self, id: NodeId) -> bool {
        let node = self.node(id);
        if node.fan.is_some() {
            return false;
        }
        let Some(child) = node.child else { return true };
        let verifying = node.more.as_ref().is_some_and(|m| m.action.is_some());
        let untouched = self.scope(child).nodes.iter().all(|n| self.node(*n).status == StepStatus::Pending);
        verifying || (self.spec(id).check.is_some() && untouched)
    }

    /// An attempt whose outcome is unknown has its turn: `on_crash` decides.
    pub(super) fn settle_interrupted(&mut self, id: NodeId, now: Timestamp) -> Result<(), IllegalEvent> {
        let recorded = self.node(id).more.as_ref().is_some_and(|m| m.action.is_some());
        match self.spec(id).on_crash {
            _ if recorded || self.is_tree(id) => self.enqueue(id),
            OnCrash::Rerun | OnCrash::Check | OnCrash::UndoFirst => self.enqueue(id),
            OnCrash::Ask => return self.ask_decision(id, now),
            OnCrash::Fail if self.node(id).more.as_ref().is_some_and(|m| m.doubted) => return self.ask_decision(id, now),
            OnCrash::Fail => {
                let error = self.node(id).error.clone().map_or_else(cut_off, |e| *e);
                return self.emit(now, Some(id), EventKind::StepFailed { error });
            }
        }
        Ok(())
    }

    pub(super) fn restore_timer(&mut self, id: NodeId, now: Timestamp) {
        let at = self.node(id).more.as_ref().and_then(|m| m.retry_at).unwrap_or(now);
        self.retries.insert((at, id));
    }

    /// What a resume does to the tables: called by `apply`, so that replay does the same.
    pub(super) fn reopen(&mut self) {
        let (ended, paused) = (self.status.is_ended(), self.status == RunStatus::Paused);
        let late = if self.is_over() { Some(Halt::Late) } else { None };
        let halt = self.scope(ROOT).halt.or(late).filter(|_| !ended);
        self.forget_sitting();
        if ended {
            self.clock.worked = std::time::Duration::ZERO;
        }
        self.status = RunStatus::Running;
        match halt {
            // A cancel or a deadline that was being carried out goes on to its end.
            Some(Halt::Cancelled | Halt::Late) => self.scopes[ROOT as usize].halt = halt,
            Some(Halt::Stopped | Halt::Failing | Halt::RolledBack) | None => {
                if self.reopen_nodes(ROOT, paused) || ended {
                    self.reopen_finally(ROOT);
                }
            }
        }
        self.activate_all();
    }

    /// Counts anew and queues what may be decided, in all trees at work.
    pub(super) fn activate_all(&mut self) {
        let mut live = vec![ROOT];
        while let Some(scope) = live.pop() {
            self.activate(scope);
            live.extend(self.live_children(scope));
            let suspects = self.members(scope).into_iter().filter(|id| self.node(*id).suspect);
            live.extend(suspects.filter_map(|id| self.node(id).child).collect::<Vec<_>>());
        }
    }

    /// What was true of the last sitting only.
    pub(super) fn forget_sitting(&mut self) {
        self.todo.clear();
        self.closing.clear();
        self.ready.clear();
        self.retries.clear();
        self.limits.clear();
        self.pools.clear();
        self.locks.clear();
        self.swept = None;
        self.cancel_now = false;
        self.interrupting = false;
        self.pausing = false;
        self.order = None;
        self.refused.clear();
        (self.count.busy, self.count.outstanding) = (0, 0);
        for gate in self.gates.values_mut() {
            gate.queue.clear();
            if gate.answer == Some(false) {
                (gate.answer, gate.asked) = (None, false);
            }
        }
        for scope in &mut self.scopes {
            scope.halt = None;
        }
        for node in &mut self.nodes {
            node.stage = Stage::Idle;
            node.suspect = false;
            if let Some(fan) = &mut node.fan {
                fan.active = 0;
                fan.queue.clear();
            }
        }
    }

    /// Sub-trees of a scope that are at work.
    fn live_children(&self, scope: ScopeId) -> Vec<ScopeId> {
        let running = |id: NodeId| (self.node(id).status == StepStatus::Running).then(|| self.node(id).child).flatten();
        self.members(scope).into_iter().filter_map(running).collect()
    }

    /// The nodes of a scope with the instances of its fan-outs.
    pub(super) fn members(&self, scope: ScopeId) -> Vec<NodeId> {
        let mut all = Vec::new();
        for id in &self.scope(scope).nodes {
            all.push(*id);
            all.extend(self.node(*id).fan.iter().flat_map(|f| f.children.iter().copied()));
        }
        all
    }

    /// A sub-tree's step starts again: what did not end well in it is pending again.
    pub(super) fn reopen_scope(&mut self, scope: ScopeId) {
        self.scopes[scope as usize].halt = None;
        self.scopes[scope as usize].params.take();
        self.scopes[scope as usize].surroundings.take();
        self.reopen_nodes(scope, false);
        self.reopen_finally(scope);
    }

    /// True where a step in `steps` starts anew. Where none does, what was skipped or blocked by others stays so.
    fn reopen_nodes(&mut self, scope: ScopeId, paused: bool) -> bool {
        let mut again = false;
        let mut scopes = vec![scope];
        while let Some(at) = scopes.pop() {
            let members = self.members(at);
            let follows = |id: &NodeId| self.node(*id).follows && self.node(*id).status.is_final();
            let open = |id: &NodeId| !self.spec(*id).finally && !self.is_kept(*id) && !follows(id);
            // What is in its `finally` goes on with that to its end; a pause comes before it.
            // Told by the statuses alone, as the journal has them: counters know what a sitting looks at again.
            let past = |n: NodeId| self.node(n).status.is_final() || self.is_past(n);
            let over = |last: bool| self.scope(at).nodes.iter().all(|n| self.spec(*n).finally != last || past(*n));
            let ending = !paused && over(false) && !over(true);
            let part = !ending && members.iter().any(open);
            for id in members {
                if part || self.spec(id).finally || self.is_allowed(id) {
                    self.reopen_node(id);
                }
            }
            if at == scope {
                again = part;
            } else if part {
                self.reopen_finally(at);
            }
            scopes.extend(self.live_children(at));
        }
        again
    }

    fn reopen_node(&mut self, id: NodeId) {
        if self.is_kept(id) || self.node(id).aside().is_some() {
            return;
        }
        match self.node(id).status {
            StepStatus::Failed | StepStatus::TimedOut if self.was_in_doubt(id) => self.doubt(id),
            // Nobody knows what a failed undo left.
            StepStatus::UndoFailed if self.is_external(id) => self.doubt(id),
            StepStatus::Failed
            | StepStatus::TimedOut
            | StepStatus::Cancelled
            | StepStatus::Blocked
            | StepStatus::Rejected
            | StepStatus::Skipped
            | StepStatus::Undone
            | StepStatus::UndoFailed => self.renew(id),
            StepStatus::Ready => self.set(id, StepStatus::Pending),
            StepStatus::Pending
            | StepStatus::Running
            | StepStatus::RetryWait
            | StepStatus::Waiting
            | StepStatus::Interrupted
            | StepStatus::Undoing
            | StepStatus::Succeeded
            | StepStatus::Cached => {}
        }
    }

    /// Its outcome is unknown again.
    pub(super) fn doubt(&mut self, id: NodeId) {
        let error = self.node_mut(id).error.take();
        self.renew(id);
        self.set(id, StepStatus::Interrupted);
        let node = self.node_mut(id);
        node.error = error;
        let more = node.more();
        (more.doubted, more.unsettled, more.action) = (true, true, None);
    }

    /// It failed as `on_crash: fail` says, and nobody knows whether its change was made.
    pub(super) fn was_in_doubt(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let attempted = node.attempt > 0 && node.fan.is_none();
        matches!(self.spec(id).on_crash, OnCrash::Fail | OnCrash::UndoFirst)
            && attempted
            && node.error.as_ref().is_some_and(|e| self.is_unknown(id, e))
    }

    pub(super) fn is_kept(&self, id: NodeId) -> bool {
        let tolerated = self.node(id).group.is_some_and(|g| self.node(g).status.is_success() || self.is_allowed(g));
        self.node(id).status.is_success() || self.is_allowed(id) || tolerated
    }

    /// `finally` runs each time its tree ends, from its beginning.
    pub(super) fn reopen_finally(&mut self, scope: ScopeId) {
        let runs = |id: &NodeId| self.spec(*id).finally && self.node(*id).aside().is_none();
        let finally: Vec<NodeId> = self.members(scope).into_iter().filter(runs).collect();
        for id in finally {
            let succeeded = self.node(id).status.is_success();
            self.renew(id);
            let more = self.node_mut(id).more();
            more.generation += u32::from(succeeded);
            more.action = None;
            if let Some(child) = self.node(id).child {
                self.renew_scope(child);
            }
        }
    }

    /// All of a sub-tree in `finally` runs again.
    fn renew_scope(&mut self, scope: ScopeId) {
        let mut scopes = vec![scope];
        while let Some(at) = scopes.pop() {
            for id in self.members(at) {
                self.renew(id);
                self.node_mut(id).more().generation += 1;
                scopes.extend(self.node(id).child);
            }
        }
    }

    /// It has ended; what a rollback was taking back had before.
    pub(super) fn is_past(&self, id: NodeId) -> bool {
        let node = self.node(id);
        node.is_settled() || (node.status == StepStatus::Undoing && self.is_rolled_back(id))
    }

    /// Counts the open instances of the fan-outs of a scope, and queues those of open ones.
    pub(super) fn recount_fans(&mut self, scope: ScopeId) {
        for id in self.scope(scope).nodes.clone() {
            let Some(fan) = &self.node(id).fan else { continue };
            let children = fan.children.clone();
            let open = children.iter().filter(|c| !self.is_past(**c)).count();
            if let Some(fan) = &mut self.node_mut(id).fan {
                fan.open = super::tables::index(open);
            }
            if self.node(id).status != StepStatus::Running && !self.node(id).suspect {
                continue;
            }
            for child in children {
                let waiting = self.explicit_needs(child).into_iter().filter(|p| !self.node(*p).is_settled()).count();
                self.node_mut(child).open = super::tables::index(waiting);
                self.node_mut(child).counted = self.is_past(child);
                self.todo.push_back(child);
            }
            self.closing.push_back(super::Closing::Fan(id));
        }
    }
}

/// What is known of an attempt that the engine's end cut off.
pub(super) fn cut_off() -> StepError {
    let message = "trees ended while it ran; its outcome is unknown".to_owned();
    StepError { reason: ErrorReason::Interrupted, code: None, message, log: None }
}
