//! Graphs that nobody here invented, as tree files: all check; the smaller ones run, fail at a step,
//! are resumed, and every need's end comes before the start of what needs it.
//!
//! `TREES_WORKFLOWS` names a file with one JSON object a line (`path`, `n`, `ids`, `parents`: indices
//! into `ids`). Without it seeded random graphs stand in.

use crate::bench::{Bench, Outcome};
use crate::chance::Chance;
use crate::laws;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::thread;

/// So many run.
const RUN: usize = 30;

/// A graph.
struct Workflow {
    path: String,
    ids: Vec<String>,
    parents: Vec<Vec<usize>>,
}

impl Workflow {
    /// From its line.
    fn read(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let index = |value: Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        Self {
            path: value["path"].to_string(),
            ids: list(&value["ids"]).iter().map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)).collect(),
            parents: list(&value["parents"]).iter().map(|parents| list(parents).into_iter().map(index).collect()).collect(),
        }
    }

    /// One of the given size, each node with up to three needs among those before it.
    fn random(chance: &mut Chance, size: usize) -> Self {
        let some = |chance: &mut Chance, node: usize| {
            let count = if node == 0 { 0 } else { chance.below(4) };
            let mut needs: Vec<usize> = (0..count).map(|_| usize::try_from(chance.below(node as u64)).unwrap()).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        };
        let parents = (0..size).map(|node| some(chance, node)).collect();
        Self { path: format!("a random graph of {size}"), ids: (0..size).map(|n| format!("n.{n}")).collect(), parents }
    }

    /// The step of a node: its id made valid and, by its number, unique.
    fn step(&self, node: usize) -> String {
        let valid = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let id: String = self.ids[node].chars().map(valid).take(60).collect();
        format!("s{node}_{id}")
    }

    /// The tree file; `fuse` fails until there is a file `mended`.
    fn tree(&self, fuse: usize) -> String {
        let mut text = String::from("tree: workflow\nmax_parallel: 4\nsteps:\n");
        for (node, parents) in self.parents.iter().enumerate() {
            let needs: Vec<String> = parents.iter().map(|p| self.step(*p)).collect();
            let run = if node == fuse { "test -e mended" } else { ":" };
            writeln!(text, "  {}: {{ needs: [{}], run: \"{run}\" }}", self.step(node), needs.join(", ")).unwrap();
        }
        text
    }

    /// A node and all that rest on it.
    fn with_dependants(&self, node: usize) -> BTreeSet<String> {
        let mut found = BTreeSet::from([node]);
        // Parents come before their children in no set order: until nothing is added.
        loop {
            let more: Vec<usize> =
                (0..self.ids.len()).filter(|n| !found.contains(n) && self.parents[*n].iter().any(|p| found.contains(p))).collect();
            if more.is_empty() {
                return found.into_iter().map(|n| self.step(n)).collect();
            }
            found.extend(more);
        }
    }

    fn needs(&self) -> BTreeMap<String, Vec<String>> {
        let needs = |parents: &Vec<usize>| parents.iter().map(|p| self.step(*p)).collect();
        self.parents.iter().enumerate().map(|(node, parents)| (self.step(node), needs(parents))).collect()
    }
}

/// The graphs, the smallest first.
fn workflows() -> Vec<Workflow> {
    let mut all = match std::env::var("TREES_WORKFLOWS") {
        Ok(file) => {
            let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("TREES_WORKFLOWS={file}: {e}"));
            text.lines().map(Workflow::read).collect()
        }
        Err(_) => {
            println!("TREES_WORKFLOWS is not set: seeded random graphs instead of real ones");
            let mut chance = Chance(125);
            (0..125).map(|n| Workflow::random(&mut chance, 5 + n * 4)).collect::<Vec<_>>()
        }
    };
    all.sort_by_key(|w| w.ids.len());
    all
}

