//! A route with two programs behind it, for its tests.

use super::{Bench, Out, Route, Value, json};
use crate::deploy::instance::Instance;
use crate::deploy::root::Root;
use crate::deploy::route::text::Wanted;
use crate::deploy::set_supervisor;
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use trees_runner::kind::KindError;
use trees_servers::free_port;

/// A program behind a route, which answers each request with its word, a moment later.
pub struct Backend {
    pub address: String,
    pub held: Arc<AtomicBool>,
    pub in_flight: Arc<AtomicUsize>,
}

impl Backend {
    pub fn start(word: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (held, in_flight) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (hold, count) = (held.clone(), in_flight.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, hold, count) = (stream.unwrap(), hold.clone(), count.clone());
                std::thread::spawn(move || {
                    let mut head = vec![0; 8192];
                    let read = stream.read(&mut head).unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..read]).into_owned();
                    count.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    while head.starts_with("GET /held") && hold.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    count.fetch_sub(1, Ordering::SeqCst);
                    let mut body = format!("{word} {head}");
                    if head.starts_with("POST /large") {
                        body = format!("{} bytes came{}", received(&mut stream, &head), "x".repeat(4 << 20));
                    }
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                });
            }
        });
        Self { address, held, in_flight }
    }
}

/// A route on a port of its own; the nginx that trees keeps for it is ended when it is dropped.
pub struct Site {
    pub bench: Bench,
    pub port: u16,
    pub blue: Backend,
    pub green: Backend,
}

impl Drop for Site {
    fn drop(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            let living: Vec<Instance> = Root(self.root()).instances().into_iter().filter(Instance::lives).collect();
            if living.is_empty() {
                return;
            }
            for status in living.iter().filter_map(Instance::status) {
                status.supervisor.signal(Signal::KILL);
                status.child.iter().for_each(|child| child.signal_group(Signal::KILL));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Site {
    pub fn new() -> Self {
        let own = std::env::current_exe().unwrap();
        set_supervisor(own, ["--exact", "deploy::tests::supervisor", "--nocapture"].map(Into::into).to_vec());
        Self { bench: Bench::new(), port: free_port(), blue: Backend::start("blue"), green: Backend::start("green") }
    }

    pub fn root(&self) -> PathBuf {
        self.bench.read().state.join("route/nginx/proof/default")
    }

    pub fn with(&self, active: &str) -> Value {
        json!({
            "name": "site", "listen": format!("127.0.0.1:{}", self.port), "active": active, "drain": "0s",
            "to": { "blue": self.blue.address, "green": format!("http://{}/", self.green.address) },
        })
    }

    pub fn other(&self, extra: Value) -> Value {
        let mut with = self.with("blue");
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with
    }

    pub async fn lead(&self, active: &str) -> Out {
        let (out, acted) = self.bench.run::<Route>(self.with(active)).await.unwrap();
        assert!(acted && out.changed && out.active == active, "{out:?}");
        out
    }

    pub async fn fails(&self, with: Value) -> KindError {
        self.bench.run::<Route>(with).await.map(|_| ()).unwrap_err()
    }

    pub fn answers(&self) -> String {
        get(self.port, "/").map(|body| body.split(' ').next().unwrap_or_default().to_owned()).unwrap_or_else(|wrong| wrong)
    }

    pub fn file(&self) -> PathBuf {
        self.root().join("routes/site.conf")
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    pub fn living(&self) -> usize {
        Root(self.root()).instances().iter().filter(|i| i.lives()).count()
    }

    pub fn wanted(&self, with: Value) -> Wanted {
        Wanted::new(&serde_json::from_value(with).unwrap(), &self.bench.read(), None).unwrap()
    }
}

/// How many bytes of a body came, of which the first may stand behind the head.
fn received(stream: &mut TcpStream, head: &str) -> usize {
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap()));
    let mut came = head.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    let mut piece = vec![0; 64 << 10];
    while came < length.unwrap_or(0) {
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => came += read,
            Ok(_) | Err(_) => break,
        }
    }
    came
}

/// The body of a 200, else what came instead. A connection of its own for each request.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    let said = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(said)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(said)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").map_err(said)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(said)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("half an answer: {text}"))?;
    if head.starts_with("HTTP/1.1 200") && !body.is_empty() { Ok(body.to_owned()) } else { Err(text.clone()) }
}

pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
