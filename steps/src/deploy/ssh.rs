//! `deploy/ssh`: what [`deploy/process`](super::process) does, on other machines, over the system's own `ssh`.
//!
//! Read `fleet` first: all hosts of a step. Then `deployment`: one of them. What runs there is fixed text
//! (`script`), what reaches it is a `connection`, what writes there is a `hand`.

mod access;
mod connection;
mod deployment;
mod destination;
mod fleet;
mod hand;
mod health;
mod host;
mod hostkey;
mod look;
mod package;
mod rollout;
mod script;
mod wave;

#[cfg(test)]
mod tests;

pub use access::{Access, Setting};
pub use wave::Wave;

use super::asked::Asked;
use super::record::{Release, Start};
use super::root::list_sources;
use crate::number::Port;
use crate::period::{Limit, Period};
use crate::whole::carried;
use deployment::{Record, take_back};
use destination::Destination;
use hand::{Hand, holder};
use look::{Seen, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use trees_core::event::Json;
use trees_core::path::encode;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `deploy/ssh`.
pub struct Ssh;

/// What `deploy/ssh` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Where to: `user@host`, `host:port`, or names of your ssh configuration.
    pub hosts: Vec<String>,
    /// How many hosts at once: a number, or a part of them such as `25%`.
    #[serde(default = "one")]
    pub wave: Wave,
    /// What is deployed; one name is one deployment of the project and environment.
    pub name: String,
    /// Which release: letters, digits, `.`, `_`, `-`.
    pub release: String,
    /// Program and arguments; a program that begins with `./` is one of `files`.
    pub command: Vec<String>,
    /// Name in the release, and the file or folder here (relative to the working folder) that is copied there.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Environment variables of the process.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it listens.
    #[serde(default)]
    pub port: Option<Port>,
    /// The address it listens on there.
    #[serde(default = "crate::default::loopback")]
    pub host: String,
    /// A path that answers 2xx when the process is well, asked on the host itself; without, a connection to the port is enough.
    #[serde(default)]
    pub health: Option<String>,
    /// By when it must be well.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub health_timeout: Period,
    /// What a process that is replaced gets to finish its work, before it is killed.
    #[serde(default = "crate::default::ten_seconds")]
    pub drain: Period,
    /// So many releases are kept on each host.
    #[serde(default = "crate::default::five")]
    pub keep: usize,
    /// The deployment's folder there, absolute or beginning with `~/`; without, `~/.trees/deploy/<project>/<environment>/<name>`.
    #[serde(default)]
    pub root: Option<String>,
    /// Try the release on a spare port before the one before it is stopped.
    #[serde(default = "crate::default::yes")]
    pub trial: bool,
    /// What keeps the process running there.
    #[serde(default)]
    pub supervise: Supervise,
    /// How the hosts are reached.
    #[serde(default)]
    pub ssh: Access,
}

/// What keeps a process running on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Supervise {
    /// The user's systemd where it works and stays without a session, else a plain one.
    #[default]
    Auto,
    /// A unit of the user's systemd.
    Systemd,
    /// A small supervisor of its own, which needs only a shell.
    Plain,
}

fn one() -> Wave {
    Wave::Hosts(1)
}

/// What `deploy/ssh` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The release that serves.
    pub release: String,
    /// Each host: `host`, `pid`, `url`, `previous`, `changed`.
    pub hosts: Vec<On>,
    /// Whether something was done on one of them.
    pub changed: bool,
}

/// The release on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct On {
    /// The host, as the tree calls it.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// Where it answers; empty without a port.
    pub url: String,
    /// The release before it; empty where there was none, or nothing changed.
    pub previous: String,
    /// Whether something was done there.
    pub changed: bool,
}

/// A deploy with all that is known of it before a host is reached.
struct Job {
    with: With,
    access: Access,
    root: String,
    sources: Vec<(String, PathBuf)>,
    files: BTreeMap<String, PathBuf>,
    release: Release,
}

impl Kind for Ssh {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "deploy/ssh",
        summary: "Deploy a program to other machines over ssh",
        doc: include_str!("ssh.md"),
        example: "tree: serve\nsteps:\n  site:\n    uses: deploy/ssh\n    with:\n      hosts: [deploy@web1.example.org, \"deploy@web2.example.org:2222\"]\n      \
                  name: site\n      release: v1\n      command: [python3, -m, http.server, \"{port}\", --bind, 127.0.0.1, --directory, public]\n      \
                  files: { public: site }\n      port: 8080\n      health: /\n",
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
        let mut wrong = asked.wrong();
        wrong.extend(hosts_wrong(&with.hosts));
        wrong.extend(with.ssh.wrong());
        wrong.extend(values_wrong(with));
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        fleet::observe(Arc::new(Job::new(with, cx).await?), cx).await
    }

    /// In a task of its own: an attempt that is given up half-way is still brought to an end, with
    /// the releases before in their places.
    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        carried("the deploy", with, cx, |with, cx| async move { alone(&with, &cx).await }).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        undo(&record, cx).await.map_err(|e| {
            let message = format!("release {} was not taken back there: {}", record.folder, fleet::named(&record.host, &e.message));
            KindError { message, ..e }.apart()
        })
    }
}

