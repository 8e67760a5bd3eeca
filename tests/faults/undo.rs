//! Rollback: a failure at each step of twelve, a crash at each event of the way back, an undo that
//! fails once, one that always fails.

use crate::binary;
use crate::chance::{each_seed, is_long, seeds};
use crate::ledger::{Ledger, Line};
use crate::place::{Place, Told};
use crate::rollback::TWELVE;
use crate::verdict::{KILLED, integrity, lost};
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};

/// Each step of the twelve, or in the short form a few of them. `./test --all` does all too.
fn steps(short: &[&'static str]) -> Vec<&'static str> {
    let all = is_long() || std::env::var_os("TREES_TEST_ALL").is_some();
    if all { all_steps() } else { short.to_vec() }
}

/// Those of them that are taken back where the last one fails.
fn steps_before_the_last(short: &[&'static str]) -> Vec<&'static str> {
    steps(short).into_iter().filter(|step| *step != "l").collect()
}

fn all_steps() -> Vec<&'static str> {
    TWELVE.0.iter().map(|(name, _)| *name).collect()
}

/// Does something for each of a list, two at a time: the seed is the place in the list.
fn each<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let count = u64::try_from(all.len()).unwrap();
    each_seed(seeds(count, count), |seed| work(&all[usize::try_from(seed).unwrap() - 1]));
}

#[track_caller]
fn judge(place: &Place, case: &str) {
    let wrong = TWELVE.wrong(place);
    assert!(wrong.is_empty(), "{case}\n{}\nthe ledger:\n{}", wrong.join("\n"), place.ledger());
    assert_eq!(status(place), "rolled_back", "{case}");
    let again = place.run(&["rollback", "@last"]);
    assert_eq!(again.code, 0, "{case}: I10: a second rollback: {}", again.stderr);
    assert_eq!(TWELVE.wrong(place), Vec::<String>::new(), "{case}: I10");
}

#[test]
fn each_step_may_fail() {
    let all = all_steps();
    each(&all, |broken| {
        let place = TWELVE.place(binary::release(), broken, "none");
        let told = place.run(&["run", "tree.yaml", "--format", "json"]).expect(4);
        judge(&place, broken);
        let ledger = place.ledger();
        let mut did: Vec<&str> = ledger.marked("end").into_iter().map(|(step, _)| step).collect();
        let mut undone: Vec<&str> = ledger.marked("undo").into_iter().map(|(step, _)| step).collect();
        did.sort_unstable();
        undone.sort_unstable();
        assert_eq!(did, undone, "{broken}: each once, and only what acted");
        let mut recorded: Vec<String> =
            told.events().iter().filter(|e| e["type"] == "undo_succeeded").map(|e| e["step"].to_string()).collect();
        recorded.sort_unstable();
        assert_eq!(recorded, did.iter().map(|step| format!("\"{step}\"")).collect::<Vec<_>>(), "{broken}: what was recorded as undone");
        let last = |event: &Value| event["type"] == "undo_succeeded" && event["step"] == "a";
        let finally = |event: &Value| event["type"] == "step_started" && event["step"].as_str().is_some_and(|s| s.ends_with("last"));
        let events = told.events();
        let (last, finally) = (events.iter().position(last), events.iter().position(finally));
        assert!(last < finally && finally.is_some(), "finally comes after the rollback: {last:?} {finally:?}");
    });
    println!("rollback: a failure at {} steps, 0 violations", all.len());
}

#[test]
fn each_event_of_a_rollback_may_be_the_last() {
    let broken = steps(&["d", "l"]);
    let killed = AtomicU32::new(0);
    each(&broken, |broken| {
        for count in 1.. {
            let place = TWELVE.place(binary::release(), broken, "none");
            let case = format!("{broken}, killed after {count} events");
            let first = killed_after(&place, count);
            if first.code != KILLED {
                judge(&place, &case);
                is_kept(&place, &case, &[first]);
                break;
            }
            killed.fetch_add(1, Ordering::Relaxed);
            Ledger::note_crash(&place.path("ledger"));
            let second = gone_on(&place, &case, if count % 2 == 0 { ("resume", 4) } else { ("rollback", 0) });
            judge(&place, &case);
            is_kept(&place, &case, &[vec![first], second].concat());
        }
    });
    println!("rollback: killed at {} events of {} failures, 0 violations", killed.into_inner(), broken.len());
}

/// I2 and I1: what each sitting told is recorded, and no undo begins again whose success was told.
#[track_caller]
fn is_kept(place: &Place, case: &str, told: &[Told]) {
    let events: Vec<Value> = told.iter().flat_map(Told::events).collect();
    let recorded = place.run(&["events", "@last", "--format", "json"]).expect(0).events();
    assert_eq!(lost(&events, &recorded), Vec::<String>::new(), "{case}");
    let ledger = place.ledger();
    let crash = ledger.0.iter().position(|line| *line == Line::Crash).unwrap_or(ledger.0.len());
    let later = Ledger(ledger.0[crash..].to_vec());
    for event in told[0].events().iter().filter(|event| event["type"] == "undo_succeeded") {
        let again = later.marked("undo").iter().any(|(step, _)| event["step"] == *step);
        assert!(!again, "{case}: I1: {} was told as undone and is undone again\n{ledger}", event["step"]);
    }
}

/// Runs the tree and kills it right after so many events of its rollback; it may end before.
fn killed_after(place: &Place, count: usize) -> Told {
    let mut sitting = place.start(&["run", "tree.yaml", "--format", "json"]);
    sitting.until("rollback_started", "");
    for _ in 1..count {
        if sitting.line().is_none() {
            return sitting.end();
        }
    }
    // It may have been faster than the signal.
    sitting.kill()
}

/// Both commands go on with a rollback. One that has ended would be run anew by its name.
#[track_caller]
fn gone_on(place: &Place, case: &str, (command, code): (&str, i32)) -> Vec<Told> {
    if status(place) == "rolled_back" {
        return Vec::new();
    }
    let told = place.run(&[command, "@last", "--format", "json"]);
    assert_eq!(told.code, code, "{case}: {command} says: {}", told.stderr);
    vec![told]
}

fn status(place: &Place) -> String {
    let shown = place.run(&["show", "@last", "--format", "json"]).expect(0).stdout;
    serde_json::from_str::<Value>(&shown).unwrap()["status"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_undo_may_fail_once() {
    let stuck = steps_before_the_last(&["a", "f", "k"]);
    each(&stuck, |step| {
        let place = TWELVE.place(binary::release(), "l", "none");
        place.write(&format!("once-{step}"), "");
        stuck_at(&place.run(&["run", "tree.yaml"]), &place, step);
        place.run(&["rollback"]).expect(0);
        judge(&place, step);
    });
    println!("rollback: an undo of {} fails once, 0 violations", stuck.len());
}

#[test]
fn an_undo_may_always_fail() {
    let stuck = steps_before_the_last(&["b", "h", "j"]);
    each(&stuck, |step| {
        let place = TWELVE.place(binary::release(), "l", step);
        stuck_at(&place.run(&["run", "tree.yaml"]), &place, step);
        for _ in 0..2 {
            stuck_at(&place.run(&["rollback"]), &place, step);
        }
        place.run(&["resume"]).expect(2);
        place.write("repaired", "");
        place.run(&["rollback"]).expect(0);
        judge(&place, step);
    });
    println!("rollback: an undo of {} always fails until the repair, 0 violations", stuck.len());
}

/// It is stuck at a step: what that rests on is kept, all else is taken back.
#[track_caller]
fn stuck_at(told: &Told, place: &Place, step: &str) {
    let told = told.clone().expect(5);
    assert!(told.stderr.contains(&format!("{step} could not be taken back")), "{}", told.stderr);
    assert_eq!(status(place), "rollback_stuck");
    assert_eq!(TWELVE.counts(place), TWELVE.with_needs(step), "kept is what {step} rests on");
    assert_eq!(integrity(place), Vec::<String>::new());
}
