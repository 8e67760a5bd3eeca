//! Time per step of `trees run --durability full`, beside the same processes started by a plain
//! spawn loop and by xargs, in interleaved rounds of one run: ratios, never absolute promises.
//!
//! `cargo bench --bench throughput` · `-- --large` adds 10,000 steps, and 100,000 to the ready queue.

#![expect(clippy::expect_used, reason = "a bench that cannot start its processes has nothing to say")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const TREES: &str = env!("CARGO_BIN_EXE_trees");
const ROUNDS: usize = 5;
const LOOK: Duration = Duration::from_millis(100);

type Table = BTreeMap<(&'static str, usize), Duration>;

fn main() {
    let large = std::env::args().any(|a| a == "--large");
    println!("median of {ROUNDS} interleaved rounds; each step is `:` by sh -e; --durability full");
    let mut table = Table::new();
    for &steps in if large { &[1_000, 10_000][..] } else { &[1_000][..] } {
        for (name, width) in [("wide, 16 in flight", 16), ("wide, 2 in flight", 2), ("chain", 1)] {
            round(name, steps, width, &mut table);
        }
    }
    if large {
        growth(&table);
        ready_queue();
    }
}

/// The same processes by trees, by a spawn loop with as many in flight, and by xargs.
fn round(name: &'static str, steps: usize, width: usize, table: &mut Table) {
    let tree = if name == "chain" { chained(steps) } else { wide(steps, width) };
    let (mut ours, mut floor, mut xargs, mut memory) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let (time, peak) = trees(&tree);
        ours.push(time);
        memory = memory.max(peak);
        floor.push(spawn_loop(steps, width));
        xargs.push(by_xargs(steps, width));
    }
    let (ours, floor, xargs) = (median(&mut ours), median(&mut floor), median(&mut xargs));
    let each = |d: Duration| d.as_secs_f64() * 1e6 / steps as f64;
    println!(
        "{name:<18} {steps:>6} steps: trees {:.0} us a step, spawn loop {:.0}, xargs -P {:.0}; ratio to the spawn loop {:.2}; peak memory {} MB",
        each(ours),
        each(floor),
        each(xargs),
        ours.as_secs_f64() / floor.as_secs_f64(),
        memory / 1024
    );
    table.insert((name, steps), ours);
}

fn growth(table: &Table) {
    for ((name, steps), large) in table.iter().filter(|((_, steps), _)| *steps == 10_000) {
        if let Some(small) = table.get(&(*name, 1_000)) {
            let grown = (large.as_secs_f64() / *steps as f64) / (small.as_secs_f64() / 1_000.0);
            println!("{name:<18} time per step from 1,000 to 10,000 steps: x {grown:.3}");
        }
    }
}

/// 100,000 steps from the file to the checked graph and its order, in a fresh process.
fn ready_queue() {
    for (name, tree) in [("independent", wide(100_000, 4)), ("chain", chained(100_000))] {
        let mut times: Vec<Duration> =
            (0..ROUNDS).map(|_| timed(|| run(Command::new(TREES).args(["check", "-q"]).arg(tree.join("tree.yaml"))))).collect();
        println!("{name:<18} 100000 steps: checked in {:.2} s", median(&mut times).as_secs_f64());
    }
}

fn wide(steps: usize, width: usize) -> PathBuf {
    let mut text = format!("tree: wide\nmax_parallel: {width}\nsteps:\n");
    for i in 0..steps {
        let _ = writeln!(text, "  s{i}: {{ run: \":\" }}");
    }
    write(&format!("wide-{steps}-{width}"), &text)
}

fn chained(steps: usize) -> PathBuf {
    let mut text = String::from("tree: chain\nsteps:\n  s0: { run: \":\" }\n");
    for i in 1..steps {
        let _ = writeln!(text, "  s{i}: {{ needs: s{}, run: \":\" }}", i - 1);
    }
    write(&format!("chain-{steps}"), &text)
}

fn write(name: &str, text: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("trees-bench-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    std::fs::write(dir.join("tree.yaml"), text).expect("a tree file");
    dir
}

/// One run with a fresh state: the time, and the peak memory of `trees` in KiB.
fn trees(dir: &Path) -> (Duration, u64) {
    let state = dir.join("state");
    let _ = std::fs::remove_dir_all(&state);
    let mut command = Command::new(TREES);
    command.args(["run", "tree.yaml", "--format", "json", "--durability", "full", "--state"]).arg(&state).current_dir(dir);
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("trees");
    let pid = child.id();
    let (end, ended) = channel::<()>();
    // Seldom: looking costs time on the two cores that are measured.
    let looks = move || {
        let mut peak = 0;
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            peak = peak.max(memory_of(pid));
        }
        peak
    };
    let peak = std::thread::spawn(looks);
    let status = child.wait().expect("trees");
    let time = begun.elapsed();
    drop(end);
    assert!(status.success(), "trees ended with {status}");
    (time, peak.join().expect("a number"))
}

/// The peak resident memory of a living process in KiB; 0 where the system does not tell.
fn memory_of(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn spawn_loop(steps: usize, width: usize) -> Duration {
    timed(|| {
        let mut flying: VecDeque<Child> = VecDeque::new();
        for _ in 0..steps {
            if flying.len() == width {
                wait(&mut flying);
            }
            let child = Command::new("sh").args(["-e", "-c", ":"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            flying.push_back(child.expect("sh"));
        }
        while !flying.is_empty() {
            wait(&mut flying);
        }
    })
}

fn wait(flying: &mut VecDeque<Child>) {
    if let Some(mut child) = flying.pop_front() {
        child.wait().expect("a child");
    }
}

fn by_xargs(steps: usize, width: usize) -> Duration {
    let script = format!("seq {steps} | xargs -P {width} -n 1 sh -e -c : >/dev/null");
    timed(|| run(Command::new("sh").args(["-c", &script])))
}

fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("a command");
    assert!(status.success(), "{command:?} ended with {status}");
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
