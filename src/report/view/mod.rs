//! What a screen knows of a sitting, from its events alone: what runs, the newest lines, counts,
//! and what is to be said above. Pure: no terminal, no clock, no files.
//!
//! The terminal draws [`View::lines`] and scrolls what [`View::take_said`] gives; [`View::tally`]
//! is what is left of it at the end.

mod rows;

use crate::report::cascade::Cascades;
use crate::report::clean::clean;
use crate::report::said::{self, Said};
use crate::report::shape::{Part, Shape};
use crate::report::style::{Line, Paint, cut};
use jiff::Timestamp;
pub use rows::clock;
use rows::{Held, Running, Until};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use trees_core::event::{Event, EventKind, Object, RunStatus, StepStatus, WaitFor};
use trees_core::path::StepPath;

/// What a screen knows.
pub struct View {
    shape: Shape,
    name: String,
    began: Option<Timestamp>,
    estimate: Option<Duration>,
    total: u64,
    counts: BTreeMap<StepStatus, u64>,
    status: RunStatus,
    reason: Option<String>,
    /// What a rollback answers.
    cause: Option<String>,
    outputs: Object,
    leaves: HashMap<StepPath, (StepStatus, u64)>,
    running: BTreeMap<u64, Running>,
    numbers: HashMap<StepPath, u64>,
    next: u64,
    /// Instances of each fan-out.
    expanded: HashMap<StepPath, u64>,
    /// Steps that wait for their next attempt or for a lock.
    held: BTreeMap<StepPath, Held>,
    questions: BTreeMap<String, String>,
    /// Approvals given beforehand.
    approved: Vec<String>,
    /// Steps whose outcome a person must settle.
    undecided: BTreeSet<String>,
    /// The run's id.
    run: String,
    cascades: Cascades,
    said: Vec<Said>,
}

/// How far a run came, for the closing lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// `slackpath #3`.
    pub name: String,
    /// All leaves known.
    pub total: u64,
    /// Leaves by status.
    pub counts: BTreeMap<StepStatus, u64>,
    /// Why it rests, or what failed of the run itself.
    pub reason: Option<String>,
    /// Approvals that are waited for: name and question.
    pub questions: Vec<(String, String)>,
    /// Steps whose outcome a person must settle.
    pub undecided: Vec<String>,
    /// The outputs of the tree.
    pub outputs: Object,
}

impl View {
    /// Of a run of a tree; `estimate` is how long earlier runs took.
    pub fn new(shape: Shape, estimate: Option<Duration>) -> Self {
        Self {
            total: shape.leaves(),
            shape,
            name: String::new(),
            began: None,
            estimate,
            counts: BTreeMap::new(),
            status: RunStatus::Pending,
            reason: None,
            cause: None,
            outputs: Object::new(),
            leaves: HashMap::new(),
            running: BTreeMap::new(),
            numbers: HashMap::new(),
            next: 0,
            expanded: HashMap::new(),
            held: BTreeMap::new(),
            questions: BTreeMap::new(),
            approved: Vec::new(),
            undecided: BTreeSet::new(),
            run: String::new(),
            cascades: Cascades::default(),
            said: Vec::new(),
        }
    }

    /// Approvals that this sitting brings with it (`*`: all).
    pub fn approve(&mut self, names: &[String]) {
        self.approved.extend_from_slice(names);
    }

    fn is_approved_beforehand(&self, name: &str) -> bool {
        self.approved.iter().any(|a| a == "*" || a == name)
    }

    /// Takes in what was recorded before this sitting, without saying it again.
    pub fn replay(&mut self, events: &[Event]) {
        for event in events {
            self.event(event);
        }
        self.take_said();
        self.running.clear();
        self.numbers.clear();
        self.began = None;
    }

    /// A durable event.
    pub fn event(&mut self, event: &Event) {
        self.begin(event);
        let Some(step) = &event.step else {
            return self.run_event(event);
        };
        let started = self.numbers.get(step).and_then(|n| self.running.get(n)).map(|r| r.since);
        let approved = self.leaves.get(step).is_some_and(|(status, _)| *status == StepStatus::Succeeded);
        if let Some(status) = said::status_after(&event.kind) {
            self.change(step, status, event);
        }
        match &event.kind {
            EventKind::StepExpanded { items } => self.expand(step, items.len() as u64),
            EventKind::ApprovalRequested { message, .. } if !self.is_approved_beforehand(step.as_str()) => {
                self.questions.insert(step.0.clone(), clean(message));
            }
            EventKind::ApprovalGiven { .. } | EventKind::ApprovalRejected { .. } | EventKind::ApprovalExpired => {
                self.questions.remove(step.as_str());
            }
            EventKind::StepWaiting { what: WaitFor::Decision, .. } => drop(self.undecided.insert(step.0.clone())),
            _ => {}
        }
        // The success of an approval follows from the yes that was said already; nobody is asked where
        // the yes was given beforehand.
        let told = approved && matches!(event.kind, EventKind::StepSucceeded { .. })
            || matches!(event.kind, EventKind::ApprovalRequested { .. }) && self.is_approved_beforehand(step.as_str());
        let container = self.shape.part(step) != Part::Leaf;
        if !told
            && !self.cascades.take(event)
            && let Some(said) = said::say(event, started, container)
        {
            self.flush_cascades();
            self.said.push(said);
        }
    }

