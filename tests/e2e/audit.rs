//! Who changed what, as the commands write it down.

use crate::bench::Bench;
use crate::live::Live;
use rustix::process::Signal;
use serde_json::Value;

const ASKS: &str = "tree: t\nsecrets: { TOKEN: { from: environment } }\nparams: { word: x }\nsteps:\n  ask: { approve: { message: Ship it? } }\n  ship: { needs: ask, secrets: [TOKEN], run: \"test -e ok\" }\n";

fn entries(bench: &Bench, words: &[&str]) -> Vec<Value> {
    let document = bench.run(&[&["audit", "--format", "json"], words].concat()).expect(0).json();
    assert_eq!((&document["schema"], &document["version"]), (&Value::from("trees/audit"), &Value::from(1)));
    document["entries"].as_array().unwrap().clone()
}

fn changes(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|e| e["change"].as_str().unwrap()).collect()
}

#[test]
fn a_secret_on_the_command_line_of_a_watch_or_a_rerun_is_not_written_down() {
    let bench = Bench::with(
        "t.yaml",
        "tree: t\nsecrets: { TOKEN: { from: environment } }\nparams: { word: x }\nsteps: { a: { secrets: [TOKEN], run: 'true' } }\n",
    );
    let mut command = bench.command(&["watch", "t.yaml", "--run-now", "--format", "json", "-p", "word=canary-4711"]);
    command.env("TOKEN", "canary-4711");
    let mut watching = Live::of(&bench, command);
    watching.until("run_finished", "");
    watching.signal(Signal::TERM);
    watching.end();
    let mut rerun = bench.command(&["rerun", "@last", "--approve", "canary-4711"]);
    rerun.env("TOKEN", "canary-4711").output().unwrap();
    let all = entries(&bench, &[]);
    assert!(changes(&all).contains(&"run_created"), "{all:?}");
    assert!(!Value::from(all.clone()).to_string().contains("canary"), "{all:?}");
}

#[test]
fn every_command_that_changes_something_is_written_down() {
    let bench = Bench::with("t.yaml", ASKS);
    let with_token = |words: &[&str], code: i32| {
        let output = bench.command(words).env("TOKEN", "canary-4711").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    };
    with_token(&["run", "t.yaml", "-p", "word=canary-4711"], 3);
    bench.run(&["approve", "@last", "ask", "--note", "go on"]).expect(0);
    with_token(&["resume"], 1);
    bench.run(&["resolve", "@last", "ship", "--retry"]).expect(0);
    bench.write("ok", "");
    with_token(&["resume"], 0);
    bench.run_with_input(&["secret", "set", "S", "--project", "p"], "canary-4712").expect(0);
    bench.run(&["secret", "remove", "S", "--project", "p"]).expect(0);
    with_token(&["run", "t.yaml"], 3);
    with_token(&["cancel", "@last"], 0);
    let run = entries(&bench, &[])[0]["run"].as_str().unwrap().to_owned();
    bench.run(&["gc", "--keep", "0"]).expect(0);
    let all = entries(&bench, &[]);
    let expected = [
        "run_created",
        "run_asked",
        "run_held",
        "run_asked",
        "run_held",
        "secret_set",
        "secret_removed",
        "run_created",
        "run_held",
        "runs_removed",
    ];
    assert_eq!(changes(&all), expected);
    // Looking changes nothing.
    bench.run(&["list"]).expect(0);
    assert_eq!(entries(&bench, &[]).len(), expected.len());
    let first = &all[0];
    assert!(first["actor"].as_str().unwrap().starts_with("tester@"), "{first}");
    assert_eq!(first["command"], serde_json::json!(["run", "t.yaml", "-p", "word=***"]));
    assert_eq!(first["folder"], bench.dir().canonicalize().unwrap().display().to_string());
    assert_eq!((&first["terminal"], &first["before"]), (&Value::Bool(false), &Value::Null));
    assert_eq!((&all[1]["after"]["asks"]["step"], &all[2]["before"]["status"]), (&"ask".into(), &"waiting".into()));
    assert!(!Value::from(all.clone()).to_string().contains("canary"));
    // Also of a run that is gone.
    assert_eq!(changes(&entries(&bench, &["--run", &run])), expected[..5]);
    assert_eq!(entries(&bench, &["-n", "2"]).len(), 2);
    let text = bench.run(&["audit"]).expect(0).stdout;
    assert!(text.lines().count() == expected.len() && text.contains("  set S of p, version 1  trees secret set S --project p"), "{text}");
    assert!(text.contains("trees approve @last ask --note 'go on'"), "{text}");
    let whole = bench.run(&["audit", "--verify"]).expect(0).stdout;
    assert!(whole.starts_with("the chain holds: 10 entries, the newest is "), "{whole}");
    assert!(bench.run(&["doctor"]).stdout.contains("10 entries, the chain holds"));
}

#[test]
fn a_broken_chain_is_named_and_fails() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { run: \":\" } }\n");
    assert_eq!(bench.run(&["audit"]).expect(0).stdout, "");
    bench.run(&["audit", "--verify"]).expect(0);
    assert!(!bench.path(".trees").exists(), "looking makes no folder");
    for _ in 0..3 {
        bench.run(&["run", "t.yaml", "-q"]).expect(0);
    }
    bench.run(&["audit", "--verify"]).expect(0);
    // As somebody with an editor would: the same number of bytes, in the database itself.
    let path = bench.path(".trees/trees.db");
    let bytes = std::fs::read(&path).unwrap();
    let (old, new) = (b"\"actor\":\"tester@", b"\"actor\":\"nobody@");
    let at = bytes.windows(old.len()).position(|w| w == old).unwrap();
    std::fs::write(&path, [&bytes[..at], new, &bytes[at + old.len()..]].concat()).unwrap();
    let broken = bench.run(&["audit", "--verify"]).expect(1).stdout;
    assert!(broken.starts_with("broken at entry ") && broken.contains("(changed): "), "{broken}");
    let document = bench.run(&["audit", "--verify", "--format", "json"]).expect(1).json();
    assert_eq!((&document["schema"], &document["broken"]["why"]), (&"trees/audit-check".into(), &"changed".into()));
    assert!(bench.run(&["doctor"]).expect(1).stdout.contains("✗ audit"));
}
