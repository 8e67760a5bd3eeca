//! Starts a program in a session of its own, and hears of its end.
//!
//! One of the two unsafe places of the product, with `stop`. `std` can give a child a session only by
//! code between fork and exec, and fork copies the page tables of the whole engine: `posix_spawn`
//! costs a fraction of it, whatever the engine's size. <https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_spawn.html>

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, waitpid};
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;
use tokio::signal::unix::{SignalKind, signal};
#[cfg(target_os = "linux")]
use {
    std::os::fd::OwnedFd,
    tokio::io::{Interest, unix::AsyncFd},
};

#[cfg(not(target_vendor = "apple"))]
const SETSID: libc::c_short = libc::POSIX_SPAWN_SETSID;
/// From `<spawn.h>` of macOS; the crate does not name it.
#[cfg(target_vendor = "apple")]
const SETSID: libc::c_short = 0x0400;

/// What is started. It inherits nothing but what stands here: every descriptor of the engine is
/// close-on-exec.
pub struct Spawn<'a> {
    /// The program's arguments; the first is the program.
    pub argv: &'a [OsString],
    /// Its whole environment.
    pub env: &'a [(OsString, OsString)],
    /// Its working folder (absolute).
    pub dir: &'a Path,
    /// Its standard output and standard error; standard input is empty.
    pub output: BorrowedFd<'a>,
}

impl Spawn<'_> {
    /// Starts it: it leads a session and process group of its own, without a controlling terminal,
    /// so that opening `/dev/tty` fails at once and a Ctrl-C in the terminal does not reach it.
    /// Returns when the program is loaded.
    ///
    /// # Errors
    /// What the system says; nothing runs then.
    #[expect(unsafe_code, reason = "posix_spawn has no safe form that knows sessions and folders")]
    pub fn start(&self) -> io::Result<Pid> {
        let program = text(self.program()?.as_os_str())?;
        let argv = self.argv.iter().map(|a| text(a)).collect::<io::Result<Vec<_>>>()?;
        let env = self.env.iter().map(|(name, value)| pair(name, value)).collect::<io::Result<Vec<_>>>()?;
        let (argv, env) = (pointers(&argv), pointers(&env));
        let actions = Actions::new(self.dir, self.output)?;
        let attributes = Attributes::new()?;
        let mut pid = 0;
        // SAFETY: the path and the strings behind both null-terminated arrays outlive the call, as
        // do the actions and attributes, which were initialised. The call keeps none of them.
        let error = unsafe {
            libc::posix_spawn(&raw mut pid, program.as_ptr(), &raw const actions.0, &raw const attributes.0, argv.as_ptr(), env.as_ptr())
        };
        checked(error)?;
        Pid::from_raw(pid).ok_or_else(|| io::Error::other("the system gave no process number"))
    }

    /// The program's file: what has no slash is looked for in the PATH that it will have.
    fn program(&self) -> io::Result<PathBuf> {
        let name = self.argv.first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the argument vector is empty"))?;
        text(name)?;
        if name.as_bytes().contains(&b'/') {
            return Ok(PathBuf::from(name));
        }
        let path = self.env.iter().find(|(key, _)| key == "PATH").map_or(OsStr::new("/bin:/usr/bin"), |(_, value)| value);
        let all = std::env::split_paths(path).map(|folder| folder.join(name));
        // It is in its folder when it looks.
        let runs = |file: &PathBuf| {
            let file = self.dir.join(file);
            file.is_file() && rustix::fs::access(&file, rustix::fs::Access::EXEC_OK).is_ok()
        };
        // Not every macOS looks for it from there.
        let from = |file: PathBuf| if cfg!(target_vendor = "apple") { self.dir.join(file) } else { file };
        all.into_iter().find(runs).map(from).ok_or_else(|| Errno::NOENT.into())
    }
}

/// What happens in the child before the program is loaded.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    #[expect(unsafe_code, reason = "the system's own structure")]
    fn new(dir: &Path, output: BorrowedFd<'_>) -> io::Result<Self> {
        let dir = text(dir.as_os_str())?;
        let mut actions = MaybeUninit::uninit();
        // SAFETY: `init` initialises the structure or fails. Each call below gets it initialised,
        // with strings that outlive the call (the system copies them) and an open descriptor.
        unsafe {
            checked(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            let mut actions = Self(actions.assume_init());
            let all = &raw mut actions.0;
            checked(libc::posix_spawn_file_actions_addopen(all, 0, c"/dev/null".as_ptr(), libc::O_RDONLY, 0))?;
            checked(libc::posix_spawn_file_actions_adddup2(all, output.as_raw_fd(), 1))?;
            checked(libc::posix_spawn_file_actions_adddup2(all, output.as_raw_fd(), 2))?;
            checked(libc::posix_spawn_file_actions_addchdir_np(all, dir.as_ptr()))?;
            Ok(actions)
        }
    }
}

