//! A program that is told things by a webhook: keeps each message, answers 200.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// It listens until it is dropped.
pub struct Hook {
    port: u16,
    heard: Arc<Mutex<Vec<Message>>>,
    thread: Option<JoinHandle<()>>,
}

/// One that came.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id: the same where it was sent again.
    pub id: String,
    /// Whether it came with a signature.
    pub signed: bool,
    pub body: Value,
}

impl Hook {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<Message>>>::default());
        let all = Arc::clone(&heard);
        let thread = thread::spawn(move || {
            // Who says nothing at all ends it.
            while let Ok((stream, _)) = listener.accept() {
                match hear(stream) {
                    Some(Some(message)) => all.lock().unwrap().push(message),
                    Some(None) => {}
                    None => return,
                }
            }
        });
        Self { port, heard, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn messages(&self) -> Vec<Message> {
        self.heard.lock().unwrap().clone()
    }
}

/// One message; `None` where nothing was said, `Some(None)` where it broke off.
fn hear(mut stream: TcpStream) -> Option<Option<Message>> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut length, mut id, mut signed, mut any) = (0, String::new(), false, false);
    for line in reader.by_ref().lines() {
        let Ok(line) = line else { return Some(None) };
        any = true;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "webhook-id" => value.clone_into(&mut id),
            "webhook-signature" => signed = value.starts_with("v1,"),
            _ => {}
        }
    }
    any.then_some(())?;
    let mut body = vec![0; length];
    let whole = reader.read_exact(&mut body).is_ok();
    let message = whole.then(|| Message { id, signed, body: serde_json::from_slice(&body).unwrap() });
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    Some(message)
}

impl Drop for Hook {
    fn drop(&mut self) {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
