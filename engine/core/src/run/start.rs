//! What may start now: places of the run and of fan-outs, pools, locks, protected environments.

use super::state::{NodeId, Stage};
use super::words;
use super::{Closing, Effect, IllegalEvent, Mode, Run, RunStatus};
use crate::event::{EventKind, Object, StepStatus, WaitFor};
use crate::hash;
use crate::path::StepPath;
use crate::tree::Action;
use crate::units::few;
use jiff::Timestamp;

impl Run {
    /// Starts what there is room for. True where something may follow from that.
    pub(super) fn start_ready(&mut self, now: Timestamp) -> Result<bool, IllegalEvent> {
        let mut moved = false;
        while let Some(id) = self.ready.pop_front() {
            if self.node(id).stage != Stage::Queued || self.node(id).counted {
                self.pass_on(id);
                continue;
            }
            let goes_on = self.node(id).status == StepStatus::Running;
            if let Some(halt) = self.halted(id).filter(|_| !goes_on) {
                self.leave_queue(id);
                self.pass_on(id);
                self.end_halted(id, halt, now)?;
                moved = true;
                continue;
            }
            let leaf = !self.is_tree(id) && !self.is_approval(id);
            if leaf && self.count.busy >= self.places() {
                self.ready.push_front(id);
                return Ok(moved);
            }
            if self.enter(id, now)? {
                moved |= self.begin_attempt(id, now)?;
            } else {
                moved |= !self.todo.is_empty();
            }
        }
        Ok(moved)
    }

    /// A node that was called up does not start: the next in its queues may.
    pub(super) fn pass_on(&mut self, id: NodeId) {
        self.leave_locks(id);
        if let Some((key, _)) = self.pool_of(id)
            && let Some(next) = self.pools.get_mut(&key).and_then(|p| p.queue.pop_front())
        {
            self.ready.push_front(next);
        }
        let Some(group) = self.node(id).group else { return };
        if let Some(next) = self.node_mut(group).fan.as_mut().and_then(|f| f.queue.pop_front()) {
            self.ready.push_front(next);
        }
    }

    pub(super) fn places(&self) -> u32 {
        self.facts.as_ref().map_or(4, |f| f.max_parallel).max(1)
    }

    pub(super) fn is_approval(&self, id: NodeId) -> bool {
        matches!(self.spec(id).action, Action::Approve { .. })
    }

    /// Passes the gate of its environment and takes its places; false where it must wait (it is
    /// in that queue then and comes back by itself).
    fn enter(&mut self, id: NodeId, now: Timestamp) -> Result<bool, IllegalEvent> {
        Ok(self.pass_gate(id, now)?
            && (self.is_approval(id) || (self.take_instance_place(id) && self.take_pool(id) && self.take_locks(id, now)?)))
    }

    fn pass_gate(&mut self, id: NodeId, now: Timestamp) -> Result<bool, IllegalEvent> {
        let environment = self.environment_of(id);
        let spec = self.spec(id);
        let only_contains = self.is_tree(id) && spec.check.is_none() && spec.verify.is_none();
        if only_contains || !self.is_protected(&environment) {
            return Ok(true);
        }
        let gate = self.gates.entry(environment.clone()).or_default();
        match (gate.answer, gate.asked) {
            (Some(true), _) => return Ok(true),
            (Some(false), _) => {
                self.leave_queue(id);
                let reason = self.reason(id, "environment_rejected", format!("the environment {environment} was not approved"));
                self.emit(now, Some(id), EventKind::StepBlocked { reason })?;
                return Ok(false);
            }
            (None, true) => {
                gate.queue.push_back(id);
                return Ok(false);
            }
            (None, false) => gate.queue.push_back(id),
        }
        let name = format!("environment:{environment}");
        let message = format!("Start steps in the protected environment {environment}?");
        let shown = hash::bytes(message.as_bytes());
        self.record(now, Some(StepPath(name.clone())), None, None, EventKind::ApprovalRequested { message, shown, expires_at: None })?;
        if self.is_approved_beforehand(&name) {
            self.answer(&name, true, "--approve", None, now)?;
        }
        Ok(false)
    }

