//! `trees run`: checks a tree file, records a run of it, drives it.

use super::busy::{self, Turn};
use super::detach;
use super::drive::{self, Sitting};
use super::given::Params;
use super::global::Global;
use super::plan::{self, Saved};
use super::proposal::Proposal;
use super::runs;
use super::selection::{self, Part, Place};
use crate::failure::{Exit, Failure};
use std::path::PathBuf;
use std::sync::Arc;
use trees_core::event::RunStarted;
use trees_core::journal::{Journal as _, NewRun};
use trees_core::tree::{Action, OnBusy, Tree};
use trees_points::{Point, hit};

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
    /// Run what `trees plan --out` saved, with its params and environment; refused if it no longer holds
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    consent: Consent,
    /// Rest when a step fails, to look at it: trees shell, then trees resume or trees cancel
    #[arg(long)]
    pause_on_failure: bool,
    /// Run in a process of its own that outlives the terminal: print the run's id and come back.
    /// `trees show RUN -f` shows its screen
    #[arg(long)]
    detach: bool,
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

/// Whether a tree may ask a person for a yes.
pub fn asks(tree: &Tree) -> bool {
    let mut asked = Vec::new();
    questions(tree, "", &mut asked);
    !asked.is_empty() || tree.environments.values().any(|environment| environment.protected)
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
    drive::ready(global)?;
    hit(Point::BeforePlan);
    if args.detach && !global.detached {
        return detach::start(global);
    }
    let saved = args.plan.as_deref().map(Saved::read).transpose()?;
    let found = match &saved {
        Some(saved) => saved.proposal(&args.file, &args.params)?,
        None => Proposal::find(&args.file, &args.params)?,
    };
    let mut proposal = match found {
        Ok(proposal) => proposal,
        Err(exit) => return Ok(exit),
    };
    args.consent.fits(&proposal.tree)?;
    let mut asked = args.part.selection();
    selection::fits(&proposal.tree, &asked)?;
    let state = Arc::new(runs::open(global)?);
    proposal.source.settle(runs::folder(&state))?;
    // What is missing is said before the run has a number.
    let vault = runs::vault(&state, &proposal.tree, Some(&asked), &proposal.environment, &proposal.params, &proposal.source.dir)?;
    let place = Place { tree: &proposal.tree, params: &proposal.params, environment: &proposal.environment, dir: &proposal.source.dir };
    if proposal.tree.on_busy != OnBusy::Allow {
        // Another run may be cancelled for this one: what is wrong here is said before.
        selection::find(&state, &place, &asked)?;
    }
    let Turn::Ours(_turn) = busy::turn(&state, &proposal.tree, None)? else { return Ok(Exit::OK) };
    if let Some(saved) = &saved {
        match plan::look(&proposal, args.jobs, Arc::clone(&state), global)? {
            Ok(now) => saved.holds(&now)?,
            Err(signal) => return Ok(Exit::signal(signal)),
        }
    }
    let course = selection::find(&state, &place, &asked)?.take(&state, &mut asked)?;
    let new = NewRun { tree: proposal.tree.name.clone(), digest: proposal.digest.clone(), definition: proposal.definition.clone() };
    hit(Point::AfterPlan);
    let hold = state.create(&new)?;
    let facts = RunStarted {
        number: hold.number(),
        epoch: hold.epoch(),
        approved: args.consent.approve.clone(),
        pause_on_failure: args.pause_on_failure,
        selection: selection::recorded(asked),
        ..proposal.facts(args.jobs)
    };
    let (tree, approve, strict) = (proposal.tree, args.consent.approve, args.consent.strict);
    let sitting = Sitting { state, hold, definitions: tree.into(), vault: Some(vault), approve, strict, before: Vec::new() };
    sitting.drive(selection::begin(facts, course), global)
}
