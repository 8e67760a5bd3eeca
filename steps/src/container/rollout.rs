//! From one container to the next: made and started beside the one before or in its place, asked, and
//! the one before kept stopped; and back.

use super::engine::{Ask, Engine};
use super::image::{image, texts};
use super::instance::{Container, container, containers};
use super::reference::Reference;
use super::run::{Health, Out, Pull, Replace, With, all, look, out};
use super::spec::{Publish, body, policy};
use super::{KEY, NAME, OWNER, RESTART, labelled, mark};
use crate::http::check::healthy;
use crate::lock::{Locked, lock};
use crate::tcp::check::connect;
use crate::window::{Probe, Window};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trees_core::hash;
use trees_runner::kind::{Cx, KindError, Observation, ReadCx};

/// A container that was started again so often while it is asked is given up.
const RESTARTS: u64 = 3;
/// An image may be large and a line slow.
const PULL: Duration = Duration::from_secs(3600);
/// Another step that works on the same container is waited for so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// How a container is taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The engine.
    socket: String,
    /// Whose it is.
    owner: String,
    /// What runs.
    name: String,
    /// The label by which the container of this step is known.
    key: String,
    /// The containers that ran before.
    old: Vec<String>,
    /// They go on until the new one is well.
    beside: bool,
    /// When they are well.
    health: Option<Health>,
}

/// Makes it run.
///
/// # Errors
/// When the engine refuses, or it is not well; what ran before runs then.
pub async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
    let engine = Engine::connect(with.socket.as_deref(), cx).await?;
    fetch(with, &engine, cx).await?;
    // An attempt that was given up is still brought to an end: its retry waits for it.
    let _locked = only(engine.place(), &mark(cx), &with.name, cx).await?;
    if let Observation::Satisfied(out) = look(with, engine.reader(), cx).await? {
        return Ok(out);
    }
    let all = all(with, engine.reader(), cx).await?;
    let ours = all.iter().find(|found| found.label(KEY) == cx.idempotency_key);
    let others = || all.iter().filter(|found| found.label(KEY) != cx.idempotency_key);
    let mut old: Vec<Container> = others().filter(|found| found.runs()).cloned().collect();
    if old.is_empty() && ours.is_some() {
        // An attempt that died may have stopped it already.
        old.extend(others().next().cloned());
    }
    let record = Record {
        socket: engine.place().to_owned(),
        owner: mark(cx),
        name: with.name.clone(),
        key: cx.idempotency_key.clone(),
        old: old.iter().map(|found| found.id.clone()).collect(),
        beside: beside(with),
        health: with.health.clone(),
    };
    cx.intend(&record).await?;
    let previous = old.first().map(|found| found.name.clone()).unwrap_or_default();
    match replace(with, &record, ours.cloned(), &engine, cx).await {
        Ok(new) => Ok(out(with, &new, Some(previous))),
        Err(wrong) => Err(back(&record, cx, wrong).await),
    }
}

/// One at a time works on the containers of an engine, an owner and a name.
async fn only(engine: &str, owner: &str, name: &str, cx: &Cx) -> Result<Locked, KindError> {
    let digest = hash::json(&(engine, owner, name)).map_err(|e| KindError::new(e.to_string()))?;
    let path = cx.state.join("containers").join(format!("{}.lock", digest.get(..16).unwrap_or(&digest)));
    lock(&path, &format!("the container {name}"), PATIENCE, cx).await
}

/// Whether two can run at once: not where both want the same port of this machine.
fn beside(with: &With) -> bool {
    let fixed = || with.ports.iter().filter_map(|text| Publish::read(text)).any(|publish| publish.host.is_some());
    match with.replace {
        Some(Replace::Beside) => true,
        Some(Replace::StopFirst) => false,
        None => with.network.as_deref() != Some("host") && !fixed(),
    }
}

