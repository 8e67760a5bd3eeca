//! Malformed files: whatever stands in one, `trees check` says what is wrong and where, within a second
//! of processor time and 200 MB of address space, and never with a panic. A tree with one known mistake
//! is named with its very line.

mod built;
mod crowd;
mod mistakes;
mod mutations;
mod oddities;
mod special;
mod suite;

use crate::place::Place;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;

/// Seconds of processor time for one file: the kernel kills the process beyond it. Time that the
/// machine gave to others does not count.
const SECONDS: u32 = 1;
/// How much more a binary may take that was built without optimisation.
const SLOW: u32 = 15;
/// KiB of address space, which is never less than the memory in use.
const SPACE: u32 = 200 << 10;
/// Files that one shell checks: its limits are inherited, its own share of the processor stays small.
const BATCH: usize = 100;

/// A file and what must be said of it.
pub struct Case {
    /// What it is, for a person.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is expected.
    pub wanted: Wanted,
}

/// What is expected of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Exit 2 and a place, or exit 0 where chance left it sound.
    Either,
    /// Exit 2 and a place.
    Wrong,
    /// Exit 0.
    Sound,
}

impl Case {
    /// One that is expected to be wrong.
    pub fn wrong(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into(), wanted: Wanted::Wrong }
    }

    /// One that is expected to be sound.
    pub fn sound(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { wanted: Wanted::Sound, ..Self::wrong(name, bytes) }
    }

    /// One of which nobody knows.
    pub fn either(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { wanted: Wanted::Either, ..Self::wrong(name, bytes) }
    }
}

/// What was said of a file.
pub struct Verdict {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Verdict {
    /// The diagnostics of `check --format json`.
    pub fn diagnostics(&self) -> Vec<Value> {
        let document: Value = serde_json::from_str(&self.stdout).unwrap_or_default();
        document["diagnostics"].as_array().cloned().unwrap_or_default()
    }

    /// What is wrong with this verdict itself.
    fn fault(&self, wanted: Wanted) -> Option<String> {
        let fault = match (self.code, wanted) {
            (0, Wanted::Either | Wanted::Sound) => return None,
            (2, Wanted::Either | Wanted::Wrong) if self.names_a_place() => return None,
            (2, Wanted::Either | Wanted::Wrong) => "no place is named".to_owned(),
            (137 | 152, _) => format!("more than {SECONDS} s of processor time"),
            (134, _) => format!("more than {} MiB, or aborted", SPACE >> 10),
            (code, _) => format!("exit {code}, wanted {wanted:?}"),
        };
        let said: String = self.stderr.chars().take(600).collect();
        Some(format!("{fault}\n{said}{}", self.stdout.chars().take(600).collect::<String>()))
    }

    fn names_a_place(&self) -> bool {
        let placed = |d: &Value| d["file"].is_string() && (d["line"].is_u64() || d["code"] == "unreadable");
        let found = self.diagnostics();
        found.iter().any(|d| d["severity"] == "error" && placed(d)) && !self.stderr.contains("this is a bug")
    }
}

/// A shell script that gives each of these files to a command, under the limits, and keeps what it
/// said beside the file.
fn script(binary: &str, command: &str, names: &[String]) -> String {
    let seconds = if binary.contains("/debug/") { SECONDS * SLOW } else { SECONDS };
    let mut script = format!("ulimit -c 0; ulimit -t {seconds}; ulimit -v {SPACE}\n");
    for name in names {
        let _ = writeln!(script, "{binary} {command} {name} >{name}.out 2>{name}.err; echo $? >{name}.code");
    }
    script
}

/// What a command says of files that are there.
pub fn verdicts(place: &Place, command: &str, names: &[String]) -> Vec<Verdict> {
    let binary = place.binary().display().to_string();
    std::thread::scope(|scope| {
        let shell = |part: &[String]| place.program("sh").arg("-c").arg(script(&binary, command, part)).output().unwrap();
        let half = names.len().div_ceil(2).max(1);
        for side in names.chunks(half) {
            scope.spawn(move || side.chunks(BATCH).for_each(|part| drop(shell(part))));
        }
    });
    names.iter().map(|name| verdict(place, name)).collect()
}

fn verdict(place: &Place, name: &str) -> Verdict {
    let text = |end: &str| String::from_utf8_lossy(&fs::read(place.path(&format!("{name}.{end}"))).unwrap()).into_owned();
    Verdict { code: text("code").trim().parse().unwrap_or(-1), stdout: text("out"), stderr: text("err") }
}

/// Checks cases as `check --format json` and a part of them as people see it and by `run`; says
/// how many were wrong and how many sound.
pub fn judge(what: &str, cases: &[Case]) -> (usize, usize) {
    let place = Place::new();
    let names: Vec<String> = (0..cases.len()).map(|n| format!("{n}.yaml")).collect();
    names.iter().zip(cases).for_each(|(name, case)| place.write(name, &case.bytes));
    let found = verdicts(&place, "check --format json", &names);
    let mut faults = Vec::new();
    for (n, (case, verdict)) in cases.iter().zip(&found).enumerate() {
        if let Some(fault) = verdict.fault(case.wanted) {
            faults.push(format!("{} ({}): {fault}", case.name, keep(what, n, &case.bytes)));
        }
    }
    // A run stops at the same place; nothing of it is recorded.
    let wrong: Vec<String> = names.iter().zip(&found).filter(|(_, v)| v.code == 2).map(|(n, _)| n.clone()).collect();
    let part: Vec<String> = wrong.iter().step_by(12).cloned().collect();
    for command in ["check", "run"] {
        for (name, verdict) in part.iter().zip(verdicts(&place, command, &part)) {
            if verdict.code != 2 || !verdict.stderr.contains("error") {
                faults.push(format!("trees {command} {name}: exit {}\n{}", verdict.code, verdict.stderr));
            }
        }
    }
    assert!(!place.path(".trees").exists(), "a file that is wrong left a state folder behind");
    assert!(faults.is_empty(), "{} of {} {what}:\n{}", faults.len(), cases.len(), faults.join("\n"));
    (wrong.len(), cases.len() - wrong.len())
}

/// Keeps a file that was judged badly for whoever looks into it.
fn keep(what: &str, n: usize, bytes: &[u8]) -> String {
    let path = std::env::temp_dir().join(format!("faults-{}-{n}.yaml", what.replace(' ', "-")));
    drop(fs::write(&path, bytes));
    path.display().to_string()
}
