//! A part of a tree: which steps a run is asked for, and whose results stand for the others.

use super::runs;
use crate::failure::Failure;
use crate::report::say;
use std::path::Path;
use trees_core::event::{ArtifactRef, EventKind, Object, RunStarted, Selection};
use trees_core::journal::{Journal as _, RunFilter, RunSummary};
use trees_core::run::{Choice, Course, Run, Unfit};
use trees_core::store::Store as _;
use trees_core::tree::Tree;
use trees_runner::driver::Begin;
use trees_runner::files;
use trees_state::State;

/// Options that ask for a part of a tree.
#[derive(clap::Args)]
pub struct Part {
    /// Run this step and `finally`, nothing else; what it needs is taken over from the newest run with its results
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Run this step, all that depends on it, and `finally`; what they need is taken over likewise
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// Count this step as succeeded; its outputs may not be read
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
}

impl Part {
    /// What is asked for.
    pub fn selection(&self) -> Selection {
        Selection {
            skip: self.skip.iter().map(|s| runs::step_path(s)).collect(),
            by: by(&self.skip),
            ..asked(&self.only, self.from.as_ref())
        }
    }
}

/// What is asked for by `--only` and `--from`.
pub fn asked(only: &[String], from: Option<&String>) -> Selection {
    let only = only.iter().map(|s| runs::step_path(s)).collect();
    Selection { only, from: from.map(|s| runs::step_path(s)), ..Selection::default() }
}

fn by(skip: &[String]) -> Option<String> {
    (!skip.is_empty()).then(runs::actor)
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        let failure = Self::wrong(unfit.message);
        match unfit.help {
            Some(help) => failure.hint(help),
            None => failure,
        }
    }
}

/// Where a new run works, and what it was asked with.
pub struct Place<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// The params as resolved.
    pub params: &'a Object,
    /// The environment.
    pub environment: &'a str,
    /// The working folder.
    pub dir: &'a Path,
}

/// The course of a new run of a part of a tree, with the newest run that has the results it needs.
pub fn course(state: &State, place: &Place<'_>, selection: &mut Selection) -> Result<Course, Failure> {
    let asked = selection.clone();
    let choice = Choice::of(place.tree, &asked)?;
    if choice.needed().is_empty() {
        return Ok(choice.alone());
    }
    let mut newest: Option<String> = None;
    // What another machine made stands for no step here.
    for run in runs::list(state, &RunFilter { tree: Some(place.tree.name.clone()), own: true, ..RunFilter::default() })? {
        if run.environment != place.environment {
            continue;
        }
        let Some(source) = source(state, &run, |f| f.params == *place.params)? else { continue };
        match choice.with(&source) {
            Ok(course) => return taken(state, course, &run, place, selection),
            Err(lacking) => drop(newest.get_or_insert_with(|| format!("the newest one, {}: {}", run.run, lacking.join("; ")))),
        }
    }
    Err(nothing(&choice, place, newest))
}

/// The course of a new run of a part of a tree, with the results of one run.
pub fn course_of(state: &State, run: &RunSummary, place: &Place<'_>, selection: &mut Selection) -> Result<Course, Failure> {
    let asked = selection.clone();
    let choice = Choice::of(place.tree, &asked)?;
    if choice.needed().is_empty() {
        return Ok(choice.alone());
    }
    let nothing = || Failure::wrong(format!("run {} has no recorded steps", run.run));
    let source = source(state, run, |_| true)?.ok_or_else(nothing)?;
    match choice.with(&source) {
        Ok(course) => taken(state, course, run, place, selection),
        Err(lacking) => {
            let failure = Failure::wrong(format!("run {} ({} #{}) lacks results: {}", run.run, run.tree, run.number, lacking.join("; ")));
            Err(failure.hint(format!("run all of it again: trees rerun {}; or go on with it: trees resume {}", run.run, run.run)))
        }
    }
}

