//! Runs from the outside: what each screen prints, exit codes, answers from elsewhere, signals.

use crate::bench::{Bench, Outcome};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TREE: &str = r#"tree: t
params: { word: hello }
steps:
  a: { run: 'echo "n=2" >> "$TREES_OUTPUT"; echo {{ params.word }}', outputs: { n: integer } }
  b: { needs: a, run: "test {{ steps.a.outputs.n }} = 2" }
  bad: { needs: b, run: "echo because >&2; test -e mended" }
  c: { needs: bad, run: ":" }
  d: { needs: c, run: ":" }
outputs: { n: "{{ steps.a.outputs.n }}" }
"#;

fn events(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["type"].as_str().unwrap()).collect()
}

/// Starts the binary and goes on at once.
fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until something is so; a test that waits in vain is ended by its own end.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} never came");
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_failure_says_why_and_is_resumed() {
    let bench = Bench::with("t.yaml", TREE);
    let run = bench.run(&["run", "t.yaml"]).expect(1);
    for part in [
        "✓ a succeeded",
        "✗ bad failed",
        "  │ because",
        "  log: ",
        "/output.log",
        "c blocked: bad failed",
        "t #1 failed",
        "1 failed, 2 blocked",
        "go on with: trees resume ",
    ] {
        assert!(run.stderr.contains(part), "{part}:\n{}", run.stderr);
    }
    assert!(!run.stderr.chars().any(|c| c.is_control() && c != '\n'), "{:?}", run.stderr);
    let why = bench.run(&["why", "@last", "d"]).expect(0).stdout;
    assert!(why.contains("d is blocked: it needs c") && why.contains("(t.yaml:7)") && why.contains("bad failed"), "{why}");
    bench.write("mended", "");
    let resumed = bench.run(&["resume"]).expect(0);
    assert_eq!(resumed.stdout, "n=2\n");
    assert!(!resumed.stderr.contains("a started") && resumed.stderr.contains("bad started, attempt 2"), "{}", resumed.stderr);
    let shown = bench.run(&["show"]).expect(0).stdout;
    assert!(!shown.contains("which is"), "no reason of an earlier status: {shown}");
    let again = bench.run(&["resume", "@last"]).expect(0);
    assert!(again.stderr.contains("has succeeded; there is nothing to do"), "{}", again.stderr);
    bench.run(&["resume"]).expect(2);
}

#[test]
fn json_is_the_recorded_events() {
    let bench = Bench::with("t.yaml", TREE);
    let run = bench.run(&["run", "t.yaml", "--format", "json", "-p", "word=ho"]).expect(1);
    let seen = events(&run);
    assert_eq!(seen.iter().map(|e| e["seq"].as_u64().unwrap()).collect::<Vec<_>>(), (1..=seen.len() as u64).collect::<Vec<_>>());
    assert_eq!(types(&seen)[0], "run_started");
    assert_eq!(types(&seen).iter().filter(|t| ["run_finished", "run_suspended"].contains(t)).count(), 1);
    assert_eq!(seen.last().unwrap()["status"], "failed");
    let recorded = bench.run(&["events"]).expect(0);
    assert_eq!(events(&recorded), seen);
    assert!(bench.run(&["logs", "@last", "a"]).expect(0).stdout == "ho\n");
}

#[test]
fn show_has_the_keys_of_the_contract() {
    let bench = Bench::with("t.yaml", TREE);
    bench.write("mended", "");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    let show = bench.run(&["show", "--format", "json"]).expect(0).json();
    for key in ["schema", "version", "run", "tree", "status", "started", "finished", "params", "outputs", "steps"] {
        assert!(!show[key].is_null(), "{key} in {show:#}");
    }
    assert_eq!((&show["params"]["word"], &show["outputs"]["n"]), (&Value::from("hello"), &Value::from(2)));
    let step = show["steps"].as_array().unwrap().iter().find(|s| s["path"] == "a").unwrap();
    assert_eq!((&step["kind"], &step["status"], &step["attempts"]), (&Value::from("run"), &Value::from("succeeded"), &Value::from(1)));
    assert_eq!(step["outputs"]["n"], 2);
    let text = bench.run(&["show"]).expect(0).stdout;
    assert!(text.starts_with("t #1 succeeded\n") && text.contains("\nn = 2\n"), "{text}");
    let graph = bench.run(&["graph", "@last"]).expect(0).stdout;
    assert!(graph.contains("a [succeeded]"), "{graph}");
    let listed = bench.run(&["list"]).expect(0).stdout;
    assert!(listed.contains("  t #1  succeeded  ") && listed.trim_end().ends_with("5/5"), "{listed}");
}

const ASKS: &str = "tree: t\nsteps:\n  ask: { approve: { message: Ship it? } }\n  ship: { needs: ask, run: \":\" }\n";