    /// The newest line of a running step.
    pub fn output(&mut self, step: &StepPath, line: &str) {
        if let Some(running) = self.running_mut(step) {
            let line = clean(line);
            if !line.is_empty() {
                running.newest = line.trim_start().to_owned();
            }
        }
    }

    /// How far a running step is.
    pub fn progress(&mut self, step: &StepPath, fraction: Option<f64>, text: &str) {
        if let Some(running) = self.running_mut(step) {
            running.fraction = fraction.map(|f| f.clamp(0.0, 1.0));
            if !text.is_empty() {
                running.newest = clean(text);
            }
        }
    }

    /// Something that is no event and is to be said above.
    pub fn note(&mut self, line: Line) {
        self.flush_cascades();
        self.said.push(Said::important(line));
    }

    /// How far the run came.
    pub fn tally(&self) -> Tally {
        Tally {
            name: self.name.clone(),
            total: self.total,
            counts: self.counts.iter().filter(|(_, n)| **n > 0).map(|(s, n)| (*s, *n)).collect(),
            reason: self.reason.clone(),
            questions: self.questions.clone().into_iter().collect(),
            undecided: self.undecided.iter().cloned().collect(),
            outputs: self.outputs.clone(),
        }
    }

    /// What is to be said above since the last time.
    pub fn take_said(&mut self) -> Vec<Said> {
        self.flush_cascades();
        std::mem::take(&mut self.said)
    }

    /// The question that waits longest by name, if one waits.
    pub fn question(&self) -> Option<(&str, &str)> {
        self.questions.iter().find(|_| self.status == RunStatus::Running).map(|(name, message)| (name.as_str(), message.as_str()))
    }

    /// The lines of the moment, for a terminal of this size.
    pub fn lines(&self, width: usize, height: usize, now: Timestamp) -> Vec<Line> {
        let room = height.saturating_sub(4).max(1);
        let running: Vec<&Running> = self.running.values().take(room).collect();
        let held: Vec<&Held> = self.held.values().take(room - running.len()).collect();
        let names = running.iter().map(|r| &r.step).chain(held.iter().map(|h| &h.step));
        let name_width = names.map(|n| console::measure_text_width(n.as_str())).max().unwrap_or(0).min(width.saturating_sub(2) / 3);
        let mut lines: Vec<Line> = running.iter().map(|r| r.line(width, name_width, now)).collect();
        lines.extend(held.iter().map(|h| h.line(width, name_width, now)));
        let all = self.running.len() + self.held.len();
        if all > lines.len() {
            lines.push(Line::default().with(Paint::Faint, format!("  +{} more", all - lines.len())).fit(width));
        }
        if let Some((name, message)) = self.question() {
            let others = if self.questions.len() > 1 { format!(" (+{})", self.questions.len() - 1) } else { String::new() };
            lines.push(rows::question(message, &format!(" [{name}]{others}"), width));
        }
        if let (Some(step), RunStatus::Running) = (self.undecided.first(), self.status) {
            let text = format!("{step} waits for a decision: trees resolve {} {step} --done|--retry|--fail", self.run);
            lines.push(Line::default().with(Paint::Care, "! ").with(Paint::Plain, text).fit(width));
        }
        lines.push(self.bar(width, now));
        lines
    }

    fn begin(&mut self, event: &Event) {
        self.run.clone_from(&event.run.0);
        if let EventKind::RunStarted(facts) = &event.kind {
            self.name = format!("{} #{}", facts.tree, facts.number);
            self.approved.extend_from_slice(&facts.approved);
        }
        if matches!(event.kind, EventKind::RunStarted(_) | EventKind::RunResumed { .. }) {
            if self.status.is_ended() {
                self.reopen();
            }
            (self.status, self.reason) = (RunStatus::Running, None);
            // The time shown is that of the sitting.
            self.began = Some(event.ts);
        }
        self.began.get_or_insert(event.ts);
    }

