//! The judge: I1 to I11, from the ledger and from what the client was told; `trees events` is held
//! against that. README.md says what each of them means.

use crate::ledger::{Ledger, Line};
use crate::place::{Place, Told};
use crate::sample::Sample;
use crate::sitting::Sitting;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How a sitting ends that SIGKILL ended.
pub const KILLED: i32 = 128 + 9;

/// How an undisturbed run of a sample ends: what others are measured by.
pub struct Reference {
    /// The outputs of the tree.
    pub outputs: Value,
    /// How long it took.
    pub took: Duration,
}

impl Reference {
    /// Runs a sample once, undisturbed.
    pub fn of(sample: &Sample) -> Self {
        Self::at(&sample.place())
    }

    /// The same in a place that was prepared.
    pub fn at(place: &Place) -> Self {
        let begun = Instant::now();
        let told = place.run(&["run", "tree.yaml", "--format", "json"]).expect(0);
        let events = told.events();
        Self { outputs: outputs(&events), took: begun.elapsed() }
    }
}

/// The outputs that the last end of a run named.
pub fn outputs(events: &[Value]) -> Value {
    events.iter().rev().find(|e| e["type"] == "run_finished").map(|e| e["outputs"].clone()).unwrap_or_default()
}

/// One run of a sample and all that its client was told, sitting by sitting.
pub struct Trial<'a> {
    /// Where it runs.
    pub place: Place,
    /// The run's id, once it is known.
    pub run: String,
    sample: &'a Sample,
    told: Vec<Told>,
    /// How long the last sitting took.
    last: Duration,
}

impl<'a> Trial<'a> {
    /// A fresh one.
    pub fn new(sample: &'a Sample) -> Self {
        Self::at(sample.place(), sample)
    }

    /// One in a place that was prepared.
    pub fn at(place: Place, sample: &'a Sample) -> Self {
        Self { place, run: String::new(), sample, told: Vec::new(), last: Duration::ZERO }
    }

    /// What starts it, or goes on with it.
    pub fn arguments(&self) -> Vec<&str> {
        if self.run.is_empty() { vec!["run", "tree.yaml", "--format", "json"] } else { vec!["resume", &self.run, "--format", "json"] }
    }

    /// Begins the next sitting.
    pub fn sit(&self) -> Sitting {
        self.place.start(&self.arguments())
    }

    /// Takes down a sitting that may have been killed: only then may steps begin again for it.
    pub fn note_crash(&mut self, told: Told) {
        if told.code == KILLED {
            self.note_cut_off(told);
        } else {
            self.note(told);
        }
    }

    /// Takes down a sitting that left steps unfinished, which the next one begins again.
    pub fn note_cut_off(&mut self, told: Told) {
        Ledger::note_crash(&self.place.path("ledger"));
        self.note(told);
    }

    /// Takes down what a sitting told.
    pub fn note(&mut self, told: Told) {
        if self.run.is_empty() {
            // Killed before it said anything: the run may be there or not.
            let told = told.events().first().and_then(|e| e["run"].as_str().map(str::to_owned));
            self.run = told.unwrap_or_else(|| self.place.newest().unwrap_or_default());
        }
        self.told.push(told);
    }

    /// Goes on with it, undisturbed, until it ends.
    #[track_caller]
    pub fn finish(&mut self) -> Told {
        let begun = Instant::now();
        let told = self.place.run(&self.arguments());
        self.last = begun.elapsed();
        self.note(told.clone());
        told
    }

    /// Fails where a law is broken. The run has succeeded in the last sitting.
    #[track_caller]
    pub fn judge(&self, reference: &Reference) {
        let broken = self.broken(reference);
        assert!(broken.is_empty(), "{}\nthe ledger:\n{}\n{}", broken.join("\n"), self.place.ledger(), self.history());
    }

    /// All events that were told, sitting by sitting.
    pub fn told_events(&self) -> Vec<Value> {
        self.told.iter().flat_map(Told::events).collect()
    }

    /// What every sitting said, for a failure.
    pub fn history(&self) -> String {
        let each = self.told.iter().enumerate();
        each.map(|(n, t)| format!("sitting {}: exit {}\n{}{}", n + 1, t.code, t.stdout, t.stderr)).collect()
    }

