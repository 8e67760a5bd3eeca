//! A success is recorded after its verify, never before: a verify that fails is no success, and a
//! crash while it asks is followed by another asking.

use crate::chance::size;
use crate::sample::Sample;
use crate::verdict::{Reference, Trial};
use std::collections::BTreeMap;

/// The action leaves what the verify looks for; the verify marks too, and is slow enough to be cut off.
const TREE: &str = r#"
tree: verified
steps:
  made:
    run: ". ./mark; mark start; echo yes > made; mark end"
    verify: { run: ". ./mark; mark asked; sleep 0.05; grep -q yes made" }
  after: { needs: made, run: ". ./mark; mark start; mark end" }
"#;

/// A verify that says no, once.
const REFUSED: &str = r#"
tree: refused
steps:
  made:
    run: ". ./mark; mark start; mark end"
    verify: { run: "test -e allowed" }
  after: { needs: made, run: ". ./mark; mark start; mark end" }
"#;

fn sample(tree: &str) -> Sample {
    let needs = BTreeMap::from([("after", vec!["made"])]);
    Sample { tree: tree.into(), files: Vec::new(), needs, once: Vec::new(), finally: Vec::new(), tries: BTreeMap::from([("made", 2)]) }
}

#[test]
fn a_crash_while_it_asks() {
    let sample = sample(TREE);
    let reference = Reference::of(&sample);
    let rounds = size(5, 50);
    for _ in 0..rounds {
        let mut trial = Trial::new(&sample);
        let mut sitting = trial.sit();
        sitting.until("action_succeeded", "made");
        let told = sitting.kill();
        trial.note_crash(told);
        trial.finish();
        let ledger = trial.place.ledger();
        let asked = ledger.marked("asked").len();
        assert!((1..=2).contains(&asked) && ledger.marked("start").len() >= 2, "{ledger}");
        trial.judge(&reference);
    }
    println!("verified: {rounds} kills while it asks, 0 violations");
}

#[test]
fn what_is_refused_is_no_success() {
    let sample = sample(REFUSED);
    let mut trial = Trial::new(&sample);
    assert_eq!(trial.finish().code, 1, "a success without its verify");
    let ledger = trial.place.ledger();
    assert_eq!((ledger.marked("start"), ledger.marked("end")), (vec![("made", 1)], vec![("made", 1)]), "nothing follows a refusal");
    trial.place.write("allowed", "");
    trial.finish().expect(0);
    assert_eq!(trial.place.ledger().marked("start").last(), Some(&("after", 1)));
}
