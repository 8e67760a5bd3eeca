//! What a resume keeps and what it runs again: hashes of definition and inputs, artifacts, needs,
//! edits of the tree, force and skip.

use crate::bench::Bench;
use serde_json::Value;
use std::fs;

const TREE: &str = r#"tree: t
steps:
  read: { run: 'cat in.txt; echo read >> did', inputs: [in.txt] }
  after: { needs: read, run: 'echo after >> did' }
  size: { needs: read, run: 'echo "n=$(wc -l < in.txt | tr -d " ")" >> "$TREES_OUTPUT"; echo size >> did', inputs: [in.txt], outputs: { n: integer } }
  use: { needs: size, run: 'echo {{ steps.size.outputs.n }}; echo use >> did' }
  make: { run: 'echo made > made.txt; echo make >> did', artifacts: { made: made.txt } }
  pack: { needs: make, run: 'echo pack >> did' }
  fan: { foreach: [a, b], run: 'cat "{{ item }}.txt"; echo fan-{{ item }} >> did', inputs: [a.txt] }
  sub: { tree: ./sub.yaml, with: { word: hello } }
  bad: { needs: [after, use, pack, fan, sub], run: 'test -e mended' }
"#;

const SUB: &str = r#"tree: sub
params: { word: string }
steps:
  one: { run: 'echo {{ params.word }}; echo one >> did', inputs: [one.txt] }
  two: { needs: one, run: 'echo two >> did' }
"#;

/// A run that failed at its last step.
fn failed() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.write("sub.yaml", SUB);
    for (name, text) in [("in.txt", "a\n"), ("a.txt", "a"), ("b.txt", "b"), ("one.txt", "1")] {
        bench.write(name, text);
    }
    bench.run(&["run", "t.yaml"]).expect(1);
    fs::remove_file(bench.path("did")).unwrap();
    bench.write("mended", "");
    bench
}

/// What ran in the resume, sorted.
fn resumed(bench: &Bench, options: &[&str]) -> Vec<String> {
    bench.run(&[&["resume", "@last"], options].concat()).expect(0);
    let mut did: Vec<String> = fs::read_to_string(bench.path("did")).unwrap_or_default().lines().map(str::to_owned).collect();
    did.sort();
    did
}

fn check(change: impl FnOnce(&Bench), options: &[&str], ran: &[&str]) {
    let bench = failed();
    change(&bench);
    assert_eq!(resumed(&bench, options), ran);
}

#[test]
fn nothing_changed_and_nothing_runs_again() {
    check(|_| {}, &[], &[]);
}

#[test]
fn a_changed_file_runs_what_reads_it_and_what_needs_that() {
    check(|b| b.write("in.txt", "b\n"), &[], &["after", "read", "size"]);
    check(|b| b.write("in.txt", "b\nc\n"), &[], &["after", "read", "size", "use"]);
    check(|b| b.write("a.txt", "new"), &[], &["fan-a", "fan-b"]);
    check(|b| b.write("one.txt", "2"), &[], &["one", "two"]);
}

#[test]
fn a_lost_or_changed_artifact_is_made_again() {
    // It comes out the same: what needs it stays.
    check(|b| fs::remove_file(b.path("made.txt")).unwrap(), &[], &["make"]);
    check(|b| b.write("made.txt", "other"), &[], &["make"]);
}

#[test]
fn a_step_can_be_forced_and_another_skipped() {
    check(|_| {}, &["--force", "read"], &["after", "read", "size"]);
    check(|_| {}, &["--force", "sub/two", "--force", "fan:b"], &["fan-b", "two"]);
    let bench = failed();
    fs::remove_file(bench.path("mended")).unwrap();
    assert_eq!(resumed(&bench, &["--skip", "bad"]), Vec::<String>::new());
    let wrong = bench.run(&["resume", "@last", "--force", "raed"]).expect(2);
    assert!(wrong.stderr.contains("has no step `raed`"), "{}", wrong.stderr);
}

#[test]
fn why_names_the_file() {
    let bench = failed();
    bench.write("in.txt", "b\n");
    resumed(&bench, &[]);
    let why = bench.run(&["why", "@last", "read"]).expect(0).stdout;
    assert!(why.contains("in.txt changed") && why.contains("file:in.txt = changed"), "{why}");
    let why = bench.run(&["why", "@last", "after"]).expect(0).stdout;
    assert!(why.contains("read ran again"), "{why}");
}

