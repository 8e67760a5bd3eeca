//! Crash at each point: the engine, its children or both are killed with SIGKILL before and after
//! each change of durable state, and what follows is judged.

use crate::binary;
use crate::chance::{Chance, each_seed, is_long, seeds};
use crate::place::Place;
use crate::scenes::{LOG, SCENES, Scene, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use trees_points::Point;

/// How often each scene comes by each point, undisturbed.
type Reached = Vec<(&'static Scene, BTreeMap<String, u64>)>;

/// One cell of the matrix.
struct Shot {
    point: &'static str,
    who: &'static str,
    seed: u64,
}

/// What came of all of them.
#[derive(Default)]
struct Tally {
    engines: u64,
    children: u64,
    unharmed: u64,
    killed: BTreeSet<&'static str>,
}

#[test]
fn killed_at_each_point() {
    let reached = reached();
    let names: Vec<&'static str> = Point::ALL.iter().map(|point| point.name()).collect();
    let never = names.iter().filter(|name| !reached.iter().any(|(_, hits)| hits.contains_key(**name)));
    assert_eq!(never.collect::<Vec<_>>(), Vec::<&&str>::new(), "points that no scene comes by");
    let shots = shots(&names);
    let tally = Mutex::new(Tally::default());
    let count = u64::try_from(shots.len()).unwrap();
    each_seed(seeds(count, count), |seed| play(&shots[usize::try_from(seed).unwrap() - 1], &reached, &tally));
    let tally = tally.into_inner().unwrap();
    if std::env::var_os("TREES_SEED").is_none() {
        let spared = names.iter().filter(|name| !tally.killed.contains(**name));
        assert_eq!(spared.collect::<Vec<_>>(), Vec::<&&str>::new(), "points at which nothing was ever killed");
    }
    println!(
        "points: {} points, {count} shots: {} engines and {} children killed, {} came to nothing, 0 violations",
        names.len(),
        tally.engines,
        tally.children,
        tally.unharmed
    );
}

/// Plays each scene undisturbed, which is judged too.
fn reached() -> Reached {
    let reached = Mutex::new(Vec::new());
    let scenes: Vec<&Scene> = SCENES.iter().filter(|scene| is_long() || !scene.long).collect();
    each_seed(0..u64::try_from(scenes.len()).unwrap(), |seed| {
        let at = usize::try_from(seed).unwrap();
        let mut hits = BTreeMap::new();
        for line in log(&(scenes[at].play)(&Stage { shot: None })).lines() {
            *hits.entry(line.to_owned()).or_insert(0) += 1;
        }
        reached.lock().unwrap().push((at, hits));
    });
    let mut reached = reached.into_inner().unwrap();
    reached.sort();
    reached.into_iter().map(|(at, hits)| (scenes[at], hits)).collect()
}

fn log(place: &Place) -> String {
    fs::read_to_string(place.root().join(LOG)).unwrap_or_default()
}

/// Long: each point, each victim, ten seeds. Short: the engine once at each point, and the others at
/// a few.
fn shots(names: &[&'static str]) -> Vec<Shot> {
    let mut shots = Vec::new();
    for (at, point) in names.iter().copied().enumerate() {
        for (n, who) in ["engine", "child", "both"].into_iter().enumerate() {
            let wanted = if n == 0 || at % 12 == n { 1 } else { 0 };
            let seeds = if is_long() { 10 } else { wanted };
            shots.extend((1..=seeds).map(|seed| Shot { point, who, seed }));
        }
    }
    shots
}

fn play(shot: &Shot, reached: &Reached, tally: &Mutex<Tally>) {
    let Shot { point, who, seed } = *shot;
    let mut chance = Chance(seed);
    let scenes: Vec<_> = reached.iter().filter(|(_, hits)| hits.contains_key(point)).collect();
    // The first seed takes what surely comes: the first time in the first scene.
    let (scene, hits) = if seed == 1 { scenes[0] } else { chance.pick(&scenes) };
    let hit = if seed == 1 { 1 } else { 1 + chance.below(hits[point]) };
    let stage = Stage { shot: Some(format!("{point}:{hit}:{who}")) };
    let played = catch_unwind(AssertUnwindSafe(|| (scene.play)(&stage)));
    let place = played.unwrap_or_else(|panic| {
        eprintln!("at the point {point}, time {hit} in the scene `{}`, killed: {who}", scene.name);
        resume_unwind(panic)
    });
    let killed = log(&place).lines().find_map(|line| line.strip_prefix("killed ")?.split(' ').nth(1)?.parse::<u64>().ok());
    let mut tally = tally.lock().unwrap();
    match killed {
        None => tally.unharmed += 1,
        Some(children) => {
            tally.killed.insert(point);
            tally.engines += u64::from(who != "child");
            tally.children += children;
        }
    }
}

/// What is released has no point: none of their names stands in it.
#[test]
fn a_release_has_none() {
    let there = names_in(binary::with_failpoints());
    assert!(there.len() > 60, "they are found where they are: {there:?}");
    assert_eq!(names_in(binary::release()), BTreeSet::new());
    println!("points: {} of their names in a build with them, none in the release", there.len());
}

/// The names of points that stand in a binary. Those without a hyphen are words of every program.
fn names_in(binary: &Path) -> BTreeSet<String> {
    let names = Point::ALL.iter().map(|point| point.name()).filter(|name| name.contains('-')).chain(["TREES_FAILPOINT"]);
    let mut grep = Command::new("grep");
    grep.args(names.flat_map(|name| ["-e", name]));
    let output = grep.args(["--text", "--only-matching", "--fixed-strings"]).arg(binary).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
