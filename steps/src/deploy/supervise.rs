//! The supervisor: a small process of its own that keeps one instance running after `trees` and
//! the terminal are gone.
//!
//! It knows nothing of releases and ports: a program, which it reads from its standard input, and a log. It is the same binary,
//! started again with a hidden argument; see [`set_supervisor`](super::set_supervisor).

use super::instance::{LOCK, LOG, STATUS};
use super::record::{Identity, Program, Role, Spec, Status};
use crate::file::replace;
use jiff::Timestamp;
use rustix::process::Signal;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Before the first restart; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No longer pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so long a life the pauses begin anew.
const STEADY: Duration = Duration::from_secs(60);
/// A log grows to this size, then it is copied to `output.log.1` and begun anew.
const LOG_LIMIT: u64 = 16 << 20;

/// Runs the instance whose `spec.json` this is until SIGTERM. Called by the binary for its hidden
/// argument, before anything else is set up.
pub fn supervise(spec: &Path) -> ExitCode {
    let _ = rustix::process::setsid();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(async { Supervisor::open(spec)?.run().await }));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{} supervisor: {e}", Timestamp::now());
            ExitCode::FAILURE
        }
    }
}

struct Supervisor {
    folder: PathBuf,
    spec: Spec,
    program: Program,
    status: Status,
    _lock: File,
}

/// Why a process is not waited for any more.
enum Woken {
    Ended(io::Result<ExitStatus>),
    Stop,
    Tick,
}

impl Supervisor {
    fn open(spec: &Path) -> io::Result<Self> {
        let folder = spec.parent().unwrap_or(Path::new("/")).to_path_buf();
        let spec: Spec = serde_json::from_slice(&fs::read(spec)?)?;
        let program: Program = serde_json::from_reader(io::stdin().lock())?;
        let lock = hold(&folder.join(LOCK))?;
        if folder.join(STATUS).exists() {
            return Err(io::Error::other("this instance was given up before it began"));
        }
        std::env::set_current_dir("/")?;
        let status = Status::new(Identity::of(std::process::id()));
        Ok(Self { folder, spec, program, status, _lock: lock })
    }

    async fn run(mut self) -> io::Result<()> {
        let mut stop = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let _hangup = signal(SignalKind::hangup())?;
        let expires = tokio::time::sleep(self.spec.expires.map_or(Duration::from_secs(u64::from(u32::MAX)), Duration::from_millis));
        tokio::pin!(expires);
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            let mut child = self.start().ok();
            self.save()?;
            loop {
                let woken = tokio::select! {
                    status = ended(&mut child) => Woken::Ended(status),
                    _ = stop.recv() => Woken::Stop,
                    _ = interrupt.recv() => Woken::Stop,
                    () = &mut expires => Woken::Stop,
                    () = tokio::time::sleep(Duration::from_secs(1)) => Woken::Tick,
                };
                match woken {
                    Woken::Tick => rotate(&self.folder.join(LOG), LOG_LIMIT)?,
                    Woken::Stop => return self.stop(child).await,
                    Woken::Ended(status) => {
                        self.note(status);
                        break;
                    }
                }
            }
            if self.spec.role == Role::Trial {
                self.status.ended = true;
                return self.save();
            }
            if begun.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            self.save()?;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.recv() => return self.stop(None).await,
                _ = interrupt.recv() => return self.stop(None).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.status.restarts += 1;
        }
    }

    fn start(&mut self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(LOG))?;
        let (program, args) = self.program.command.split_first().ok_or_else(|| io::Error::other("no command"))?;
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.spec.cwd).env_clear().envs(&self.program.env);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let started = command.spawn();
        self.status.since = Timestamp::now();
        match started {
            Ok(child) => {
                self.status.child = child.id().map(Identity::of);
                Ok(child)
            }
            Err(e) => {
                self.status.last_exit = Some(format!("could not be started: {e}"));
                eprintln!("{} cannot start `{program}`: {e}", Timestamp::now());
                Err(e)
            }
        }
    }

    /// The process ended; what it left in its group ends too.
    fn note(&mut self, status: io::Result<ExitStatus>) {
        if let Some(child) = self.status.child.take() {
            end_group(&child, Signal::KILL);
        } else {
            return;
        }
        let text = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        eprintln!("{} ended: {text}", Timestamp::now());
        self.status.last_exit = Some(text);
    }

    /// SIGTERM, the grace, SIGKILL.
    async fn stop(mut self, child: Option<Child>) -> io::Result<()> {
        if let (Some(mut child), Some(identity)) = (child, self.status.child.take()) {
            end_group(&identity, Signal::TERM);
            let ended = tokio::time::timeout(self.spec.drain, child.wait()).await;
            end_group(&identity, Signal::KILL);
            let status = match ended {
                Ok(status) => status,
                Err(_) => child.wait().await,
            };
            self.status.last_exit = Some(status.map_or_else(|e| e.to_string(), |status| status.to_string()));
        }
        self.status.ended = true;
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.status)?;
        replace(&self.folder.join(STATUS), &text, 0o600).map_err(|e| io::Error::other(e.message))
    }
}

/// The group of a process that is ours, whether its leader still lives or not.
fn end_group(leader: &Identity, signal: Signal) {
    if let Some(pid) = i32::try_from(leader.pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// The lock that says a supervisor lives; a look at it by others is waited out.
fn hold(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() < Duration::from_secs(2) => std::thread::sleep(Duration::from_millis(5)),
            Err(fs::TryLockError::WouldBlock) => return Err(io::Error::other("this instance has a supervisor already")),
            Err(fs::TryLockError::Error(e)) => return Err(e),
        }
    }
}

/// Waits for the process; one that could not be started has ended.
async fn ended(child: &mut Option<Child>) -> io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => Err(io::Error::other("not started")),
    }
}

/// Copies a log that is too large aside and begins it anew; the process keeps writing to it.
fn rotate(path: &Path, limit: u64) -> io::Result<()> {
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    if size <= limit {
        return Ok(());
    }
    fs::copy(path, path.with_extension("log.1"))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::rotate;
    use std::io::Write as _;

    #[test]
    fn a_log_is_cut_and_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output.log");
        let mut writer = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        writer.write_all(b"12345678").unwrap();
        rotate(&path, 8).unwrap();
        assert!(!folder.path().join("output.log.1").exists());
        writer.write_all(b"9").unwrap();
        rotate(&path, 8).unwrap();
        writer.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read(folder.path().join("output.log.1")).unwrap(), b"123456789");
    }
}
