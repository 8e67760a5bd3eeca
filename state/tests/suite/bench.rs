//! What the tests share.

use jiff::Timestamp;
use serde_json::json;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use trees_core::event::{Digests, Event, EventKind, Json, Progress, RunStarted, RunStatus};
use trees_core::journal::{Hold, Journal, NewRun};
use trees_core::path::{RunId, StepPath};
use trees_state::{Durability, State};

/// A state folder that goes with the test.
pub struct Bench {
    pub dir: TempDir,
    pub state: State,
}

pub fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    Bench { dir, state }
}

/// Another process's view of the folder: its own connections, its own locks.
pub fn open(dir: &TempDir) -> State {
    State::open(dir.path().join(".trees"), Durability::Normal).unwrap().with_key_file(dir.path().join("config/master.key"))
}

pub fn new_run(tree: &str) -> NewRun {
    NewRun { tree: tree.into(), digest: trees_core::hash::json(&definition(tree)).unwrap(), definition: definition(tree) }
}

fn definition(tree: &str) -> serde_json::Value {
    json!({"files": [{"name": tree, "text": "é"}]})
}

/// Microseconds, so that they come back as they went.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_000 + second * 1_000_000 + 7).unwrap()
}

pub fn event(run: &RunId, seq: u64, step: Option<&str>, kind: EventKind) -> Event {
    let ts = at(i64::try_from(seq).unwrap());
    let attempt = step.map(|_| 1);
    Event { v: 1, run: run.clone(), seq, ts, step: step.map(|path| StepPath(path.into())), attempt, actor: None, kind }
}

pub fn started(tree: &str) -> EventKind {
    EventKind::RunStarted(Box::new(RunStarted {
        tree: tree.into(),
        project: tree.into(),
        number: 1,
        file: format!("{tree}.yaml"),
        dir: "/somewhere".into(),
        tree_dir: "/somewhere".into(),
        environment: "staging".into(),
        params: json!({"app": "chat", "n": 3}).as_object().unwrap().clone(),
        definition: new_run(tree).digest,
        epoch: 1,
        trigger: "run".into(),
        changed: None,
        version: "0.1.0".into(),
        max_parallel: 4,
        approved: vec!["*".into()],
        pause_on_failure: false,
        selection: None,
    }))
}

pub fn begins(input: &str) -> EventKind {
    let digests = Digests {
        definition: "def".into(),
        input: input.into(),
        ingredients: [("file:a".to_owned(), "1".to_owned())].into(),
        reusable: true,
    };
    EventKind::StepStarted { digests: Some(digests), idempotency_key: Some("key".into()) }
}

pub fn succeeds(outputs: Json) -> EventKind {
    EventKind::StepSucceeded { outputs, artifacts: [].into() }
}

pub fn finished(status: RunStatus) -> EventKind {
    EventKind::RunFinished { status, outputs: serde_json::Map::new(), error: None, progress: Some(FAR), deployed: vec![] }
}

/// What every run here says of its end.
pub const FAR: Progress = Progress { done: 2, failed: 1, total: 4 };

/// Makes a run with these events and gives its hold.
pub fn run_with(journal: &dyn Journal, tree: &str, events: Vec<(Option<&str>, EventKind)>) -> Box<dyn Hold> {
    let hold = journal.create(&new_run(tree)).unwrap();
    let events: Vec<Event> = events.into_iter().zip(1..).map(|((step, kind), seq)| event(hold.run(), seq, step, kind)).collect();
    journal.append(hold.run(), 0, hold.epoch(), &events, &[]).unwrap();
    hold
}

/// A run that has ended.
pub fn ended(state: &State, tree: &str, status: RunStatus) -> RunId {
    run_with(state, tree, vec![(None, started(tree)), (None, finished(status))]).run().clone()
}

/// This test program again, as another process that does only `role`.
pub fn child(role: &str, dir: &TempDir) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", role, "--nocapture", "--test-threads=1"]).env("TREES_TEST_FOLDER", dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// The folder that a child works in; `None` in the parent.
pub fn child_folder() -> Option<std::path::PathBuf> {
    std::env::var_os("TREES_TEST_FOLDER").map(Into::into)
}
