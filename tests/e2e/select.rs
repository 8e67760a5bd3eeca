//! A part of a tree: `run --only`, `--from`, `--skip` and `rerun`.

use crate::bench::{Bench, Outcome};
use crate::waiting;
use serde_json::Value;
use std::fs;

const TREE: &str = r#"tree: t
params: { word: hello }
steps:
  prep: { run: "echo prep >> log" }
  build:
    needs: prep
    run: 'echo build >> log; echo bin > app; echo "v={{ params.word }}-1" >> "$TREES_OUTPUT"'
    outputs: { v: string }
    artifacts: { app: app }
  lint: { run: "echo lint >> log" }
  smoke:
    foreach: { items: [a, b, c], as: n }
    run: 'echo smoke-{{ n }} >> log; echo "got={{ n }}" >> "$TREES_OUTPUT"'
    outputs: { got: string }
  deploy:
    needs: lint
    run: 'echo "deploy {{ steps.build.outputs.v }} {{ steps.smoke.by_key.b.got }} $(cat app)" >> log; test ! -e broken; echo "url=u" >> "$TREES_OUTPUT"'
    outputs: { url: string }
  tell: { run: "echo tell {{ steps.deploy.outputs.url }} >> log" }
finally:
  clean: { run: "echo clean >> log" }
outputs:
  v: "{{ steps.build.outputs.v }}"
  url: "{{ steps.deploy.outputs.url }}"
"#;

/// A run of all of it, its log emptied.
fn begun() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    bench.write("log", "");
    bench
}

fn log(bench: &Bench) -> Vec<String> {
    let log = bench.read("log").lines().map(str::to_owned).collect();
    bench.write("log", "");
    log
}

fn show(bench: &Bench, run: &str) -> Value {
    bench.run(&["show", run, "--format", "json"]).expect(0).json()
}

/// Status and code of a step's reason.
fn told(show: &Value, path: &str) -> (String, String) {
    let step = show["steps"].as_array().unwrap().iter().find(|s| s["path"] == path).unwrap_or_else(|| panic!("{path} in {show:#}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&step["status"]), text(&step["reason"]["code"]))
}

#[track_caller]
fn check(show: &Value, path: &str, status: &str, code: &str) {
    assert_eq!(told(show, path), (status.to_owned(), code.to_owned()), "{path}");
}

fn says(outcome: &Outcome, parts: &[&str]) {
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part}:\n{}", outcome.stderr);
    }
}

#[test]
fn only_runs_one_step_with_the_results_it_needs() {
    let bench = begun();
    fs::remove_file(bench.path("app")).unwrap();
    let run = bench.run(&["run", "t.yaml", "--only", "deploy"]).expect(0);
    assert_eq!(log(&bench), ["deploy hello-1 b bin", "clean"], "the artifact is put back, finally runs");
    says(&run, &["taking over from run ", "(t #1): smoke, lint, build", "prep skipped: not asked for (--only deploy)"]);
    let shown = show(&bench, "t#2");
    check(&shown, "build", "cached", "taken_over");
    check(&shown, "smoke[b]", "cached", "taken_over");
    check(&shown, "smoke", "cached", "taken_over");
    check(&shown, "prep", "skipped", "not_asked");
    check(&shown, "tell", "skipped", "not_asked");
    assert_eq!((&shown["outputs"]["v"], &shown["outputs"]["url"]), (&Value::from("hello-1"), &Value::from("u")));
    let first = show(&bench, "t#1")["run"].as_str().unwrap().to_owned();
    assert_eq!((&shown["selection"]["only"][0], &shown["selection"]["of"]), (&Value::from("deploy"), &Value::from(first.clone())));
    let why = bench.run(&["why", "t#2", "build"]).expect(0).stdout;
    assert!(why.contains(&format!("build was cached: taken over from build in run {first} (t #1) (t.yaml:5)")), "{why}");
    let why = bench.run(&["why", "t#2", "tell"]).expect(0).stdout;
    assert!(why.contains("tell was skipped: not asked for (--only deploy)"), "{why}");
    assert!(bench.run(&["show", "t#2"]).expect(0).stdout.contains(&format!("  --only deploy, results of run {first}\n")));
}

