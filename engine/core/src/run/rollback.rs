//! Taking a run back: which steps, in reversed order of the edges, and how that ends.
//!
//! What runs ends first (a run at rest is cancelled), then each effect is taken back once all that
//! was built on it is, then `finally`. An undo that fails keeps what it rests on; other branches go on.

use super::input::RollBack;
use super::order::{Moment, Order};
use super::state::{Halt, NodeId, ROOT, ScopeId, Stage};
use super::{Closing, Effect, IllegalEvent, Mode, Run, RunStatus};
use crate::event::{EventKind, Failure, Resolution, RollbackStarted, StepStatus};
use crate::path::StepPath;
use crate::tree::{Action, Effect as Reach, OnCrash, OnFailure};
use crate::units::few;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

type Taken = Result<(), IllegalEvent>;

/// What was asked to be taken back.
#[derive(Debug, Clone)]
pub(super) struct Rollback {
    pub how: RollbackStarted,
    /// No further undo starts.
    pub cancelled: bool,
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By its `undo`.
    Undo,
    /// By its kind, from so many recorded intents.
    Kind(usize),
    /// Nothing of it needs to be.
    Nothing,
    /// It could be and stays; why.
    Kept(String),
    /// It changed the outside world, and there is no way back; why.
    Missing(String),
}

/// A step of a rollback, for those who want to know beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The step or instance.
    pub step: StepPath,
    /// Its status now.
    pub status: StepStatus,
    /// How.
    pub way: Way,
    /// It comes after all with a smaller number; equal numbers are independent of each other.
    pub wave: u32,
}

/// Why a step that a resume with another tree left behind is not taken back.
const GONE: &str = "its step is gone from the tree";

impl Run {
    /// A person asked for it; the sitting begins.
    pub(super) fn roll_back(&mut self, asked: RollBack, now: Timestamp) -> Taken {
        let RollBack { epoch, to, skip, mark_undone, actor } = asked;
        let how = self.asked(to, skip);
        self.approved = self.facts.as_ref().map(|f| f.approved.clone()).unwrap_or_default();
        let how = RollbackStarted { failure: self.first_failure(), epoch: Some(epoch), ..how };
        self.record(now, None, None, Some(actor.clone()), EventKind::RollbackStarted(Box::new(how)))?;
        for id in 0..super::tables::index(self.nodes.len()) {
            if !(self.is_approval(id) && self.node(id).status == StepStatus::Waiting) {
                self.recover_node(id, now)?;
            }
        }
        for step in mark_undone {
            let kind = EventKind::StepResolved { resolution: Resolution::Undone, note: None, outputs: Default::default() };
            self.record(now, Some(step), None, Some(actor.clone()), kind)?;
        }
        Ok(())
    }

    /// What is asked for; one that broke off or is stuck goes on with what it was asked before.
    fn asked(&self, to: Option<StepPath>, skip: Vec<StepPath>) -> RollbackStarted {
        let mut how = self.rollback.as_ref().map(|r| r.how.clone()).unwrap_or_default();
        how.to = to.or(how.to);
        how.skip.extend(skip);
        how.skip.sort();
        how.skip.dedup();
        how
    }

    /// What the event does to the tables.
    pub(super) fn begin_rollback(&mut self, ts: Timestamp, how: &RollbackStarted) {
        if self.rollback.is_none() {
            self.break_off_undos();
        }
        self.rollback = Some(Box::new(Rollback { how: how.clone(), cancelled: false }));
        if how.epoch.is_some() {
            self.clock.last = Some(ts);
            self.reopen_rollback();
        }
        self.status = RunStatus::RollingBack;
    }

    /// `on_crash: undo_first`, cut off in its undo: that was no part of a rollback, and the step has not ended.
    fn break_off_undos(&mut self) {
        for id in 0..super::tables::index(self.nodes.len()) {
            if self.node(id).status == StepStatus::Undoing && !self.is_final_part(id) {
                self.drop_timer(id);
                self.set(id, StepStatus::Interrupted);
                self.node_mut(id).error.get_or_insert_with(|| Box::new(super::reopen::cut_off()));
            }
        }
    }

    /// A sitting takes a rollback up, at its beginning or in its midst.
    pub(super) fn reopen_rollback(&mut self) {
        let ended = self.status.is_ended();
        self.forget_sitting();
        if let Some(rollback) = &mut self.rollback {
            rollback.cancelled = false;
        }
        self.status = RunStatus::RollingBack;
        for id in 0..super::tables::index(self.nodes.len()) {
            if self.node(id).status == StepStatus::Ready {
                self.set(id, StepStatus::Pending);
            }
        }
        if ended {
            self.reopen_finally(ROOT);
        }
        self.scopes[ROOT as usize].halt = Some(Halt::RolledBack);
        self.activate_all();
    }

