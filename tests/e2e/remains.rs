//! What the folders of a run tell that its record does not: commands refuse where more began than is recorded, and
//! never where all of it is.

use crate::bench::Bench;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the newest run's steps.
fn steps(bench: &Bench) -> PathBuf {
    let run = bench.run(&["show", "@last", "--format", "json"]).expect(0).json()["run"].as_str().unwrap().to_owned();
    bench.path(&format!(".trees/runs/{run}/steps"))
}

#[test]
fn a_step_whose_start_is_not_recorded_is_named_until_a_person_says_go() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps:\n  a: { run: ':' }\n  b: { needs: a, run: 'test -e mended' }\n");
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("mended", "");
    let lost = steps(&bench).join("b/2");
    fs::create_dir_all(&lost).unwrap();
    for command in ["resume", "rollback"] {
        let refused = bench.run(&[command, "@last"]).expect(7);
        assert!(refused.stderr.contains("has lost its end: attempt 2 of `b` began and is not in it"), "{}", refused.stderr);
        assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    }
    let doctor = bench.run(&["doctor"]).expect(1);
    assert!(doctor.stdout.contains("attempt 2 of `b` began and is not in it"), "{}", doctor.stdout);
    bench.run(&["resume", "@last", "--yes"]).expect(0);
    assert!(lost.with_extension("lost-1").exists());
    bench.run(&["doctor"]).expect(0);
}

#[test]
fn what_must_not_be_repeated_leaves_a_folder_though_it_says_nothing() {
    let tree = "tree: t\nsteps:\n  quiet: { run: ':' }\n  asks: { on_crash: ask, run: ':' }\n  out: { effect: external, run: ':', undo: { run: ':' } }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(0);
    let steps = steps(&bench);
    assert_eq!(["quiet", "asks/1", "out/1"].map(|name| steps.join(name).exists()), [false, true, true]);
    fs::create_dir(steps.join("out/1/undo-1")).unwrap();
    let refused = bench.run(&["rollback", "@last"]).expect(7);
    assert!(refused.stderr.contains("an undo of `out` began and is not in it"), "{}", refused.stderr);
    fs::remove_dir(steps.join("out/1/undo-1")).unwrap();
    bench.run(&["rollback", "@last", "--skip", "asks", "--skip", "quiet"]).expect(0);
    assert!(steps.join("out/1/undo-1").exists());
}

#[test]
fn a_renamed_step_is_not_taken_for_one_that_is_lost() {
    let tree = |name: &str, more: &str| {
        format!(
            "tree: t\nsteps:\n  {name}: {{ {more}run: 'echo did', effect: external, undo: {{ run: 'echo back; test -e mended' }} }}\n  bad: {{ needs: {name}, run: 'false' }}\n"
        )
    };
    let bench = Bench::with("t.yaml", tree("old", ""));
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("new.yaml", tree("new", "was: old, "));
    bench.run(&["resume", "--tree", "new.yaml"]).expect(1);
    bench.run(&["rollback", "@last"]).expect(5);
    bench.run(&["rollback", "@last"]).expect(5);
    bench.write("mended", "");
    bench.run(&["rollback", "@last"]).expect(0);
}

#[test]
fn where_a_record_is_lost_a_run_must_be_named() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { run: 'test -e mended', undo: { run: 'touch undone' } } }\n");
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("mended", "");
    let lost = bench.path(".trees/runs/0123456789ab/steps/x/1");
    fs::create_dir_all(&lost).unwrap();
    for command in ["resume", "rollback"] {
        let refused = bench.run(&[command]).expect(7);
        assert!(refused.stderr.contains("run 0123456789ab has begun") && refused.stderr.contains("name the run"), "{}", refused.stderr);
    }
    assert!(!bench.path("undone").exists());
    assert!(bench.run(&["list"]).expect(0).stderr.contains("is lost: steps began whose folders are there; put back a copy"));
    bench.run(&["resume", "@last"]).expect(0);
    bench.run(&["gc", "--lost"]).expect(0);
    assert!(!lost.exists());
    bench.run(&["doctor"]).expect(0);
}

/// A run whose engine was killed while a step had a secret as a file: that file, and the process of the step.
fn killed_with_a_secret() -> (Bench, PathBuf, String) {
    let tree = "tree: t\nsecrets: { S: { from: generate, as: file } }\nsteps:\n  a: { effect: external, secrets: [S], run: 'echo $S_FILE > where; echo $$ > pid; exec sleep 600' }\n";
    let bench = Bench::with("t.yaml", tree);
    let mut engine = bench.command(&["run", "t.yaml", "-q"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while bench.files().iter().all(|name| name != "pid") || bench.read("pid").is_empty() {
        std::thread::yield_now();
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    let (secret, pid) = (PathBuf::from(bench.read("where").trim()), bench.read("pid").trim().to_owned());
    (bench, secret, pid)
}

fn end(pid: &str) {
    Command::new("kill").args(["-9", pid]).status().unwrap();
    while Path::new("/proc").join(pid).exists() {
        std::thread::yield_now();
    }
}

#[test]
fn a_lost_run_goes_with_its_processes_ended_and_its_secret_files() {
    let (bench, secret, pid) = killed_with_a_secret();
    fs::remove_file(bench.path(".trees/trees.db-wal")).unwrap();
    let refused = bench.run(&["gc", "--lost"]).expect(1);
    assert!(refused.stderr.contains(&format!("end them first: kill {pid}")), "{}", refused.stderr);
    assert!(secret.exists());
    end(&pid);
    bench.run(&["gc", "--lost"]).expect(0);
    assert!(!secret.exists());
}

#[test]
fn secret_files_of_a_run_that_nobody_resumes_go_when_its_processes_are_gone() {
    let (bench, secret, pid) = killed_with_a_secret();
    bench.run(&["gc"]).expect(0);
    assert!(secret.exists(), "a process of the run may use it");
    end(&pid);
    bench.run(&["gc", "--dry-run"]).expect(0);
    assert!(secret.exists());
    bench.run(&["gc"]).expect(0);
    assert!(!secret.exists());
    let told = bench.run(&["resume", "@last"]).expect(3);
    assert!(told.stderr.contains("resolve"), "{}", told.stderr);
}
