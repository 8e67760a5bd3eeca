//! Hosts for a test, what is deployed to them, and those who watch it.

use super::super::{Out, Ssh};
use crate::bench::Bench;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trees_runner::kind::{Kind as _, KindError};
use trees_servers::sshd::Sshd;
use walkdir::WalkDir;

/// The program that is deployed, when it was started as one; else nothing. It says its version, on its port if
/// it has one, and writes it to `serving` in its home.
#[test]
fn program() {
    if std::env::var_os("SERVE").is_none() {
        return;
    }
    let home = PathBuf::from(std::env::var("HOME").unwrap());
    let version = std::fs::read_to_string("version").unwrap();
    println!("version {version} starts");
    let fails_here = home.join(format!("fail-{version}")).exists();
    let port: Option<u16> = std::env::var("PORT").ok().map(|port| port.parse().unwrap());
    let fails_on = std::env::var("FAIL_ON").is_ok_and(|on| Some(on) == port.map(|port| format!("real {port}")));
    if version == "crash" || fails_here || fails_on {
        println!("no configuration found");
        std::process::exit(9);
    }
    std::fs::write(home.join("serving"), &version).unwrap();
    let Some(port) = port else {
        loop {
            std::thread::park();
        }
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        let (mut stream, version) = (stream.unwrap(), version.clone());
        std::thread::spawn(move || {
            let _ = stream.read(&mut [0; 4096]);
            let status = if version == "bad" { "503 No" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{version}", version.len());
        });
    }
}

/// Hosts and a port; all that was started on them is ended when it is dropped.
pub struct Farm {
    pub bench: Bench,
    pub hosts: Vec<Sshd>,
    pub port: u16,
}

impl Drop for Farm {
    fn drop(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            let living = self.processes();
            if living.is_empty() {
                return;
            }
            for pid in living {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(std::process::Stdio::null()).status();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Farm {
    pub fn new(hosts: usize) -> Self {
        Self::with((0..hosts).map(|_| Sshd::start()).collect())
    }

    pub fn with(hosts: Vec<Sshd>) -> Self {
        let bench = Bench::new();
        bench.write("ssh_config", "");
        Self { bench, hosts, port: trees_servers::free_port() }
    }

    /// Of a host, by its number.
    pub fn root(&self, host: usize) -> PathBuf {
        self.hosts[host].home().join(".trees/deploy/proof/default/site")
    }

    pub fn known(&self) -> String {
        self.hosts.iter().map(Sshd::known).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.hosts.iter().map(Sshd::host).collect()
    }

    /// All hosts, without a port: they are one machine after all.
    pub fn all(&self, version: &str) -> Value {
        self.bench.write(&format!("{version}/version"), version);
        for host in &self.hosts {
            std::fs::copy(self.hosts[0].folder().join("key.pub"), host.folder().join("authorized_keys")).unwrap();
        }
        json!({
            "hosts": self.names(), "name": "site", "release": version, "files": { "version": format!("{version}/version") },
            "command": [std::env::current_exe().unwrap(), "--exact", "deploy::ssh::tests::farm::program", "--nocapture"],
            "env": { "SERVE": "1" }, "drain": "2s", "health_timeout": "20s", "supervise": "plain",
            "ssh": { "config": "ssh_config", "identity": self.hosts[0].folder().join("key"), "known_hosts": self.known() },
        })
    }

    /// One host, with a port.
    pub fn site(&self, version: &str) -> Value {
        let mut with = self.all(version);
        with["port"] = json!(self.port.to_string());
        with["health"] = json!("/healthz");
        with
    }

    pub async fn deploy(&self, with: Value) -> Out {
        let (out, acted) = self.bench.run::<Ssh>(with).await.unwrap_or_else(|e| panic!("{e} {:?}", e.help));
        assert!(acted && out.changed, "{out:?}");
        out
    }

    pub async fn fails(&self, with: Value) -> KindError {
        self.bench.run::<Ssh>(with).await.map(|_| ()).unwrap_err()
    }

    /// In a runtime of its own, as in a process of its own that is killed: with it ends all that was begun here.
    pub fn cut_off(&self, with: Value, after: Duration) {
        let begun = Instant::now();
        self.cut_off_when(with, || begun.elapsed() > after);
    }

    /// The same, as soon as it is so.
    pub fn cut_off_when(&self, with: Value, so: impl Fn() -> bool + Send) {
        let (with, cx) = (serde_json::from_value(with).unwrap(), self.bench.cx());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = super::super::alone(&with, &cx) => {}
                    () = async { while !so() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
                }
            });
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap());
    }

    /// Takes back what the last step recorded, twice.
    pub async fn undo_last(&self, count: usize) -> Result<(), KindError> {
        for record in self.bench.intents().iter().rev().take(count) {
            for _ in 0..2 {
                Ssh::undo(record, &self.bench.cx()).await?;
            }
        }
        Ok(())
    }

    pub fn answer(&self) -> Option<String> {
        ask(self.port)
    }

    pub fn current(&self, host: usize) -> Option<String> {
        Some(std::fs::read_link(self.root(host).join("current")).ok()?.file_name()?.to_str()?.to_owned())
    }

    /// The version that runs on a host, as it says itself.
    pub fn serving(&self, host: usize) -> Option<String> {
        self.programs(host).first()?;
        std::fs::read_to_string(self.hosts[host].home().join("serving")).ok()
    }

    /// The processes of the program on a host.
    pub fn programs(&self, host: usize) -> Vec<u32> {
        let home = format!("HOME={}", self.hosts[host].home().display());
        pids(|environment, command| environment.contains(&home.as_bytes()) && command.windows(7).any(|w| w == b"program"))
    }

    /// The supervisors on a host.
    pub fn supervisors(&self, host: usize) -> Vec<u32> {
        let home = format!("HOME={}", self.hosts[host].home().display());
        let all =
            pids(|environment, command| environment.contains(&home.as_bytes()) && command.windows(13).any(|w| w == b"supervise\0run"));
        // Not those that a supervisor forks.
        all.into_iter().filter(|pid| session(*pid) == Some(*pid)).collect()
    }

    /// Our own connections to a port.
    pub fn connections(port: u16) -> Vec<u32> {
        let to = format!("\0-p\0{port}\0");
        pids(|_, command| command.starts_with(b"ssh\0") && command.windows(to.len()).any(|w| w == to.as_bytes()))
    }

    /// All processes that were started on the hosts.
    pub fn processes(&self) -> Vec<u32> {
        let homes: Vec<String> = self.hosts.iter().map(|host| format!("HOME={}", host.home().display())).collect();
        pids(|environment, _| homes.iter().any(|home| environment.contains(&home.as_bytes())))
    }

    /// Each file of a host with what changes when it is written.
    pub fn listing(&self, host: usize) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
        let walk = WalkDir::new(self.hosts[host].home()).into_iter().flatten();
        let line = |e: walkdir::DirEntry| {
            let meta = e.metadata().unwrap();
            (e.into_path(), (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
        };
        walk.map(line).collect()
    }
}

/// Waits for something that must come.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(Duration::from_millis(25));
    }
}

