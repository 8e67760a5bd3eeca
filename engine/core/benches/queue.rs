//! Time from a text of 100,000 steps to the checked tree and on to the queue of what may start, and
//! what both weigh: `cargo bench -p trees-core --bench queue`.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench measures time")]
#![expect(clippy::expect_used, reason = "a bench whose tree does not check has nothing to say")]

use std::sync::Arc;
use std::time::Instant;
use trees_core::event::{Object, RunStarted};
use trees_core::language::{self, Source, Sources};
use trees_core::path::RunId;
use trees_core::run::{Input, Run};
use trees_core::tree::{NoKinds, Step, Tree};

const STEPS: usize = 100_000;
const ROUNDS: usize = 5;

fn main() {
    println!("a step takes {} bytes in the table of a tree", size_of::<Step>());
    for (name, text) in [("independent", independent()), ("chain", chain())] {
        let rounds: Vec<[f64; 4]> = (0..ROUNDS).map(|_| round(&text)).collect();
        let [check, queue, tree, run] = [0, 1, 2, 3].map(|part| median(rounds.iter().map(|r| r[part]).collect()));
        println!("{name:<12} {STEPS} steps: checked in {check:.2} s, ready in {queue:.2} s more; {tree:.0} and {run:.0} bytes a step");
    }
}

/// Seconds to the tree and to the queue, bytes a step of the tree (beside its text) and of the run.
fn round(text: &str) -> [f64; 4] {
    let top = Source { name: "tree.yaml".into(), text: text.to_owned() };
    let before = memory();
    let begun = Instant::now();
    let tree = language::check(top, &Sources::default(), &NoKinds).tree.expect("a tree");
    let checked = begun.elapsed();
    let weighed = memory();
    let begun = Instant::now();
    let mut run = Run::new(RunId("0".repeat(12)), Arc::clone(&tree), &NoKinds);
    let decision = run.handle([started(&tree)], jiff::Timestamp::UNIX_EPOCH).expect("a lawful event");
    let queued = begun.elapsed();
    assert!(!decision.effects.is_empty(), "something starts");
    let each = |from: f64, to: f64| (to - from).max(0.0) / STEPS as f64;
    [checked.as_secs_f64(), queued.as_secs_f64(), each(before, weighed), each(weighed, memory())]
}

fn started(tree: &Tree) -> Input {
    Input::Started(Box::new(RunStarted {
        tree: tree.name.clone(),
        project: tree.project.clone(),
        number: 1,
        file: "tree.yaml".into(),
        dir: "/".into(),
        tree_dir: "/".into(),
        environment: String::new(),
        params: Object::new(),
        definition: String::new(),
        epoch: 1,
        trigger: "run".into(),
        changed: None,
        version: "0".into(),
        max_parallel: 4,
        approved: Vec::new(),
        pause_on_failure: false,
        selection: None,
    }))
}

fn independent() -> String {
    let mut text = String::from("tree: wide\nsteps:\n");
    (0..STEPS).for_each(|i| text += &format!("  s{i}: {{ run: \":\" }}\n"));
    text
}

fn chain() -> String {
    let mut text = String::from("tree: chain\nsteps:\n  s0: { run: \":\" }\n");
    (1..STEPS).for_each(|i| text += &format!("  s{i}: {{ needs: s{}, run: \":\" }}\n", i - 1));
    text
}

/// Resident bytes of this process; 0 where the system does not tell.
fn memory() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
