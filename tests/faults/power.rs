//! Power loss: what a run, a resume or a rollback wrote is recorded, and the disks that a power cut may have left are rebuilt
//! from it, each opened and gone on with.

use crate::calls::{interrupted, reversible};
use crate::chance::{Chance, each_seed, seeds, size};
use crate::place::{Place, Told};
use crate::sample::{Sample, chain_with_artifact};
use crate::strace;
use crate::verdict::{Reference, Trial};
use disk::Disk;
use record::{Happening, Record};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

mod disk;
mod judge;
mod record;

/// Cuts of one recording.
const SHORT: u64 = 38;
const LONG: u64 = 100;

/// Figures for the last line.
#[derive(Default)]
struct Counts {
    states: AtomicU64,
    empty: AtomicU64,
    told: AtomicU64,
}

impl Counts {
    fn say(&self, what: &str) {
        let [states, empty, told] = [&self.states, &self.empty, &self.told].map(|count| count.load(Ordering::Relaxed));
        println!("power: {what}: {states} states, {told} told events, 0 lost, 0 corrupt ({empty} states before the first run)");
    }
}

#[test]
fn a_run_cut_at_any_write() {
    if !strace::is_there("power") {
        return;
    }
    let samples = [small(), large()];
    let references = samples.each_ref().map(Reference::of);
    let counts = Counts::default();
    each_seed(seeds(4, 50), |seed| {
        // In the short form one of four: it writes megabytes, so that the log is taken over mid-run.
        let which = usize::from(seed % 4 == 0);
        let place = samples[which].place();
        let record = Record::of(&place, &["run", "tree.yaml", "--format", "json"]);
        let cut = Cut { place: &place, sample: &samples[which], run: String::new(), told: Vec::new() };
        each_state(&cut, &record, seed, &counts, |told, context| {
            judge::of_a_run(&cut, told, &references[which], &counts, context);
        });
    });
    counts.say("a run");
}

/// A run that was killed, with a step under way, is taken up.
#[test]
fn a_resume_cut_at_any_write() {
    if !strace::is_there("power") {
        return;
    }
    let sample = small();
    let reference = Reference::of(&sample);
    let counts = Counts::default();
    each_seed(seeds(1, 20), |seed| {
        let trial = interrupted(&sample);
        let record = Record::of(&trial.place, &["resume", &trial.run, "--format", "json"]);
        let cut = Cut { place: &trial.place, sample: &sample, run: trial.run.clone(), told: trial.told_events() };
        each_state(&cut, &record, seed, &counts, |told, context| judge::of_a_run(&cut, told, &reference, &counts, context));
    });
    counts.say("a resume");
}

#[test]
fn a_rollback_cut_at_any_write() {
    if !strace::is_there("power") {
        return;
    }
    let sample = reversible();
    let counts = Counts::default();
    each_seed(seeds(1, 20), |seed| {
        let mut trial = Trial::new(&sample);
        trial.finish().expect(0);
        let record = Record::of(&trial.place, &["rollback", &trial.run, "--format", "json"]);
        let cut = Cut { place: &trial.place, sample: &sample, run: trial.run.clone(), told: trial.told_events() };
        each_state(&cut, &record, seed, &counts, |told, context| judge::of_a_rollback(&cut, told, context));
    });
    counts.say("a rollback");
}

/// What is cut off.
struct Cut<'a> {
    place: &'a Place,
    sample: &'a Sample,
    /// The run, where it was there before.
    run: String,
    /// What was told of it before.
    told: Vec<Value>,
}

/// Rebuilds states of a recording and has each judged, with all that was told up to it.
fn each_state(cut: &Cut<'_>, record: &Record, seed: u64, counts: &Counts, judge: impl Fn(Vec<Value>, &str)) {
    let mut chance = Chance(seed);
    for n in 0..size(SHORT, LONG) {
        let happened = moment(record, &mut chance);
        let disk = Disk::after(&record.happenings[..happened], &mut chance);
        restore(cut.place, &disk);
        let context = format!("seed {seed}, state {n}: {happened} of {} happenings, {}", record.happenings.len(), disk.note);
        let told: Vec<Value> = cut.told.iter().cloned().chain(told(&record.happenings[..happened])).collect();
        counts.states.fetch_add(1, Ordering::Relaxed);
        counts.told.fetch_add(u64::try_from(told.len()).unwrap(), Ordering::Relaxed);
        judge(told, &context);
    }
}

/// Where the power fails: anywhere, half of the times just after something was told.
fn moment(record: &Record, chance: &mut Chance) -> usize {
    let length = u64::try_from(record.happenings.len() - record.before).unwrap();
    let told: Vec<usize> = (0..record.happenings.len()).filter(|n| matches!(record.happenings[*n], Happening::Told(_))).collect();
    if chance.below(2) == 0 { *chance.pick(&told) + 1 } else { record.before + usize::try_from(chance.below(length + 1)).unwrap() }
}

/// A chain with an artifact.
fn small() -> Sample {
    let mut sample = chain_with_artifact("s0");
    sample.needs = BTreeMap::from([("s1", vec!["s0"]), ("made", vec!["s0"])]);
    sample
}

/// Steps with outputs so long that their pages fill the log more than once.
fn large() -> Sample {
    let mut tree = String::from("tree: large\nsteps:\n");
    for step in 0..5 {
        let needs = if step == 0 { String::new() } else { format!("    needs: s{}\n", step - 1) };
        tree += &format!(
            "  s{step}:\n{needs}    run: |\n      . ./mark\n      mark start\n      printf 'text=%0600000d\\n' {step} >> \"$TREES_OUTPUT\"\n      mark end\n    outputs: {{ text: string }}\n"
        );
    }
    tree += "outputs: { n: done }\n";
    let needs = [("s1", vec!["s0"]), ("s2", vec!["s1"]), ("s3", vec!["s2"]), ("s4", vec!["s3"])];
    Sample { tree, files: Vec::new(), needs: BTreeMap::from(needs), once: Vec::new(), finally: Vec::new(), tries: BTreeMap::new() }
}

/// The events that the client had in whole lines.
fn told(happenings: &[Happening]) -> Vec<Value> {
    let bytes = happenings.iter().filter_map(|h| if let Happening::Told(bytes) = h { Some(bytes.as_slice()) } else { None });
    let stdout = String::from_utf8(bytes.collect::<Vec<_>>().concat()).unwrap();
    Told { code: 0, stdout, stderr: String::new() }.events()
}

/// The place as after the cut: steps run in the folder that was recorded, so it is this one again.
fn restore(place: &Place, disk: &Disk) {
    drop(fs::remove_dir_all(place.path(".trees")));
    drop(fs::remove_file(place.path("ledger")));
    disk.write(&place.path(".trees"));
}