#[test]
fn from_runs_all_that_depends_on_it() {
    let bench = begun();
    bench.run(&["run", "t.yaml", "--from", "deploy", "-q"]).expect(0);
    assert_eq!(log(&bench), ["deploy hello-1 b bin", "tell u", "clean"]);
    bench.run(&["run", "t.yaml", "--from", "prep", "-q"]).expect(0);
    assert_eq!(log(&bench), ["prep", "build", "deploy hello-1 b bin", "tell u", "clean"]);
    let shown = show(&bench, "@last");
    check(&shown, "lint", "cached", "taken_over");
    // An output that nobody makes is null, and no failure.
    bench.run(&["run", "t.yaml", "--only", "lint", "--only", "prep"]).expect(0);
    assert_eq!(show(&bench, "@last")["outputs"], serde_json::json!({ "v": null, "url": null }));
}

#[test]
fn results_come_from_a_run_with_the_same_params_that_has_them_all() {
    let bench = Bench::with("t.yaml", TREE);
    let none = bench.run(&["run", "t.yaml", "--only", "deploy"]).expect(2);
    says(&none, &["no run of t with the same params has results of all that is needed: smoke, lint, build"]);
    bench.write("log", "");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    log(&bench);
    bench.run(&["run", "t.yaml", "--only", "deploy", "-p", "word=ho"]).expect(2);
    // Newer ones that lack something, or ran only a part of the instances, are passed over.
    bench.run(&["run", "t.yaml", "--only", "smoke:b", "-q"]).expect(0);
    bench.run(&["run", "t.yaml", "--skip", "lint", "-q"]).expect(0);
    log(&bench);
    let run = bench.run(&["run", "t.yaml", "--only", "deploy"]).expect(0);
    says(&run, &["(t #1): smoke, lint, build"]);
    assert!(bench.run(&["list"]).expect(0).stdout.lines().count() >= 4);
    // A definition that changed since is said.
    bench.write("t.yaml", TREE.replace("echo lint", "echo other"));
    let run = bench.run(&["run", "t.yaml", "--only", "deploy"]).expect(0);
    says(&run, &["warning: the definition has changed since then: lint\n"]);
    let why = bench.run(&["why", "@last", "lint"]).expect(0).stdout;
    assert!(why.contains(", where its definition was another"), "{why}");
}

#[test]
fn an_artifact_that_is_gone_stops_it_before_it_begins() {
    let bench = begun();
    fs::remove_file(bench.path("app")).unwrap();
    let sealed: Vec<_> = walk(&bench.path(".trees")).into_iter().filter(|p| fs::read(p).is_ok_and(|c| c == b"bin\n")).collect();
    assert!(!sealed.is_empty(), "the content is kept somewhere");
    sealed.iter().for_each(|p| fs::remove_file(p).unwrap());
    let run = bench.run(&["run", "t.yaml", "--only", "deploy"]).expect(2);
    says(&run, &["the artifact `app` that build left in run ", "is neither in its place nor kept any more"]);
    assert!(log(&bench).is_empty() && bench.run(&["list"]).expect(0).stdout.lines().count() < 3);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_skipped_step_counts_as_succeeded() {
    let bench = Bench::with("t.yaml", TREE);
    bench.run(&["run", "t.yaml", "--skip", "lint", "--skip", "clean", "-q"]).expect(0);
    let ran = log(&bench);
    assert!(!ran.contains(&"lint".into()) && !ran.contains(&"clean".into()) && ran.contains(&"tell u".into()), "{ran:?}");
    let events = bench.run(&["events"]).expect(0).stdout;
    let event = events.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).find(|e| e["step"] == "lint").unwrap();
    assert_eq!((&event["type"], &event["as"], &event["actor"]), (&"step_resolved".into(), &"skip".into(), &"tester".into()));
    let why = bench.run(&["why", "@last", "lint"]).expect(0).stdout;
    assert!(why.contains("lint succeeded: was skipped by tester"), "{why}");
    let refused = bench.run(&["run", "t.yaml", "--skip", "build"]).expect(2);
    says(&refused, &["`deploy` reads the outputs of `build`, which --skip leaves out (t.yaml:17)"]);
    bench.run(&["run", "t.yaml", "--skip", "smoke:a", "--only", "smoke", "-q"]).expect(0);
    let mut ran = log(&bench);
    assert_eq!(ran.pop().as_deref(), Some("clean"));
    ran.sort();
    assert_eq!(ran, ["smoke-b", "smoke-c"]);
}