    fn run_event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunSuspended { status, reason, .. } => {
                (self.status, self.reason) = (*status, Some(reason.clone()));
            }
            EventKind::RunFinished { status, outputs, error, .. } => {
                (self.status, self.reason) = (*status, error.clone().or(self.cause.take()));
                self.outputs.clone_from(outputs);
                self.questions.clear();
                self.held.clear();
            }
            EventKind::RollbackStarted(how) => {
                self.status = RunStatus::RollingBack;
                self.cause = how.failure.as_ref().map(said::cause);
            }
            _ => {}
        }
        if let Some(said) = said::say(event, None, false) {
            self.flush_cascades();
            self.said.push(said);
        }
    }

    /// An ended run goes on: what did not end well is open again, as far as that is known beforehand.
    fn reopen(&mut self) {
        let shape = &self.shape;
        let ends_well = |path: &StepPath, status: StepStatus| {
            !status.is_final() || status.is_success() || status == StepStatus::Skipped || shape.may_fail(path)
        };
        let open: Vec<StepPath> =
            self.leaves.iter().filter(|(path, (status, _))| !ends_well(path, *status)).map(|(path, _)| path.clone()).collect();
        for path in open {
            if let Some((status, weight)) = self.leaves.remove(&path) {
                self.count(status, |n| n.saturating_sub(weight));
            }
        }
        self.undecided.clear();
    }

    fn flush_cascades(&mut self) {
        self.said.extend(self.cascades.take_lines().into_iter().map(Said::line));
    }

    fn running_mut(&mut self, step: &StepPath) -> Option<&mut Running> {
        self.running.get_mut(self.numbers.get(step)?)
    }

    fn change(&mut self, step: &StepPath, status: StepStatus, event: &Event) {
        let part = self.shape.part(step);
        if status == StepStatus::Running && part == Part::Leaf && !matches!(event.kind, EventKind::ApprovalRequested { .. }) {
            self.start(step, event);
        } else if let Some(number) = self.numbers.remove(step) {
            self.running.remove(&number);
        }
        self.undecided.remove(step.as_str());
        self.hold(step, event);
        if step.as_str().starts_with("environment:") {
            return;
        }
        let weight = match part {
            Part::Leaf => 1,
            // One that never began takes its leaves with it; else they speak for themselves.
            Part::Container(leaves) if matches!(status, StepStatus::Skipped | StepStatus::Blocked) => leaves,
            Part::Container(_) => return,
        };
        let before = self.leaves.insert(step.clone(), (status, weight));
        if let Some((old, weight)) = before {
            self.count(old, |n| n.saturating_sub(weight));
        }
        self.count(status, |n| n + weight);
    }

    fn count(&mut self, status: StepStatus, change: impl Fn(u64) -> u64) {
        let count = self.counts.entry(status).or_default();
        *count = change(*count);
    }

    fn sum(&self, counted: impl Fn(StepStatus) -> bool) -> u64 {
        self.counts.iter().filter(|(status, _)| counted(**status)).map(|(_, n)| n).sum()
    }

    /// A step that waits for its time or for a lock has a line too.
    fn hold(&mut self, step: &StepPath, event: &Event) {
        let until = match &event.kind {
            EventKind::AttemptFailed { retry_at, .. } => Until::Attempt { number: event.attempt.unwrap_or(1) + 1, at: *retry_at },
            EventKind::StepWaiting { what: WaitFor::Lock, on } => Until::Lock { name: clean(on), since: event.ts },
            _ => return drop(self.held.remove(step)),
        };
        self.held.insert(step.clone(), Held { step: step.clone(), until });
    }

    fn start(&mut self, step: &StepPath, event: &Event) {
        let number = *self.numbers.entry(step.clone()).or_insert(self.next);
        self.next += 1;
        let attempt = event.attempt.unwrap_or(1);
        self.running.insert(number, Running { step: step.clone(), since: event.ts, attempt, newest: String::new(), fraction: None });
    }

    fn expand(&mut self, step: &StepPath, items: u64) {
        let each = match self.shape.part(step) {
            Part::Container(leaves) => leaves,
            Part::Leaf => 1,
        };
        // It counts as one instance until it expands; a resume may expand it again.
        let before = self.expanded.insert(step.clone(), items).unwrap_or(1);
        self.total = (self.total + items * each).saturating_sub(before * each);
    }

    fn bar(&self, width: usize, now: Timestamp) -> Line {
        let elapsed = self.began.map_or(Duration::ZERO, |t| rows::since(t, now));
        let done = self.sum(StepStatus::is_final);
        let failed = self.sum(|s| matches!(s, StepStatus::Failed | StepStatus::TimedOut | StepStatus::Rejected));
        let mut tail = format!(" {done}/{} {}", self.total, clock(elapsed));
        if let Some(estimate) = self.estimate.filter(|_| width >= 60) {
            tail.push_str(&format!(" of about {}", clock(estimate)));
        }
        let failed = if failed > 0 { format!(" · {failed} failed") } else { String::new() };
        let name = cut(&self.name, width / 3);
        let used = [&name, &tail, &failed].iter().map(|t| console::measure_text_width(t)).sum::<usize>() + 1;
        let line = Line::default().with(Paint::Strong, name);
        let line = match width.saturating_sub(used) {
            room if room >= 6 => line.with(Paint::Plain, " ").with(Paint::Good, rows::gauge(rows::share(done, self.total), room.min(40))),
            _ => line,
        };
        line.with(Paint::Plain, tail).with(Paint::Bad, failed).fit(width)
    }
}

#[cfg(test)]
mod tests;
