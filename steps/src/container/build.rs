//! `container/build`: an image from a folder with a Dockerfile.

use super::context::Context;
use super::engine::{Ask, Engine, Reader};
use super::image::{Image, image, images};
use super::reference::Reference;
use super::{INPUTS, OWNER, change, labelled, mark};
use crate::period::{Limit, Period};
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Component, Path};
use trees_core::event::Json;
use trees_core::hash;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `container/build`.
pub struct Build;

/// What `container/build` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The folder that is sent to the engine, relative to the working folder.
    #[serde(default = "here")]
    pub context: String,
    /// The Dockerfile, from the top of `context`.
    #[serde(default = "dockerfile")]
    pub file: String,
    /// Names for the image: `name:tag`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Values for `ARG`. They stand in the image's history: no secrets.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// The stage to build; without, the last.
    #[serde(default)]
    pub target: Option<String>,
    /// Labels of the image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Ask the registry for newer base images. Builds each time: what has changed there is not known before.
    #[serde(default)]
    pub pull: bool,
    /// The engine: the path of its socket, `unix://…` or `tcp://…`; without, `DOCKER_HOST`, Docker's socket, Podman's of the user.
    #[serde(default)]
    pub socket: Option<String>,
    /// For the whole build.
    #[serde(default = "half_an_hour", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

fn here() -> String {
    ".".into()
}

fn dockerfile() -> String {
    "Dockerfile".into()
}

fn half_an_hour() -> Period {
    Period::seconds(1800)
}

/// What `container/build` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The image's id: `sha256:…`. `container/run` takes it as a pinned image.
    pub image: String,
    /// Its names, as given.
    pub tags: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Whether something was done.
    pub changed: bool,
}

/// How a build is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The engine.
    socket: String,
    /// The digest of what the image is built from.
    inputs: String,
    /// Images of the same inputs that were there.
    existing: Vec<String>,
    /// Which image each tag named; none: no image.
    tags: BTreeMap<String, Option<String>>,
}

impl Kind for Build {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "container/build",
        summary: "Build an image from a folder with a Dockerfile",
        doc: include_str!("build.md"),
        example: "tree: image\nsteps:\n  image:\n    uses: container/build\n    with:\n      context: app\n      tags: [\"example/app:1.2.0\"]\n      \
                  args: { VERSION: 1.2.0 }\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &["context"],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong = Vec::new();
        let inside =
            |path: &str| !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside(&with.file) {
            wrong.push(format!("file: `{}` is not in the context", with.file));
        }
        for tag in &with.tags {
            match Reference::read(tag) {
                Some(name) if name.digest.is_some() => wrong.push(format!("tags: `{tag}` has a digest; a tag is `name:tag`")),
                Some(name) if name.tag.is_none() => {
                    wrong.push(format!("tags: `{tag}` has no tag; write `{tag}:1.0` or whatever it shall be"))
                }
                Some(_) => {}
                None => wrong.push(format!("tags: `{tag}` is no image's name")),
            }
        }
        let own = with.labels.keys().filter(|name| name.starts_with("trees."));
        wrong.extend(own.map(|name| format!("labels: `{name}` is one that trees sets itself")));
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        if with.pull {
            return Ok(Observation::Unknown("`pull: true`: whether a base image has changed is known only by pulling it".into()));
        }
        let inputs = inputs(with, &listed(with, cx).await?, cx)?;
        let reader = Reader::connect(with.socket.as_deref(), cx).await?;
        look(with, &inputs, &reader).await
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        if let Some((name, _)) = with.args.iter().find(|(_, value)| cx.mask.finds(value)) {
            return Err(KindError::new(format!("args: `{name}` is a secret, and whoever has the image can read its args"))
                .help("leave it out of the image: give it to the container at run time, or copy in what was made with it"));
        }
        let context = listed(with, cx).await?;
        let inputs = inputs(with, &context, cx)?;
        let engine = Engine::connect(with.socket.as_deref(), cx).await?;
        if let (Observation::Satisfied(out), false) = (look(with, &inputs, engine.reader()).await?, with.pull) {
            return Ok(out);
        }
        let existing = images(engine.reader(), &labelled(&[(INPUTS, &inputs)])).await?;
        let mut tags = BTreeMap::new();
        for tag in &with.tags {
            tags.insert(tag.clone(), image(engine.reader(), tag).await?.map(|image| image.id));
        }
        cx.intend(Record { socket: engine.place().to_owned(), inputs: inputs.clone(), existing: existing.clone(), tags }).await?;
        let id = match existing.first() {
            Some(there) if !with.pull => there.clone(),
            Some(_) | None => build(with, context, &inputs, &engine, cx).await?,
        };
        let made =
            image(engine.reader(), &id).await?.ok_or_else(|| KindError::new(format!("the engine has built {id} and does not have it")))?;
        for tag in &with.tags {
            name(&made.id, tag, &engine).await?;
        }
        Ok(Out { image: made.id, tags: with.tags.clone(), size: made.size, changed: true })
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        let engine = Engine::connect(Some(&record.socket), cx).await?;
        for (tag, before) in &record.tags {
            tag_back(tag, before.as_deref(), &record, &engine, cx).await?;
        }
        for id in images(engine.reader(), &labelled(&[(INPUTS, &record.inputs)])).await? {
            if !record.existing.contains(&id) {
                remove(&id, &engine, cx).await?;
            }
        }
        Ok(())
    }
}