pub fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

/// The session of a process.
fn session(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(3)?.parse().ok()
}

/// The processes of this machine whose environment and command line are such.
fn pids(is_such: impl Fn(&Vec<&[u8]>, &[u8]) -> bool) -> Vec<u32> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let is = |pid: &u32| {
        let read = |name: &str| std::fs::read(Path::new("/proc").join(pid.to_string()).join(name)).unwrap_or_default();
        let environment = read("environ");
        is_such(&environment.split(|b| *b == 0).collect(), &read("cmdline"))
    };
    numbers.filter(is).collect()
}

fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (_, answer) = text.split_once("\r\n\r\n")?;
    Some(answer.to_owned()).filter(|answer| !answer.is_empty())
}

/// Asks all the time; what it heard, repeated answers once.
pub struct Prober {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Option<String>>>,
}

impl Prober {
    pub fn start(port: u16) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let mut heard = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                let answer = ask(port);
                if heard.last() != Some(&answer) {
                    heard.push(answer);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            heard
        });
        Self { end, thread }
    }

    pub fn heard(self) -> Vec<Option<String>> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// Looks at the command lines of all processes all the time, for a text that must stand in none.
pub struct Spy {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Spy {
    pub fn start(secret: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (ended, secret) = (end.clone(), secret.as_bytes().to_vec());
        let thread = std::thread::spawn(move || {
            let mut found = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                for pid in pids(|_, command| command.windows(secret.len()).any(|w| w == secret)) {
                    found.push(pid.to_string());
                }
                std::thread::sleep(Duration::from_millis(3));
            }
            found
        });
        Self { end, thread }
    }

    pub fn found(self) -> Vec<String> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

pub fn version(text: &str) -> Option<String> {
    Some(text.to_owned())
}
