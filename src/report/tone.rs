//! How a step stands, as colours say it: one map for all screens, pages and drawings.

use super::Paint;
use trees_core::event::StepStatus;

/// What statuses look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing happened yet.
    Open,
    /// At work.
    Run,
    /// It wants attention.
    Care,
    /// Done.
    Good,
    /// Done before.
    Reused,
    /// Left out, or taken back.
    Idle,
    /// Held up by others.
    Block,
    /// Failed.
    Bad,
}

impl Tone {
    /// Of a status; none is that of a step of which nothing was heard.
    pub fn of(status: Option<StepStatus>) -> Self {
        match status {
            None | Some(StepStatus::Pending | StepStatus::Ready) => Self::Open,
            Some(StepStatus::Running | StepStatus::Undoing) => Self::Run,
            Some(StepStatus::RetryWait | StepStatus::Waiting | StepStatus::Interrupted) => Self::Care,
            Some(StepStatus::Succeeded) => Self::Good,
            Some(StepStatus::Cached) => Self::Reused,
            Some(StepStatus::Skipped | StepStatus::Cancelled | StepStatus::Undone) => Self::Idle,
            Some(StepStatus::Blocked) => Self::Block,
            Some(StepStatus::Failed | StepStatus::TimedOut | StepStatus::Rejected | StepStatus::UndoFailed) => Self::Bad,
        }
    }

    /// On a terminal.
    pub fn paint(self) -> Paint {
        match self {
            Self::Good | Self::Reused => Paint::Good,
            Self::Bad => Paint::Bad,
            Self::Run | Self::Care => Paint::Care,
            Self::Open | Self::Idle | Self::Block => Paint::Faint,
        }
    }

    /// The class in a drawing with a style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Run => "run",
            Self::Care => "care",
            Self::Good | Self::Reused => "good",
            Self::Idle => "idle",
            Self::Block => "block",
            Self::Bad => "bad",
        }
    }

    /// The colour that fills a box.
    pub fn fill(self) -> &'static str {
        match self {
            Self::Open => "#ffffff",
            Self::Run => "#cfe2ff",
            Self::Care => "#fff3cd",
            Self::Good => "#d1e7dd",
            Self::Reused => "#d2f4ea",
            Self::Idle => "#e2e3e5",
            Self::Block => "#ffe5d0",
            Self::Bad => "#f8d7da",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_bad_everywhere() {
        for status in [StepStatus::Failed, StepStatus::TimedOut, StepStatus::Rejected, StepStatus::UndoFailed] {
            let tone = Tone::of(Some(status));
            assert_eq!((tone.paint(), tone.class(), tone.fill()), (Paint::Bad, "bad", "#f8d7da"), "{status:?}");
        }
        assert_eq!((Tone::of(None), Tone::of(Some(StepStatus::Undone)).paint()), (Tone::Open, Paint::Faint));
    }
}
