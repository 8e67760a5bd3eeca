//! The state folder and the runs in it, as commands name them. The only file here that knows how
//! the state is opened.

use super::global::{Durability, Global};
use super::witness;
use crate::failure::{Failure, Kind};
use crate::report::say;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::{Event, EventKind, Json, Object, RunStarted, Selection};
use trees_core::hash;
use trees_core::journal::{Journal as _, JournalError, Request, RequestBody, RunFilter, RunSummary};
use trees_core::language::{self, Sources};
use trees_core::path::{RunId, StepPath};
use trees_core::run::{Definitions, Run};
use trees_core::store::Store as _;
use trees_core::tree::Tree;
use trees_runner::driver::Vault;
use trees_runner::mask::Masker;
use trees_state::{Remains, State, StateError, is_alive, lost_words, stopped};

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unusable { .. } => Self::new(Kind::State, error),
            StateError::Unknown(_) => Self::wrong(error).hint("`trees list` shows the runs there are"),
            StateError::Ambiguous { .. } | StateError::Invalid(_) => Self::wrong(error),
            StateError::Failed(_) => Self::failed(error),
            StateError::Journal(error) => error.into(),
        }
    }
}

impl From<Durability> for trees_state::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Full => Self::Full,
            Durability::Normal => Self::Normal,
        }
    }
}

/// Where the state folder is or would be.
pub fn place(global: &Global) -> Result<PathBuf, Failure> {
    let environment = std::env::var_os("TREES_STATE").map(PathBuf::from);
    Ok(State::locate(global.state.as_deref(), environment.as_deref(), &super::source::here()?))
}

/// The state folder, made where it is missing.
pub fn open(global: &Global) -> Result<State, Failure> {
    let state = State::open(place(global)?, global.durability.into())?;
    state.testify(witness::here(&Masker::default()));
    Ok(state)
}

/// The state folder, if there is one.
pub fn existing(global: &Global) -> Result<Option<State>, Failure> {
    let state = State::open_existing(place(global)?, global.durability.into())?;
    if let Some(state) = &state {
        state.testify(witness::here(&Masker::default()));
    }
    Ok(state)
}

/// The state folder; a command about a run needs one.
pub fn required(global: &Global) -> Result<State, Failure> {
    existing(global)?.ok_or_else(|| {
        let place = place(global).map(|p| p.display().to_string()).unwrap_or_default();
        Failure::wrong(format!("there are no runs here yet (no state in {place})"))
            .hint("start one with `trees run FILE`, or name the folder with --state")
    })
}

/// What of a run began and is not recorded.
pub fn remains(state: &State, run: &RunId, recorded: &[Event]) -> Result<Vec<Remains>, Failure> {
    let changed = recorded.iter().any(|event| matches!(&event.kind, EventKind::RunResumed { definition: Some(_), .. }));
    let retold = if changed { Some(definitions(state, run)?.retold(recorded)) } else { None };
    Ok(state.remains(run, recorded, retold.as_deref())?)
}

/// What is said of it.
pub fn cut_short(run: &RunId, first: &Remains, all: usize) -> String {
    let others = if all > 1 { format!(" and {} more", all - 1) } else { String::new() };
    format!("the record of run {run} has lost its end: {}{others} began and is not in it", first.what)
}