async fn listed(with: &With, cx: &ReadCx) -> Result<Context, KindError> {
    let (folder, file) = (cx.path(&with.context), with.file.clone());
    tokio::task::spawn_blocking(move || Context::list(&folder, &file)).await.map_err(|e| KindError::new(e.to_string()))?
}

/// The digest of all that decides what the image is.
fn inputs(with: &With, context: &Context, cx: &ReadCx) -> Result<String, KindError> {
    hash::json(&(context.digest(), &with.file, &with.args, &with.target, &with.labels, mark(cx))).map_err(|e| KindError::new(e.to_string()))
}

async fn look(with: &With, inputs: &str, reader: &Reader) -> Result<Observation<Out>, KindError> {
    let built = images(reader, &labelled(&[(INPUTS, inputs)])).await?;
    let mut changes: Vec<Change> = Vec::new();
    let mut found: Vec<Image> = Vec::new();
    for tag in &with.tags {
        let there = image(reader, tag).await?;
        match there {
            Some(image) if built.contains(&image.id) && found.iter().all(|other| other.id == image.id) => found.push(image),
            other => {
                let owner = other.as_ref().and_then(|image| image.labels.get(OWNER).cloned());
                let new = built.first().map_or_else(|| "to be built".into(), Clone::clone);
                changes.push(Change { owner, ..change(format!("tags.{tag}"), json!(other.map(|image| image.id)), json!(new)) });
            }
        }
    }
    if with.tags.is_empty()
        && let Some(id) = built.first()
        && let Some(there) = image(reader, id).await?
    {
        found.push(there);
    }
    let nothing = built.is_empty() && changes.iter().all(|change| change.old.is_null());
    Ok(match found.into_iter().next() {
        Some(image) if changes.is_empty() => {
            Observation::Satisfied(Out { image: image.id, tags: with.tags.clone(), size: image.size, changed: false })
        }
        Some(_) | None if nothing => Observation::Absent,
        Some(_) | None => Observation::Differs(changes),
    })
}

/// Sends the context; gives the id of the image.
async fn build(with: &With, context: Context, inputs: &str, engine: &Engine, cx: &Cx) -> Result<String, KindError> {
    let mut labels = with.labels.clone();
    labels.extend([(OWNER.to_owned(), mark(cx)), (INPUTS.to_owned(), inputs.to_owned())]);
    let ask = Ask::new(Method::POST, "build")
        .with("dockerfile", &with.file)
        .with("buildargs", json!(with.args).to_string())
        .with("labels", json!(labels).to_string())
        .with("target", with.target.clone().unwrap_or_default())
        .with("pull", if with.pull { "1" } else { "0" })
        .with("rm", "1")
        .with("forcerm", "1")
        .header("Content-Type", "application/x-tar".into())
        .within(with.timeout.0);
    cx.log(format!("sending {} files to {}", context.files(), engine.place()));
    cx.progress(None, "building the image");
    let mut id = None;
    let heard = |line: &Json| {
        if let Some(text) = line["stream"].as_str().or(line["status"].as_str()).map(str::trim_end).filter(|text| !text.is_empty()) {
            text.lines().for_each(|line| cx.log(line));
            let said = text.strip_prefix("Successfully built ").map(|short| short.trim().to_owned());
            id = said.filter(|_| id.is_none()).or(id.take());
        }
        if let Some(whole) = line["aux"]["ID"].as_str() {
            id = Some(whole.to_owned());
        }
    };
    engine
        .listen(ask, Some(context.archive()), heard)
        .await
        .map_err(|e| KindError { message: format!("the image was not built: {}", e.message), ..e })?;
    id.ok_or_else(|| KindError::new("the engine built without saying what"))
}

/// Gives an image a name.
async fn name(id: &str, tag: &str, engine: &Engine) -> Result<(), KindError> {
    let name = Reference::read(tag).ok_or_else(|| KindError::new(format!("`{tag}` is no image's name")))?;
    let ask = Ask::new(Method::POST, format!("images/{id}/tag")).with("repo", name.name).with("tag", name.tag.unwrap_or("latest"));
    engine.act(ask, &[]).await.map(|_| ())
}

/// Lets a tag name what it named before, if it still names an image of these inputs.
async fn tag_back(tag: &str, before: Option<&str>, record: &Record, engine: &Engine, cx: &Cx) -> Result<(), KindError> {
    let Some(now) = image(engine.reader(), tag).await? else { return Ok(()) };
    if Some(now.id.as_str()) == before {
        return Ok(());
    }
    if now.labels.get(INPUTS) != Some(&record.inputs) {
        cx.log(format!("{tag} names another image by now and is left alone"));
        return Ok(());
    }
    match before {
        None => engine.act(Ask::new(Method::DELETE, format!("images/{tag}")), &[404]).await.map(|_| ()),
        Some(before) if image(engine.reader(), before).await?.is_some() => name(before, tag, engine).await,
        Some(before) => {
            cx.log(format!("{tag} stays: the image that it named before, {before}, is gone"));
            Ok(())
        }
    }
}

/// Removes an image that has no name and that no container uses.
async fn remove(id: &str, engine: &Engine, cx: &Cx) -> Result<(), KindError> {
    let Some(image) = image(engine.reader(), id).await? else { return Ok(()) };
    if !image.tags.is_empty() {
        cx.log(format!("the image {id} stays: it is {}", image.tags.join(", ")));
        return Ok(());
    }
    let answer = engine.act(Ask::new(Method::DELETE, format!("images/{id}")), &[404, 409]).await?;
    if answer.status == 409 {
        cx.log(format!("the image {id} stays: it is in use"));
    }
    Ok(())
}
