//! `trees cancel`: ends a run, wherever it is driven.

use super::drive::{self, Sitting};
use super::global::Global;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::say;
use std::sync::Arc;
use trees_core::event::RunStatus;
use trees_core::journal::{Journal as _, JournalError, RequestBody};
use trees_runner::driver::Begin;

/// End a run: running steps are ended, `finally` runs, the run is cancelled.
///
/// Steps that change the outside world are awaited. A run at rest is taken up here, only to be
/// ended.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, TREE@last, TREE#NUMBER
    run: String,
    /// Do not await steps that change the outside world: their outcome is unknown then
    #[arg(long)]
    now: bool,
    /// Go on though the clock stands far behind what is recorded, or the record has lost its end
    #[arg(long)]
    yes: bool,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    drive::ready(global)?;
    let state = Arc::new(runs::required(global)?);
    let run = runs::find(&state, &args.run)?;
    if run.status.is_ended() {
        return Err(Failure::wrong(format!("run {} has ended: {}", run.run, run.status.as_str())));
    }
    runs::at_home(&state, &run.run)?;
    let hold = match state.hold(&run.run) {
        Ok(hold) => hold,
        Err(JournalError::Held { pid, .. }) => {
            let run = runs::ask(&state, &run.run, &RequestBody::Cancel { now: args.now })?;
            say(&format!("asked process {pid} to end run {0}; see: trees show {0} -f", run.run));
            runs::tell_stopped(&run);
            return Ok(Exit::OK);
        }
        Err(error) => return Err(error.into()),
    };
    let definitions = runs::definitions(&state, &run.run)?;
    let before = drive::recorded(&state, &*hold, "cancel", args.yes)?;
    let sitting = Sitting { state: Arc::clone(&state), hold, definitions, vault: None, approve: Vec::new(), strict: false, before };
    let exit = sitting.drive(Begin::Cancel { now: args.now }, global)?;
    // The run was to be cancelled, and it is.
    let status = runs::find(&state, &run.run.0)?.status;
    Ok(if status == RunStatus::Cancelled { Exit::OK } else { exit })
}