    /// What `finally` of a tree is told: what a rollback of the run answers, else the tree's own first failure.
    pub(super) fn failure_of(&self, scope: ScopeId) -> Option<Failure> {
        let answered = self.rollback.as_ref().and_then(|rollback| rollback.how.failure.clone());
        answered.filter(|_| scope == ROOT).or_else(|| {
            let above = self.scope(scope).parent.map(|parent| format!("{}/", self.node(parent).path));
            self.first_failure_of(|id| {
                !self.spec(id).finally && above.as_ref().is_none_or(|above| self.node(id).path.as_str().starts_with(above))
            })
        })
    }

    /// The first failure that is one for the run: a leaf's, else any.
    pub(super) fn first_failure(&self) -> Option<Failure> {
        self.first_failure_of(|_| true)
    }

    fn first_failure_of(&self, counts: impl Fn(NodeId) -> bool) -> Option<Failure> {
        let bad = |id: &NodeId| {
            let known =
                matches!(self.node(*id).status, StepStatus::Failed | StepStatus::TimedOut | StepStatus::Rejected | StepStatus::Interrupted);
            known && !self.is_allowed(*id) && counts(*id)
        };
        let mut failed = (0..super::tables::index(self.nodes.len())).filter(bad);
        let first = failed.clone().find(|id| self.node(*id).fan.is_none() && !self.is_tree(*id)).or_else(|| failed.next())?;
        let node = self.node(first);
        Some(Failure { step: node.path.clone(), error: node.error.as_deref().cloned() })
    }

    /// Whether the steps of the top tree are past the rollback, if there is to be one. Starts it
    /// where the tree asks for it.
    pub(super) fn is_taken_back(&mut self, now: Timestamp) -> Result<bool, IllegalEvent> {
        if self.rollback.is_none() && self.rolls_back_by_itself() {
            let how = RollbackStarted { failure: self.first_failure(), ..RollbackStarted::default() };
            self.emit(now, None, EventKind::RollbackStarted(Box::new(how)))?;
        }
        let Some(rollback) = &self.rollback else { return Ok(true) };
        if self.order.is_none() {
            self.order = Some(Box::new(Order::of(self, self.stay(&rollback.how))));
        }
        Ok(self.order.as_ref().is_some_and(|o| o.done))
    }

    fn rolls_back_by_itself(&self) -> bool {
        let scope = self.scope(ROOT);
        let failed = scope.halt == Some(Halt::Late)
            || scope.nodes.iter().any(|n| !self.spec(*n).finally && self.node(*n).status.is_failure() && !self.is_allowed(*n));
        let begun = scope.nodes.iter().any(|n| self.spec(*n).finally && self.node(*n).status != StepStatus::Pending);
        self.on_failure() == OnFailure::Rollback && failed && !begun && scope.halt != Some(Halt::Cancelled)
    }

    /// Undos have their turn: what ran has ended, `finally` has not begun.
    pub(super) fn is_undoing(&self) -> bool {
        self.order.as_ref().is_some_and(|o| !o.done)
    }

    /// Starts what there is room for. True where something may follow from that.
    pub(super) fn start_undos(&mut self, now: Timestamp) -> Result<bool, IllegalEvent> {
        while let Some(moment) = self.order.as_mut().and_then(|o| o.next()) {
            match moment {
                Moment::Begin(id) if self.has_turn(id) => {
                    if let Some(order) = &mut self.order {
                        order.open.insert(id);
                    }
                    self.queue_undo(id);
                }
                Moment::Begin(_) => self.pass(moment),
                Moment::End(id) => {
                    self.close_undone(id, now)?;
                    self.pass(moment);
                }
            }
        }
        self.start_queued_undos(now)?;
        let over = self.order.as_ref().is_some_and(|o| o.open.is_empty());
        if over {
            if let Some(order) = &mut self.order {
                order.done = true;
            }
            self.closing.push_back(Closing::Scope(ROOT));
        }
        Ok(over)
    }

    fn has_turn(&self, id: NodeId) -> bool {
        self.order.as_ref().is_some_and(|o| matches!(self.way(id, &o.stay), Way::Undo | Way::Kind(_)))
    }

    fn pass(&mut self, moment: Moment) {
        if let Some(order) = &mut self.order {
            order.pass(moment);
        }
    }

