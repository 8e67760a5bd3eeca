//! Power loss: what a run wrote is recorded, and the disks that a power cut may have left are rebuilt
//! from it, each opened and gone on with.

use crate::chance::{Chance, each_seed, seeds, size};
use crate::place::{Place, Told};
use crate::sample::{Sample, chain_with_artifact};
use crate::strace;
use crate::verdict::{Reference, integrity};
use disk::Disk;
use record::{Happening, Record};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

mod disk;
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

#[test]
fn cut_at_any_write() {
    if !strace::is_there("power") {
        return;
    }
    let samples = [chain_with_artifact("s0"), large()];
    let references = samples.each_ref().map(Reference::of);
    let counts = Counts::default();
    each_seed(seeds(4, 50), |seed| {
        let mut chance = Chance(seed);
        // In the short form one of four: it writes megabytes, so that the log is taken over mid-run.
        let which = usize::from(seed % 4 == 0);
        let place = samples[which].place();
        let record = Record::of(&place);
        for n in 0..size(SHORT, LONG) {
            let happened = cut(&record, &mut chance);
            let disk = Disk::after(&record.happenings[..happened], &mut chance);
            restore(&place, &disk);
            let context = format!("seed {seed}, state {n}: {happened} of {} happenings, {}", record.happenings.len(), disk.note);
            judge(&place, told(&record.happenings[..happened]), &references[which], &counts, &context);
        }
    });
    let [states, empty, told] = [counts.states, counts.empty, counts.told].map(AtomicU64::into_inner);
    println!("power: {states} states, {told} told events, 0 lost, 0 corrupt ({empty} states before the first run)");
}

/// Where the power fails: anywhere, half of the times just after something was told.
fn cut(record: &Record, chance: &mut Chance) -> usize {
    let length = u64::try_from(record.happenings.len()).unwrap();
    let told: Vec<usize> = (0..record.happenings.len()).filter(|n| matches!(record.happenings[*n], Happening::Told(_))).collect();
    if chance.below(2) == 0 { *chance.pick(&told) + 1 } else { usize::try_from(chance.below(length + 1)).unwrap() }
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
    Sample { tree, files: Vec::new(), needs: BTreeMap::new(), once: Vec::new(), finally: Vec::new(), tries: BTreeMap::new() }
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

/// Everything told is there, and the run goes on to its end, or begins where it was not yet told.
fn judge(place: &Place, told: Vec<Value>, reference: &Reference, counts: &Counts, context: &str) {
    counts.states.fetch_add(1, Ordering::Relaxed);
    counts.told.fetch_add(u64::try_from(told.len()).unwrap(), Ordering::Relaxed);
    for artifact in told.iter().filter_map(|event| event["artifacts"].as_object()).flat_map(|kept| kept.values()) {
        let sha256 = artifact["sha256"].as_str().unwrap();
        let kept = fs::read(place.path(&format!(".trees/artifacts/{}/{sha256}", &sha256[..2])));
        assert!(kept.is_ok_and(|content| content == b"made\n"), "{context}: the artifact {sha256} was told and is lost");
    }
    let run = match told.first() {
        Some(event) => event["run"].as_str().unwrap().to_owned(),
        None => place.newest().unwrap_or_else(|list| panic!("{context}: {list:?}")),
    };
    let arguments = if run.is_empty() { vec!["run", "tree.yaml", "--format", "json"] } else { vec!["resume", &run, "--format", "json"] };
    if run.is_empty() {
        counts.empty.fetch_add(1, Ordering::Relaxed);
    } else {
        let recorded = place.run(&["events", &run, "--format", "json"]);
        let lost: Vec<&Value> = told.iter().filter(|event| !recorded.events().contains(event)).collect();
        assert!(recorded.code == 0 && lost.is_empty(), "{context}: lost {lost:?}\n{recorded:?}");
    }
    let ended = place.run(&arguments);
    assert_eq!(ended.code, 0, "{context}: {arguments:?} after {} told\n{ended:?}", told.len());
    let run = if run.is_empty() { ended.events()[0]["run"].as_str().unwrap().to_owned() } else { run };
    let all = place.run(&["events", &run, "--format", "json"]).events();
    let outputs = all.iter().rev().find(|e| e["type"] == "run_finished").map(|e| e["outputs"].clone()).unwrap_or_default();
    assert_eq!(outputs, reference.outputs, "{context}: I3");
    let done: BTreeSet<&str> = told.iter().filter(|e| e["type"] == "step_succeeded").filter_map(|e| e["step"].as_str()).collect();
    let ledger = place.ledger();
    let begun = ledger.marked("start");
    assert!(!begun.iter().any(|(step, _)| done.contains(step)), "{context}: I1: {done:?} were told\n{ledger}");
    let distinct: BTreeSet<&str> = begun.iter().map(|(step, _)| *step).collect();
    assert_eq!(distinct.len(), begun.len(), "{context}: I6\n{ledger}");
    assert_eq!(integrity(place), Vec::<String>::new(), "{context}: I4");
}
