//! Where the records of a run can be broken off on purpose: before and after each is durable. Nothing
//! of it is in a build without failpoints.

use trees_core::event::{Event, EventKind};
use trees_points::{Point, hit};

/// These are about to be recorded.
pub(super) fn before(events: &[Event]) {
    if trees_points::ON {
        events.iter().filter_map(|event| around(&event.kind)).for_each(|[before, _]| hit(before));
    }
}

/// They are durable.
pub(super) fn after(events: &[Event]) {
    if trees_points::ON {
        events.iter().filter_map(|event| around(&event.kind)).for_each(|[_, after]| hit(after));
    }
}

/// The points around a record; those of what only follows from other records are theirs.
fn around(kind: &EventKind) -> Option<[Point; 2]> {
    Some(match kind {
        EventKind::RunStarted(_) => [Point::BeforeRunStarted, Point::AfterRunStarted],
        EventKind::RunResumed { .. } => [Point::BeforeResumed, Point::AfterResumed],
        EventKind::RunSuspended { .. } => [Point::BeforeSuspended, Point::AfterSuspended],
        EventKind::RunFinished { .. } => [Point::BeforeRunFinished, Point::AfterRunFinished],
        EventKind::CancelRequested { .. } => [Point::BeforeCancel, Point::AfterCancel],
        EventKind::RollbackStarted(_) => [Point::BeforeRollback, Point::AfterRollback],
        EventKind::StepStarted { .. } => [Point::BeforeStepStarted, Point::AfterStepStarted],
        EventKind::ActionSucceeded { .. } => [Point::BeforeActionEnded, Point::AfterActionEnded],
        EventKind::StepSucceeded { .. }
        | EventKind::StepCached { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepTimedOut { .. }
        | EventKind::StepCancelled { .. }
        | EventKind::StepInterrupted { .. }
        | EventKind::StepResolved { .. } => [Point::BeforeStepEnded, Point::AfterStepEnded],
        EventKind::StepExpanded { .. } => [Point::BeforeExpanded, Point::AfterExpanded],
        EventKind::AttemptFailed { .. } => [Point::BeforeRetryWait, Point::AfterRetryWait],
        EventKind::IntentRecorded { .. } => [Point::BeforeIntent, Point::AfterIntent],
        EventKind::UndoStarted => [Point::BeforeUndoStarted, Point::AfterUndoStarted],
        EventKind::UndoSucceeded | EventKind::UndoFailed { .. } => [Point::BeforeUndoEnded, Point::AfterUndoEnded],
        EventKind::StepReopened { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepBlocked { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::ApprovalRequested { .. }
        | EventKind::ApprovalGiven { .. }
        | EventKind::ApprovalRejected { .. }
        | EventKind::ApprovalExpired => return None,
    })
}
