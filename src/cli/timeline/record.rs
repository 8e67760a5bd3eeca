//! Events on one axis of time: what each leaf did when. The time in which nobody drove the run is
//! left out of the axis.

use super::Time;
use crate::cli::story::kind;
use crate::report::said::{message, status_after};
use crate::report::tone::Tone;
use crate::report::{Paint, clean};
use jiff::Timestamp;
use std::collections::HashMap;
use trees_core::event::{Event, EventKind, RunStatus, StepStatus, WaitFor};
use trees_core::tree::{Action, Tree};

/// What a leaf does in a part of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// It could start, but for a place of `max_parallel`.
    Places,
    /// It could start, but for a place of its pool.
    Pool,
    /// It could start, but for a lock.
    Lock,
    /// A person must answer.
    Person,
    /// Its next attempt follows.
    Retry,
    /// It is made ready.
    Start,
    /// An attempt runs.
    Run,
    /// It is taken back.
    Undo,
}

/// A part of the time of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// What it does.
    pub phase: Phase,
    /// From then on.
    pub from: Time,
    /// Until then.
    pub to: Time,
    /// It ended in a failure.
    pub failed: bool,
}

/// A leaf.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Its path.
    pub path: String,
    /// `run`, `approve` or the step kind.
    pub kind: String,
    /// How it stands.
    pub status: StepStatus,
    /// Why it stands so, where that was recorded.
    pub why: Option<String>,
    /// The number of its last attempt.
    pub attempts: u32,
    /// What it did.
    pub segments: Vec<Segment>,
    /// When it ended.
    pub ended: Option<Time>,
    /// When it began to do something, once a sitting or more often.
    pub begins: Vec<Time>,
    /// How long a person was waited for while the run was at rest.
    pub at_rest: Time,
    /// When all that it needs had ended.
    pub eligible: Time,
    /// When what it is in began.
    pub base: Time,
    /// The environment it works for.
    pub environment: String,
    /// The pool it belongs to, with its size.
    pub pool: Option<(String, u32)>,
    /// It takes a lock.
    pub locks: bool,
    /// The fan-out it is an instance of, with its places.
    pub group: Option<(String, u32)>,
    /// How long it waited for what it needs.
    pub needs: Time,
    /// It is on the critical path.
    pub critical: bool,
    open: Option<(Phase, Time)>,
}

impl Lane {
    fn new(path: &str, tree: &Tree) -> Self {
        Self {
            path: path.into(),
            kind: tree.at(path).map_or("approve", kind).into(),
            status: StepStatus::Pending,
            why: None,
            attempts: 0,
            segments: Vec::new(),
            ended: None,
            begins: Vec::new(),
            at_rest: 0,
            eligible: 0,
            base: 0,
            environment: String::new(),
            pool: None,
            locks: false,
            group: None,
            needs: 0,
            critical: false,
            open: None,
        }
    }

    /// The approval of an environment, which is no step.
    pub fn is_gate(&self) -> bool {
        self.path.starts_with("environment:")
    }

    /// When something was first heard of it.
    pub fn first(&self) -> Option<Time> {
        self.segments.iter().map(|s| s.from).min().or(self.ended)
    }

    /// The time it spent so.
    pub fn spent(&self, phase: Phase) -> Time {
        let driven: Time = self.segments.iter().filter(|s| s.phase == phase).map(|s| s.to - s.from).sum();
        if phase == Phase::Person { driven + self.at_rest } else { driven }
    }

    /// The time it takes however many places there are.
    pub fn own(&self) -> Time {
        let own = |s: &&Segment| matches!(s.phase, Phase::Run | Phase::Retry | Phase::Person);
        self.segments.iter().filter(own).map(|s| s.to - s.from).sum()
    }

    /// The colour of how it stands.
    pub fn paint(&self) -> Paint {
        Tone::of(Some(self.status)).paint()
    }

    /// What stands for it where it has no bar.
    pub fn sign(&self) -> Option<char> {
        match self.status {
            StepStatus::Skipped => Some('-'),
            StepStatus::Blocked => Some('⊘'),
            StepStatus::Cached => Some('='),
            _ if self.segments.is_empty() => Some('·'),
            _ => None,
        }
    }

    fn close(&mut self, now: Time, failed: bool) {
        if let Some((phase, from)) = self.open.take() {
            let failed = failed && matches!(phase, Phase::Run | Phase::Undo);
            self.segments.push(Segment { phase, from, to: now, failed });
        }
    }

    fn open(&mut self, phase: Phase, now: Time, failed: bool) {
        // The way back waits for what was built on the step, not for the step's own turn.
        if self.open.is_none() && phase != Phase::Undo {
            self.begins.push(now);
        }
        self.close(now, failed);
        self.open = Some((phase, now));
    }

    fn take(&mut self, event: &Event, now: Time) {
        self.attempts = self.attempts.max(event.attempt.unwrap_or(0));
        let Some(status) = status_after(&event.kind) else { return };
        self.status = status;
        self.why = why(&event.kind).filter(|text| !text.is_empty());
        let failed = status.is_failure() || matches!(status, StepStatus::RetryWait | StepStatus::Interrupted | StepStatus::UndoFailed);
        match phase(&event.kind) {
            Some(phase) => self.open(phase, now, failed),
            None => self.close(now, failed),
        }
        self.ended = status.is_final().then_some(now);
    }
}

