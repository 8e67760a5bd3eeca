//! How a step and a run stand.

use serde::{Deserialize, Serialize};

/// The status of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Its needs are not done.
    Pending,
    /// It may start when there is a slot.
    Ready,
    /// An attempt runs.
    Running,
    /// Another attempt follows at a set time.
    RetryWait,
    /// It waits for a person, a lock or a decision.
    Waiting,
    /// Done.
    Succeeded,
    /// Its result was there already.
    Cached,
    /// It does not apply.
    Skipped,
    /// What it needs failed.
    Blocked,
    /// Failed for good.
    Failed,
    /// Took too long, for good.
    TimedOut,
    /// Ended by a cancel.
    Cancelled,
    /// A person said no.
    Rejected,
    /// Its outcome is unknown.
    Interrupted,
    /// It is being taken back.
    Undoing,
    /// Taken back.
    Undone,
    /// Could not be taken back.
    UndoFailed,
}

impl StepStatus {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::RetryWait => "retry_wait",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Cached => "cached",
            Self::Skipped => "skipped",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Interrupted => "interrupted",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
        }
    }

    /// What is said of a step after its name.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Pending => "is pending",
            Self::Ready => "is ready",
            Self::Running => "is running",
            Self::RetryWait => "waits for its next attempt",
            Self::Waiting => "is waiting",
            Self::Succeeded => "succeeded",
            Self::Cached => "was cached",
            Self::Skipped => "was skipped",
            Self::Blocked => "is blocked",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "was cancelled",
            Self::Rejected => "was rejected",
            Self::Interrupted => "was interrupted",
            Self::Undoing => "is being undone",
            Self::Undone => "was undone",
            Self::UndoFailed => "could not be undone",
        }
    }

    /// Whether nothing more happens to it in this pass of the run.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Ready | Self::Running | Self::RetryWait | Self::Waiting | Self::Interrupted | Self::Undoing => false,
            Self::Succeeded
            | Self::Cached
            | Self::Skipped
            | Self::Blocked
            | Self::Failed
            | Self::TimedOut
            | Self::Cancelled
            | Self::Rejected
            | Self::Undone
            | Self::UndoFailed => true,
        }
    }

    /// Whether rules count it as a success.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cached)
    }

    /// Whether rules count it as a failure.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::Cancelled | Self::Blocked | Self::Rejected)
    }
}

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Recorded, not driven yet.
    Pending,
    /// Driven.
    Running,
    /// At rest until a person answers.
    Waiting,
    /// At rest after a failure, as asked.
    Paused,
    /// At rest after a signal or a crash.
    Interrupted,
    /// Taking effects back.
    RollingBack,
    /// All well.
    Succeeded,
    /// All well but for failures that were allowed.
    SucceededWithWarnings,
    /// Failed.
    Failed,
    /// Ended by `trees cancel`.
    Cancelled,
    /// Failed and fully taken back.
    RolledBack,
    /// Failed, and taking back failed too.
    RollbackStuck,
}

impl RunStatus {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Interrupted => "interrupted",
            Self::RollingBack => "rolling_back",
            Self::Succeeded => "succeeded",
            Self::SucceededWithWarnings => "succeeded_with_warnings",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
            Self::RollbackStuck => "rollback_stuck",
        }
    }

    /// Whether the run has ended (a resume may open it again).
    pub fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::SucceededWithWarnings | Self::Failed | Self::Cancelled | Self::RolledBack | Self::RollbackStuck
        )
    }
}
