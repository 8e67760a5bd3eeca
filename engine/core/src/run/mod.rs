//! The run state machine: pure, deterministic, the only place where a run's course is decided.
//!
//! `handle(input, now)` gives events and effects; every change of a run goes through `apply`, which
//! replay uses too, so a resume has no second algorithm. What is ready is derived from counters of
//! needs that have not ended; timers are derived from recorded times. It does not know journals,
//! processes or screens.
//!
//! The parts: `input` (the vocabulary), `state` (the tables), `apply` (events into tables), `decide`
//! (rules and conditions), `start` (places, pools, locks, gates), `settle` (ends of attempts),
//! `finish` (ends of fan-outs, sub-trees, the run), `reopen` (resume), `names` (what expressions
//! see), `task` (what an attempt is made of), `rollback` and `order` (what is taken back, and after
//! what), `undo` (taking one step back), `select` (a part of a tree, results of another run), `words`
//! (sentences that are read again).

mod adopt;
mod apply;
mod decide;
mod finish;
mod input;
mod keep;
mod names;
mod order;
mod person;
mod release;
mod reopen;
mod rollback;
mod select;
mod settle;
mod start;
mod state;
mod tables;
mod task;
mod undo;
mod verify;
mod view;
mod words;

pub use adopt::Definitions;
pub use input::{Cached, Decision, Effect, IllegalEvent, Input, Mode, Outcome, Prepared, Recovered, RollBack, Why};
pub use rollback::{Planned, Way};
pub use select::{Choice, Course, Unfit};
pub use task::{Ingredients, Job, Secrets, Task};
pub use undo::Undo;
pub use verify::{Difference, Pace, verify};
pub use view::StepView;

use crate::event::{Event, EventKind, Reason, RunStarted, RunStatus, StepStatus};
use crate::path::{RunId, StepPath};
use crate::tree::{KindInfo, Kinds, Step, Tree};
use jiff::Timestamp;
use order::Order;
use rollback::Rollback;
use state::{Gate, Halt, Links, Lock, Node, NodeId, Scope, ScopeId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// One run at work. Memory only: a cache of its events.
#[derive(Clone)]
pub struct Run {
    id: RunId,
    tree: Arc<Tree>,
    /// Trees that resumes bring, by digest.
    later: Vec<(String, Arc<Tree>)>,
    facts: Option<Box<RunStarted>>,
    started: Option<Timestamp>,
    status: RunStatus,
    /// The number of the last event.
    seq: u64,
    scopes: Vec<Scope>,
    nodes: Vec<Node>,
    paths: HashMap<StepPath, NodeId>,
    /// By the tree's address: scopes of one tree share them.
    links: HashMap<usize, Arc<Links>>,
    /// Kinds whose first use takes the lock project/environment.
    deploying: HashSet<String>,
    /// Kinds that look at their target before they change it.
    observing: HashSet<String>,
    /// Kinds that take back what they do.
    undoing: HashSet<String>,
    cancel_now: bool,
    approved: Vec<String>,
    /// The halt of the root that was acted on.
    swept: Option<Halt>,
    /// A person can answer in this sitting.
    attended: bool,
    interrupting: bool,
    /// The signal that interrupts it, where it was told.
    signal: Option<i32>,
    /// A failure puts the run to rest.
    pausing: bool,
    /// What was asked to be taken back.
    rollback: Option<Box<Rollback>>,
    /// External steps may run again because of a change.
    accepts_changes: bool,
    /// Those that may not, and why they would.
    refused: Vec<(StepPath, String)>,
    /// Steps that did something and are gone from the tree.
    lost: Vec<(StepPath, StepStatus)>,
    /// Attempts of steps that the tree before had, by path: whoever has the path now is another.
    spent: HashMap<StepPath, u32>,
    /// The rollback at work, in this sitting.
    order: Option<Box<Order>>,
    clock: Clock,
    /// Nodes whose needs may decide now.
    todo: VecDeque<NodeId>,
    /// Fan-outs and sub-trees whose last part may have ended.
    closing: VecDeque<Closing>,
    /// Leaves and sub-trees that may start when there is a place.
    ready: VecDeque<NodeId>,
    /// When the next tries are due.
    retries: BTreeSet<(Timestamp, NodeId)>,
    /// When questions expire and sub-trees are late.
    limits: BTreeSet<(Timestamp, NodeId)>,
    pools: HashMap<(String, String), Pool>,
    locks: BTreeMap<String, Lock>,
    gates: BTreeMap<String, Gate>,
    count: Count,
    /// Bytes of the outputs of all leaves.
    volume: u64,
    out: Decision,
}

/// Nodes by what they do in this sitting.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    /// Leaves that hold a place.
    busy: u32,
    /// Nodes that have an answer outstanding (busy, or a check or verify of a sub-tree).
    outstanding: u32,
    /// Nodes that wait for a person.
    waiting: u32,
    /// Leaves that the journal calls running: known in a replay too.
    running: u32,
}

