//! A server's process and its folder.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// By when a server must be up; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a server gets to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A server that runs; it ends when this is dropped, or with the process that started it.
pub struct Daemon {
    child: Child,
    name: String,
    folder: TempDir,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program in the foreground. `command` must not daemonise; what it prints goes to `log` in
    /// the folder.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(folder: TempDir, command: &Command) -> Self {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.path().join("log");
        let child = spawn(tied(command, &log)).unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { child, name, folder, log }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// When it ends first, or is not up in a minute; with what it printed.
    #[must_use]
    pub fn listening(self, port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        self.until(&format!("port {port}"), || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
    }

    /// Waits until it is as `ready` asks.
    ///
    /// # Panics
    /// When it ends first, or is not so in a minute; with what it printed.
    #[must_use]
    pub fn until(mut self, what: &str, mut ready: impl FnMut() -> bool) -> Self {
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = self.ended() {
                panic!("{} ended ({status}) before {what}:\n{}", self.name, self.printed());
            }
            assert!(begun.elapsed() < PATIENCE, "{}: no {what} in {PATIENCE:?}:\n{}", self.name, self.printed());
            std::thread::sleep(PAUSE);
        }
        self
    }

    /// Sends a signal by name: `HUP`, `STOP`, `KILL`.
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
    }

    /// Ends it and gives its folder, to be started anew there.
    ///
    /// # Panics
    /// Never: the folder is replaced by a new one, which goes with this.
    pub fn stop(mut self) -> TempDir {
        self.end();
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn end(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal("CONT");
        self.signal("TERM");
        let begun = Instant::now();
        while self.ended().is_none() && begun.elapsed() < GRACE {
            std::thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// The same command, ended by the kernel when its parent is gone, where `setpriv` can say so. Its
/// output goes to `log`.
fn tied(command: &Command, log: &Path) -> Command {
    let mut tied = match crate::found("setpriv") {
        Some(setpriv) => {
            let mut tied = Command::new(setpriv);
            tied.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
            tied
        }
        None => Command::new(command.get_program()),
    };
    tied.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    let log = File::create(log).unwrap();
    tied.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    tied
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts it from a thread that never ends: the kernel takes the end of the thread that started a
/// process for that of its parent, and a test's thread ends with the test.
fn spawn(command: Command) -> std::io::Result<Child> {
    static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, started) = channel();
    STARTER.lock().unwrap().send((command, answer)).unwrap();
    started.recv().unwrap()
}