/// Why a leaf stands as it does after an event.
fn why(event: &EventKind) -> Option<String> {
    match event {
        EventKind::StepFailed { error }
        | EventKind::StepTimedOut { error }
        | EventKind::StepInterrupted { error }
        | EventKind::AttemptFailed { error, .. }
        | EventKind::UndoFailed { error } => Some(message(error)),
        EventKind::StepCached { reason, .. }
        | EventKind::StepSkipped { reason }
        | EventKind::StepBlocked { reason }
        | EventKind::StepCancelled { reason } => Some(clean(&reason.text)),
        _ => None,
    }
}

/// What begins with an event.
fn phase(event: &EventKind) -> Option<Phase> {
    match event {
        EventKind::StepStarted { .. } => Some(Phase::Run),
        EventKind::AttemptFailed { .. } => Some(Phase::Retry),
        EventKind::StepWaiting { what: WaitFor::Lock, .. } => Some(Phase::Lock),
        EventKind::StepWaiting { what: WaitFor::Approval | WaitFor::Decision, .. } | EventKind::ApprovalRequested { .. } => {
            Some(Phase::Person)
        }
        EventKind::UndoStarted => Some(Phase::Undo),
        _ => None,
    }
}

/// A fan-out or a sub-tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct Container {
    /// When it began.
    pub began: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
}

/// A run on its axis.
pub struct Record {
    /// The leaves, in the order in which they were heard of.
    pub lanes: Vec<Lane>,
    /// Fan-outs and sub-trees by path.
    pub containers: HashMap<String, Container>,
    /// Where sittings begin.
    pub sittings: Vec<Time>,
    /// Where the axis ends.
    pub end: Time,
    /// How long nobody drove it.
    pub rest: Time,
}

/// Puts all events on the axis; a run that is alive goes on until `now`.
pub fn record(events: &[Event], tree: &Tree, now: Option<Timestamp>) -> Record {
    let mut writer = Writer { first: None, last: None, index: HashMap::new(), containers: HashMap::new(), lanes: Vec::new() };
    let (mut sittings, mut rest, mut waits) = (Vec::new(), 0, false);
    for event in events {
        let sits = event.kind.begins_sitting();
        if sits && event.seq > 1 {
            rest += writer.skip(event.ts, waits);
        }
        let time = writer.at(event.ts);
        match &event.kind {
            _ if sits => sittings.push(time),
            EventKind::RunSuspended { status, .. } => waits = *status == RunStatus::Waiting,
            _ => {}
        }
        if let Some(step) = &event.step {
            writer.step(step.as_str(), tree, event, time);
        }
    }
    let end = now.or(writer.last).map_or(0, |ts| writer.at(ts));
    writer.lanes.retain(|lane| lane.ended.is_some() || !writer.containers.contains_key(&lane.path));
    writer.lanes.iter_mut().for_each(|lane| lane.close(end, false));
    Record { lanes: writer.lanes, containers: writer.containers, sittings, end, rest }
}

struct Writer {
    /// The moment of the axis' zero.
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    index: HashMap<String, usize>,
    containers: HashMap<String, Container>,
    lanes: Vec<Lane>,
}

impl Writer {
    fn at(&mut self, ts: Timestamp) -> Time {
        let first = *self.first.get_or_insert(ts);
        self.last = Some(ts);
        i64::try_from(ts.duration_since(first).as_micros()).unwrap_or(i64::MAX).max(0)
    }

    /// Leaves the time since the last event out of the axis.
    fn skip(&mut self, ts: Timestamp, waits: bool) -> Time {
        let (Some(first), Some(last)) = (self.first, self.last) else { return 0 };
        let gap = ts.duration_since(last);
        self.first = first.checked_add(gap).ok();
        let gap = i64::try_from(gap.as_micros()).unwrap_or(i64::MAX);
        let asked = |lane: &&mut Lane| waits && lane.open.is_some_and(|(phase, _)| phase == Phase::Person);
        self.lanes.iter_mut().filter(asked).for_each(|lane| lane.at_rest += gap);
        gap
    }

    fn step(&mut self, path: &str, tree: &Tree, event: &Event, now: Time) {
        if is_container(tree, path) {
            let container = self.containers.entry(path.into()).or_default();
            let status = status_after(&event.kind);
            if status == Some(StepStatus::Running) || matches!(event.kind, EventKind::StepExpanded { .. }) {
                container.began.get_or_insert(now);
            }
            container.ended = status.filter(|s| s.is_final()).map(|_| now).or(container.ended);
            // One that never began has no leaves that could tell of it.
            if !matches!(status, Some(StepStatus::Skipped | StepStatus::Blocked)) {
                self.index.get(path).and_then(|i| self.lanes.get_mut(*i)).into_iter().for_each(|lane| lane.ended = None);
                return;
            }
        }
        let next = self.lanes.len();
        let index = *self.index.entry(path.into()).or_insert(next);
        if index == next {
            self.lanes.push(Lane::new(path, tree));
        }
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.take(event, now);
        }
    }
}

/// A fan-out that is not one of its instances, or a sub-tree.
fn is_container(tree: &Tree, path: &str) -> bool {
    tree.at(path).is_some_and(|step| {
        let last = path.rsplit('/').next().unwrap_or(path);
        matches!(step.action, Action::Tree { .. }) || step.fan_out.is_some() && !last.contains('[')
    })
}
