//! A run as its events tell it: each step with its status, reason, attempts, times and outputs.

use super::runs;
use crate::report::said::{by, status_after};
use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use trees_core::event::{Event, EventKind, Failure, Json, Object, Reason, RunStatus, StepError, StepStatus};
use trees_core::path::RunId;
use trees_core::run::{Definitions, Run};
use trees_core::tree::{Action, Step, Tree};

/// A run.
pub struct Story {
    /// Each step and instance, in the order in which they were first heard of, then the others.
    pub steps: Vec<Told>,
    /// The outputs of the tree.
    pub outputs: Object,
    /// Why it rests, or another failure of the run itself.
    pub reason: Option<String>,
    /// What a rollback answers.
    pub failure: Option<Failure>,
    /// Approvals that are being asked: name and question.
    pub asked: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

/// A run as it is told afterwards, its steps named as in its newest tree.
pub struct Retold<'e> {
    /// Its events.
    pub events: Cow<'e, [Event]>,
    /// What they tell.
    pub story: Story,
    /// The run as they left it. A record that this version cannot replay is told as it stands.
    pub replayed: Option<Run>,
}

/// A step or instance.
#[derive(Default)]
pub struct Told {
    /// Its path.
    pub path: String,
    /// `run`, `tree`, `approve` or the step kind.
    pub kind: String,
    /// How it stands.
    pub status: Option<StepStatus>,
    /// Why it was skipped, blocked, reused.
    pub reason: Option<Reason>,
    /// How it failed.
    pub error: Option<StepError>,
    /// The number of its last attempt.
    pub attempts: u32,
    /// When it first started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it returned.
    pub outputs: Json,
}

impl<'e> Retold<'e> {
    /// From all events; with the trees that the run went through, where this version can read them.
    pub fn of(run: &RunId, recorded: &'e [Event], trees: Option<Definitions>) -> Self {
        let events = trees.as_ref().map_or(Cow::Borrowed(recorded), |trees| trees.retold(recorded).into());
        let mut story = Story::of(&events, trees.as_ref().map(|trees| &**trees.newest()));
        let replayed = trees.and_then(|trees| runs::replayed(run, trees, recorded).ok());
        if let Some(replayed) = &replayed {
            story.settle(replayed);
        }
        Self { events, story, replayed }
    }
}

impl Story {
    /// From all events; with the tree also the steps of which nothing was heard.
    pub fn of(events: &[Event], tree: Option<&Tree>) -> Self {
        let mut story =
            Self { steps: Vec::new(), outputs: Object::new(), reason: None, asked: Vec::new(), failure: None, index: HashMap::new() };
        events.iter().for_each(|event| story.take(event));
        if let Some(tree) = tree {
            story.kinds(tree);
            story.unheard(tree, "");
        }
        story
    }

    /// One step.
    pub fn step(&self, path: &str) -> Option<&Told> {
        self.index.get(path).map(|i| &self.steps[*i])
    }

    fn take(&mut self, event: &Event) {
        match (&event.step, &event.kind) {
            (None, EventKind::RollbackStarted(how)) => self.failure = how.failure.clone().or(self.failure.take()),
            (None, EventKind::RunSuspended { reason, .. }) => self.reason = Some(reason.clone()),
            (None, EventKind::RunFinished { outputs, error, .. }) => {
                self.outputs.clone_from(outputs);
                self.asked.clear();
                self.reason.clone_from(error);
            }
            (None, EventKind::RunResumed { .. }) => {
                self.reason = None;
                // What was held up by others has its turn again.
                self.steps.iter_mut().filter(|told| told.status == Some(StepStatus::Blocked)).for_each(Told::reopen);
            }
            (Some(step), kind) => {
                self.question(step.as_str(), kind);
                let told = self.told(step.as_str());
                told.attempts = told.attempts.max(event.attempt.unwrap_or(0));
                told.take(event);
            }
            _ => {}
        }
    }

    fn question(&mut self, name: &str, kind: &EventKind) {
        if let EventKind::ApprovalRequested { message, .. } = kind {
            self.asked.push((name.into(), message.clone()));
        }
        if matches!(kind, EventKind::ApprovalGiven { .. } | EventKind::ApprovalRejected { .. } | EventKind::ApprovalExpired) {
            self.asked.retain(|(asked, _)| asked != name);
        }
    }

    fn told(&mut self, path: &str) -> &mut Told {
        let next = self.steps.len();
        let index = *self.index.entry(path.into()).or_insert(next);
        if index == next {
            self.steps.push(Told { path: path.into(), ..Told::default() });
        }
        &mut self.steps[index]
    }

    fn kinds(&mut self, tree: &Tree) {
        for told in &mut self.steps {
            told.kind = tree.at(&told.path).map_or("approve", kind).to_owned();
        }
    }

