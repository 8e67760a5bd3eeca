//! What happened to a run: one enum, past tense, owned, serialisable; screens, JSON, replay,
//! listings and streams are all drawn from it.
//!
//! Nothing here carries output bytes, secrets or display policy. Read [`EventKind`] first.

mod progress;
mod status;

use crate::path::{RunId, StepPath};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub use progress::Progress;
pub use status::{RunStatus, StepStatus};

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

/// All that a run is made of, with its first event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The tree's name.
    pub tree: String,
    /// The tree's project.
    pub project: String,
    /// The number of this run among the runs of its tree, from 1.
    pub number: u64,
    /// The path of the tree file as given, or `cookbook:NAME`.
    pub file: String,
    /// The folder the steps work in (absolute).
    pub dir: String,
    /// The folder of the top tree file (absolute); of a built-in cookbook, where it was put.
    pub tree_dir: String,
    /// The environment, `""` where the tree has none.
    pub environment: String,
    /// The parameters as resolved.
    pub params: Object,
    /// The digest of the recorded sources.
    pub definition: String,
    /// The sitting's epoch.
    pub epoch: u64,
    /// What started it: `run`, `watch`, `rerun`, …
    pub trigger: String,
    /// The files whose change started it (`watch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
    /// The version of `trees`.
    pub version: String,
    /// How many steps of the top tree run at once.
    pub max_parallel: u32,
    /// Approvals given beforehand with `--approve` (`*`: all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<String>,
    /// A failure puts the run to rest, whatever the tree says (`--pause-on-failure`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause_on_failure: bool,
    /// What of the tree was asked for, and whose results stand for what was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Box<Selection>>,
}

/// A part of a tree, and the run that it goes back to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// These steps run (`--only`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<StepPath>,
    /// This step runs, and all that depends on it (`--from`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StepPath>,
    /// These count as succeeded (`--skip`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<StepPath>,
    /// Who skips them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The run whose results were taken over, or that is run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<RunId>,
}

impl Selection {
    /// Not all steps of the tree run.
    pub fn is_partial(&self) -> bool {
        !self.only.is_empty() || self.from.is_some() || !self.skip.is_empty()
    }
}

/// The options as they are given.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = self.only.iter().map(|step| ("--only", step));
        let all = only.chain(self.from.iter().map(|step| ("--from", step))).chain(self.skip.iter().map(|step| ("--skip", step)));
        for (index, (option, step)) in all.enumerate() {
            write!(f, "{}{option} {step}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

/// How effects are taken back, with the first event of that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStarted {
    /// The step to which to go back (it and its needs stay).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<StepPath>,
    /// Steps that are not taken back although they could be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<StepPath>,
    /// What made it necessary, where something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The epoch of the sitting that begins with it; absent where a sitting goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// The first failure of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step.
    pub step: StepPath,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
}

/// Files that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many.
    pub count: u64,
    /// Their names relative to the working folder; of very many the first.
    pub files: Vec<String>,
}

/// What an attempt is made of; equal digests, equal results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// SHA-256 of the definition's canonical JSON.
    pub definition: String,
    /// SHA-256 of the inputs' canonical JSON.
    pub input: String,
    /// Digest of each ingredient by its name (`file:src/main.rs`, `env:RUST_LOG`, `value:TREES_V1`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ingredients: BTreeMap<String, String>,
    /// The result may stand for a later attempt with equal digests (`cache: true`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reusable: bool,
}

/// One item of a fan-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Unique in its fan-out, at most 200 bytes.
    pub key: String,
    /// The item, or the object of a matrix's axes.
    pub value: Json,
}

/// An artifact kept by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// The declared path, relative to the working folder.
    pub path: String,
    /// SHA-256 of the content (of a folder: of its canonical listing).
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// Why a step was skipped, blocked or reused: for `trees why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable snake_case code: `need_skipped`, `need_failed`, `condition`, `inputs`, `check`, …
    pub code: String,
    /// One sentence.
    pub text: String,
    /// The tree file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The values that decided.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Which sort.
    pub reason: ErrorReason,
    /// The exit code or signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// One or a few lines, secrets masked.
    pub message: String,
    /// The log file, relative to the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The sort of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorReason {
    /// A process ended with a code that is no success, or a kind said no.
    Exit,
    /// A process was ended by a signal.
    Signal,
    /// `timeout` or `deadline`.
    Timeout,
    /// It could not be started, or its values could not be computed.
    Spawn,
    /// `check` or `verify` said no.
    Verify,
    /// Outputs or artifacts are missing, extra or mistyped.
    Output,
    /// Its outcome is unknown.
    Interrupted,
}

/// What a step waits for, besides its needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// A person's yes.
    Approval,
    /// A lock held by another run.
    Lock,
    /// A person's decision on an unknown outcome (`trees resolve`).
    Decision,
}

/// How an unknown outcome was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It happened.
    Done,
    /// Do it again.
    Retry,
    /// It failed.
    Fail,
    /// Taken back by hand.
    Undone,
    /// It counts as succeeded and is not done (`--skip`).
    Skip,
}

/// RFC 3339 with microseconds and `Z`.
mod micros {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(ts: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{ts:.6}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

mod optional_micros {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands the field by reference")]
    pub fn serialize<S: Serializer>(ts: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match ts {
            Some(ts) => super::micros::serialize(ts, s),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(d)?.map(|t| t.parse().map_err(serde::de::Error::custom)).transpose()
    }
}
