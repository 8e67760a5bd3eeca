//! How far a run is.

use super::StepStatus;
use serde::{Deserialize, Serialize};

/// How far a run is, in leaves: steps and instances without steps below them. A fan-out that has not
/// expanded counts as one instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Leaves that ended well, were reused or skipped.
    pub done: u64,
    /// Leaves that failed, were cancelled or cannot run, and those whose undo failed.
    pub failed: u64,
    /// All leaves known.
    pub total: u64,
}

impl Progress {
    /// Takes in leaves with one status.
    pub fn add(&mut self, status: StepStatus, leaves: u64) {
        use StepStatus as S;
        self.total += leaves;
        match status {
            S::Succeeded | S::Cached | S::Skipped => self.done += leaves,
            S::Failed | S::TimedOut | S::Cancelled | S::Blocked | S::Rejected | S::UndoFailed => self.failed += leaves,
            S::Pending | S::Ready | S::Running | S::Waiting | S::RetryWait | S::Interrupted | S::Undoing | S::Undone => {}
        }
    }
}
