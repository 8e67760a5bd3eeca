//! What must hold after a power cut: I1 to I8 and I10, of the ledger since the cut and of what was told before.

use super::{Counts, Cut};
use crate::ledger::Ledger;
use crate::place::Place;
use crate::verdict::{Reference, gaps, integrity, order, outputs, overlaps};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;

/// Everything told is there, and the run goes on to its end, or begins where it was not yet told.
pub fn of_a_run(cut: &Cut<'_>, told: Vec<Value>, reference: &Reference, counts: &Counts, context: &str) {
    let place = cut.place;
    artifacts_are_there(place, &told, context);
    let run = match told.first() {
        Some(event) => event["run"].as_str().unwrap().to_owned(),
        None => place.newest().unwrap_or_else(|list| panic!("{context}: {list:?}")),
    };
    let arguments = if run.is_empty() { vec!["run", "tree.yaml", "--format", "json"] } else { vec!["resume", &run, "--format", "json"] };
    let before = if run.is_empty() { Vec::new() } else { recorded(place, &run, &told, context) };
    counts.empty.fetch_add(u64::from(run.is_empty()), Ordering::Relaxed);
    let ended = place.run(&arguments);
    assert_eq!(ended.code, 0, "{context}: {arguments:?} after {} told\n{ended:?}", told.len());
    let run = if run.is_empty() { ended.events()[0]["run"].as_str().unwrap().to_owned() } else { run };
    let all = place.run(&["events", &run, "--format", "json"]).events();
    assert_eq!(outputs(&all), reference.outputs, "{context}: I3");
    let ledger = place.ledger();
    began_once(&ledger, "start", &of("step_succeeded", &told), context);
    let mut broken = order(&cut.sample.needs, &ledger, of("step_succeeded", &before));
    broken.extend(overlaps(&ledger));
    assert_eq!(broken, Vec::<String>::new(), "{context}\n{ledger}");
    is_calm(place, &["resume", &run], &all, context);
}

/// Everything told is there, and the rollback goes on to its end.
pub fn of_a_rollback(cut: &Cut<'_>, told: Vec<Value>, context: &str) {
    let (place, command) = (cut.place, ["rollback", cut.run.as_str(), "--format", "json"]);
    let before = recorded(place, &cut.run, &told, context);
    let ended = place.run(&command);
    assert_eq!(ended.code, 0, "{context}: {ended:?}");
    let all = place.run(&["events", &cut.run, "--format", "json"]).events();
    let last = all.iter().rev().find(|event| event["type"] == "run_finished").unwrap();
    assert_eq!(last["status"], "rolled_back", "{context}");
    let ledger = place.ledger();
    let earlier = of("undo_succeeded", &before);
    began_once(&ledger, "undoing", &of("undo_succeeded", &told), context);
    // Each is taken back once what needs it has been, now or before.
    let undone: Vec<&str> = ledger.marked("undone").into_iter().map(|(step, _)| step).collect();
    let wanted: Vec<&str> = ["c", "b", "a"].into_iter().filter(|step| !earlier.contains(*step)).collect();
    assert_eq!(undone, wanted, "{context}: I5, after {earlier:?}\n{ledger}");
    assert_eq!(overlaps(&ledger), Vec::<String>::new(), "{context}\n{ledger}");
    is_calm(place, &command, &all, context);
}

/// I2: what was told is recorded, word for word; all that is.
fn recorded(place: &Place, run: &str, told: &[Value], context: &str) -> Vec<Value> {
    let recorded = place.run(&["events", run, "--format", "json"]);
    let lost: Vec<&Value> = told.iter().filter(|event| !recorded.events().contains(event)).collect();
    assert!(recorded.code == 0 && lost.is_empty(), "{context}: lost {lost:?}\n{recorded:?}");
    recorded.events()
}

/// The steps with an event of this type.
fn of(kind: &str, events: &[Value]) -> BTreeSet<String> {
    events.iter().filter(|event| event["type"] == kind).filter_map(|event| event["step"].as_str().map(str::to_owned)).collect()
}

/// I1 and I6: nothing begins again after its success was told, and nothing twice.
fn began_once(ledger: &Ledger, word: &str, done: &BTreeSet<String>, context: &str) {
    let begun = ledger.marked(word);
    assert!(!begun.iter().any(|(step, _)| done.contains(*step)), "{context}: I1: {done:?} were told\n{ledger}");
    let distinct: BTreeSet<&str> = begun.iter().map(|(step, _)| *step).collect();
    assert_eq!(distinct.len(), begun.len(), "{context}: I6\n{ledger}");
}

fn artifacts_are_there(place: &Place, told: &[Value], context: &str) {
    for artifact in told.iter().filter_map(|event| event["artifacts"].as_object()).flat_map(|kept| kept.values()) {
        let sha256 = artifact["sha256"].as_str().unwrap();
        let kept = fs::read(place.path(&format!(".trees/artifacts/{}/{sha256}", &sha256[..2])));
        assert!(kept.is_ok_and(|content| content == b"made\n"), "{context}: the artifact {sha256} was told and is lost");
    }
}

/// I4, I7, I8, I10: the database is whole, nothing is left, no number is missing, and once more does nothing.
fn is_calm(place: &Place, again: &[&str], events: &[Value], context: &str) {
    assert_eq!(integrity(place), Vec::<String>::new(), "{context}: I4");
    assert_eq!(place.processes(), Vec::<String>::new(), "{context}: I7");
    assert_eq!(gaps(events), Vec::<String>::new(), "{context}");
    let before = place.ledger();
    let told = place.run(again);
    assert!(told.code == 0 && place.ledger() == before, "{context}: I10: {told:?}");
}
