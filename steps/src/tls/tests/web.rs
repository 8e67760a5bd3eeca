//! A web server over a folder, whose answers can be held back.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

/// A server on a port of loopback; its threads end with the test's process.
pub struct Web {
    pub port: u16,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    waiting: usize,
}

impl Web {
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Arc::<Gate>::default();
        let (root, held) = (root.to_path_buf(), gate.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, held) = (root.clone(), held.clone());
                std::thread::spawn(move || answer(stream, &root, &held));
            }
        });
        Self { port, gate }
    }

    /// From now on answers are found, and held back.
    pub fn hold(&self) {
        self.gate.state.lock().unwrap().closed = true;
    }

    /// Sends what was held back.
    pub fn release(&self) {
        self.gate.state.lock().unwrap().closed = false;
        self.gate.changed.notify_all();
    }

    /// So many answers are held back.
    pub fn waiting(&self) -> usize {
        self.gate.state.lock().unwrap().waiting
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.release();
    }
}

fn answer(mut stream: TcpStream, root: &Path, gate: &Gate) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(read) if read > 0 => head.extend_from_slice(&chunk[..read]),
            Ok(_) | Err(_) => return,
        }
    }
    let path = String::from_utf8_lossy(&head).split_ascii_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let found: Option<Vec<u8>> = std::fs::read(root.join(PathBuf::from(path))).ok();
    let mut state = gate.state.lock().unwrap();
    state.waiting += 1;
    let mut state = gate.changed.wait_while(state, |state| state.closed).unwrap();
    state.waiting -= 1;
    drop(state);
    let (status, body) = found.map_or(("404 Not Found", b"no".to_vec()), |body| ("200 OK", body));
    let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).as_bytes());
    let _ = stream.write_all(&body);
}