#[test]
fn an_approval_without_a_terminal_rests_and_is_given_elsewhere() {
    let bench = Bench::with("t.yaml", ASKS);
    let run = bench.run(&["run", "t.yaml"]).expect(3);
    assert!(
        run.stderr.contains("ask asks: Ship it? (trees approve ") && run.stderr.contains("answer with: trees approve "),
        "{}",
        run.stderr
    );
    let listed = bench.run(&["list"]).expect(0).stdout;
    assert!(listed.trim_end().ends_with(" 0/2"), "{listed}");
    let wrong = bench.run(&["approve", "@last", "ship"]).expect(2);
    assert!(wrong.stderr.contains("does not ask for `ship`") && wrong.stderr.contains("it asks for: ask"), "{}", wrong.stderr);
    let approved = bench.run(&["approve", "@last", "ask", "--note", "fine"]).expect(0);
    assert!(approved.stderr.contains("is at rest, go on with: trees resume "), "{}", approved.stderr);
    let second = bench.run(&["reject", "@last", "ask", "--note", "no"]).expect(2).stderr;
    assert!(second.contains("`ask` was answered already, by tester") && second.contains("the first word counts"), "{second}");
    let resumed = bench.run(&["resume"]).expect(0);
    assert!(resumed.stderr.contains("ask approved by tester (fine)"), "{}", resumed.stderr);
    let told = || [&["why", "@last", "ask"][..], &["show", "@last"]].map(|command| bench.run(command).expect(0).stdout);
    assert!(told().iter().all(|text| text.contains("approved by tester (fine)")), "{:?}", told());
    bench.run(&["run", "t.yaml", "--approve", "*"]).expect(0);
    bench.run(&["run", "t.yaml"]).expect(3);
    bench.run(&["reject", "@last", "ask", "--note", "not today"]).expect(0);
    assert!(bench.run(&["resume"]).expect(1).stderr.contains("ask rejected by tester (not today)"));
    assert!(told().iter().all(|text| text.contains("rejected by tester (not today)")), "{:?}", told());
}

#[test]
fn what_is_settled_as_done_has_the_outputs_that_are_declared() {
    let tree = "tree: t\nsteps:\n  a: { run: 'exit 1', outputs: { version: string, count: integer } }\n  b: { run: \"echo {{ steps.a.outputs.version }}\" }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(1);
    let settle = |output: &str| bench.run(&["resolve", "@last", "a", "--done", "--output", output]);
    let wrong = settle("vresion=1").expect(2).stderr;
    assert!(wrong.contains("`a` has no output `vresion`") && wrong.contains("it declares: version, count"), "{wrong}");
    let wrong = settle("count=many").expect(2).stderr;
    assert!(wrong.contains("the output `count` is declared as integer, but is `many`"), "{wrong}");
    let wrong = settle("version=1.10").expect(2).stderr;
    assert!(wrong.contains("`a` declares outputs that are not given: count") && wrong.contains("--done --output count=…"), "{wrong}");
    bench.run(&["resolve", "@last", "a", "--done", "--output", "version=1.10", "--output", "count=2"]).expect(0);
    bench.run(&["resume"]).expect(0);
    assert_eq!(bench.run(&["logs", "@last", "b"]).expect(0).stdout.trim(), "1.10");
}

/// It was taken without them; then the reader failed for ever and a second word was refused.
#[test]
fn what_is_settled_as_done_without_its_outputs_is_refused() {
    let tree = "tree: t\nsteps:\n  a: { effect: external, run: 'kill -9 $$', outputs: { v: string, w: string } }\n  b: { run: \"echo {{ steps.a.outputs.v }}\" }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(3);
    let wrong = bench.run(&["resolve", "@last", "a", "--done"]).expect(2).stderr;
    assert!(
        wrong.contains("`a` declares outputs that are not given: v, w") && wrong.contains("a --done --output v=… --output w=…"),
        "{wrong}"
    );
    bench.run(&["resolve", "@last", "a", "--done", "--output", "v=1", "--output", "w=2"]).expect(0);
    bench.run(&["resume"]).expect(0);
    assert_eq!(bench.run(&["logs", "@last", "b"]).expect(0).stdout.trim(), "1");
}

#[test]
fn what_only_its_verify_held_up_is_done_with_the_outputs_that_it_wrote() {
    let tree = "tree: t\nsteps:\n  a: { run: 'echo v=1 >> $TREES_OUTPUT', verify: { run: 'exit 1' }, outputs: { v: string } }\n  b: { run: \"echo {{ steps.a.outputs.v }}\" }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(1);
    bench.run(&["resolve", "@last", "a", "--done"]).expect(0);
    bench.run(&["resume"]).expect(0);
    assert_eq!(bench.run(&["logs", "@last", "b"]).expect(0).stdout.trim(), "1");
}

