//! What a rollback did with a step, told afterwards: undone when and because of what, or kept and why.

use super::list::stamp;
use super::story::Told;
use crate::report::said;
use trees_core::event::{Event, EventKind, Reason, Resolution, RollbackStarted, StepStatus};
use trees_core::run::{Run, Way};

/// The last rollback of a run, unless a resume has gone on since.
pub struct Reversal<'a> {
    how: &'a RollbackStarted,
    actor: Option<&'a str>,
}

impl<'a> Reversal<'a> {
    /// From all events of the run.
    pub fn of(recorded: &'a [Event]) -> Option<Self> {
        let (mut found, mut over) = (None, false);
        for event in recorded {
            match &event.kind {
                EventKind::RollbackStarted(how) => {
                    (found, over) = (Some(Self { how, actor: event.actor.as_deref() }), false);
                }
                EventKind::RunFinished { .. } => over = true,
                EventKind::RunResumed { .. } if over => found = None,
                _ => {}
            }
        }
        found
    }

    /// Why a step is undone.
    pub fn undone(&self, told: &Told, recorded: &[Event]) -> Option<Reason> {
        let own = |e: &&Event| e.step.as_ref().is_some_and(|s| s.as_str() == told.path) && is_undoing(e);
        let event = recorded.iter().rfind(own).filter(|_| told.status == Some(StepStatus::Undone))?;
        let by_hand = matches!(event.kind, EventKind::StepResolved { .. });
        let word = if by_hand { "taken back by hand, as was said" } else { "taken back" };
        let mut reason = plain("undone", format!("{word} at {}, because {}", stamp(event.ts), self.cause()));
        if let Some(failure) = &self.how.failure {
            reason.values.insert(failure.step.0.clone(), "failed".into());
        }
        Some(reason)
    }

    /// Why a step that ended well stayed; nothing where there was nothing to take back.
    pub fn kept(&self, told: &Told, run: &mut Run) -> Option<Reason> {
        let plan = run.rollback_plan(self.how.to.clone(), self.how.skip.clone());
        let planned = plan.into_iter().find(|p| p.step.as_str() == told.path && p.status != StepStatus::Undone)?;
        match planned.way {
            Way::Kept(why) | Way::Missing(why) => Some(plain("kept", format!("it stayed when the run was rolled back: {why}"))),
            Way::Undo | Way::Kind(_) if planned.status == StepStatus::UndoFailed => None,
            Way::Undo | Way::Kind(_) => {
                Some(plain("kept", "it stayed when the run was rolled back: what was built on it is not taken back yet".into()))
            }
            Way::Nothing => None,
        }
    }

    fn cause(&self) -> String {
        let failed = self.how.failure.as_ref().map(|f| {
            let message = f.error.as_ref().map(said::message).filter(|m| !m.is_empty()).map(|m| format!(" ({m})"));
            format!("{} failed{}", f.step, message.unwrap_or_default())
        });
        match (self.actor, failed) {
            (Some(actor), Some(failed)) => format!("{actor} rolled the run back after {failed}"),
            (Some(actor), None) => format!("{actor} rolled the run back"),
            (None, Some(failed)) => format!("{failed}, and on_failure is rollback"),
            (None, None) => "the run was rolled back".into(),
        }
    }
}

fn is_undoing(event: &Event) -> bool {
    matches!(event.kind, EventKind::UndoSucceeded | EventKind::StepResolved { resolution: Resolution::Undone, .. })
}

fn plain(code: &str, text: String) -> Reason {
    Reason { code: code.into(), text, file: None, line: None, values: Default::default() }
}
