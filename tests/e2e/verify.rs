//! `trees replay --verify`: the recorded outcomes through the scheduler again, with the recorded tree
//! and with an edited one.

use crate::bench::{Bench, fifo, hear};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Verifies all runs of a bench.
#[track_caller]
fn clean(bench: &Bench) {
    let list = bench.run(&["list", "-n", "0", "--format", "json"]).expect(0).json();
    let runs = list["runs"].as_array().unwrap();
    assert!(!runs.is_empty());
    for run in runs {
        let id = run["run"].as_str().unwrap();
        let said = bench.run(&["replay", id, "--verify"]).expect(0);
        assert!(said.stdout.contains("are decided the same"), "{}", said.stdout);
    }
}

/// Runs a tree, and whatever comes after, and verifies that.
#[track_caller]
fn check(tree: &str, code: i32, more: &[(&[&str], i32)]) {
    let bench = Bench::with("t.yaml", tree);
    bench.write("sub.yaml", SUB);
    bench.run(&["run", "t.yaml", "-q"]).expect(code);
    for (arguments, code) in more {
        bench.write("mended", "");
        bench.run(arguments).expect(*code);
    }
    clean(&bench);
}

const SUB: &str = "tree: sub
params: { word: string }
steps:
  one: { run: 'echo \"w={{ params.word }}\" >> \"$TREES_OUTPUT\"', outputs: { w: string } }
  two: { needs: one, run: 'test {{ params.word }} != c' }
finally:
  last: { run: ':' }
outputs: { w: '{{ steps.one.outputs.w }}' }
";

#[test]
fn successes_skips_fan_outs_and_sub_trees() {
    let tree = r#"tree: t
max_parallel: 2
pools: { small: 1 }
steps:
  list: { run: 'echo "all=[\"a\",\"b\",\"d\"]" >> "$TREES_OUTPUT"', outputs: { all: list } }
  each: { foreach: { items: "{{ steps.list.outputs.all }}" }, run: 'echo {{ item }}', pool: small }
  then: { needs: [{ step: each, by: key }], foreach: { items: "{{ steps.list.outputs.all }}" }, run: ':', max_parallel: 1 }
  sub: { foreach: [a, b], tree: ./sub.yaml, with: { word: "{{ item }}" } }
  off: { if: "params.on", run: ':' }
  after: { needs: off, run: ':' }
  exit: { run: 'exit 77' }
  done: { check: { run: 'true' }, run: 'false' }
  locked: { lock: one, run: ':' }
  also: { lock: one, run: ':' }
params: { on: { type: boolean, default: false } }
outputs: { all: "{{ steps.list.outputs.all }}" }
finally:
  last: { run: ':' }
"#;
    check(tree, 0, &[]);
}

#[test]
fn failures_retries_and_resumes() {
    let tree = r"tree: t
steps:
  flaky: { run: 'test $TREES_ATTEMPT -gt 1', retry: { attempts: 3, delay: 10ms, jitter: 0.5 } }
  late: { run: 'sleep 5', timeout: 50ms, retry: { attempts: 2, on: timeout, delay: 10ms }, allow_failure: true }
  bad: { needs: flaky, run: 'test -e mended' }
  after: { needs: bad, run: ':' }
  sub: { tree: ./sub.yaml, with: { word: c }, retry: { attempts: 2 }, allow_failure: true }
  fan: { foreach: [x, y], run: 'test {{ item }} = x', tolerate: 1 }
";
    check(tree, 1, &[(&["resume", "-q"], 0)]);
    check("tree: t\non_failure: stop\nsteps:\n  a: { run: 'exit 1' }\n  b: { needs: a, run: ':' }\n", 1, &[]);
    check("tree: t\non_failure: cancel\nsteps:\n  a: { run: 'sleep 0.2; exit 1' }\n  b: { run: 'sleep 30' }\n", 1, &[]);
    check(
        "tree: t\non_failure: pause\nsteps:\n  a: { run: 'test -e mended' }\n  b: { needs: a, run: ':' }\n",
        3,
        &[(&["resume", "-q"], 0)],
    );
    check("tree: t\ndeadline: 300ms\nsteps:\n  a: { run: 'sleep 30', retry: { attempts: 3 } }\n  b: { needs: a, run: ':' }\n", 1, &[]);
}

