//! What changes a host: everything needs a [`Hand`], which is its lock. The lock lives in a session of its own
//! there, which is told every few seconds that we are still there, and gives it back when that session ends,
//! however it ends.

use super::super::record::{Release, Role};
use super::connection::{Input, text};
use super::host::Host;
use super::look::{Seen, Tool, files};
use super::package::Start;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trees_core::hash;
use trees_core::units;
use trees_runner::kind::{Cx, KindError};

/// Another deploy is waited for so long.
const PATIENCE: Duration = Duration::from_secs(600);
/// A holder that lives says so every few seconds; after so many it is not waited for.
const SILENCE: u64 = 60;
const BEAT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_secs(60);

/// A host whose lock is ours.
pub struct Hand {
    /// The host.
    pub host: Arc<Host>,
    /// The lock, as its file there names it.
    token: String,
    session: Child,
    beats: JoinHandle<Option<ChildStdin>>,
    end: CancellationToken,
}

enum Held {
    Ours(Box<Hand>),
    Busy { silent: u64, holder: String },
}

impl Hand {
    /// Takes the lock of a deployment, waiting for another deploy.
    ///
    /// # Errors
    /// When the other one takes too long or is not heard of any more, or is this very one; and when the folder
    /// cannot be written.
    pub async fn take(host: Arc<Host>, own: &str, cx: &Cx) -> Result<Self, KindError> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let (silent, holder) = match Self::try_take(host.clone(), own, cx).await? {
                Held::Ours(hand) => return Ok(*hand),
                Held::Busy { silent, holder } => (silent, holder),
            };
            if holder == own {
                let message = format!("{}: what would be deployed there is the same deployment as that of another of `hosts`", host.name());
                return Err(KindError::new(message).help("two names of one machine: leave one out"));
            }
            let holder = if holder.is_empty() { "another deploy".to_owned() } else { cx.head(&holder, 200) };
            if silent > SILENCE {
                let root = host.look(cx).await.map(|seen| seen.root).unwrap_or_default();
                return Err(KindError::new(format!(
                    "{}: the deployment is locked by {holder}, which has not been heard of for {}",
                    host.name(),
                    units::show(Duration::from_secs(silent))
                ))
                .help(format!("if it is dead, remove the lock there: `rm -r {root}/lock`")));
            }
            if begun.elapsed() > PATIENCE {
                let message = format!("{}: the deployment is locked by {holder} for {}", host.name(), units::show(PATIENCE));
                return Err(KindError::transient(message));
            }
            if !std::mem::replace(&mut told, true) {
                cx.log(format!("{}: the deployment is locked by {holder}: waiting for it", host.name()));
            }
            cx.sleep(Duration::from_millis(200)).await?;
        }
    }

    async fn try_take(host: Arc<Host>, own: &str, cx: &Cx) -> Result<Held, KindError> {
        let mut session = host.hold(own, cx)?;
        let (Some(open), Some(out), err) = (session.stdin.take(), session.stdout.take(), session.stderr.take()) else {
            return Err(KindError::new("`ssh` has no pipes"));
        };
        let mut lines = BufReader::new(out).lines();
        let (mut token, mut silent, mut holder) = (None, None, String::new());
        let answered = async {
            while let Ok(Some(line)) = lines.next_line().await {
                match line.split_once(' ').unwrap_or((&line, "")) {
                    ("locked", own) => token = Some(own.to_owned()),
                    ("busy", age) => silent = age.parse().ok(),
                    ("holder", who) => holder = who.to_owned(),
                    ("taken", who) => cx.log(format!("{}: took over the lock of {who}, whose session has ended", host.name())),
                    ("trees:end", _) => break,
                    (_, _) => {}
                }
            }
        };
        tokio::select! {
            done = tokio::time::timeout(SHORT, answered) => done.map_err(|_| KindError::transient(format!("{}: no lock within {}", host.name(), units::show(SHORT))))?,
            () = cx.cancel.cancelled() => return Err(KindError::transient(format!("{}: ended while taking the lock", host.name()))),
        }
        match (token, silent) {
            (Some(token), _) => {
                let end = CancellationToken::new();
                let beats = tokio::spawn(beat(open, end.clone()));
                Ok(Held::Ours(Box::new(Self { host, token, session, beats, end })))
            }
            (None, Some(silent)) => Ok(Held::Busy { silent, holder }),
            (None, None) => {
                drop(open);
                let said = tokio::time::timeout(Duration::from_secs(2), text(err, 4096)).await.unwrap_or_default();
                Err(KindError::new(format!("{}: cannot lock the deployment: {}", host.name(), cx.head(&said, 300))))
            }
        }
    }

    /// Gives the lock back; returns when that is done.
    pub async fn release(mut self) {
        self.end.cancel();
        drop((&mut self.beats).await);
        let _ = tokio::time::timeout(SHORT, self.session.wait()).await;
    }

    async fn write(&self, verb: &str, arguments: &[&str], input: Input<'_>, limit: Duration, cx: &Cx) -> Result<Vec<String>, KindError> {
        self.host.write(verb, arguments, input, limit, cx).await
    }

    /// Puts the files of a release into its folder, checked there, in one step; where they are there already
    /// only its record is written. Files that the release before has too are taken from it.
    ///
    /// # Errors
    /// When they cannot be written, or do not arrive as they are here.
    pub async fn stage(&self, seen: &Seen, release: &Release, sources: &[(String, PathBuf)], cx: &Cx) -> Result<(), KindError> {
        let folder = release.folder.as_str();
        let record = [release.sealed(&*cx.keeper)?, b"\n".to_vec()].concat();
        let is_current = seen.current.as_deref() == Some(folder);
        if is_current && seen.outside(folder).is_some() && release.files.iter().all(|(name, digest)| seen.files.get(name) == Some(digest)) {
            self.write("place", &[folder, "", &self.token], Input::Bytes(&record), SHORT, cx).await?;
            return Ok(());
        }
        let from = seen.current.as_deref().unwrap_or_default();
        let there: BTreeSet<String> =
            release.files.iter().filter(|(name, digest)| seen.files.get(*name) == Some(digest)).map(|(name, _)| name.clone()).collect();
        let names: String = there.iter().map(|name| format!("{name}\n")).collect();
        self.write("stage", &[folder, from], Input::Bytes(names.as_bytes()), Duration::from_secs(600), cx).await?;
        let found = self.send(release, sources, there, seen.tool, cx).await?;
        let wrong = release.files.iter().find(|(name, digest)| found.get(*name) != Some(digest));
        if let Some((name, _)) = wrong {
            return Err(KindError::transient(format!(
                "{}: `{name}` did not arrive as it is here: it changed meanwhile, or the disk there is full or damaged",
                self.host.name()
            )));
        }
        self.write("place", &[folder, "aside", &self.token], Input::Bytes(&record), SHORT, cx).await.map(|_| ())
    }

    /// Sends what is not there yet; gives the digests of all that is there then.
    async fn send(
        &self,
        release: &Release,
        sources: &[(String, PathBuf)],
        there: BTreeSet<String>,
        tool: Tool,
        cx: &Cx,
    ) -> Result<BTreeMap<String, String>, KindError> {
        let (sources, reused) = (sources.to_vec(), there.len());
        let packed = tokio::task::spawn_blocking(move || {
            let file = tempfile::NamedTempFile::new().map_err(|e| KindError::new(format!("cannot write a file aside: {e}")))?;
            super::package::release(&sources, &there, file.path()).map(|()| file)
        });
        let file = packed.await.map_err(|e| KindError::new(e.to_string()))??;
        let size = fs::metadata(file.path()).map_or(0, |meta| meta.len());
        cx.progress(None, &format!("{}: sending release {}", self.host.name(), release.release));
        cx.log(format!(
            "{}: sending {} files of {} ({} KiB)",
            self.host.name(),
            release.files.len() - reused,
            release.files.len(),
            size >> 10
        ));
        // Slower than 32 KiB a second is not waited for.
        let limit = Duration::from_secs(300 + (size >> 15));
        let lines = self.write("unpack", &[&release.folder], Input::File(file.path()), limit, cx).await?;
        Ok(files(&lines, tool))
    }

    /// Starts a release as a new instance. `old` is asked to end first, and the new one begins as soon as its port
    /// is free.
    ///
    /// # Errors
    /// When its supervisor does not start.
    pub async fn start(&self, number: &str, start: &Start<'_>, old: Option<&str>, cx: &Cx) -> Result<(), KindError> {
        let mode = if start.unit.is_some() { "systemd" } else { "plain" };
        let port = start.port.map(|port| port.to_string()).unwrap_or_default();
        let archive = start.archive()?;
        let limit = SHORT + start.release.drain * 2;
        let arguments = [number, mode, old.unwrap_or_default(), &port, &self.token];
        self.write("start", &arguments, Input::Bytes(&archive), limit, cx).await.map(|_| ())
    }

    /// Ends an instance, by force once its grace is over.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn stop(&self, number: &str, drain: Duration, cx: &Cx) -> Result<(), KindError> {
        self.write("stop", &[number], Input::None, SHORT + drain * 2, cx).await.map(|_| ())
    }

    /// Points `current` to a release.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn switch(&self, folder: &str, cx: &Cx) -> Result<(), KindError> {
        self.write("switch", &[folder], Input::None, SHORT, cx).await.map(|_| ())
    }

    /// Removes releases, but never the one that `current` names.
    ///
    /// # Errors
    /// When the host does not answer.
    pub async fn forget(&self, folders: &[&str], cx: &Cx) -> Result<(), KindError> {
        if folders.is_empty() {
            return Ok(());
        }
        self.write("forget", folders, Input::None, SHORT, cx).await.map(|_| ())
    }

    /// Removes the folders of instances that have ended.
    ///
    /// # Errors
    /// When the host does not answer.
    pub async fn drop_instances(&self, numbers: &[&str], cx: &Cx) -> Result<(), KindError> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.write("drop", numbers, Input::None, SHORT, cx).await.map(|_| ())
    }

    /// Removes what a deploy makes there, with the release that it staged.
    ///
    /// # Errors
    /// When the host does not answer.
    pub async fn clear(&self, staged: Option<&String>, cx: &Cx) -> Result<(), KindError> {
        let staged: Vec<&str> = staged.into_iter().map(String::as_str).collect();
        self.write("clear", &staged, Input::None, SHORT, cx).await.map(|_| ())
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

/// Says every few seconds that we are still there; gives the pipe back when that is to end.
async fn beat(mut open: ChildStdin, end: CancellationToken) -> Option<ChildStdin> {
    loop {
        tokio::select! {
            () = end.cancelled() => return Some(open),
            () = tokio::time::sleep(BEAT) => open.write_all(b"\n").await.ok()?,
        }
    }
}

/// Who holds a lock: run, step, machine and time.
pub fn holder(cx: &Cx) -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("run {}, step {}, on {machine}, since {}", cx.run, cx.step, Timestamp::now())
}

/// The unit of an instance: one name for one deployment and number.
pub fn unit(root: &str, number: &str) -> String {
    format!("trees-{}-{number}.service", hash::bytes(root.as_bytes()).get(..12).unwrap_or_default())
}

/// What an instance is supervised by there.
pub fn supervised_by(is_systemd: bool, role: Role, root: &str, number: &str) -> Option<String> {
    (is_systemd && role == Role::Live).then(|| unit(root, number))
}