    /// The laws that are broken.
    pub fn broken(&self, reference: &Reference) -> Vec<String> {
        let ledger = self.place.ledger();
        let mut broken = Vec::new();
        let last = self.told.last().expect("a trial has a sitting");
        if last.code != 0 {
            broken.push(format!("the last sitting ended with {}", last.code));
        }
        broken.extend(self.starts_after_success());
        let events = self.recorded();
        broken.extend(self.missing(&events));
        let outputs = outputs(&events);
        if outputs != reference.outputs {
            broken.push(format!("I3: the outputs are {outputs}, undisturbed {}", reference.outputs));
        }
        broken.extend(self.outputs_told(&outputs));
        broken.extend(integrity(&self.place));
        broken.extend(order(&self.sample.needs, &ledger, BTreeSet::new()));
        broken.extend(self.repeats(&ledger));
        broken.extend(overlaps(&ledger));
        broken.extend(self.keys(&ledger));
        broken.extend(self.place.processes().iter().map(|p| format!("I7: still there: {p}")));
        broken.extend(gaps(&events));
        if self.last > reference.took * 2 + Duration::from_secs(5) {
            broken.push(format!("I9: the last sitting took {:?}, an undisturbed run {:?}", self.last, reference.took));
        }
        broken.extend(self.again(&ledger));
        broken
    }

    /// All events of the run, as a client that asks is told.
    pub fn recorded(&self) -> Vec<Value> {
        self.place.run(&["events", &self.run, "--format", "json"]).events()
    }

    /// I1: no attempt begins after one whose success was told; `finally` begins whenever a run ends.
    fn starts_after_success(&self) -> Vec<String> {
        let ledger = self.place.ledger();
        let told = self.told.iter().flat_map(Told::events).filter(|e| e["type"] == "step_succeeded");
        let done: BTreeMap<String, u64> = told.map(|e| (text(&e["step"]), e["attempt"].as_u64().unwrap_or(0))).collect();
        let later =
            |(step, attempt): &(&str, u32)| !self.is_final(step) && done.get(*step).is_some_and(|known| u64::from(*attempt) > *known);
        ledger
            .marked("start")
            .into_iter()
            .filter(later)
            .map(|(s, a)| format!("I1: {s} began attempt {a} after its success was told"))
            .collect()
    }

    /// I2: what was told is recorded, word for word.
    pub fn missing(&self, recorded: &[Value]) -> Vec<String> {
        lost(&self.told_events(), recorded)
    }

    /// I3: what the end of the run told on standard output, and what `show` tells of it, is the same.
    fn outputs_told(&self, recorded: &Value) -> Vec<String> {
        let of_the_end = self.told.iter().rev().map(|told| outputs(&told.events())).find(|outputs| !outputs.is_null());
        let shown = self.place.run(&["show", &self.run, "--format", "json"]).stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
        // A sitting that was killed as it told its end leaves the next one nothing to tell.
        let told = [of_the_end.map(|outputs| ("the end", outputs)), Some(("`show`", shown["outputs"].clone()))];
        // A tree without outputs has none, or an empty object of them.
        let none = serde_json::json!({});
        let same = |a: &Value, b: &Value| a == b || [a, b].iter().all(|outputs| outputs.is_null() || **outputs == none);
        let wrong = told.into_iter().flatten().filter(|(_, outputs)| !same(outputs, recorded));
        wrong.map(|(who, outputs)| format!("I3: {who} tells of the outputs {outputs}, recorded are {recorded}")).collect()
    }

    /// I6: a step begins again only because of a crash over it, and never where its outcome is a
    /// person's to say; no attempt begins twice. (What was spawned just before a kill marks after it.)
    fn repeats(&self, ledger: &Ledger) -> Vec<String> {
        let (mut crashes, mut begun, mut broken) = (0_usize, BTreeMap::<&str, Vec<u32>>::new(), Vec::new());
        for line in &ledger.0 {
            match line {
                Line::Crash => crashes += 1,
                Line::Mark { step, attempt, word, .. } if word == "start" && !self.is_final(step) => {
                    let starts = begun.entry(step).or_default();
                    let tries = self.sample.tries.get(step.as_str()).copied().unwrap_or(1);
                    let most = if self.sample.once.contains(&step.as_str()) { 1 } else { tries + crashes };
                    if starts.contains(attempt) || starts.len() >= most {
                        broken.push(format!("I6: {step} began attempt {attempt} after {starts:?}, with {crashes} crashes before"));
                    }
                    starts.push(*attempt);
                }
                Line::Mark { .. } => {}
            }
        }
        broken
    }

