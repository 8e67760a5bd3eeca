//! What the tests of the kinds stand on: a folder of their own, a context, a recorder in the
//! runner's place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use trees_core::event::Json;
use trees_core::path::{RunId, StepPath};
use trees_core::store::{Generate, SecretVersions};
use trees_runner::http::Client;
use trees_runner::kind::{Cx, Keeper, Kind, KindError, Observation, Port, ReadCx, Reader, SecretReader};
use trees_runner::mask::Masker;

/// A folder and what was recorded in it.
pub struct Bench {
    folder: TempDir,
    recorder: Arc<Recorder>,
    cancel: CancellationToken,
    env: Vec<(String, String)>,
    mask: Masker,
    /// Of the last step that ran.
    with: Mutex<Arc<Json>>,
    /// One for all: making it reads the system's certificates.
    client: Arc<Client>,
}

#[derive(Default)]
struct Recorder {
    log: Mutex<Vec<String>>,
    intents: Mutex<Vec<Json>>,
    /// Fails each intent, as a journal that cannot be written.
    full: Mutex<bool>,
}

impl Port for Recorder {
    fn log(&self, line: &str) {
        self.log.lock().unwrap().push(line.into());
    }

    fn progress(&self, _fraction: Option<f64>, _text: &str) {}

    fn intend(&self, record: Json) -> Pin<Box<dyn Future<Output = Result<(), KindError>> + Send>> {
        let full = *self.full.lock().unwrap();
        if !full {
            self.intents.lock().unwrap().push(record);
        }
        Box::pin(async move { if full { Err(KindError::new("the journal is full")) } else { Ok(()) } })
    }
}

/// A store without secrets, whose seal only hides: kinds that need more are tested with the whole binary.
struct NoSecrets;

impl Keeper for NoSecrets {
    fn versions(&self, _name: &str) -> Result<Option<SecretVersions>, KindError> {
        Ok(None)
    }

    fn rotate(&self, name: &str, _how: &Generate, _key: &str) -> Result<u64, KindError> {
        Err(KindError::new(format!("there is no secret {name}")))
    }

    fn withdraw(&self, _name: &str, _key: &str) -> Result<(), KindError> {
        Ok(())
    }

    fn retire(&self, _name: &str) -> Result<Vec<u64>, KindError> {
        Ok(Vec::new())
    }

    fn seal(&self, label: &str, bytes: &[u8]) -> Result<String, KindError> {
        Ok(STANDARD.encode([label.as_bytes(), b"\0", bytes].concat()))
    }

    fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, KindError> {
        let bytes = STANDARD.decode(sealed).unwrap_or_default();
        let opened = bytes.strip_prefix(label.as_bytes()).and_then(|rest| rest.strip_prefix(b"\0"));
        opened.map(<[u8]>::to_vec).ok_or_else(|| KindError::new(format!("{label} cannot be opened")))
    }
}

impl Bench {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let env = vec![
            ("PATH".into(), std::env::var("PATH").unwrap()),
            ("HOME".into(), home.display().to_string()),
            ("GIT_CONFIG_GLOBAL".into(), home.join("gitconfig").display().to_string()),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
            ("TREES_RUN_ID".into(), "0123456789ab".into()),
        ];
        Self {
            folder,
            recorder: Arc::default(),
            cancel: CancellationToken::new(),
            env,
            mask: Masker::default(),
            with: Mutex::default(),
            client: Arc::default(),
        }
    }

    /// One whose run has a secret.
    pub fn knowing(secret: &str) -> Self {
        Self { mask: Masker::new([secret]), ..Self::new() }
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let dir = self.dir();
        std::fs::create_dir_all(&dir).unwrap();
        dir.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn read(&self) -> ReadCx {
        let dir = self.path("");
        ReadCx {
            run: RunId("0123456789ab".into()),
            step: StepPath::root("step"),
            project: "proof".into(),
            environment: String::new(),
            state: self.folder.path().join("state"),
            dir,
            env: Arc::new(self.env.clone()),
            cancel: self.cancel.clone(),
            http: Reader::new(self.client.clone()),
            mask: self.mask.clone(),
            secrets: SecretReader::new(Arc::new(NoSecrets)),
            left: None,
        }
    }

    pub fn cx(&self) -> Cx {
        Cx {
            read: self.read(),
            attempt: 1,
            idempotency_key: "key-1".into(),
            with: self.with.lock().unwrap().clone(),
            client: self.client.clone(),
            port: self.recorder.clone(),
            keeper: Arc::new(NoSecrets),
        }
    }

    pub fn intents(&self) -> Vec<Json> {
        self.recorder.intents.lock().unwrap().clone()
    }

    /// What was written to the step's log.
    pub fn logged(&self) -> Vec<String> {
        self.recorder.log.lock().unwrap().clone()
    }

    /// From now on no intent can be recorded.
    pub fn fill(&self) {
        *self.recorder.full.lock().unwrap() = true;
    }

    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// As the runner does it: look, and act unless it is so already.
    pub async fn run<K: Kind>(&self, with: Json) -> Result<(K::Out, bool), KindError> {
        *self.with.lock().unwrap() = Arc::new(with.clone());
        let with: K::With = serde_json::from_value(with).map_err(|e| KindError::new(format!("with: {e}")))?;
        let wrong = K::validate(&with);
        if !wrong.is_empty() {
            return Err(KindError::new(wrong.join("; ")));
        }
        if let Observation::Satisfied(out) = K::observe(&with, &self.read()).await? {
            return Ok((out, false));
        }
        Ok((K::apply(&with, &self.cx()).await?, true))
    }

    pub async fn observe<K: Kind>(&self, with: Json) -> Observation<K::Out> {
        K::observe(&serde_json::from_value(with).unwrap(), &self.read()).await.unwrap()
    }

    /// Fields that differ.
    pub async fn drift<K: Kind>(&self, with: Json) -> Vec<String> {
        match self.observe::<K>(with).await {
            Observation::Differs(changes) => changes.into_iter().map(|c| c.field).collect(),
            Observation::Satisfied(_) => vec![],
            Observation::Anew(changes) => std::iter::once("anew".into()).chain(changes.into_iter().map(|c| c.field)).collect(),
            Observation::Absent => vec!["absent".into()],
            Observation::Unknown(why) => vec![format!("unknown: {why}")],
        }
    }

    /// Takes back all that was recorded, the newest first, each twice.
    pub async fn undo<K: Kind>(&self) -> Result<(), KindError> {
        for record in self.intents().iter().rev() {
            K::undo(record, &self.cx()).await?;
            K::undo(record, &self.cx()).await?;
        }
        Ok(())
    }
}

/// A real HTTP server on a port of its own; it ends when dropped.
pub struct Server {
    address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers each request (its head and body as text) with a whole HTTP answer.
    pub async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), seen.clone()));
            }
        });
        Self { address, requests, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: tokio::net::TcpStream, answer: Arc<impl Fn(&str) -> String>, seen: Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !whole(&text) {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => text.push_str(&String::from_utf8_lossy(&chunk[..read])),
        }
    }
    seen.lock().unwrap().push(text.clone());
    let answer = answer(&text).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>().unwrap()));
    body.len() >= length.unwrap_or(0)
}
