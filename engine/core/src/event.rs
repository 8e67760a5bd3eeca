//! What happened to a run: one enum, past tense, owned, serialisable; screens, JSON, replay,
//! listings and streams are all drawn from it.
//!
//! Nothing here carries output bytes, secrets or display policy. Read [`EventKind`] first.

mod progress;
mod release;
mod run;
mod status;
mod step;
mod time;

use crate::path::{RunId, StepPath};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::{micros, optional_micros};

pub use progress::Progress;
pub use release::{Deployed, DeployedStep, IDENTITY};
pub use run::{Changed, Failure, RollbackStarted, RunStarted, Selection};
pub use status::{RunStatus, StepStatus};
pub use step::{ArtifactRef, Digests, ErrorReason, Item, Reason, Resolution, StepError, WaitFor};

/// A JSON value, as outputs and parameters are kept.
pub type Json = serde_json::Value;
/// A JSON object; its keys are sorted.
pub type Object = serde_json::Map<String, Json>;

/// One recorded fact about a run. `seq` has no gaps and begins at 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The version of the form, 1.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// Its number in the run, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded (UTC, microseconds).
    #[serde(with = "micros")]
    pub ts: Timestamp,
    /// The step or instance it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepPath>,
    /// The attempt it is about, from 1; numbers go on over resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The person or process that acted, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. The variants' names in JSON are the `type` of the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The run exists and is being driven.
    RunStarted(Box<RunStarted>),
    /// A later sitting took the run up again.
    RunResumed {
        /// The sitting's epoch; a writer with an older one is refused.
        epoch: u64,
        /// The digest of the sources from here on, where they are others than before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        definition: Option<String>,
    },
    /// A sitting ended and the run rests; it can be resumed.
    RunSuspended {
        /// `waiting`, `paused` or `interrupted`.
        status: RunStatus,
        /// Why, in one sentence.
        reason: String,
        /// The signal that ended the sitting, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// How far it came; absent in older records.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Progress>,
    },
    /// The run ended.
    RunFinished {
        /// How.
        status: RunStatus,
        /// The outputs of the tree; `null` for one that could not be computed.
        #[serde(default, skip_serializing_if = "Object::is_empty")]
        outputs: Object,
        /// Why an output of the tree is missing, or another failure of the run itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// How far it came; absent in older records.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Progress>,
        /// What it left deployed, for each environment in which it deployed something.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deployed: Vec<Deployed>,
    },
    /// Somebody asked for the end of the run.
    CancelRequested {
        /// External steps are signalled too.
        #[serde(default)]
        now: bool,
    },
    /// Effects are being taken back.
    RollbackStarted(Box<RollbackStarted>),
    /// An attempt began (a sub-tree or fan-out: its first).
    StepStarted {
        /// What the attempt is made of; absent for sub-trees and approvals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digests: Option<Digests>,
        /// Handed to the target so that the same request is made once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
    },
    /// The action ended well and a verify follows.
    ActionSucceeded {
        /// What it returned.
        #[serde(default, skip_serializing_if = "Object::is_empty")]
        outputs: Object,
        /// What it left.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        artifacts: BTreeMap<String, ArtifactRef>,
    },
    /// The step is done.
    StepSucceeded {
        /// What it returned: an object for one step, a list for a fan-out.
        #[serde(default, skip_serializing_if = "Json::is_null")]
        outputs: Json,
        /// What it left.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        artifacts: BTreeMap<String, ArtifactRef>,
    },
    /// The step's result was there already.
    StepCached {
        /// `inputs`, `check`, `no_change` or `taken_over`.
        reason: Reason,
        /// The result.
        #[serde(default, skip_serializing_if = "Json::is_null")]
        outputs: Json,
        /// The result's artifacts.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        artifacts: BTreeMap<String, ArtifactRef>,
        /// What the result is made of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digests: Option<Digests>,
    },
    /// The step had ended well and runs again: a resume found it changed, or it was forced.
    StepReopened {
        /// `definition`, `inputs`, `artifacts`, `need_ran`, `items`, `shown`, `outputs` or `forced`.
        reason: Reason,
    },
    /// The step does not apply.
    StepSkipped {
        /// Why.
        reason: Reason,
    },
    /// The step could not run because of what it needs.
    StepBlocked {
        /// Why.
        reason: Reason,
    },
    /// The step failed for good.
    StepFailed {
        /// How.
        error: StepError,
    },
    /// The step took longer than its `timeout` or `deadline`, for good.
    StepTimedOut {
        /// Which limit.
        error: StepError,
    },
    /// The step was ended by a cancel.
    StepCancelled {
        /// Why.
        reason: Reason,
    },
    /// The attempt's outcome is unknown: the engine died or was ended by a signal while it ran.
    StepInterrupted {
        /// What is known.
        error: StepError,
    },
    /// A person (or `on_crash`) settled an unknown or failed outcome.
    StepResolved {
        /// As what.
        #[serde(rename = "as")]
        resolution: Resolution,
        /// The person's word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// Outputs given with `--done`.
        #[serde(default, skip_serializing_if = "Object::is_empty")]
        outputs: Object,
    },
    /// A fan-out knows its instances.
    StepExpanded {
        /// In item order.
        items: Vec<Item>,
    },
    /// The step could start but for something it waits for.
    StepWaiting {
        /// `approval`, `lock`, `pool`, `decision`, …
        #[serde(rename = "for")]
        what: WaitFor,
        /// The name of the lock, pool or approval.
        on: String,
    },
    /// An attempt failed and another follows.
    AttemptFailed {
        /// How.
        error: StepError,
        /// When the next may start (kept over restarts).
        #[serde(with = "micros")]
        retry_at: Timestamp,
    },
    /// A person is asked.
    ApprovalRequested {
        /// The question, rendered.
        message: String,
        /// The digest of the values shown; a given approval lapses when it changes.
        shown: String,
        /// When the question expires.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_micros")]
        expires_at: Option<Timestamp>,
    },
    /// A person said yes.
    ApprovalGiven {
        /// The person's word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A person said no.
    ApprovalRejected {
        /// The person's word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Nobody answered in time.
    ApprovalExpired,
    /// How a change can be taken back, durable before the change is made.
    IntentRecorded {
        /// The kind's own record.
        record: Json,
    },
    /// Taking the step back began.
    UndoStarted,
    /// The step is taken back.
    UndoSucceeded,
    /// The step could not be taken back.
    UndoFailed {
        /// How.
        error: StepError,
    },
}

impl EventKind {
    /// The epoch of the sitting that begins with it: at the run's start, by a resume, for a rollback.
    pub fn epoch(&self) -> Option<u64> {
        match self {
            Self::RunStarted(facts) => Some(facts.epoch),
            Self::RunResumed { epoch, .. } => Some(*epoch),
            Self::RollbackStarted(how) => how.epoch,
            Self::RunSuspended { .. }
            | Self::RunFinished { .. }
            | Self::CancelRequested { .. }
            | Self::StepStarted { .. }
            | Self::ActionSucceeded { .. }
            | Self::StepSucceeded { .. }
            | Self::StepCached { .. }
            | Self::StepReopened { .. }
            | Self::StepSkipped { .. }
            | Self::StepBlocked { .. }
            | Self::StepFailed { .. }
            | Self::StepTimedOut { .. }
            | Self::StepCancelled { .. }
            | Self::StepInterrupted { .. }
            | Self::StepResolved { .. }
            | Self::StepExpanded { .. }
            | Self::StepWaiting { .. }
            | Self::AttemptFailed { .. }
            | Self::ApprovalRequested { .. }
            | Self::ApprovalGiven { .. }
            | Self::ApprovalRejected { .. }
            | Self::ApprovalExpired
            | Self::IntentRecorded { .. }
            | Self::UndoStarted
            | Self::UndoSucceeded
            | Self::UndoFailed { .. } => None,
        }
    }

    /// Whether a process takes the run up with it.
    pub fn begins_sitting(&self) -> bool {
        self.epoch().is_some()
    }
}