    fn is_final(&self, step: &str) -> bool {
        self.sample.finally.contains(&step)
    }

    /// I6: what a step hands to others as its idempotency key is the same in each attempt, and no other step's.
    fn keys(&self, ledger: &Ledger) -> Vec<String> {
        let (mut of, mut owner, mut broken) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for line in &ledger.0 {
            let Line::Mark { run, step, attempt, key, .. } = line else { continue };
            // `finally` runs anew whenever its tree ends, for which it has a key of its own.
            let known = *of.entry((run, step)).or_insert(key);
            if known != key && !self.is_final(step) {
                broken.push(format!("I6: attempt {attempt} of {step} has the key {key}, known as {known}"));
            }
            let first = *owner.entry(key).or_insert((run, step));
            if first != (run, step) || key.is_empty() {
                broken.push(format!("I6: {step} has the key `{key}` of {}", first.1));
            }
        }
        broken
    }

    /// I10: a resume of what has ended does nothing.
    fn again(&self, before: &Ledger) -> Vec<String> {
        let told = self.place.run(&["resume", &self.run]);
        let after = self.place.ledger();
        let calm = told.code == 0 && after == *before;
        if calm { Vec::new() } else { vec![format!("I10: a second resume ended with {}: {}\n{after}", told.code, told.stderr)] }
    }
}

/// I4: the database is whole.
pub fn integrity(place: &Place) -> Vec<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let base = rusqlite::Connection::open_with_flags(place.path(".trees/trees.db"), flags).unwrap();
    let rows = |pragma: &str| -> Vec<String> {
        let mut statement = base.prepare(pragma).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|row| row.unwrap_or_else(|e| e.to_string())).collect()
    };
    let mut broken: Vec<String> = rows("PRAGMA integrity_check").into_iter().filter(|row| row != "ok").collect();
    broken.extend(rows("PRAGMA foreign_key_check"));
    broken.into_iter().map(|row| format!("I4: {row}")).collect()
}

/// I2: what was told and is not recorded, word for word.
pub fn lost(told: &[Value], recorded: &[Value]) -> Vec<String> {
    let recorded: BTreeMap<u64, &Value> = recorded.iter().map(|e| (e["seq"].as_u64().unwrap_or(0), e)).collect();
    let lost = told.iter().filter(|e| recorded.get(&e["seq"].as_u64().unwrap_or(0)) != Some(e));
    lost.map(|e| format!("I2: told and not recorded: {e}")).collect()
}

/// I5: every need has ended before, here or, by what was recorded then, earlier.
pub fn order(needs: &BTreeMap<&str, Vec<&str>>, ledger: &Ledger, earlier: BTreeSet<String>) -> Vec<String> {
    let (mut ended, mut broken) = (earlier, Vec::new());
    for line in &ledger.0 {
        let Line::Mark { step, word, .. } = line else { continue };
        if word == "end" {
            ended.insert(step.clone());
        }
        let needs = needs.get(step.as_str()).into_iter().flatten();
        let open = needs.filter(|need| word == "start" && !ended.contains(**need));
        broken.extend(open.map(|need| format!("I5: {step} began before the end of {need}")));
    }
    broken
}

/// I7: what a crash left has ended before its step begins again: it writes nothing more.
pub fn overlaps(ledger: &Ledger) -> Vec<String> {
    let (mut newest, mut broken) = (BTreeMap::<&str, u32>::new(), Vec::new());
    for line in &ledger.0 {
        let Line::Mark { step, attempt, word, .. } = line else { continue };
        let known = newest.entry(step).or_insert(*attempt);
        if attempt < known {
            broken.push(format!("I7: attempt {attempt} of {step} says {word} after attempt {known} has begun"));
        }
        *known = (*known).max(*attempt);
    }
    broken
}

/// I8: the numbers of the events have no gap.
pub fn gaps(events: &[Value]) -> Vec<String> {
    let wrong = events.iter().enumerate().filter(|(n, e)| e["seq"] != n + 1);
    wrong.map(|(n, e)| format!("I8: at {} stands {}", n + 1, e["seq"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