/// Takes back what was done on one host; nothing there is of concern to another.
async fn undo(record: &Record, cx: &Cx) -> Result<(), KindError> {
    for host in fleet::connect(std::slice::from_ref(&record.host), &record.root, &record.access, cx).await? {
        if host.look(cx).await?.exists() {
            let hand = Hand::take(host.clone(), &holder(cx), cx).await?;
            let done = take_back(&hand, record, cx).await;
            hand.release().await;
            done?;
        }
    }
    Ok(())
}

async fn alone(with: &With, cx: &Cx) -> Result<Out, KindError> {
    fleet::apply(Arc::new(Job::new(with, cx).await?), cx).await
}

impl Job {
    async fn new(with: &With, cx: &ReadCx) -> Result<Self, KindError> {
        let sources: Vec<(String, PathBuf)> =
            with.files.iter().map(|(name, path)| (name.trim_end_matches('/').to_owned(), cx.path(path))).collect();
        let list = sources.clone();
        let files = tokio::task::spawn_blocking(move || list_sources(&list)).await.map_err(|e| KindError::new(e.to_string()))??;
        if let Some(name) = files.keys().find(|name| name.contains(|c: char| c.is_control() || c == '\\')) {
            return Err(KindError::new(format!("files: {name:?} cannot be sent: its name has a backslash or a control character")));
        }
        let environment = if cx.environment.is_empty() { "default" } else { &cx.environment };
        let root = with.root.as_ref().map_or_else(
            || format!("~/.trees/deploy/{}/{}/{}", encode(&cx.project), encode(environment), encode(&with.name)),
            |root| root.trim_end_matches('/').to_owned(),
        );
        let release = Release {
            release: with.release.clone(),
            folder: with.release.clone(),
            project: cx.project.clone(),
            environment: cx.environment.clone(),
            name: with.name.clone(),
            files: BTreeMap::new(),
            start: Start { command: with.command.clone(), env: with.env.clone(), base: BTreeMap::new() },
            host: with.host.clone(),
            port: with.port.map(|port| port.0),
            health: with.health.clone(),
            health_timeout: with.health_timeout.0,
            drain: with.drain.0,
            trial: with.trial,
        };
        Ok(Self { with: with.clone(), access: with.ssh.absolute(cx), root, sources, files, release })
    }

    /// The release as `with` says it, its files as a host tells them.
    async fn wanted(&self, tool: Tool) -> Result<Release, KindError> {
        let files = self.files.clone();
        let digests = tokio::task::spawn_blocking(move || package::digests(&files, tool)).await;
        Ok(Release { files: digests.map_err(|e| KindError::new(e.to_string()))??, ..self.release.clone() })
    }

    /// The bytes of all files.
    async fn size(&self) -> Result<u64, KindError> {
        let files = self.files.clone();
        let sum = move || files.values().map(|path| std::fs::metadata(path).map_or(0, |meta| meta.len())).sum();
        tokio::task::spawn_blocking(sum).await.map_err(|e| KindError::new(e.to_string()))
    }

    /// Whether the user's systemd supervises on this host.
    fn systemd(&self, seen: &Seen) -> bool {
        match self.with.supervise {
            Supervise::Auto => seen.systemd,
            Supervise::Systemd => true,
            Supervise::Plain => false,
        }
    }
}

fn hosts_wrong(hosts: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    if hosts.is_empty() {
        wrong.push("hosts: at least one".into());
    }
    wrong.extend(hosts.iter().filter_map(|host| Destination::read(host).err()));
    let twice = |(n, host): (usize, &String)| hosts[..n].contains(host).then(|| format!("hosts: `{host}` is named twice"));
    wrong.extend(hosts.iter().enumerate().filter_map(twice));
    wrong
}

/// Names that a shell keeps for itself, or that the supervisor uses.
const KEPT: &[&str] = &["UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO", "_"];

fn values_wrong(with: &With) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_name = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    };
    for name in with.env.keys() {
        if !is_name(name) {
            wrong.push(format!("env: `{name}` is no name: use letters, digits and `_`"));
        } else if KEPT.contains(&name.as_str()) || name.starts_with("_trees_") {
            wrong.push(format!("env: `{name}` cannot be set: the shell there keeps it for itself"));
        }
    }
    wrong.extend(
        with.env.iter().filter(|(_, value)| value.contains('\0')).map(|(name, _)| format!("env.{name}: a value cannot hold the byte 0")),
    );
    if with.command.iter().any(|word| word.contains('\0')) {
        wrong.push("command: a word cannot hold the byte 0".into());
    }
    if let Some(root) = &with.root {
        let is_folder = root.starts_with('/') || root.starts_with("~/");
        let is_deep = !root.trim_start_matches('~').trim_matches('/').is_empty();
        if !is_folder || !is_deep || root.contains(|c: char| c.is_control()) || root.split('/').any(|part| part == "..") {
            wrong.push(format!("root: `{}` is no folder there: write a path that begins with `/` or `~/`", root.escape_debug()));
        }
    }
    if with.host.is_empty() || with.host.contains(|c: char| c.is_control() || c.is_whitespace()) || with.host.starts_with('-') {
        wrong.push("host: write an address, such as `127.0.0.1` or `0.0.0.0`".into());
    }
    if with.health.as_ref().is_some_and(|path| path.contains(|c: char| c.is_control() || c.is_whitespace())) {
        wrong.push("health: a path has no spaces: write `%20`".into());
    }
    wrong
}
