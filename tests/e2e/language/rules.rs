//! Needs, their rules, `if`, and failures that are allowed.

use super::{has, refused, run};

/// Four steps that end in each way, and one with a rule over them.
fn rule(name: &str, needs: &str) -> String {
    let ran = run(&format!(
        "
steps:
  good: {{ run: 'true' }}
  good2: {{ run: 'true' }}
  bad: {{ run: 'false' }}
  bad2: {{ run: 'false' }}
  skipped: {{ if: 'false', run: 'true' }}
  cached: {{ check: {{ run: 'true' }}, run: 'true' }}
  it: {{ needs: {{ steps: [{needs}], rule: {name} }}, run: 'true' }}
"
    ))
    .code(1);
    ran.steps()["it"]["status"].as_str().unwrap().to_owned()
}

#[test]
fn the_seven_rules() {
    let table = [
        ("all_succeeded", "good, cached", "succeeded"),
        ("all_succeeded", "good, skipped", "skipped"),
        ("all_succeeded", "good, bad", "blocked"),
        ("none_failed", "good, skipped", "succeeded"),
        ("none_failed", "skipped", "succeeded"),
        ("none_failed", "good, bad", "blocked"),
        ("none_failed_min_one_succeeded", "good, skipped", "succeeded"),
        ("none_failed_min_one_succeeded", "skipped", "skipped"),
        ("none_failed_min_one_succeeded", "good, bad", "blocked"),
        ("all_done", "good, bad, skipped", "succeeded"),
        ("one_succeeded", "good, bad", "succeeded"),
        ("one_succeeded", "bad, bad2", "blocked"),
        ("one_failed", "good, bad", "succeeded"),
        ("one_failed", "good, good2", "skipped"),
        ("all_failed", "bad, bad2", "succeeded"),
        ("all_failed", "good, bad", "skipped"),
    ];
    for (name, needs, expected) in table {
        assert_eq!(rule(name, needs), expected, "{name} of {needs}");
    }
}

#[test]
fn a_block_goes_down_and_says_why() {
    let ran = run("steps: { a: { run: 'false' }, b: { needs: a, run: 'true' }, c: { needs: b, run: 'true' }, d: { run: 'true' } }").code(1);
    assert_eq!(ran.statuses(), "a=failed b=blocked c=blocked d=succeeded");
    assert_eq!(ran.reason("b"), "need_failed");
    let ran = ran.then(&["why", "@last", "c"]).code(0);
    for part in ["c is blocked", "b is blocked", "a, which failed", "t.yaml:2"] {
        has(&ran.outcome.stdout, part);
    }
}

#[test]
fn a_reference_is_a_need() {
    let ran = run("
steps:
  b: { run: 'echo \"{{ steps.a.outputs.v }}\"' }
  a: { run: 'echo v=1 >> $TREES_OUTPUT', outputs: { v: integer } }
  s: { run: 'false' }
  status: { run: 'echo \"{{ steps.s.status }}\"' }
  skip: { if: 'false', run: 'true', outputs: { v: integer } }
  fallback: { run: 'echo \"{{ steps.skip.outputs.v | default(value=7) }}\"' }
")
    .code(1);
    assert_eq!(ran.statuses(), "a=succeeded b=succeeded fallback=succeeded s=failed skip=skipped status=succeeded");
    assert_eq!((ran.log("b").trim(), ran.log("status").trim(), ran.log("fallback").trim()), ("1", "failed", "7"));
}

#[test]
fn an_output_that_may_be_missing_needs_a_default() {
    let text = refused(
        "steps: { a: { if: params.x == 'y', run: 'true', outputs: { v: integer } }, b: { run: 'echo {{ steps.a.outputs.v }}' } }\nparams: { x: z }",
    );
    has(&text, "default(value=");
}

#[test]
fn conditions_see_failures_of_direct_needs() {
    let ran = run("
params: { go: false }
steps:
  a: { run: 'false' }
  ok: { run: 'true' }
  cry: { needs: a, if: failed(), run: 'true' }
  calm: { needs: ok, if: failed(), run: 'true' }
  far: { needs: cry, if: failed(), run: 'true' }
  no: { if: params.go, run: 'true' }
  braces: { if: '{{ not params.go }}', run: 'true' }
  after: { needs: no, run: 'true' }
  not_cancelled: { needs: a, if: not cancelled(), run: 'true' }
")
    .code(1);
    assert_eq!(
        ran.statuses(),
        "a=failed after=skipped braces=succeeded calm=skipped cry=succeeded far=skipped no=skipped not_cancelled=succeeded ok=succeeded"
    );
    assert_eq!(ran.reason("no"), "condition");
    assert_eq!(ran.reason("after"), "need_skipped");
    has(&ran.text("no"), "params.go");
}

#[test]
fn an_allowed_failure_is_a_warning() {
    let ran = run("
steps:
  a: { allow_failure: true, run: 'exit 3' }
  b: { needs: a, run: 'true' }
  c: { allow_failure: [4], run: 'exit 4' }
")
    .code(0);
    assert_eq!(ran.statuses(), "a=failed b=succeeded c=failed");
    assert_eq!(ran.show()["status"], "succeeded_with_warnings");
    let ran = ran.again(&["--strict"]).code(1);
    assert_eq!(ran.show()["status"], "succeeded_with_warnings");
    let ran = run("steps: { c: { allow_failure: [4], run: 'exit 5' }, d: { needs: c, run: 'true' } }").code(1);
    assert_eq!(ran.statuses(), "c=failed d=blocked");
}

#[test]
fn exit_77_skips() {
    let ran = run("steps: { a: { run: 'exit 77' }, b: { needs: a, run: 'true' }, c: { exit: { skip: [5] }, run: 'exit 5' } }").code(0);
    assert_eq!(ran.statuses(), "a=skipped b=skipped c=skipped");
}

#[test]
fn nothing_new_starts_after_a_failure_where_the_tree_says_stop() {
    let ran = run("
on_failure: stop
max_parallel: 1
steps:
  a: { run: 'false' }
  b: { run: 'touch b' }
  c: { needs: b, run: 'touch c' }
finally: { f: { run: 'touch f' } }
")
    .code(1);
    assert!(!ran.bench.path("b").exists() && ran.bench.path("f").exists());
    let statuses = ran.statuses();
    has(&statuses, "a=failed");
    assert!(!statuses.contains("pending") && !statuses.contains("b=succeeded"), "{statuses}");
}

#[test]
fn an_allowed_failure_does_not_stop_a_tree() {
    let ran = run("
on_failure: stop
steps:
  a: { allow_failure: true, run: 'false' }
  b: { needs: a, run: 'touch b' }
")
    .code(0);
    assert!(ran.bench.path("b").exists());
}