#[test]
fn every_graph_checks() {
    let bench = Bench::new();
    let all = workflows();
    let files: Vec<String> = (0..all.len()).map(|n| format!("{n}.yaml")).collect();
    for (workflow, file) in all.iter().zip(&files) {
        bench.write(file, workflow.tree(usize::MAX));
    }
    let arguments: Vec<&str> = ["check"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let printed = bench.run(&arguments).expect(0).stdout;
    for (workflow, file) in all.iter().zip(&files) {
        let steps = workflow.ids.len();
        assert!(printed.contains(&format!("{file}: workflow is fine, {steps} step")), "{} ({steps})", workflow.path);
    }
}

#[test]
fn graphs_run_fail_at_a_step_and_are_resumed_in_order() {
    let all = workflows();
    let halves: [Vec<&Workflow>; 2] = [0, 1].map(|half| all.iter().take(RUN).skip(half).step_by(2).collect());
    thread::scope(|scope| {
        for (half, seed) in halves.iter().zip(0..) {
            scope.spawn(move || {
                let mut chance = Chance(seed);
                half.iter().for_each(|workflow| runs(workflow, &mut chance));
            });
        }
    });
}

fn runs(workflow: &Workflow, chance: &mut Chance) {
    let fuse = usize::try_from(chance.below(workflow.ids.len() as u64)).unwrap();
    let bench = Bench::with("tree.yaml", workflow.tree(fuse));
    let failed = bench.run(&["run", "tree.yaml", "--format", "json"]).expect(1);
    assert!(failed.stdout.contains("\"step_failed\""), "{}", workflow.path);
    bench.write("mended", "");
    let resumed = bench.run(&["resume", "--format", "json"]).expect(0);
    let all = events(&failed).into_iter().chain(events(&resumed)).collect::<Vec<_>>();
    laws::of_events(&all, "succeeded");
    laws::of_order(&all, &workflow.needs());
    let done = all.iter().filter(|e| e["type"] == "step_succeeded").count();
    assert_eq!(done, workflow.ids.len(), "{}", workflow.path);
}

fn events(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Fails a step, edits another, resumes with the edited file: exactly the unfinished steps, the edited
/// one and what needs it run.
#[test]
fn graphs_are_edited_and_run_only_what_changed() {
    let all = workflows();
    let halves: [Vec<&Workflow>; 2] = [0, 1].map(|half| all.iter().take(RUN).skip(half).step_by(2).collect());
    thread::scope(|scope| {
        for (half, seed) in halves.iter().zip(40..) {
            scope.spawn(move || {
                let mut chance = Chance(seed);
                half.iter().for_each(|workflow| edited(workflow, &mut chance));
            });
        }
    });
}

fn edited(workflow: &Workflow, chance: &mut Chance) {
    let count = workflow.ids.len() as u64;
    let pick = |chance: &mut Chance| usize::try_from(chance.below(count)).unwrap();
    let (fuse, edit) = (pick(chance), pick(chance));
    let bench = Bench::with("tree.yaml", workflow.tree(fuse));
    let failed = bench.run(&["run", "tree.yaml", "--format", "json"]).expect(1);
    let done: BTreeSet<String> = named(&events(&failed), "step_succeeded");
    bench.write("mended", "");
    let name = workflow.step(edit);
    let changed: String = bench
        .read("tree.yaml")
        .lines()
        .map(|line| {
            if line.trim_start().starts_with(&format!("{name}: ")) {
                line.replace("run: \"", "run: \": edited; ") + "\n"
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    bench.write("tree.yaml", changed);
    let resumed = bench.run(&["resume", "--tree", "tree.yaml", "--format", "json"]).expect(0);
    let ran = named(&events(&resumed), "step_started");
    let mut expected: BTreeSet<String> = (0..workflow.ids.len()).map(|n| workflow.step(n)).filter(|s| !done.contains(s)).collect();
    expected.extend(workflow.with_dependants(edit));
    assert_eq!(ran, expected, "{}: {name} edited", workflow.path);
    println!("{}: {} steps, {} had succeeded, {name} edited, {} ran", workflow.path, workflow.ids.len(), done.len(), ran.len());
}

fn named(events: &[Value], kind: &str) -> BTreeSet<String> {
    events.iter().filter(|e| e["type"] == kind).map(|e| e["step"].as_str().unwrap_or_default().to_owned()).collect()
}
