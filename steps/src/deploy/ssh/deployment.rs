//! A deployment on one host: how it differs from what is wanted, how it is put right, how that is taken back.

use super::super::difference::{change, differences};
use super::super::record::{Release, Role};
use super::super::root::{marked, same};
use super::access::Access;
use super::hand::Hand;
use super::health::{bracketed, probe, reached};
use super::host::Host;
use super::look::{Instance, Seen};
use super::rollout::{Rollout, calm};
use super::{Job, On, Supervise};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use trees_runner::kind::{Change, Cx, KindError, ReadCx, SecretReader};

/// How a deploy on one host is taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The host, as the tree calls it.
    pub host: String,
    /// How it is reached.
    pub access: Access,
    /// The deployment's folder there, absolute.
    pub root: String,
    /// The release's folder name.
    pub folder: String,
    /// What `current` named; `None`: nothing was deployed.
    pub previous: Option<String>,
    /// The release was staged by this step.
    pub staged: bool,
    /// Live instances are supervised by the user's systemd there.
    pub systemd: bool,
}

/// What differs on a host; nothing where it is as wanted, and then what the step returns of it.
///
/// # Errors
/// When the host does not answer.
pub async fn examine(host: &Host, seen: &Seen, job: &Job, cx: &ReadCx) -> Result<(Vec<Change>, Option<On>), KindError> {
    let wanted = job.wanted(seen.tool).await?;
    let Some(current) = &seen.current else {
        return Ok((vec![change("release", json!(null), json!(wanted.release))], None));
    };
    let mut changes = match (seen.outside(current), seen.release(current, &cx.secrets)) {
        (_, Ok(Some(there))) => differences(&there, &wanted, &seen.files, &cx.mask),
        (Some(there), Err(e)) => {
            vec![change(
                "release",
                json!(format!("{}, whose start is not known here: {}", there.release, e.message)),
                json!(wanted.release),
            )]
        }
        (None, Err(_)) | (_, Ok(None)) => return Ok((vec![change("release", json!(null), json!(wanted.release))], None)),
    };
    let live = seen.live(current).filter(|instance| instance.serves());
    let Some(live) = live else {
        changes.push(change("process", json!("dead"), json!("running")));
        return Ok((changes, None));
    };
    let supervised = if live.unit.is_empty() { Supervise::Plain } else { Supervise::Systemd };
    if job.with.supervise != Supervise::Auto && job.with.supervise != supervised {
        changes.push(change("supervise", json!(supervised), json!(job.with.supervise)));
    }
    if changes.is_empty() {
        let answer = probe(host, &live.number, &wanted, wanted.port, cx).await;
        if answer.good.is_none() {
            changes.push(change("health", json!(answer.text), json!("healthy")));
        }
    }
    let on = changes.is_empty().then(|| on(host, &wanted, live, None));
    Ok((changes, on))
}

/// What the step returns of a host.
fn on(host: &Host, release: &Release, instance: &Instance, previous: Option<String>) -> On {
    let everywhere = reached(&release.host) != release.host;
    let address = if everywhere { host.address() } else { &release.host };
    On {
        host: host.name().into(),
        pid: instance.pid.unwrap_or_default(),
        url: release.port.map_or_else(String::new, |port| format!("http://{}:{port}", bracketed(address))),
        changed: previous.is_some(),
        previous: previous.unwrap_or_default(),
    }
}

/// The folder for a release: its name, with a mark where another content has that name.
fn place(seen: &Seen, release: &Release, secrets: &SecretReader) -> String {
    match seen.release(&release.release, secrets) {
        Ok(Some(there)) if !same(&there, release) => marked(release),
        // What cannot be compared counts as another content.
        Err(_) => marked(release),
        Ok(Some(_) | None) => release.release.clone(),
    }
}

/// Deploys to one host, whose lock is ours; `None` where another run did so meanwhile. `recorded` tells how it is taken back.
///
/// # Errors
/// When the release cannot be sent, or is not healthy. The release before serves then, if it did before and can.
pub async fn deploy(hand: &Hand, job: &Job, cx: &Cx) -> Result<(On, Option<Record>), KindError> {
    let seen = hand.host.look(cx).await?;
    let (_, satisfied) = examine(&hand.host, &seen, job, cx).await?;
    if let Some(on) = satisfied {
        return Ok((on, None));
    }
    let mut release = job.wanted(seen.tool).await?;
    release.folder = place(&seen, &release, &cx.secrets);
    let record = Record {
        host: hand.host.name().into(),
        access: job.access.clone(),
        root: seen.root.clone(),
        folder: release.folder.clone(),
        previous: seen.current.clone(),
        staged: seen.outside(&release.folder).is_none(),
        systemd: job.systemd(&seen),
    };
    cx.intend(&record).await?;
    match put(hand, &seen, &release, &record, job, cx).await {
        Ok(instance) => {
            let before = record.previous.as_ref().and_then(|folder| seen.outside(folder)).map(|r| r.release.clone());
            Ok((on(&hand.host, &release, &instance, Some(before.unwrap_or_default())), Some(record)))
        }
        Err(wrong) => {
            let cx = calm(cx);
            let left = match &record.previous {
                None => hand.clear(record.staged.then_some(&release.folder), &cx).await,
                Some(previous) if record.staged && *previous != release.folder => hand.forget(&[&release.folder], &cx).await,
                Some(_) => Ok(()),
            };
            let message =
                left.err().map_or_else(|| wrong.message.clone(), |e| format!("{}\nand what was made stays: {}", wrong.message, e.message));
            Err(KindError { message, ..wrong })
        }
    }
}

