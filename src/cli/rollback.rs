//! `trees rollback`: takes back what a run did.

use super::drive::{self, Sitting};
use super::global::{Format, Global};
use super::run::Consent;
use super::source::TreeFile;
use super::{check, given, releases, runs};
use crate::failure::{Exit, Failure};
use crate::report::{out_json, out_line, say};
use serde_json::json;
use std::sync::Arc;
use trees_core::event::RunStatus;
use trees_core::journal::{Journal as _, RunFilter, RunSummary};
use trees_core::path::StepPath;
use trees_core::run::{Definitions, Planned, RollBack, Run, Way};
use trees_runner::driver::Begin;
use trees_state::State;

/// Take back what a run did, in the reversed order of its graph.
///
/// Undone is each step whose action succeeded in this run, by its `undo` or by its kind; then
/// `finally` runs. Without RUN: the newest failed run here; a run that succeeded must be named. A
/// rollback that broke off or is stuck goes on.
///
/// With --release nothing is taken back: a release of an environment that was verified is deployed
/// again, in a new run of the tree as it was recorded then. Its deploying steps there and all that
/// depends on them run; what they need is taken over. `trees env show FILE -e ENV` lists the releases.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER; with --release a tree file
    /// of the project
    #[arg(value_name = "RUN|FILE")]
    run: Option<String>,
    /// Deploy this release again: its number, or its run
    #[arg(long, value_name = "ID", requires = "run", conflicts_with_all = ["to", "skip", "mark_undone", "dry_run"])]
    release: Option<String>,
    /// The environment of the release
    #[arg(short, long, value_name = "ENV", requires = "release")]
    environment: Option<String>,
    /// Say yes to an approval step of the release's run beforehand, or to environment:NAME; '*' to all
    #[arg(long, value_name = "STEP", requires = "release")]
    approve: Vec<String>,
    /// Go back to this step: it and all that it needs stay
    #[arg(long, value_name = "STEP")]
    to: Option<String>,
    /// Do not take this step back; what it rests on is not kept by it
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// This step is taken back already, by hand
    #[arg(long, value_name = "STEP")]
    mark_undone: Vec<String>,
    /// Only show what would be taken back, and in which order
    #[arg(long)]
    dry_run: bool,
    /// Go on though the clock stands far behind what is recorded, or the record has lost its end
    #[arg(long)]
    yes: bool,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let state = Arc::new(runs::required(global)?);
    if let (Some(release), Some(file)) = (&args.release, &args.run) {
        return again(args, state, release, file, global);
    }
    let summary = match &args.run {
        Some(name) => runs::find(&state, name)?,
        None => newest_failed(&state)?,
    };
    let definitions = runs::definitions(&state, &summary.run)?;
    if args.dry_run {
        return show(args, &state, &summary, &definitions, global);
    }
    drive::ready(global)?;
    runs::at_home(&state, &summary.run)?;
    let hold = state.hold(&summary.run)?;
    let before = drive::recorded(&state, &*hold, "rollback", args.yes)?;
    let run = runs::replayed(&summary.run, definitions.clone(), &before)?;
    let asked = asked(args, &run)?;
    if begun(&before) {
        let plan = run.rollback_plan(asked.to.clone(), asked.skip.clone());
        if plan.is_empty() && asked.mark_undone.is_empty() && !is_open(&summary) {
            print(&plan, &summary, global);
            return Ok(Exit::OK);
        }
    }
    let kept_on_purpose = asked.to.is_some() || !asked.skip.is_empty();
    let sitting = Sitting { state: Arc::clone(&state), hold, definitions, vault: None, approve: Vec::new(), strict: false, before };
    let exit = sitting.drive(Begin::RollBack(Box::new(asked)), global)?;
    let status = runs::find(&state, &summary.run.0)?.status;
    Ok(match status {
        RunStatus::RolledBack => Exit::OK,
        RunStatus::Failed if kept_on_purpose => Exit::OK,
        _ => exit,
    })
}

/// Deploys a release again.
fn again(args: &Args, state: Arc<State>, release: &str, file: &str, global: &Global) -> Result<Exit, Failure> {
    let Ok((tree, _)) = check::tree(&TreeFile::find(file)?, &trees_steps::catalogue()) else { return Ok(Exit::WRONG) };
    let environment = given::environment(args.environment.as_deref(), &tree)?;
    drive::ready(global)?;
    let consent = Consent { approve: args.approve.clone(), yes: args.yes, strict: false };
    releases::deploy(state, (&tree.project, &environment), release, consent, global)
}

