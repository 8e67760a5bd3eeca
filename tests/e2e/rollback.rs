//! Taking runs back: what it says, undos that fail, what stays, and the other ways in which a failure
//! can end a run. Failures and crashes at each place are in `tests/faults/undo.rs`.

use crate::bench::{Bench, fifo, hear};
use crate::twelve::NEEDS;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

/// A step counts up when it acts and back to nothing when it is taken back; `broken` counts nothing.
fn twelve(on_failure: &str) -> String {
    let mut text = format!("tree: twelve\non_failure: {on_failure}\nparams: {{ broken: none, stuck: none }}\nmax_parallel: 4\nsteps:\n");
    for (name, needs) in NEEDS {
        text.push_str(&format!(
            "  {name}:\n    needs: [{}]\n    run: |\n      test \"{{{{ params.broken }}}}\" != {name}\n      echo 1 > count-{name}\n      echo {name} >> did\n    undo:\n      run: |\n        test \"{{{{ params.stuck }}}}\" != {name} || test -e repaired\n        echo {name} >> undone\n        rm -f count-{name}\n",
            needs.join(", ")
        ));
    }
    text.push_str("finally:\n  last: { run: echo last >> undone }\n");
    text
}

fn lines(bench: &Bench, file: &str) -> Vec<String> {
    fs::read_to_string(bench.path(file)).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn counts(bench: &Bench) -> Vec<String> {
    NEEDS.iter().map(|(name, _)| format!("count-{name}")).filter(|file| bench.path(file).exists()).collect()
}

/// All that acted is taken back, each after all that was built on it, whatever was tried twice.
fn is_taken_back(bench: &Bench, case: &str) {
    assert_eq!(counts(bench), Vec::<String>::new(), "{case}");
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for (at, name) in lines(bench, "undone").into_iter().enumerate() {
        first.entry(name.clone()).or_insert(at);
        last.insert(name, at);
    }
    let did: BTreeSet<String> = lines(bench, "did").into_iter().collect();
    for (name, needs) in NEEDS.iter().filter(|(name, _)| did.contains(*name)) {
        for need in *needs {
            assert!(last[*name] < first[*need], "{case}: {need} before {name}: {:?}", lines(bench, "undone"));
        }
    }
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a str> {
    events.iter().filter(|e| e["type"] == kind).map(|e| e["step"].as_str().unwrap_or("")).collect()
}

#[test]
fn an_undo_that_fails_keeps_what_it_rests_on() {
    let bench = Bench::with("t.yaml", twelve("rollback"));
    let run = bench.run(&["run", "t.yaml", "-p", "broken=l", "-p", "stuck=h"]).expect(5);
    assert!(run.stderr.contains("h could not be taken back"), "{}", run.stderr);
    assert!(run.stderr.contains("trees rollback "), "{}", run.stderr);
    assert_eq!(counts(&bench), ["count-a", "count-c", "count-h"]);
    let resume = bench.run(&["resume"]).expect(2);
    assert!(resume.stderr.contains("is stuck"), "{}", resume.stderr);
    bench.run(&["rollback"]).expect(5);
    bench.write("repaired", "");
    let plan = bench.run(&["rollback", "--dry-run"]).expect(0);
    assert_eq!(
        plan.stdout.lines().map(|l| l.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
        ["1. h", "2. c", "3. a"]
    );
    bench.run(&["rollback"]).expect(0);
    is_taken_back(&bench, "repaired");
    assert!(bench.run(&["show", "@last"]).expect(0).stdout.contains("was rolled back"));
}

#[test]
fn what_is_undone_by_hand_or_skipped_lets_the_rest_go_on() {
    for (option, code, left) in [("--mark-undone", 0, vec!["count-h"]), ("--skip", 0, vec!["count-h"])] {
        let bench = Bench::with("t.yaml", twelve("rollback"));
        bench.run(&["run", "t.yaml", "-p", "broken=l", "-p", "stuck=h"]).expect(5);
        bench.run(&["rollback", "@last", option, "h"]).expect(code);
        assert_eq!(counts(&bench), left, "{option}");
        let status = if option == "--skip" { "failed" } else { "rolled_back" };
        assert_eq!(bench.run(&["show", "@last", "--format", "json"]).json()["status"], status);
    }
    let bench = Bench::with("t.yaml", twelve("continue"));
    bench.run(&["run", "t.yaml", "-p", "broken=l"]).expect(1);
    let wrong = bench.run(&["rollback", "@last", "--skip", "nobody"]).expect(2);
    assert!(wrong.stderr.contains("has no step `nobody`"), "{}", wrong.stderr);
}

#[test]
fn a_run_that_succeeded_is_taken_back_by_name_only_and_runs_again() {
    let bench = Bench::with("t.yaml", twelve("continue"));
    bench.run(&["run", "t.yaml"]).expect(0);
    let unnamed = bench.run(&["rollback"]).expect(2);
    assert!(unnamed.stderr.contains("no run here has failed"), "{}", unnamed.stderr);
    bench.run(&["rollback", "@last", "--to", "d"]).expect(0);
    assert_eq!(counts(&bench), ["count-a", "count-b", "count-c", "count-d"]);
    bench.run(&["rollback", "@last"]).expect(0);
    is_taken_back(&bench, "by name");
    fs::remove_file(bench.path("undone")).unwrap();
    bench.run(&["resume", "@last"]).expect(0);
    assert_eq!(counts(&bench).len(), 12);
    assert_eq!(lines(&bench, "did").len(), 24);
}

const PARTS: &str = r#"tree: parts
on_failure: rollback
steps:
  fan: { foreach: [x, y], run: 'echo "fan {{ item }}" >> did', undo: 'echo "fan {{ item }}" >> undone' }
  per: { needs: [{ step: fan, by: key }], foreach: [x, y], run: 'echo "per {{ item }}" >> did', undo: 'echo "per {{ item }}" >> undone' }
  sub: { needs: per, tree: ./sub.yaml, with: { word: hello }, undo: 'echo sub >> undone' }
  local: { needs: sub, run: 'echo n=7 >> "$TREES_OUTPUT"; echo local >> did', outputs: { n: integer } }
  told: { needs: local, run: 'echo told >> did; false', undo: { run: 'echo told {{ failure.step }} {{ failure.error }} >> undone', when: started } }
"#;

const SUB: &str = r#"tree: sub
params: { word: string }
steps:
  one: { run: 'echo o={{ params.word }} >> "$TREES_OUTPUT"', outputs: { o: string }, undo: 'echo one {{ step.outputs.o }} >> undone' }
  two: { needs: one, run: ':', undo: 'echo two >> undone' }
finally:
  end: { run: 'echo end >> did' }
"#;

#[test]
fn instances_and_sub_trees_are_taken_back_in_place() {
    let bench = Bench::with("t.yaml", PARTS);
    bench.write("sub.yaml", SUB);
    bench.run(&["run", "t.yaml"]).expect(4);
    let undone = lines(&bench, "undone");
    assert_eq!(undone[..4], ["told told exited with 1", "sub", "two", "one hello"]);
    let at = |line: &str| undone.iter().position(|l| l == line).unwrap();
    assert!(at("per x") < at("fan x") && at("per y") < at("fan y") && undone.len() == 8, "{undone:?}");
    let show = bench.run(&["show", "@last", "--format", "json"]).json();
    let status = |path: &str| show["steps"].as_array().unwrap().iter().find(|s| s["path"] == path).unwrap()["status"].clone();
    assert_eq!(
        ["fan", "fan[x]", "per", "sub", "sub/one", "local", "told"].map(status),
        ["undone", "undone", "undone", "undone", "undone", "succeeded", "undone"]
    );
}

#[test]
fn behind_a_pivot_nothing_is_taken_back() {
    let tree = r#"tree: t
on_failure: rollback
steps:
  a: { run: 'echo a >> did', undo: 'echo a >> undone' }
  p: { needs: a, run: 'echo p >> did', undo: 'echo p >> undone', pivot: true }
  b: { needs: p, run: 'echo b >> did', undo: 'echo b >> undone' }
  out: { needs: a, run: 'echo out >> did', effect: external }
  bad: { needs: [b, out], run: 'false' }
"#;
    let bench = Bench::with("t.yaml", tree);
    let run = bench.run(&["run", "t.yaml"]).expect(1);
    assert_eq!(lines(&bench, "undone"), ["b"]);
    let last = bench.text(&run);
    assert!(last.contains("not taken back: a (behind a pivot), p (behind a pivot), out (it has no undo)"), "{last}");
}

#[test]
fn kinds_take_back_what_they_recorded() {
    let tree = "tree: t\non_failure: rollback\nsteps:\n  old: { uses: file/write, with: { path: kept, content: new } }\n  fresh: { needs: old, uses: file/write, with: { path: made, content: x } }\n  bad: { needs: fresh, run: 'test -e made; false' }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.write("kept", "before");
    bench.run(&["run", "t.yaml"]).expect(4);
    assert_eq!(bench.read("kept"), "before");
    assert!(!bench.path("made").exists());
}

#[test]
fn an_undo_is_tried_again_as_it_says() {
    let tree = "tree: t\non_failure: rollback\nsteps:\n  a: { run: ':', undo: { run: 'echo x >> tries; test $(wc -l < tries) = 3', retry: { attempts: 3, delay: 1ms } } }\n  bad: { needs: a, run: 'false' }\n";
    let bench = Bench::with("t.yaml", tree);
    let run = bench.run(&["run", "t.yaml", "--format", "json"]).expect(4);
    let events = events(&run.stdout);
    assert_eq!((of_type(&events, "undo_started").len(), of_type(&events, "undo_succeeded").len()), (3, 1));
}

#[test]
fn a_failure_may_pause_the_run() {
    let tree = "tree: t\nON\nsteps:\n  a: { run: 'echo a >> did' }\n  bad: { needs: a, run: 'test -e mended' }\n  after: { needs: bad, run: 'echo after >> did' }\nfinally: { f: { run: 'echo f >> did' } }\n";
    let check = |tree: String, options: &[&str]| {
        let bench = Bench::with("t.yaml", tree);
        let run = bench.run(&[&["run", "t.yaml"], options].concat()).expect(3);
        assert!(run.stderr.contains("paused") && run.stderr.contains("trees resume"), "{}", run.stderr);
        assert_eq!(lines(&bench, "did"), ["a"]);
        bench.write("mended", "");
        bench.run(&["resume"]).expect(0);
        assert_eq!(lines(&bench, "did"), ["a", "after", "f"]);
    };
    check(tree.replace("ON", "on_failure: pause"), &[]);
    check(tree.replace("ON", "on_failure: continue"), &["--pause-on-failure"]);
}

#[test]
fn a_failure_may_cancel_what_runs() {
    let tree = "tree: t\non_failure: cancel\nsteps:\n  long: { run: 'echo up > up; sleep 300' }\n  bad: { run: 'until test -e up; do sleep 0.01; done; false' }\n  after: { needs: long, run: ':' }\nfinally: { f: { run: 'echo f >> did' } }\n";
    let bench = Bench::with("t.yaml", tree);
    let run = bench.run(&["run", "t.yaml", "--format", "json"]).expect(1);
    let events = events(&run.stdout);
    assert_eq!((of_type(&events, "step_cancelled"), of_type(&events, "step_blocked")), (vec!["long"], vec!["after"]));
    assert_eq!((events.last().unwrap()["status"].as_str(), lines(&bench, "did")), (Some("failed"), vec!["f".to_owned()]));
}

/// Reads the run's events until one of a type is there.
fn heard(lines: &mut impl Iterator<Item = std::io::Result<String>>, kind: &str) {
    assert!(lines.any(|line| line.unwrap().contains(&format!("\"type\":\"{kind}\""))), "{kind} never came");
}

#[test]
fn a_cancel_or_a_signal_in_a_rollback_leaves_it_to_be_gone_on_with() {
    let tree = "tree: t\non_failure: rollback\nsteps:\n  a: { run: ':', undo: 'echo a >> undone' }\n  b: { needs: a, run: ':', undo: 'echo b >> undone; until test -e go; do sleep 0.01; done' }\n  bad: { needs: b, run: 'false' }\n";
    for cancel in [true, false] {
        let bench = Bench::with("t.yaml", tree);
        let mut child = bench.command(&["run", "t.yaml", "--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stream = BufReader::new(child.stdout.take().unwrap()).lines();
        heard(&mut stream, "undo_started");
        if cancel {
            bench.run(&["cancel", "@last"]).expect(0);
            heard(&mut stream, "cancel_requested");
            bench.write("go", "");
        } else {
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        }
        heard(&mut stream, "run_suspended");
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(if cancel { 1 } else { 130 }));
        assert!(!lines(&bench, "undone").contains(&"a".to_owned()));
        bench.write("go", "");
        bench.run(&["resume", "@last"]).expect(4);
        assert_eq!(lines(&bench, "undone").last().map(String::as_str), Some("a"));
    }
}

#[test]
fn an_unknown_outcome_is_undone_before_it_is_tried_again() {
    let tree = "tree: t\nsteps:\n  a: { run: 'echo a >> did; test -e go || { echo up > up; sleep 300; }', undo: 'echo undo >> did', on_crash: undo_first }\n";
    let bench = Bench::with("t.yaml", tree);
    fifo(&bench.path("up"));
    let mut child = bench.command(&["run", "t.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(hear(&bench.path("up")), "up");
    child.kill().unwrap();
    child.wait().unwrap();
    bench.write("go", "");
    bench.run(&["resume"]).expect(0);
    assert_eq!(lines(&bench, "did"), ["a", "undo", "a"]);
}

#[test]
fn what_an_edit_removed_is_named_by_a_rollback() {
    let tree =
        |out: &str| format!("tree: t\nsteps:\n{out}  a: {{ run: ':', undo: 'echo a >> undone' }}\n  bad: {{ needs: a, run: 'false' }}\n");
    let bench = Bench::with("t.yaml", tree("  out: { run: ':', undo: 'echo out >> undone' }\n"));
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("t.yaml", tree(""));
    bench.run(&["resume", "--tree", "t.yaml"]).expect(1);
    let back = bench.run(&["rollback"]).expect(1);
    assert!(back.stderr.contains("out (its step is gone from the tree)"), "{}", back.stderr);
    assert_eq!(lines(&bench, "undone"), ["a"]);
}

#[test]
fn an_interrupted_step_may_be_marked_as_undone() {
    let tree = "tree: t\nsteps:\n  out: { run: 'echo up > up; sleep 300', undo: 'echo out >> undone' }\n";
    let bench = Bench::with("t.yaml", tree);
    fifo(&bench.path("up"));
    let mut child = bench.command(&["run", "t.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(hear(&bench.path("up")), "up");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    child.wait().unwrap();
    bench.run(&["rollback", "@last"]).expect(1);
    bench.run(&["rollback", "@last", "--mark-undone", "out"]).expect(0);
}

#[test]
fn why_a_step_stayed_is_told_after_a_resume_with_another_tree_too() {
    let tree = |first: &str| {
        format!("tree: t\nsteps:\n{first}  keep: {{ run: 'true', undo: 'true', pivot: true }}\n  bad: {{ needs: keep, run: 'exit 1' }}\n")
    };
    let bench = Bench::with("t.yaml", tree("  old: { run: 'true' }\n"));
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("t.yaml", tree(""));
    bench.run(&["resume", "@last", "--tree", "t.yaml"]).expect(1);
    bench.run(&["rollback", "@last"]);
    let why = bench.run(&["why", "@last", "keep"]).expect(0);
    assert!(why.stdout.contains("it stayed when the run was rolled back"), "{}", why.stdout);
}