#[test]
fn an_external_step_runs_again_only_with_consent() {
    let tree = "tree: t\nsteps:\n  out: { effect: external, run: 'cat in.txt; echo out >> did', inputs: [in.txt] }\n  bad: { needs: out, run: 'test -e mended' }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.write("in.txt", "a");
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("in.txt", "b");
    bench.write("mended", "");
    let refused = bench.run(&["resume"]).expect(3);
    assert!(refused.stderr.contains("out (in.txt changed)") && refused.stderr.contains("--accept-changes"), "{}", refused.stderr);
    assert_eq!(bench.read("did"), "out\n");
    bench.run(&["resume", "--accept-changes"]).expect(0);
    assert_eq!(bench.read("did"), "out\nout\n");
}

#[test]
fn a_rotated_secret_runs_what_was_given_it() {
    let tree = "tree: t\nsecrets: { S: { from: environment } }\nsteps:\n  uses: { inputs: [in.txt], secrets: [S], run: 'echo uses >> did' }\n  other: { inputs: [in.txt], run: 'echo other >> did' }\n  bad: { needs: [uses, other], run: 'test -e mended' }\n";
    for (later, again) in [("first-value", ""), ("second-value", "uses\n")] {
        let bench = Bench::with("t.yaml", tree);
        bench.write("in.txt", "a");
        let with = |value: &str, arguments: &[&str]| bench.command(arguments).env("S", value).status().unwrap().code();
        assert_eq!(with("first-value", &["run", "t.yaml"]), Some(1));
        fs::remove_file(bench.path("did")).unwrap();
        bench.write("did", "");
        bench.write("mended", "");
        assert_eq!(with(later, &["resume"]), Some(0));
        assert_eq!(bench.read("did"), again, "{later}");
    }
}

#[test]
fn items_that_changed_expand_again() {
    let tree = "tree: t\nsteps:\n  list: { run: 'echo \"all=$(cat list.json)\" >> \"$TREES_OUTPUT\"', inputs: [list.json], outputs: { all: list } }\n  each: { foreach: { items: \"{{ steps.list.outputs.all }}\" }, run: 'echo {{ item }} >> did' }\n  bad: { needs: each, run: 'test -e mended' }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.write("list.json", "[\"a\",\"b\"]");
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("list.json", "[\"b\",\"c\"]");
    bench.write("mended", "");
    fs::remove_file(bench.path("did")).unwrap();
    assert_eq!(resumed(&bench, &[]), ["c"]);
    let steps = bench.run(&["show", "@last", "--format", "json"]).json();
    let outputs: Vec<&Value> = steps["steps"].as_array().unwrap().iter().filter(|s| s["path"] == "each").map(|s| &s["outputs"]).collect();
    assert_eq!(outputs[0].as_array().unwrap().len(), 2);
}

/// A run of `before` that failed goes on with `after`: what ran.
fn amended(before: &str, after: &str) -> Vec<String> {
    let bench = Bench::with("t.yaml", before);
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("t.yaml", after);
    bench.write("mended", "");
    fs::remove_file(bench.path("did")).unwrap();
    let ran = resumed(&bench, &["--tree", "t.yaml"]);
    // It is the run's tree from then on.
    bench.run(&["resume", "@last", "--force", "bad"]).expect(0);
    bench.run(&["show", "@last"]).expect(0);
    ran
}

#[test]
fn a_resume_with_an_edited_tree_goes_by_hashes_and_not_by_names() {
    let tree = |steps: &str| format!("tree: t\nsteps:\n{steps}  bad: {{ needs: [a, b], run: 'test -e mended' }}\n");
    let (a, b) = ("  a: { run: 'echo a >> did' }\n", "  b: { needs: a, run: 'echo b >> did' }\n");
    let before = tree(&format!("{a}{b}"));
    let check = |steps: String, ran: &[&str]| assert_eq!(amended(&before, &tree(&steps)), ran, "{steps}");
    check(format!("{a}{b}"), &[]);
    check(format!("{a}  b: {{ needs: a, run: 'echo b2 >> did' }}\n"), &["b2"]);
    check(format!("  a: {{ run: 'echo a2 >> did' }}\n{b}"), &["a2", "b"]);
    check(format!("{a}{b}  c: {{ run: 'echo c >> did' }}\n"), &["c"]);
    check(format!("  a: {{ description: other, retry: {{ attempts: 3 }}, timeout: 1h, run: 'echo a >> did' }}\n{b}"), &[]);
    let renamed = |was: &str| {
        format!("tree: t\nsteps:\n{a}  c: {{ {was}needs: a, run: 'echo b >> did' }}\n  bad: {{ needs: [a, c], run: 'test -e mended' }}\n")
    };
    assert_eq!(amended(&before, &renamed("was: b, ")), Vec::<String>::new());
    assert_eq!(amended(&before, &renamed("")), ["b"]);
    let fan = |items: &str| {
        format!(
            "tree: t\nsteps:\n  f: {{ foreach: [{items}], run: 'echo f-{{{{ item }}}} >> did' }}\n  bad: {{ needs: f, run: 'test -e mended' }}\n"
        )
    };
    assert_eq!(amended(&fan("x, y"), &fan("y, z")), ["f-z"]);
}