impl Count {
    /// The counter that a status belongs to.
    fn of(&mut self, status: StepStatus, leaf: bool) -> Option<&mut u32> {
        match status {
            StepStatus::Waiting => Some(&mut self.waiting),
            StepStatus::Running if leaf => Some(&mut self.running),
            StepStatus::Running
            | StepStatus::Pending
            | StepStatus::Ready
            | StepStatus::RetryWait
            | StepStatus::Succeeded
            | StepStatus::Cached
            | StepStatus::Skipped
            | StepStatus::Blocked
            | StepStatus::Failed
            | StepStatus::TimedOut
            | StepStatus::Cancelled
            | StepStatus::Rejected
            | StepStatus::Interrupted
            | StepStatus::Undoing
            | StepStatus::Undone
            | StepStatus::UndoFailed => None,
        }
    }
}

/// Steps of a pool.
#[derive(Debug, Default, Clone)]
struct Pool {
    active: u32,
    queue: VecDeque<NodeId>,
}

/// Something whose last part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    Fan(NodeId),
    Scope(ScopeId),
}

/// How long the run was driven.
#[derive(Debug, Default, Clone, Copy)]
struct Clock {
    /// In all sittings.
    driven: Duration,
    /// Without the time in which only approvals waited.
    worked: Duration,
    /// The last moment seen in this sitting.
    last: Option<Timestamp>,
    /// The time of the newest event: none is recorded with an earlier one.
    newest: Option<Timestamp>,
}

impl Run {
    /// A run without events, of a tree or of all trees that its resumes brought. `kinds` tells which
    /// kinds deploy.
    pub fn new(id: RunId, definitions: impl Into<Definitions>, kinds: &dyn Kinds) -> Self {
        let Definitions { first: tree, later } = definitions.into();
        let those = |test: fn(&KindInfo) -> bool| {
            kinds.names().into_iter().filter(|n| kinds.kind(n).is_some_and(test)).map(str::to_owned).collect()
        };
        Self {
            id,
            tree,
            later,
            facts: None,
            started: None,
            status: RunStatus::Pending,
            seq: 0,
            scopes: Vec::new(),
            nodes: Vec::new(),
            paths: HashMap::new(),
            links: HashMap::new(),
            deploying: those(|k| k.deploys),
            observing: those(|k| k.observes),
            undoing: those(|k| k.undoes),
            cancel_now: false,
            approved: Vec::new(),
            swept: None,
            attended: false,
            interrupting: false,
            signal: None,
            pausing: false,
            rollback: None,
            accepts_changes: false,
            refused: Vec::new(),
            lost: Vec::new(),
            spent: HashMap::new(),
            order: None,
            clock: Clock::default(),
            todo: VecDeque::new(),
            closing: VecDeque::new(),
            ready: VecDeque::new(),
            retries: BTreeSet::new(),
            limits: BTreeSet::new(),
            pools: HashMap::new(),
            locks: BTreeMap::new(),
            gates: BTreeMap::new(),
            count: Count::default(),
            volume: 0,
            out: Decision::default(),
        }
    }

    /// Takes the run to where its events left it. Nothing is asked of the world.
    ///
    /// # Errors
    /// At the first event that does not fit.
    pub fn replay(&mut self, events: &[Event]) -> Result<(), IllegalEvent> {
        events.iter().try_for_each(|event| self.apply(event))?;
        // Nobody drives it: the time since then is not driven, also where the last sitting was cut off.
        self.clock.last = None;
        Ok(())
    }