/// Lets the engine have the image.
async fn fetch(with: &With, engine: &Engine, cx: &Cx) -> Result<(), KindError> {
    let there = image(engine.reader(), &with.image).await?.is_some();
    match with.pull {
        Pull::Missing | Pull::Never if there => return Ok(()),
        Pull::Never => {
            return Err(KindError::new(format!("the engine at {} does not have the image `{}`", engine.place(), with.image))
                .help("build it there, or leave out `pull: never`"));
        }
        Pull::Missing | Pull::Always => {}
    }
    let name = Reference::read(&with.image).filter(|name| !name.name.is_empty()).ok_or_else(|| {
        KindError::new(format!(
            "the engine at {} does not have the image `{}`, and what has no name cannot be fetched",
            engine.place(),
            with.image
        ))
    })?;
    let mut ask = Ask::new(Method::POST, "images/create").with("fromImage", name.name).within(PULL);
    ask = ask.with("tag", name.digest.or(name.tag).unwrap_or("latest"));
    if let Some(registry) = &with.registry {
        let who = json!({ "username": registry.username, "password": registry.password });
        ask = ask.header("X-Registry-Auth", URL_SAFE.encode(who.to_string()));
    }
    cx.progress(None, &format!("fetching {}", with.image));
    let mut said = String::new();
    let heard = |line: &trees_core::event::Json| {
        let status = line["status"].as_str().unwrap_or_default();
        if line["progressDetail"].as_object().is_none_or(serde_json::Map::is_empty) && !status.is_empty() && said != status {
            said = status.to_owned();
            cx.log(status);
        }
    };
    engine.listen(ask, None, heard).await.map_err(|e| KindError {
        message: format!("cannot fetch the image `{}`: {}", with.image, e.message),
        transient: may_pass(&e.message),
        help: e.help.or_else(|| Some("is its name right, and does the registry know the user (`registry`)?".into())),
        ..e
    })
}

/// Whether a registry may say otherwise when asked again.
fn may_pass(said: &str) -> bool {
    !["unauthorized", "denied", "manifest unknown", "not found", "invalid reference"].iter().any(|part| said.contains(part))
}

async fn replace(with: &With, record: &Record, ours: Option<Container>, engine: &Engine, cx: &Cx) -> Result<Container, KindError> {
    if !record.beside {
        for id in &record.old {
            stop(id, with.drain.0, engine, cx).await?;
        }
    }
    let id = match ours {
        Some(there) => there.id,
        None => create(with, record, engine, cx).await?,
    };
    cx.progress(None, &format!("starting {}", with.name));
    start(&id, engine).await?;
    wait(&id, with.health.as_ref(), engine, cx).await?;
    for id in &record.old {
        stop(id, with.drain.0, engine, cx).await?;
    }
    let new = container(engine.reader(), &id).await?.ok_or_else(|| KindError::transient(format!("the container {id} is gone")))?;
    cx.log(format!("{} runs", new.name));
    // What was kept too long is no reason to fail.
    if let Err(e) = prune(with, record, engine, cx).await {
        cx.log(format!("old containers stay: {}", e.message));
    }
    Ok(new)
}

/// Makes it under a name that is free.
async fn create(with: &With, record: &Record, engine: &Engine, cx: &Cx) -> Result<String, KindError> {
    let release = with.release.clone().or_else(|| Reference::read(&with.image).map(|name| name.release())).unwrap_or_default();
    let first = format!("{}-{release}", with.name);
    let mut name = first.clone();
    let mut number = 1;
    while container(engine.reader(), &name).await?.is_some() {
        number += 1;
        name = format!("{first}-{number}");
    }
    let ask = Ask::new(Method::POST, "containers/create").with("name", &name).json(body(with, &record.key, cx));
    let made = engine.act(ask, &[]).await?;
    for warning in texts(&made.json["Warnings"]) {
        cx.log(warning);
    }
    made.json["Id"].as_str().map(str::to_owned).ok_or_else(|| KindError::new(format!("the engine made {name} without saying its id")))
}

async fn start(id: &str, engine: &Engine) -> Result<(), KindError> {
    engine.act(Ask::new(Method::POST, format!("containers/{id}/start")), &[304]).await.map(|_| ())
}

/// SIGTERM, the drain, SIGKILL. What always restarts would come back with the engine: not while it is kept.
async fn stop(id: &str, drain: Duration, engine: &Engine, cx: &Cx) -> Result<(), KindError> {
    let Some(there) = container(engine.reader(), id).await? else { return Ok(()) };
    if there.runs() {
        cx.log(format!("stopping {}", there.name));
    }
    let seconds = drain.as_secs();
    let ask = Ask::new(Method::POST, format!("containers/{id}/stop")).with("t", seconds.to_string());
    engine.act(ask.within(drain + Duration::from_secs(60)), &[304, 404]).await?;
    if there.label(RESTART) == "always" {
        update(id, "no", engine).await?;
    }
    Ok(())
}

