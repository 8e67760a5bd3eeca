//! `trees resume`: goes on with a run.

use super::busy::{self, Turn};
use super::check;
use super::drive::{self, Sitting};
use super::global::Global;
use super::list::table;
use super::proposal::Proposal;
use super::run::Consent;
use super::runs;
use crate::diagnose::Findings;
use crate::failure::{Exit, Failure};
use crate::report::said::status_word;
use crate::report::{say, say_line};
use std::sync::Arc;
use trees_core::event::{Event, EventKind, Json, RunStatus};
use trees_core::journal::{Journal as _, RunFilter, RunSummary};
use trees_core::language::{self, Given};
use trees_core::path::StepPath;
use trees_core::run::{Definitions, Recovered, Run};
use trees_core::tree::{OnBusy, Tree};
use trees_runner::driver::Begin;
use trees_state::State;

/// Go on with a run that is not finished or did not succeed.
///
/// What ended well is kept while its definition, its inputs, its artifacts and what it needs are as
/// recorded; the rest runs, under the same run id. Without RUN: the newest run here, if it can be
/// resumed.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    run: Option<String>,
    /// Go on with this tree file instead of the recorded one
    #[arg(long, value_name = "FILE")]
    tree: Option<String>,
    /// External steps may run again because of a change
    #[arg(long)]
    accept_changes: bool,
    /// Run this step again, whatever its hashes say
    #[arg(long, value_name = "STEP")]
    force: Vec<String>,
    /// Count this step as succeeded; its outputs may not be read
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    drive::ready(global)?;
    let state = runs::required(global)?;
    let run = match &args.run {
        Some(name) => runs::find(&state, name)?,
        None => match newest(&state)? {
            Some(run) => run,
            None => return Ok(Exit::WRONG),
        },
    };
    if matches!(run.status, RunStatus::Succeeded | RunStatus::SucceededWithWarnings) && args.force.is_empty() {
        say(&format!("run {} has succeeded; there is nothing to do", run.run));
        return Ok(Exit::OK);
    }
    if run.status == RunStatus::RollbackStuck {
        let failure = Failure::wrong(format!("the rollback of run {} is stuck; it is settled first", run.run));
        return Err(
            failure.hint(format!("mend what its undo failed at, then: trees rollback {} [--skip STEP] [--mark-undone STEP]", run.run))
        );
    }
    runs::at_home(&state, &run.run)?;
    let state = Arc::new(state);
    let definitions = runs::definitions(&state, &run.run)?;
    let tree = definitions.newest();
    args.consent.fits(tree)?;
    // Another run may be cancelled for this one, or waited for: what is wrong here is said before.
    if tree.on_busy != OnBusy::Allow {
        runs::at_rest(&run)?;
        if let Err(exit) = Asked::read(&args, definitions.clone(), &run, &state.load(&run.run, 0)?)? {
            return Ok(exit);
        }
    }
    let Turn::Ours(_turn) = busy::turn(&state, tree, Some(&run.run))? else { return Ok(Exit::OK) };
    let hold = state.hold(&run.run)?;
    // It may have been driven to its end while this waited for its turn.
    let run = runs::find(&state, &run.run.0)?;
    if matches!(run.status, RunStatus::Succeeded | RunStatus::SucceededWithWarnings) && args.force.is_empty() {
        say(&format!("run {} has succeeded; there is nothing to do", run.run));
        return Ok(Exit::OK);
    }
    let before = drive::recorded(&state, &*hold, "resume", args.consent.yes)?;
    // Another resume may have brought a tree while this one waited.
    let definitions = if are_those_of(&definitions, &before) { definitions } else { runs::definitions(&state, &run.run)? };
    let Asked { definitions, edited, force, skip } = match Asked::read(&args, definitions, &run, &before)? {
        Ok(asked) => asked,
        Err(exit) => return Ok(exit),
    };
    let definition = match edited {
        Some((digest, definition)) => {
            state.amend(&run.run, &digest, &definition)?;
            Some(digest)
        }
        None => None,
    };
    let how = Recovered { definition, accept_changes: args.accept_changes, force, skip, ..Recovered::default() };
    let sitting = Sitting { state, hold, definitions, vault: None, approve: args.consent.approve, strict: args.consent.strict, before };
    sitting.drive(Begin::Resume(Box::new(how)), global)
}