#[test]
fn the_tree_in_force_is_the_one_that_the_last_resume_brought() {
    let tree =
        |word: &str| format!("tree: t\nsteps:\n  a: {{ run: 'echo {word} >> did' }}\n  bad: {{ needs: a, run: 'test -e mended' }}\n");
    let bench = Bench::with("t.yaml", tree("one"));
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("u.yaml", tree("two"));
    // One that never began changes nothing, and the next is no other than if it had not been.
    bench.run(&["resume", "--tree", "u.yaml", "--force", "nothing"]).expect(2);
    let again = bench.run(&["resume", "@last"]).expect(1).stderr;
    assert!(!again.contains("• a started"), "{again}");
    let step = |word: &str| {
        fs::remove_file(bench.path("did")).unwrap();
        bench.run(&["resume", "--tree", word]).expect(1);
        bench.read("did")
    };
    assert_eq!(step("u.yaml"), "two\n");
    assert_eq!(step("t.yaml"), "one\n");
    assert_eq!(step("u.yaml"), "two\n");
    bench.write("mended", "");
    bench.run(&["resume", "@last"]).expect(0);
    fs::remove_file(bench.path("did")).unwrap();
    bench.run(&["rerun", "@last"]).expect(0);
    assert_eq!(bench.read("did"), "two\n");
}

#[test]
fn a_resume_that_is_mistyped_cancels_no_other_run() {
    let tree = "tree: t\non_busy: cancel_old\nsteps: { a: { run: 'test -e mended && cat pipe' } }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(1);
    let failed = bench.run(&["show", "@last", "--format", "json"]).json()["run"].as_str().unwrap().to_owned();
    bench.write("mended", "");
    crate::bench::fifo(&bench.path("pipe"));
    let mut other = crate::live::Live::start(&bench, &["run", "t.yaml", "--format", "json"]);
    other.until("step_started", "a");
    for wrong in [&["--force", "nothing"][..], &["--tree", "gone.yaml"], &["--approve", "nobody"]] {
        bench.run(&[&["resume", failed.as_str()], wrong].concat()).expect(2);
    }
    bench.write("pipe", "");
    other.finish();
}

#[test]
fn another_tree_is_refused() {
    let bench = failed();
    bench.write("other.yaml", "tree: other\nsteps: { a: { run: ':' } }\n");
    let outcome = bench.run(&["resume", "--tree", "other.yaml"]).expect(2);
    assert!(outcome.stderr.contains("is the tree other"), "{}", outcome.stderr);
    bench.write("wrong.yaml", "tree: t\nsteps: { a: { rum: ':' } }\n");
    assert!(bench.run(&["resume", "--tree", "wrong.yaml"]).expect(2).stderr.contains("wrong.yaml:2"));
}

#[test]
fn what_succeeded_in_a_part_that_failed_is_looked_at_too() {
    let tree = |word: &str| {
        format!(
            "tree: t\nsteps:\n  bad: {{ foreach: [a, b], run: 'echo {word}-{{{{ item }}}} >> did; test {{{{ item }}}} = a || test -e mended' }}\n"
        )
    };
    assert_eq!(amended(&tree("old"), &tree("new"))[..2], ["new-a", "new-b"]);
}

#[test]
fn an_approval_of_what_was_built_anew_is_asked_for_again() {
    let tree = |word: &str| {
        format!(
            "tree: t\nsteps:\n  build: {{ run: 'echo {word} >> did' }}\n  yes: {{ needs: build, approve: {{ message: go? }} }}\n  bad: {{ needs: yes, run: 'test -e mended' }}\n"
        )
    };
    let bench = Bench::with("t.yaml", tree("old"));
    bench.run(&["run", "t.yaml"]).expect(3);
    bench.run(&["approve", "@last", "yes"]).expect(0);
    bench.run(&["resume"]).expect(1);
    bench.write("t.yaml", tree("new"));
    bench.write("mended", "");
    bench.run(&["resume", "--tree", "t.yaml"]).expect(3);
    bench.run(&["approve", "@last", "yes"]).expect(0);
    bench.run(&["resume"]).expect(0);
}

