//! `container/run`: a container that runs, with the one before it put aside.

use super::engine::Reader;
use super::image::{Image, image};
use super::instance::{Container, containers};
use super::reference::Reference;
use super::rollout::{self, Record, probe};
use super::spec::{Publish, differences, restart};
use super::{NAME, OWNER, change, labelled, mark};
use crate::number::Port;
use crate::period::{Limit, Period};
use crate::whole::carried;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `container/run`.
pub struct Run;

/// What `container/run` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// What runs; the container is called `<name>-<release>`.
    pub name: String,
    /// The image: `name:tag`, `name@sha256:…`, or the id that `container/build` returns.
    pub image: String,
    /// Take an image without a tag, or `latest`, which may be another one tomorrow.
    #[serde(default)]
    pub unpinned: bool,
    /// When the image is fetched.
    #[serde(default)]
    pub pull: Pull,
    /// Who asks the registry.
    #[serde(default)]
    pub registry: Option<Registry>,
    /// A word for this version in the container's name; without, the image's tag or the beginning of its digest.
    #[serde(default)]
    pub release: Option<String>,
    /// What is run; without, the image's own.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Environment variables on top of the image's. Secrets are fine.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Ports to publish: `80`, `8080:80`, `0.0.0.0:8080:80`, `/udp` behind it. Without an address on 127.0.0.1, without a port of this machine on a free one.
    #[serde(default)]
    pub ports: Vec<String>,
    /// `source:/target` or `source:/target:ro`; a source that begins with `.` is a folder of the working folder.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// `host`, `none`, or the name of one of the engine's networks, where it is known as `name`.
    #[serde(default)]
    pub network: Option<String>,
    /// `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
    #[serde(default = "unless_stopped")]
    pub restart: String,
    /// Labels of the container.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it is well; without, when the image's own HEALTHCHECK says so, or it has run for a second.
    #[serde(default)]
    pub health: Option<Health>,
    /// Start it beside the one before, or stop that first; without, `stop_first` where a port of this machine is fixed or `network` is `host`.
    #[serde(default)]
    pub replace: Option<Replace>,
    /// What the container before gets to finish its work, before it is killed.
    #[serde(default = "crate::default::ten_seconds")]
    pub drain: Period,
    /// So many stopped containers before it are kept, to go back to.
    #[serde(default = "one")]
    pub keep: usize,
    /// The engine: the path of its socket, `unix://…` or `tcp://…`; without, `DOCKER_HOST`, Docker's socket, Podman's of the user.
    #[serde(default)]
    pub socket: Option<String>,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Pull {
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Before each container that is made.
    Always,
    /// Never.
    Never,
}

/// How the container before is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Replace {
    /// It is stopped when the new one is well.
    Beside,
    /// It is stopped before the new one is started.
    StopFirst,
}

/// Who asks a registry.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Registry {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

/// When a container is well.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Health {
    /// The port that is asked, as the container knows it.
    pub port: Port,
    /// A path that answers 2xx; without, a connection is enough.
    #[serde(default)]
    pub path: Option<String>,
    /// So many good answers in a row.
    #[serde(default = "two")]
    pub ok_in_row: u32,
    /// The pause between two.
    #[serde(default = "fifth_of_a_second")]
    pub every: Period,
    /// By when the first good answer of the row must have come.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub first_ok_within: Period,
    /// How long the row must last.
    #[serde(default = "crate::default::at_once")]
    pub stable_for: Period,
}

fn unless_stopped() -> String {
    "unless-stopped".into()
}

fn fifth_of_a_second() -> Period {
    Period::millis(200)
}

fn one() -> usize {
    1
}

fn two() -> u32 {
    2
}

/// What `container/run` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The container's name.
    pub container: String,
    /// Its id.
    pub id: String,
    /// The id of its image.
    pub image: String,
    /// The container before it; empty where there was none, or nothing changed.
    pub previous: String,
    /// Where the port of `health`, or the first of `ports`, is reached from this machine: `address:port`.
    pub address: String,
    /// Each published port (`80/tcp`) and where it is reached.
    pub ports: BTreeMap<String, String>,
    /// Whether something was done.
    pub changed: bool,
}

