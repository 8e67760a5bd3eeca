//! `deploy/process`: a release of a program, served by a process that outlives the run.

use super::asked::Asked;
use super::difference::{change, differences};
use super::instance::Instance;
use super::record::{Release, Role, Start};
use super::rollout::{probe, rollout};
use super::root::{Root, digest_sources, digests};
use super::{default_root, end_all};
use crate::number::Port;
use crate::period::{Limit, Period};
use crate::whole::carried;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::Json;
use trees_core::hash;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `deploy/process`.
pub struct Process;

/// What `deploy/process` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// What is deployed; one name is one deployment of the project and environment.
    pub name: String,
    /// Which release: letters, digits, `.`, `_`, `-`.
    pub release: String,
    /// Program and arguments; a program that begins with `./` is one of `files`.
    pub command: Vec<String>,
    /// Name in the release, and the file or folder (relative to the working folder) that is copied there.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Environment variables of the process.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it listens.
    #[serde(default)]
    pub port: Option<Port>,
    /// The address it listens on.
    #[serde(default = "crate::default::loopback")]
    pub host: String,
    /// A path that answers 2xx when the process is well; without, a connection to the port is enough.
    #[serde(default)]
    pub health: Option<String>,
    /// By when it must be well.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub health_timeout: Period,
    /// What a process that is replaced gets to finish its work, before it is killed.
    #[serde(default = "crate::default::ten_seconds")]
    pub drain: Period,
    /// So many releases are kept.
    #[serde(default = "crate::default::five")]
    pub keep: usize,
    /// The deployment's folder; without, one in the state folder.
    #[serde(default)]
    pub root: Option<String>,
    /// Try the release on a spare port before the one before it is stopped.
    #[serde(default = "crate::default::yes")]
    pub trial: bool,
}

/// What `deploy/process` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The release that serves.
    pub release: String,
    /// The process.
    pub pid: u32,
    /// Where it answers; empty without a port.
    pub url: String,
    /// The SHA-256 of its files as they lie there, names and modes with them: the same where the same bytes serve.
    #[serde(default)]
    pub digest: String,
    /// The release before it; empty where there was none, or nothing changed.
    pub previous: String,
    /// Whether something was done.
    pub changed: bool,
}

/// How a deploy is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    root: PathBuf,
    /// The release's folder name.
    folder: String,
    /// What `current` named; `None`: nothing was deployed.
    previous: Option<String>,
    /// The release was staged by this step.
    staged: bool,
    /// The link by which a folder given as `root` is found again.
    link: Option<PathBuf>,
}

impl Kind for Process {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "deploy/process",
        summary: "Deploy a program as a supervised process",
        doc: include_str!("process.md"),
        example: "tree: serve\nsteps:\n  site:\n    uses: deploy/process\n    with:\n      name: site\n      release: v1\n      \
                  command: [python3, -m, http.server, \"{port}\", --bind, 127.0.0.1, --directory, public]\n      files: { public: site }\n      port: 8080\n      health: /\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: true,
        file_inputs: &["files"],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let asked = Asked {
            name: &with.name,
            release: &with.release,
            command: &with.command,
            files: &with.files,
            keep: with.keep,
            health: with.health.as_deref(),
            has_port: with.port.is_some(),
        };
        asked.wrong()
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let root = root(with, cx);
        let Some(folder) = root.current() else { return Ok(Observation::Absent) };
        let there = root.release(&folder, &cx.secrets)?;
        let wanted = match there.as_ref().filter(|there| is_left(there, cx)) {
            Some(there) => asked(with, there.files.clone(), cx),
            None => wanted(with, cx).await?,
        };
        let mut changes = Vec::new();
        match there {
            Some(there) => {
                let found = digests(&root.folder(&there.folder), there.files.keys());
                changes.extend(differences(&there, &wanted, &found, &cx.mask));
            }
            None => changes.push(change("release", json!(null), json!(wanted.release))),
        }
        let live = root.live(&folder).filter(Instance::alive);
        match &live {
            None => changes.push(change("process", json!("dead"), json!("running"))),
            Some(instance) if changes.is_empty() => {
                let answer = probe(instance, &wanted, wanted.port, cx).await;
                if answer.good.is_none() {
                    changes.push(change("health", json!(answer.text), json!("healthy")));
                }
            }
            Some(_) => {}
        }
        match live {
            Some(instance) if changes.is_empty() => Ok(Observation::Satisfied(out(&wanted, &instance, None))),
            Some(_) | None => Ok(Observation::Differs(changes)),
        }
    }

    /// In a task of its own: an attempt that is given up half-way is still brought to an end, with
    /// the release before in its place.
    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        carried("the deploy", with, cx, |with, cx| async move { alone(&with, &cx).await }).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        let root = Root(record.root.clone());
        if !root.0.exists() {
            return Ok(());
        }
        let _locked = root.lock(cx).await?;
        take_back(&record, &root, cx).await
    }
}