    fn start_queued_undos(&mut self, now: Timestamp) -> Taken {
        // What belongs to `finally` has its turn after the last undo.
        let mut later = Vec::new();
        while let Some(id) = self.ready.pop_front() {
            let turn = self.order.as_ref().is_some_and(|o| o.open.contains(&id));
            if self.node(id).stage != Stage::Queued {
                self.pass_on(id);
            } else if !turn {
                later.push(id);
            } else if self.count.busy >= self.places() {
                self.ready.push_front(id);
                break;
            } else if self.take_pool(id) && self.take_locks(id, now)? {
                self.launch_undo(id, now)?;
            }
        }
        self.ready.extend(later);
        Ok(())
    }

    /// An undo is at its end, for better or for worse.
    pub(super) fn leave_undo(&mut self, id: NodeId) {
        let undone = self.node(id).status == StepStatus::Undone;
        if let Some(order) = &mut self.order
            && order.open.remove(&id)
            && undone
        {
            order.pass(Moment::Begin(id));
        }
    }

    /// A fan-out or sub-tree that lost a part by the rollback is no success any more.
    fn close_undone(&mut self, id: NodeId, now: Timestamp) -> Taken {
        let node = self.node(id);
        let parts = match (&node.fan, node.child) {
            (Some(fan), _) => fan.children.clone(),
            (None, Some(child)) => self.scope(child).nodes.clone(),
            (None, None) => return Ok(()),
        };
        let lost = parts.iter().any(|part| self.node(*part).status == StepStatus::Undone);
        if lost && self.is_kept(id) {
            self.emit(now, Some(id), EventKind::UndoSucceeded)?;
        }
        Ok(())
    }

    /// What a rollback does with a node; `stay` are those that it must not touch.
    fn way(&self, id: NodeId, stay: &Stay) -> Way {
        let (node, spec) = (self.node(id), self.spec(id));
        let contains = node.group.is_none() && spec.fan_out.is_some();
        if contains || self.is_approval(id) || self.is_final_part(id) {
            return Way::Nothing;
        }
        let Some(more) = &node.more else { return Way::Nothing };
        let half_done = spec.on_crash == OnCrash::UndoFirst && more.unsettled;
        let way = match &spec.undo {
            Some(undo) if more.acted || half_done || !more.intents.is_empty() || (undo.when_started && more.begun_at > 0) => Way::Undo,
            Some(_) if more.unsettled && spec.effect == Reach::External => {
                Way::Missing("its outcome is unknown: take it back by hand, then --mark-undone".into())
            }
            Some(_) => Way::Nothing,
            None if !more.intents.is_empty() => Way::Kind(more.intents.len()),
            None if spec.effect != Reach::External || self.is_tree(id) => Way::Nothing,
            None if self.undoes(id) => Way::Nothing,
            None if more.acted => Way::Missing("it has no undo".into()),
            None if more.unsettled => Way::Missing("its outcome is unknown, and it has no undo".into()),
            None => Way::Nothing,
        };
        match stay.why(id) {
            Some(why) if way != Way::Nothing => Way::Kept(why),
            _ => way,
        }
    }

    /// Whether its kind takes back what it does.
    fn undoes(&self, id: NodeId) -> bool {
        matches!(&self.spec(id).action, Action::Uses { kind, .. } if self.undoing.contains(kind))
    }

    /// Its undo is part of the rollback, not of `on_crash: undo_first`.
    pub(super) fn is_rolled_back(&self, id: NodeId) -> bool {
        self.rollback.is_some() && !self.is_final_part(id)
    }

