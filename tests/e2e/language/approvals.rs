//! `approve`.

use super::{has, run, run_in, tree};

const TEXT: &str = "
params: { app: chat }
steps:
  build: { run: 'true' }
  ask: { needs: build, approve: { message: 'Announce {{ params.app }}?', timeout: 24h } }
  go: { needs: ask, run: 'touch went' }
";

#[test]
fn a_run_rests_until_somebody_says_yes() {
    let ran = run(TEXT).code(3);
    assert_eq!(ran.statuses(), "ask=waiting build=succeeded go=pending");
    assert_eq!(ran.show()["status"], "waiting");
    has(&ran.event("ask", "approval_requested").to_string(), "Announce chat?");
    let ran = ran.then(&["approve", "@last", "ask", "--note", "looks good"]).code(0);
    let ran = ran.resume(&[]).code(0);
    assert_eq!(ran.statuses(), "ask=succeeded build=succeeded go=succeeded");
    let given = ran.event("ask", "approval_given");
    assert_eq!(given["actor"].as_str().map(|a| !a.is_empty()), Some(true));
    has(&given.to_string(), "looks good");
    assert!(ran.bench.path("went").exists());
}

#[test]
fn a_no_blocks_what_follows() {
    let ran = run(TEXT).code(3).then(&["reject", "@last", "ask", "--note", "not today"]).code(0).resume(&[]).code(1);
    assert_eq!(ran.statuses(), "ask=rejected build=succeeded go=blocked");
    has(&ran.event("ask", "approval_rejected").to_string(), "not today");
}

#[test]
fn a_yes_beforehand_is_enough() {
    for who in ["ask", "*"] {
        assert_eq!(run_in(tree(TEXT), &["--approve", who]).code(0).statuses(), "ask=succeeded build=succeeded go=succeeded");
    }
    let ran = run_in(tree(TEXT), &["--approve", "nobody"]).code(2);
    has(&ran.outcome.stderr, "it asks for: ask");
}

#[test]
fn one_that_expired_at_rest_is_found_by_the_resume() {
    let ran = run("steps: { ask: { approve: { message: go?, timeout: 1ms } }, go: { needs: ask, run: 'touch went' } }");
    let ran = if ran.outcome.code == 3 { ran.resume(&[]) } else { ran };
    assert_eq!(ran.statuses(), "ask=timed_out go=blocked");
    assert_eq!(ran.outcome.code, 1);
}

#[test]
fn a_yes_that_came_too_late_is_none() {
    let ran = run("steps: { ask: { approve: { message: go?, timeout: 1ms } }, go: { needs: ask, run: 'touch went' } }");
    // The process may have seen it expire itself.
    if ran.outcome.code == 3 {
        let ran = ran.then(&["approve", "@last", "ask"]).code(2);
        has(&ran.outcome.stderr, "`ask` was to be answered by ");
        has(&ran.outcome.stderr, "that is over");
        let ran = ran.resume(&[]).code(1);
        assert_eq!(ran.statuses(), "ask=timed_out go=blocked");
    }
}

#[test]
fn an_answer_to_no_question_is_refused() {
    let ran = run("steps: { a: { run: 'true' } }").code(0).then(&["approve", "@last", "a"]);
    assert_ne!(ran.outcome.code, 0);
    has(&ran.outcome.stderr, "a");
}