fn is_open(run: &RunSummary) -> bool {
    !run.status.is_ended() || run.status == RunStatus::RollbackStuck
}

fn begun(events: &[trees_core::event::Event]) -> bool {
    runs::facts(events).is_some()
}

fn newest_failed(state: &State) -> Result<RunSummary, Failure> {
    runs::newest_is_known(state)?;
    let statuses = vec![
        RunStatus::Failed,
        RunStatus::Cancelled,
        RunStatus::RollbackStuck,
        RunStatus::RollingBack,
        RunStatus::Interrupted,
        RunStatus::Paused,
    ];
    let found = runs::list(state, &RunFilter { statuses, limit: 1, own: true, ..RunFilter::default() })?;
    found.into_iter().next().ok_or_else(|| {
        Failure::wrong("no run here has failed")
            .hint("a run that succeeded is taken back by its name: trees rollback RUN; `trees list` shows them")
    })
}

/// What was asked, every step of it known.
fn asked(args: &Args, run: &Run) -> Result<RollBack, Failure> {
    let known = |text: &String| -> Result<StepPath, Failure> {
        let path = runs::step_path(text);
        if run.step(&path).is_some() {
            return Ok(path);
        }
        Err(Failure::wrong(format!("run {} has no step `{text}`", run.id())).hint(format!("its steps: trees show {}", run.id())))
    };
    let all = |texts: &[String]| texts.iter().map(known).collect::<Result<Vec<_>, _>>();
    Ok(RollBack {
        to: args.to.as_ref().map(known).transpose()?,
        skip: all(&args.skip)?,
        mark_undone: all(&args.mark_undone)?,
        ..RollBack::default()
    })
}

fn show(args: &Args, state: &State, summary: &RunSummary, definitions: &Definitions, global: &Global) -> Result<Exit, Failure> {
    global.known(&[Format::Human, Format::Plain, Format::Json])?;
    let run = runs::replayed(&summary.run, definitions.clone(), &state.load(&summary.run, 0)?)?;
    let asked = asked(args, &run)?;
    let mut plan = run.rollback_plan(asked.to, asked.skip);
    plan.retain(|p| !asked.mark_undone.contains(&p.step));
    print(&plan, summary, global);
    Ok(Exit::OK)
}

fn print(plan: &[Planned], summary: &RunSummary, global: &Global) {
    if global.format == Some(Format::Json) {
        return out_json(&document(plan, summary));
    }
    if plan.is_empty() {
        return say(&format!("nothing of run {} is to be taken back", summary.run));
    }
    let width = plan.iter().map(|p| p.step.as_str().chars().count()).max().unwrap_or(0).min(60);
    for step in plan {
        let name = format!("{:width$}", step.step.as_str());
        out_line(
            match &step.way {
                Way::Undo | Way::Kind(_) => format!("{:>4}. {name}  {}", step.wave + 1, words(step)),
                Way::Nothing | Way::Kept(_) | Way::Missing(_) => format!("   -  {name}  {}", words(step)),
            }
            .trim_end(),
        );
    }
}

/// How, and why.
fn words(step: &Planned) -> String {
    let status = step.status.phrase();
    match &step.way {
        Way::Undo => format!("undo ({status})"),
        Way::Kind(1) => format!("undo by its kind, from 1 recorded change ({status})"),
        Way::Kind(count) => format!("undo by its kind, from {count} recorded changes ({status})"),
        Way::Nothing => String::new(),
        Way::Kept(why) => format!("stays: {why}"),
        Way::Missing(why) => format!("cannot be taken back: {why}"),
    }
}

fn document(plan: &[Planned], summary: &RunSummary) -> serde_json::Value {
    let step = |p: &Planned| {
        let (how, reason) = match &p.way {
            Way::Undo => ("undo", None),
            Way::Kind(_) => ("kind", None),
            Way::Nothing => ("nothing", None),
            Way::Kept(why) => ("kept", Some(why)),
            Way::Missing(why) => ("missing", Some(why)),
        };
        json!({ "path": p.step, "status": p.status, "way": how, "reason": reason, "wave": p.wave + 1 })
    };
    json!({ "schema": "trees/rollback-plan", "version": 1, "run": summary.run, "tree": summary.tree, "status": summary.status, "steps": plan.iter().map(step).collect::<Vec<_>>() })
}
