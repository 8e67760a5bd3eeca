//! What each part of the engine takes alone, by Criterion: `cargo bench --bench parts`.
//! Loading a tree, scheduling a run, appending to the journal, replaying a run, masking output.

#![expect(clippy::expect_used, reason = "a bench whose tree does not check has nothing to say")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use trees_core::event::{Digests, Event, Object, RunStarted};
use trees_core::journal::{Journal as _, NewRun};
use trees_core::language::{self, Source, Sources};
use trees_core::path::RunId;
use trees_core::run::{Definitions, Effect, Input, Outcome, Prepared, Run};
use trees_core::tree::{NoKinds, Tree};
use trees_runner::mask::Masker;
use trees_state::{Durability, State};

const STEPS: usize = 1_000;

/// Steps with what real ones have: needs, a condition, a value in the script.
fn text(steps: usize) -> String {
    let mut text = String::from("tree: parts\nparams: { name: web }\nmax_parallel: 16\nsteps:\n");
    for i in 0..steps {
        let needs = if i == 0 { String::new() } else { format!("needs: s{}, ", i / 2) };
        let _ = writeln!(text, "  s{i}: {{ {needs}if: \"params.name != 'x'\", run: 'deploy {{{{ params.name }}}} --part {i}' }}");
    }
    text.replace("s0: { needs: s0, ", "s0: { ")
}

fn tree(text: &str) -> Arc<Tree> {
    let top = Source { name: "parts.yaml".into(), text: text.to_owned() };
    language::check(top, &Sources::default(), &NoKinds).tree.expect("a tree that checks")
}

fn run_of(tree: &Arc<Tree>) -> Run {
    Run::new(RunId("0".repeat(12)), Definitions::from(Arc::clone(tree)), &NoKinds)
}

/// Drives a run to its end; each attempt succeeds at once.
fn scheduled(tree: &Arc<Tree>) -> Vec<Event> {
    let mut run = run_of(tree);
    let (mut events, mut inputs) = (Vec::new(), vec![Input::Started(Box::new(facts(tree)))]);
    while !inputs.is_empty() {
        let decision = run.handle(std::mem::take(&mut inputs), jiff::Timestamp::UNIX_EPOCH).expect("lawful inputs");
        events.extend(decision.events);
        inputs.extend(decision.effects.into_iter().filter_map(followed));
    }
    events
}

fn followed(effect: Effect) -> Option<Input> {
    match effect {
        Effect::Prepare { step } => {
            let digests = Digests { definition: "d".into(), input: "i".into(), ingredients: BTreeMap::new(), reusable: false };
            Some(Input::Prepared { step, result: Ok(Box::new(Prepared { digests, cached: None, lost: None })) })
        }
        Effect::Launch { step, attempt, .. } => {
            let outcome = Outcome::Succeeded { outputs: Object::new(), artifacts: BTreeMap::new() };
            Some(Input::Ended { step, attempt, outcome })
        }
        Effect::Lock { name } => Some(Input::Locked { name }),
        Effect::Stop { .. } | Effect::Unlock { .. } => None,
    }
}

fn facts(tree: &Tree) -> RunStarted {
    RunStarted {
        tree: tree.name.clone(),
        project: tree.project.clone(),
        number: 1,
        file: "parts.yaml".into(),
        dir: "/".into(),
        tree_dir: "/".into(),
        environment: String::new(),
        params: Object::from_iter([("name".to_owned(), "web".into())]),
        definition: String::new(),
        epoch: 1,
        trigger: "run".into(),
        changed: None,
        version: "0".into(),
        max_parallel: 16,
        approved: Vec::new(),
        pause_on_failure: false,
        selection: None,
    }
}

fn compile(bench: &mut Criterion) {
    let text = text(STEPS);
    let mut group = bench.benchmark_group("compile");
    group.throughput(Throughput::Elements(STEPS as u64));
    group.bench_function("1,000 steps", |b| b.iter(|| tree(black_box(&text))));
}

fn schedule(bench: &mut Criterion) {
    let tree = tree(&text(STEPS));
    let mut group = bench.benchmark_group("schedule");
    group.throughput(Throughput::Elements(STEPS as u64));
    group.bench_function("1,000 steps to their end", |b| b.iter(|| scheduled(black_box(&tree))));
}

fn replay(bench: &mut Criterion) {
    let tree = tree(&text(STEPS));
    let events = scheduled(&tree);
    let mut group = bench.benchmark_group("replay");
    group.throughput(Throughput::Elements(events.len() as u64));
    let replayed = |mut run: Run| run.replay(black_box(&events)).expect("lawful events");
    group.bench_function("events of 1,000 steps", |b| b.iter_batched(|| run_of(&tree), replayed, BatchSize::LargeInput));
}

/// Transactions of one run, as they grow: two events are the end of a step and the start of the next.
fn append(bench: &mut Criterion) {
    let tree = tree(&text(STEPS));
    let events = scheduled(&tree);
    let mut group = bench.benchmark_group("append");
    for (word, durability) in [("full", Durability::Full), ("normal", Durability::Normal)] {
        for at_once in [2, 32] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let state = State::open(folder.path().join("state"), durability).expect("a state folder");
            group.throughput(Throughput::Elements(at_once as u64));
            let mut writing = None;
            let mut once = || {
                let (hold, done) = writing.get_or_insert_with(|| (begun(&state), 0));
                let mut some = events[*done..*done + at_once].to_vec();
                some.iter_mut().for_each(|event| event.run = hold.run().clone());
                state.append(hold.run(), *done as u64, hold.epoch(), &some, &[]).expect("a commit");
                *done += at_once;
                if *done + at_once > events.len() {
                    writing = None;
                }
            };
            group.bench_function(BenchmarkId::new(word, format!("{at_once} events")), |b| b.iter(&mut once));
        }
    }
}

fn begun(state: &State) -> Box<dyn trees_core::journal::Hold> {
    let definition = serde_json::json!({});
    let digest = trees_core::hash::json(&definition).expect("a digest");
    state.create(&NewRun { tree: "parts".into(), digest, definition }).expect("a run")
}

fn mask(bench: &mut Criterion) {
    let secrets: Vec<String> = (0..12).map(|i| format!("s3cret-{i}-{}", trees_core::hash::bytes(&[i])[..24].to_owned())).collect();
    let masker = Masker::new(secrets.iter().map(String::as_str));
    let line = b"2026-01-01T00:00:00Z INFO request=4711 path=/api/v1/items status=200 took=12ms\n";
    let mut group = bench.benchmark_group("mask");
    for size in [5 << 10, 1 << 20] {
        let text: Vec<u8> = line.iter().copied().cycle().take(size).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("12 secrets", format!("{} KiB", size >> 10)), |b| {
            b.iter(|| {
                let (mut stream, mut out) = (masker.stream(), Vec::with_capacity(size));
                stream.push(black_box(&text), &mut out);
                stream.finish(&mut out);
                out
            });
        });
    }
}

criterion_group!(parts, compile, schedule, replay, append, mask);
criterion_main!(parts);
