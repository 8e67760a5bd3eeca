//! Events into tables. Exhaustive over [`EventKind`]; used by a live run and by replay alike.

use super::state::{Aside, Fan, Gate, Halt, Links, Node, NodeId, Product, ROOT, Scope, ScopeId, Stage};
use super::{Closing, IllegalEvent, Run};
use crate::event::{
    ArtifactRef, Digests, ErrorReason, Event, EventKind, Item, Json, Resolution, RunStatus, StepError, StepStatus, WaitFor,
};
use crate::path::StepPath;
use crate::tree::{Action, NeedKind, OnFailure, Tree};
use jiff::Timestamp;
use std::cell::{OnceCell, RefCell};
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
            EventKind::StepReopened { reason } => {
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
            EventKind::StepInterrupted { error } => {
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
            EventKind::StepResolved { resolution, outputs, .. } => self.apply_resolution(id, *resolution, &Json::Object(outputs.clone())),
            EventKind::StepExpanded { items } => self.expand(id, items),
            EventKind::StepWaiting { what, .. } => {
                self.node_mut(id).more().undecided = *what == WaitFor::Decision;
                self.set(id, if *what == WaitFor::Lock { self.node(id).status } else { StepStatus::Waiting });
            }
            EventKind::AttemptFailed { error, retry_at } if self.node(id).status == StepStatus::Undoing => {
                let node = self.node_mut(id);
                node.error = Some(Box::new(error.clone()));
                node.more().retry_at = Some(*retry_at);
                self.retries.insert((*retry_at, id));
            }
            EventKind::AttemptFailed { error, retry_at } => {
                self.note_effect(id, error);
                // Nor does the limit of a sub-tree's attempt outlive it.
                self.drop_timer(id);
                self.set(id, StepStatus::RetryWait);
                let only_looks = self.is_external(id) && self.node(id).tries >= self.spec(id).retry.attempts;
                let node = self.node_mut(id);
                node.error = Some(Box::new(error.clone()));
                node.more().retry_at = Some(*retry_at);
                if only_looks {
                    node.more().unknown = Some(error.clone());
                }
                self.retries.insert((*retry_at, id));
            }
            EventKind::ApprovalRequested { shown, expires_at, .. } => {
                self.set(id, StepStatus::Waiting);
                let seq = self.seq + 1;
                let more = self.node_mut(id).more();
                more.begun_at = seq;
                more.shown.clone_from(shown);
                more.expires_at = *expires_at;
                if let Some(at) = expires_at {
                    self.limits.insert((*at, id));
                }
            }
            EventKind::ApprovalGiven { .. } | EventKind::ApprovalExpired => self.drop_timer(id),
            EventKind::ApprovalRejected { .. } => {
                self.drop_timer(id);
                self.end(id, StepStatus::Rejected, None);
            }
            EventKind::IntentRecorded { record } => self.node_mut(id).more().intents.push(record.clone()),
            EventKind::UndoStarted => self.start_undo(id),
            EventKind::UndoSucceeded => {
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
            EventKind::UndoFailed { error } => {
                self.drop_timer(id);
                self.set(id, StepStatus::UndoFailed);
                let node = self.node_mut(id);
                node.error = Some(Box::new(error.clone()));
                node.more().undo_tries = 0;
            }
            EventKind::RunStarted(_)
            | EventKind::RunResumed { .. }
            | EventKind::RunSuspended { .. }
            | EventKind::RunFinished { .. }
            | EventKind::CancelRequested { .. }
            | EventKind::RollbackStarted(_) => return Err(illegal(event, "a step", "")),
        }
        Ok(())
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

    /// Makes a scope with a node for each step of its tree.
    pub(super) fn open_scope(&mut self, tree: Arc<Tree>, parent: Option<NodeId>, environment: String) -> ScopeId {
        let id = index(self.scopes.len());
        let links = Arc::clone(self.links.entry(Arc::as_ptr(&tree) as usize).or_insert_with(|| Arc::new(Links::of(&tree))));
        let base = parent.map(|p| self.node(p).path.clone());
        let mut nodes = Vec::with_capacity(tree.steps.len());
        self.nodes.reserve(tree.steps.len());
        for (step, spec) in (0u32..).zip(&tree.steps) {
            let path = base.as_ref().map_or_else(|| StepPath::root(&spec.id), |b| b.child(&spec.id));
            nodes.push(self.add(Node::new(id, step, path)));
        }
        self.scopes.push(Scope {
            tree,
            links,
            parent,
            environment,
            nodes,
            open_main: 0,
            open_finally: 0,
            closing: false,
            halt: None,
            params: OnceCell::new(),
            surroundings: RefCell::default(),
        });
        id
    }

    pub(super) fn add(&mut self, node: Node) -> NodeId {
        let id = index(self.nodes.len());
        self.paths.insert(node.path.clone(), id);
        self.nodes.push(node);
        id
    }

    /// Counts anew what has not ended in a scope and queues what may be decided.
    pub(super) fn activate(&mut self, scope: ScopeId) {
        self.recount_fans(scope);
        let nodes = self.scope(scope).nodes.clone();
        let links = Arc::clone(&self.scope(scope).links);
        let (mut main, mut last) = (0, 0);
        for (step, id) in nodes.iter().enumerate() {
            self.node_mut(*id).counted = self.is_past(*id);
            if !self.node(*id).counted {
                let counter = if self.spec(*id).finally { &mut last } else { &mut main };
                *counter += 1;
            }
            self.node_mut(*id).open = links.needs[step];
        }
        for (step, id) in nodes.iter().enumerate() {
            if self.node(*id).is_settled() {
                for dependant in &links.dependants[step] {
                    self.node_mut(nodes[*dependant as usize]).open -= 1;
                }
            }
        }
        let at = &mut self.scopes[scope as usize];
        (at.open_main, at.open_finally) = (main, last);
        // A rollback comes before `finally`.
        at.closing = main == 0 && !(scope == ROOT && self.rollback.is_some());
        self.queue_scope(scope);
    }

    /// Queues what may be decided in a scope: at its beginning and after a resume.
    fn queue_scope(&mut self, scope: ScopeId) {
        let at = self.scope(scope);
        let (over, nodes) = (at.open_main == 0, at.nodes.clone());
        if over {
            self.closing.push_back(Closing::Scope(scope));
        }
        for id in nodes {
            if !self.spec(id).finally {
                self.todo.push_back(id);
            }
        }
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

    /// Makes the instances; one that is known from before is taken up by its key.
    fn expand(&mut self, id: NodeId, items: &[Item]) {
        let mut fan = Fan::default();
        for item in items {
            let child = self.instance(id, item);
            self.node_mut(child).open = self.open_partners(id, &item.key);
            fan.open += u32::from(!self.node(child).is_settled());
            fan.by_key.insert(item.key.clone(), child);
            fan.children.push(child);
        }
        self.todo.extend(fan.children.iter().copied());
        self.set(id, StepStatus::Running);
        self.node_mut(id).fan = Some(Box::new(fan));
        self.closing.push_back(Closing::Fan(id));
        self.wake_partners(id);
    }

    fn instance(&mut self, group: NodeId, item: &Item) -> NodeId {
        let (scope, step, path) = (self.node(group).scope, self.node(group).step, self.node(group).path.instance(&item.key));
        let child = match self.find(&path) {
            Some(known) => known,
            None => self.add(Node::new(scope, step, path)),
        };
        let node = self.node_mut(child);
        node.group = Some(group);
        node.item = Some(Box::new(item.clone()));
        node.counted = node.is_settled();
        child
    }

    /// How many instances of other fan-outs (needs `by: key`) an instance waits for.
    fn open_partners(&self, group: NodeId, key: &str) -> u32 {
        let partners = self.partners(group).filter_map(|g| self.node(g).fan.as_ref().and_then(|f| f.by_key.get(key)));
        index(partners.filter(|p| !self.node(**p).is_settled()).count())
    }

    /// The fan-outs that a fan-out needs key by key.
    pub(super) fn partners(&self, group: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let scope = self.scope(self.node(group).scope);
        self.spec(group).needs.iter().filter(|n| n.kind == NeedKind::ByKey).map(|n| scope.nodes[n.step as usize])
    }

    /// Fan-outs that need this one key by key may expand now.
    fn wake_partners(&mut self, id: NodeId) {
        let scope = self.scope(self.node(id).scope);
        let dependants: Vec<NodeId> =
            scope.links.dependants[self.node(id).step as usize].iter().map(|d| scope.nodes[*d as usize]).collect();
        self.todo.extend(dependants);
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

    pub(super) fn count_instance(&mut self, group: NodeId, id: NodeId) {
        if let Some(fan) = &mut self.node_mut(group).fan {
            fan.open = fan.open.saturating_sub(1);
        }
        self.closing.push_back(Closing::Fan(group));
        let key = self.node(id).item.as_ref().map(|i| i.key.clone()).unwrap_or_default();
        let scope = self.scope(self.node(id).scope);
        let dependants: Vec<NodeId> =
            scope.links.dependants[self.node(id).step as usize].iter().map(|d| scope.nodes[*d as usize]).collect();
        for dependant in dependants {
            let partner = self.node(dependant).fan.as_ref().and_then(|f| f.by_key.get(&key)).copied();
            let Some(partner) = partner.filter(|_| self.partners(dependant).any(|p| p == group)) else { continue };
            let node = self.node_mut(partner);
            node.open = node.open.saturating_sub(1);
            self.todo.push_back(partner);
        }
    }

    pub(super) fn count_step(&mut self, id: NodeId) {
        let scope_id = self.node(id).scope;
        let step = self.node(id).step as usize;
        let finally = self.spec(id).finally;
        let scope = &mut self.scopes[scope_id as usize];
        if finally {
            scope.open_finally = scope.open_finally.saturating_sub(1);
        } else {
            scope.open_main = scope.open_main.saturating_sub(1);
        }
        if scope.open_main == 0 && (!finally || scope.open_finally == 0) {
            self.closing.push_back(Closing::Scope(scope_id));
        }
        let links = Arc::clone(&self.scope(scope_id).links);
        for dependant in &links.dependants[step] {
            let dependant = self.scope(scope_id).nodes[*dependant as usize];
            let node = self.node_mut(dependant);
            node.open = node.open.saturating_sub(1);
            self.todo.push_back(dependant);
        }
    }

    pub(super) fn drop_timer(&mut self, id: NodeId) {
        let Some(more) = &mut self.node_mut(id).more else { return };
        let (retry_at, expires_at) = (more.retry_at.take(), more.expires_at.take());
        retry_at.map(|at| self.retries.remove(&(at, id)));
        expires_at.map(|at| self.limits.remove(&(at, id)));
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

    /// The status of a node changed; the counters follow.
    pub(super) fn set(&mut self, id: NodeId, status: StepStatus) {
        let was = std::mem::replace(&mut self.node_mut(id).status, status);
        if was == status {
            return;
        }
        let leaf = self.is_leaf(id);
        if let Some(counter) = self.count.of(was, leaf) {
            *counter -= 1;
        }
        if let Some(counter) = self.count.of(status, leaf) {
            *counter += 1;
        }
    }

    /// Forgets how a node ended and starts counting anew.
    pub(super) fn renew(&mut self, id: NodeId) {
        self.drop_timer(id);
        self.set(id, StepStatus::Pending);
        self.node_mut(id).counted = false;
        self.node_mut(id).forget();
    }

    /// The stage of a node changed; the counters follow.
    pub(super) fn stage(&mut self, id: NodeId, stage: Stage) {
        let leaf = !matches!(self.spec(id).action, Action::Tree { .. });
        let was = self.node(id).is_busy();
        self.node_mut(id).stage = stage;
        let is = self.node(id).is_busy();
        match (was, is) {
            (false, true) => {
                self.count.outstanding += 1;
                self.count.busy += u32::from(leaf);
            }
            (true, false) => {
                self.count.outstanding -= 1;
                self.count.busy -= u32::from(leaf);
            }
            (true, true) | (false, false) => {}
        }
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

/// Tables are far smaller than 2^32: a tree has at most 100,000 steps.
pub(super) fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
