//! Taking one step back: its tries, its end, and what it is made of.

use super::input::Outcome;
use super::state::{NodeId, Stage};
use super::task::{self, Job, Secrets};
use super::{IllegalEvent, Run};
use crate::event::{ErrorReason, EventKind, Json, Object, StepError, StepStatus};
use crate::path::StepPath;
use crate::tree::{Action, OnCrash, Retry};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

type Undone = Result<(), IllegalEvent>;

/// How a step is taken back.
#[derive(Clone)]
pub enum Undo {
    /// By its `undo`.
    Job {
        /// What it does.
        job: Job,
        /// Of one try.
        timeout: Option<Duration>,
    },
    /// By its kind, from what it recorded; the newest first.
    Records {
        /// `family/kind`.
        kind: String,
        /// The kind's own records, in the order in which they are taken back.
        records: Vec<Json>,
        /// Of one try.
        timeout: Option<Duration>,
    },
}

impl Run {
    /// `on_crash: undo_first`, and its outcome is unknown.
    pub(super) fn is_undone_first(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let half_done = node.more.as_ref().is_some_and(|m| m.unsettled && m.action.is_none());
        self.spec(id).on_crash == OnCrash::UndoFirst && half_done && !self.is_tree(id)
    }

    /// Its undo waits for a place.
    pub(super) fn queue_undo(&mut self, id: NodeId) {
        self.stage(id, Stage::Queued);
        self.ready.push_back(id);
    }

    pub(super) fn start_undo(&mut self, id: NodeId) {
        self.drop_timer(id);
        self.set(id, StepStatus::Undoing);
        let more = self.node_mut(id).more();
        more.undo_tries += 1;
        more.undos += 1;
    }

    pub(super) fn undo_ended(&mut self, id: NodeId, outcome: Outcome, now: Timestamp) -> Undone {
        self.release(id);
        match outcome {
            Outcome::Succeeded { .. } | Outcome::AlreadyDone { .. } | Outcome::NotDone => {
                self.emit(now, Some(id), EventKind::UndoSucceeded)?;
                self.leave_undo(id);
            }
            Outcome::Failed { error, permanent } if !self.interrupting => self.undo_failed(id, error, permanent, now)?,
            Outcome::Stopped | Outcome::Failed { .. } if !self.is_rolled_back(id) => {
                let message = "its undo was broken off; its outcome is unknown".to_owned();
                let error = StepError { reason: ErrorReason::Interrupted, code: None, message, log: None };
                self.emit(now, Some(id), EventKind::StepInterrupted { error })?;
            }
            // It stays as it is: the next sitting tries it again.
            Outcome::Stopped | Outcome::Failed { .. } => self.leave_undo(id),
        }
        Ok(())
    }

    /// It cannot even be tried.
    pub(super) fn undo_impossible(&mut self, id: NodeId, message: String, now: Timestamp) -> Undone {
        self.emit(now, Some(id), EventKind::UndoStarted)?;
        self.undo_failed(id, StepError { reason: ErrorReason::Spawn, code: None, message, log: None }, true, now)
    }

    fn undo_failed(&mut self, id: NodeId, error: StepError, permanent: bool, now: Timestamp) -> Undone {
        let tries = self.node(id).more.as_ref().map_or(0, |m| m.undo_tries);
        let retry = self.undo_retry(id);
        if tries < retry.attempts && !permanent && !self.is_quiet() {
            let delay = self.delay_after(id, &retry, tries);
            let retry_at = now.checked_add(delay).unwrap_or(now);
            return self.emit(now, Some(id), EventKind::AttemptFailed { error, retry_at });
        }
        if !self.is_rolled_back(id) {
            return self.emit(now, Some(id), EventKind::StepFailed { error: not_taken_back(error) });
        }
        self.emit(now, Some(id), EventKind::UndoFailed { error })?;
        self.leave_undo(id);
        Ok(())
    }

    fn undo_retry(&self, id: NodeId) -> Retry {
        let spec = self.spec(id);
        match &spec.undo {
            Some(undo) => undo.retry.clone().unwrap_or_default(),
            None => Retry::clone(&spec.retry),
        }
    }

    /// How a step is taken back; `step` and `failure` are in scope.
    ///
    /// # Errors
    /// A value that cannot be computed, or no way back.
    pub fn undo_of(&self, step: &StepPath, secrets: &Secrets) -> Result<Undo, StepError> {
        let id = self.find(step).ok_or_else(|| task::cannot(format!("no step {step}")))?;
        let spec = self.spec(id);
        if let Some(undo) = &spec.undo {
            let job = self.job(id, &undo.action, &self.undo_names(id, secrets)).map_err(|e| task::cannot(format!("undo: {e}")))?;
            return Ok(Undo::Job { job, timeout: undo.timeout.or(spec.timeout) });
        }
        let records: Vec<Json> = self.node(id).more.iter().flat_map(|m| m.intents.iter().rev().cloned()).collect();
        match &spec.action {
            Action::Uses { kind, .. } => Ok(Undo::Records { kind: kind.clone(), records, timeout: spec.timeout }),
            Action::Run(_) | Action::Tree { .. } | Action::Approve { .. } => Err(task::cannot(format!("{step} has no undo"))),
        }
    }

    /// The number of the last try of a step's undo, from 1, counted over all rollbacks.
    pub fn undo_number(&self, step: &StepPath) -> u32 {
        self.find(step).and_then(|id| self.node(id).more.as_ref()).map_or(0, |m| m.undos)
    }

    fn undo_names(&self, id: NodeId, secrets: &Secrets) -> Object {
        let mut names = task::with_secrets(secrets);
        let mut step = self.step_names(id);
        if let Some(step) = step.as_object_mut() {
            step.entry("outputs").or_insert_with(|| json!({}));
            step.entry("attempt").or_insert_with(|| self.node(id).attempt.into());
        }
        names.insert("step".into(), step);
        let failure = self.rollback.as_ref().and_then(|r| r.how.failure.as_ref());
        names.insert("failure".into(), super::names::failure_names(failure));
        names
    }
}

/// `on_crash: undo_first`, and the undo failed or is not tried again: what came of the step stays unknown.
pub(super) fn not_taken_back(error: StepError) -> StepError {
    let message = format!("it could not be taken back after an unknown outcome: {}", error.message);
    StepError { reason: ErrorReason::Interrupted, message, ..error }
}
