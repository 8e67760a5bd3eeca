//! Scale: many independent steps, many items one at a time, a long chain; killed at half. Time and
//! memory grow with the number of steps and not faster.

use crate::chance::{is_long, size};
use crate::place::Place;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many times as many steps the larger of two runs has.
const TIMES: u64 = 4;
/// How many times as much it may cost: linear is `TIMES`, quadratic is 16.
const MOST: f64 = 6.0;
/// What 100,000 steps may have in memory, in KiB.
const MEMORY: u64 = 1 << 20;

/// What the engine may take of a processor for one step, in microseconds: a minute for 100,000.
const OVERHEAD: u64 = 600;

/// Each step says that it ran; the last notes what the engine has cost so far.
const RAN: &str = "echo $TREES_STEP >> ran";
const COST: &str = "finally:\n  cost: { run: 'cat /proc/$PPID/stat > stat; cat /proc/$PPID/status > status' }\n";

/// What a run has cost the engine alone, by the kernel's account.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Hundredths of a second on a processor.
    ticks: u64,
    /// KiB in memory at most.
    memory: u64,
    took: Duration,
}

/// One of the shapes with so many steps.
fn tree(shape: &str, count: u64) -> String {
    let steps: String = match shape {
        "independent" => (0..count).map(|n| format!("  s{n}: {{ run: {RAN} }}\n")).collect(),
        "items" => {
            let items: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            format!("  each: {{ foreach: {{ items: [{}] }}, max_parallel: 1, run: {RAN} }}\n", items.join(", "))
        }
        "chain" => {
            let need = |n: u64| if n == 0 { String::new() } else { format!("needs: s{}, ", n - 1) };
            (0..count).map(|n| format!("  s{n}: {{ {}run: {RAN} }}\n", need(n))).collect()
        }
        other => panic!("no shape {other}"),
    };
    format!("tree: scale\nmax_parallel: 8\nsteps:\n{steps}{COST}")
}

/// Runs one to its end.
fn whole(shape: &str, count: u64) -> Cost {
    let place = Place::with(&tree(shape, count));
    let begun = Instant::now();
    place.run(&["run", "tree.yaml", "--format", "json"]).expect(0);
    let took = begun.elapsed();
    assert_eq!(ran(&place).len() as u64, count);
    cost(&place, took)
}

fn cost(place: &Place, took: Duration) -> Cost {
    let stat = place.read("stat");
    // After the name in brackets: state, parent, … the 12th and 13th are the times.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = place.read("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let memory = peak.trim().trim_end_matches(" kB").parse().unwrap();
    Cost { ticks, memory, took }
}

/// How often each step ran.
fn ran(place: &Place) -> HashMap<String, u64> {
    let mut times = HashMap::new();
    place.read("ran").lines().for_each(|step| *times.entry(step.to_owned()).or_default() += 1);
    times
}

/// Two sizes beside each other.
fn grows(shape: &str, count: u64) {
    let (small, large) = (whole(shape, count / TIMES), whole(shape, count));
    // A tick is the least that is told; short runs have few of them.
    let ratio = large.ticks as f64 / small.ticks.max(1) as f64;
    let memory = large.memory as f64 / small.memory as f64;
    assert!(ratio <= MOST, "{shape}: {TIMES} times the steps cost {ratio:.1} times the time: {small:?} {large:?}");
    assert!(memory <= TIMES as f64, "{shape}: {TIMES} times the steps took {memory:.1} times the memory: {small:?} {large:?}");
    assert!(large.memory <= MEMORY, "{shape}: {} KiB", large.memory);
    if shape == "independent" {
        assert!(large.ticks * 10_000 <= OVERHEAD * count, "{count} steps cost the engine {large:?}");
    }
    println!(
        "scale: {shape}: {} and {count} steps: {:.1?} and {:.1?}, engine {:.2} s and {:.2} s (ratio {ratio:.1}), {} and {} MiB",
        count / TIMES,
        small.took,
        large.took,
        small.ticks as f64 / 100.0,
        large.ticks as f64 / 100.0,
        small.memory >> 10,
        large.memory >> 10
    );
}

/// Killed when half of the steps were told to be done, then resumed.
fn halved(shape: &str, count: u64) {
    let place = Place::with(&tree(shape, count));
    let mut sitting = place.start(&["run", "tree.yaml", "--format", "json"]);
    let mut done = 0;
    while done < count / 2 {
        done += u64::from(sitting.line().unwrap().contains("\"step_succeeded\""));
    }
    sitting.kill();
    let before = ran(&place);
    let begun = Instant::now();
    let told = place.run(&["resume", "@last", "--format", "json"]).expect(0);
    let after = ran(&place);
    assert_eq!(after.len() as u64, count, "{shape}: steps are missing");
    let twice: Vec<_> = after.iter().filter(|(_, times)| **times > 1).collect();
    // In flight at the kill were at most so many; each of them ran once more.
    assert!(twice.len() <= 8 && twice.iter().all(|(_, times)| **times == 2), "{shape}: {twice:?}");
    println!(
        "scale: {shape}: {count} steps killed after {}: resumed in {:.1?}, {} ran again, {} events",
        before.len(),
        begun.elapsed(),
        twice.len(),
        told.events().len()
    );
}

#[test]
fn many_independent_steps() {
    grows("independent", size(1_600, 99_999));
    halved("independent", size(600, 99_999));
}

#[test]
fn many_items_one_at_a_time() {
    grows("items", size(800, 100_000));
    halved("items", size(500, 100_000));
}

#[test]
fn a_long_chain() {
    grows("chain", size(800, 10_000));
    halved("chain", size(500, 10_000));
    // Deeper than any stack would bear, in the commands that walk the graph as well.
    let count = if is_long() { 10_000 } else { 2_000 };
    let place = Place::with(&tree("chain", count));
    for command in [&["check", "tree.yaml"][..], &["graph", "tree.yaml"], &["plan", "tree.yaml"]] {
        let told = place.run(command);
        assert!([0, 10].contains(&told.code), "{command:?} exit {}: {}", told.code, told.stderr);
    }
    println!("scale: chain of {count}: check, graph and plan end well");
}
