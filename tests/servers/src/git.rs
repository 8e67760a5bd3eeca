//! git's own servers: `git daemon`, and `git http-backend` behind a small HTTP server that asks for a password.

use crate::{Daemon, free_port, said};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The folder with git's own programs.
fn programs() -> PathBuf {
    PathBuf::from(said(Command::new("git").arg("--exec-path")).trim())
}

/// `git daemon` over a folder of repositories, which anybody may push to.
pub struct GitDaemon {
    _daemon: Daemon,
    port: u16,
}

impl GitDaemon {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(root: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new(programs().join("git-daemon"));
        command.args(["--export-all", "--enable=receive-pack", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")]);
        command.arg(format!("--base-path={}", root.display())).arg(root);
        Self { _daemon: Daemon::start(TempDir::new().unwrap(), &command).listening(port), port }
    }

    /// A repository's URL.
    pub fn url(&self, repository: &str) -> String {
        format!("git://127.0.0.1:{}/{repository}", self.port)
    }
}

/// git over HTTP; who has the password may read and push.
pub struct GitHttp {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl GitHttp {
    /// Starts it over a folder of repositories. `password` is what stands behind `Authorization: Basic`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(root: &Path, password: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ends, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (backend, root, password) = (programs().join("git-http-backend"), root.to_path_buf(), password.to_owned());
        let (end, requests) = (ends.clone(), heard.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                // Who hangs up early gets no answer.
                if let Some(request) = Request::read(&stream) {
                    requests.lock().unwrap().push(request.line.clone());
                    let _ = request.answer(stream, &backend, &root, &password);
                }
            }
        });
        Self { address, ends, heard, thread: Some(thread) }
    }

    /// A repository's URL; `user` is what stands before the `@`, if anything.
    pub fn url(&self, user: &str, repository: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        format!("http://{user}{at}{}/{repository}", self.address)
    }

    /// The first lines of all requests.
    ///
    /// # Panics
    /// Never.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            Some(line.trim_end().to_owned())
        };
        let first = line()?;
        let mut headers = Vec::new();
        while let Some((name, value)) = line()?.split_once(": ") {
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut request = Self { line: first, headers, body: Vec::new() };
        let length = request.header("content-length").parse().unwrap_or(0);
        reader.take(length).read_to_end(&mut request.body).ok()?;
        Some(request)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    fn answer(&self, mut stream: TcpStream, backend: &Path, root: &Path, password: &str) -> std::io::Result<()> {
        if self.header("authorization") != format!("Basic {password}") {
            let head =
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return stream.write_all(head.as_bytes());
        }
        let target = self.line.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut command = Command::new(backend);
        command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("REMOTE_USER", "me").env("REMOTE_ADDR", "127.0.0.1");
        command.env("REQUEST_METHOD", self.line.split(' ').next().unwrap_or_default()).env("PATH_INFO", path).env("QUERY_STRING", query);
        command.env("CONTENT_TYPE", self.header("content-type")).env("CONTENT_LENGTH", self.body.len().to_string());
        command.env("HTTP_CONTENT_ENCODING", self.header("content-encoding")).env("HTTP_GIT_PROTOCOL", self.header("git-protocol"));
        command.env("GIT_PROTOCOL", self.header("git-protocol"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (mut stdin, body) = (child.stdin.take().unwrap(), self.body.clone());
        let writer = std::thread::spawn(move || stdin.write_all(&body));
        let done = child.wait_with_output()?;
        let _ = writer.join();
        let at = done.stdout.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(done.stdout.len());
        let head = String::from_utf8_lossy(&done.stdout[..at]).into_owned();
        let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
        stream.write_all(&done.stdout)
    }
}