#[test]
fn people() {
    let tree = "tree: t\nenvironments: { live: { protected: true }, lab: { default: true } }\nsteps:\n  go: { approve: { message: 'go?' } }\n  b: { needs: go, environment: live, run: ':' }\n";
    check(tree, 3, &[(&["approve", "@last", "go"], 0), (&["resume", "@last", "--approve", "environment:live", "-q"], 0)]);
    check(tree, 3, &[(&["reject", "@last", "go", "--note", "no"], 0), (&["resume", "@last", "-q"], 1)]);
    check("tree: t\nsteps:\n  go: { approve: { message: 'go?' } }\n  b: { needs: go, run: ':' }\n", 3, &[(&["cancel", "@last"], 0)]);
    check(
        "tree: t\nsteps:\n  out: { effect: external, run: 'kill -9 $$' }\n  b: { needs: out, run: ':' }\n",
        3,
        &[(&["resolve", "@last", "out", "--done"], 0), (&["resume", "@last", "-q"], 0)],
    );
}

#[test]
fn rollbacks() {
    let steps = "  a: { run: ':', undo: { run: ':' } }\n  b: { needs: a, run: ':', undo: { run: 'test -e mended', retry: { attempts: 2, delay: 10ms } } }\n  c: { needs: b, run: 'exit 1' }\n";
    let tree = format!("tree: t\non_failure: rollback\nsteps:\n{steps}");
    check(&tree, 5, &[(&["rollback", "@last", "-q"], 0)]);
    check(&format!("tree: t\nsteps:\n{steps}"), 1, &[(&["rollback", "@last", "--to", "a", "-q"], 0), (&["resume", "@last", "-q"], 1)]);
}

#[test]
fn cache_hits_and_changed_files() {
    let bench = Bench::with(
        "t.yaml",
        "tree: t\nsteps:\n  build: { cache: true, run: 'cp in out', inputs: [in], artifacts: { out: out } }\n  use: { needs: build, run: 'cat out', inputs: [out] }\n  bad: { needs: use, run: 'test -e mended' }\n",
    );
    bench.write("in", "1");
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    bench.write("in", "2");
    bench.write("mended", "");
    bench.run(&["resume", "-q"]).expect(0);
    bench.run(&["resume", "@last", "--force", "use", "-q"]).expect(0);
    clean(&bench);
}

#[test]
fn a_kill_and_a_signal() {
    for signal in ["-KILL", "-INT"] {
        let bench = Bench::with(
            "t.yaml",
            "tree: t\nsteps:\n  a: { run: ':' }\n  b: { needs: a, run: 'test -e mended || { echo up > begun; sleep 30; }' }\n  c: { needs: b, run: ':' }\n  d: { run: 'test -e mended || sleep 30' }\n",
        );
        fifo(&bench.path("begun"));
        let mut child = bench.command(&["run", "t.yaml", "-q"]).spawn().unwrap();
        assert_eq!(hear(&bench.path("begun")), "up");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap();
        bench.write("mended", "");
        bench.run(&["resume", "-q"]).expect(0);
        clean(&bench);
    }
}

const EDITED: &str = "tree: t
steps:
  a: { run: 'echo \"n=2\" >> \"$TREES_OUTPUT\"', outputs: { n: integer } }
  b: { needs: a, run: 'echo b' }
  c: { needs: b, if: 'params.on', run: 'echo c', description: old }
  bad: { run: 'exit 1', allow_failure: true }
  flaky: { run: 'test $TREES_ATTEMPT = 2', retry: { attempts: 2, delay: 20ms, jitter: 1 } }
  each: { needs: a, foreach: [x, y], run: 'echo {{ item }}' }
params: { on: { type: boolean, default: true } }
";

