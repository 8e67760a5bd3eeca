//! A service in staging and production, with a real database, name server and nginx around it, and somebody who asks
//! production all the time.

use crate::bench::{Bench, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use trees_servers::postgres::{PASSWORD, Postgres};
use trees_servers::powerdns::PowerDns;
use trees_servers::{free_port, said};

/// The steps of the tree that touch something, in their order.
pub const NODES: [&str; 14] =
    ["policy", "build", "stage", "staged", "backup", "migrate", "lane", "beside", "window", "route", "name", "named", "promote", "answers"];

/// Twenty times a second.
const PAUSE: Duration = Duration::from_millis(50);

pub struct Scene {
    pub bench: Bench,
    pub port: u16,
    pub zone: String,
    pub database: String,
    arguments: Vec<String>,
    postgres: Arc<Postgres>,
    powerdns: PowerDns,
}

impl Scene {
    pub fn new() -> Self {
        let bench = Bench::new();
        let cookbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("cookbooks/publish");
        said(Command::new("cp").arg("-R").arg(cookbook.join(".")).arg(bench.dir()));
        let (postgres, powerdns) = (Postgres::shared(), PowerDns::start());
        let (zone, port) = (powerdns.zone(), free_port());
        let database = format!("publish_{port}");
        postgres.ask("postgres", &format!("CREATE DATABASE {database}"));
        let given = [
            ("port", port.to_string()),
            ("staging_port", free_port().to_string()),
            ("blue", free_port().to_string()),
            ("green", free_port().to_string()),
            ("window", "200ms".into()),
            ("drain", "2s".into()),
            ("database", format!("{}/{database}", postgres.url())),
            ("migrations", "migrations".into()),
            ("zone", zone.clone()),
            ("dns_api", powerdns.url()),
            ("dns_server", format!("127.0.0.1:{}", powerdns.port)),
        ];
        let arguments = given.into_iter().flat_map(|(name, value)| ["-p".to_owned(), format!("{name}={value}")]).collect();
        Self { bench, port, zone, database, arguments, postgres, powerdns }
    }

    /// A command with all that this scene gives to a run.
    fn command(&self, command: &[&str], file: &str, version: &str) -> Command {
        let mut all = command.to_vec();
        let version = format!("version={version}");
        all.extend([file, "-p", &version]);
        all.extend(self.arguments.iter().map(String::as_str));
        self.with_secrets(&all)
    }

    fn with_secrets(&self, arguments: &[&str]) -> Command {
        let mut command = self.bench.command(arguments);
        command.env("DATABASE_PASSWORD", PASSWORD).env("DNS_KEY", self.powerdns.key);
        command
    }

    pub fn plan(&self, version: &str) -> Outcome {
        Outcome::of(&self.command(&["plan"], "publish.yaml", version).output().unwrap())
    }

    pub fn run(&self, file: &str, version: &str) -> Outcome {
        Outcome::of(&self.command(&["run", "--approve", "*"], file, version).output().unwrap())
    }

    pub fn resume(&self) -> Outcome {
        Outcome::of(&self.with_secrets(&["resume", "--yes"]).output().unwrap())
    }

    /// Runs until an event of this type of a step is told, and kills `trees` then. Whether it was.
    pub fn killed_at(&self, version: &str, kind: &str, step: &str) -> bool {
        killed_at(&mut self.command(&["run", "--approve", "*", "--format", "json"], "publish.yaml", version), kind, step)
    }

    /// The same tree with a step that fails: its verify, or what it does where nothing is to do on it.
    pub fn broken(&self, step: &str) -> String {
        let text = self.bench.read("publish.yaml");
        let (before, rest) = text.split_once(&format!("\n  {step}:\n")).unwrap_or_else(|| panic!("no step {step}"));
        let (own, after) = rest.split_once("\n\n").unwrap();
        let verify = |own: &str| format!("{}\n    verify: {{ run: 'exit 1' }}", own.split("    verify:").next().unwrap().trim_end());
        let own = match step {
            "lane" => format!("{own}\n      root: /proc/nowhere"),
            "name" => own.replace("{{ params.dns_api }}", "http://127.0.0.1:1"),
            _ => verify(own),
        };
        let text = format!("{before}\n  {step}:\n{own}\n\n{after}");
        let name = format!("broken-{step}.yaml");
        self.bench.write(&name, text);
        name
    }

    /// What production answers.
    pub fn version(&self) -> String {
        ask(self.port).unwrap()
    }

    /// What the name server says of the service.
    pub fn records(&self) -> Value {
        let zone: Value = serde_json::from_str(&self.powerdns.content(&self.zone)).unwrap();
        let ours = zone["rrsets"].as_array().unwrap().iter().find(|set| set["name"] == format!("app.{}.", self.zone));
        ours.cloned().unwrap_or_default()
    }

    /// The tables of the database.
    pub fn tables(&self) -> Vec<String> {
        let asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
        self.postgres.ask(&self.database, asked).lines().map(str::to_owned).collect()
    }

    /// The contents of a deployed release, by file.
    pub fn release(&self, environment: &str, name: &str, release: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let root = self.bench.path(&format!(".trees/deploy/publish/{environment}/{name}/releases/{release}"));
        let files = files(&root).into_iter().map(|path| (path.strip_prefix(&root).unwrap().to_owned(), fs::read(&path).unwrap()));
        files.filter(|(path, _)| !path.components().any(|part| part.as_os_str() == "__pycache__")).collect()
    }

    /// Files in which a secret stands as it is.
    pub fn betrayed(&self) -> Vec<PathBuf> {
        betrayed(&self.bench, &[PASSWORD, self.powerdns.key])
    }
}

/// Files of a place in which one of these texts stands as it is.
pub fn betrayed(bench: &Bench, secrets: &[&str]) -> Vec<PathBuf> {
    let has = |path: &PathBuf| {
        let content = fs::read(path).unwrap_or_default();
        secrets.iter().any(|secret| content.windows(secret.len()).any(|window| window == secret.as_bytes()))
    };
    files(bench.dir().parent().unwrap()).into_iter().filter(has).collect()
}

/// All files below a folder.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found
}