    /// Takes over how the steps stand in the end: a resume opens steps again without an event for each.
    pub fn settle(&mut self, run: &Run) {
        for now in run.steps() {
            let Some(told) = self.index.get(now.path.as_str()).map(|i| &mut self.steps[*i]) else { continue };
            if told.status.is_some_and(StepStatus::is_final) && now.status == StepStatus::Pending {
                let (path, kind, attempts) = (std::mem::take(&mut told.path), std::mem::take(&mut told.kind), told.attempts);
                *told = Told { path, kind, attempts, status: Some(StepStatus::Pending), ..Told::default() };
            }
        }
    }

    /// Steps that the run has not come to yet.
    fn unheard(&mut self, tree: &Tree, prefix: &str) {
        for index in &tree.order {
            let step = &tree.steps[*index as usize];
            let path = format!("{prefix}{}", step.id);
            if !self.index.contains_key(&path) {
                let told = self.told(&path);
                told.kind = kind(step).into();
                told.status = Some(StepStatus::Pending);
            }
        }
    }

    /// The paths that a step's logs may be under: itself, its instances, the steps in it.
    pub fn under(&self, path: &str) -> Vec<&Told> {
        let (inside, instance) = (format!("{path}/"), format!("{path}["));
        let own = |s: &&Told| s.path == path || s.path.starts_with(&inside) || s.path.starts_with(&instance);
        self.steps.iter().filter(own).collect()
    }

    /// How many steps have each status, in the order of the statuses.
    pub fn counts(&self) -> Vec<(StepStatus, usize)> {
        let seen: HashSet<StepStatus> = self.steps.iter().filter_map(|s| s.status).collect();
        let mut seen: Vec<StepStatus> = seen.into_iter().collect();
        seen.sort();
        seen.into_iter().map(|status| (status, self.steps.iter().filter(|s| s.status == Some(status)).count())).collect()
    }
}

impl Told {
    fn reopen(&mut self) {
        (self.status, self.reason, self.finished) = (Some(StepStatus::Pending), None, None);
    }

    fn take(&mut self, event: &Event) {
        let ts = event.ts;
        let Some(status) = status_after(&event.kind) else {
            if let EventKind::StepExpanded { .. } = event.kind {
                self.started.get_or_insert(ts);
                *self = Self { status: Some(StepStatus::Running), reason: None, error: None, finished: None, ..std::mem::take(self) };
            }
            return;
        };
        self.status = Some(status);
        self.finished = status.is_final().then_some(ts);
        // What was said of an earlier status is not true of this one; that of an approval follows from the yes.
        let yes = self.reason.take().filter(|reason| reason.code == APPROVED && status == StepStatus::Succeeded);
        (self.reason, self.error) = (answer(event).or(yes), None);
        match &event.kind {
            EventKind::StepStarted { .. } => drop(self.started.get_or_insert(ts)),
            EventKind::StepSucceeded { outputs, .. } => self.outputs = outputs.clone(),
            EventKind::StepCached { reason, outputs, .. } => {
                self.outputs = outputs.clone();
                self.reason = Some(reason.clone());
            }
            EventKind::StepSkipped { reason } | EventKind::StepBlocked { reason } | EventKind::StepCancelled { reason } => {
                self.reason = Some(reason.clone());
            }
            EventKind::StepFailed { error }
            | EventKind::StepTimedOut { error }
            | EventKind::StepInterrupted { error }
            | EventKind::AttemptFailed { error, .. }
            | EventKind::UndoFailed { error } => self.error = Some(error.clone()),
            _ => {}
        }
    }
}

const APPROVED: &str = "approved";

/// Who answered a question, and with what word.
fn answer(event: &Event) -> Option<Reason> {
    let (code, note) = match &event.kind {
        EventKind::ApprovalGiven { note } => (APPROVED, note),
        EventKind::ApprovalRejected { note } => ("rejected", note),
        _ => return None,
    };
    Some(Reason { code: code.into(), text: by(code, event, note.as_deref()), file: None, line: None, values: Default::default() })
}

/// `run`, `tree`, `approve` or the step kind.
pub fn kind(step: &Step) -> &str {
    match &step.action {
        Action::Run(_) => "run",
        Action::Uses { kind, .. } => kind,
        Action::Tree { .. } => "tree",
        Action::Approve { .. } => "approve",
    }
}

/// Whether nothing more is heard of a run in this state unless somebody acts.
pub fn at_rest(status: RunStatus) -> bool {
    match status {
        RunStatus::Pending | RunStatus::Running | RunStatus::RollingBack => false,
        RunStatus::Waiting
        | RunStatus::Paused
        | RunStatus::Interrupted
        | RunStatus::Succeeded
        | RunStatus::SucceededWithWarnings
        | RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::RolledBack
        | RunStatus::RollbackStuck => true,
    }
}
