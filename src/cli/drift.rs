//! `trees drift`: what changed on the targets since a run left them well; `--heal` runs it again.

use super::drive;
use super::global::Global;
use super::rerun::{self, Again};
use super::run::Consent;
use super::source::TreeFile;
use super::{check, given, releases, runs};
use crate::failure::{Exit, Failure};
use crate::report::plan as page;
use crate::report::{out_json, out_lines, say};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use trees_core::event::RunStatus;
use trees_core::journal::{Journal as _, RunFilter, RunSummary};
use trees_core::path::StepPath;
use trees_runner::driver::{Drift, Eyes, drift};
use trees_state::State;

/// Show what changed on the targets since the last run that left them well.
///
/// The external steps of the newest successful run of the tree, or of the run named, are looked at
/// again, each with what it was given then. Exit 10: something drifted; 0: nothing; 1: it could not
/// be told. With -e: those that work for that environment, as its newest verified release left them.
#[derive(clap::Args)]
pub struct Args {
    /// A tree file, or a run [default: the newest successful run here]
    #[arg(value_name = "FILE|RUN")]
    what: Option<String>,
    /// Only what works for this environment
    #[arg(short, long, value_name = "ENV")]
    environment: Option<String>,
    /// Run the tree again, as it was recorded, so that what drifted is put right
    #[arg(long)]
    heal: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let state = Arc::new(runs::required(global)?);
    let Some(run) = chosen(&args, &state)? else { return Ok(Exit::WRONG) };
    let definitions = runs::definitions(&state, &run.run)?;
    let recorded = state.load(&run.run, 0)?;
    let eyes = Eyes { store: Arc::clone(&state) as _, kinds: drive::kinds(), options: drive::options(global) };
    let found = match drift(eyes, run.run.clone(), args.environment.as_deref(), &definitions, &recorded)? {
        Ok(found) => found,
        Err(signal) => return Ok(Exit::signal(signal)),
    };
    let drifted = found.iter().any(|d| d.holds == Some(false));
    let unknown = found.iter().any(|d| d.holds.is_none() && !d.blind);
    let exit = match (drifted, unknown) {
        (true, _) => Exit::CHANGES,
        (false, true) => Exit::FAILED,
        (false, false) => Exit::OK,
    };
    // The events of the run that heals are the standard output then.
    if json && !(args.heal && drifted) {
        out_json(&document(&run, &found, exit));
    } else if !json {
        let environment = args.environment.as_deref().unwrap_or(&run.environment);
        let place = if environment.is_empty() { String::new() } else { format!(" in {environment}") };
        let head = format!("{} #{}{place}, run {}", run.tree, run.number, run.run);
        out_lines(&page::drifts(&head, &found, global.quiet));
    }
    if !args.heal || !drifted {
        return Ok(exit);
    }
    say(&format!("healing: {} runs again as in run {}", run.tree, run.run));
    let how = Again { trigger: "heal", part: None, jobs: None, consent: args.consent };
    let (project, environment) =
        (runs::tree(&state, &run.run)?.project.clone(), args.environment.as_ref().unwrap_or(&run.environment).clone());
    if state.releases(&project, &environment)?.iter().any(|release| release.run == run.run) {
        let gone: Vec<StepPath> = found.iter().filter(|d| d.holds == Some(false)).map(|d| d.path.clone()).collect();
        return releases::again(state, &run, &environment, &gone, how, global);
    }
    rerun::again(state, &run, how, global)
}

/// The run that is looked at; none where a tree file is wrong, which was drawn.
fn chosen(args: &Args, state: &State) -> Result<Option<RunSummary>, Failure> {
    let tree = match args.what.as_deref() {
        Some(text) if is_file(text) => match check::tree(&TreeFile::find(text)?, &trees_steps::catalogue()) {
            Ok((tree, _)) => Some(tree),
            Err(_) => return Ok(None),
        },
        Some(text) => return runs::find(state, text).map(Some),
        None => None,
    };
    if let Some(environment) = &args.environment {
        if let Some(tree) = &tree {
            given::environment(Some(environment), tree)?;
        }
        let project = tree.as_ref().map(|tree| tree.project.as_str());
        if let Some(release) = releases::newest(state, project, environment)? {
            return runs::find(state, &release.run.0).map(Some);
        }
    }
    newest(args, state, tree.map(|tree| tree.name.clone())).map(Some)
}

/// The newest run that ended well.
fn newest(args: &Args, state: &State, tree: Option<String>) -> Result<RunSummary, Failure> {
    let statuses = vec![RunStatus::Succeeded, RunStatus::SucceededWithWarnings];
    // Which environment a run was for is asked after.
    let limit = usize::from(args.environment.is_none());
    let filter = RunFilter { tree: tree.clone(), statuses, limit, own: true };
    let fits = |run: &RunSummary| args.environment.as_ref().is_none_or(|environment| run.environment == *environment);
    runs::list(state, &filter)?.into_iter().find(fits).ok_or_else(|| {
        let of = tree.map(|t| format!(" of {t}")).unwrap_or_default();
        let place = args.environment.as_ref().map(|e| format!(" in {e}")).unwrap_or_default();
        Failure::wrong(format!("there is no successful run{of}{place} whose targets could be looked at"))
            .hint("`trees list` shows the runs there are")
    })
}

fn is_file(text: &str) -> bool {
    text.ends_with(".yaml") || text.ends_with(".yml") || text.contains('/') || Path::new(text).is_file()
}

fn document(run: &RunSummary, found: &[Drift], exit: Exit) -> Value {
    json!({
        "schema": "trees/drift", "version": 1, "run": run.run, "tree": run.tree, "environment": run.environment,
        "drifted": found.iter().filter(|d| d.holds == Some(false)).count(), "exit": exit.0, "steps": found,
    })
}
