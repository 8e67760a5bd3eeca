//! Deploys: `deploy/process`, `deploy/ssh`, and the deployments of a state folder for `trees show` and `env show`.
//!
//! A deployment is a folder (`root`): `releases/<release>/`, `current` pointing to one of them,
//! `instances/<n>/` with what was started, its log and how it is. Each instance has a
//! supervisor ([`supervise`]) that outlives `trees`. Read [`process`] for what a deploy does,
//! then `rollout` for how one release takes another's place. [`ssh`] makes the same on other machines.

pub mod process;
pub mod route;
pub mod ssh;

mod asked;
mod difference;
mod instance;
mod record;
mod rollout;
mod root;
mod supervise;

#[cfg(test)]
mod tests;

pub use supervise::supervise;

use instance::Instance;
use jiff::Timestamp;
use root::Root;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use trees_core::path::encode;
use trees_runner::kind::KindError;

/// The hidden argument with which the binary is started as a supervisor.
pub const SUPERVISE: &str = "__supervise";

static SUPERVISOR: OnceLock<(PathBuf, Vec<OsString>)> = OnceLock::new();

/// Sets what is started as a supervisor: a program and the arguments before the path of the spec.
/// Without, it is this executable with [`SUPERVISE`]. Only the first call counts.
pub fn set_supervisor(program: PathBuf, args: Vec<OsString>) {
    let _ = SUPERVISOR.set((program, args));
}

fn supervisor() -> Result<(PathBuf, Vec<OsString>), KindError> {
    if let Some((program, args)) = SUPERVISOR.get() {
        return Ok((program.clone(), args.clone()));
    }
    let own = std::env::current_exe().map_err(|e| KindError::new(format!("cannot tell which program this is: {e}")))?;
    // An upgrade may have replaced the file since; the kernel still has the one that runs.
    let program = if own.exists() { own } else { PathBuf::from("/proc/self/exe") };
    Ok((program, vec![SUPERVISE.into()]))
}

/// One deployment, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Deployment {
    /// The project.
    pub project: String,
    /// The environment, `""` where there is none.
    pub environment: String,
    /// Its name.
    pub name: String,
    /// The release that `current` names.
    pub release: String,
    /// Its folder.
    pub root: PathBuf,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Where it listens.
    pub port: Option<u16>,
    /// Supervisor and process live.
    pub alive: bool,
    /// When the process started last.
    pub since: Option<Timestamp>,
    /// How often its supervisor started it again.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
    /// What it writes.
    pub log: Option<PathBuf>,
}

/// The deployments of a state folder, by project, environment and name.
pub fn list(state: &Path) -> Vec<Deployment> {
    let mut all: Vec<Deployment> = roots(state).iter().filter_map(describe).collect();
    all.sort_by(|a, b| (&a.project, &a.environment, &a.name).cmp(&(&b.project, &b.environment, &b.name)));
    all
}

/// Ends the processes of a deployment; its releases stay, and the next deploy starts it again.
///
/// # Errors
/// When there is no such deployment, or a process cannot be ended.
pub async fn stop(state: &Path, project: &str, environment: &str, name: &str) -> Result<(), KindError> {
    let root = Root(default_root(state, project, environment, name));
    if root.current().is_none() {
        return Err(KindError::new(format!(
            "there is no deployment `{name}` of {project}{}{environment}",
            if environment.is_empty() { "" } else { "/" }
        )));
    }
    end_all(&root).await
}

async fn end_all(root: &Root) -> Result<(), KindError> {
    let living: Vec<Instance> = root.instances().into_iter().filter(Instance::lives).collect();
    living.iter().for_each(Instance::ask_to_end);
    for instance in living {
        instance.ended().await?;
    }
    Ok(())
}

fn default_root(state: &Path, project: &str, environment: &str, name: &str) -> PathBuf {
    let environment = if environment.is_empty() { "default" } else { environment };
    state.join("deploy").join(encode(project)).join(encode(environment)).join(encode(name))
}

fn roots(state: &Path) -> Vec<Root> {
    let below = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    below(state.join("deploy")).flat_map(below).flat_map(below).map(Root).collect()
}

fn describe(root: &Root) -> Option<Deployment> {
    let folder = root.current()?;
    let release = root.outside(&folder)?;
    let newest = || root.instances().into_iter().find(|i| i.spec.folder == folder && i.spec.role == record::Role::Live);
    let instance = root.live(&folder).or_else(newest);
    let status = instance.as_ref().and_then(Instance::status);
    let alive = instance.as_ref().is_some_and(Instance::alive);
    Some(Deployment {
        project: release.project,
        environment: release.environment,
        name: release.name,
        release: release.release,
        root: root.0.clone(),
        pid: status.as_ref().and_then(|s| s.child.as_ref()).filter(|child| child.is_alive()).map(|child| child.pid),
        port: release.port,
        alive,
        since: status.as_ref().filter(|_| alive).map(|s| s.since),
        restarts: status.as_ref().map_or(0, |s| s.restarts),
        last_exit: status.and_then(|s| s.last_exit),
        log: instance.map(|i| i.folder.join(instance::LOG)),
    })
}
