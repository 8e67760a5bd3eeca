//! Limits: where the system gives few files or processes, fewer steps run at once, the message says
//! which limit it is, and no run is lost.

use crate::ledger::Line;
use crate::place::{Place, Told};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

/// Steps that would all run at once, and mark their beginnings and ends.
fn crowd(count: usize, script: &str) -> String {
    let items: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    format!("tree: limits\nmax_parallel: {count}\nsteps:\n  a: {{ foreach: {{ items: [{}] }}, run: '{script}' }}\n", items.join(", "))
}

/// `trees` under a limit of its shell.
fn limited(place: &Place, limit: &str, arguments: &str) -> Told {
    let mut command = place.program("bash");
    command.args(["-c", &format!("ulimit {limit} || exit 99; exec \"$0\" {arguments}")]).arg(place.binary());
    Told::of(&command.output().unwrap())
}

/// How many were under way at once, at most.
fn at_once(place: &Place) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for line in place.ledger().0 {
        let Line::Mark { word, .. } = line else { continue };
        now = if word == "start" { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    most
}

/// What a person reads: the limit, and no talk of a bug or of a damaged state.
fn is_clear(told: &Told, wanted: &str) {
    let said = &told.stderr;
    assert!(said.contains(wanted) && said.contains("ulimit -"), "exit {}: {said}", told.code);
    for wrong in ["this is a bug", "owner and mode", "damaged"] {
        assert!(!said.contains(wrong), "exit {}: {said}", told.code);
    }
}

#[test]
fn few_open_files() {
    let place = Place::with(&crowd(40, ". ./mark; mark start; sleep 0.05; mark end"));
    let told = limited(&place, "-n 64", "run tree.yaml --format json").expect(0);
    is_clear(&told, "64 open files");
    let most = at_once(&place);
    assert!((2..=8).contains(&most), "{most} steps ran at once");
    assert_eq!(place.ledger().marked("end").len(), 40);
    // Not even a run: nothing is recorded, and nothing blames the state.
    let told = limited(&place, "-n 24", "run tree.yaml").expect(1);
    is_clear(&told, "24 open files");
    let runs = place.run(&["list", "--format", "json"]).expect(0).stdout;
    assert_eq!(runs.matches("\"run\":").count(), 1, "{runs}");
    println!("limits: 64 open files: 40 steps, {most} at once, exit 0; 24: refused");
}

#[test]
fn a_run_goes_on_under_a_limit_and_without_it() {
    let script = "if [ -e again ]; then exit 0; fi; exit 1";
    let place = Place::with(&crowd(30, script));
    place.run(&["run", "tree.yaml"]).expect(1);
    limited(&place, "-n 24", "resume").expect(1);
    place.write("again", "");
    let told = limited(&place, "-n 64", "resume").expect(0);
    is_clear(&told, "64 open files");
    println!("limits: resumed under 24 open files: refused; under 64: exit 0");
}

/// A user of whom there is no other process.
const NOBODY: u32 = 64_123;

/// `trees` as that user, with so many processes.
fn crammed(place: &Place, processes: u32, arguments: &str) -> Told {
    let mut command = place.program("setpriv");
    let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    command.args([&user, &group, "--clear-groups", "bash", "-c"]);
    command.arg(format!("ulimit -u {processes} || exit 99; exec \"$0\" {arguments}")).arg(place.binary());
    Told::of(&command.output().unwrap())
}

/// Why no other user can be had, if so.
fn no_other_user() -> Option<String> {
    let output = Command::new("setpriv").args([&format!("--reuid={NOBODY}"), "--clear-groups", "true"]).output();
    match output {
        Err(e) => Some(format!("setpriv: {e}")),
        Ok(output) if !output.status.success() => Some(Told::of(&output).stderr.trim().to_owned()),
        Ok(_) => None,
    }
}

#[test]
fn few_processes() {
    if let Some(why) = no_other_user() {
        println!("limits: left out: few processes ({why})");
        return;
    }
    // Steps of one process each, so that none of them needs a second one itself.
    let script = "echo \"r a 1 k start\" >> ledger; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo \"r a 1 k end\" >> ledger";
    let place = Place::with(&crowd(100, script));
    for path in [place.root().to_owned(), place.path(""), place.root().join("home"), place.temporary()] {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o755)).unwrap();
    // A copy, as where the binary lies may be closed to others.
    let copy = place.root().join("trees");
    fs::copy(place.binary(), &copy).unwrap();
    let place = place.with_binary(copy);
    let told = crammed(&place, 64, "run tree.yaml --format json");
    is_clear(&told, "no more processes");
    told.expect(0);
    let most = at_once(&place);
    assert!((2..64).contains(&most), "{most} steps ran at once");
    assert_eq!(place.ledger().marked("end").len(), 100);
    let refused = crammed(&place, 3, "run tree.yaml").expect(1);
    is_clear(&refused, "no more processes");
    println!("limits: 64 processes: 100 steps, {most} at once, exit 0; 3: refused");
}

#[test]
fn little_memory_for_a_step() {
    let hungry = "if [ -e again ]; then exit 0; fi; ulimit -v 100000; head -c 1G /dev/zero | tail -c 900M > /dev/null";
    let place = Place::with(&format!("tree: limits\nsteps:\n  hungry: {{ shell: bash, run: '{hungry}' }}\n  other: {{ run: ':' }}\n"));
    let told = place.run(&["run", "tree.yaml"]).expect(1);
    assert!(told.stderr.contains("hungry failed") && told.stderr.contains("memory"), "{}", told.stderr);
    assert!(told.stderr.contains("other succeeded"), "{}", told.stderr);
    place.write("again", "");
    place.run(&["resume"]).expect(0);
    println!("limits: 100 MB for a step that wants 900: exit 1, its own words shown, resumed: exit 0");
}