fn root(with: &With, cx: &ReadCx) -> Root {
    Root(with.root.as_ref().map_or_else(|| default_root(&cx.state, &cx.project, &cx.environment, &with.name), |root| cx.path(root)))
}

fn sources(with: &With, cx: &ReadCx) -> Vec<(String, PathBuf)> {
    with.files.iter().map(|(name, path)| (name.trim_end_matches('/').to_owned(), cx.path(path))).collect()
}

/// Whether this is the release that the step left, where drift is looked for: what it was made of says its record.
fn is_left(there: &Release, cx: &ReadCx) -> bool {
    cx.left.as_ref().is_some_and(|left| left["digest"].as_str() == Some(digest(there).as_str()))
}

/// The digest over the names, contents and modes of a release's files.
fn digest(release: &Release) -> String {
    hash::json(&release.files).unwrap_or_default()
}

/// The release as `with` says it, with the files as they are now.
async fn wanted(with: &With, cx: &ReadCx) -> Result<Release, KindError> {
    let sources = sources(with, cx);
    let digests = tokio::task::spawn_blocking(move || digest_sources(&sources));
    Ok(asked(with, digests.await.map_err(|e| KindError::new(e.to_string()))??, cx))
}

/// The release as `with` says it, of these files.
fn asked(with: &With, files: BTreeMap<String, String>, cx: &ReadCx) -> Release {
    let base = cx.env.iter().filter(|(name, _)| !name.starts_with("TREES_")).cloned().collect();
    Release {
        release: with.release.clone(),
        folder: with.release.clone(),
        project: cx.project.clone(),
        environment: cx.environment.clone(),
        name: with.name.clone(),
        files,
        start: Start { command: with.command.clone(), env: with.env.clone(), base },
        host: with.host.clone(),
        port: with.port.map(|port| port.0),
        health: with.health.clone(),
        health_timeout: with.health_timeout.0,
        drain: with.drain.0,
        trial: with.trial,
    }
}

fn out(release: &Release, instance: &Instance, previous: Option<String>) -> Out {
    let pid = instance.status().and_then(|s| s.child).map_or(0, |child| child.pid);
    let url = release.port.map_or_else(String::new, |port| format!("http://{}:{port}", release.host));
    let digest = digest(release);
    Out { release: release.release.clone(), pid, url, digest, changed: previous.is_some(), previous: previous.unwrap_or_default() }
}

/// What an ended deploy left, ended: trials, and instances that no release answers for.
async fn settle(root: &Root, folder: &str) -> Result<(), KindError> {
    let current = root.current();
    let stray = |i: &Instance| {
        i.spec.role == Role::Trial || (Some(&i.spec.folder) != current.as_ref() && i.spec.folder != folder) || !i.supervised()
    };
    for instance in root.instances() {
        // Its supervisor may be starting at this moment: a deploy that was killed had just called for it.
        if !instance.given_up()? && instance.lives() && stray(&instance) {
            instance.stop().await?;
        }
    }
    Ok(())
}