/// The newest run may be one whose record is lost: then a run has to be named.
pub fn newest_is_known(state: &State) -> Result<(), Failure> {
    match state.lost()?.first().map(|run| state.find(&run.0)) {
        Some(Err(lost)) => Err(Failure::from(lost).hint("until then name the run that is meant: trees list")),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// What is to be said of runs whose record is lost.
pub fn lost(runs: &[RunId]) -> Option<String> {
    lost_words(runs).map(|(text, cure)| format!("{text}; {cure}"))
}

/// Where the state folder is.
pub fn folder(state: &State) -> &Path {
    state.folder()
}

/// The run that a person names: an id or a prefix, `@last`, `@last-failed`, `TREE@last`, `TREE#3`.
pub fn find(state: &State, text: &str) -> Result<RunSummary, Failure> {
    Ok(state.run(&state.find(text)?)?)
}

/// Runs, newest first.
pub fn list(state: &State, filter: &RunFilter) -> Result<Vec<RunSummary>, Failure> {
    Ok(state.runs(filter)?)
}

/// Leaves a word for the run's driver; answers the run as it is afterwards.
pub fn ask(state: &State, run: &RunId, body: &RequestBody) -> Result<RunSummary, Failure> {
    state.ask(run, &actor(), body)?;
    find(state, &run.0)
}

/// Who acts: the person's name on this machine.
pub fn actor() -> String {
    let name = ["TREES_ACTOR", "USER", "LOGNAME"].into_iter().find_map(|key| std::env::var(key).ok().filter(|v| !v.is_empty()));
    name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Refuses a run that a living process drives. (What a killed one held may be held a moment longer,
/// by a step that it was just starting.)
pub fn at_rest(run: &RunSummary) -> Result<(), Failure> {
    run.pid.filter(|pid| is_alive(*pid)).map_or(Ok(()), |pid| Err(JournalError::Held { run: run.run.clone(), pid }.into()))
}

/// Says of a run whose process was stopped that it is, and how to go on: nobody hears a word until then.
pub fn tell_stopped(run: &RunSummary) {
    let told = run.pid.and_then(|pid| stopped(&run.run, pid));
    told.into_iter().for_each(|(text, cure)| say(&format!("{text}: {cure}")));
}

/// The words that wait to be taken up, by the step they are on: who said what.
pub fn words(state: &State, run: &RunId) -> Result<BTreeMap<String, String>, Failure> {
    let said = |request: Request| {
        let word = match &request.body {
            RequestBody::Approve { .. } => "approved",
            RequestBody::Reject { .. } => "rejected",
            RequestBody::Resolve { .. } => "settled",
            RequestBody::Cancel { .. } => return None,
        };
        Some((request.body.step()?.to_owned(), format!("{word} by {}", request.actor)))
    };
    Ok(state.requests(run)?.into_iter().filter_map(said).collect())
}

/// Refuses to drive a run from elsewhere where its folder is not.
pub fn at_home(state: &State, run: &RunId) -> Result<(), Failure> {
    let Some(origin) = state.origins()?.remove(run) else { return Ok(()) };
    let recorded = state.load(run, 0)?;
    let folder = facts(&recorded).map(|facts| facts.dir.clone()).unwrap_or_default();
    match Path::new(&folder).metadata() {
        Ok(there) if there.is_dir() => return Ok(()),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(error) => {
            let failure = Failure::failed(format!("cannot look at {folder}, where run {run} works: {error}"));
            return Err(failure.hint("see to its owner and mode"));
        }
    }
    let text = format!("run {run} was imported from {} of {}; it works in {folder}, which is not here", origin.file, origin.host);
    let hint = format!("look at it with `trees show {run}` and `trees logs {run}`; `trees run FILE` begins a run here");
    Err(Failure::wrong(text).hint(hint))
}

/// The recorded texts of a run, the newest where a resume brought others.
pub fn sources(state: &State, run: &RunId) -> Result<Sources, Failure> {
    recorded_sources(run, in_force(state, run)?.1)
}

/// The definition in force, with its digest: the newest that a resume brought, else the first.
pub fn in_force(state: &State, run: &RunId) -> Result<(String, Json), Failure> {
    if let Some(later) = state.amendments(run)?.pop() {
        return Ok(later);
    }
    let first = state.definition(run)?;
    Ok((hash::json(&first).map_err(Failure::failed)?, first))
}

/// The secrets of a tree or a part of it; what is missing is said before anything begins. The audit leaves them out.
pub fn vault(
    state: &State,
    tree: &Arc<Tree>,
    part: Option<&Selection>,
    environment: &str,
    params: &Object,
    dir: &Path,
) -> Result<Vault, Failure> {
    let vault = Vault::open(tree, part, environment, params, dir, state)?;
    state.testify(witness::here(&vault.masker()));
    Ok(vault)
}

/// The recorded tree of a run, the newest where a resume brought another.
pub fn tree(state: &State, run: &RunId) -> Result<Arc<Tree>, Failure> {
    Ok(Arc::clone(definitions(state, run)?.newest()))
}

/// All recorded trees of a run.
pub fn definitions(state: &State, run: &RunId) -> Result<Definitions, Failure> {
    let later = state.amendments(run)?;
    let later = later.into_iter().map(|(digest, json)| Ok((digest, checked(run, json)?))).collect::<Result<_, Failure>>()?;
    Ok(Definitions { first: checked(run, state.definition(run)?)?, later })
}

/// The run with how far it is: of one that is driven or was cut off only its events tell. Unknown stays
/// what this version cannot replay.
pub fn counted(state: &State, run: RunSummary) -> RunSummary {
    let tell = || {
        let recorded = state.load(&run.run, 0)?;
        Ok::<_, Failure>(replayed(&run.run, definitions(state, &run.run)?, &recorded)?.progress())
    };
    RunSummary { progress: run.progress.or_else(|| tell().ok()), ..run }
}

/// A run as its events left it, each read with the tree that was in force then.
pub fn replayed(run: &RunId, definitions: Definitions, events: &[Event]) -> Result<Run, Failure> {
    let mut replayed = Run::new(run.clone(), definitions, &trees_steps::catalogue());
    replayed.replay(events).map_err(Failure::bug)?;
    Ok(replayed)
}

fn checked(run: &RunId, definition: Json) -> Result<Arc<Tree>, Failure> {
    let sources = recorded_sources(run, definition)?;
    let top = sources.files.first().cloned().ok_or_else(|| Failure::new(Kind::State, format!("run {run} has no recorded tree")))?;
    let checked = language::check(top, &sources, &trees_steps::catalogue());
    checked.tree.ok_or_else(|| {
        let first = checked.diagnostics.iter().find(|d| d.is_error()).map(|d| d.message.clone()).unwrap_or_default();
        Failure::wrong(format!("the recorded tree of run {run} does not check with this version of trees: {first}"))
    })
}

fn recorded_sources(run: &RunId, definition: Json) -> Result<Sources, Failure> {
    serde_json::from_value(definition).map_err(|e| Failure::new(Kind::State, format!("the recorded tree of run {run} cannot be read: {e}")))
}

/// The first event of a run.
pub fn facts(events: &[Event]) -> Option<&RunStarted> {
    events.iter().find_map(|e| match &e.kind {
        EventKind::RunStarted(facts) => Some(&**facts),
        _ => None,
    })
}

/// A step's path as a person writes it: `smoke:general` is `smoke[general]`.
pub fn step_path(text: &str) -> StepPath {
    StepPath::written(text)
}

#[cfg(test)]
mod tests {
    use super::step_path;

    #[test]
    fn instances_have_two_spellings() {
        let check = |text: &str, path: &str| assert_eq!(step_path(text).as_str(), path);
        check("build", "build");
        check("smoke:general", "smoke[general]");
        check("smoke[general]", "smoke[general]");
        check("suites:unit,pg16", "suites[unit,pg16]");
        check("report/publish:eu/upload", "report/publish[eu]/upload");
        check("smoke:a b", "smoke[a%20b]");
        check("environment:production", "environment:production");
    }
}