impl Kind for Run {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "container/run",
        summary: "Run a container and put the one before it aside",
        doc: include_str!("run.md"),
        example: "tree: serve\nsteps:\n  web:\n    uses: container/run\n    with:\n      name: web\n      image: example/app:1.2.0\n      \
                  ports: [\"8080:80\"]\n      env: { MODE: production }\n      health: { port: 80, path: /healthz }\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: true,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong = wrong_image(with);
        let word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        };
        if !word(&with.name) {
            wrong.push(format!("name: `{}` cannot be a container's name: use letters, digits, `.`, `_` and `-`", with.name));
        }
        if let Some(release) = with.release.as_ref().filter(|release| !word(release)) {
            wrong.push(format!("release: `{release}` cannot stand in a container's name: use letters, digits, `.`, `_` and `-`"));
        }
        let ports = with.ports.iter().filter(|text| Publish::read(text).is_none());
        wrong.extend(ports.map(|text| format!("ports: `{text}` is no port: write 80, 8080:80 or 0.0.0.0:8080:80")));
        let volumes = with.volumes.iter().filter(|text| text.split(':').nth(1).is_none_or(|target| !target.starts_with('/')));
        wrong.extend(volumes.map(|text| format!("volumes: `{text}` has no whole path in the container: write source:/target")));
        if restart(&with.restart).is_none() {
            wrong.push(format!("restart: `{}` is none of no, always, unless-stopped, on-failure, on-failure:N", with.restart));
        }
        let names = with.env.keys().filter(|name| name.is_empty() || name.contains(['=', '\0']));
        wrong.extend(names.map(|name| format!("env: `{name}` is no variable's name")));
        let own = with.labels.keys().filter(|name| name.starts_with("trees."));
        wrong.extend(own.map(|name| format!("labels: `{name}` is one that trees sets itself")));
        if with.health.as_ref().and_then(|health| health.path.as_ref()).is_some_and(|path| !path.starts_with('/')) {
            wrong.push("health: a path begins with `/`".into());
        }
        if with.keep == 0 {
            wrong.push("keep: at least 1".into());
        }
        if with.network.is_some() && with.network.as_deref() == Some("host") && !with.ports.is_empty() {
            wrong.push("ports: with `network: host` there is nothing to publish".into());
        }
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let reader = Reader::connect(with.socket.as_deref(), cx).await?;
        look(with, &reader, cx).await
    }

    /// In a task of its own: an attempt that is given up half-way is still brought to an end, with
    /// the container before in its place.
    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        carried("the deploy", with, cx, |with, cx| async move { rollout::apply(&with, &cx).await }).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        rollout::undo(&record, cx).await
    }
}

fn wrong_image(with: &With) -> Vec<String> {
    match Reference::read(&with.image) {
        None => vec![format!("image: `{}` is no image's name", with.image)],
        Some(name) if !name.is_pinned() && !with.unpinned => {
            vec![format!("image: `{}` may be another image tomorrow; give it a tag or a digest, or write `unpinned: true`", with.image)]
        }
        Some(_) => Vec::new(),
    }
}

/// The containers of this name, the newest first.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn all(with: &With, reader: &Reader, cx: &ReadCx) -> Result<Vec<Container>, KindError> {
    containers(reader, &labelled(&[(OWNER, &mark(cx)), (NAME, &with.name)])).await
}

/// How it is, against how it shall be.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn look(with: &With, reader: &Reader, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
    let image = image(reader, &with.image).await?;
    let all = all(with, reader, cx).await?;
    let Some(there) = all.iter().find(|found| found.runs()).or(all.first()) else { return Ok(Observation::Absent) };
    let changes = changes(with, there, &all, image.as_ref(), cx).await;
    Ok(if changes.is_empty() { Observation::Satisfied(out(with, there, None)) } else { Observation::Differs(changes) })
}

async fn changes(with: &With, there: &Container, all: &[Container], image: Option<&Image>, cx: &ReadCx) -> Vec<Change> {
    let mut changes = differences(with, there, image, cx);
    if !there.runs() {
        changes.push(change("state", json!(there.state()), json!("running")));
    }
    let beside: Vec<&str> = all.iter().filter(|found| found.runs() && found.id != there.id).map(|found| found.name.as_str()).collect();
    if !beside.is_empty() {
        changes.push(change("beside", json!(beside), json!([])));
    }
    // What the image's own HEALTHCHECK has not yet looked at is no difference.
    let starting = with.health.is_none() && there.json["State"]["Health"]["Status"] == "starting";
    if changes.is_empty() && !starting {
        let answer = probe(there, with.health.as_ref(), cx).await;
        if answer.good.is_none() {
            changes.push(change("health", json!(answer.text), json!("well")));
        }
    }
    changes
}

/// The outputs for a container.
pub fn out(with: &With, there: &Container, previous: Option<String>) -> Out {
    let first = || with.ports.first().and_then(|text| Publish::read(text)).map(|publish| publish.container);
    let port = with.health.as_ref().map(|health| health.port.0).or_else(first);
    Out {
        container: there.name.clone(),
        id: there.id.clone(),
        image: there.json["Image"].as_str().unwrap_or_default().to_owned(),
        address: port.and_then(|port| there.address(port)).unwrap_or_default(),
        ports: there.ports(),
        changed: previous.is_some(),
        previous: previous.unwrap_or_default(),
    }
}