async fn update(id: &str, restart: &str, engine: &Engine) -> Result<(), KindError> {
    let ask = Ask::new(Method::POST, format!("containers/{id}/update")).json(json!({ "RestartPolicy": policy(restart) }));
    engine.act(ask, &[404]).await.map(|_| ())
}

async fn remove(id: &str, volumes: Volumes, engine: &Engine) -> Result<(), KindError> {
    let volumes = match volumes {
        Volumes::Stay => "0",
        Volumes::Go => "1",
    };
    let ask = Ask::new(Method::DELETE, format!("containers/{id}")).with("force", "1").with("v", volumes);
    engine.act(ask, &[404]).await.map(|_| ())
}

/// What becomes of a container's volumes without a name when it is removed.
#[derive(Clone, Copy)]
enum Volumes {
    /// They may hold what somebody wants back.
    Stay,
    /// This step made them.
    Go,
}

/// Removes stopped containers of this name beyond those that are kept, never one that is needed to go back.
async fn prune(with: &With, record: &Record, engine: &Engine, cx: &Cx) -> Result<(), KindError> {
    let all = all(with, engine.reader(), cx).await?;
    let stopped = all.iter().filter(|found| !found.runs() && found.label(KEY) != record.key);
    let (last, earlier): (Vec<_>, Vec<_>) = stopped.partition(|found| record.old.contains(&found.id));
    for found in earlier.into_iter().skip(with.keep.saturating_sub(last.len())) {
        cx.log(format!("removing {}", found.name));
        remove(&found.id, Volumes::Stay, engine).await?;
    }
    Ok(())
}

/// Asks a started container until it is well.
async fn wait(id: &str, health: Option<&Health>, engine: &Engine, cx: &ReadCx) -> Result<(), KindError> {
    let window = match health {
        Some(health) => Window {
            ok_in_row: health.ok_in_row.max(1),
            every: health.every.0,
            first_ok_within: health.first_ok_within.0,
            stable_for: health.stable_for.0,
        },
        None => Window {
            ok_in_row: 2,
            every: Duration::from_millis(100),
            first_ok_within: Duration::from_secs(30),
            stable_for: Duration::from_secs(1),
        },
    };
    let look = || async {
        match container(engine.reader(), id).await {
            Ok(Some(there)) => probe(&there, health, cx).await,
            Ok(None) => Probe::hopeless("the container is gone"),
            Err(e) => Probe::bad(e.message),
        }
    };
    window.pass(cx, &what(health), look).await.map(|_| ())
}

fn what(health: Option<&Health>) -> String {
    match health {
        Some(Health { port, path: Some(path), .. }) => format!("GET {path} on the container's port {port}"),
        Some(Health { port, path: None, .. }) => format!("tcp, the container's port {port}"),
        None => "the container".into(),
    }
}

/// One look at a container and at its port.
pub async fn probe(there: &Container, health: Option<&Health>, cx: &ReadCx) -> Probe<()> {
    if !there.runs() {
        let text = there.state();
        let again = there.json["State"]["Restarting"].as_bool().unwrap_or(false) && there.restarts() < RESTARTS;
        return if again { Probe::bad(text) } else { Probe::hopeless(text) };
    }
    let Some(health) = health else { return own_health(there) };
    let Some(address) = there.address(health.port.0) else {
        return Probe::bad(format!("port {} cannot be reached from this machine: publish it with `ports`", health.port));
    };
    if let Some(path) = &health.path {
        return healthy(cx, &format!("http://{address}{path}"), Duration::from_secs(5)).await;
    }
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
    let answer = connect(host.trim_start_matches('[').trim_end_matches(']'), port.parse().unwrap_or(0)).await;
    Probe { good: answer.good.map(|_| ()), text: answer.text, last: answer.last }
}

/// What the image's own HEALTHCHECK says, where it has one.
fn own_health(there: &Container) -> Probe<()> {
    let own = &there.json["State"]["Health"];
    match own["Status"].as_str() {
        None | Some("healthy" | "none" | "") => {
            Probe::good((), format!("runs since {}", there.json["State"]["StartedAt"].as_str().unwrap_or("now")))
        }
        Some(status) => {
            let last = own["Log"].as_array().and_then(|log| log.last()).and_then(|last| last["Output"].as_str()).unwrap_or_default();
            Probe::bad(format!("its HEALTHCHECK says {status}: {}", last.trim()))
        }
    }
}

