//! `deploy/process` with real processes: the test binary, started again as the supervisor and as
//! the program that is deployed.

use super::process::{Process, alone};
use super::root::Root;
use super::{list, set_supervisor, stop};
use crate::bench::Bench;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trees_runner::kind::{Kind as _, KindError, Observation};

/// The supervisor, when a test started this binary as one; else nothing.
#[test]
fn supervisor() {
    if let Some(spec) = std::env::args().next_back().filter(|arg| arg.ends_with("spec.json")) {
        super::supervise(Path::new(&spec));
        std::process::exit(0);
    }
}

/// The program that is deployed, when it was started as one; else nothing. It answers with the
/// text of the file `version` in its folder.
#[test]
fn program() {
    if std::env::var_os("SERVE").is_none() {
        return;
    }
    let version = std::fs::read_to_string("version").unwrap();
    let port: u16 = std::env::var("PORT").unwrap_or_else(|_| "0".into()).parse().unwrap();
    println!("version {version} starts");
    if version == "crash" || std::env::var("FAIL_ON").is_ok_and(|on| on == format!("real {port}")) {
        println!("no configuration found");
        std::process::exit(9);
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        let (mut stream, version) = (stream.unwrap(), version.clone());
        std::thread::spawn(move || {
            let _ = stream.read(&mut [0; 4096]);
            let status = if version == "bad" { "503 No" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{version}", version.len());
        });
    }
}

/// A deployment on a port of its own; all that it started is ended when it is dropped.
struct Site {
    bench: Bench,
    port: u16,
}

impl Drop for Site {
    fn drop(&mut self) {
        let root = self.root();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            let living: Vec<_> = root.instances().into_iter().filter(super::Instance::lives).collect();
            if living.is_empty() {
                return;
            }
            for status in living.iter().filter_map(super::Instance::status) {
                status.supervisor.signal(Signal::KILL);
                status.child.iter().for_each(|child| child.signal_group(Signal::KILL));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Site {
    fn new() -> Self {
        set_supervisor(std::env::current_exe().unwrap(), ["--exact", "deploy::tests::supervisor", "--nocapture"].map(Into::into).to_vec());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { bench: Bench::new(), port }
    }

    fn root(&self) -> Root {
        Root(super::default_root(&self.bench.read().state, "proof", "", "site"))
    }

    fn with(&self, version: &str) -> Value {
        self.bench.write(&format!("{version}/version"), version);
        json!({
            "name": "site", "release": version, "files": { "version": format!("{version}/version") },
            "command": [std::env::current_exe().unwrap(), "--exact", "deploy::tests::program", "--nocapture"],
            "env": { "SERVE": "1" }, "port": self.port.to_string(), "health": "/healthz", "drain": "2s", "health_timeout": "10s",
        })
    }

    async fn deploy(&self, version: &str) -> super::process::Out {
        let (out, acted) = self.bench.run::<Process>(self.with(version)).await.unwrap();
        assert!(acted && out.changed && out.release == version, "{out:?}");
        out
    }

    async fn fails(&self, with: Value) -> KindError {
        self.bench.run::<Process>(with).await.map(|_| ()).unwrap_err()
    }

    fn answer(&self) -> Option<String> {
        ask(self.port)
    }

    /// Waits for something that must come.
    fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn living(&self) -> usize {
        self.root().instances().iter().filter(|i| i.lives()).count()
    }
}

fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    // A program that is ended between the request and the end of its answer has given none.
    let (_, answer) = text.split_once("\r\n\r\n")?;
    Some(answer.to_owned()).filter(|answer| !answer.is_empty())
}

/// Asks all the time; what it heard, repeated answers once.
struct Prober {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Option<String>>>,
}

impl Prober {
    fn start(port: u16) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let mut heard = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                let answer = ask(port);
                if heard.last() != Some(&answer) {
                    heard.push(answer);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            heard
        });
        Self { end, thread }
    }

    fn heard(self) -> Vec<Option<String>> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

fn version(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn serves_is_restarted_is_found_dead_and_is_removed_whole() {
    let site = Site::new();
    let out = site.deploy("v1").await;
    assert_eq!((site.answer(), out.previous.as_str()), (version("v1"), ""));
    let (again, acted) = site.bench.run::<Process>(site.with("v1")).await.unwrap();
    assert_eq!((again.pid, again.changed, acted), (out.pid, false, false));

    kill(out.pid);
    let found = || list(&site.bench.read().state);
    // The one that is killed may still answer.
    site.until("the restart", || found().iter().any(|found| found.alive && found.restarts == 1) && site.answer() == version("v1"));
    let found = found();
    assert_eq!((found.len(), found[0].name.as_str(), found[0].release.as_str(), found[0].port), (1, "site", "v1", Some(site.port)));
    assert!(found[0].alive && found[0].restarts == 1 && found[0].pid != Some(out.pid), "{found:?}");
    assert!(found[0].last_exit.as_ref().unwrap().contains("signal: 9"), "{found:?}");
    assert!(std::fs::read_to_string(found[0].log.as_ref().unwrap()).unwrap().matches("version v1 starts").count() == 2);

    let instance = site.root().live("v1").unwrap();
    kill(instance.status().unwrap().supervisor.pid);
    site.until("the end of the supervisor", || !instance.supervised());
    assert_eq!(site.bench.drift::<Process>(site.with("v1")).await, ["process"]);
    site.deploy("v1").await;
    assert_eq!((site.answer(), site.living()), (version("v1"), 1));

    site.bench.undo::<Process>().await.unwrap();
    assert_eq!((site.answer(), site.living()), (None, 0));
    assert!(!site.root().0.exists(), "all that it made is gone");
}

#[tokio::test]
async fn the_next_release_takes_its_place_and_gives_it_back() {
    let site = Site::new();
    site.deploy("v1").await;
    let prober = Prober::start(site.port);
    site.until("an answer", || site.answer().is_some());
    let out = site.deploy("v2").await;
    assert_eq!((out.previous.as_str(), site.root().current()), ("v1", version("v2")));
    site.until("the new answer", || site.answer() == version("v2"));
    let mut heard = prober.heard();
    heard.retain(Option::is_some);
    assert_eq!(heard, [version("v1"), version("v2")], "never back and forth");
    assert_eq!(site.living(), 1);

    let records = site.bench.intents();
    for _ in 0..2 {
        Process::undo(&records[1], &site.bench.cx()).await.unwrap();
        assert_eq!((site.answer(), site.root().current(), site.living()), (version("v1"), version("v1"), 1));
    }
    assert!(!site.root().folder("v2").exists());
    assert!(!site.bench.run::<Process>(site.with("v1")).await.unwrap().1);
}

#[tokio::test]
async fn an_unhealthy_release_leaves_the_one_before_untouched() {
    let site = Site::new();
    let pid = site.deploy("v1").await.pid;
    for (bad, expected) in [("bad", "503: bad"), ("crash", "the process has ended: exit status: 9")] {
        let prober = Prober::start(site.port);
        let mut with = site.with(bad);
        with["health_timeout"] = json!("1s");
        let wrong = site.fails(with).await;
        assert_eq!(prober.heard(), [version("v1")], "no request went wrong");
        assert!(
            wrong.message.starts_with(&format!("release {bad} is not healthy; what served before it still serves\nGET http://127.0.0.1:")),
            "{wrong}"
        );
        assert!(wrong.message.contains(expected) && wrong.message.contains("its last lines:\n"), "{wrong}");
        assert!(wrong.message.contains(&format!("version {bad} starts")), "{wrong}");
        assert_eq!((site.root().current(), site.living(), site.root().folder(bad).exists()), (version("v1"), 1, false));
    }
    assert_eq!(site.bench.run::<Process>(site.with("v1")).await.unwrap().0.pid, pid);
    site.bench.undo::<Process>().await.unwrap();
}

#[tokio::test]
async fn what_fails_only_on_the_real_port_is_replaced_by_the_one_before() {
    let site = Site::new();
    site.deploy("v1").await;
    let mut with = site.with("v2");
    with["env"]["FAIL_ON"] = json!(format!("real {}", site.port));
    let wrong = site.fails(with.clone()).await;
    assert!(
        wrong.message.contains("release v2 is not healthy") && wrong.message.ends_with("release v1 was put back and serves"),
        "{wrong}"
    );
    assert_eq!((site.answer(), site.root().current(), site.living()), (version("v1"), version("v1"), 1));

    with["release"] = json!("v3");
    with["trial"] = json!(false);
    site.bench.write("v1/version", "gone");
    std::fs::remove_file(site.root().folder("v1").join("version")).unwrap();
    let wrong = site.fails(with).await;
    assert!(wrong.message.contains("release v1 does not come back either"), "{wrong}");
}

#[tokio::test]
async fn the_next_release_stays_where_the_one_before_cannot_be_ended() {
    let site = Site::new();
    site.deploy("v1").await;
    let old = site.root().live("v1").unwrap();
    let status = old.status().unwrap();
    kill(status.supervisor.pid);
    status.child.unwrap().signal_group(Signal::KILL);
    site.until("its end", || !old.lives());
    // Somebody holds its lock: it looks alive, and nothing ends it.
    let lock = std::fs::File::open(old.folder.join(super::instance::LOCK)).unwrap();
    lock.lock().unwrap();
    let (with, cx) = (serde_json::from_value(site.with("v2")).unwrap(), site.bench.cx());
    let task = tokio::spawn(async move { Process::apply(&with, &cx).await });
    while site.root().current() != version("v2") && !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What is left is to wait for the old one.
    tokio::time::pause();
    let out = task.await.unwrap().unwrap();
    assert_eq!((out.release.as_str(), site.answer(), site.root().current()), ("v2", version("v2"), version("v2")));
    assert!(site.root().outside("v2").is_some(), "what `current` names is there");
    let logged = site.bench.logged();
    let told = logged.iter().find(|line| line.contains("cannot be ended; release v2 serves beside it: end whoever holds `")).unwrap();
    assert!(told.contains(&old.folder.display().to_string()), "{told}");
    drop(lock);
    site.root().forget("v2");
    assert!(site.root().outside("v2").is_some(), "nobody forgets what serves");
}

#[tokio::test]
async fn a_first_release_that_is_unhealthy_leaves_nothing() {
    let site = Site::new();
    let wrong = site.fails(site.with("crash")).await;
    assert!(wrong.message.starts_with("release crash is not healthy\nGET"), "{wrong}");
    assert_eq!((site.living(), site.root().0.exists()), (0, false));
    site.bench.undo::<Process>().await.unwrap();
}

#[tokio::test]
async fn drift_names_the_field_and_no_value_of_the_environment() {
    let site = Site::new();
    site.deploy("v1").await;
    std::fs::write(site.root().folder("v1").join("version"), "by hand").unwrap();
    assert_eq!(site.bench.drift::<Process>(site.with("v1")).await, ["files.version"]);
    let mut with = site.with("v1");
    with["env"]["TOKEN"] = json!("s3cret");
    with["command"].as_array_mut().unwrap().push(json!("--quiet"));
    let Observation::Differs(changes) = site.bench.observe::<Process>(with).await else { panic!("it differs") };
    assert!(!format!("{changes:?}").contains("s3cret"));
    assert_eq!(changes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), ["command", "files.version", "env.TOKEN"]);
    site.deploy("v1").await;
    assert_eq!((site.answer(), site.root().current()), (version("v1"), version("v1")));
    let mut with = site.with("v1");
    with["env"]["TOKEN"] = json!("s3cret");
    let (out, _) = site.bench.run::<Process>(with).await.unwrap();
    assert_eq!(out.release, "v1");
    assert!(site.root().current().unwrap().starts_with("v1+"), "the same name with another content");
    assert!(!json!(site.bench.intents()).to_string().contains("s3cret"));
}

#[tokio::test]
async fn an_apply_that_was_cut_off_anywhere_is_settled_by_the_next() {
    let site = Site::new();
    site.deploy("v1").await;
    for (round, after) in [1, 20, 60, 120, 200, 300].into_iter().enumerate() {
        let next = format!("r{round}");
        let (with, cx) = (serde_json::from_value(site.with(&next)).unwrap(), site.bench.cx());
        // In a runtime of its own, as in a process of its own: with it ends all that was begun.
        let cut_off = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            drop(runtime.block_on(async { tokio::time::timeout(Duration::from_millis(after), alone(&with, &cx)).await }));
        });
        cut_off.join().unwrap();
        let (out, _) = site.bench.run::<Process>(site.with(&next)).await.unwrap();
        assert_eq!((out.release, site.answer(), site.root().current()), (next.clone(), version(&next), version(&next)));
        site.until("one instance", || site.living() == 1);
    }
}

