//! Starts a process, keeps its output, ends it, and leaves nothing of it behind.
//!
//! Read [`Launch`] first. It knows nothing of trees, retries or meanings of exit codes.

mod plain;
mod spawn;
mod supervise;

use crate::clock::Clock;
use crate::identity::{Identity, Marks, Register, Ticks};
use crate::mask::Masker;
use crate::output::{Kept, Log, OnLine, Pump};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use supervise::Manner;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trees_core::tree::Shell;
use trees_points::{Point, hit};

/// Bytes of a script that `sh` and `bash` get by `-c`: making a file for each costs more than the
/// shell's own start. One argument may have 128 KiB on Linux.
const INLINE: usize = 32 << 10;
/// The script's name in the attempt folder.
pub const SCRIPT: &str = "script";

/// All that a process is started with.
pub struct Launch {
    /// The attempt folder (absolute): the log, and a script for a shell of the tree's own, are
    /// written here. Made with the first of them.
    pub folder: PathBuf,
    /// The run's list of processes.
    pub register: Arc<Register>,
    /// The working folder (absolute).
    pub dir: PathBuf,
    /// What runs.
    pub program: Program,
    /// The whole environment, with the marks; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Takes secrets out of the log and of the newest line.
    pub mask: Masker,
    /// Bytes of the log.
    pub log_limit: u64,
    /// Says when output came.
    pub clock: Clock,
    /// What it leaves in the background stays.
    pub leave_running: bool,
    /// Whose attempt it is.
    pub marks: Marks,
    /// Gets the newest line, at most about ten times a second.
    pub on_line: Option<OnLine>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A script, by a shell.
    Script(Shell, String),
    /// An argument vector; a program without a slash is looked up in the PATH of `env`.
    Argv(Vec<OsString>),
}

/// Why a process could not be started. Nothing runs then.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The working folder.
    #[error("the working folder {} cannot be used: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program.
    #[error("cannot start `{program}`: {source}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Too much in the environment or arguments.
    #[error(
        "the environment and arguments of the process are too large for this system ({bytes} bytes): read large values from $TREES_INPUTS instead"
    )]
    TooLarge {
        /// Bytes of the environment.
        bytes: usize,
    },
    /// Processes, open files or memory.
    #[error("this system gives no more {what} now ({source}): lower -j or max_parallel, or raise the limit (`ulimit -a`)")]
    Limit {
        /// Of what.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The attempt folder: the state cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Attempt {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SpawnError {
    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Limit { .. })
    }
}

/// How a process is asked to end. A stronger one overtakes a weaker one; the same again does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT now, SIGTERM and SIGKILL after the graces.
    Interrupt {
        /// From SIGINT to SIGTERM.
        term_after: Duration,
        /// From SIGTERM to SIGKILL.
        kill_after: Duration,
    },
    /// SIGTERM now, SIGKILL after the grace.
    Terminate {
        /// From SIGTERM to SIGKILL.
        kill_after: Duration,
    },
    /// SIGKILL now.
    Kill,
}

impl Stop {
    fn strength(self) -> u8 {
        match self {
            Self::Interrupt { .. } => 1,
            Self::Terminate { .. } => 2,
            Self::Kill => 3,
        }
    }
}

/// Ends a running process, from anywhere.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<watch::Sender<Option<Stop>>>);

impl Stopper {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Asks it to end; returns at once. Without effect once it has ended.
    pub fn stop(&self, how: Stop) {
        self.0.send_if_modified(|now| {
            let stronger = now.is_none_or(|now| now.strength() < how.strength());
            if stronger {
                *now = Some(how);
            }
            stronger
        });
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// What came of a process.
#[derive(Debug)]
pub struct Exit {
    /// How it ended.
    pub ended: Ended,
    /// It was asked to end while it ran.
    pub stopped: bool,
    /// Its output.
    pub output: Kept,
    /// Something it left kept its output open; what that printed later is not in the log.
    pub held: bool,
    /// Background processes of it that were ended.
    pub leftovers: usize,
}

/// A process that was started.
#[derive(Debug)]
pub struct Running {
    /// Which process it is; in the attempt folder too.
    pub identity: Identity,
    stopper: Stopper,
    task: JoinHandle<io::Result<Exit>>,
}

impl Running {
    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Until it and all that it left have ended. It goes on, is drained and is reaped also when
    /// nobody waits.
    ///
    /// # Errors
    /// When the system does not tell how it ended.
    pub async fn wait(self) -> io::Result<Exit> {
        match self.task.await {
            Ok(exit) => exit,
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(e) => Err(io::Error::other(e)),
            },
        }
    }
}

impl Launch {
    /// Starts it. Must be called in a tokio runtime. Blocks until the program is loaded (about a
    /// millisecond).
    ///
    /// # Errors
    /// When it cannot be started; nothing runs then.
    pub fn start(&self) -> Result<Running, SpawnError> {
        spawn::adopt_orphans();
        let (pipe, output) = pipe().map_err(|e| self.spawn_error(e))?;
        let begun = Ticks::start();
        hit(Point::BeforeSpawn);
        let plain = self.spawn_plain(output.as_fd()).map_err(|e| self.spawn_error(e))?;
        let pid = match plain {
            Some(pid) => pid,
            None => self.spawn(&self.argv()?, &self.env, output.as_fd()).map_err(|e| self.spawn_error(e))?,
        };
        // What became of a command is for sh a number.
        let numbered = plain.is_some() && matches!(self.program, Program::Script(Shell::Sh, _));
        hit(Point::Spawned);
        // While a writing end is open the pipe has no end.
        drop(output);
        let child = spawn::Child::new(pid).map_err(|e| self.spawn_error(e))?;
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        let identity = Identity::of_child(pid, &begun, self.marks.clone());
        let stopper = Stopper::new();
        let saved = self.register.add(&identity);
        hit(Point::Registered);
        if saved.is_err() {
            stopper.stop(Stop::Kill);
        }
        let log = Log::new(&self.folder, self.log_limit, self.clock);
        let pump = Pump::new(pipe, log, &self.mask, self.on_line.clone());
        let task = supervise::start(child, pid, pump, &stopper, Manner { leave_running: self.leave_running, numbered }, self.marks.clone());
        match saved {
            Ok(()) => Ok(Running { identity, stopper, task }),
            Err(source) => Err(SpawnError::Attempt { path: self.register.path().into(), source }),
        }
    }