/// A run as its events left it, if its first one fits.
fn source(state: &State, run: &RunSummary, fits: impl Fn(&RunStarted) -> bool) -> Result<Option<Run>, Failure> {
    let events = state.load(&run.run, 0)?;
    if !runs::facts(&events).is_some_and(fits) {
        return Ok(None);
    }
    // What this version cannot read gives no results.
    let Ok(definitions) = runs::definitions(state, &run.run) else { return Ok(None) };
    let mut source = Run::new(run.run.clone(), definitions, &trees_steps::catalogue());
    Ok(source.replay(&events).is_ok().then_some(source))
}

fn nothing(choice: &Choice<'_>, place: &Place<'_>, newest: Option<String>) -> Failure {
    let needed = choice.needed();
    let environment = if place.environment.is_empty() { String::new() } else { format!(" and the environment {}", place.environment) };
    let newest = newest.map(|n| format!(" ({n})")).unwrap_or_default();
    let message = format!(
        "no run of {} with the same params{environment} has results of all that is needed: {}{newest}",
        place.tree.name,
        needed.join(", ")
    );
    let skips: Vec<String> = needed.iter().map(|n| format!("--skip {n}")).collect();
    Failure::wrong(message).hint(format!("run the whole tree first, or count what is there already as succeeded: {}", skips.join(" ")))
}

/// Says what is taken over, and puts its artifacts in their places.
fn taken(state: &State, course: Course, run: &RunSummary, place: &Place<'_>, selection: &mut Selection) -> Result<Course, Failure> {
    restore(state, &course, place.dir, run)?;
    selection.of = Some(run.run.clone());
    let whole = |(path, kind): &(_, EventKind)| {
        let path: &trees_core::path::StepPath = path;
        (matches!(kind, EventKind::StepCached { .. }) && !path.as_str().contains('[')).then(|| path.0.clone())
    };
    let names: Vec<String> = course.events.iter().filter_map(whole).collect();
    say(&format!("taking over from run {} ({} #{}): {}", run.run, run.tree, run.number, names.join(", ")));
    if !course.changed.is_empty() {
        say(&format!("warning: the definition has changed since then: {}", course.changed.join(", ")));
    }
    Ok(course)
}

/// Nothing is put back unless all can be.
fn restore(state: &State, course: &Course, dir: &Path, run: &RunSummary) -> Result<(), Failure> {
    let mut missing: Vec<(&ArtifactRef, std::path::PathBuf)> = Vec::new();
    for (step, kind) in &course.events {
        let EventKind::StepCached { artifacts, .. } = kind else { continue };
        for artifact in artifacts.values() {
            let at = files::artifact(dir, &artifact.path).map_err(Failure::wrong)?;
            if state.is_there(artifact, &at) {
                continue;
            }
            if state.content(&artifact.sha256).is_none() {
                return Err(gone(step.as_str(), &artifact.path, run));
            }
            missing.push((artifact, at));
        }
    }
    for (artifact, at) in missing {
        if !state.restore(artifact, &at)? {
            return Err(gone("a step", &artifact.path, run));
        }
    }
    Ok(())
}

fn gone(step: &str, artifact: &str, run: &RunSummary) -> Failure {
    let message = format!("the artifact `{artifact}` that {step} left in run {} is neither in its place nor kept any more", run.run);
    Failure::wrong(message).hint("run the step that makes it again")
}

/// How a new run begins.
pub fn begin(started: RunStarted, course: Course) -> Begin {
    let started = Box::new(started);
    if course.events.is_empty() { Begin::New(started) } else { Begin::Part(started, Box::new(course)) }
}

/// What is recorded of a selection, where there is one.
pub fn recorded(selection: Selection) -> Option<Box<Selection>> {
    (selection.is_partial() || selection.of.is_some()).then(|| Box::new(selection))
}

/// Whether the tree has all that is asked for.
pub fn fits(tree: &Tree, selection: &Selection) -> Result<(), Failure> {
    Choice::of(tree, selection)?;
    Ok(())
}