    /// Protection is the top tree's word: environments of a sub-tree's file do not hold in place.
    fn is_protected(&self, environment: &str) -> bool {
        self.tree.environments.get(environment).is_some_and(|e| e.protected)
    }

    fn take_instance_place(&mut self, id: NodeId) -> bool {
        let (Some(group), Some(limit)) = (self.node(id).group, self.spec(id).max_parallel) else { return true };
        let Some(fan) = &mut self.node_mut(group).fan else { return true };
        if fan.active >= limit.max(1) {
            fan.queue.push_back(id);
            return false;
        }
        fan.active += 1;
        true
    }

    fn leave_instance_place(&mut self, id: NodeId) {
        let (Some(group), Some(_)) = (self.node(id).group, self.spec(id).max_parallel) else { return };
        let Some(fan) = &mut self.node_mut(group).fan else { return };
        fan.active = fan.active.saturating_sub(1);
        if let Some(next) = fan.queue.pop_front() {
            self.ready.push_front(next);
        }
    }

    /// The pool of a step, by the tree that declares it: the run's pools count by name.
    fn pool_of(&self, id: NodeId) -> Option<((String, String), u32)> {
        let name = self.spec(id).pool.as_ref()?;
        let tree = &self.scope(self.node(id).scope).tree;
        let size = self.tree.pools.get(name).or_else(|| tree.pools.get(name)).copied().unwrap_or(1);
        Some(((String::new(), name.clone()), size))
    }

    pub(super) fn take_pool(&mut self, id: NodeId) -> bool {
        let Some((key, size)) = self.pool_of(id) else { return true };
        let pool = self.pools.entry(key).or_default();
        if pool.active >= size.max(1) {
            pool.queue.push_back(id);
            self.leave_instance_place(id);
            return false;
        }
        pool.active += 1;
        true
    }

    fn leave_pool(&mut self, id: NodeId) {
        let Some((key, _)) = self.pool_of(id) else { return };
        let pool = self.pools.entry(key).or_default();
        pool.active = pool.active.saturating_sub(1);
        if let Some(next) = pool.queue.pop_front() {
            self.ready.push_front(next);
        }
    }