#[tokio::test]
async fn an_attempt_that_is_given_up_puts_the_release_before_back() {
    let site = Site::new();
    let first = site.deploy("v1").await.pid;
    let mut with = site.with("bad");
    with["trial"] = json!(false);
    with["health_timeout"] = json!("10m");
    let with = serde_json::from_value(with).unwrap();
    let cx = site.bench.cx();
    tokio::select! {
        done = Process::apply(&with, &cx) => panic!("it cannot become healthy: {done:?}"),
        () = async { while site.answer() != version("bad") { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
    }
    while site.answer() != version("v1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (out, _) = site.bench.run::<Process>(site.with("v1")).await.unwrap();
    assert!(out.pid != first && site.root().current() == version("v1"));
}

#[tokio::test]
async fn two_deploys_at_once_take_turns() {
    let site = Site::new();
    let (one, two) = (site.with("v1"), site.with("v2"));
    let (one, two) = tokio::join!(site.bench.run::<Process>(one), site.bench.run::<Process>(two));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert_eq!((site.living(), site.answer()), (1, site.root().current()));
}

#[tokio::test]
async fn stopped_by_hand_it_is_started_by_the_next_run_and_old_releases_go() {
    let site = Site::new();
    for release in ["v1", "v2", "v3"] {
        let mut with = site.with(release);
        with["keep"] = json!(2);
        site.bench.run::<Process>(with).await.unwrap();
    }
    assert!(!site.root().folder("v1").exists() && site.root().folder("v2").exists());
    stop(&site.bench.read().state, "proof", "", "site").await.unwrap();
    assert_eq!((site.answer(), list(&site.bench.read().state)[0].alive), (None, false));
    assert!(stop(&site.bench.read().state, "proof", "", "other").await.unwrap_err().message.contains("no deployment `other`"));
    site.deploy("v3").await;
    assert_eq!(site.answer(), version("v3"));
}

#[tokio::test]
async fn a_program_without_a_port_and_a_folder_of_its_own() {
    let site = Site::new();
    let with = json!({ "name": "site", "release": "1", "command": ["sleep", "1000"], "root": "here", "drain": "1s" });
    let (out, _) = site.bench.run::<Process>(with.clone()).await.unwrap();
    assert_eq!((out.url.as_str(), site.bench.path("here/current").exists()), ("", true));
    let found = list(&site.bench.read().state);
    assert!(found.len() == 1 && found[0].alive && found[0].pid == Some(out.pid), "{found:?}");
    assert!(!site.bench.run::<Process>(with).await.unwrap().1);
    site.bench.undo::<Process>().await.unwrap();
    assert!(!site.bench.path("here").exists() && list(&site.bench.read().state).is_empty());
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let site = Site::new();
    for (field, value, expected) in [
        ("release", json!("../x"), "release: `../x` cannot be a folder's name"),
        ("command", json!([]), "command: it names no program"),
        ("command", json!(["./chat"]), "command: `./chat` is not among `files`"),
        ("files", json!({ "../x": "a" }), "files: `../x` leaves the release's folder"),
        ("files", json!({ "x": "nope" }), "files: `x`: there is no"),
        ("port", json!("http"), "`http` is no port"),
        ("health", json!("x"), "health: a path begins with `/`"),
        ("keep", json!(0), "keep: at least 1"),
        ("drain", json!("soon"), "is no duration"),
    ] {
        let mut with = site.with("v1");
        with[field] = value;
        let wrong = site.fails(with).await.message;
        assert!(wrong.contains(expected), "{expected}: {wrong}");
        assert!(!site.root().0.exists());
    }
    let mut with = site.with("v1");
    with["command"] = json!(["no-such-program-here"]);
    with["health_timeout"] = json!("1s");
    let wrong = site.fails(with).await.message;
    assert!(wrong.contains("could not be started: No such file"), "{wrong}");
    site.bench.fill();
    assert_eq!(site.fails(site.with("v1")).await.message, "the journal is full");
    assert_eq!(site.living(), 0);
}