#[test]
fn a_run_at_rest_is_cancelled_from_elsewhere() {
    let bench = Bench::with("t.yaml", &(ASKS.to_owned() + "finally:\n  end: { run: touch ended }\n"));
    bench.run(&["run", "t.yaml"]).expect(3);
    let cancelled = bench.run(&["cancel", "@last"]).expect(0);
    assert!(cancelled.stderr.contains("t #1 was cancelled"), "{}", cancelled.stderr);
    assert!(bench.path("ended").exists());
    bench.run(&["cancel", "@last"]).expect(2);
}

const WAITS: &str = "tree: t\nsteps:\n  w: { run: \"touch begun; while [ ! -e go ]; do sleep 0.05; done\" }\n";

#[test]
fn signals_end_a_sitting_with_their_codes() {
    // Under `nohup` a hang-up is ignored, here and by every process we start.
    let ignored = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim).unwrap_or("0");
    let deaf = u64::from_str_radix(ignored, 16).unwrap() & 1 == 1;
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)].into_iter().filter(|(name, _)| !deaf || *name != "HUP") {
        let bench = Bench::with("t.yaml", WAITS);
        let child = start(bench.command(&["run", "t.yaml"]));
        until("the step", || bench.path("begun").exists());
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(&format!("ended by SIG{name}")) && said.contains("go on with: trees resume "), "{said}");
        let show = bench.run(&["show", "--format", "json"]).expect(0).json();
        assert_eq!(show["status"], "interrupted");
        bench.write("go", "");
        bench.run(&["resume"]).expect(0);
    }
}

#[test]
fn a_living_run_is_held_and_can_be_cancelled() {
    let bench = Bench::with("t.yaml", WAITS);
    let child = start(bench.command(&["run", "t.yaml"]));
    until("the step", || bench.path("begun").exists());
    let listed = bench.run(&["list"]).expect(0).stdout;
    assert!(listed.contains("  running  ") && listed.trim_end().ends_with(" 0/1"), "{listed}");
    let held = bench.run(&["resume", "@last"]).expect(6);
    assert!(held.stderr.contains("is held by process"), "{}", held.stderr);
    let asked = bench.run(&["cancel", "@last"]).expect(0);
    assert!(asked.stderr.contains("asked process"), "{}", asked.stderr);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(bench.run(&["show", "--format", "json"]).expect(0).json()["status"], "cancelled");
}

