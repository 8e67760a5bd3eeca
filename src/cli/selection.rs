//! A part of a tree: which steps a run is asked for, and whose results stand for the others.

use super::runs;
use crate::failure::Failure;
use crate::report::say;
use std::path::{Path, PathBuf};
use trees_core::event::{ArtifactRef, EventKind, Object, RunStarted, Selection};
use trees_core::journal::{Journal as _, RunFilter, RunSummary};
use trees_core::path::StepPath;
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

/// What stands for the steps that are not asked for. To find it changes nothing and says nothing.
pub struct Found<'a> {
    place: &'a Place<'a>,
    course: Course,
    /// The run whose results are taken over, where there are any.
    of: Option<RunSummary>,
}

/// The newest run that has the results which a part of a tree needs.
pub fn find<'a>(state: &State, place: &'a Place<'_>, selection: &Selection) -> Result<Found<'a>, Failure> {
    let choice = Choice::of(place.tree, selection)?;
    if choice.needed().is_empty() {
        return Ok(Found { place, course: choice.alone(), of: None });
    }
    let mut newest: Option<String> = None;
    // What another machine made stands for no step here.
    for run in runs::list(state, &RunFilter { tree: Some(place.tree.name.clone()), own: true, ..RunFilter::default() })? {
        if run.environment != place.environment {
            continue;
        }
        let Some(source) = source(state, &run, |f| f.params == *place.params)? else { continue };
        match choice.with(&source) {
            Ok(course) => return Found { place, course, of: Some(run) }.whole(state),
            Err(lacking) => drop(newest.get_or_insert_with(|| format!("the newest one, {}: {}", run.run, lacking.join("; ")))),
        }
    }
    Err(nothing(&choice, place, newest))
}

/// The results of one run, for the part of a tree that needs them.
pub fn find_in<'a>(state: &State, run: &RunSummary, place: &'a Place<'_>, selection: &Selection) -> Result<Found<'a>, Failure> {
    let choice = Choice::of(place.tree, selection)?;
    if choice.needed().is_empty() {
        return Ok(Found { place, course: choice.alone(), of: None });
    }
    let nothing = || Failure::wrong(format!("run {} has no recorded steps", run.run));
    let source = source(state, run, |_| true)?.ok_or_else(nothing)?;
    match choice.with(&source) {
        Ok(course) => Found { place, course, of: Some(run.clone()) }.whole(state),
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
    Ok(runs::replayed(&run.run, definitions, &events).ok())
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

impl Found<'_> {
    /// Itself, if every artifact of it is in its place or kept.
    fn whole(self, state: &State) -> Result<Self, Failure> {
        self.missing(state)?;
        Ok(self)
    }

    /// Says what is taken over, puts its artifacts in their places, and notes where from.
    pub fn take(self, state: &State, selection: &mut Selection) -> Result<Course, Failure> {
        let Some(run) = &self.of else { return Ok(self.course) };
        // Nothing is put back unless all can be.
        for (artifact, at) in self.missing(state)? {
            if !state.restore(artifact, &at)? {
                return Err(gone("a step", &artifact.path, run));
            }
        }
        selection.of = Some(run.run.clone());
        say(&format!("taking over from run {} ({} #{}): {}", run.run, run.tree, run.number, self.names().join(", ")));
        if !self.course.changed.is_empty() {
            say(&format!("warning: the definition has changed since then: {}", self.course.changed.join(", ")));
        }
        Ok(self.course)
    }

    /// The steps whose results are taken over, without the instances of fan-outs.
    fn names(&self) -> Vec<&str> {
        let whole = |(path, kind): &'_ (StepPath, EventKind)| matches!(kind, EventKind::StepCached { .. }) && !path.as_str().contains('[');
        self.course.events.iter().filter(|event| whole(event)).map(|(path, _)| path.as_str()).collect()
    }

    /// The artifacts that are not in their places, with these; an error where one is kept nowhere.
    fn missing(&self, state: &State) -> Result<Vec<(&ArtifactRef, PathBuf)>, Failure> {
        let mut missing = Vec::new();
        let Some(run) = &self.of else { return Ok(missing) };
        for (step, kind) in &self.course.events {
            let EventKind::StepCached { artifacts, .. } = kind else { continue };
            for artifact in artifacts.values() {
                let at = files::artifact(self.place.dir, &artifact.path).map_err(Failure::wrong)?;
                if state.is_there(artifact, &at) {
                    continue;
                }
                if state.content(&artifact.sha256).is_none() {
                    return Err(gone(step.as_str(), &artifact.path, run));
                }
                missing.push((artifact, at));
            }
        }
        Ok(missing)
    }
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
