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
use trees_core::journal::{Journal as _, NewRun, RunSummary};
use trees_core::tree::OnBusy;
use trees_state::State;

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
    let part = Selection { of: Some(of.run.clone()), ..selection::asked(&args.only, args.from.as_ref()) };
    again(state, &of, Again { trigger: "rerun", part: Some(part), jobs: args.jobs, consent: args.consent }, global)
}

/// How a recorded run is run again.
pub struct Again {
    /// What the new run says of its beginning.
    pub trigger: &'static str,
    /// A part of it, with the results of the recorded run.
    pub part: Option<Selection>,
    /// How many steps run at once, if not as recorded.
    pub jobs: Option<u32>,
    /// What a person says beforehand.
    pub consent: Consent,
}

/// A new run of what was recorded, in the folder where it was.
pub fn again(state: Arc<State>, of: &RunSummary, how: Again, global: &Global) -> Result<Exit, Failure> {
    runs::at_home(&state, &of.run)?;
    let before = recorded(&state.load(&of.run, 0)?, of)?;
    let tree = runs::tree(&state, &of.run)?;
    how.consent.fits(&tree)?;
    let mut asked = how.part.unwrap_or_default();
    selection::fits(&tree, &asked)?;
    let vault = runs::vault(&state, &tree, Some(&asked), &before.environment, &before.params, Path::new(&before.dir))?;
    let place = Place { tree: &tree, params: &before.params, environment: &before.environment, dir: Path::new(&before.dir) };
    if tree.on_busy != OnBusy::Allow {
        // Another run may be cancelled for this one: what is wrong here is said before.
        selection::find_in(&state, of, &place, &asked)?;
    }
    let Turn::Ours(_turn) = busy::turn(&state, &tree, None)? else { return Ok(Exit::OK) };
    let course = selection::find_in(&state, of, &place, &asked)?.take(&state, &mut asked)?;
    let (digest, definition) = runs::in_force(&state, &of.run)?;
    let hold = state.create(&NewRun { tree: tree.name.clone(), digest: digest.clone(), definition })?;
    let started = RunStarted {
        definition: digest,
        number: hold.number(),
        epoch: hold.epoch(),
        trigger: how.trigger.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        max_parallel: how.jobs.unwrap_or(before.max_parallel),
        approved: how.consent.approve.clone(),
        pause_on_failure: false,
        changed: None,
        selection: selection::recorded(asked),
        ..before
    };
    let (approve, strict) = (how.consent.approve, how.consent.strict);
    let sitting = Sitting { state, hold, definitions: tree.into(), vault: Some(vault), approve, strict, before: Vec::new() };
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
