//! `trees watch` from the outside: what starts a run, what does not, what is done again.

use crate::bench::Bench;
use crate::git::git;
use crate::live::Live;
use crate::waiting;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

/// A watch under way, its runs followed by their events.
struct Watching<'a> {
    bench: &'a Bench,
    live: Live,
    /// Runs that a change started.
    caused: usize,
}

impl<'a> Watching<'a> {
    fn start(bench: &'a Bench, options: &[&str]) -> Self {
        let live = Live::start(bench, &[&["watch", "t.yaml", "--format", "json"], options].concat());
        Self { bench, live, caused: 0 }
    }

    /// Waits until a text was said so many times.
    #[track_caller]
    fn said(&self, text: &str, times: usize) {
        for _ in 0..12_000 {
            if self.live.errors().matches(text).count() >= times {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("`{text}` was not said {times} times:\n{}", self.live.errors());
    }

    /// Waits until it waits for the so-manyth time.
    #[track_caller]
    fn idle(&self, times: usize) {
        self.said("waiting for changes in ", times);
    }

    /// Waits until it waits after the run of this number.
    #[track_caller]
    fn rests(&self, number: usize) {
        let run = format!("→ run #{number}\n");
        self.said(&run, 1);
        for _ in 0..12_000 {
            if self.live.errors().split(&run).nth(1).is_some_and(|after| after.contains("waiting for changes in ")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not wait after run #{number}:\n{}", self.live.errors());
    }

    /// The next run that a change starts.
    #[track_caller]
    fn run(&mut self) -> Run {
        self.caused += 1;
        self.said("→ run #", self.caused);
        self.whole_run()
    }

    /// The next run from its first to its last event.
    #[track_caller]
    fn whole_run(&mut self) -> Run {
        let first = self.live.until("run_started", "");
        let from = self.live.lines.len();
        let last = self.live.until("run_finished", "");
        Run { first, events: self.live.events().split_off(from), status: last["status"].as_str().unwrap().into() }
    }

    /// Writes a file; the run that follows.
    #[track_caller]
    fn after(&mut self, name: &str, text: &str) -> Run {
        self.bench.write(name, text);
        self.run()
    }

    #[track_caller]
    fn end(mut self, signal: Signal, code: i32) -> String {
        self.live.signal(signal);
        self.live.end().expect(code).stderr
    }
}

/// A run that has ended.
struct Run {
    first: Value,
    events: Vec<Value>,
    status: String,
}

impl Run {
    fn number(&self) -> u64 {
        self.first["number"].as_u64().unwrap()
    }

    /// The names of the files that started it, and how many.
    fn changed(&self) -> (Vec<&str>, u64) {
        let changed = &self.first["changed"];
        (changed["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect(), changed["count"].as_u64().unwrap())
    }

    #[track_caller]
    fn is(&self, number: u64, changed: &[&str]) {
        assert_eq!((self.number(), self.first["trigger"].as_str()), (number, Some("watch")), "{}", self.first);
        assert_eq!(self.changed().0, changed, "{}", self.first);
        assert_eq!(self.status, "succeeded");
    }

    fn what(&self, step: &str) -> Vec<&str> {
        self.events.iter().filter(|e| e["step"] == step).map(|e| e["type"].as_str().unwrap()).collect()
    }
}

const TWO: &str = r#"tree: t
steps:
  a: { inputs: { files: ["a/**"] }, cache: true, run: "mkdir -p made; cat a/* > made/x; echo x >> ran-a", artifacts: { made: made/x } }
  use: { needs: a, inputs: { files: ["made/*"] }, run: "cat made/x" }
  b: { inputs: { files: ["b/**/*.txt"], optional: true }, cache: true, run: echo x >> ran-b }
"#;

#[test]
fn only_what_changed_is_done_again() {
    let bench = Bench::with("t.yaml", TWO);
    bench.write("a/x", "1");
    let mut watching = Watching::start(&bench, &["--run-now"]);
    let first = watching.whole_run();
    assert!((first.number(), first.status.as_str()) == (1, "succeeded") && first.first["changed"].is_null(), "{}", first.first);
    // The artifact stands in a watched folder and starts nothing.
    watching.idle(1);
    let second = watching.after("b/deep/x.txt", "1");
    second.is(2, &["b/deep/x.txt"]);
    assert_eq!((second.what("a"), second.what("b").last()), (vec!["step_cached"], Some(&"step_succeeded")));
    watching.idle(2);
    // A save as editors make it: aside, then renamed; no file that was written is watched itself.
    bench.write("b/x.new", "2");
    fs::rename(bench.path("b/x.new"), bench.path("b/deep/x.txt")).unwrap();
    watching.run().is(3, &["b/deep/x.txt"]);
    watching.idle(3);
    bench.write("b/other", "not watched");
    let fourth = watching.after("a/x", "2");
    fourth.is(4, &["a/x"]);
    assert_eq!(fourth.what("b"), ["step_cached"]);
    watching.idle(4);
    let said = watching.end(Signal::INT, 130);
    assert!(said.contains("1 file changed: b/deep/x.txt → run #2\n"), "{said}");
    assert!(said.contains("waiting for changes in a/**, made/*, b/**/*.txt and the tree file, 2 files; Ctrl-C ends\n"), "{said}");
    assert_eq!((bench.read("ran-a"), bench.read("ran-b")), ("x\nx\n".into(), "x\nx\nx\n".into()));
    let shown = bench.run(&["show", "t#2"]).expect(0).stdout;
    assert!(shown.contains("started by a change of b/deep/x.txt"), "{shown}");
}

#[test]
fn polling_sees_a_rename_and_a_folder_that_appears() {
    let bench = Bench::with("t.yaml", TWO);
    bench.write("a/x", "1");
    let mut watching = Watching::start(&bench, &["--poll"]);
    watching.idle(1);
    watching.after("b/deep/x.txt", "1").is(1, &["b/deep/x.txt"]);
    watching.idle(2);
    bench.write("x.new", "2");
    fs::rename(bench.path("x.new"), bench.path("a/x")).unwrap();
    watching.run().is(2, &["a/x"]);
    watching.end(Signal::TERM, 143);
}

const ALL: &str = "tree: t\nwatch: [\"src/**\"]\nsteps: { a: { run: \":\" } }\n";

#[test]
fn fifty_thousand_files_make_at_most_two_runs() {
    let bench = Bench::with("t.yaml", ALL);
    let names: Vec<String> = (0..50_000).map(|n| format!("src/{}/{n}", n % 50)).collect();
    (0..50).for_each(|n| bench.write(&format!("src/{n}/{n}"), "1"));
    let write = |text: &str| names.iter().for_each(|name| fs::write(bench.path(name), text).unwrap());
    write("1");
    let mut watching = Watching::start(&bench, &[]);
    watching.idle(1);
    write("2");
    // A first file that comes last: at most two runs have seen the others.
    bench.write("src/!", "1");
    let mut runs = vec![watching.run()];
    while runs[runs.len() - 1].changed().0[0] != "src/!" {
        runs.push(watching.run());
    }
    assert!(runs.len() <= 2, "{}", watching.live.errors());
    let counts: Vec<u64> = runs.iter().map(|run| run.changed().1).collect();
    assert_eq!(counts.iter().sum::<u64>(), 50_001, "{counts:?}\n{}", watching.live.errors());
    // Time stamps alone are no change.
    watching.rests(runs.len());
    let now = SystemTime::now();
    names.iter().for_each(|name| File::options().append(true).open(bench.path(name)).unwrap().set_modified(now).unwrap());
    let next = watching.after("src/!", "2");
    assert_eq!((next.number(), next.changed()), (runs.len() as u64 + 1, (vec!["src/!"], 1)));
    watching.end(Signal::INT, 130);
}

#[test]
fn a_checkout_is_one_run() {
    let bench = Bench::with("t.yaml", ALL);
    bench.write(".gitignore", ".trees\n");
    let git = |arguments: &[&str]| git(&bench.dir(), &bench.home(), arguments);
    git(&["init", "-q", "-b", "one"]);
    let write = |text: &str| (0..500).for_each(|n| bench.write(&format!("src/{n}"), text));
    write("1");
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&["checkout", "-qb", "two"]);
    write("2");
    git(&["commit", "-qam", "two"]);
    let mut watching = Watching::start(&bench, &[]);
    watching.idle(1);
    git(&["checkout", "-q", "one"]);
    let run = watching.run();
    assert_eq!((run.number(), run.changed().1, run.changed().0.len()), (1, 500, 100));
    watching.idle(2);
    assert!(watching.end(Signal::INT, 130).contains("500 files changed: src/0, src/1, src/10, … → run #1"));
}

#[test]
fn a_step_that_writes_into_the_watched_folder_triggers_one_more_run_and_is_named() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { inputs: { files: [\"src/**\"] }, run: echo x >> src/log } }\n");
    bench.write("src/a", "1");
    let mut watching = Watching::start(&bench, &[]);
    watching.idle(1);
    watching.after("src/a", "2").is(1, &["src/a"]);
    watching.run().is(2, &["src/log"]);
    watching.idle(2);
    watching.after("src/a", "3").is(3, &["src/a"]);
    watching.idle(3);
    // It changes while none runs: it counts again, once.
    watching.after("src/log", "mine").is(4, &["src/log"]);
    watching.idle(4);
    watching.after("src/a", "4").is(5, &["src/a"]);
    let said = watching.end(Signal::INT, 130);
    assert!(said.contains("src/log while run #1 worked → run #2"), "{said}");
    assert_eq!(said.matches("src/log in two runs in a row, as if by the run itself: it is ignored").count(), 2, "{said}");
}

/// Its second step waits for a file.
const SLOW: &str = r#"tree: t
steps:
  wait: { run: "touch begun; while [ ! -e go ]; do sleep 0.05; done" }
  use: { needs: wait, inputs: { files: ["late/*"] }, run: "cat late/*" }
  other: { inputs: { files: ["early/*"] }, run: "cat early/*" }
"#;

fn slow() -> Bench {
    let bench = Bench::with("t.yaml", SLOW);
    bench.write("late/x", "1");
    bench.write("early/x", "1");
    bench
}

#[test]
fn a_change_while_a_run_works_counts_only_after_its_step_used_the_file() {
    let bench = slow();
    let mut watching = Watching::start(&bench, &["--run-now"]);
    watching.live.until("step_succeeded", "other");
    bench.write("late/x", "2");
    bench.write("go", "");
    watching.live.until("run_finished", "");
    watching.idle(1);
    fs::remove_file(bench.path("go")).unwrap();
    bench.write("late/x", "3");
    watching.live.until("step_succeeded", "other");
    bench.write("early/x", "2");
    bench.write("go", "");
    watching.live.until("run_finished", "");
    watching.run().is(3, &["early/x"]);
    let said = watching.end(Signal::INT, 130);
    assert!(said.contains("late/x → run #2") && said.contains("early/x while run #2 worked → run #3"), "{said}");
}

#[test]
fn a_run_is_cancelled_for_a_newer_one() {
    let bench = slow();
    let mut watching = Watching::start(&bench, &["--run-now", "--on-busy", "cancel_old"]);
    watching.live.until("step_succeeded", "other");
    bench.write("early/x", "2");
    assert_eq!(watching.live.until("run_finished", "")["status"], "cancelled");
    let second = watching.live.until("run_started", "");
    assert_eq!((second["number"].as_u64(), &second["changed"]["files"][0]), (Some(2), &Value::from("early/x")));
    bench.write("go", "");
    assert_eq!(watching.live.until("run_finished", "")["status"], "succeeded");
    let said = watching.end(Signal::INT, 130);
    assert!(said.contains("early/x: this run is cancelled, a new one follows"), "{said}");
}

#[test]
fn ctrl_c_ends_the_run_and_the_watch_and_the_run_is_resumed() {
    let bench = slow();
    let mut watching = Watching::start(&bench, &["--run-now"]);
    watching.live.until("step_succeeded", "other");
    while !bench.path("begun").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    watching.live.signal(Signal::INT);
    assert_eq!(watching.live.until("run_suspended", "")["status"], "interrupted");
    let said = watching.live.end().expect(130).stderr;
    assert!(said.contains("go on with: trees resume ") && said.contains("watching ended by SIGINT (Ctrl-C)"), "{said}");
    bench.write("go", "");
    bench.run(&["resume"]).expect(0);
}

#[test]
fn a_tree_that_becomes_wrong_is_said_to_be_and_watching_goes_on() {
    let text = "tree: t\nsteps: { sub: { tree: ./sub.yaml, with: { dir: src } } }\n";
    let sub = "tree: sub\nparams: { dir: nothing }\nsteps: { a: { inputs: { files: [\"{{ params.dir }}/*\"] }, run: \":\" } }\n";
    let bench = Bench::with("t.yaml", text);
    bench.write("sub.yaml", sub);
    bench.write("src/a", "1");
    let mut watching = Watching::start(&bench, &[]);
    watching.idle(1);
    assert!(watching.live.errors().contains("waiting for changes in src/* and the tree files, 3 files"), "{}", watching.live.errors());
    bench.write("sub.yaml", sub.replace("steps", "stops"));
    watching.said("unknown key `stops`", 1);
    watching.idle(2);
    // A sub-tree that is not there yet.
    bench.write("t.yaml", text.replace("sub.yaml", "new/other.yaml"));
    watching.said("there is no file", 1);
    watching.idle(3);
    watching.after("new/other.yaml", sub).is(1, &["new/other.yaml"]);
    watching.idle(4);
    watching.after("src/a", "2").is(2, &["src/a"]);
    watching.end(Signal::INT, 130);
}

#[test]
fn what_is_wrong_from_the_beginning_is_not_waited_for() {
    let bench = Bench::with("t.yaml", "tree: t\nstep: {}\n");
    assert!(bench.run(&["watch", "t.yaml"]).expect(2).stderr.contains("unknown key `step`"));
    bench.run(&["watch", "none.yaml"]).expect(2);
    bench.write("t.yaml", ALL);
    let wrong = bench.run(&["watch", "t.yaml", "-p", "no=1"]).expect(2);
    assert!(wrong.stderr.contains("has no parameter `no`"), "{}", wrong.stderr);
    bench.run(&["watch", "t.yaml", "-e", "none"]).expect(2);
    bench.run(&["watch", "t.yaml", "--on-busy", "skip"]).expect(2);
    assert!(!bench.path(".trees").exists());
}

/// A run of the tree that goes on until `go` is there.
fn other(bench: &Bench) -> std::process::Child {
    let other = bench.command(&["run", "t.yaml", "-q"]).spawn().unwrap();
    waiting::until(&bench.dir(), "the other run", || bench.path("up").exists());
    other
}

#[test]
fn a_tree_that_runs_elsewhere_is_left_or_awaited_as_it_says() {
    let tree = |busy: &str| {
        format!("tree: t\non_busy: {busy}\nsteps: {{ a: {{ run: 'echo up > up; until test -e go; do sleep 0.01; done' }} }}\n")
    };
    let bench = Bench::with("t.yaml", tree("skip"));
    let mut running = other(&bench);
    let watching = Watching::start(&bench, &["--run-now"]);
    watching.said("skipped: run ", 1);
    watching.idle(1);
    watching.end(Signal::INT, 130);
    bench.write("t.yaml", tree("queue"));
    // It waits, and a signal ends that too.
    let watching = Watching::start(&bench, &["--run-now"]);
    watching.said("waiting: run ", 1);
    watching.end(Signal::INT, 130);
    bench.write("go", "");
    assert!(running.wait().unwrap().success());
    let listed = bench.run(&["list", "--format", "json"]).expect(0).json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1, "{listed:#}");
}

#[test]
fn what_is_mended_while_it_waits_for_its_turn_is_what_runs() {
    let tree = |run: &str| format!("tree: t\non_busy: queue\nwatch: [\"src/*\"]\nsteps: {{ a: {{ run: '{run}' }} }}\n");
    let bench = Bench::with("t.yaml", tree("echo old >> ran; echo up > up; until test -e go; do sleep 0.01; done"));
    bench.write("src/a", "1");
    let mut running = other(&bench);
    let mut watching = Watching::start(&bench, &[]);
    watching.idle(1);
    bench.write("src/a", "2");
    watching.said("waiting: run ", 1);
    bench.write("src/b", "1");
    bench.write("t.yaml", tree("echo new >> ran"));
    bench.write("go", "");
    assert!(running.wait().unwrap().success());
    watching.run().is(2, &["src/a", "src/b", "t.yaml"]);
    watching.idle(2);
    assert_eq!(bench.read("ran"), "old\nnew\n");
    watching.end(Signal::INT, 130);
}