#[test]
fn what_a_resume_with_another_tree_opened_again_is_not_told_as_it_was() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { bad: { run: 'exit 1' } }\n");
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("t.yaml", "tree: t\nsteps:\n  ask: { approve: \"go on?\" }\n  bad: { needs: ask, run: 'exit 1' }\n");
    bench.run(&["resume", "@last", "--tree", "t.yaml"]).expect(3);
    let why = bench.run(&["why", "@last", "bad", "--format", "json"]).expect(0).json();
    assert_eq!((&why["status"], &why["because"][0]["code"]), (&"pending".into(), &"pending".into()), "{why:#}");
    let refused = bench.run(&["resolve", "@last", "bad", "--done"]).expect(2);
    assert!(refused.stderr.contains("`bad` is pending; there is nothing to settle"), "{}", refused.stderr);
}

#[test]
fn a_word_on_a_step_reaches_it_under_its_new_name() {
    let tree = |ask: &str, act: &str| {
        format!("tree: t\nsteps:\n  {ask} approve: Sure? }}\n  {act} run: 'echo $TREES_IDEMPOTENCY_KEY >> keys; test -e mended' }}\n")
    };
    let bench = Bench::with("t.yaml", tree("ask: {", "act: {"));
    bench.run(&["run", "t.yaml"]).expect(3);
    bench.write("second.yaml", tree("asked: { was: ask,", "did: { was: act,"));
    bench.run(&["resume", "@last", "--tree", "second.yaml"]).expect(3);
    bench.run(&["approve", "@last", "asked"]).expect(0);
    // The first name of both is free, and others take it.
    bench.write(
        "third.yaml",
        tree("question: { was: asked,", "deed: { was: did,") + "  act: { run: 'echo $TREES_IDEMPOTENCY_KEY >> keys; echo another' }\n",
    );
    bench.write("mended", "");
    let resumed = bench.run(&["resume", "@last", "--tree", "third.yaml"]).expect(0);
    assert!(resumed.stderr.contains("question approved by tester"), "{}", resumed.stderr);
    let keys = fs::read_to_string(bench.path("keys")).unwrap();
    let mut keys: Vec<&str> = keys.lines().collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 2, "one for the deed by all its names, one for the step that took its name: {keys:?}");
    assert_eq!(bench.run(&["logs", "@last", "act"]).expect(0).stdout, "another\n");
}

#[test]
fn a_resume_with_another_tree_is_told_by_its_names() {
    let tree = |steps: &str, end: &str| format!("tree: t\nsteps:\n{steps}  c: {{ needs: [x], run: '{end}' }}\n");
    let before = tree(
        "  x: { run: 'echo out of x', undo: { run: 'true' } }\n  gone: { run: 'true', undo: { run: 'true' } }\n  bad: { run: 'false' }\n",
        "false",
    );
    let bench = Bench::with("t.yaml", &before);
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.write("new.yaml", tree("  y: { was: x, run: 'echo out of x', undo: { run: 'true' } }\n", "true").replace("[x]", "[y]"));
    let told = bench.run(&["resume", "--tree", "new.yaml"]).expect(0);
    assert!(told.stderr.contains("2 of 2 steps done"), "{}", told.stderr);
    let listed = bench.run(&["list"]).expect(0).stdout;
    assert!(listed.trim_end().ends_with(" 2/2"), "{listed}");
    let shown = bench.run(&["show", "@last", "--format", "json"]).expect(0).json();
    let steps: Vec<(&str, &str)> =
        shown["steps"].as_array().unwrap().iter().map(|s| (s["path"].as_str().unwrap(), s["status"].as_str().unwrap())).collect();
    assert_eq!(steps, [("y", "succeeded"), ("c", "succeeded")]);
    assert!(bench.run(&["why", "@last", "y"]).expect(0).stdout.starts_with("y succeeded"));
    assert_eq!(bench.run(&["logs", "@last", "y"]).expect(0).stdout, "out of x\n");
    assert!(bench.run(&["graph", "@last"]).expect(0).stdout.contains("y [succeeded]"));
    let plan = bench.run(&["rollback", "@last", "--dry-run"]).expect(0).stdout;
    assert!(plan.contains("1. y") && plan.contains("gone  cannot be taken back: its step is gone from the tree"), "{plan}");
}