    /// Tells which signal the next [`Input::Interrupt`] stands for: it is recorded with the rest. The first one counts.
    pub fn signalled(&mut self, signal: i32) {
        self.signal.get_or_insert(signal);
    }

    /// Says that a person can (or cannot) answer in this sitting: with one, a run that only waits
    /// for approvals is not put to rest.
    pub fn attend(&mut self, attended: bool) {
        self.attended = attended;
    }

    /// What follows from all inputs that have arrived. The run has changed already: if the events cannot be made
    /// durable, it must be thrown away.
    ///
    /// # Errors
    /// On a bug in the state machine.
    pub fn handle(&mut self, inputs: impl IntoIterator<Item = Input>, now: Timestamp) -> Result<Decision, IllegalEvent> {
        let now = self.clock.newest.map_or(now, |newest| newest.max(now));
        self.advance(now);
        for input in inputs {
            self.take(input, now)?;
        }
        if self.is_driven() {
            self.wake(now)?;
        }
        self.settle(now)?;
        self.rest(now)?;
        Ok(std::mem::take(&mut self.out))
    }

    /// When [`Input::Woke`] is due: the next retry, expiry or deadline.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let first = |timers: &BTreeSet<(Timestamp, NodeId)>| timers.first().map(|(at, _)| *at);
        [first(&self.retries), first(&self.limits), self.deadline_at()].into_iter().flatten().min()
    }

    fn take(&mut self, input: Input, now: Timestamp) -> Result<(), IllegalEvent> {
        match input {
            Input::Started(facts) => {
                self.approved.clone_from(&facts.approved);
                self.emit(now, None, EventKind::RunStarted(facts))
            }
            Input::Selected(course) => self.take_course(*course, now),
            Input::Recovered(how) => self.recover(*how, now),
            Input::RollBack(asked) => self.roll_back(*asked, now),
            Input::Woke => Ok(()),
            Input::Prepared { step, result } => self.prepared(&step, result, now),
            Input::Intended { step, attempt, record } => self.intended(&step, attempt, record, now),
            Input::ActionDone { step, attempt, outputs, artifacts } => self.action_done(&step, attempt, outputs, artifacts, now),
            Input::Ended { step, attempt, outcome } => self.ended(&step, attempt, outcome, now),
            Input::Locked { name } => {
                self.locked(&name);
                Ok(())
            }
            Input::LockBusy { name, holder } => self.lock_busy(&name, &holder, now),
            Input::Approved { name, actor, note } => self.answer(&name, true, &actor, note, now),
            Input::Rejected { name, actor, note } => self.answer(&name, false, &actor, note, now),
            Input::Resolved { name, resolution, outputs, actor, note } => self.resolve(&name, resolution, outputs, &actor, note, now),
            Input::Cancel { actor, now: at_once } => self.cancel(&actor, at_once, now),
            Input::Interrupt => {
                self.interrupting = true;
                self.stop_all(Why::Interrupt);
                Ok(())
            }
        }
    }

    /// Lets everything follow that follows without the world.
    fn settle(&mut self, now: Timestamp) -> Result<(), IllegalEvent> {
        while self.is_driven() {
            self.check_deadline();
            self.sweep_halted(now)?;
            if let Some(closing) = self.closing.pop_front() {
                self.close(closing, now)?;
            } else if self.is_quiet() {
                return Ok(());
            } else if let Some(node) = self.todo.pop_front() {
                self.decide(node, now)?;
            } else {
                let moved = if self.is_undoing() { self.start_undos(now)? } else { self.start_ready(now)? };
                if !moved && self.closing.is_empty() && self.todo.is_empty() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A process drives it, to its end or back.
    fn is_driven(&self) -> bool {
        matches!(self.status, RunStatus::Running | RunStatus::RollingBack)
    }

    /// Nothing new starts before the run rests.
    fn is_quiet(&self) -> bool {
        self.interrupting || self.pausing || !self.refused.is_empty() || self.rollback.as_ref().is_some_and(|r| r.cancelled)
    }

    /// Puts the run to rest where nothing can happen without a person.
    fn rest(&mut self, now: Timestamp) -> Result<(), IllegalEvent> {
        if !self.is_driven() || self.count.outstanding > 0 {
            return Ok(());
        }
        if self.interrupting {
            return self.suspend(RunStatus::Interrupted, "ended by a signal", now);
        }
        if self.rollback.as_ref().is_some_and(|r| r.cancelled) {
            return self.suspend(RunStatus::Interrupted, "the rollback was cancelled", now);
        }
        if let Some(reason) = self.refusal() {
            return self.suspend(RunStatus::Waiting, &reason, now);
        }
        if self.pausing {
            let failed = self.first_failure().map_or_else(|| "a step".into(), |f| f.step.0);
            return self.suspend(RunStatus::Paused, &format!("{failed} failed"), now);
        }
        if self.only_people() && !self.attended && self.locks.values().all(|l| l.held || l.queue.is_empty()) {
            let reason = self.waiting_reason();
            return self.suspend(RunStatus::Waiting, &reason, now);
        }
        Ok(())
    }

    fn suspend(&mut self, status: RunStatus, reason: &str, now: Timestamp) -> Result<(), IllegalEvent> {
        let signal = self.signal.filter(|_| self.interrupting && status == RunStatus::Interrupted);
        self.emit(now, None, EventKind::RunSuspended { status, reason: reason.into(), signal, progress: Some(self.progress()) })?;
        self.unlock_all();
        Ok(())
    }

    /// Records an event and applies it; the only way a run changes.
    fn emit(&mut self, now: Timestamp, node: Option<NodeId>, kind: EventKind) -> Result<(), IllegalEvent> {
        let (step, attempt) = match node {
            Some(id) => (Some(self.node(id).path.clone()), self.attempt_of(id, &kind)),
            None => (None, None),
        };
        self.record(now, step, attempt, None, kind)
    }

    fn record(
        &mut self,
        now: Timestamp,
        step: Option<StepPath>,
        attempt: Option<u32>,
        actor: Option<String>,
        kind: EventKind,
    ) -> Result<(), IllegalEvent> {
        let event = Event { v: 1, run: self.id.clone(), seq: self.seq + 1, ts: now, step, attempt, actor, kind };
        self.apply(&event)?;
        self.out.events.push(event);
        Ok(())
    }

    fn attempt_of(&self, id: NodeId, kind: &EventKind) -> Option<u32> {
        let attempt = self.node(id).attempt;
        match kind {
            EventKind::StepStarted { .. } => Some(attempt + 1),
            _ if attempt > 0 => Some(attempt),
            _ => None,
        }
    }

    fn ask(&mut self, effect: Effect) {
        self.out.effects.push(effect);
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    fn scope(&self, id: ScopeId) -> &Scope {
        &self.scopes[id as usize]
    }

    fn spec(&self, id: NodeId) -> &Step {
        let node = self.node(id);
        &self.scope(node.scope).tree.steps[node.step as usize]
    }

    fn find(&self, path: &StepPath) -> Option<NodeId> {
        self.paths.get(path).copied()
    }

    /// A reason with the place of the step in its tree file.
    fn reason(&self, id: NodeId, code: &str, text: impl Into<String>) -> Reason {
        let spec = self.spec(id);
        let tree = &self.scope(self.node(id).scope).tree;
        Reason { code: code.into(), text: text.into(), file: Some(tree.file.clone()), line: Some(spec.span.line), values: BTreeMap::new() }
    }

    /// Whether an end of this node counts as success for rules, `tolerate` aside.
    fn is_allowed(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let allow = &self.spec(id).allow_failure;
        match (node.status, allow) {
            (StepStatus::Failed | StepStatus::TimedOut, crate::tree::AllowFailure::Any) => true,
            (StepStatus::Failed, crate::tree::AllowFailure::Codes(codes)) => {
                node.error.as_ref().and_then(|e| e.code).is_some_and(|code| codes.contains(&code))
            }
            _ => false,
        }
    }

    /// What stops this node from starting, if something does.
    fn halted(&self, id: NodeId) -> Option<Halt> {
        let mut at = id;
        loop {
            if self.spec(at).finally {
                return None;
            }
            let scope = self.scope(self.node(at).scope);
            match (scope.halt, scope.parent) {
                (Some(halt), _) => return Some(halt),
                (None, Some(parent)) => at = parent,
                (None, None) => return None,
            }
        }
    }
}
