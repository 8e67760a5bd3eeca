//! `trees test`: cases beside a tree, steps mocked, time virtual, nothing executed.

use crate::bench::Bench;
use std::fs;
use std::time::{Duration, Instant};

const TREE: &str = "\
tree: ship
params: { app: { type: string, pattern: '^[a-z]+$' } }
environments:
  staging: { default: true }
  live: { protected: true }
secrets: { TOKEN: {} }
steps:
  build:
    run: touch ran; echo \"sha=$(date)\" >> \"$TREES_OUTPUT\"
    outputs: { sha: string, size: integer }
    timeout: 1h
    retry: { attempts: 4, delay: 1h, factor: 2 }
  smoke:
    needs: build
    foreach: [a, b]
    run: touch ran
    tolerate: 1
  ask: { needs: smoke, approve: { message: \"Ship {{ steps.build.outputs.sha }}?\", timeout: 24h } }
  ship:
    needs: ask
    secrets: [TOKEN]
    timeout: 5m
    uses: http/request
    with: { method: POST, url: \"http://127.0.0.1:9/{{ steps.build.outputs.sha }}\", headers: { Authorization: \"Bearer {{ secrets.TOKEN }}\" } }
finally:
  tidy: { run: touch ran }
outputs: { sha: \"{{ steps.build.outputs.sha }}\" }
";

/// The tree with cases of one test.
fn bench(cases: &str) -> Bench {
    let bench = Bench::with("ship.yaml", TREE);
    bench.write("ship.test.yaml", format!("cases:{cases}"));
    bench
}

#[test]
fn each_cookbook_with_cases_passes_them() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cookbooks");
    let mut seen = 0;
    for folder in fs::read_dir(root).unwrap().flatten() {
        let name = folder.file_name().into_string().unwrap();
        if folder.path().join(format!("{name}.test.yaml")).is_file() {
            let bench = Bench::new();
            let outcome = bench.run(&["test", &format!("{name}.yaml")]).expect(0);
            assert!(outcome.stdout.ends_with("passed\n"), "{}", outcome.stdout);
            assert!(bench.files().is_empty() && !bench.path(".trees").exists(), "{:?}", bench.files());
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn hours_of_retries_take_no_time_and_run_nothing() {
    let bench = bench(
        "
  - case: the third try is the one
    params: { app: chat }
    secrets: { TOKEN: fake }
    steps:
      build: { exit: 75, times: 2, takes: 10m, outputs: { sha: abc } }
      smoke[b]: { exit: 1 }
    answers: { ask: { answer: approve, after: 2h } }
    expect:
      status: succeeded_with_warnings
      steps:
        build: { status: succeeded, attempts: 3, outputs: { sha: abc, size: 1 } }
        'smoke:a': succeeded
        smoke[b]: { status: failed, error: exited with 1 }
        ship: { status: succeeded, with: { url: http://127.0.0.1:9/abc, headers: { Authorization: Bearer fake } } }
        tidy: succeeded
      order: [[build, smoke, ask, ship, tidy]]
      outputs: { sha: abc }
      took: 330m
  - case: too slow three times
    params: { app: chat }
    steps: { build: { takes: 61m } }
    expect:
      status: failed
      steps: { build: { status: timed_out, attempts: 1, error: took longer than 1h }, smoke: { status: blocked, reason: need_failed } }
",
    );
    let begun = Instant::now();
    bench.run(&["test", "ship.yaml"]).expect(0);
    assert!(begun.elapsed() < Duration::from_secs(60), "hours are virtual");
    assert_eq!(bench.files(), ["ship.test.yaml", "ship.yaml"]);
    assert!(!bench.path(".trees").exists());
}

#[test]
fn people_cancels_and_unknown_outcomes() {
    let bench = bench(
        "
  - case: nobody is there
    params: { app: chat }
    expect: { status: waiting, reason: ask, steps: { ask: waiting, ship: pending } }
  - case: no
    params: { app: chat }
    answers: { ask: reject }
    expect: { status: failed, steps: { ask: rejected, ship: blocked, tidy: succeeded } }
  - case: nobody answers in time
    params: { app: chat }
    answers: { ask: expire }
    expect: { status: failed, steps: { ask: timed_out }, took: { min: 24h, max: 24h } }
  - case: a protected environment is not approved
    params: { app: chat }
    environment: live
    answers: { 'environment:live': reject }
    expect: { status: failed, steps: { build: { status: blocked, reason: environment_rejected } } }
  - case: an outcome that nobody knows is asked for
    params: { app: chat }
    steps: { ship: { fails: timeout } }
    answers: { ask: approve }
    expect: { status: waiting, steps: { ship: waiting } }
  - case: and settled
    params: { app: chat }
    steps: { ship: { fails: timeout } }
    answers: { ask: approve, ship: { answer: done, after: 1h, outputs: { status: 200 } } }
    expect: { steps: { ship: succeeded }, took: 65m }
  - case: a cancel while it builds
    params: { app: chat }
    steps: { build: { takes: 30m } }
    cancel: { after: 20m }
    expect: { status: cancelled, steps: { build: { status: cancelled, attempts: 1 }, tidy: succeeded }, took: 20m }
",
    );
    bench.run(&["test", "ship.test.yaml"]).expect(0);
}

#[test]
fn what_differs_is_told_with_its_line_in_every_form() {
    let bench = bench(
        "
  - case: it <fails>
    params: { app: chat }
    steps: { build: { exit: 3 } }
    expect:
      steps: { build: { status: succeeded, attempts: 2 } }
      order: [[ship, build]]
  - case: and this is fine
    params: { app: chat }
    steps: { build: { exit: 3 } }
    expect: { status: failed }
",
    );
    let text = bench.run(&["test", "ship.yaml", "--junit", "out.xml"]).expect(1).stdout;
    for line in [
        "✗ it <fails>",
        "ship.test.yaml:2 status: expected succeeded, was failed",
        "ship.test.yaml:6 steps.build.status: expected succeeded, was failed",
        "ship.test.yaml:6 steps.build.attempts: expected 2, was 4",
        "ship.test.yaml:7 order of ship and build: expected ship ends before build begins",
        "build failed: exited with 3",
        "✓ and this is fine",
        "2 cases: 1 failed",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let xml = bench.read("out.xml");
    assert!(xml.contains("<testsuite name=\"ship\" file=\"ship.test.yaml\" tests=\"2\" failures=\"1\""), "{xml}");
    assert!(xml.contains("<testcase name=\"it &lt;fails&gt;\"") && xml.contains("ship.test.yaml:2 status: expected succeeded"), "{xml}");
    let json = bench.run(&["test", "ship.yaml", "--format", "json"]).expect(1).json();
    assert_eq!((&json["schema"], &json["passed"], &json["failed"]), (&"trees/test".into(), &1.into(), &1.into()));
    assert_eq!(json["cases"][0]["failures"][0]["actual"], "failed");
    bench.run(&["test", "ship.yaml", "--case", "fine"]).expect(0);
    bench.run(&["test", "ship.yaml", "--case", "nowhere"]).expect(2);
}

#[test]
fn mistakes_in_a_test_file_are_all_told_with_a_cure() {
    let bench = bench(
        "
  - case: one
    params: { app: CHAT }
    steps:
      buidl: { exit: 1 }
      build: { exit: 1, done: true, outputs: { sah: x, size: big } }
      ask: { exit: 1 }
      ship: { exit: 1 }
      smoke/x: { exit: 1 }
      build[x]: { exit: 1 }
    answers: { build: approve, 'environment:staging': approve }
    environment: lvie
    secrets: { TOKNE: x }
    expect: { outputs: { sah: 1 }, order: [[build]] }
  - case: one
    expect: { status: succeeded }
",
    );
    let outcome = bench.run(&["test", "ship.yaml"]).expect(2);
    for part in [
        "the parameter `app` must match",
        "no step `buidl`; did you mean `build`?",
        "an attempt ends in one way only",
        "no output `sah`; did you mean `sha`?",
        "`size` must be an integer",
        "is a question to a person",
        "a kind has no exit code",
        "`smoke` is no sub-tree",
        "`build` has no instances",
        "`build` is no approval step",
        "takes approve and reject, for a protected environment",
        "no environment `lvie`; did you mean `live`?",
        "the secret `TOKNE`; did you mean `TOKEN`?",
        "has no output `sah`",
        "an order has two steps or more",
        "the case `one` stands twice",
        "the parameter `app` is missing",
        "ship.test.yaml:",
    ] {
        assert!(outcome.stderr.contains(part), "{part}\n{}", outcome.stderr);
    }
    bench.write("ship.test.yaml", "cases:\n  - case: x\n    expct: { status: succeded }\n    cancel: soon\n");
    let outcome = bench.run(&["test", "ship.yaml"]).expect(2);
    assert!(outcome.stderr.contains("did you mean `expect`?") && outcome.stderr.contains("bad-duration"), "{}", outcome.stderr);
    fs::remove_file(bench.path("ship.test.yaml")).unwrap();
    let outcome = bench.run(&["test", "ship.yaml"]).expect(2);
    assert!(outcome.stderr.contains("ship.test.yaml") && outcome.stderr.contains("trees schema --tests"), "{}", outcome.stderr);
}

#[test]
fn the_schema_of_test_files_knows_their_keys() {
    let schema = Bench::new().run(&["schema", "--tests"]).expect(0).json();
    assert!(schema["properties"]["cases"].is_object() && schema["$defs"]["Mock"]["properties"]["takes"].is_object());
}

#[test]
fn a_test_file_may_name_its_tree() {
    let bench = Bench::with("trees/ship.yaml", TREE);
    bench.write(
        "tests/more.test.yaml",
        "tree: ../trees/ship.yaml\ncases:\n  - { case: x, params: { app: a }, answers: { ask: approve }, expect: { took: 0s } }\n",
    );
    bench.run(&["test", "tests/more.test.yaml"]).expect(0);
    let said = bench.run(&["check", "trees/ship.yaml", "tests/more.test.yaml"]).expect(0).stdout;
    assert!(said.contains("tests/more.test.yaml: ship is fine, 1 case"), "{said}");
    bench.write("tests/more.test.yaml", bench.read("tests/more.test.yaml").replace("ask:", "aks:"));
    let found = bench.run(&["check", "tests/more.test.yaml", "--format", "json"]).expect(2).json();
    assert_eq!(found["diagnostics"][0]["file"], "tests/more.test.yaml", "{found}");
    assert_eq!(found["diagnostics"][0]["line"], 3, "{found}");
}

#[test]
fn a_rollback_is_tried_like_all_else() {
    let tree = "tree: back\non_failure: rollback\nsteps:\n  a: { run: 'true', undo: 'true' }\n  b: { needs: a, run: 'true', undo: 'true' }\n  c: { needs: b, run: 'true' }\n";
    let bench = Bench::with("back.yaml", tree);
    bench.write(
        "back.test.yaml",
        "cases:\n  - case: all of it\n    steps: { c: { exit: 1 } }\n    expect: { status: rolled_back, steps: { a: undone, b: undone, c: failed } }\n  \
         - case: stuck\n    steps: { c: { exit: 1 }, b: { undo: fails } }\n    expect: { status: rollback_stuck, steps: { a: succeeded, b: undo_failed } }\n",
    );
    bench.run(&["test", "back.yaml"]).expect(0);
    bench.write("back.test.yaml", "cases:\n  - case: x\n    steps: { c: { undo: fails } }\n    expect: { status: failed }\n");
    let outcome = bench.run(&["test", "back.yaml"]).expect(2);
    assert!(outcome.stderr.contains("nothing takes this step back"), "{}", outcome.stderr);
}

#[test]
fn a_wrong_tree_behind_a_test_file_stands_in_the_format() {
    let bench = Bench::with("ship.yaml", "tree: ship\nsteps: { a: { needs: nobody, run: ':' } }\n");
    bench.write("ship.test.yaml", "cases: []\n");
    let json = bench.run(&["check", "ship.test.yaml", "--format", "json"]).expect(2);
    let found = &json.json()["diagnostics"][0];
    assert!(found["message"].as_str().unwrap().contains("nobody") && found["file"] == "ship.yaml", "{found}");
    let sarif = bench.run(&["check", "ship.test.yaml", "--format", "sarif"]).expect(2);
    assert!(sarif.json()["runs"][0]["results"][0]["message"]["text"].as_str().unwrap().contains("nobody"), "{}", sarif.stdout);
    assert_eq!((json.stderr.as_str(), sarif.stderr.as_str()), ("", ""));
    assert!(bench.run(&["check", "ship.test.yaml"]).expect(2).stderr.contains("nobody"));
}
