//! `trees replay --instant` of a run with 10,000 events, beside `wc -l` of the same events, in
//! interleaved rounds of one run. The goal: under half a second.
//!
//! `cargo bench --bench replay`

#![expect(clippy::expect_used, reason = "a bench that cannot start its processes has nothing to say")]

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TREES: &str = env!("CARGO_BIN_EXE_trees");
const ROUNDS: usize = 9;
/// Two events each, and the run's own two.
const STEPS: usize = 5_000;

fn main() {
    let dir = std::env::temp_dir().join(format!("trees-bench-{}-replay", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    let mut text = String::from("tree: many\nmax_parallel: 16\nsteps:\n");
    for i in 0..STEPS {
        let _ = writeln!(text, "  s{i}: {{ run: \":\" }}");
    }
    std::fs::write(dir.join("tree.yaml"), text).expect("a tree file");
    timed(&dir, TREES, &["run", "tree.yaml", "-q", "--durability", "normal"]);
    let events = dir.join("events.jsonl");
    let file = File::create(&events).expect("a file");
    let told = Command::new(TREES).arg("events").current_dir(&dir).stdout(file).status().expect("trees");
    assert!(told.success());
    let count = std::fs::read_to_string(&events).expect("the events").lines().count();
    let (mut floor, mut plain, mut json) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(timed(&dir, "wc", &["-l", "events.jsonl"]));
        plain.push(timed(&dir, TREES, &["replay", "--instant"]));
        json.push(timed(&dir, TREES, &["replay", "--instant", "--format", "json"]));
    }
    println!("median of {ROUNDS} interleaved rounds, {count} events");
    for (name, times) in [("wc -l", &mut floor), ("replay --instant", &mut plain), ("replay --instant --format json", &mut json)] {
        times.sort();
        println!("{name:<32} {:>7.1} ms", times[times.len() / 2].as_secs_f64() * 1e3);
    }
    drop(std::fs::remove_dir_all(&dir));
}

fn timed(dir: &Path, program: &str, arguments: &[&str]) -> Duration {
    let begun = Instant::now();
    let mut command = Command::new(program);
    let status = command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.expect("a command").success(), "{command:?}");
    begun.elapsed()
}
