//! Runs in a process of their own, and screens that others look at them with.

use crate::bench::Bench;
use crate::live::Live;
use crate::waiting;
use rustix::process::{Pid, getsid};
use serde_json::Value;
use std::fs;

const WAITS: &str = "tree: t\nparams: { word: hello }\nsteps:\n  w: { run: \"echo {{ params.word }}; while [ ! -e go ]; do sleep 0.05; done\" }\noutputs: { said: \"{{ params.word }}\" }\n";
const ASKS: &str = "tree: t\nsteps:\n  ask: { approve: { message: Ship it? } }\n  ship: { needs: ask, run: \":\" }\n";

/// Starts a run that leaves; what was handed over.
fn detach(bench: &Bench, more: &[&str]) -> Value {
    let mut words = vec!["run", "t.yaml", "--detach", "--format", "json"];
    words.extend(more);
    let word = bench.run(&words).expect(0).json();
    assert_eq!((&word["schema"], &word["version"]), (&Value::from("trees/detached"), &Value::from(1)));
    word
}

fn id(word: &Value) -> &str {
    word["run"].as_str().unwrap()
}

#[test]
fn a_detached_run_is_followed_from_elsewhere() {
    let bench = Bench::with("t.yaml", WAITS);
    let word = detach(&bench, &["-p", "word=ho"]);
    let run = id(&word);
    // It is recorded and held as soon as its id is known.
    bench.run(&["resume", run]).expect(6);
    let pid = Pid::from_raw(i32::try_from(word["pid"].as_i64().unwrap()).unwrap()).unwrap();
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "a session of its own");
    let mut follower = Live::start(&bench, &["show", run, "-f", "--format", "json"]);
    let mut logs = Live::start(&bench, &["logs", run, "-f"]);
    follower.until("step_started", "w");
    assert_eq!(logs.line(), Some("w │ ho"));
    bench.write("go", "");
    follower.end().expect(0);
    logs.end().expect(0);
    assert_eq!(follower.events().last().unwrap()["type"], "run_finished");
    let plain = bench.run(&["show", run, "-f"]).expect(0);
    assert_eq!(plain.stdout, "said=ho\n");
    assert!(plain.stderr.contains("✓ w succeeded") && plain.stderr.contains("t #1 succeeded after "), "{}", plain.stderr);
}

#[test]
fn what_a_detached_run_says_stands_in_its_log() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps:\n  bad: { run: exit 3 }\n");
    let said = bench.run(&["run", "t.yaml", "--detach", "--color", "always"]).expect(0);
    let run = said.stdout.trim();
    assert_eq!(run.len(), 12, "{}", said.stdout);
    for part in [&format!("follow it with: trees show {run} -f"), "t #1 goes on as run", "detached.log"] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    bench.run(&["show", run, "-f"]).expect(1);
    // The process that drives it says its last word after the run has ended.
    let folder = bench.path(&format!(".trees/runs/{run}"));
    let text = || fs::read_to_string(folder.join("detached.log")).unwrap();
    waiting::until(&folder, "its last line", || text().lines().any(|line| line.contains(&format!("go on with: trees resume {run}"))));
    let log = text();
    assert!(log.contains("✗ bad failed") && !log.contains('\u{1b}'), "{log:?}");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_detached() {
    let bench = Bench::with("t.yaml", WAITS);
    bench.write("bad.yaml", "tree: t\nsteps: { a: { rum: \":\" } }\n");
    bench.write("secret.yaml", "tree: s\nsecrets: { TOKEN: {} }\nsteps: { a: { secrets: [TOKEN], run: \":\" } }\n");
    for (words, part) in [
        (&["bad.yaml"][..], "rum"),
        (&["none.yaml"], "there is no file"),
        (&["t.yaml", "-p", "wrod=x"], "wrod"),
        (&["t.yaml", "--approve", "x"], "asks for no such approval"),
        (&["secret.yaml"], "TOKEN"),
    ] {
        let said = bench.run(&[&["run", "--detach"], words].concat()).expect(2);
        assert!(said.stderr.contains(part) && said.stdout.is_empty(), "{part}: {} {}", said.stdout, said.stderr);
    }
    assert_eq!(bench.run(&["list"]).expect(0).stdout, "");
}

#[test]
fn a_detached_run_rests_for_a_person_and_is_cancelled_from_elsewhere() {
    let bench = Bench::with("t.yaml", ASKS);
    let word = detach(&bench, &[]);
    let rests = bench.run(&["show", id(&word), "-f"]).expect(3);
    assert!(rests.stderr.contains("ask asks: Ship it?") && rests.stderr.contains("then go on with: trees resume "), "{}", rests.stderr);
    bench.run(&["approve", id(&word), "ask"]).expect(0);
    bench.run(&["resume", id(&word)]).expect(0);
    let word = detach(&bench, &["--approve", "ask"]);
    bench.run(&["show", id(&word), "-f"]).expect(0);
    bench.write("t.yaml", WAITS);
    let word = detach(&bench, &[]);
    bench.run(&["cancel", id(&word)]).expect(0);
    bench.run(&["show", id(&word), "-f"]).expect(1);
    assert_eq!(bench.run(&["show", "--format", "json"]).expect(0).json()["status"], "cancelled");
}

#[test]
fn secrets_of_the_environment_reach_a_detached_run_and_stand_nowhere() {
    let text = "tree: t\nsecrets: { TOKEN: { from: environment } }\nsteps:\n  a: { secrets: [TOKEN], run: 'echo \"$TOKEN\" | wc -c; echo \"$TOKEN\"; while [ ! -e go ]; do sleep 0.05; done' }\n";
    let bench = Bench::with("t.yaml", text);
    let mut command = bench.command(&["run", "t.yaml", "--detach", "--format", "json"]);
    let output = command.env("TOKEN", "canary-4711").output().unwrap();
    let word: Value = serde_json::from_slice(&output.stdout).unwrap();
    let line = fs::read(format!("/proc/{}/cmdline", word["pid"])).unwrap();
    assert!(!String::from_utf8_lossy(&line).contains("canary"), "{}", String::from_utf8_lossy(&line));
    bench.write("go", "");
    bench.run(&["show", id(&word), "-f"]).expect(0);
    assert_eq!(bench.run(&["logs", id(&word), "a"]).expect(0).stdout, "12\n***\n");
}

#[test]
fn the_screen_of_a_run_that_a_signal_ended_has_the_runs_exit_code() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { w: { run: 'touch begun; until test -e go; do sleep 0.01; done' } }\n");
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let mut run = bench.command(&["run", "t.yaml", "-q"]).spawn().unwrap();
        waiting::until(&bench.dir(), "the step", || bench.path("begun").exists());
        assert!(std::process::Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap().success());
        assert_eq!(run.wait().unwrap().code(), Some(code));
        let shown = bench.run(&["show", "@last", "-f"]).expect(code);
        assert!(shown.stderr.contains("ended by SIG"), "{}", shown.stderr);
        fs::remove_file(bench.path("begun")).unwrap();
    }
}