async fn put(hand: &Hand, seen: &Seen, release: &Release, record: &Record, job: &Job, cx: &Cx) -> Result<Instance, KindError> {
    settle(hand, seen, &release.folder, cx).await?;
    let old = record.previous.as_deref().and_then(|folder| seen.live(folder));
    if record.previous.as_ref() == Some(&release.folder) && release.files.iter().any(|(name, digest)| seen.files.get(name) != Some(digest))
    {
        cx.log(format!("{}: the files of the release were changed by hand: they are put right", record.host));
    }
    hand.stage(seen, release, &job.sources, cx).await?;
    let instance = Rollout { hand, seen, systemd: record.systemd }.run(release, old, cx).await?;
    cx.log(format!("{}: release {} serves", record.host, release.release));
    // What was kept too long is no reason to fail.
    if let Err(e) = prune(hand, release, record.previous.as_deref(), job.with.keep, cx).await {
        cx.log(format!("old releases stay: {}", e.message));
    }
    Ok(instance)
}

/// What an ended deploy left, ended: trials, and instances that no release answers for.
async fn settle(hand: &Hand, seen: &Seen, folder: &str, cx: &Cx) -> Result<(), KindError> {
    for instance in &seen.instances {
        let is_ours = instance.role == Some(Role::Live) && (seen.current.as_ref() == Some(&instance.folder) || instance.folder == folder);
        let stray = !is_ours || !instance.supervised || instance.asked;
        // One whose supervisor may be starting at this moment is told to end as well.
        let unsure = !instance.lives() && (instance.plain || !instance.ended && !instance.asked);
        if unsure || (instance.lives() && stray) {
            hand.stop(&instance.number, drain(seen, instance), cx).await?;
        }
    }
    Ok(())
}

fn drain(seen: &Seen, instance: &Instance) -> Duration {
    seen.outside(&instance.folder).map_or(Duration::from_secs(60), |release| release.drain)
}

/// Removes the oldest releases and ended instances, never the one that serves and the one before.
async fn prune(hand: &Hand, release: &Release, previous: Option<&str>, keep: usize, cx: &Cx) -> Result<(), KindError> {
    let seen = hand.host.look(cx).await?;
    let kept: Vec<&str> = previous.into_iter().filter(|p| *p != release.folder).chain([release.folder.as_str()]).collect();
    let old: Vec<&str> = seen.releases.iter().map(String::as_str).filter(|name| !kept.contains(name)).collect();
    let surplus = (old.len() + kept.len()).saturating_sub(keep.max(kept.len()));
    hand.forget(&old[..surplus], cx).await?;
    let ended: Vec<&str> = seen.instances.iter().filter(|i| !i.lives()).map(|i| i.number.as_str()).collect();
    hand.drop_instances(&ended[..ended.len().saturating_sub(keep)], cx).await
}

/// Puts back what a record says. A release that somebody else deployed since is left alone.
///
/// # Errors
/// When the release before is not there any more, or does not come back.
pub async fn take_back(hand: &Hand, record: &Record, cx: &Cx) -> Result<(), KindError> {
    let seen = hand.host.look(cx).await?;
    let current = seen.current.as_ref();
    let theirs = current.is_some_and(|now| *now != record.folder && Some(now) != record.previous.as_ref());
    if theirs || record.previous.as_ref() == Some(&record.folder) {
        cx.log(format!("{}: nothing to take back: another release was deployed since, or the same one was started again", record.host));
        return Ok(());
    }
    let Some(previous) = &record.previous else {
        for instance in seen.instances.iter().filter(|i| i.lives() || !i.ended) {
            hand.stop(&instance.number, drain(&seen, instance), cx).await?;
        }
        return hand.clear(record.staged.then_some(&record.folder), cx).await;
    };
    let gone = || KindError::new(format!("{}: release `{previous}` is not in `{}` any more", record.host, record.root));
    seen.outside(previous).ok_or_else(gone)?;
    settle(hand, &seen, &record.folder, cx).await?;
    let ours = seen.live(&record.folder);
    let serves = seen.live(previous).is_some_and(Instance::serves);
    if !serves || ours.is_some() || current != Some(previous) {
        let release = seen.release(previous, &cx.secrets)?.ok_or_else(gone)?;
        let rollout = Rollout { hand, seen: &seen, systemd: record.systemd };
        // One that an ended deploy had asked to end drains beside the one that takes its place.
        rollout.run(&release, ours.or_else(|| seen.live(previous)), cx).await?;
    }
    if record.staged {
        hand.forget(&[&record.folder], cx).await?;
    }
    Ok(())
}