#[test]
fn what_cannot_be_selected_is_said() {
    let bench = begun();
    let check = |arguments: &[&str], text: &str| {
        let all: Vec<&str> = ["run", "t.yaml"].iter().chain(arguments).copied().collect();
        says(&bench.run(&all).expect(2), &[text]);
    };
    check(&["--only", "depoly"], "the tree t has no step `depoly`; did you mean `deploy`?");
    check(&["--from", "biuld"], "did you mean `build`?");
    check(&["--skip", "lnit"], "did you mean `lint`?");
    check(&["--only", "clean"], "it stands in `finally`, which runs whatever is asked for");
    check(&["--only", "prep:x"], "`prep` has no instances");
    check(&["--only", "deploy/x"], "a step inside a sub-tree cannot be selected");
    check(&["--only", "lint", "--skip", "lint"], "both asked for and skipped");
    says(&bench.run(&["rerun", "@last", "--only", "depoly"]).expect(2), &["did you mean `deploy`?"]);
    bench.run(&["rerun", "@last", "--only", "lint", "--from", "lint"]).expect(2);
    assert!(log(&bench).is_empty(), "nothing ran");
    says(&bench.run(&["run", "t.yaml", "--only", "smoke:x"]).expect(1), &["there is no instance smoke[x]; there are `smoke[a]`"]);
}

#[test]
fn one_instance_runs_alone() {
    let bench = begun();
    bench.run(&["run", "t.yaml", "--only", "smoke:b", "-q"]).expect(0);
    assert_eq!(log(&bench), ["smoke-b", "clean"]);
    check(&show(&bench, "@last"), "smoke[a]", "skipped", "not_asked");
}

#[test]
fn a_resume_keeps_what_was_taken_over_and_left_out() {
    let bench = begun();
    bench.write("broken", "");
    bench.run(&["run", "t.yaml", "--from", "deploy", "-q"]).expect(1);
    assert_eq!(log(&bench), ["deploy hello-1 b bin", "clean"]);
    fs::remove_file(bench.path("broken")).unwrap();
    bench.run(&["resume", "-q"]).expect(0);
    assert_eq!(log(&bench), ["deploy hello-1 b bin", "tell u", "clean"]);
    let shown = show(&bench, "t#2");
    check(&shown, "build", "cached", "taken_over");
    check(&shown, "smoke[a]", "cached", "taken_over");
    check(&shown, "prep", "skipped", "not_asked");
}

#[test]
fn a_rollback_leaves_what_was_taken_over_or_skipped() {
    let tree = "tree: t\nsteps:\n  a: { run: echo a >> log, undo: echo undo-a >> log }\n  b: { needs: a, run: echo b >> log, undo: echo undo-b >> log }\n  \
                c: { needs: b, run: test ! -e broken }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    bench.write("broken", "");
    log(&bench);
    bench.run(&["run", "t.yaml", "--from", "b", "-q"]).expect(1);
    bench.run(&["rollback", "-q"]).expect(0);
    assert_eq!(log(&bench), ["b", "undo-b"]);
    bench.run(&["run", "t.yaml", "--skip", "a", "-q"]).expect(1);
    bench.run(&["rollback", "-q"]).expect(0);
    assert_eq!(log(&bench), ["b", "undo-b"], "what never ran is not undone");
}

#[test]
fn an_approval_is_asked_for_again() {
    let tree = "tree: t\nsteps:\n  a: { run: ':' }\n  ask: { needs: a, approve: { message: Ship it? } }\n  ship: { needs: ask, run: echo ship >> log }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml", "--approve", "ask", "-q"]).expect(0);
    log(&bench);
    bench.run(&["run", "t.yaml", "--only", "ship", "-q"]).expect(3);
    assert!(log(&bench).is_empty());
    bench.run(&["run", "t.yaml", "--only", "ship", "--approve", "ask", "-q"]).expect(0);
    assert_eq!(log(&bench), ["ship"]);
}