/// Verifies a recorded run with a tree in which one text is replaced; what is said after the number.
fn edited(from: &str, to: &str) -> (i32, String) {
    let bench = Bench::with("t.yaml", EDITED);
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    clean(&bench);
    assert!(EDITED.contains(from), "{from}");
    bench.write("new.yaml", EDITED.replacen(from, to, 1));
    let said = bench.run(&["replay", "--verify", "--tree", "new.yaml"]);
    let json = bench.run(&["replay", "--verify", "--tree", "new.yaml", "--format", "json"]);
    let document = json.json();
    assert_eq!((&document["schema"], &document["version"]), (&Value::from("trees/verify"), &Value::from(1)));
    assert_eq!((json.code, &document["same"]), (said.code, &Value::from(said.code == 0)));
    if said.code == 1 {
        let difference = &document["difference"];
        assert!(said.stdout.starts_with(&format!("seq {}: recorded ", difference["seq"])), "{}", said.stdout);
        // The recorded event has that number.
        let events = bench.run(&["events", "--format", "json"]).expect(0).stdout;
        let event = events.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).find(|e| e["seq"] == difference["seq"]).unwrap();
        assert!(difference["recorded"].as_str().unwrap().starts_with(event["type"].as_str().unwrap()), "{difference} {event}");
    }
    assert_eq!(fs::read_to_string(bench.path("t.yaml")).unwrap(), EDITED);
    (said.code, said.stdout.trim_end().split_once(": ").map(|(_, rest)| rest.to_owned()).unwrap_or_default())
}

#[track_caller]
fn tells(from: &str, to: &str, parts: &[&str]) {
    let (code, said) = edited(from, to);
    assert!(code == 1 && parts.iter().all(|part| said.contains(part)), "{said}");
}

#[track_caller]
fn is_the_same(from: &str, to: &str) {
    let (code, said) = edited(from, to);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn steps_added_removed_and_renamed() {
    tells("  bad:", "  new: { run: 'true' }\n  bad:", &["recorded step_started at a, now step_started at new (new.yaml:6)"]);
    tells("  b: { needs: a, run: 'echo b' }\n  c: { needs: b,", "  c: { needs: a,", &["(new.yaml"]);
    tells("  bad: { run: 'exit 1', allow_failure: true }\n", "", &["step_started at bad", "no such step", "(new.yaml)"]);
    tells("  bad:", "  worse:", &["now step_started at worse (new.yaml:6)"]);
    is_the_same("  bad: {", "  worse: { was: bad,");
    is_the_same("  flaky: {", "  shaky: { was: flaky,");
}

#[test]
fn needs_conditions_retries_items() {
    tells("  bad: {", "  bad: { needs: c,", &["step_started at bad", "(new.yaml:6)"]);
    tells("  b: { needs: a,", "  b: {", &["now step_started at b (new.yaml:4)"]);
    tells("if: 'params.on'", "if: 'not params.on'", &["step_started at c, now step_skipped (condition)", "(new.yaml:5)"]);
    tells("'exit 1',", "'exit 1', retry: { attempts: 2 },", &["step_failed (exit 1) at bad, now attempt_failed (exit 1)", "(new.yaml:6)"]);
    tells("[x, y]", "[x, z]", &["step_expanded into [x, y] at each, now step_expanded into [x, z]", "(new.yaml:8)"]);
}

#[test]
fn scripts_descriptions_types() {
    tells("'echo b'", "'echo bb'", &["step_started at b, now step_started with another definition", "(new.yaml:4)"]);
    is_the_same("description: old", "description: new");
    tells("{ n: integer }", "{ n: string }", &["step_started at a, now step_started with another definition", "(new.yaml:3)"]);
}

#[test]
fn a_tree_that_does_not_check_is_not_tried() {
    let bench = Bench::with("t.yaml", EDITED);
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    bench.write("new.yaml", EDITED.replace("needs: b", "needs: nobody"));
    let said = bench.run(&["replay", "--verify", "--tree", "new.yaml"]).expect(2);
    assert!(said.stderr.contains("nobody"), "{}", said.stderr);
    bench.run(&["replay", "--tree", "t.yaml"]).expect(2);
    bench.run(&["replay", "--verify", "--instant"]).expect(2);
}
