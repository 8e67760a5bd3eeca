//! `trees rerun`: a new run from the definition and the inputs of another.

use super::busy::{self, Turn};
use super::drive::{self, Sitting};
use super::global::Global;
use super::run::Consent;
use super::runs;
use super::selection::{self, Place};
use crate::failure::{Exit, Failure};
use std::path::Path;
use std::sync::Arc;
use trees_core::event::{RunStarted, Selection};
use trees_core::journal::{Hold, Journal as _, NewRun, RunSummary};
use trees_core::run::part_of;
use trees_runner::driver::Vault;

/// Run the tree of a run again, as recorded, under a new id.
///
/// Definition, params, environment and folder are those of RUN, whatever became of the tree file.
/// With --from or --only a part of it runs, and the results that it needs are taken over from RUN.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    run: String,
    /// Run this step, all that depends on it, and `finally`
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    from: Option<String>,
    /// Run this step and `finally`, nothing else
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// How many steps run at once [default: as in RUN]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    #[command(flatten)]
    consent: Consent,
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    drive::ready(global)?;
    let state = Arc::new(runs::required(global)?);
    let of = runs::find(&state, &args.run)?;
    runs::at_home(&state, &of.run)?;
    let before = recorded(&state.load(&of.run, 0)?, &of)?;
    let tree = runs::tree(&state, &of.run)?;
    args.consent.fits(&tree)?;
    let mut asked = Selection { of: Some(of.run.clone()), ..selection::asked(&args.only, args.from.as_ref()) };
    selection::fits(&tree, &asked)?;
    let vault = Vault::open(&part_of(&tree, Some(&asked)), &before.environment, Path::new(&before.dir), &*state)?;
    let Turn::Ours(_turn) = busy::turn(&state, &tree, None)? else { return Ok(Exit::OK) };
    let place = Place { tree: &tree, params: &before.params, environment: &before.environment, dir: Path::new(&before.dir) };
    let course = selection::course_of(&state, &of, &place, &mut asked)?;
    let first = (before.definition.clone(), state.definition(&of.run)?);
    // The tree in force, where a resume brought another.
    let (digest, definition) = state.amendments(&of.run)?.pop().unwrap_or(first);
    let hold = state.create(&NewRun { tree: tree.name.clone(), digest: digest.clone(), definition })?;
    let started = RunStarted { definition: digest, ..facts(before, &*hold, asked, &args) };
    let sitting = Sitting {
        state,
        hold,
        definitions: tree.into(),
        vault: Some(vault),
        approve: args.consent.approve,
        strict: args.consent.strict,
        before: Vec::new(),
    };
    sitting.drive(selection::begin(started, course), global)
}

/// What the run was made of; its folder must be there still.
fn recorded(events: &[trees_core::event::Event], of: &RunSummary) -> Result<RunStarted, Failure> {
    let facts =
        runs::facts(events).cloned().ok_or_else(|| Failure::wrong(format!("run {} never began; there is nothing to run again", of.run)))?;
    for folder in [&facts.dir, &facts.tree_dir] {
        if !Path::new(folder).is_dir() {
            return Err(Failure::wrong(format!("the folder {folder} of run {} is not there any more", of.run)));
        }
    }
    Ok(facts)
}

fn facts(before: RunStarted, hold: &dyn Hold, asked: Selection, args: &Args) -> RunStarted {
    RunStarted {
        number: hold.number(),
        epoch: hold.epoch(),
        trigger: "rerun".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        max_parallel: args.jobs.unwrap_or(before.max_parallel),
        approved: args.consent.approve.clone(),
        pause_on_failure: false,
        changed: None,
        selection: selection::recorded(asked),
        ..before
    }
}
