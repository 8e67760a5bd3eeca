//! `trees run`: checks a tree file, records a run of it, drives it.

use super::busy::{self, Turn};
use super::check;
use super::drive::{self, Sitting};
use super::given::Params;
use super::global::Global;
use super::runs;
use super::selection::{self, Part, Place};
use super::source::TreeFile;
use crate::diagnose::Findings;
use crate::failure::{Exit, Failure};
use std::sync::Arc;
use std::thread;
use trees_core::event::{Object, RunStarted};
use trees_core::hash;
use trees_core::journal::{Hold, Journal as _, NewRun};
use trees_core::language;
use trees_core::run::part_of;
use trees_core::tree::{Action, Tree};
use trees_runner::driver::Vault;

/// Run a tree file, or a cookbook by its name.
///
/// FILE is a path; a name without a slash that is no file is looked up in ./cookbooks, in your own
/// cookbooks and in those built into trees. The run is recorded as it goes: after a failure or a
/// crash `trees resume` goes on with it.
#[derive(clap::Args)]
pub struct Args {
    /// The tree file, or the name of a cookbook
    file: String,
    #[command(flatten)]
    params: Params,
    /// How many steps run at once [default: the tree's max_parallel, else the cores, at least 4]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    consent: Consent,
    /// Rest when a step fails, to look at it: trees shell, then trees resume or trees cancel
    #[arg(long)]
    pause_on_failure: bool,
}

/// What a person says beforehand.
#[derive(clap::Args)]
pub struct Consent {
    /// Say yes to an approval step beforehand, or to environment:NAME; '*' to all
    #[arg(long, value_name = "STEP")]
    pub approve: Vec<String>,
    /// Say yes to confirmations
    #[arg(long)]
    pub yes: bool,
    /// A run that succeeded with warnings exits 1
    #[arg(long)]
    pub strict: bool,
}

impl Consent {
    /// Whether the tree asks for all that is approved beforehand.
    pub fn fits(&self, tree: &Tree) -> Result<(), Failure> {
        let mut asked = Vec::new();
        questions(tree, "", &mut asked);
        asked.extend(tree.environments.keys().map(|name| format!("environment:{name}")));
        let known = |name: &str| name == "*" || asked.iter().any(|a| a == name || *a == without_keys(name));
        let Some(unknown) = self.approve.iter().find(|name| !known(name)) else { return Ok(()) };
        let failure = Failure::wrong(format!("--approve {unknown}: the tree {} asks for no such approval", tree.name));
        Err(if asked.is_empty() { failure } else { failure.hint(format!("it asks for: {}", asked.join(", "))) })
    }
}

/// The paths of all approval steps, those of sub-trees too.
fn questions(tree: &Tree, above: &str, asked: &mut Vec<String>) {
    for step in &tree.steps {
        match &step.action {
            Action::Approve { .. } => asked.push(format!("{above}{}", step.id)),
            Action::Tree { tree, .. } => questions(tree, &format!("{above}{}/", step.id), asked),
            Action::Run(_) | Action::Uses { .. } => {}
        }
    }
}

/// A path without the keys of its instances: `a[x]/b` and `a:x/b` are `a/b`.
fn without_keys(path: &str) -> String {
    let step = |part: &str| part.split(['[', ':']).next().unwrap_or_default().to_owned();
    path.split('/').map(step).collect::<Vec<_>>().join("/")
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    drive::look(global)?;
    let mut source = TreeFile::find(&args.file)?;
    let kinds = trees_steps::catalogue();
    // What is wrong with a tree leaves no trace: nothing is made before it is checked.
    let checked = source.check(&kinds);
    check::print(&source.findings(&checked));
    let Some(tree) = checked.tree.clone() else { return Ok(Exit::WRONG) };
    let later = language::later(&tree);
    if !later.is_empty() {
        check::print(&Findings { diagnostics: later, ..source.findings(&checked) });
        return Ok(Exit::WRONG);
    }
    let environment = args.params.environment(&tree)?;
    let params = match args.params.resolve(&tree, source.findings(&checked))? {
        Ok(params) => params,
        Err(exit) => return Ok(exit),
    };
    args.consent.fits(&tree)?;
    let mut asked = args.part.selection();
    selection::fits(&tree, &asked)?;
    let state = Arc::new(runs::open(global)?);
    source.settle(runs::folder(&state))?;
    let definition = serde_json::to_value(&checked.sources).map_err(Failure::bug)?;
    let digest = hash::json(&definition).map_err(Failure::bug)?;
    // What is missing is said before the run has a number.
    let vault = Vault::open(&part_of(&tree, Some(&asked)), &environment, &source.dir, &*state)?;
    let Turn::Ours(_turn) = busy::turn(&state, &tree, None)? else { return Ok(Exit::OK) };
    let place = Place { tree: &tree, params: &params, environment: &environment, dir: &source.dir };
    let course = selection::course(&state, &place, &mut asked)?;
    let hold = state.create(&NewRun { tree: tree.name.clone(), digest: digest.clone(), definition })?;
    let started = RunStarted { selection: selection::recorded(asked), ..facts(&source, &tree, &*hold, environment, params, digest, &args) };
    let sitting =
        Sitting { state, hold, tree, vault: Some(vault), approve: args.consent.approve, strict: args.consent.strict, before: Vec::new() };
    sitting.drive(selection::begin(started, course), global)
}

fn facts(
    source: &TreeFile,
    tree: &Tree,
    hold: &dyn Hold,
    environment: String,
    params: Object,
    definition: String,
    args: &Args,
) -> RunStarted {
    let cores = thread::available_parallelism().map_or(4, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)).max(4);
    RunStarted {
        tree: tree.name.clone(),
        project: tree.project.clone(),
        number: hold.number(),
        file: source.given.clone(),
        dir: source.dir.display().to_string(),
        tree_dir: source.tree_dir.display().to_string(),
        environment,
        params,
        definition,
        epoch: hold.epoch(),
        trigger: "run".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        max_parallel: args.jobs.or(tree.max_parallel).unwrap_or(cores),
        approved: args.consent.approve.clone(),
        pause_on_failure: args.pause_on_failure,
        selection: None,
    }
}