/// Deploys under the deployment's lock.
pub(super) async fn alone(with: &With, cx: &Cx) -> Result<Out, KindError> {
    let root = root(with, cx);
    let fresh = !root.0.exists();
    let _locked = root.lock(cx).await?;
    let done = deploy(with, cx, &root).await;
    if done.is_err() && fresh && root.current().is_none() {
        root.clear();
    }
    done
}

async fn deploy(with: &With, cx: &Cx, root: &Root) -> Result<Out, KindError> {
    if let Observation::Satisfied(out) = Process::observe(with, cx).await? {
        return Ok(out);
    }
    let mut release = wanted(with, cx).await?;
    release.folder = root.place(&release, &cx.secrets)?;
    let previous = root.current();
    let link = with.root.as_ref().map(|_| default_root(&cx.state, &cx.project, &cx.environment, &with.name));
    let staged = root.outside(&release.folder).is_none();
    cx.intend(Record { root: root.0.clone(), folder: release.folder.clone(), previous: previous.clone(), staged, link: link.clone() })
        .await?;
    if let Some(link) = &link {
        make_link(link, &root.0)?;
    }
    settle(root, &release.folder).await?;
    let (place, record, files, keeper) = (root.clone(), release.clone(), sources(with, cx), Arc::clone(&cx.keeper));
    let old = previous.as_ref().and_then(|folder| root.live(folder));
    if previous.as_ref() == Some(&release.folder) && digests(&root.folder(&release.folder), release.files.keys()) != release.files {
        cx.log("the files of the release were changed by hand: they are put right");
    }
    tokio::task::spawn_blocking(move || place.stage(&record, &files, &*keeper)).await.map_err(|e| KindError::new(e.to_string()))??;
    let before = previous.as_ref().and_then(|folder| root.outside(folder)).map(|r| r.release).unwrap_or_default();
    let instance = match rollout(root, &release, old, cx).await {
        Ok(instance) => instance,
        Err(wrong) => {
            if staged && previous.as_ref() != Some(&release.folder) {
                root.forget(&release.folder);
            }
            return Err(wrong);
        }
    };
    let kept: Vec<&str> = previous.as_deref().into_iter().filter(|p| *p != release.folder).chain([release.folder.as_str()]).collect();
    root.prune(with.keep, &kept);
    cx.log(format!("release {} serves", release.release));
    Ok(out(&release, &instance, Some(before)))
}

fn make_link(link: &Path, root: &Path) -> Result<(), KindError> {
    if fs::read_link(link).is_ok_and(|there| there == root) || link == root {
        return Ok(());
    }
    let _ = fs::remove_file(link);
    link.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| std::os::unix::fs::symlink(root, link))
        .map_err(|e| KindError::new(format!("cannot make `{}`: {e}", link.display())))
}

async fn take_back(record: &Record, root: &Root, cx: &Cx) -> Result<(), KindError> {
    let current = root.current();
    let theirs = current.as_ref().is_some_and(|now| *now != record.folder && Some(now) != record.previous.as_ref());
    if theirs || record.previous.as_ref() == Some(&record.folder) {
        cx.log("nothing to take back: another release was deployed since, or the same one was started again");
        return Ok(());
    }
    let Some(previous) = &record.previous else {
        end_all(root).await?;
        root.unset();
        if record.staged {
            root.forget(&record.folder);
        }
        root.clear();
        if let Some(link) = record.link.as_ref().filter(|link| link.is_symlink()) {
            let _ = fs::remove_file(link);
        }
        return Ok(());
    };
    let there = root.release(previous, &cx.secrets)?;
    let release = there.ok_or_else(|| KindError::new(format!("release `{previous}` is not in `{}` any more", root.0.display())))?;
    settle(root, &record.folder).await?;
    let ours = root.live(&record.folder);
    let serves = root.live(previous).is_some_and(|i| i.alive());
    if !serves || ours.is_some() || current.as_ref() != Some(previous) {
        rollout(root, &release, ours, cx).await?;
    }
    if record.staged {
        root.forget(&record.folder);
    }
    Ok(())
}
