//! The service as a client sees it: real sockets, a free port each.

use chat::chat::Chat;
use chat::config;
use chat::server::{Server, Stop};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};

struct Running {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), Chat::new(&config::channels())).unwrap();
        let (address, stop) = (server.address().unwrap(), server.stop().unwrap());
        Self { address, stop, thread: Some(thread::spawn(|| server.run())) }
    }

    /// Sends bytes as they are and reads the whole answer.
    fn send(&self, bytes: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.now();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn channel() -> String {
    config::channels().remove(0)
}

#[test]
fn is_healthy_and_tells_its_version() {
    let chat = Running::start();
    assert_eq!(chat.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(chat.get("/version"), (200, format!("{}\n", config::VERSION)));
}

#[test]
fn a_posted_message_comes_back_in_json_and_on_the_page() {
    let chat = Running::start();
    let path = format!("/channels/{}/messages", channel());
    let message = r#"{"id":"a1","author":"ann","text":"hello \"there\""}"#;
    assert_eq!(chat.post(&path, message).0, 201);
    assert_eq!(chat.post(&path, message).0, 200);
    let (status, body) = chat.get(&path);
    assert_eq!((status, body.as_str()), (200, r#"[{"number":"1","id":"a1","author":"ann","text":"hello \"there\""}]"#));
    assert_eq!(chat.get(&format!("{path}?after=1")), (200, "[]".into()));
    let (status, page) = chat.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("hello &quot;there&quot;"), "{page}");
}

#[test]
fn a_form_of_the_page_posts_and_goes_back_to_it() {
    let chat = Running::start();
    let body = "author=bob&text=from+a+form";
    let head = format!("POST /channels/{}/messages HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded", channel());
    let (status, _) = chat.send(&format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(status, 303);
    assert!(chat.get("/").1.contains("from a form"));
}

#[test]
fn lists_its_channels() {
    let chat = Running::start();
    let (status, body) = chat.get("/channels");
    assert_eq!(status, 200);
    assert!(body.contains(&format!("\"{}\"", channel())), "{body}");
}

#[test]
fn bad_requests_are_told_so_and_harm_nobody() {
    let chat = Running::start();
    let path = format!("/channels/{}/messages", channel());
    assert_eq!(chat.get("/nowhere").0, 404);
    assert_eq!(chat.get("/channels/no-such-channel/messages").0, 404);
    assert_eq!(chat.get(&format!("{path}?after=x")).0, 400);
    assert_eq!(chat.post(&path, "{").0, 400);
    assert_eq!(chat.post(&path, r#"{"text":" "}"#).0, 400);
    assert_eq!(chat.post("/healthz", "{}").0, 405);
    assert_eq!(chat.send("DELETE /channels/x/messages HTTP/1.1\r\n\r\n").0, 405);
    assert_eq!(chat.send("nonsense\r\n\r\n").0, 400);
    assert_eq!(chat.send(&format!("POST {path} HTTP/1.1\r\nContent-Length: 999999\r\n\r\n")).0, 413);
    assert_eq!(chat.send(&format!("POST {path} HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")).0, 415);
    assert_eq!(chat.get("/healthz").0, 200);
}

#[test]
fn a_head_request_gets_no_body() {
    let chat = Running::start();
    assert_eq!(chat.send("HEAD /healthz HTTP/1.1\r\n\r\n"), (200, String::new()));
}

#[test]
fn many_post_at_once_and_none_is_lost() {
    let chat = Running::start();
    let path = format!("/channels/{}/messages", channel());
    thread::scope(|scope| {
        for n in 0..20 {
            let (chat, path) = (&chat, &path);
            scope.spawn(move || assert_eq!(chat.post(path, &format!("{}\"text\":\"message {n}\"{}", '{', '}')).0, 201));
        }
    });
    let (_, body) = chat.get(&path);
    assert_eq!(body.matches("\"id\"").count(), 20, "{body}");
}

#[test]
fn the_end_waits_for_the_request_in_flight() {
    let mut chat = Running::start();
    let mut stream = TcpStream::connect(chat.address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    // Answered: the accept loop has seen the first connection too.
    assert_eq!(chat.get("/healthz").0, 200);
    chat.stop.now();
    stream.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
    chat.thread.take().unwrap().join().unwrap();
    chat.thread = Some(thread::spawn(|| ()));
}
