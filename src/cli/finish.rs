//! What is said when a sitting has ended, and its exit code.

use super::global::{Format, Global};
use crate::failure::Exit;
use crate::report::closing::Closing;
use crate::report::{out_line, say, say_line};
use trees_core::event::{Json, Object, RunStatus};
use trees_core::path::RunId;
use trees_state::{Gc, State};

/// The exit code of a status.
pub fn exit(status: RunStatus, strict: bool) -> Exit {
    match status {
        RunStatus::Succeeded => Exit::OK,
        RunStatus::SucceededWithWarnings if strict => Exit::FAILED,
        RunStatus::SucceededWithWarnings => Exit::OK,
        RunStatus::Waiting | RunStatus::Paused => Exit::WAITING,
        RunStatus::RolledBack => Exit::ROLLED_BACK,
        RunStatus::RollbackStuck => Exit::STUCK,
        RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::Interrupted
        | RunStatus::Pending
        | RunStatus::Running
        | RunStatus::RollingBack => Exit::FAILED,
    }
}

/// The closing lines on standard error, the outputs of the tree on standard output.
pub fn tell(closing: &Closing, global: &Global) {
    closing.lines().iter().for_each(say_line);
    if global.format != Some(Format::Json) {
        outputs(&closing.tally.outputs);
    }
}

/// What is said where standard output is open and nobody reads it.
pub fn tell_unread(run: &RunId) {
    say(&format!("nobody reads standard output any more; all of it is recorded, see: trees show {run}"));
}

/// What the state folder does by itself after a run: 50 runs a tree and 5 GiB of artifacts stay.
pub fn tidy(state: &State) {
    if let Err(error) = state.gc(&Gc::default()) {
        tracing::warn!(%error, "old runs could not be removed");
    }
}

/// One `name=value` a line; what is no single line stands as JSON.
fn outputs(outputs: &Object) {
    for (name, value) in outputs {
        let text = match value {
            Json::String(text) if !text.contains(char::is_control) => text.clone(),
            other => other.to_string(),
        };
        out_line(&format!("{name}={text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::exit;
    use trees_core::event::RunStatus;

    #[test]
    fn statuses_have_the_codes_of_the_contract() {
        let check = |status, strict, code| assert_eq!(exit(status, strict).0, code);
        check(RunStatus::Succeeded, true, 0);
        check(RunStatus::SucceededWithWarnings, false, 0);
        check(RunStatus::SucceededWithWarnings, true, 1);
        check(RunStatus::Failed, false, 1);
        check(RunStatus::Cancelled, false, 1);
        check(RunStatus::Waiting, false, 3);
        check(RunStatus::Paused, false, 3);
        check(RunStatus::RolledBack, false, 4);
        check(RunStatus::RollbackStuck, false, 5);
    }
}
