//! The wall's clock is set forth and back while a run is driven. The machine's own is left alone:
//! a library between `trees` and the system tells it another time.

use crate::place::{Place, Told};
use crate::sitting::Sitting;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// What the retry waits, and the timeout.
const WAIT: Duration = Duration::from_millis(300);
/// How much later a whole process may end: a loaded machine, never a clock, which is off by five minutes at least.
const LATE: Duration = Duration::from_secs(120);
/// How much later a timeout may be recorded.
const RECORDED: Duration = Duration::from_secs(10);

const TREE: &str = r#"
tree: clocks
deadline: 1h
steps:
  first: { run: ". ./mark; mark start; until [ -e go ]; do sleep 0.02; done; mark end" }
  flaky:
    needs: first
    retry: { attempts: 2, delay: 300ms, jitter: 0 }
    run: '[ -e tried ] || { : > tried; exit 1; }'
  slow: { needs: first, timeout: 300ms, run: sleep 600, allow_failure: true }
  last: { needs: [flaky, slow], run: ":" }
"#;

/// A clock that `trees` reads: the library, and the file with how far it is off.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// For a place; none where the library is missing.
    fn of(place: &Place) -> Option<Self> {
        let given = std::env::var_os("TREES_FAULTS_FAKETIME").map(PathBuf::from);
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
        let usual = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
        let library = given.into_iter().chain(usual).find(|path| path.is_file())?;
        Some(Self { library, file: place.root().join("clock") })
    }

    /// Sets it so far from the machine's own.
    fn set(&self, off: &str) {
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{off}\n")).unwrap();
        fs::rename(fresh, &self.file).unwrap();
    }

    /// `trees` by this clock.
    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = place.command(arguments);
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        // It reads the file each time, and lies about the wall's clock only.
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_RESET", "1");
        command
    }

    fn start(&self, place: &Place, arguments: &[&str]) -> Sitting {
        Sitting::of(place, self.command(place, &[arguments, &["--format", "json"]].concat()))
    }
}

/// A place and its clock, or the word that the case is left out.
fn place() -> Option<(Place, Clock)> {
    let place = Place::with(TREE);
    let clock = Clock::of(&place);
    if clock.is_none() {
        println!("clocks: left out: libfaketime is missing (Debian: libfaketime)");
    }
    Some((place, clock?))
}

fn seconds(event: &Value) -> f64 {
    let text = event["ts"].as_str().unwrap();
    let clock = &text[text.find('T').unwrap() + 1..text.len() - 1];
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

/// No number of a document is below 0.
fn no_negative(document: &Value) -> bool {
    match document {
        Value::Number(number) => number.as_f64().is_some_and(|n| n >= 0.0),
        Value::Array(parts) => parts.iter().all(no_negative),
        Value::Object(parts) => parts.values().all(no_negative),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// No event is earlier than the one before it (RFC 3339 in UTC sorts as text).
fn in_order(events: &[Value]) {
    for pair in events.windows(2) {
        assert!(pair[0]["ts"].as_str() <= pair[1]["ts"].as_str(), "time goes back:\n{}\n{}", pair[0], pair[1]);
    }
}

/// Until `first` runs: what is written to the ledger then is written by others.
fn begun(sitting: &mut Sitting, place: &Place) {
    sitting.until("step_started", "first");
    place.until_marked("first", "start");
}

/// The clock jumps while `first` runs; what comes after takes as long as ever.
fn jumped(off: &str) -> Duration {
    let (place, clock) = place().unwrap();
    clock.set("+0");
    let mut sitting = clock.start(&place, &["run", "tree.yaml"]);
    begun(&mut sitting, &place);
    clock.set(off);
    place.write("go", "");
    let begun = Instant::now();
    let late = sitting.until("step_timed_out", "slow");
    assert!(begun.elapsed() >= WAIT, "{off}: the timeout came after {:?}", begun.elapsed());
    let told = sitting.end().expect(0);
    let took = begun.elapsed();
    assert!(took <= WAIT + LATE, "{off}: it took {took:?}");
    let events = told.events();
    in_order(&events);
    let slow = events.iter().find(|e| e["type"] == "step_started" && e["step"] == "slow").unwrap();
    let recorded = (seconds(&late) - seconds(slow)).rem_euclid(86_400.0);
    assert!((0.29..RECORDED.as_secs_f64()).contains(&recorded), "{off}: a timeout of 0.3 s is recorded with {recorded} s");
    let shown = place.run(&["show", "@last", "--format", "json"]).expect(0).stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for step in shown["steps"].as_array().unwrap() {
        assert!(step["started"].as_str() <= step["finished"].as_str(), "{off}: {step}");
    }
    let timeline = clock.command(&place, &["timeline", "@last", "--format", "json"]).output().unwrap();
    let timeline = Told::of(&timeline).expect(0);
    assert!(no_negative(&serde_json::from_str(&timeline.stdout).unwrap()), "{off}: {}", timeline.stdout);
    took
}

#[test]
fn a_clock_that_jumps_moves_no_timer() {
    if place().is_none() {
        return;
    }
    let all = ["+1d", "-1d", "+400d", "-3h"];
    let took: Vec<String> = all.iter().map(|off| format!("{off} {:.1?}", jumped(off))).collect();
    println!("clocks: set mid-run: {}", took.join(", "));
}

#[test]
fn a_run_goes_on_after_its_clock_was_set_back() {
    let Some((place, clock)) = place() else { return };
    clock.set("+0");
    let mut sitting = clock.start(&place, &["run", "tree.yaml"]);
    begun(&mut sitting, &place);
    clock.set("-1d");
    sitting.kill();
    clock.set("-5m");
    place.write("go", "");
    let begun = Instant::now();
    let told = clock.start(&place, &["resume", "@last"]).end().expect(0);
    assert!(begun.elapsed() < LATE, "five minutes back delayed it by {:?}", begun.elapsed());
    let events = place.run(&["events", "@last", "--format", "json"]).expect(0).events();
    in_order(&events);
    assert!(told.events().iter().any(|e| e["type"] == "attempt_failed"), "{}", told.stdout);
    println!("clocks: resumed five minutes back: {:.1?}", begun.elapsed());
}

#[test]
fn a_clock_far_behind_what_is_recorded_is_refused() {
    let Some((place, clock)) = place() else { return };
    clock.set("+30d");
    let mut sitting = clock.start(&place, &["run", "tree.yaml"]);
    begun(&mut sitting, &place);
    sitting.kill();
    let before = place.ledger();
    let recorded = place.run(&["events", "@last", "--format", "json"]).expect(0).stdout;
    for command in ["resume", "rollback", "cancel"] {
        let refused = place.run(&[command, "@last"]).expect(7);
        for part in ["the clock of this machine", "behind the newest event", "set the clock", &format!("trees {command} "), "--yes"] {
            assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
        }
    }
    let doctor = place.run(&["doctor"]).expect(1).stdout;
    assert!(doctor.contains("✗ clock") && doctor.contains("behind the newest event"), "{doctor}");
    assert_eq!(place.ledger(), before, "nothing was started");
    assert_eq!(place.run(&["events", "@last", "--format", "json"]).expect(0).stdout, recorded, "nothing was recorded");
    place.write("go", "");
    let begun = Instant::now();
    place.run(&["resume", "@last", "--yes"]).expect(0);
    assert!(begun.elapsed() < LATE, "it took {:?}", begun.elapsed());
    in_order(&place.run(&["events", "@last", "--format", "json"]).expect(0).events());
    println!("clocks: 30 days behind the newest event: exit 7; with --yes: {:.1?}", begun.elapsed());
}
