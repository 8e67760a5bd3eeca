//! A web server for the time of an order: it answers the directory's questions and nothing else.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use trees_runner::kind::KindError;

/// For one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// A question's head is much smaller.
const LIMIT: usize = 16 << 10;
const BELOW: &str = "/.well-known/acme-challenge/";

type Answers = Arc<Mutex<BTreeMap<String, String>>>;

/// The server; it ends when dropped.
pub struct Responder {
    answers: Answers,
    task: JoinHandle<()>,
}

impl Responder {
    /// Listens on a port: of one address, or of all this machine has.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(address: Option<&str>, port: u16) -> Result<Self, KindError> {
        let bound = match address {
            Some(address) => TcpListener::bind((address, port)).await,
            // `::` takes IPv4 too, where the machine has IPv6 at all.
            None => match TcpListener::bind(("::", port)).await {
                Err(e) if e.kind() != ErrorKind::AddrInUse && e.kind() != ErrorKind::PermissionDenied => {
                    TcpListener::bind(("0.0.0.0", port)).await
                }
                bound => bound,
            },
        };
        let listener = bound.map_err(|e| cannot_listen(address, port, &e))?;
        let answers = Answers::default();
        let task = tokio::spawn(serve(listener, answers.clone()));
        Ok(Self { answers, task })
    }

    /// From now on the question for `token` is answered.
    pub fn answer(&self, token: &str, answer: &str) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(token.into(), answer.into());
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn cannot_listen(address: Option<&str>, port: u16, error: &std::io::Error) -> KindError {
    let place = address.map_or_else(|| format!("port {port}"), |address| format!("{address}:{port}"));
    let error_text = format!("challenge.http.port: cannot listen on {place}: {error}");
    match error.kind() {
        ErrorKind::AddrInUse => KindError::transient(error_text)
            .help("a server listens there already: give its web root as `challenge: { http: { folder: … } }`, or another port that port 80 leads to"),
        ErrorKind::PermissionDenied => KindError::new(error_text)
            .help("ports below 1024 need rights: run it as root, or give another port that port 80 leads to"),
        _ => KindError::new(error_text),
    }
}

async fn serve(listener: TcpListener, answers: Answers) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = answers.clone();
                tokio::spawn(async move { tokio::time::timeout(PATIENCE, talk(stream, &answers)).await });
            }
            // Of too many open files, say; the directory asks again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn talk(mut stream: TcpStream, answers: &Answers) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 && head.len() < LIMIT => head.extend_from_slice(&chunk[..read]),
            Ok(_) | Err(_) => return,
        }
    }
    let answer = said(&String::from_utf8_lossy(&head), &answers.lock().unwrap_or_else(PoisonError::into_inner));
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn said(head: &str, answers: &BTreeMap<String, String>) -> String {
    let mut words = head.split_ascii_whitespace();
    let known = match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => path.strip_prefix(BELOW).and_then(|token| answers.get(token)),
        _ => None,
    };
    let (status, text) = known.map_or(("404 Not Found", "nothing here\n"), |answer| ("200 OK", answer.as_str()));
    let length = text.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
}

#[cfg(test)]
mod tests {
    use super::said;
    use std::collections::BTreeMap;

    #[test]
    fn only_known_tokens_are_answered() {
        let answers = BTreeMap::from([("tok".to_owned(), "tok.thumb".to_owned())]);
        let check = |line: &str, expected: &str| {
            let said = said(&format!("{line}\r\nHost: a.test\r\n\r\n"), &answers);
            assert!(said.starts_with(&format!("HTTP/1.1 {expected}")), "{line}: {said}");
        };
        check("GET /.well-known/acme-challenge/tok HTTP/1.1", "200");
        check("GET /.well-known/acme-challenge/other HTTP/1.1", "404");
        check("GET /.well-known/acme-challenge/../tok HTTP/1.1", "404");
        check("POST /.well-known/acme-challenge/tok HTTP/1.1", "404");
        check("GET / HTTP/1.1", "404");
        check("", "404");
        assert!(said("GET /.well-known/acme-challenge/tok HTTP/1.1\r\n\r\n", &answers).ends_with("\r\n\r\ntok.thumb"));
    }
}
