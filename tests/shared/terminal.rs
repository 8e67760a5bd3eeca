//! A pseudo-terminal with a command in its foreground; every byte that it shows is kept.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a text is awaited before the case has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Columns and rows, as most have them.
pub const SCREEN: (u16, u16) = (80, 24);

/// One.
pub struct Terminal {
    keys: File,
    slave: File,
    child: Child,
    seen: Arc<Seen>,
    reader: JoinHandle<()>,
}

/// What was shown so far, and a bell for whoever waits for more.
#[derive(Default)]
struct Seen {
    bytes: Mutex<Vec<u8>>,
    more: Condvar,
    /// Nobody looks any more.
    over: AtomicBool,
}

impl Terminal {
    /// Starts a command as the leader of a session whose terminal this is, so many columns wide and rows high.
    pub fn start(plain: &Command, (columns, rows): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        // A Ctrl-C throws away what the terminal has not shown yet, after it has sent its signal: what is said to it could
        // be part of that.
        let mut modes = tcgetattr(&slave).unwrap();
        modes.local_modes |= LocalModes::NOFLSH;
        tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(plain.get_program()).args(plain.get_args()).env_clear();
        command.current_dir(plain.get_current_dir().unwrap());
        command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?)))).env("TERM", "xterm-256color").env("NO_COLOR", "1");
        let end = || slave.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(master);
        let seen = Arc::<Seen>::default();
        let reader = read(keys.try_clone().unwrap(), Arc::clone(&seen));
        Self { keys, slave, child, seen, reader }
    }

    /// Waits until a text was shown so often.
    #[track_caller]
    pub fn until(&self, text: &str, times: usize) {
        let mut bytes = self.seen.bytes.lock().unwrap();
        while String::from_utf8_lossy(&bytes).matches(text).count() < times {
            let (guard, late) = self.seen.more.wait_timeout(bytes, PATIENCE).unwrap();
            bytes = guard;
            assert!(!late.timed_out(), "{text} never came:\n{}", String::from_utf8_lossy(&bytes));
        }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether it echoes what is typed, as it did at first.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end of the command; its exit code and every byte that was shown.
    pub fn end(mut self) -> (i32, Vec<u8>) {
        let code = code(self.child.wait().unwrap());
        assert!(self.echoes(), "the terminal does not echo any more");
        drop(self.slave);
        drop(self.keys);
        self.reader.join().unwrap();
        let seen = std::mem::take(&mut *self.seen.bytes.lock().unwrap());
        (code, seen)
    }

    /// The terminal goes away under the command; its exit code.
    pub fn hang_up(mut self) -> i32 {
        self.seen.over.store(true, Ordering::Release);
        // The reader has the other end too: one more byte makes it look up.
        self.slave.write_all(b".").unwrap();
        self.reader.join().unwrap();
        drop((self.slave, self.keys));
        code(self.child.wait().unwrap())
    }
}

/// The exit code as a shell says it.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Gathers what is shown, until the last writer is gone.
fn read(mut master: File, seen: Arc<Seen>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = master.read(&mut chunk) {
            seen.bytes.lock().unwrap().extend_from_slice(&chunk[..count]);
            seen.more.notify_all();
            if seen.over.load(Ordering::Acquire) {
                return;
            }
        }
        seen.more.notify_all();
    })
}