    fn spawn(&self, argv: &[OsString], env: &[(OsString, OsString)], output: BorrowedFd<'_>) -> io::Result<Pid> {
        spawn::Spawn { argv, env, dir: &self.dir, output }.start()
    }

    /// Starts a script that is one plain command without a shell. What cannot be started so is left to the shell: a
    /// file without a first line `#!`, and what there is to say of one that is not there.
    fn spawn_plain(&self, output: BorrowedFd<'_>) -> io::Result<Option<Pid>> {
        let Program::Script(Shell::Sh | Shell::Bash, text) = &self.program else { return Ok(None) };
        let Some(argv) = plain::words(text, &self.env) else { return Ok(None) };
        // A name from the new folder is one that macOS may start and say that it did not: https://github.com/rust-lang/rust/issues/80537
        let named = argv.first().is_some_and(|name| name.as_bytes().contains(&b'/') && !name.as_bytes().starts_with(b"/"));
        if cfg!(target_vendor = "apple") && named {
            return Ok(None);
        }
        // As a shell sets it.
        let Ok(here) = self.dir.canonicalize() else { return Ok(None) };
        let env: Vec<_> = self.env.iter().cloned().chain([("PWD".into(), here.into())]).collect();
        match self.spawn(&argv, &env, output) {
            Err(error) if !is_short(&error) => Ok(None),
            started => started.map(Some),
        }
    }

    fn argv(&self) -> Result<Vec<OsString>, SpawnError> {
        let (shell, text) = match &self.program {
            Program::Argv(argv) => return Ok(argv.clone()),
            Program::Script(shell, text) => (shell, text),
        };
        let mut argv: Vec<OsString> = match shell {
            Shell::Sh => vec![found(&SH, "sh").into(), "-e".into()],
            Shell::Bash => {
                let bash = found(&BASH, "bash").into();
                vec![bash, "--noprofile".into(), "--norc".into(), "-e".into(), "-o".into(), "pipefail".into()]
            }
            Shell::Custom(argv) => argv.iter().map(OsString::from).collect(),
        };
        if fits_inline(shell, text) {
            argv.extend(["-c".into(), text.into()]);
            return Ok(argv);
        }
        let path = self.folder.join(SCRIPT);
        write_script(&path, text).map_err(|source| SpawnError::Attempt { path: path.clone(), source })?;
        argv.push(path.into());
        Ok(argv)
    }

    fn spawn_error(&self, source: io::Error) -> SpawnError {
        let limit = |what, source| SpawnError::Limit { what, source };
        match Errno::from_io_error(&source) {
            Some(Errno::TOOBIG) => SpawnError::TooLarge { bytes: self.env.iter().map(|(k, v)| k.len() + v.len() + 2).sum() },
            Some(Errno::MFILE | Errno::NFILE) => limit("open files", source),
            Some(Errno::AGAIN) => limit("processes", source),
            Some(Errno::NOMEM) => limit("memory", source),
            _ => match std::fs::read_dir(&self.dir) {
                Err(source) => SpawnError::Folder { path: self.dir.clone(), source },
                Ok(_) => SpawnError::Program { program: self.program_name(), source },
            },
        }
    }

    fn program_name(&self) -> String {
        match &self.program {
            Program::Argv(argv) => argv.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default(),
            Program::Script(Shell::Sh, _) => "sh".into(),
            Program::Script(Shell::Bash, _) => "bash".into(),
            Program::Script(Shell::Custom(argv), _) => argv.first().cloned().unwrap_or_default(),
        }
    }
}

/// Whether the system gives no more of something, to whomever.
fn is_short(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::TOOBIG | Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM))
}

/// One pipe for both streams, so that their order is that of the writes.
fn pipe() -> io::Result<(Receiver, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((Receiver::from_owned_fd(OwnedFd::from(reader))?, writer))
}

/// Whether a script can go by `-c`: one that names itself needs its file.
fn fits_inline(shell: &Shell, text: &str) -> bool {
    let names_itself = ["$0", "${0", "BASH_SOURCE"].iter().any(|name| text.contains(name));
    let plain = !text.starts_with(['-', '+']) && !text.contains('\0') && text.len() <= INLINE;
    !matches!(shell, Shell::Custom(_)) && plain && !names_itself
}

fn write_script(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(path)?;
    file.write_all(text.as_bytes())
}

static SH: OnceLock<PathBuf> = OnceLock::new();
static BASH: OnceLock<PathBuf> = OnceLock::new();

/// Where a shell is: where systems have it, else in the PATH of `trees`. Looked for once.
fn found(cell: &OnceLock<PathBuf>, name: &str) -> PathBuf {
    let look = || {
        let usual = ["/bin", "/usr/bin"].map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        usual.into_iter().chain(std::env::split_paths(&path)).map(|dir| dir.join(name)).find(|p| p.is_file()).unwrap_or_else(|| name.into())
    };
    cell.get_or_init(look).clone()
}
