//! Surgery on the database of a run that was killed: the log cut at and within each frame, bits
//! flipped, files deleted. What is left is a beginning of the record that the run goes on from, or it
//! is refused with the damage and its cure.

use crate::chance::{Chance, size};
use crate::place::{Place, Told};
use crate::sample::{Sample, chain};
use crate::verdict::{Reference, Trial};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// Of the log: a header, then frames of a header and a page.
const HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;
const PAGE: usize = 4096;

/// A patient: where it is, and the files of its state as the kill left them.
struct Patient {
    place: Place,
    run: String,
    files: BTreeMap<&'static str, Vec<u8>>,
    /// What was told of it, word for word.
    told: Vec<Value>,
}

/// What is done to the files.
struct Cut {
    what: String,
    files: BTreeMap<&'static str, Vec<u8>>,
}

/// How the patient came out of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All of it is there.
    Whole,
    /// A beginning of it.
    Part,
    /// The run is not there.
    Gone,
    /// Refused, exit 7.
    Refused,
}

const DATABASE: &str = "trees.db";
const LOG: &str = "trees.db-wal";
const INDEX: &str = "trees.db-shm";

fn sample() -> Sample {
    let mut sample = chain(3);
    // The last step waits until its run is killed, and not when it is resumed.
    sample.tree = sample.tree.replace("mark start; echo n=2", "mark start; test -e free || sleep 600; echo n=2");
    sample
}

impl Patient {
    fn new(sample: &Sample) -> Self {
        let mut trial = Trial::new(sample);
        let mut sitting = trial.sit();
        sitting.until("step_started", "s2");
        trial.place.until_marked("s2", "start");
        trial.note_crash(sitting.kill());
        let state = trial.place.path(".trees");
        // Before anybody looks: who closes last takes the log into the database.
        let files = BTreeMap::from([DATABASE, LOG, INDEX].map(|name| (name, fs::read(state.join(name)).unwrap())));
        assert!(files[LOG].len() > HEADER + 5 * FRAME, "the log is {} bytes", files[LOG].len());
        let (told, run) = (trial.recorded(), trial.run.clone());
        let place = trial.place;
        place.write("free", "");
        Self { place, run, files, told }
    }

    /// The same with the log taken into the database.
    fn taken_over(mut self) -> Self {
        let base = rusqlite::Connection::open(self.place.path(".trees/trees.db")).unwrap();
        base.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(base);
        let database = fs::read(self.place.path(".trees/trees.db")).unwrap();
        self.files = BTreeMap::from([(DATABASE, database)]);
        self
    }

