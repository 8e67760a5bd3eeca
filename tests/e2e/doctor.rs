//! What `trees doctor` finds: each thing that makes runs fail is told, with its cure and exit 1.

use crate::bench::{Bench, Outcome, fifo};
use crate::live::Live;
use crate::storage::Small;
use rusqlite::Connection;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const TREE: &str = "tree: t\nsteps:\n  a: { run: 'echo name=value >> \"$TREES_OUTPUT\"', outputs: { name: string } }\n";

/// A state folder with one run that has ended.
fn rested() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.run(&["run", "t.yaml"]).expect(0);
    assert!(!bench.run(&["doctor"]).expect(0).stdout.contains('✗'));
    bench
}

/// It is found, and told with its cure.
#[track_caller]
fn finds(bench: &Bench, check: &str, words: &[&str]) {
    let told = bench.run(&["doctor"]).expect(1).stdout;
    let begin = format!("✗ {check:<12} ");
    let at = told.lines().position(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("no `{begin}` in:\n{told}"));
    let told: Vec<&str> = told.lines().skip(at).take(2).collect();
    words.iter().for_each(|word| assert!(told.join("\n").contains(word), "no `{word}` in {told:?}"));
}

fn change(bench: &Bench, sql: &str) {
    Connection::open(bench.path(".trees/trees.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn an_event_that_is_not_as_it_was_written_is_found() {
    let bench = rested();
    change(&bench, "UPDATE events SET body = replace(body, 'value', 'other') WHERE type = 'step_succeeded'");
    finds(&bench, "events", &["is not as it was written", "put back a copy"]);
}

#[test]
fn a_definition_that_is_not_as_it_was_written_is_found() {
    let bench = rested();
    change(&bench, "UPDATE definitions SET body = replace(body, 'echo', 'exit')");
    finds(&bench, "events", &["cannot be taken up again", "not as it was written", "put back a copy"]);
}

#[test]
fn a_key_that_opens_nothing_is_found_and_seals_nothing() {
    let bench = rested();
    let secret = |arguments: &[&str], input: &str| bench.run_with_input(&[&["secret"], arguments, &["--project", "p"]].concat(), input);
    secret(&["set", "S"], "canary").expect(0);
    secret(&["set", "T", "-e", "prod"], "canary").expect(0);
    let key = bench.home().join(".config/trees/master.key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, "00".repeat(32)).unwrap();
    finds(
        &bench,
        "master key",
        &["does not open 2 of 2 (`S` of p)", "use the key they were sealed with", "trees secret remove S --project p"],
    );
    let refused = secret(&["set", "U"], "other").expect(7).stderr;
    assert!(refused.contains("does not open 2 of 2") && refused.contains("trees secret remove S --project p"), "{refused}");
    assert!(!secret(&["list"], "").expect(0).stdout.contains('U'));
    fs::write(&key, right).unwrap();
    secret(&["set", "U"], "other").expect(0);
    assert!(bench.run(&["doctor"]).expect(0).stdout.contains("✓ master key"));
}

#[test]
fn a_database_that_is_gone_is_found() {
    let bench = rested();
    fs::rename(bench.path(".trees/trees.db"), bench.path("aside")).unwrap();
    finds(&bench, "database", &["trees.db is missing, but the folder of a run is there", "put back trees.db"]);
    for command in [&["list"][..], &["run", "t.yaml"], &["resume"], &["show", "@last"]] {
        let refused = bench.run(command).expect(7).stderr;
        assert!(refused.contains("trees.db is missing") && refused.contains("put back trees.db"), "{command:?}: {refused}");
    }
    assert!(!bench.path(".trees/trees.db").exists());
    bench.write(".trees/trees.db-wal", "log");
    finds(&bench, "database", &["it is missing, but its log is there", "put back a copy"]);
}

#[test]
fn a_folder_that_its_owner_may_not_write_is_found() {
    let bench = rested();
    let mode = |name: &str, mode: u32| fs::set_permissions(bench.path(name), fs::Permissions::from_mode(mode)).unwrap();
    mode(".trees/trees.db", 0o400);
    finds(&bench, "folder", &["may not write", "trees.db (mode 400)", "chmod 600 "]);
    mode(".trees/trees.db", 0o600);
    mode(".trees", 0o500);
    finds(&bench, "folder", &["may not write", ".trees (mode 500)", "chmod 700 "]);
    mode(".trees", 0o700);
    bench.run(&["doctor"]).expect(0);
}

#[test]
fn what_stands_in_the_place_of_a_lock_is_found_and_said() {
    let bench = rested();
    let lock = bench.path(".trees/write.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    finds(&bench, "locks", &["write.lock is no file", "move it away"]);
    let refused = bench.run(&["run", "t.yaml"]).expect(7).stderr;
    assert!(refused.contains("write.lock failed") && refused.contains("move that folder away"), "{refused}");
    fs::remove_dir(&lock).unwrap();
    fs::create_dir_all(bench.path(".trees/locks/tree%3At")).unwrap();
    finds(&bench, "locks", &["tree%3At is no file", "move it away"]);
    fs::remove_dir_all(bench.path(".trees/locks")).unwrap();
    bench.write(".trees/locks", "");
    finds(&bench, "locks", &["locks is no folder", "move it away"]);
    fs::remove_file(bench.path(".trees/locks")).unwrap();
    bench.run(&["doctor"]).expect(0);
}

/// Nobody can tell whether such a run is driven: it was listed as interrupted.
#[test]
fn the_lock_of_a_run_that_cannot_be_looked_at_is_an_error() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { ask: { approve: { message: now? } } }\n");
    bench.run(&["run", "t.yaml"]).expect(3);
    let run = bench.run(&["list", "--format", "json"]).expect(0).json()["runs"][0]["run"].as_str().unwrap().to_owned();
    let lock = bench.path(&format!(".trees/runs/{run}/lock"));
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    finds(&bench, "locks", &["lock is no file", "move it away"]);
    for command in [&["list"][..], &["show"], &["resume"]] {
        let refused = bench.run(command).expect(7).stderr;
        assert!(refused.contains(&format!("{run}/lock is no file; move it away")), "{refused}");
    }
}

#[test]
fn a_full_disk_is_found() {
    let bench = Bench::with("t.yaml", TREE);
    let Some(disk) = Small::mount(&bench, "8m") else {
        println!("a small file system cannot be mounted here (only root can): not tried");
        return;
    };
    bench.run(&["run", "t.yaml", "--state", "small/state"]).expect(0);
    disk.fill();
    let told = bench.run(&["doctor", "--state", "small/state"]).expect(1).stdout;
    assert!(told.contains("✗ writing      the disk of ") && told.contains("is full") && told.contains("free some space"), "{told}");
    // Nothing can be written, and what is there can still be read.
    assert!(told.contains("✓ database") && told.contains("✓ events"), "{told}");
    assert!(bench.run(&["list", "--state", "small/state"]).expect(0).stdout.contains("t #1  succeeded"));
    bench.run(&["show", "--state", "small/state"]).expect(0);
    for command in [&["run", "t.yaml"][..], &["rerun", "@last"], &["secret", "set", "S", "--project", "p"]] {
        let refused = bench.run_with_input(&[command, &["--state", "small/state"]].concat(), "value").expect(7).stderr;
        for part in ["is full; free some space", "hint: when that is mended, run the command again"] {
            assert!(refused.contains(part), "no `{part}`: {refused}");
        }
    }
    disk.free();
    bench.run(&["doctor", "--state", "small/state"]).expect(0);
    assert!(!bench.path("small/state/.trees-probe").exists());
}

#[test]
fn a_state_that_is_a_file_is_no_empty_one() {
    let bench = Bench::with("t.yaml", TREE);
    bench.write(".trees", "");
    bench.write("other", "");
    for (state, name) in [(None, ".trees"), (Some("other"), "other")] {
        for command in [&["list"][..], &["show"], &["run", "t.yaml"], &["gc"], &["doctor"]] {
            let state = state.map_or_else(Vec::new, |state| vec!["--state", state]);
            let told = bench.run(&[command, &state].concat()).expect(if command == ["doctor"] { 1 } else { 7 });
            let said = told.stdout + &told.stderr;
            assert!(said.contains(&format!("{name} is no folder")) && said.contains("move it away"), "{command:?}: {said}");
        }
    }
}

/// It holds its run as if it were at work, and nobody said why nothing happens.
#[cfg(target_os = "linux")]
#[test]
fn a_driver_that_was_stopped_is_said() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { wait: { run: 'echo up > said' } }\n");
    fifo(&bench.path("said"));
    let mut live = Live::start(&bench, &["run", "t.yaml", "--format", "json"]);
    live.until("step_started", "wait");
    live.signal(Signal::STOP);
    let (run, pid) = (live.run(), live.pid());
    // It is stopped once its parent is told so.
    let stopped = rustix::process::WaitOptions::UNTRACED;
    rustix::process::waitpid(rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()), stopped).unwrap();
    let cure = format!("kill -CONT {pid}");
    let said = |outcome: Outcome| outcome.stdout + &outcome.stderr;
    for (command, code) in [(&["resume", &run][..], 6), (&["list"], 0), (&["show", &run], 0), (&["doctor"], 0)] {
        let told = said(bench.run(command).expect(code));
        assert!(told.contains(&format!("process {pid}")) && told.contains("stopped") && told.contains(&cure), "{command:?}: {told}");
    }
    live.signal(Signal::CONT);
    assert_eq!(bench.read("said"), "up\n");
    live.finish();
}
