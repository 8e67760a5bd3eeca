//! What the world says to a run, and what a run asks of the world.

use super::select::Course;
use crate::event::{ArtifactRef, Digests, Event, Json, Object, Reason, Resolution, RunStarted, StepError};
use crate::path::StepPath;
use std::collections::BTreeMap;

/// What the world says.
#[derive(Debug, Clone)]
pub enum Input {
    /// The run is new.
    Started(Box<RunStarted>),
    /// Only a part of the new run's tree is asked for; follows [`Input::Started`] at once.
    Selected(Box<Course>),
    /// The run was loaded from the journal and is held again.
    Recovered(Box<Recovered>),
    /// What the run did is to be taken back; the first input of a sitting.
    RollBack(Box<RollBack>),
    /// Time has passed: [`super::Run::next_wakeup`].
    Woke,
    /// What an attempt would be made of, or why it cannot be.
    Prepared {
        /// The step.
        step: StepPath,
        /// Its digests, or its result if there is one already.
        result: Result<Box<Prepared>, StepError>,
    },
    /// A kind recorded how to take its change back.
    Intended {
        /// The step.
        step: StepPath,
        /// The attempt.
        attempt: u32,
        /// The record.
        record: Json,
    },
    /// The action of an attempt ended well and a verify follows.
    ActionDone {
        /// The step.
        step: StepPath,
        /// The attempt.
        attempt: u32,
        /// What it returned.
        outputs: Object,
        /// What it left.
        artifacts: BTreeMap<String, ArtifactRef>,
    },
    /// An attempt ended.
    Ended {
        /// The step.
        step: StepPath,
        /// The attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// A lock that was asked for is held.
    Locked {
        /// Its name.
        name: String,
    },
    /// A lock that was asked for is held by somebody else; it stays asked for.
    LockBusy {
        /// Its name.
        name: String,
        /// The holder, in words.
        holder: String,
    },
    /// A person said yes to a step or to `environment:NAME`.
    Approved {
        /// Which.
        name: String,
        /// Who.
        actor: String,
        /// A word.
        note: Option<String>,
    },
    /// A person said no.
    Rejected {
        /// Which.
        name: String,
        /// Who.
        actor: String,
        /// A word.
        note: Option<String>,
    },
    /// A person settled an unknown or failed outcome.
    Resolved {
        /// Which.
        name: String,
        /// As what.
        resolution: Resolution,
        /// Outputs for `Done`.
        outputs: Object,
        /// Who.
        actor: String,
        /// A word.
        note: Option<String>,
    },
    /// A person ended the run.
    Cancel {
        /// Who.
        actor: String,
        /// External steps are signalled too.
        now: bool,
    },
    /// `trees` itself was signalled: everything ends, the run rests.
    Interrupt,
}

/// How a run goes on.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The sitting's epoch.
    pub epoch: u64,
    /// Approvals given beforehand (`*`: all).
    pub approved: Vec<String>,
    /// The digest of another tree that it goes on with.
    pub definition: Option<String>,
    /// External steps may run again because of a change.
    pub accept_changes: bool,
    /// These run again whatever their hashes say.
    pub force: Vec<StepPath>,
    /// These count as succeeded.
    pub skip: Vec<StepPath>,
    /// Who says so.
    pub actor: String,
}

/// How a person wants a run to be taken back.
#[derive(Debug, Clone, Default)]
pub struct RollBack {
    /// The sitting's epoch.
    pub epoch: u64,
    /// This step and what it needs stay.
    pub to: Option<StepPath>,
    /// Not taken back.
    pub skip: Vec<StepPath>,
    /// Taken back by hand already.
    pub mark_undone: Vec<StepPath>,
    /// Who.
    pub actor: String,
}

/// What was found before an attempt.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What it is made of.
    pub digests: Digests,
    /// Its result, where one with equal digests is there already.
    pub cached: Option<Cached>,
    /// Of a step that ended before: an artifact that is not there as it was recorded.
    pub lost: Option<String>,
}

/// A result that stands for the step.
#[derive(Debug, Clone)]
pub struct Cached {
    /// Why it may.
    pub reason: Reason,
    /// Its outputs.
    pub outputs: Json,
    /// Its artifacts.
    pub artifacts: BTreeMap<String, ArtifactRef>,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The action ended well (where a verify follows: the verify did).
    Succeeded {
        /// What it returned; ignored after an `ActionDone`.
        outputs: Object,
        /// What it left; ignored after an `ActionDone`.
        artifacts: BTreeMap<String, ArtifactRef>,
    },
    /// `check` or an observation found it done.
    AlreadyDone {
        /// `check` or `no_change`.
        code: &'static str,
        /// In words.
        text: String,
        /// What it would return.
        outputs: Object,
        /// What is there.
        artifacts: BTreeMap<String, ArtifactRef>,
    },
    /// `check` or an observation found it not done (answers [`Mode::Check`] only).
    NotDone,
    /// It failed.
    Failed {
        /// How.
        error: StepError,
        /// Trying again cannot help.
        permanent: bool,
    },
    /// It was ended as asked by [`Effect::Stop`].
    Stopped,
}

/// What is asked of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Find out what the next attempt would be made of; changes nothing.
    Prepare {
        /// The step.
        step: StepPath,
    },
    /// Make an attempt.
    Launch {
        /// The step.
        step: StepPath,
        /// Its number.
        attempt: u32,
        /// How much of it.
        mode: Mode,
    },
    /// End an attempt.
    Stop {
        /// The step.
        step: StepPath,
        /// Its number.
        attempt: u32,
        /// Why.
        why: Why,
    },
    /// Ask for a lock of the state folder until it is held.
    Lock {
        /// Its name.
        name: String,
    },
    /// Give a lock back, or stop asking for it.
    Unlock {
        /// Its name.
        name: String,
    },
}

/// How much of an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `check`, the action, outputs.
    Action,
    /// Only the verify: the action is recorded as ended.
    Verify,
    /// Only `check` or the observation: is it done?
    Check,
    /// The way back.
    Undo,
}

/// Why an attempt is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// `trees` was signalled.
    Interrupt,
    /// The run, or the sub-tree, is being cancelled.
    Cancel,
    /// A limit of the run or the sub-tree passed.
    Timeout,
}

/// What follows from an input: first the events are made durable, then the effects performed.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// In order, numbered on.
    pub events: Vec<Event>,
    /// In order.
    pub effects: Vec<Effect>,
}

/// An event that does not fit the state it meets: a bug, or a journal of something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} ({kind}) does not fit {step}, which is {status}")]
pub struct IllegalEvent {
    /// Its number.
    pub seq: u64,
    /// Its type.
    pub kind: String,
    /// Which step, or the run.
    pub step: String,
    /// The status it met.
    pub status: String,
}
