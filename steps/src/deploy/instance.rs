//! One started release: its folder, its supervisor, how it is, and how it ends.

use super::record::{Identity, Program, Spec, Status};
use super::supervisor;
use crate::file::{failed, replace};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use trees_runner::kind::KindError;

/// Held by the supervisor while it lives.
pub const LOCK: &str = "lock";
/// How the instance is.
pub const STATUS: &str = "status.json";
/// What the process writes.
pub const LOG: &str = "output.log";
const SPEC: &str = "spec.json";

/// `instances/<id>`.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its folder.
    pub folder: PathBuf,
    /// What its supervisor was told.
    pub spec: Spec,
}

impl Instance {
    /// Reads one; `None` where it was not written to its end.
    pub fn load(folder: PathBuf) -> Option<Self> {
        let spec = serde_json::from_slice(&fs::read(folder.join(SPEC)).ok()?).ok()?;
        Some(Self { folder, spec })
    }

    /// Writes it down and starts its supervisor, which gets the program over a pipe; returns once that has
    /// started the process.
    ///
    /// # Errors
    /// When the supervisor cannot be started or does not answer.
    pub async fn start(folder: PathBuf, spec: Spec, run: &Program) -> Result<Self, KindError> {
        let text = serde_json::to_vec_pretty(&spec).map_err(|e| KindError::new(e.to_string()))?;
        let run = serde_json::to_vec(run).map_err(|e| KindError::new(e.to_string()))?;
        replace(&folder.join(SPEC), &text, 0o600)?;
        let instance = Self { folder, spec };
        let log = File::create(instance.folder.join("supervisor.log")).map_err(|e| failed("cannot write", &instance.folder, &e))?;
        let (program, args) = supervisor()?;
        let mut command = tokio::process::Command::new(&program);
        command.args(args).arg(instance.folder.join(SPEC)).env_clear();
        command.stdin(Stdio::piped()).stdout(log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from)).stderr(log);
        let mut child = command.spawn().map_err(|e| failed("cannot start the supervisor", &program, &e))?;
        if let Some(mut pipe) = child.stdin.take() {
            // One that ended early says why in its log.
            let _ = pipe.write_all(&run).await;
        }
        let begun = Instant::now();
        while instance.status().is_none() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(KindError::new(format!(
                    "the supervisor ended ({status}): {}",
                    tail(&instance.folder.join("supervisor.log"), 5)
                )));
            }
            if begun.elapsed() > Duration::from_secs(20) {
                let _ = child.start_kill();
                return Err(KindError::transient("the supervisor did not start within 20s"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(instance)
    }

    /// How it is, as its supervisor last wrote.
    pub fn status(&self) -> Option<Status> {
        serde_json::from_slice(&fs::read(self.folder.join(STATUS)).ok()?).ok()
    }

    /// Its supervisor lives.
    pub fn supervised(&self) -> bool {
        let Ok(lock) = File::open(self.folder.join(LOCK)) else { return false };
        matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }

    /// Its supervisor lives and its process too.
    pub fn alive(&self) -> bool {
        self.supervised() && self.status().and_then(|s| s.child).is_some_and(|child| child.is_alive())
    }

    /// Something of it lives: the supervisor, or a process that a killed supervisor left.
    pub fn lives(&self) -> bool {
        self.supervised() || self.status().and_then(|s| s.child).is_some_and(|child| child.is_alive())
    }

    /// Whether nothing of it has begun, and nothing will: a supervisor that is only now starting ends at once.
    ///
    /// # Errors
    /// When its folder cannot be written.
    pub fn given_up(&self) -> Result<bool, KindError> {
        if self.status().is_some() {
            return Ok(false);
        }
        let path = self.folder.join(LOCK);
        let wrong = |e: &std::io::Error| failed("cannot open", &path, e);
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| wrong(&e))?;
        match lock.try_lock() {
            Ok(()) if self.status().is_none() => {}
            Ok(()) | Err(fs::TryLockError::WouldBlock) => return Ok(false),
            Err(fs::TryLockError::Error(e)) => return Err(wrong(&e)),
        }
        let status = Status::new(Identity::of(std::process::id()));
        let text = serde_json::to_vec_pretty(&Status { ended: true, ..status }).map_err(|e| KindError::new(e.to_string()))?;
        replace(&self.folder.join(STATUS), &text, 0o600)?;
        Ok(true)
    }

    /// Asks it to end; see [`Self::ended`].
    pub fn ask_to_end(&self) {
        let Some(status) = self.status() else { return };
        if self.supervised() {
            status.supervisor.signal(Signal::TERM);
        } else if let Some(child) = status.child {
            child.signal_group(Signal::TERM);
        }
    }

    /// Waits for its end, by force once the grace is over.
    ///
    /// # Errors
    /// When it cannot be ended at all.
    pub async fn ended(&self) -> Result<(), KindError> {
        let begun = Instant::now();
        let patience = self.spec.drain + Duration::from_secs(if self.supervised() { 3 } else { 0 });
        while self.lives() {
            let over = begun.elapsed().saturating_sub(patience);
            if !over.is_zero()
                && let Some(status) = self.status()
            {
                if self.supervised() {
                    status.supervisor.signal(Signal::KILL);
                }
                status.child.iter().for_each(|child| child.signal_group(Signal::KILL));
            }
            if over > Duration::from_secs(10) {
                return Err(KindError::new(format!("the process in `{}` cannot be ended", self.folder.display())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// What somebody does where it cannot be ended.
    pub fn by_hand(&self) -> String {
        let status = self.status();
        let living = status.iter().flat_map(|s| [Some(&s.supervisor), s.child.as_ref()]).flatten().filter(|process| process.is_alive());
        let pids: Vec<String> = living.map(|process| process.pid.to_string()).collect();
        if pids.is_empty() {
            return format!("end whoever holds `{}`", self.folder.join(LOCK).display());
        }
        format!("`kill -KILL {}`, or restart this machine where that does not help", pids.join(" "))
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it cannot be ended at all.
    pub async fn stop(&self) -> Result<(), KindError> {
        self.ask_to_end();
        self.ended().await
    }

    /// The last lines that the process wrote.
    pub fn tail(&self) -> String {
        tail(&self.folder.join(LOG), 20)
    }
}

fn tail(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(8192)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
