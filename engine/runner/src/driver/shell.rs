//! The surroundings of a step for a person: the environment, folder and inputs of its attempt, without
//! the attempt. Nothing is recorded and nothing of the run changes.

use super::prepare::{Dotenv, plain};
use super::secrets::Vault;
use super::surroundings::{OUTPUTS, Surroundings};
use crate::environment::{self, Environment};
use crate::identity::Marks;
use crate::scratch::{Pool, Scratch, SecretFiles};
use std::ffi::OsString;
use std::path::PathBuf;
use tokio::runtime::Handle;
use trees_core::event::StepStatus;
use trees_core::path::StepPath;
use trees_core::run::{Job, Run, Task};
use trees_core::tree::{Action, Shell as Interpreter, Step, Tree};

/// A place to be in; what was made for it goes with it.
pub struct Shell {
    /// What runs the step's script; `None` of a step kind.
    pub interpreter: Option<Interpreter>,
    /// The whole environment, secrets included.
    pub env: Vec<(OsString, OsString)>,
    /// The working folder.
    pub dir: PathBuf,
    /// The attempt that it stands for.
    pub attempt: u32,
    pool: Pool,
    scratch: Scratch,
    files: Option<SecretFiles>,
}

impl Shell {
    /// Makes it for a step of a run that was replayed.
    ///
    /// # Errors
    /// One sentence: no such step, one that has no process, needs without results.
    pub fn enter(run: &Run, tree: &Tree, step: &StepPath, vault: &Vault, workers: Handle) -> Result<Self, String> {
        let view = run.step(step).ok_or_else(|| format!("the run has no step `{step}`"))?;
        let spec = tree.at(step.as_str()).ok_or_else(|| format!("the tree has no step `{step}`"))?;
        if let Action::Approve { .. } = spec.action {
            return Err(format!("`{step}` asks a person: there is no process to be in the place of"));
        }
        if view.contains || matches!(spec.action, Action::Tree { .. }) {
            return Err(format!("`{step}` consists of other steps: name one of them, such as {}", parts(run, step)));
        }
        if matches!(view.status, StepStatus::Pending | StepStatus::Blocked) {
            all_there(run, tree, step, spec)?;
        }
        let (source, environment, names) = run.secret_names(step);
        let task = run
            .task(step, &vault.values(source, &environment, &names))
            .map_err(|e| format!("`{step}` cannot be entered: {}", e.message))?;
        // One that is cut off or at work stays what it is: this stands for the next.
        let next = u32::from(matches!(view.status, StepStatus::Running | StepStatus::Interrupted) || view.attempt == 0);
        let marks = Marks { run: run.id().clone(), step: step.clone(), attempt: view.attempt + next };
        let given = vault.given(source, &environment, &task.secrets);
        let inherited = Environment::inherited(std::env::vars_os(), &task.env_pass);
        let around = Surroundings { inherited: &inherited, dotenv: &dotenv(&task)?, task: &task, secrets: &given, marks: &marks };
        let pool = Pool::new(run.id().clone(), workers);
        let mut scratch = pool.take().map_err(|e| format!("cannot make a temporary folder: {e}"))?;
        let files = around.secret_files(&scratch.tmp()).map_err(|e| e.to_string())?;
        let output = scratch.file(OUTPUTS);
        let (interpreter, bound) = match &task.job {
            Some(Job::Run { shell, bound, .. }) => (Some(shell.clone()), bound.as_slice()),
            Some(Job::Uses { .. }) | None => (None, [].as_slice()),
        };
        let env = around.variables(bound, &mut scratch, &output, files.as_ref()).map_err(|e| e.to_string())?;
        Ok(Self { interpreter, env, dir: task.cwd.clone(), attempt: marks.attempt, pool, scratch, files })
    }

    /// Removes what was made for it.
    pub async fn leave(self) {
        drop((self.scratch, self.files));
        self.pool.tidied().await;
    }
}

fn dotenv(task: &Task) -> Result<Dotenv, String> {
    Ok(plain(task, &environment::read_dotenv(&task.dir, &task.dotenv)?))
}

/// Some steps of a fan-out or a sub-tree.
fn parts(run: &Run, step: &StepPath) -> String {
    let inside = |path: &str| path.strip_prefix(step.as_str()).is_some_and(|rest| rest.starts_with(['[', '/']));
    let names: Vec<String> = run.steps().filter(|s| !s.contains && inside(s.path.as_str())).map(|s| s.path.0).take(3).collect();
    if names.is_empty() { "there are none yet".into() } else { names.join(", ") }
}

/// Says which needs have no results yet.
fn all_there(run: &Run, tree: &Tree, step: &StepPath, spec: &Step) -> Result<(), String> {
    let (above, siblings) = match step.as_str().rsplit_once('/') {
        Some((above, _)) => (format!("{above}/"), tree.at(above)),
        None => (String::new(), None),
    };
    let tree = match siblings.map(|step| &step.action) {
        Some(Action::Tree { tree, .. }) => tree,
        _ => tree,
    };
    let need = |index: u32| {
        let path = StepPath(format!("{above}{}", tree.steps.get(index as usize)?.id));
        let status = run.step(&path).map_or(StepStatus::Pending, |view| view.status);
        (!status.is_success() && status != StepStatus::Skipped).then(|| format!("{path}, which {}", status.phrase()))
    };
    let missing: Vec<String> = spec.needs.iter().filter_map(|n| need(n.step)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("`{step}` cannot be entered yet: it needs {}", missing.join("; "))) }
}
