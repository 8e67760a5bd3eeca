//! `trees watch` under storms of changes: at most two runs each, none caused by the run itself.

use crate::chance::size;
use crate::git::git;
use crate::place::{Place, Told};
use crate::sitting::Sitting;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::time::{Duration, Instant, SystemTime};

/// Files that are touched, in so many folders.
const FILES: usize = 1_000;
const FOLDERS: usize = 20;
/// Touches of one storm, as far as the machine gets.
const TOUCHES: usize = 50_000;
/// How long a storm lasts. One that went on for minutes would rightly have a run now and then.
const STORM: Duration = Duration::from_secs(1);

/// A watch under way: events and what is said for people come in one stream, so that all waiting is
/// reading.
struct Watching {
    sitting: Sitting,
    /// Events of runs so far.
    runs: Vec<Value>,
}

impl Watching {
    fn start(place: &Place) -> Self {
        let mut command = place.program("sh");
        command.args(["-c", "exec \"$0\" watch tree.yaml --format json 2>&1"]).arg(place.binary());
        let mut watching = Self { sitting: Sitting::of(place, command), runs: Vec::new() };
        watching.rests();
        watching
    }

    /// The next line, a run's start noted.
    #[track_caller]
    fn line(&mut self) -> String {
        let line = self.sitting.line().expect("the watch has ended").to_owned();
        if let Ok(event) = serde_json::from_str::<Value>(&line)
            && event["type"] == "run_started"
        {
            self.runs.push(event);
        }
        line
    }

    /// Reads until it waits for changes.
    #[track_caller]
    fn rests(&mut self) {
        while !self.line().contains("waiting for changes in ") {}
    }

    /// Reads until a run has ended that a change of this file caused, and it waits again; how many runs
    /// that took.
    #[track_caller]
    fn until_run_of(&mut self, name: &str) -> usize {
        let before = self.runs.len();
        let of = |run: &Value| run["changed"]["files"].as_array().is_some_and(|files| files.iter().any(|f| f == name));
        while !self.runs[before..].iter().any(of) {
            self.line();
        }
        self.rests();
        self.runs.len() - before
    }

    /// What each run was started by.
    fn causes(&self) -> Vec<&Value> {
        self.runs.iter().map(|run| &run["changed"]).collect()
    }

    /// Interrupts it; runs that it still began count too.
    #[track_caller]
    fn end(mut self) -> (Told, usize) {
        self.sitting.signal(Signal::INT);
        let told = self.sitting.end().expect(130);
        let runs = told.events().iter().filter(|e| e["type"] == "run_started").count();
        (told, runs)
    }
}

const ALL: &str = "tree: t\nwatch: [\"src/**\"]\nsteps: { a: { run: \":\" } }\n";

fn name(n: usize) -> String {
    format!("src/{}/{}", n % FOLDERS, n % FILES)
}

/// A first file in the order of names: it stands among those that a run names.
const FIRST: &str = "src/!";

fn place(tree: &str) -> Place {
    let place = Place::with(tree);
    (0..FILES).for_each(|n| place.write(&name(n), "0"));
    place
}

