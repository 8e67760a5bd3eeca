//! Docker: a `dockerd` of its own, without a bridge, so that it leaves the machine's network alone.
//! Containers run on the host's network or on none; no image can be pulled.
//!
//! The tests that run at the same time share one ([`Docker::shared`]); it ends with the last of them.

use crate::{Daemon, program, said};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use tempfile::TempDir;

/// A running dockerd.
pub struct Docker {
    daemon: Option<Daemon>,
    folder: PathBuf,
}

/// What runs in the containers: answers each request on `$PORT` of `$HOST` with `$VERSION`, ends on SIGTERM.
const PROGRAM: &str = r#"
use std::io::{Read, Write};
unsafe extern "C" { fn signal(number: i32, handler: extern "C" fn(i32)) -> usize; fn _exit(code: i32) -> !; }
extern "C" fn end(_: i32) { unsafe { _exit(0) } }
fn main() {
    unsafe { signal(15, end); }
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    println!("version {} starts", var("VERSION"));
    if var("MODE") == "crash" { eprintln!("no configuration found"); std::process::exit(3); }
    let Ok(port) = var("PORT").parse::<u16>() else { loop { std::thread::park(); } };
    let host = if var("HOST").is_empty() { "127.0.0.1".to_owned() } else { var("HOST") };
    let listener = std::net::TcpListener::bind((host.as_str(), port)).unwrap();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let _ = stream.read(&mut [0; 4096]);
        let status = if var("MODE") == "bad" { "503 No" } else { "200 OK" };
        let body = var("VERSION");
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
}
"#;

impl Docker {
    /// The one that runs, or a new one.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Docker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start());
        *shared = Arc::downgrade(&started);
        started
    }

    /// Starts one, and makes the program that its containers run.
    pub fn start() -> Self {
        let temporary = TempDir::new().unwrap();
        let folder = temporary.path().to_path_buf();
        std::fs::write(folder.join("app.rs"), PROGRAM).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut compile = Command::new(rustc);
        compile.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "opt-level=1", "-C", "strip=symbols", "-o"]);
        said(compile.arg(folder.join("app")).arg(folder.join("app.rs")));
        let at = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new(program("dockerd"));
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "-H", &format!("unix://{}", at("d.sock"))]);
        command.args(["--pidfile", &at("pid"), "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        let socket = folder.join("d.sock");
        let daemon = Daemon::start(temporary, &command)
            .until("an answer", || ask(&socket, "GET", "/_ping").is_some_and(|(status, _)| status == 200));
        Self { daemon: Some(daemon), folder }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("d.sock")
    }

    /// A static program: answers each request on `$PORT` of 127.0.0.1 with `$VERSION`, with 503 where
    /// `$MODE` is `bad`; ends at once where it is `crash`, and on SIGTERM.
    pub fn app(&self) -> PathBuf {
        self.folder.join("app")
    }

    /// Asks it: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn ask(&self, method: &str, path: &str) -> (u16, String) {
        ask(&self.socket(), method, path).unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let list = ask(&self.socket(), "GET", "/containers/json?all=1").map(|(_, body)| body).unwrap_or_default();
        for id in list.split("{\"Id\":\"").skip(1).filter_map(|rest| rest.get(..64)) {
            let _ = ask(&self.socket(), "DELETE", &format!("/containers/{id}?force=1&v=1"));
        }
        if let Some(daemon) = self.daemon.take() {
            let folder = daemon.stop();
            // It leaves this one mounted once a container has run.
            let _ = Command::new("umount").arg(folder.path().join("exec/netns/default")).stderr(Stdio::null()).status();
        }
    }
}

fn ask(socket: &Path, method: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n").ok()?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