    pub(super) fn take_locks(&mut self, id: NodeId, now: Timestamp) -> Result<bool, IllegalEvent> {
        let wanted = match self.locks_of(id) {
            Ok(wanted) => wanted,
            Err(message) => {
                self.release(id);
                if self.is_undoing() {
                    self.undo_impossible(id, message, now)?
                } else {
                    self.fail_early(id, message, now)?
                }
                return Ok(false);
            }
        };
        for (name, of_run) in wanted {
            if self.locks.get(&name).and_then(|l| l.owner).is_some_and(|o| self.is_above(o, id)) {
                continue;
            }
            let fresh = !self.locks.contains_key(&name);
            let lock = self.locks.entry(name.clone()).or_default();
            lock.of_run |= of_run;
            if lock.held && (lock.of_run || lock.owner.is_none_or(|o| o == id)) {
                lock.owner = if lock.of_run { None } else { Some(id) };
                continue;
            }
            lock.queue.push_back(id);
            if fresh {
                self.ask(Effect::Lock { name });
            }
            self.leave_pool(id);
            self.leave_instance_place(id);
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a sub-tree's step holds `id` in it: what it holds, its steps need not ask for.
    fn is_above(&self, owner: NodeId, id: NodeId) -> bool {
        let mut at = id;
        while let Some(parent) = self.scope(self.node(at).scope).parent {
            if parent == owner {
                return true;
            }
            at = parent;
        }
        false
    }

    /// The locks that a node takes, in the order of their names, and whether the run keeps them.
    fn locks_of(&self, id: NodeId) -> Result<Vec<(String, bool)>, String> {
        let spec = self.spec(id);
        let mut wanted = Vec::new();
        if let Some(lock) = &spec.lock {
            let names = self.names(id, &lock.exprs(), &Object::new())?;
            let value = lock.evaluate(&names).map_err(|e| format!("lock: {e}"))?;
            wanted.push((format!("lock:{}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)), false));
        }
        if let Action::Uses { kind, .. } = &spec.action
            && self.deploying.contains(kind)
        {
            wanted.push((format!("{}/{}", self.tree.project, self.environment_of(id)), true));
        }
        wanted.sort();
        Ok(wanted)
    }

    /// A lock is held now: its first waiter may go on.
    pub(super) fn locked(&mut self, name: &str) {
        let Some(lock) = self.locks.get_mut(name) else {
            self.ask(Effect::Unlock { name: name.into() });
            return;
        };
        lock.held = true;
        self.pass_lock(name);
    }

    pub(super) fn lock_busy(&mut self, name: &str, holder: &str, now: Timestamp) -> Result<(), IllegalEvent> {
        let waiting: Vec<NodeId> = self.locks.get(name).map(|l| l.queue.iter().copied().collect()).unwrap_or_default();
        for id in waiting {
            if self.node(id).status.is_final() {
                // An undo that waits: its step has ended long since.
                continue;
            }
            let on = words::held(name, holder);
            self.emit(now, Some(id), EventKind::StepWaiting { what: WaitFor::Lock, on })?;
        }
        Ok(())
    }

    /// Hands a held lock on, or gives it back when nobody here waits for it.
    fn pass_lock(&mut self, name: &str) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        if lock.of_run {
            let queue = std::mem::take(&mut lock.queue);
            self.ready.extend(queue);
        } else if let Some(next) = lock.queue.pop_front() {
            lock.owner = Some(next);
            self.ready.push_front(next);
        } else {
            self.locks.remove(name);
            self.ask(Effect::Unlock { name: name.into() });
        }
    }

    fn leave_locks(&mut self, id: NodeId) {
        let held: Vec<String> = self.locks.iter().filter(|(_, l)| l.owner == Some(id)).map(|(n, _)| n.clone()).collect();
        for name in held {
            if let Some(lock) = self.locks.get_mut(&name) {
                lock.owner = None;
            }
            self.pass_lock(&name);
        }
    }

    /// Gives all locks back: the run ends or rests.
    pub(super) fn unlock_all(&mut self) {
        for name in std::mem::take(&mut self.locks).into_keys() {
            self.ask(Effect::Unlock { name });
        }
    }

    /// Gives back all that a node took to start.
    pub(super) fn release(&mut self, id: NodeId) {
        let was = self.node(id).stage;
        self.stage(id, Stage::Idle);
        if was == Stage::Idle || self.is_approval(id) {
            return;
        }
        self.leave_instance_place(id);
        self.leave_pool(id);
        self.leave_locks(id);
    }

    /// Takes a waiting node out of whatever queue it is in; a lock that it has already goes on.
    pub(super) fn leave_queue(&mut self, id: NodeId) {
        self.node_mut(id).stage = Stage::Idle;
        self.leave_locks(id);
    }

    /// All places are taken: the attempt begins.
    fn begin_attempt(&mut self, id: NodeId, now: Timestamp) -> Result<bool, IllegalEvent> {
        if self.is_approval(id) {
            self.leave_queue(id);
            self.ask_person(id, now)?;
            return Ok(true);
        }
        if self.node(id).status == StepStatus::Running {
            return self.go_on_inside(id, now).map(|()| true);
        }
        if self.repeats_only_verify(id) {
            return self.launch(id, Mode::Verify, now).map(|()| true);
        }
        if self.is_undone_first(id) {
            return self.launch_undo(id, now).map(|()| true);
        }
        if self.is_tree(id) {
            return self.begin_tree(id, now).map(|()| true);
        }
        self.stage(id, Stage::Preparing);
        let step = self.node(id).path.clone();
        self.ask(Effect::Prepare { step });
        Ok(true)
    }

    fn begin_tree(&mut self, id: NodeId, now: Timestamp) -> Result<(), IllegalEvent> {
        if self.spec(id).check.is_some() {
            return self.launch(id, Mode::Check, now);
        }
        if let Err(message) = self.given_params(id) {
            self.release(id);
            return self.fail_early(id, message, now);
        }
        self.emit(now, Some(id), EventKind::StepStarted { digests: None, idempotency_key: None })?;
        self.stage(id, Stage::Inside);
        self.time_tree(id, now);
        Ok(())
    }

    /// A sub-tree that a former sitting left at work has its places and locks again.
    fn go_on_inside(&mut self, id: NodeId, now: Timestamp) -> Result<(), IllegalEvent> {
        self.stage(id, Stage::Inside);
        self.time_tree(id, now);
        let Some(child) = self.node(id).child else { return Ok(()) };
        for member in self.members(child) {
            match (self.node(member).status, self.node(member).stage) {
                (StepStatus::RetryWait, _) => self.restore_timer(member, now),
                (StepStatus::Running, Stage::Queued) => self.ready.push_front(member),
                (StepStatus::Running, _) if self.node(member).fan.is_some() => self.closing.push_back(Closing::Fan(member)),
                _ => self.todo.push_back(member),
            }
        }
        self.closing.push_back(Closing::Scope(child));
        Ok(())
    }

    /// Starts an attempt whose digests are not asked for.
    pub(super) fn launch(&mut self, id: NodeId, mode: Mode, now: Timestamp) -> Result<(), IllegalEvent> {
        self.emit(now, Some(id), EventKind::StepStarted { digests: None, idempotency_key: Some(self.idempotency_key(id)) })?;
        self.launched(id, mode);
        Ok(())
    }

    pub(super) fn launched(&mut self, id: NodeId, mode: Mode) {
        self.stage(id, Stage::Active);
        let (step, attempt) = (self.node(id).path.clone(), self.node(id).attempt);
        self.ask(Effect::Launch { step, attempt, mode });
    }

    /// The limits of a sub-tree's attempt are watched by the run itself.
    pub(super) fn time_tree(&mut self, id: NodeId, now: Timestamp) {
        let spec = self.spec(id);
        let begun = self.node(id).more.as_ref().and_then(|m| m.begun);
        let left = spec.deadline.map(|d| (begun.unwrap_or(self.clock.driven) + d).saturating_sub(self.clock.driven));
        let limit = [spec.timeout, left].into_iter().flatten().min();
        let Some(at) = limit.and_then(|limit| now.checked_add(limit).ok()) else { return };
        self.node_mut(id).more().expires_at = Some(at);
        self.limits.insert((at, id));
    }

    /// Stable over attempts, crashes, resumes and new names; a new one when a success was thrown away.
    pub(super) fn idempotency_key(&self, id: NodeId) -> String {
        let node = self.node(id);
        let generation = node.more.as_ref().map_or(0, |m| m.generation);
        let deed = node.more.as_ref().and_then(|m| m.deed.as_deref()).unwrap_or(node.path.as_str());
        hash::bytes(format!("{}\n{deed}\n{generation}", self.id).as_bytes())[..32].to_owned()
    }

    /// Only the verify is repeated where the action of an external script, or a sub-tree, is
    /// recorded as ended.
    pub(super) fn repeats_only_verify(&self, id: NodeId) -> bool {
        let spec = self.spec(id);
        let recorded = self.node(id).more.as_ref().is_some_and(|m| m.action.is_some());
        let observes = matches!(&spec.action, Action::Uses { kind, .. } if self.observing.contains(kind));
        recorded && ((self.is_external(id) && !observes) || self.is_tree(id))
    }

    /// Whether a step waits for a person, or a protected environment does.
    pub(super) fn waits_for_people(&self) -> bool {
        self.count.waiting > 0 || self.gates.values().any(|g| g.asked && g.answer.is_none() && !g.queue.is_empty())
    }

    pub(super) fn waiting_reason(&self) -> String {
        let gates = self
            .gates
            .iter()
            .filter(|(_, g)| g.asked && g.answer.is_none() && !g.queue.is_empty())
            .map(|(n, _)| format!("environment:{n}"));
        let nodes = self.nodes.iter().filter(|n| n.status == StepStatus::Waiting).map(|n| n.path.0.clone());
        debug_assert!(self.status != RunStatus::Pending);
        words::waits_for(few(gates.chain(nodes), 5))
    }
}
