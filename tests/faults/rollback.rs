//! Trees whose steps count up when they act and back to nothing when they are taken back, and the
//! judge of their rollbacks.

use crate::ledger::{Ledger, Line};
use crate::place::Place;
use crate::twelve::NEEDS;
use crate::verdict::{gaps, integrity};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The needs of each step.
pub struct Graph(pub &'static [(&'static str, &'static [&'static str])]);

/// Twelve steps with a fork, a join and two ends.
pub const TWELVE: Graph = Graph(&NEEDS);

/// Four steps, a diamond.
pub const FOUR: Graph = Graph(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]);

/// A step's counter: up once by its idempotency key, down with each undo.
fn count(place: &Place, step: &str) -> i64 {
    let lines = place.read(&format!("count-{step}"));
    lines.lines().map(|line| if line.starts_with('+') { 1 } else { -1 }).sum()
}

/// What is wrong with a counter. It is below 0 only where an undo was under way at a crash, whose outcome nobody
/// could know, and was made again: at most by one for each crash. (What was spawned just before a kill marks after it.)
fn off(step: &str, count: i64, ledger: &Ledger) -> Option<String> {
    let undos = ledger.marked("undo").iter().filter(|(marked, _)| *marked == step).count();
    let crashes = ledger.0.iter().filter(|line| **line == Line::Crash).count();
    let again = i64::try_from(undos.saturating_sub(1).min(crashes)).unwrap();
    let fine = (-again..=0).contains(&count);
    (!fine).then(|| format!("the counter of {step} is at {count}, after {undos} undos and {crashes} crashes"))
}

impl Graph {
    /// The tree. Each step counts up, its undo down. The step `broken` fails and counts nothing; the undo of `stuck` fails while there is
    /// no file `repaired`, and each undo with a file `once-STEP` fails that once.
    pub fn tree(&self, broken: &str, stuck: &str) -> String {
        let mut text =
            format!("tree: counted\non_failure: rollback\nparams: {{ broken: {broken}, stuck: {stuck} }}\nmax_parallel: 4\nsteps:\n");
        for (name, needs) in self.0 {
            text += &format!(
                "  {name}:
    needs: [{}]
    on_crash: rerun
    run: |
      . ./mark
      mark start
      test \"{{{{ params.broken }}}}\" != {name}
      grep -qs \"^+$TREES_IDEMPOTENCY_KEY\" count-{name} || echo \"+$TREES_IDEMPOTENCY_KEY\" >> count-{name}
      mark end
    undo:
      run: |
        . ./mark
        mark undo
        test \"{{{{ params.stuck }}}}\" != {name} || test -e repaired
        if [ -e once-{name} ]; then rm once-{name}; exit 1; fi
        echo - >> count-{name}
        mark undone
",
                needs.join(", ")
            );
        }
        text + "finally:\n  last: { run: \". ./mark; mark finally\" }\n"
    }

    /// A place with it.
    pub fn place(&self, binary: &Path, broken: &str, stuck: &str) -> Place {
        let place = Place::of(binary);
        place.write("tree.yaml", self.tree(broken, stuck));
        place
    }

    /// The steps whose counters are not at 0.
    pub fn counts(&self, place: &Place) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).filter(|name| count(place, name) != 0).collect()
    }

    /// A step and all that it needs, in the order of the graph.
    pub fn with_needs(&self, step: &str) -> Vec<&'static str> {
        let mut found = BTreeSet::from([step]);
        for (name, needs) in self.0.iter().rev() {
            if found.contains(name) {
                found.extend(*needs);
            }
        }
        self.0.iter().map(|(name, _)| *name).filter(|name| found.contains(name)).collect()
    }

    /// What is wrong with a run that should be taken back: all counters at 0, each step after all
    /// that was built on it, nothing left, whatever was tried twice.
    pub fn wrong(&self, place: &Place) -> Vec<String> {
        let ledger = place.ledger();
        let mut wrong: Vec<String> = self.0.iter().filter_map(|(name, _)| off(name, count(place, name), &ledger)).collect();
        wrong.extend(self.order(&ledger));
        wrong.extend(integrity(place));
        wrong.extend(gaps(&place.run(&["events", "@last", "--format", "json"]).events()));
        wrong.extend(place.processes().iter().map(|p| format!("I7: still there: {p}")));
        wrong
    }

    /// The order of reversed edges, and `finally` after the last undo.
    fn order(&self, ledger: &Ledger) -> Vec<String> {
        // Where in the ledger each attempt marked a word.
        let marks = |wanted: &'static str| {
            let found = ledger.0.iter().enumerate().filter_map(move |(at, line)| match line {
                Line::Mark { step, attempt, word, .. } if word == wanted => Some((step.as_str(), (*attempt, at))),
                _ => None,
            });
            let mut all: BTreeMap<&str, Vec<(u32, usize)>> = BTreeMap::new();
            found.for_each(|(step, mark)| all.entry(step).or_default().push(mark));
            all
        };
        let (begun, undone, did) = (marks("start"), marks("undo"), marks("end"));
        let mut wrong = Vec::new();
        for (name, needs) in self.0.iter().filter(|(name, _)| did.contains_key(name)) {
            let all = undone.get(name).map_or(&[][..], Vec::as_slice);
            if all.is_empty() {
                wrong.push(format!("{name} was never taken back"));
            }
            // What an attempt rests on stands until that was taken back; a later attempt rests on later ones.
            for (attempt, late) in all {
                let since = begun.get(name).and_then(|all| all.iter().find(|(of, _)| of == attempt)).map_or(0, |(_, at)| *at);
                let early =
                    needs.iter().filter(|need| undone.get(**need).is_some_and(|all| all.iter().any(|(_, at)| (since..*late).contains(at))));
                wrong.extend(early.map(|need| format!("{need} was taken back before {name}, attempt {attempt}:\n{ledger}")));
            }
        }
        let at = |wanted: &str| ledger.0.iter().rposition(|line| matches!(line, Line::Mark { word, .. } if word == wanted));
        match at("finally") {
            None => wrong.push("finally did not run".into()),
            Some(end) if at("undo").is_some_and(|undo| undo > end) => wrong.push(format!("finally ran before the last undo:\n{ledger}")),
            Some(_) => {}
        }
        wrong
    }
}