#[test]
fn a_closed_standard_output_does_not_stop_a_run() {
    let bench = Bench::with("t.yaml", WAITS);
    let mut child = start(bench.command(&["run", "t.yaml", "--format", "json"]));
    drop(child.stdout.take());
    drop(child.stderr.take());
    until("the step", || bench.path("begun").exists());
    bench.write("go", "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn secrets_come_from_standard_input_and_are_never_printed() {
    let bench =
        Bench::with("tree.yaml", "tree: t\nsecrets: { TOKEN: {} }\nsteps:\n  a: { secrets: [TOKEN], run: 'echo \"it is $TOKEN\"' }\n");
    let missing = bench.run(&["run", "tree.yaml"]).expect(2);
    assert!(missing.stderr.contains("TOKEN"), "{}", missing.stderr);
    // It is found before the run has a number.
    assert_eq!(bench.run(&["list"]).expect(0).stdout, "");
    let set = bench.run_with_input(&["secret", "set", "TOKEN"], "s3cr3t-value\n").expect(0);
    assert!(set.stderr.contains("set TOKEN of t, version 1"), "{}", set.stderr);
    bench.run_with_input(&["secret", "set", "EMPTY"], "\n").expect(2);
    assert!(bench.run(&["secret", "list"]).expect(0).stdout.starts_with("TOKEN  t  version 1  "));
    let run = bench.run(&["run", "tree.yaml"]).expect(0);
    let log = bench.run(&["logs"]).expect(0).stdout;
    assert!(log.starts_with("a │ it is ") && !log.contains("s3cr3t"), "{log}");
    assert!(!run.stderr.contains("s3cr3t") && !bench.run(&["events"]).stdout.contains("s3cr3t"));
    bench.run(&["secret", "remove", "TOKEN"]).expect(0);
    bench.run(&["run", "tree.yaml"]).expect(2);
}

#[test]
fn a_built_in_cookbook_runs_in_the_current_folder() {
    let bench = Bench::new();
    let run = bench.run(&["run", "fan-out"]);
    assert!(run.stderr.contains("taking the built-in cookbook fan-out"), "{}", run.stderr);
    let first = &events(&bench.run(&["events"]).expect(0))[0];
    assert_eq!(first["file"], "cookbook:fan-out");
    assert_eq!(first["dir"], bench.dir().canonicalize().unwrap().display().to_string());
    assert!(first["tree_dir"].as_str().unwrap().contains("/.trees/cookbooks/"), "{first}");
}

#[test]
fn a_step_ignores_no_signal_that_the_starter_of_trees_ignored() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { run: \"trap 'echo heard; exit 0' INT; kill -INT $$; exit 1\" } }\n");
    let trees = bench.command(&["run", "t.yaml"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' INT QUIT HUP; exec \"$0\" run t.yaml"]).arg(trees.get_program()).current_dir(bench.dir()).env_clear();
    shell.envs(trees.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = shell.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stdout));
}

#[test]
fn a_tree_says_what_a_second_run_of_it_does() {
    let tree = |busy: &str| {
        format!(
            "tree: t\non_busy: {busy}\nparams: {{ wait: true }}\nsteps:\n  a: {{ if: \"params.wait\", run: 'echo up > up; until test -e go; do sleep 0.01; done' }}\n  b: {{ needs: {{ steps: [a], rule: all_done }}, run: 'echo b >> did' }}\n"
        )
    };
    let check = |busy: &str, code: i32, said: &str, runs: usize| {
        let bench = Bench::with("t.yaml", tree(busy));
        let count = || bench.run(&["list", "--format", "json"]).json()["runs"].as_array().unwrap().len();
        let first = start(bench.command(&["run", "t.yaml"]));
        until("the first run", || bench.path("up").exists());
        let mut second = start(bench.command(&["run", "t.yaml", "-p", "wait=false"]));
        let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
        let found = lines.any(|line| line.unwrap().contains(said));
        assert!(found, "{busy}: {said} was not said");
        bench.write("go", "");
        lines.for_each(drop);
        assert_eq!(second.wait().unwrap().code(), Some(code), "{busy}");
        first.wait_with_output().unwrap();
        assert_eq!(count(), runs, "{busy}");
    };
    check("skip", 0, "skipped: run ", 1);
    check("fail", 6, "is active", 1);
    check("cancel_old", 0, "it is being cancelled", 2);
    check("queue", 0, "waiting: run ", 2);
}

/// `why` and `show` ended with "the last:" and nothing after it.
#[test]
fn a_probe_that_failed_says_why() {
    let tree = "tree: t\nsteps: { up: { uses: http/check, with: { url: 'http://127.0.0.1:1/x', first_ok_within: 1ms, every: 1ms } } }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["run", "t.yaml"]).expect(1);
    for command in [&["why", "@last", "up"][..], &["show", "@last"]] {
        let told = bench.run(command).expect(0).stdout;
        let line = told.lines().find(|line| line.contains("asked, the last: ")).unwrap_or_else(|| panic!("{command:?}: {told}"));
        assert!(line.to_lowercase().contains("connect"), "{command:?}: {told}");
    }
}

#[test]
fn a_cancelled_step_that_had_run_is_not_said_to_have_never_started() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps:\n  bad: { run: 'false' }\n  after: { needs: bad, run: 'true' }\n");
    bench.run(&["run", "t.yaml", "--pause-on-failure"]).expect(3);
    bench.run(&["cancel", "@last"]);
    let why = |step: &str| bench.run(&["why", "@last", step]).expect(0).stdout;
    assert!(why("bad").contains("cancelled before it began again"), "{}", why("bad"));
    assert!(why("after").contains("cancelled before it started"), "{}", why("after"));
}

/// A carriage return before the end of the line was lost.
#[test]
fn an_output_arrives_byte_for_byte() {
    let bench = Bench::with(
        "t.yaml",
        r#"tree: t
steps:
  a:
    run: |
      printf 'line=value\r\nblock<<END\r\none\r\ntwo\r\nEND\r\n' >> "$TREES_OUTPUT"
    outputs: { line: string, block: string }
  b: { run: "printf %s {{ steps.a.outputs.line }} > line; printf %s {{ steps.a.outputs.block }} > block" }
"#,
    );
    bench.run(&["run", "t.yaml"]).expect(0);
    assert_eq!((bench.read("line").as_str(), bench.read("block").as_str()), ("value\r", "one\r\ntwo\r"));
}

#[test]
fn what_a_check_or_a_verify_wrote_is_shown_when_it_fails() {
    for (key, code) in [("check", 2), ("verify", 1)] {
        let words = format!("{key}: \"echo the words of it; exit {code}\"");
        let bench = Bench::with("t.yaml", format!("tree: t\nsteps:\n  a:\n    run: 'true'\n    {words}\n"));
        let failed = bench.run(&["run", "t.yaml"]).expect(1).stderr;
        assert!(failed.contains(&format!("{key} exited with {code}")) && failed.contains("the words of it"), "{failed}");
        assert!(failed.contains(&format!("{key}/output.log")), "{failed}");
    }
}