    fn cut(&self, what: impl Into<String>, change: impl FnOnce(&mut BTreeMap<&'static str, Vec<u8>>)) -> Cut {
        let mut files = self.files.clone();
        change(&mut files);
        Cut { what: what.into(), files }
    }

    fn operate(&self, cut: &Cut) {
        let state = self.place.path(".trees");
        for name in [DATABASE, LOG, INDEX] {
            drop(fs::remove_file(state.join(name)));
            if let Some(bytes) = cut.files.get(name) {
                fs::write(state.join(name), bytes).unwrap();
            }
        }
    }

    /// Operates and looks: each command of it must hold.
    fn outcome(&self, cut: &Cut, reference: &Reference) -> Outcome {
        self.operate(cut);
        let list = self.ask(cut, &["list", "--format", "json"]);
        let show = self.ask(cut, &["show", &self.run, "--format", "json"]);
        let events = self.ask(cut, &["events", &self.run, "--format", "json"]);
        let resume = self.ask(cut, &["resume", &self.run, "--format", "json"]);
        let context = || format!("{}\nlist {list:?}\nshow {show:?}\nevents {events:?}\nresume {resume:?}", cut.what);
        match resume.code {
            7 => Outcome::Refused,
            2 => {
                assert!(resume.stderr.contains("no run"), "{}", context());
                assert!([2, 7].contains(&show.code), "{}", context());
                Outcome::Gone
            }
            0 => {
                let seen = events.events();
                assert!(events.code == 0 && self.told.starts_with(&seen), "no beginning: {}", context());
                let all = self.ask(cut, &["events", &self.run, "--format", "json"]).events();
                assert!(all.starts_with(&seen), "rewritten: {}", context());
                let end = all.iter().rev().find(|e| e["type"] == "run_finished").unwrap_or_else(|| panic!("no end: {}", context()));
                assert_eq!(end["outputs"], reference.outputs, "wrong success: {}", context());
                if seen == self.told { Outcome::Whole } else { Outcome::Part }
            }
            _ => panic!("exit {}: {}", resume.code, context()),
        }
    }

    /// A command that may refuse, but in these words and no others.
    fn ask(&self, cut: &Cut, arguments: &[&str]) -> Told {
        let told = self.place.run(arguments);
        let context = || format!("{}: {arguments:?}: {told:?}", cut.what);
        assert!([0, 2, 7].contains(&told.code), "{}", context());
        assert!(!told.stderr.contains("panicked"), "{}", context());
        if told.code == 7 {
            let cures = ["put back a copy", "run the command again", "--state"];
            assert!(told.stderr.contains(".trees") && cures.iter().any(|cure| told.stderr.contains(cure)), "{}", context());
        }
        told
    }
}

/// All of them; what came out, counted.
fn operate(what: &str, patient: &Patient, reference: &Reference, cuts: &[Cut]) -> BTreeMap<Outcome, u32> {
    let mut counts = BTreeMap::new();
    for cut in cuts {
        *counts.entry(patient.outcome(cut, reference)).or_insert(0) += 1;
    }
    println!("wal: {what}: {} operations, {counts:?}", cuts.len());
    counts
}

fn flip(bytes: &mut [u8], at: usize, chance: &mut Chance) {
    bytes[at] ^= 1 << chance.below(8);
}

/// The log cut at and within each frame, with bits flipped in its header and in its frames.
fn cuts_of_the_log(patient: &Patient) -> Vec<Cut> {
    let (mut chance, mut cuts) = (Chance(1), Vec::new());
    let length = patient.files[LOG].len();
    let frames = (length - HEADER) / FRAME;
    for frame in 0..=frames {
        let at = HEADER + frame * FRAME;
        let inside = at + usize::try_from(chance.below(FRAME as u64)).unwrap();
        for to in [at, inside].into_iter().filter(|to| *to <= length) {
            cuts.push(patient.cut(format!("log cut to {to} of {length}"), |files| files.get_mut(LOG).unwrap().truncate(to)));
        }
    }
    for at in (0..HEADER).step_by(size(8, 1)) {
        cuts.push(patient.cut(format!("bit in byte {at} of the log's header"), |files| flip(files.get_mut(LOG).unwrap(), at, &mut chance)));
    }
    for frame in (0..frames).step_by(size(4, 1)) {
        for within in [chance.below(24), 24 + chance.below(PAGE as u64)] {
            let at = HEADER + frame * FRAME + usize::try_from(within).unwrap();
            cuts.push(patient.cut(format!("bit in byte {at} of the log"), |files| flip(files.get_mut(LOG).unwrap(), at, &mut chance)));
        }
    }
    cuts
}

#[test]
fn the_log_is_cut_and_flipped() {
    let sample = sample();
    let reference = reference(&sample);
    let patient = Patient::new(&sample);
    let counts = operate("the log", &patient, &reference, &cuts_of_the_log(&patient));
    // The log's own checksums find each flip: nothing behind it is believed.
    assert!(!counts.contains_key(&Outcome::Refused), "{counts:?}");
    assert!(counts[&Outcome::Part] > 0 && counts[&Outcome::Whole] > 0, "{counts:?}");
}

/// Of an external step the folder of its attempt tells that it began, should its record be lost: nothing begins it again
/// until a person has said so.
#[test]
fn an_external_step_does_not_begin_again_unasked() {
    let mut sample = sample();
    sample.tree = sample.tree.replace("s2: { needs", "s2: { effect: external, needs");
    let patient = Patient::new(&sample);
    let cuts = cuts_of_the_log(&patient);
    let (mut asked, mut refused) = (0, 0);
    for cut in &cuts {
        patient.operate(cut);
        let told = patient.place.run(&["resume", &patient.run]);
        match told.code {
            3 => asked += 1,
            7 if told.stderr.contains("has lost its end") || told.stderr.contains("is lost") => refused += 1,
            _ => panic!("{}: {told:?}", cut.what),
        }
        let gc = patient.place.run(&["gc"]).expect(0);
        assert!(gc.stdout.contains("removed 0 runs"), "{}: {gc:?}", cut.what);
        assert_eq!(began(&patient), 1, "{}\n{}", cut.what, patient.place.ledger());
    }
    assert!(asked > 0 && refused > 0, "asked {asked}, refused {refused}");
    let lost = patient.cut("without its last commit", |files| {
        let log = files.get_mut(LOG).unwrap();
        log.truncate(log.len() - FRAME);
    });
    patient.operate(&lost);
    patient.place.run(&["resume", &patient.run]).expect(7);
    patient.place.run(&["resume", &patient.run, "--yes"]).expect(0);
    assert_eq!(began(&patient), 2, "{}", patient.place.ledger());
    println!("wal: an external step: {} operations, {asked} asked, {refused} refused, 0 begun again", cuts.len());
}

/// How often the last step began.
fn began(patient: &Patient) -> usize {
    patient.place.ledger().marked("start").iter().filter(|(step, _)| *step == "s2").count()
}

#[test]
fn files_are_deleted() {
    let sample = sample();
    let reference = reference(&sample);
    let patient = Patient::new(&sample);
    // The index can always be made again. All of the run is in the log as yet: without it the database is one from before,
    // and whole. A log without its database tells of damage.
    let cuts = [
        (Outcome::Whole, patient.cut("without the index", |files| drop(files.remove(INDEX)))),
        (Outcome::Gone, patient.cut("without the log", |files| drop(files.remove(LOG)))),
        (Outcome::Gone, patient.cut("the database alone", |files| files.retain(|name, _| *name == DATABASE))),
        (Outcome::Refused, patient.cut("without the database", |files| drop(files.remove(DATABASE)))),
        (Outcome::Refused, patient.cut("an empty database", |files| files.get_mut(DATABASE).unwrap().clear())),
        (Outcome::Whole, patient.cut("an index of zeros", |files| files.get_mut(INDEX).unwrap().fill(0))),
        (Outcome::Whole, patient.cut("an index of ones", |files| files.get_mut(INDEX).unwrap().fill(0xFF))),
    ];
    for (wanted, cut) in &cuts {
        assert_eq!(patient.outcome(cut, &reference), *wanted, "{}", cut.what);
    }
    println!("wal: files: {} operations, each as it must come out", cuts.len());
}

#[test]
fn the_database_is_cut_and_flipped() {
    let sample = sample();
    let reference = reference(&sample);
    let patient = Patient::new(&sample).taken_over();
    let (mut chance, mut cuts) = (Chance(2), Vec::new());
    let length = patient.files[DATABASE].len();
    for at in (0..100).step_by(size(9, 1)) {
        cuts.push(patient.cut(format!("bit in byte {at} of the header"), |files| flip(files.get_mut(DATABASE).unwrap(), at, &mut chance)));
    }
    for page in (0..length / PAGE).step_by(size(3, 1)) {
        let to = page * PAGE + usize::try_from(chance.below(PAGE as u64)).unwrap();
        cuts.push(patient.cut(format!("cut to {to} of {length}"), |files| files.get_mut(DATABASE).unwrap().truncate(to)));
    }
    // Not in its name: under another one it is another run.
    let name = patient.run.as_bytes();
    let is_name = |at: usize| (at.saturating_sub(name.len() - 1)..=at).any(|from| patient.files[DATABASE][from..].starts_with(name));
    let mut any = || usize::try_from(chance.below(u64::try_from(length).unwrap())).unwrap();
    let places: Vec<usize> = std::iter::repeat_with(&mut any).filter(|at| !is_name(*at)).take(size(40, 1_000)).collect();
    for at in places {
        cuts.push(patient.cut(format!("bit in byte {at} of {length}"), |files| flip(files.get_mut(DATABASE).unwrap(), at, &mut chance)));
    }
    // Where outputs are recorded, each digit is turned into another one.
    let database = &patient.files[DATABASE];
    let recorded: Vec<usize> = (0..length - 6).filter(|at| database[*at..].starts_with(b"\"n\":0")).map(|at| at + 4).collect();
    assert!(!recorded.is_empty(), "no output is recorded");
    for at in recorded {
        cuts.push(patient.cut(format!("the digit at {at}"), |files| files.get_mut(DATABASE).unwrap()[at] ^= 1));
    }
    let counts = operate("the database", &patient, &reference, &cuts);
    assert!(counts.contains_key(&Outcome::Refused), "no damage was ever seen: {counts:?}");
    assert!(!counts.contains_key(&Outcome::Gone), "damage was taken for a state without the run: {counts:?}");
}

/// What the outputs are: the sample's last step waits for a file.
fn reference(sample: &Sample) -> Reference {
    let place = sample.place();
    place.write("free", "");
    Reference::at(&place)
}