/// Puts the container before back; its own deadline, since the attempt may be over.
async fn back(record: &Record, cx: &Cx, wrong: KindError) -> KindError {
    let mut cx = cx.clone();
    cx.read.cancel = CancellationToken::new();
    let done = take_back(record, &cx).await;
    let wrote = done.as_ref().map_or("", |wrote| wrote.as_str());
    let wrote = if wrote.is_empty() { String::new() } else { format!("\nits last lines:\n{wrote}") };
    let message = match &done {
        Ok(_) if record.old.is_empty() => format!("{} does not run: {}{wrote}", record.name, wrong.message),
        Ok(_) => format!("{} does not run: {}{wrote}\nwhat ran before runs", record.name, wrong.message),
        Err(e) => format!("{} does not run: {}\nand what ran before does not come back: {}", record.name, wrong.message, e.message),
    };
    KindError { message, ..wrong }
}

/// Takes it back.
///
/// # Errors
/// When what ran before is gone or is not well.
pub async fn undo(record: &Record, cx: &Cx) -> Result<(), KindError> {
    let _locked = only(&record.socket, &record.owner, &record.name, cx).await?;
    take_back(record, cx).await.map(|_| ())
}

/// Gives what the container that is removed had written last.
async fn take_back(record: &Record, cx: &Cx) -> Result<String, KindError> {
    let engine = Engine::connect(Some(&record.socket), cx).await?;
    let all = containers(engine.reader(), &labelled(&[(OWNER, &record.owner), (NAME, &record.name)])).await?;
    let ours = all.iter().find(|found| found.label(KEY) == record.key);
    let stranger = |found: &&Container| found.runs() && found.label(KEY) != record.key && !record.old.contains(&found.id);
    if let Some(newer) = all.iter().find(stranger) {
        cx.log(format!("nothing to take back: {} was started since", newer.name));
        return Ok(String::new());
    }
    let wrote = match ours {
        Some(ours) => evidence(ours, &engine, cx).await,
        None => String::new(),
    };
    if let Some(ours) = ours.filter(|_| !record.beside) {
        stop(&ours.id, Duration::from_secs(10), &engine, cx).await?;
    }
    for id in &record.old {
        start_again(id, record.health.as_ref(), &engine, cx).await?;
    }
    if let Some(ours) = ours {
        remove(&ours.id, Volumes::Go, &engine).await?;
    }
    Ok(wrote)
}

/// What a container wrote is kept in the step's log before it is gone.
async fn evidence(ours: &Container, engine: &Engine, cx: &Cx) -> String {
    let wrote = engine.reader().logs(&ours.id, 200).await.unwrap_or_else(|e| e.message);
    cx.log(format!("{} was {}; it wrote:", ours.name, ours.state()));
    wrote.lines().for_each(|line| cx.log(line));
    let lines: Vec<&str> = wrote.lines().collect();
    cx.mask.mask(&lines[lines.len().saturating_sub(20)..].join("\n")).into_owned()
}

async fn start_again(id: &str, health: Option<&Health>, engine: &Engine, cx: &Cx) -> Result<(), KindError> {
    let there = container(engine.reader(), id).await?;
    let there = there.ok_or_else(|| KindError::new(format!("the container {id} that ran before is not there any more")))?;
    if there.runs() {
        return Ok(());
    }
    cx.log(format!("starting {} again", there.name));
    if there.label(RESTART) == "always" {
        update(id, "always", engine).await?;
    }
    start(id, engine).await?;
    wait(id, health, engine, cx).await.map_err(|e| KindError {
        message: format!("{} does not run either, so look at what surrounds them: {}", there.name, e.message),
        ..e
    })
}

#[cfg(test)]
mod tests {
    use super::may_pass;

    #[test]
    fn what_a_registry_refuses_it_refuses_again() {
        for (said, expected) in [
            ("unauthorized: authentication required", false),
            ("manifest for app:2 not found: manifest unknown", false),
            ("pull access denied for app", false),
            ("dial tcp 127.0.0.1:5000: connect: connection refused", true),
            ("net/http: TLS handshake timeout", true),
        ] {
            assert_eq!(may_pass(said), expected, "{said}");
        }
    }
}
