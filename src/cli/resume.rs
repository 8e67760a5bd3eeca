//! `trees resume`: goes on with a run.

use super::drive::{self, Sitting};
use super::global::Global;
use super::list::table;
use super::run::Consent;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::said::status_word;
use crate::report::{say, say_line};
use std::sync::Arc;
use trees_core::event::RunStatus;
use trees_core::journal::{Journal as _, RunFilter, RunSummary};
use trees_runner::driver::Begin;
use trees_state::State;

/// Go on with a run that is not finished or did not succeed.
///
/// What succeeded is kept as recorded; the rest runs, under the same run id, from the recorded
/// tree. Without RUN: the newest run here, if it can be resumed.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    run: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    drive::look(global)?;
    let state = runs::required(global)?;
    let run = match &args.run {
        Some(name) => runs::find(&state, name)?,
        None => match newest(&state)? {
            Some(run) => run,
            None => return Ok(Exit::WRONG),
        },
    };
    if matches!(run.status, RunStatus::Succeeded | RunStatus::SucceededWithWarnings) {
        say(&format!("run {} has succeeded; there is nothing to do", run.run));
        return Ok(Exit::OK);
    }
    let state = Arc::new(state);
    runs::at_home(&state, &run.run)?;
    let hold = state.hold(&run.run)?;
    let tree = runs::tree(&state, &run.run)?;
    args.consent.fits(&tree)?;
    let before = drive::recorded(&state, &*hold)?;
    let sitting = Sitting { state, hold, tree, vault: None, approve: args.consent.approve, strict: args.consent.strict, before };
    sitting.drive(Begin::Resume, global)
}

/// The newest run if it can be resumed without being named; else those that can are listed.
fn newest(state: &State) -> Result<Option<RunSummary>, Failure> {
    let mut all = runs::list(state, &RunFilter::default())?;
    // What came from elsewhere goes on only by name.
    let imported = state.origins()?;
    all.retain(|run| !imported.contains_key(&run.run));
    let Some(newest) = all.first() else {
        return Err(Failure::wrong("there are no runs here yet").hint("start one with `trees run FILE`"));
    };
    if is_open(newest.status) {
        return Ok(Some(newest.clone()));
    }
    let open: Vec<RunSummary> = all.iter().filter(|r| is_open(r.status)).take(20).cloned().collect();
    say(&format!("the newest run {} ({} #{}) {}", newest.run, newest.tree, newest.number, after(newest)));
    if open.is_empty() {
        say("no other run here is open; start one with: trees run FILE");
    } else {
        say("open runs; name the one that is to go on:");
        table(&open).iter().for_each(say_line);
    }
    Ok(None)
}

/// Why the newest run does not go on by itself.
fn after(run: &RunSummary) -> String {
    let (_, word) = status_word(run.status);
    match run.status {
        RunStatus::Cancelled | RunStatus::RolledBack => format!("{word}; it goes on only by name: trees resume {}", run.run),
        RunStatus::Succeeded
        | RunStatus::SucceededWithWarnings
        | RunStatus::Pending
        | RunStatus::Running
        | RunStatus::Waiting
        | RunStatus::Paused
        | RunStatus::Interrupted
        | RunStatus::RollingBack
        | RunStatus::Failed
        | RunStatus::RollbackStuck => format!("{word}: nothing of it is left to do"),
    }
}

/// Resumed without being named.
fn is_open(status: RunStatus) -> bool {
    match status {
        RunStatus::Pending
        | RunStatus::Running
        | RunStatus::Waiting
        | RunStatus::Paused
        | RunStatus::Interrupted
        | RunStatus::RollingBack
        | RunStatus::Failed
        | RunStatus::RollbackStuck => true,
        RunStatus::Succeeded | RunStatus::SucceededWithWarnings | RunStatus::Cancelled | RunStatus::RolledBack => false,
    }
}