impl Drop for Actions {
    #[expect(unsafe_code, reason = "the system's own structure")]
    fn drop(&mut self) {
        // SAFETY: it was initialised and is used no more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// A session of its own, no signal blocked, none ignored: Rust ignores SIGPIPE, and a shell that
/// starts `trees` in the background SIGINT, which a script could then not even trap.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    #[expect(unsafe_code, reason = "the system's own structure")]
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        let (mut none, mut all) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let flags = libc::c_int::from(SETSID)
            | libc::c_int::from(flag(libc::POSIX_SPAWN_SETSIGMASK))
            | libc::c_int::from(flag(libc::POSIX_SPAWN_SETSIGDEF));
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        // SAFETY: `init`, `sigemptyset` and `sigfillset` initialise what the calls after them get.
        unsafe {
            checked(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Self(attributes.assume_init());
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            checked(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ptr()))?;
            checked(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, all.as_ptr()))?;
            checked(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    #[expect(unsafe_code, reason = "the system's own structure")]
    fn drop(&mut self) {
        // SAFETY: it was initialised and is used no more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// A child that was started and is not reaped yet.
pub struct Child {
    pid: Pid,
    end: End,
}

/// What tells of its end.
enum End {
    /// A descriptor of the process, readable once it has ended.
    #[cfg(target_os = "linux")]
    Descriptor(AsyncFd<OwnedFd>),
    /// SIGCHLD, of whichever child.
    Signal(tokio::signal::unix::Signal),
}

impl Child {
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When its end could not be heard of.
    pub fn new(pid: Pid) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(end) = descriptor(pid) {
            return Ok(Self { pid, end: End::Descriptor(end) });
        }
        Self::by_signal(pid)
    }

    fn by_signal(pid: Pid) -> io::Result<Self> {
        match signal(SignalKind::child()) {
            Ok(signal) => Ok(Self { pid, end: End::Signal(signal) }),
            Err(error) => {
                // Nothing may run that nobody waits for.
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(error)
            }
        }
    }

    /// Waits for its end and reaps it. Safe to be dropped and called again.
    ///
    /// # Errors
    /// When the system does not tell how it ended.
    pub async fn wait(&mut self) -> io::Result<WaitStatus> {
        loop {
            if let Some((_, status)) = waitpid(Some(self.pid), WaitOptions::NOHANG)? {
                return Ok(status);
            }
            match &mut self.end {
                #[cfg(target_os = "linux")]
                End::Descriptor(descriptor) => descriptor.readable().await?.clear_ready(),
                End::Signal(signal) => drop(signal.recv().await),
            }
        }
    }
}

/// A descriptor of a process; `None` where the kernel has none (before Linux 5.3) or gives no more.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
fn descriptor(pid: Pid) -> Option<AsyncFd<OwnedFd>> {
    let descriptor = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives, and it lives in
    // the registration.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE).ok() }
}

/// From now on what outlives its parent below this process becomes a child of this process, so that
/// it can be found. Without effect where the system does not know this (macOS).
pub fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(target_os = "linux")]
        if let Err(e) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::debug!("cannot become the reaper of orphans: {e}");
        }
    });
}

/// The constants are of another type on some systems.
fn flag(of_the_system: impl TryInto<libc::c_short>) -> libc::c_short {
    of_the_system.try_into().unwrap_or_default()
}

fn checked(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn text(value: &OsStr) -> io::Result<CString> {
    CString::new(value.as_bytes()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in an argument or variable"))
}

fn pair(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    text(OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
}

fn pointers(all: &[CString]) -> Vec<*mut libc::c_char> {
    all.iter().map(|one| one.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    fn start(argv: &[&str]) -> io::Result<Pid> {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let env = [("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
        let (_, output) = io::pipe()?;
        Spawn { argv: &argv, env: &env, dir: Path::new("/"), output: output.as_fd() }.start()
    }

    #[tokio::test]
    async fn the_end_is_heard_of_by_the_descriptor_and_by_the_signal() {
        let script = ["sh", "-c", "exit 7"];
        let mut by_descriptor = Child::new(start(&script).unwrap()).unwrap();
        assert_eq!(by_descriptor.wait().await.unwrap().exit_status(), Some(7));
        let children: Vec<_> = (0..20).map(|_| Child::by_signal(start(&script).unwrap()).unwrap()).collect();
        for mut child in children {
            assert_eq!(child.wait().await.unwrap().exit_status(), Some(7));
        }
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        assert_eq!(start(&["no-such-program"]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(start(&["/etc/passwd"]).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(start(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(start(&["a\0b"]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
