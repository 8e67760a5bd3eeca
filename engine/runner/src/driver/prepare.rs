//! What an attempt would be made of: digests of definition and inputs, and a result with the same
//! ones, if an earlier run has one. Changes nothing but putting cached artifacts back.

use super::message::LastWord;
use super::{KindSet, Sitting, Vault};
use crate::mask::Masker;
use crate::watch::paths;
use crate::{environment, files};
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::{ArtifactRef, Digests, ErrorReason, Reason, StepError};
use trees_core::hash;
use trees_core::journal::JournalError;
use trees_core::path::StepPath;
use trees_core::run::{Cached, Ingredients, Input, Job, Prepared, Run, Task};
use trees_core::store::Store;

/// A dotenv file, read once a sitting.
pub(super) type Dotenv = Vec<(String, String)>;

impl Sitting {
    /// Prepares a step: at once where no file is read, else in the background.
    pub(super) fn prepare(&mut self, step: StepPath) -> Option<Input> {
        let made = self.task(&step).and_then(|task| Ok((task, ingredients(&self.run, &self.vault, &self.masker, &step)?)));
        let (task, ingredients) = match made {
            Ok(made) => made,
            Err(error) => return Some(Input::Prepared { step, result: Err(error) }),
        };
        let dotenv = match self.dotenv_of(&task) {
            Ok(dotenv) => dotenv,
            Err(message) => return Some(Input::Prepared { step, result: Err(self.masked(message)) }),
        };
        let work = Work {
            task,
            ingredients,
            dotenv,
            recorded: self.run.recorded_artifacts(&step),
            store: Arc::clone(&self.setup.store),
            kinds: Arc::clone(&self.setup.kinds),
            tree: self.tree_name(),
        };
        if work.is_quick() {
            return Some(Input::Prepared {
                step,
                result: work.digest().map(|digests| Box::new(Prepared { digests, cached: None, lost: None })).map_err(|e| self.masked(e)),
            });
        }
        let unsaid = error("a bug in trees broke its preparation off".into());
        let mut word = LastWord::new(self.handle.clone(), Input::Prepared { step: step.clone(), result: Err(unsaid) });
        let masker = self.masker.clone();
        self.workers.spawn_blocking(move || {
            let prepared = work.prepare();
            drop(work);
            let result = match prepared {
                Err(Unprepared::State(error)) => return word.withhold(error),
                Err(Unprepared::Wrong(e)) => Err(error(masker.mask(&e).into_owned())),
                Ok(prepared) => Ok(Box::new(prepared)),
            };
            word.say(Input::Prepared { step, result });
        });
        None
    }

    fn masked(&self, message: String) -> StepError {
        error(self.masker.mask(&message).into_owned())
    }

    /// The task of a step's next attempt, with its secrets.
    pub(super) fn task(&self, step: &StepPath) -> Result<Task, StepError> {
        task(&self.run, &self.vault, &self.masker, step)
    }

    /// The plain environment of a step's dotenv files.
    pub(super) fn dotenv_of(&mut self, task: &Task) -> Result<Dotenv, String> {
        self.dotenv.of(task)
    }

    fn tree_name(&self) -> String {
        self.run.facts().map(|f| f.tree.clone()).unwrap_or_default()
    }
}

/// The task of a step's next attempt, with its secrets.
pub(super) fn task(run: &Run, vault: &Vault, masker: &Masker, step: &StepPath) -> Result<Task, StepError> {
    let (source, environment, names) = run.secret_names(step);
    run.task(step, &vault.values(source, &environment, &names)).map_err(|e| masked(masker, e))
}

/// What the digests of a step's next attempt are made of, as far as no file is read.
pub(super) fn ingredients(run: &Run, vault: &Vault, masker: &Masker, step: &StepPath) -> Result<Ingredients, StepError> {
    let (source, environment, names) = run.secret_names(step);
    run.ingredients(step, &vault.marks(source, &environment, &names)).map_err(|e| masked(masker, e))
}

fn masked(masker: &Masker, e: StepError) -> StepError {
    StepError { message: masker.mask(&e.message).into_owned(), ..e }
}

/// The dotenv files read so far, each once a sitting.
#[derive(Default)]
pub(super) struct Dotenvs(HashMap<PathBuf, Arc<Dotenv>>);

impl Dotenvs {
    /// The plain environment of a step's dotenv files.
    pub fn of(&mut self, task: &Task) -> Result<Dotenv, String> {
        let mut all = Dotenv::new();
        for file in &task.dotenv {
            let path = task.dir.join(file);
            if !self.0.contains_key(&path) {
                let pairs = environment::read_dotenv(&task.dir, std::slice::from_ref(file))?;
                self.0.insert(path.clone(), Arc::new(pairs));
            }
            if let Some(pairs) = self.0.get(&path) {
                all.extend(plain(task, pairs));
            }
        }
        Ok(all)
    }
}