#[test]
fn secrets_of_what_does_not_run_are_not_asked_for() {
    let tree =
        "tree: t\nsecrets: { TOKEN: {} }\nsteps:\n  a: { run: echo a >> log; test ! -e broken }\n  ship: { secrets: [TOKEN], run: ':' }\n";
    let bench = Bench::with("t.yaml", tree);
    says(&bench.run(&["run", "t.yaml"]).expect(2), &["TOKEN"]);
    bench.write("broken", "");
    bench.run(&["run", "t.yaml", "--only", "a", "-q"]).expect(1);
    fs::remove_file(bench.path("broken")).unwrap();
    bench.run(&["resume", "-q"]).expect(0);
    bench.run(&["run", "t.yaml", "--skip", "ship", "-q"]).expect(0);
    assert_eq!(log(&bench), ["a", "a", "a"]);
    says(&bench.run(&["run", "t.yaml", "--only", "ship"]).expect(2), &["TOKEN"]);
}

#[test]
fn a_rerun_takes_the_recorded_definition_and_inputs() {
    let bench = Bench::with("t.yaml", TREE);
    bench.run(&["run", "t.yaml", "-q", "-p", "word=ho"]).expect(0);
    bench.write("t.yaml", "tree: t\nsteps: { x: { run: echo x >> log } }\n");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    log(&bench);
    bench.run(&["rerun", "t#1", "-q"]).expect(0);
    let ran = log(&bench);
    assert!(ran.contains(&"prep".into()) && ran.contains(&"deploy ho-1 b bin".into()) && ran.len() == 9, "{ran:?}");
    let events = bench.run(&["events", "@last"]).expect(0).stdout;
    let first: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    let shown = show(&bench, "t#1");
    assert_eq!((&first["trigger"], &first["params"]["word"], &first["selection"]["of"]), (&"rerun".into(), &"ho".into(), &shown["run"]));
    assert!(bench.run(&["show"]).expect(0).stdout.contains(" again\n"));
    bench.run(&["rerun", "t#1", "--from", "deploy", "-q"]).expect(0);
    assert_eq!(log(&bench), ["deploy ho-1 b bin", "tell u", "clean"]);
    bench.run(&["rerun", "t#1", "--only", "tell", "-q"]).expect(0);
    assert_eq!(log(&bench), ["tell u", "clean"]);
    // From a run that has no such result there is none to take over.
    let lacks = bench.run(&["rerun", "@last", "--only", "deploy"]).expect(2);
    says(&lacks, &["lacks results: smoke was skipped in it; lint was skipped in it; build was skipped in it", "trees resume"]);
}

#[test]
fn a_run_changes_and_says_nothing_before_its_turn() {
    let tree = "tree: t\non_busy: fail\nsteps:\n  build: { run: 'echo bin > app', artifacts: { app: app } }\n  hold: { needs: build, run: 'test ! -e held || { echo up > up; until test -e go; do sleep 0.01; done; }' }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(0);
    bench.write("held", "");
    let mut other = bench.command(&["run", "t.yaml", "--only", "hold", "-q"]).spawn().unwrap();
    waiting::until(&bench.dir(), "the other run", || bench.path("up").exists());
    fs::remove_file(bench.path("app")).unwrap();
    for again in [["run", "t.yaml", "--only", "hold"], ["rerun", "t#1", "--only", "hold"]] {
        let refused = bench.run(&again).expect(6);
        assert!(!bench.path("app").exists() && !refused.stderr.contains("taking over"), "{again:?}:\n{}", refused.stderr);
    }
    bench.write("go", "");
    assert!(other.wait().unwrap().success());
    let run = bench.run(&["run", "t.yaml", "--only", "hold"]).expect(0);
    assert_eq!(run.stderr.matches("taking over from run ").count(), 1, "{}", run.stderr);
    assert_eq!(bench.read("app"), "bin\n");
}