/// What was started ends with the scene.
impl Drop for Scene {
    fn drop(&mut self) {
        end_deployed(&self.bench);
    }
}

/// Ends what runs of a place have deployed: supervisors first, so that nothing is started again.
pub fn end_deployed(bench: &Bench) {
    let statuses = files(&bench.path(".trees")).into_iter().filter(|path| path.ends_with("status.json"));
    let all: Vec<Value> = statuses.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect();
    for (part, signal) in [("supervisor", "-KILL"), ("child", "-TERM")] {
        for pid in all.iter().filter_map(|status| status[part]["pid"].as_u64()) {
            // Each leads a group of its own, with all that it has started.
            drop(Command::new("kill").args([signal, "--", &format!("-{pid}")]).stderr(Stdio::null()).status());
        }
    }
}

/// Runs a command with `--format json` until an event of this type of a step is told, and kills it then. Whether it was.
pub fn killed_at(command: &mut Command, kind: &str, step: &str) -> bool {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["type"] == kind && event["step"] == step {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap().code().is_none()
}

/// The version that a port answers with.
fn ask(port: u16) -> Result<String, String> {
    let wrong = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(wrong)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(wrong)?;
    write!(stream, "GET /version HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").map_err(wrong)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(wrong)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("half an answer: {answer:?}"))?;
    let body: Value = serde_json::from_str(body).map_err(|_| format!("{head}: {body:?}"))?;
    body["version"].as_str().filter(|_| head.starts_with("HTTP/1.1 200")).map(str::to_owned).ok_or_else(|| head.to_owned())
}

/// Versions, or why there was none.
type Answers = Vec<Result<String, String>>;

/// Asks production until it is dropped.
pub struct Prober {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    seen: Arc<Mutex<Answers>>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    pub fn start(port: u16) -> Self {
        let (stop, asked, seen) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<Mutex<Answers>>::default());
        let (halt, count, all) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            while !halt.load(Ordering::Relaxed) {
                let answer = ask(port);
                count.fetch_add(1, Ordering::Relaxed);
                let mut all = all.lock().unwrap();
                if all.last() != Some(&answer) {
                    all.push(answer);
                }
                drop(all);
                thread::park_timeout(PAUSE);
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

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
