//! `trees` is killed at any moment, again and again; `trees resume` ends with the outputs of an
//! undisturbed run, and nothing whose success was recorded runs twice.

use crate::bench::Bench;
use crate::chance::Chance;
use crate::laws::{self, MARK, Told};
use crate::live::Live;
use serde_json::Value;
use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

const TREE: &str = include_str!("../shared/shapes.yaml");

const SUB: &str = include_str!("../shared/sub.yaml");

/// Of the synthetic tree, over all threads.
const KILLS: u32 = 200;
/// At most so many in one run.
const IN_ONE_RUN: u32 = 8;

fn synthetic() -> Bench {
    let bench = Bench::with("tree.yaml", TREE);
    bench.write("sub.yaml", SUB);
    bench.write("mark", MARK);
    bench
}

fn outputs(events: &[Value]) -> &Value {
    &events.iter().rev().find(|e| e["type"] == "run_finished").unwrap()["outputs"]
}

#[test]
fn killed_at_any_moment_it_ends_as_if_undisturbed() {
    let bench = synthetic();
    let undisturbed = Live::start(&bench, &["run", "tree.yaml", "--format", "json"]).finish();
    let expected = outputs(&undisturbed);
    assert_eq!(expected["count"], 3, "{expected}");
    let lines = undisturbed.len();
    thread::scope(|scope| {
        for worker in 0..2 {
            scope.spawn(move || {
                let mut chance = Chance(worker);
                let mut kills = 0;
                while kills < KILLS / 2 {
                    kills += disturbed(&mut chance, lines, expected);
                }
            });
        }
    });
}

/// One run, killed until it has had its share; how often.
fn disturbed(chance: &mut Chance, lines: usize, expected: &Value) -> u32 {
    let bench = synthetic();
    let (mut told, mut kills, mut run) = (Told::default(), 0, String::new());
    loop {
        let arguments = if run.is_empty() { ["run", "tree.yaml", "--format", "json"] } else { ["resume", &run, "--format", "json"] };
        let mut live = Live::start(&bench, &arguments);
        let killed = kills < IN_ONE_RUN && await_moment(&mut live, chance, lines) && live.kill();
        if killed {
            kills += 1;
        } else {
            live.end().expect(0);
        }
        told.note(&bench, &live.events());
        if run.is_empty() {
            // Killed before it said anything: the run may be there or not.
            run = live.events().last().map_or_else(|| newest(&bench), |e| e["run"].as_str().unwrap().to_owned());
        }
        if !killed {
            break;
        }
    }
    settled(&bench, &run, &told, expected);
    kills
}

/// Waits for a moment by lines of output and, within it, by microseconds; false when it ended before.
fn await_moment(live: &mut Live, chance: &mut Chance, lines: usize) -> bool {
    let after = chance.below(u64::try_from(lines).unwrap() / 2);
    for _ in 0..after {
        if live.line().is_none() {
            return false;
        }
    }
    let until = Instant::now() + Duration::from_micros(chance.below(if after == 0 { 60_000 } else { 8_000 }));
    while Instant::now() < until {
        spin_loop();
    }
    true
}

fn newest(bench: &Bench) -> String {
    let list = bench.run(&["list", "--format", "json"]).expect(0).json();
    list["runs"].as_array().unwrap().first().map(|r| r["run"].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn settled(bench: &Bench, run: &str, told: &Told, expected: &Value) {
    let events = laws::events(bench, run);
    laws::of_events(&events, "succeeded");
    assert_eq!(outputs(&events), expected);
    told.holds(bench);
    laws::of_rest(bench, run);
}