/// Changes it at one stroke: a file that is emptied and then written is two changes to who looks between.
fn change(place: &Place, text: impl AsRef<[u8]>) {
    let fresh = place.root().join("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, place.path(FIRST)).unwrap();
}

/// Does something again and again, so many times but no longer than a storm lasts; how often.
fn storm(mut one: impl FnMut(usize)) -> usize {
    let begun = Instant::now();
    for n in 0..TOUCHES {
        if begun.elapsed() >= STORM {
            return n;
        }
        one(n);
    }
    TOUCHES
}

#[test]
fn fifty_thousand_touches() {
    let place = place(ALL);
    let mut watching = Watching::start(&place);
    let (mut touched, mut written, mut runs, mut most) = (0, 0, 0, 0);
    for round in 1..=size(2, 20) {
        // Time stamps alone are no change: only the file behind them is.
        let files: Vec<File> = (0..FILES).map(|n| File::options().append(true).open(place.path(&name(n))).unwrap()).collect();
        let now = SystemTime::now();
        touched += storm(|n| files[n % FILES].set_modified(now + Duration::from_millis(u64::try_from(n).unwrap())).unwrap());
        change(&place, format!("{round}, touched"));
        assert_eq!(watching.until_run_of(FIRST), 1, "touches alone started a run: {:?}", watching.causes());
        let last = watching.runs.last().unwrap();
        assert_eq!(last["changed"]["count"], 1, "{last}");
        // Contents that change all the while.
        written += storm(|n| fs::write(place.path(&name(n)), format!("{round} {n}")).unwrap());
        change(&place, format!("{round}, written"));
        let taken = watching.until_run_of(FIRST);
        assert!(taken <= 2, "{taken} runs for one storm of writes");
        runs += taken + 1;
        most = most.max(taken);
    }
    let (_, all) = watching.end();
    assert_eq!(all, runs, "the last run started another");
    println!(
        "watching, touches: {touched} in storms of a second: 0 runs; {written} writes: at most {most} runs a storm, none caused by a run"
    );
}

#[test]
fn a_step_that_writes_into_the_watched_folder() {
    let tree = "tree: t\nsteps:\n  a: { inputs: { files: [\"src/**\"] }, run: 'echo x >> src/log; date +%s%N > src/stamp; cp src/0/0 src/copy.tmp; mv src/copy.tmp src/copy' }\n";
    let place = place(tree);
    let mut watching = Watching::start(&place);
    let mut runs = Vec::new();
    for round in 1..=size(3, 20) {
        change(&place, round.to_string());
        let mut taken = watching.until_run_of(FIRST);
        // What the run wrote itself may start one more, which names it; then it is ignored.
        change(&place, format!("{round}, again"));
        taken += watching.until_run_of(FIRST) - 1;
        assert!(taken <= 2, "{taken} runs for one change");
        runs.push(taken);
    }
    let known = watching.runs.len();
    let (told, all) = watching.end();
    assert_eq!(all, known, "a run started another by itself:\n{}", told.stdout);
    println!("watching, a step that writes there: runs for each change: {runs:?}, {all} in all");
}

#[test]
fn what_a_run_makes_starts_none() {
    let tree = "tree: t\nwatch: [\"src/**\", \"made/**\"]\nsteps:\n  a: { run: 'mkdir -p made; date +%s%N > made/x', artifacts: { x: made/x } }\n  b: { needs: a, uses: file/write, with: { path: made/y, content: \"{{ run.number }}\" } }\n";
    let place = place(tree);
    let mut watching = Watching::start(&place);
    for round in 1..=size(5, 50) {
        change(&place, round.to_string());
        assert_eq!(watching.until_run_of(FIRST), 1, "round {round}: {:?}", watching.causes());
    }
    let (_, all) = watching.end();
    assert_eq!(all, size(5, 50));
    println!("watching, artifacts and written files: {all} changes, {all} runs");
}

#[test]
fn atomic_saves() {
    let place = place(ALL);
    let mut watching = Watching::start(&place);
    let target = place.path("src/0/0");
    let count = size(2_000, 20_000);
    for n in 0..count {
        match n % 3 {
            // Written aside and renamed.
            0 => {
                fs::write(place.path("src/0/.0.swp"), n.to_string()).unwrap();
                fs::rename(place.path("src/0/.0.swp"), &target).unwrap();
            }
            // The old one renamed away, the new one written, the old one removed.
            1 => {
                fs::rename(&target, place.path("src/0/0~")).unwrap();
                fs::write(&target, n.to_string()).unwrap();
                fs::remove_file(place.path("src/0/0~")).unwrap();
            }
            // Emptied, then written.
            _ => {
                File::create(&target).unwrap();
                fs::write(&target, n.to_string()).unwrap();
            }
        }
    }
    change(&place, "1");
    let runs = watching.until_run_of(FIRST);
    assert!(runs <= 2, "{runs} runs for one storm of saves");
    // One save alone is one run.
    fs::write(place.path("src/!.new"), "2").unwrap();
    fs::rename(place.path("src/!.new"), place.path(FIRST)).unwrap();
    assert_eq!(watching.until_run_of(FIRST), 1);
    // A plain one may be seen when it is emptied and again when it is written.
    fs::write(place.path(FIRST), "3").unwrap();
    watching.until_run_of(FIRST);
    let (_, all) = watching.end();
    let plain = all - runs - 1;
    assert!((1..=2).contains(&plain), "{plain} runs for one plain save");
    println!("watching, atomic saves: {count}: {runs} runs; one alone: 1 run; one that is emptied first: {plain}");
}

#[test]
fn a_checkout_of_five_thousand_files() {
    let place = Place::with(ALL);
    place.write(".gitignore", ".trees\n");
    let git = |arguments: &[&str]| git(&place.path(""), &place.root().join("home"), arguments);
    let write = |text: &str| {
        (0..5_000).for_each(|n| place.write(&format!("src/{}/{n}", n % 50), text));
        change(&place, text);
    };
    git(&["init", "-q", "-b", "one"]);
    write("1");
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&["checkout", "-qb", "two"]);
    write("2");
    git(&["commit", "-qam", "two"]);
    let mut watching = Watching::start(&place);
    let mut runs = Vec::new();
    for branch in ["one", "two", "one"] {
        git(&["checkout", "-q", branch]);
        runs.push(watching.until_run_of(FIRST));
    }
    let known = watching.runs.len();
    let (_, all) = watching.end();
    assert_eq!(all, known, "more runs than were waited for");
    assert!(runs.iter().all(|n| *n <= 2), "{runs:?}");
    println!("watching, checkouts of 5,000 files: runs for each: {runs:?}, none more");
}
