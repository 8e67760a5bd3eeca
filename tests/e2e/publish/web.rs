//! Somebody outside: asks over http or https, twenty times a second if wanted, and keeps what came.

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Twenty times a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Something that answers on a port of this machine.
#[derive(Clone)]
pub struct Site {
    pub port: u16,
    /// Its name, and whom its certificate must be from; without, it speaks plain http.
    tls: Option<(String, Arc<ClientConfig>)>,
}

impl Site {
    pub fn plain(port: u16) -> Self {
        Self { port, tls: None }
    }

    /// One with a certificate for `name` by one of these roots (PEM).
    pub fn secure(port: u16, name: &str, roots: &[u8]) -> Self {
        let mut store = RootCertStore::empty();
        CertificateDer::pem_slice_iter(roots).for_each(|root| store.add(root.unwrap()).unwrap());
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let config = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(store).with_no_client_auth();
        Self { port, tls: Some((name.to_owned(), Arc::new(config))) }
    }

    /// The body of a good answer.
    pub fn get(&self, path: &str) -> Result<String, String> {
        let wrong = |e: std::io::Error| e.to_string();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(wrong)?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(wrong)?;
        let answer = match &self.tls {
            None => exchange(stream, "app", path),
            Some((name, config)) => {
                let server = ServerName::try_from(name.clone()).unwrap();
                let connection = ClientConnection::new(Arc::clone(config), server).map_err(|e| e.to_string())?;
                exchange(StreamOwned::new(connection, stream), name, path)
            }
        };
        let answer = answer.map_err(wrong)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("half an answer: {answer:?}"))?;
        if head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200") { Ok(body.to_owned()) } else { Err(head.to_owned()) }
    }

    /// The version that it answers with: `version` of a JSON body, or the body.
    pub fn version(&self) -> Result<String, String> {
        let body = self.get("/version")?;
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        Ok(json["version"].as_str().map_or(body.clone(), str::to_owned))
    }
}

fn exchange(mut stream: impl Read + Write, name: &str, path: &str) -> std::io::Result<String> {
    // In one piece: a small server may read only once.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Versions, or why there was none.
type Answers = Vec<Result<String, String>>;

/// Asks until it is dropped.
pub struct Prober {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    seen: Arc<Mutex<Answers>>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    pub fn start(site: &Site) -> Self {
        let (stop, asked, seen) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<Mutex<Answers>>::default());
        let (halt, count, all, site) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&seen), site.clone());
        let thread = thread::spawn(move || {
            while !halt.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = site.version();
                count.fetch_add(1, Ordering::Relaxed);
                let mut all = all.lock().unwrap();
                if all.last() != Some(&answer) {
                    all.push(answer);
                }
                drop(all);
                thread::park_timeout(PAUSE.saturating_sub(begun.elapsed()));
            }
        });
        Self { stop, asked, seen, thread: Some(thread) }
    }

    /// How often it asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The answers since the last look, what is the same in a row once. A failed request is an error.
    #[track_caller]
    pub fn versions(&self) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap();
        let last = seen.last().cloned();
        let all = std::mem::replace(&mut *seen, last.into_iter().collect());
        all.into_iter().map(|answer| answer.unwrap_or_else(|e| panic!("a request to production failed: {e}"))).collect()
    }
}

impl Prober {
    /// Since the last look only these answered, and at the end the last of them. While nginx changes its workers, the old
    /// and the new answer side by side.
    #[track_caller]
    pub fn saw(&self, versions: &[&str]) {
        let seen = self.versions();
        assert!(seen.iter().all(|one| versions.contains(&one.as_str())), "{seen:?}, not only {versions:?}");
        assert_eq!(seen.last().map(String::as_str), versions.last().copied(), "{seen:?}");
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