/// What of a dotenv file is no secret of the tree.
pub(super) fn plain(task: &Task, pairs: &[(String, String)]) -> Dotenv {
    pairs.iter().filter(|(name, _)| !task.tree.secrets.contains_key(name)).cloned().collect()
}

/// Why a step was not prepared.
pub(super) enum Unprepared {
    /// Something of it is wrong: it fails.
    Wrong(String),
    /// The state folder said no: the sitting ends.
    State(JournalError),
}

impl Display for Unprepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(message) => f.write_str(message),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl From<String> for Unprepared {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

impl From<JournalError> for Unprepared {
    fn from(error: JournalError) -> Self {
        match error {
            error if error.ends_the_sitting() => Self::State(error),
            other => Self::Wrong(other.to_string()),
        }
    }
}

/// One prepare.
pub(super) struct Work {
    pub task: Task,
    pub ingredients: Ingredients,
    pub dotenv: Dotenv,
    /// Of a step that ended before and is looked at again.
    pub recorded: Vec<ArtifactRef>,
    pub store: Arc<dyn Store>,
    pub kinds: Arc<dyn KindSet>,
    pub tree: String,
}

impl Work {
    /// No file is read and no earlier result looked for.
    fn is_quick(&self) -> bool {
        self.task.inputs.is_none() && self.recorded.is_empty() && !self.task.spec().cache && self.file_inputs().is_empty()
    }

    pub fn prepare(&self) -> Result<Prepared, Unprepared> {
        let digests = self.digest()?;
        let cached = if self.task.spec().cache { self.cached(&digests)? } else { None };
        Ok(Prepared { digests, cached, lost: self.lost() })
    }

    /// The first recorded artifact that is not in its place as it was.
    fn lost(&self) -> Option<String> {
        let there = |a: &&ArtifactRef| {
            let path = files::artifact(&self.task.dir, &a.path);
            path.is_ok_and(|path| self.store.is_there(a, &path))
        };
        self.recorded.iter().find(|a| !there(a)).map(|a| a.path.clone())
    }

    fn digest(&self) -> Result<Digests, String> {
        let mut ingredients = self.ingredients.inputs.clone();
        for (name, value) in &self.dotenv {
            ingredients.insert(format!("dotenv:{name}"), hash::bytes(value.as_bytes()));
        }
        if let Some((globs, optional)) = &self.task.inputs {
            let found = files::digests(&self.task.dir, &files::find(&self.task.dir, globs, *optional)?)?;
            ingredients.extend(found.into_iter().map(|(name, digest)| (format!("file:{name}"), digest)));
        }
        for path in self.file_inputs() {
            ingredients.extend(content(&self.task.dir, &path)?);
        }
        let input = hash::json(&ingredients).map_err(|e| e.to_string())?;
        Ok(Digests { definition: self.ingredients.definition.clone(), input, ingredients, reusable: self.task.spec().cache })
    }

    /// The files and folders that the kind of this step reads.
    fn file_inputs(&self) -> Vec<PathBuf> {
        let Some(Job::Uses { kind, with }) = &self.task.job else { return Vec::new() };
        let names = self.kinds.kind(kind).map(|k| k.file_inputs.clone()).unwrap_or_default();
        names.iter().flat_map(|name| paths(&with[name])).map(PathBuf::from).collect()
    }

    fn cached(&self, digests: &Digests) -> Result<Option<Cached>, Unprepared> {
        let found = self.store.cached(&self.tree, &digests.definition, &digests.input)?;
        let Some(found) = found else { return Ok(None) };
        for artifact in found.artifacts.values() {
            let to = files::artifact(&self.task.dir, &artifact.path)?;
            if !self.store.restore(artifact, &to)? {
                return Ok(None);
            }
        }
        let spec = self.task.spec();
        let reason = Reason {
            code: "inputs".into(),
            text: format!("the definition and the inputs are those of {} in run {}", found.step, found.run),
            file: Some(self.task.tree.file.clone()),
            line: Some(spec.span.line),
            values: BTreeMap::from([("run".into(), found.run.0), ("step".into(), found.step.0)]),
        };
        Ok(Some(Cached { reason, outputs: found.outputs, artifacts: found.artifacts }))
    }
}

/// The digests of a file, or of all files of a folder; nothing where it is missing (the kind says so).
fn content(dir: &Path, path: &Path) -> Result<BTreeMap<String, String>, String> {
    let full = dir.join(path);
    let name = path.to_string_lossy().into_owned();
    if full.is_dir() {
        let found = files::digests(&full, &files::find(&full, &["**".to_owned()], true)?)?;
        return Ok(found.into_iter().map(|(inner, digest)| (format!("file:{name}/{inner}"), digest)).collect());
    }
    if !full.exists() {
        return Ok(BTreeMap::new());
    }
    Ok(BTreeMap::from([(format!("file:{name}"), files::digest(&full).map_err(|e| format!("cannot read {}: {e}", full.display()))?)]))
}

fn error(message: String) -> StepError {
    StepError { reason: ErrorReason::Spawn, code: None, message, log: None }
}
