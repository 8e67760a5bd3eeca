//! Goals that are no throughput: the start, a run of one step, plain commands, a resume, output. Each as a ratio to something
//! that is measured beside it, in turn: `cargo bench --bench goals`.

#![expect(clippy::expect_used, reason = "a bench that cannot start its processes has nothing to say")]

#[path = "peers/measure.rs"]
mod measure;

use measure::{Sample, measure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

const TREES: &str = env!("CARGO_BIN_EXE_trees");
const ROUNDS: usize = 15;
/// The argument of the process that does nothing.
const NOTHING: &str = "--nothing";

fn main() {
    if std::env::args().nth(1).as_deref() == Some(NOTHING) {
        return;
    }
    println!("medians of {ROUNDS} rounds in turn; --durability full");
    start();
    one_step();
    plain();
    output();
    resume(1_000, ROUNDS);
    resume(100_000, 3);
}

/// `--version` beside a program that does nothing: this one.
fn start() {
    let nothing = std::env::current_exe().expect("this program");
    let [trees, floor] =
        in_turn(ROUNDS * 10, [&|| time(Command::new(TREES).arg("--version")), &|| time(Command::new(&nothing).arg(NOTHING))]);
    println!("--version: {:.2} ms, {:.2} times a program that does nothing (goal 2)", ms(trees), ratio(trees, floor));
}

/// A new state and one step, beside a process that starts the same command.
fn one_step() {
    let home = home("tree: one\nsteps: { a: { run: ':' } }\n");
    let nothing = std::env::current_exe().expect("this program");
    let shell = || time(Command::new("/bin/sh").args(["-c", ":"])) + time(Command::new(&nothing).arg(NOTHING));
    let [trees, floor] = in_turn(ROUNDS * 3, [&|| fresh(home.path()).time, &shell]);
    println!("one step, new state: {:.2} ms, {:.2} times the floor (goal 4)", ms(trees), ratio(trees, floor));
}

/// The processor time of plain commands, beside the same through a shell.
fn plain() {
    const STEPS: usize = 500;
    let of = |script: &str| {
        let mut text = String::from("tree: plain\nmax_parallel: 2\nsteps:\n");
        (0..STEPS).for_each(|i| text += &format!("  s{i}: {{ run: '{script}' }}\n"));
        home(&text)
    };
    let (plain, by_shell) = (of("/bin/true"), of("\"/bin/true\""));
    let cost = |home: &Path| fresh(home).cpu;
    let [plain, by_shell] = in_turn(5, [&|| cost(plain.path()), &|| cost(by_shell.path())]);
    println!(
        "{STEPS} plain commands: {:.0} us of processor time each, {:.0} through sh: {:.0} % less (goal 40)",
        1_000.0 * ms(plain) / STEPS as f64,
        1_000.0 * ms(by_shell) / STEPS as f64,
        100.0 * (1.0 - ratio(plain, by_shell))
    );
}

/// What 5 KB of output cost a step, beside a line of output and beside none; and what a flood costs in memory.
fn output() {
    const STEPS: usize = 300;
    let of = |script: &str| {
        let mut text = String::from("tree: output\nmax_parallel: 2\nsteps:\n");
        (0..STEPS).for_each(|i| text += &format!("  s{i}: {{ run: '{script}' }}\n"));
        home(&text)
    };
    let (much, line, none) = (of("printf %5119s; echo"), of("printf x; echo"), of("printf x > /dev/null; echo > /dev/null"));
    let each = |one: Duration, other: Duration| 1_000.0 * (ms(one) - ms(other)) / STEPS as f64;
    let [of_much, of_line] = in_turn(5, [&|| fresh(much.path()).time, &|| fresh(line.path()).time]);
    println!("5 KB of output: {:.0} us a step more than a line (goal 20)", each(of_much, of_line));
    let [of_line, of_none] = in_turn(5, [&|| fresh(line.path()).time, &|| fresh(none.path()).time]);
    println!("a line of output: {:.0} us a step more than none: a folder and two files", each(of_line, of_none));
    let flood = home("tree: flood\nsteps: { a: { run: 'head -c 2147483648 /dev/zero' } }\n");
    let Sample { time, memory, written, .. } = fresh(flood.path());
    println!("2 GiB of output: {:.1} s, {} MiB of memory, {} MiB written", time.as_secs_f64(), memory >> 10, written >> 20);
}

/// From the start of `trees resume` to the first process of a step, of a run that broke off at one step of many.
fn resume(steps: usize, rounds: usize) {
    let mut text = String::from("tree: resumed\nmax_parallel: 2\nsteps:\n  gate: { run: 'touch at; test -e go' }\n");
    (1..steps).for_each(|i| text += &format!("  s{i}: {{ needs: gate, run: ':' }}\n"));
    let home = home(&text);
    let file = home.path();
    let until_spawned = || {
        drop(std::fs::remove_dir_all(file.join("state")));
        let failed = command(file, &["run", "tree.yaml"]).status().expect("trees");
        assert!(!failed.success(), "the gate is shut");
        let begun = SystemTime::now();
        let failed = command(file, &["resume", "@last"]).status().expect("trees");
        assert!(!failed.success(), "the gate is shut");
        let spawned = file.join("at").metadata().and_then(|at| at.modified()).expect("what the step touched");
        spawned.duration_since(begun).expect("a later time")
    };
    let floor = || time(Command::new("/bin/sh").args(["-c", "touch x; test -e x"]).current_dir(file));
    let [trees, floor] = in_turn(rounds, [&until_spawned, &floor]);
    println!("resume of {steps} steps: {:.1} ms to its first process, {:.1} of it the script's (goals 15 and 1,000)", ms(trees), ms(floor));
}

fn home(tree: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(home.path().join("tree.yaml"), tree).expect("a tree file");
    home
}

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(TREES);
    command.args(arguments).args(["--format", "json", "--durability", "full", "--state"]).arg(home.join("state"));
    command.current_dir(home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// One run with a new state.
fn fresh(home: &Path) -> Sample {
    drop(std::fs::remove_dir_all(home.join("state")));
    measure(&mut command(home, &["run", "tree.yaml"]))
}

fn time(command: &mut Command) -> Duration {
    measure(command).time
}

/// The medians of both, measured in turn.
fn in_turn(rounds: usize, both: [&dyn Fn() -> Duration; 2]) -> [Duration; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        all.iter_mut().zip(both).for_each(|(all, one)| all.push(one()));
    }
    all.map(|mut all| {
        all.sort();
        all[all.len() / 2]
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
