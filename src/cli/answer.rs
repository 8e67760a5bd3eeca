//! `trees approve` and `trees reject`: a person's word, from anywhere.

use super::global::Global;
use super::runs;
use super::story::Retold;
use crate::failure::{Exit, Failure};
use crate::report::say;
use jiff::Timestamp;
use trees_core::event::{Event, EventKind};
use trees_core::journal::{Journal as _, RequestBody, RunSummary};
use trees_core::path::RunId;
use trees_state::State;

/// Say yes to an approval that a run asks for.
#[derive(clap::Args)]
pub struct ApproveArgs {
    /// The run: its id or a prefix, @last, TREE@last, TREE#NUMBER
    run: String,
    /// The approval step, or environment:NAME
    step: String,
    /// A word on it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Say no to an approval that a run asks for.
#[derive(clap::Args)]
pub struct RejectArgs {
    /// The run: its id or a prefix, @last, TREE@last, TREE#NUMBER
    run: String,
    /// The approval step, or environment:NAME
    step: String,
    /// Why not
    #[arg(long, value_name = "TEXT")]
    note: String,
}

/// Says yes.
pub fn approve(args: ApproveArgs, global: &Global) -> Result<Exit, Failure> {
    let state = runs::required(global)?;
    let (run, step) = asked(&state, &args.run, &args.step)?;
    let run = runs::ask(&state, &run.run, &RequestBody::Approve { step, note: args.note })?;
    told(&run, "approved");
    Ok(Exit::OK)
}

/// Says no.
pub fn reject(args: RejectArgs, global: &Global) -> Result<Exit, Failure> {
    let state = runs::required(global)?;
    let (run, step) = asked(&state, &args.run, &args.step)?;
    let run = runs::ask(&state, &run.run, &RequestBody::Reject { step, note: Some(args.note) })?;
    told(&run, "rejected");
    Ok(Exit::OK)
}

/// The run and the step, if the run asks for it.
fn asked(state: &State, run: &str, step: &str) -> Result<(RunSummary, String), Failure> {
    let run = runs::find(state, run)?;
    runs::at_home(state, &run.run)?;
    let recorded = state.load(&run.run, 0)?;
    let Retold { events, story, .. } = Retold::of(&run.run, &recorded, runs::definitions(state, &run.run).ok());
    let path = runs::step_path(step).0;
    if run.status.is_ended() {
        return Err(Failure::wrong(format!("run {} has ended: {}", run.run, run.status.as_str())));
    }
    if story.asked.iter().any(|(name, _)| *name == path) {
        return in_time(&events, &path, &run.run).map(|()| (run, path));
    }
    let names: Vec<&str> = story.asked.iter().map(|(name, _)| name.as_str()).collect();
    let hint = if names.is_empty() { "it asks for nothing now".to_owned() } else { format!("it asks for: {}", names.join(", ")) };
    Err(Failure::wrong(format!("run {} does not ask for `{step}`", run.run)).hint(hint))
}

/// Refuses an answer that comes too late: nobody would take it up.
fn in_time(events: &[Event], path: &str, run: &RunId) -> Result<(), Failure> {
    let asked = events.iter().rev().filter(|event| event.step.as_ref().is_some_and(|step| step.as_str() == path));
    let mut limits =
        asked.filter_map(|event| if let EventKind::ApprovalRequested { expires_at, .. } = &event.kind { Some(*expires_at) } else { None });
    match limits.next().flatten().filter(|limit| *limit <= Timestamp::now()) {
        Some(limit) => Err(Failure::wrong(format!("`{path}` was to be answered by {limit:.0}; that is over"))
            .hint(format!("`trees resume {run}` records that nobody answered in time"))),
        None => Ok(()),
    }
}

/// Says what follows: a living process takes the word, a run at rest must be resumed.
pub fn told(run: &RunSummary, word: &str) {
    match run.pid {
        Some(_) => {
            say(&format!("{word}; run {} goes on", run.run));
            runs::tell_stopped(run);
        }
        None => say(&format!("{word}; run {0} is at rest, go on with: trees resume {0}", run.run)),
    }
}