    /// It, or a tree that it is in, stands in a `finally`.
    pub(super) fn is_final_part(&self, id: NodeId) -> bool {
        let mut at = id;
        loop {
            if self.spec(at).finally {
                return true;
            }
            match self.scope(self.node(at).scope).parent {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// What stays by the word of a person or behind a point of no return.
    fn stay(&self, how: &RollbackStarted) -> Stay {
        let mut stay = Stay {
            skipped: how.skip.iter().filter_map(|step| self.find(step)).collect(),
            to: how.to.as_ref().and_then(|step| self.find(step)).map(|id| self.ancestry(id)).unwrap_or_default(),
            pivot: HashSet::new(),
        };
        let passed = |id: &NodeId| {
            let more = self.node(*id).more.as_ref();
            self.spec(*id).pivot && more.is_some_and(|m| m.acted || m.unsettled)
        };
        for pivot in (0..super::tables::index(self.nodes.len())).filter(passed) {
            stay.pivot.extend(self.ancestry(pivot));
        }
        stay
    }

    /// A node with all in it, and all that it rests on.
    fn ancestry(&self, id: NodeId) -> HashSet<NodeId> {
        let mut found = HashSet::new();
        let mut open = vec![(id, true)];
        // Also those that a later pass did not expand into: what they did is in the world.
        let mut groups: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for (id, group) in (0u32..).zip(&self.nodes).filter_map(|(id, n)| Some((id, n.group?))) {
            groups.entry(group).or_default().push(id);
        }
        while let Some((id, whole)) = open.pop() {
            if !found.insert(id) && !whole {
                continue;
            }
            let (node, spec) = (self.node(id), self.spec(id));
            let scope = self.scope(node.scope);
            let partners = if node.group.is_some() { self.explicit_needs(id) } else { Vec::new() };
            let by_key = |step: u32| spec.needs.iter().all(|n| n.step != step || n.kind == crate::tree::NeedKind::ByKey);
            let needs = super::state::distinct(spec).into_iter().filter(|step| node.group.is_none() || !by_key(*step));
            open.extend(needs.map(|step| scope.nodes[step as usize]).chain(partners).filter(|n| !found.contains(n)).map(|n| (n, true)));
            open.extend(scope.parent.filter(|p| !found.contains(p)).map(|p| (p, false)));
            if whole {
                let instances = groups.get(&id).into_iter().flatten().copied();
                let parts = instances.chain(node.child.into_iter().flat_map(|c| self.scope(c).nodes.iter().copied()));
                open.extend(parts.filter(|n| !found.contains(n)).map(|n| (n, true)));
            }
        }
        found
    }

    /// How the run ends after a rollback, and what of it stays.
    pub(super) fn rollback_result(&self) -> (RunStatus, Option<String>) {
        let stay = self.rollback.as_ref().map(|r| self.stay(&r.how)).unwrap_or_default();
        let all = 0..super::tables::index(self.nodes.len());
        let stuck = |id: &NodeId| self.node(*id).status == StepStatus::UndoFailed && !stay.skipped.contains(id);
        if let Some(id) = all.clone().find(stuck) {
            return (RunStatus::RollbackStuck, Some(format!("{} could not be taken back", self.node(id).path)));
        }
        let lost = self.lost.iter().map(|(path, _)| format!("{path} ({GONE})"));
        let left = all.filter_map(|id| match self.way(id, &stay) {
            Way::Kept(why) | Way::Missing(why) => Some(format!("{} ({why})", self.node(id).path)),
            Way::Undo | Way::Kind(_) | Way::Nothing => None,
        });
        let mut left = left.chain(lost).peekable();
        match left.peek() {
            None => (RunStatus::RolledBack, None),
            Some(_) => (RunStatus::Failed, Some(format!("not taken back: {}", few(left, 5)))),
        }
    }

    /// What `trees rollback` would do now, in the order in which it would.
    pub fn rollback_plan(&self, to: Option<StepPath>, skip: Vec<StepPath>) -> Vec<Planned> {
        let mut order = Order::of(self, self.stay(&self.asked(to, skip)));
        let mut wave = vec![0u32; self.nodes.len() * 2];
        let mut plan = Vec::new();
        while let Some(moment) = order.next() {
            let (Moment::Begin(id) | Moment::End(id)) = moment;
            let at = wave[moment.index()];
            let way = if moment == Moment::Begin(id) { self.way(id, &order.stay) } else { Way::Nothing };
            let after = at + u32::from(matches!(way, Way::Undo | Way::Kind(_)));
            order.followers(moment).iter().for_each(|next| wave[*next as usize] = wave[*next as usize].max(after));
            if way != Way::Nothing {
                let node = self.node(id);
                plan.push(Planned { step: node.path.clone(), status: node.status, way, wave: at });
            }
            order.pass(moment);
        }
        plan.sort_by_key(|p| p.wave);
        let gone = |(step, status): &(StepPath, StepStatus)| Planned {
            step: step.clone(),
            status: *status,
            way: Way::Missing(GONE.into()),
            wave: 0,
        };
        plan.extend(self.lost.iter().map(gone));
        plan
    }

    pub(super) fn launch_undo(&mut self, id: NodeId, now: Timestamp) -> Taken {
        self.emit(now, Some(id), EventKind::UndoStarted)?;
        self.stage(id, Stage::Active);
        let (step, attempt) = (self.node(id).path.clone(), self.node(id).attempt);
        self.ask(Effect::Launch { step, attempt, mode: Mode::Undo });
        Ok(())
    }
}

/// What must not be taken back, and why.
#[derive(Debug, Default, Clone)]
pub(super) struct Stay {
    skipped: HashSet<NodeId>,
    to: HashSet<NodeId>,
    pivot: HashSet<NodeId>,
}

impl Stay {
    fn why(&self, id: NodeId) -> Option<String> {
        let why = |set: &HashSet<NodeId>, text: &str| set.contains(&id).then(|| text.to_owned());
        why(&self.skipped, "skipped").or_else(|| why(&self.to, "kept by --to")).or_else(|| why(&self.pivot, "behind a pivot"))
    }
}
