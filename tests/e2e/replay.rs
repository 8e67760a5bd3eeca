//! `trees replay`: a recorded run through the same screens, running nothing.

use crate::bench::Bench;
use serde_json::Value;

const TREE: &str = "tree: t
steps:
  a: { run: 'echo ran >> count; echo \"n=2\" >> \"$TREES_OUTPUT\"', outputs: { n: integer } }
  bad: { needs: a, run: 'echo because >&2; test -e mended' }
  c: { needs: bad, run: ':' }
outputs: { n: '{{ steps.a.outputs.n }}' }
";

/// A run that failed and was resumed.
fn bench() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    bench.write("mended", "");
    bench.run(&["resume", "-q"]).expect(0);
    bench
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The number of the first event of a type about a step.
fn seq(bench: &Bench, kind: &str, step: &str) -> String {
    let recorded = lines(&bench.run(&["events"]).expect(0).stdout);
    recorded.iter().find(|e| e["type"] == kind && e["step"] == step).unwrap()["seq"].to_string()
}

#[test]
fn it_says_what_the_run_said_and_runs_nothing() {
    let bench = bench();
    let replay = bench.run(&["replay", "--instant"]).expect(0);
    for part in
        ["t #1 started as ", "✓ a succeeded", "✗ bad failed", "  │ because", "c blocked: bad failed", "goes on", "bad started, attempt 2"]
    {
        assert!(replay.stderr.contains(part), "{part}:\n{}", replay.stderr);
    }
    assert!(replay.stderr.contains("t #1 succeeded after ") && replay.stderr.contains("3 of 3 steps done"), "{}", replay.stderr);
    assert_eq!(replay.stdout, "n=2\n");
    assert_eq!(bench.read("count"), "ran\n");
    let fast = bench.run(&["replay", "@last", "--speed", "1000000"]).expect(0);
    assert_eq!((fast.stdout, fast.stderr), (replay.stdout, replay.stderr));
}

#[test]
fn as_json_it_is_the_recorded_events() {
    let bench = bench();
    let replay = bench.run(&["replay", "--instant", "--format", "json"]).expect(0);
    assert_eq!(replay.stdout, bench.run(&["events"]).expect(0).stdout);
}

#[test]
fn the_state_at_an_event() {
    let bench = bench();
    let blocked = seq(&bench, "step_blocked", "c");
    let then = bench.run(&["replay", "--instant", "--until", &blocked]).expect(0);
    let state: Vec<&str> = then.stdout.lines().collect();
    assert_eq!(state[0], "t #1 is running");
    assert!(
        state.iter().any(|l| l.starts_with("  bad  failed")) && state.iter().any(|l| l.starts_with("  c    blocked")),
        "{}",
        then.stdout
    );
    assert!(!then.stderr.contains("goes on"), "{}", then.stderr);
    let json = bench.run(&["replay", "--instant", "--until", &blocked, "--format", "json"]).expect(0);
    let said = lines(&json.stdout);
    let document = said.last().unwrap();
    assert_eq!(said.len().to_string(), (blocked.parse::<usize>().unwrap() + 1).to_string());
    assert_eq!((&document["schema"], &document["status"]), (&Value::from("trees/show"), &Value::from("running")));
    assert_eq!(document["seq"].to_string(), blocked);
    // After the last event it is what `trees show` says now.
    let last = said_last(&bench);
    let show = bench.run(&["show", "--format", "json"]).expect(0).json();
    let end = lines(&bench.run(&["replay", "--instant", "--until", &last, "--format", "json"]).expect(0).stdout).pop().unwrap();
    for key in ["steps", "status", "outputs", "params", "finished", "done", "failed", "total"] {
        assert_eq!(end[key], show[key], "{key}");
    }
    let beyond = bench.run(&["replay", "--until", "9999"]).expect(2);
    assert!(beyond.stderr.contains("has no event 9999") && beyond.stderr.contains(&format!("its last is {last}")), "{}", beyond.stderr);
}

fn said_last(bench: &Bench) -> String {
    lines(&bench.run(&["events"]).expect(0).stdout).last().unwrap()["seq"].to_string()
}

#[test]
fn a_resume_opens_what_failed_again() {
    let bench = bench();
    let resumed = lines(&bench.run(&["events"]).expect(0).stdout).iter().find(|e| e["type"] == "run_resumed").unwrap()["seq"].to_string();
    let then = bench.run(&["replay", "--instant", "--until", &resumed]).expect(0).stdout;
    assert!(then.contains("  bad  pending") && then.contains("  c    pending") && then.contains("  a    succeeded"), "{then}");
}

#[test]
fn what_cannot_be_a_speed() {
    let bench = bench();
    for speed in ["0", "-1", "NaN", "fast"] {
        bench.run(&["replay", &format!("--speed={speed}")]).expect(2);
    }
    bench.run(&["replay", "--speed", "2", "--instant"]).expect(2);
}