/// Whether the newest of them is the one that the events name last.
fn are_those_of(definitions: &Definitions, events: &[Event]) -> bool {
    let brought = events.iter().rev().find_map(|event| match &event.kind {
        EventKind::RunResumed { definition, .. } => definition.as_ref(),
        _ => None,
    });
    brought == definitions.later.last().map(|(digest, _)| digest)
}

/// What a person asks for, as it fits the run.
struct Asked {
    definitions: Definitions,
    /// Another definition than the one in force, with its digest.
    edited: Option<(String, Json)>,
    force: Vec<StepPath>,
    skip: Vec<StepPath>,
}

impl Asked {
    /// Changes nothing; what is wrong with a tree file is drawn.
    fn read(args: &Args, mut definitions: Definitions, run: &RunSummary, before: &[Event]) -> Result<Result<Self, Exit>, Failure> {
        let edited = match &args.tree {
            Some(file) => match edited(file, run, before, &mut definitions)? {
                Ok(edited) => edited,
                Err(exit) => return Ok(Err(exit)),
            },
            None => None,
        };
        let (force, skip) = match args.force.is_empty() && args.skip.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => {
                let replayed = runs::replayed(&run.run, definitions.clone(), before)?;
                let paths =
                    |texts: &[String]| texts.iter().map(|text| known(text, &replayed, definitions.newest())).collect::<Result<Vec<_>, _>>();
                (paths(&args.force)?, paths(&args.skip)?)
            }
        };
        Ok(Ok(Self { definitions, edited, force, skip }))
    }
}

/// Takes another definition of the run from a file, where it is another than the one in force.
fn edited(
    file: &str,
    run: &RunSummary,
    before: &[Event],
    definitions: &mut Definitions,
) -> Result<Result<Option<(String, Json)>, Exit>, Failure> {
    let facts = runs::facts(before);
    let given: Vec<(String, Given)> =
        facts.map(|f| f.params.iter().map(|(name, value)| (name.clone(), Given::Value(value.clone()))).collect()).unwrap_or_default();
    let proposal = Proposal::with(file, |tree, findings| {
        if tree.name != run.tree {
            return Err(Failure::wrong(format!("{file} is the tree {}, and run {} is one of {}", tree.name, run.run, run.tree)));
        }
        let params = language::params(tree, &given).map_err(|diagnostics| {
            check::print(&Findings { diagnostics, ..findings });
            Exit::WRONG
        });
        Ok((String::new(), params))
    })?;
    let Proposal { tree, definition, digest, .. } = match proposal {
        Ok(proposal) => proposal,
        Err(exit) => return Ok(Err(exit)),
    };
    let now = definitions.later.last().map(|(d, _)| d).or(facts.map(|f| &f.definition));
    if now == Some(&digest) {
        return Ok(Ok(None));
    }
    definitions.later.retain(|(d, _)| *d != digest);
    definitions.later.push((digest.clone(), tree));
    Ok(Ok(Some((digest, definition))))
}

/// A step that the run knows and its tree still has.
fn known(text: &str, run: &Run, tree: &Tree) -> Result<StepPath, Failure> {
    let path = runs::step_path(text);
    let declared = tree.at(path.as_str()).is_some();
    let new = declared && !path.as_str().contains(['[', '/']);
    if declared && (new || run.step(&path).is_some()) {
        return Ok(path);
    }
    let id = run.id();
    Err(Failure::wrong(format!("run {id} has no step `{text}`")).hint(format!("its steps: trees show {id}")))
}

/// The newest run if it can be resumed without being named; else those that can are listed.
fn newest(state: &State) -> Result<Option<RunSummary>, Failure> {
    // What came from elsewhere goes on only by name.
    let all = runs::list(state, &RunFilter { own: true, ..RunFilter::default() })?;
    runs::newest_is_known(state)?;
    let Some(newest) = all.first() else {
        return Err(Failure::wrong("there are no runs here yet").hint("start one with `trees run FILE`"));
    };
    if is_open(newest.status) {
        return Ok(Some(newest.clone()));
    }
    let open: Vec<RunSummary> = all.iter().filter(|r| is_open(r.status)).take(20).map(|r| runs::counted(state, r.clone())).collect();
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
