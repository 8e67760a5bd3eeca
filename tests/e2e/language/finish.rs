//! `check`, `verify`, `effect`, and what this release only checks.

use super::{has, refused, run, run_in, tree};

#[test]
fn a_check_says_whether_there_is_something_to_do() {
    let text = "
steps:
  a: { check: { run: 'test -e done' }, run: 'touch done; echo a >> count' }
  o: { check: { run: 'echo v=2 >> $TREES_OUTPUT' }, run: 'false', outputs: { v: integer } }
  b: { run: 'echo {{ steps.o.outputs.v }}' }
";
    let ran = run(text).code(0);
    assert_eq!(ran.statuses(), "a=succeeded b=succeeded o=cached");
    assert_eq!((ran.reason("o").as_str(), ran.log("b").trim()), ("check", "2"));
    let ran = ran.again(&[]).code(0);
    assert_eq!(ran.statuses(), "a=cached b=succeeded o=cached");
    assert_eq!(ran.bench.read("count"), "a\n");
    let ran = run("steps: { a: { check: { run: 'exit 9' }, run: 'touch ran' } }").code(1);
    assert!(!ran.bench.path("ran").exists());
    has(&ran.text("a"), "9");
}

#[test]
fn a_verify_sees_the_step_and_may_fail_it() {
    let ran = run("
steps:
  a: { run: 'echo v=1 >> $TREES_OUTPUT', outputs: { v: integer }, verify: { run: 'test {{ step.outputs.v }} = 1' } }
  b: { run: 'true', verify: { run: 'echo nope; exit 3' } }
  c: { needs: b, run: 'true' }
")
    .code(1);
    assert_eq!(ran.statuses(), "a=succeeded b=failed c=blocked");
    assert_eq!(ran.story("a"), "step_started action_succeeded step_succeeded");
    assert_eq!(ran.event("b", "step_failed")["error"]["reason"], "verify");
}

#[test]
fn an_external_step_repeats_only_its_verify() {
    let ran = run("
steps:
  e: { effect: external, run: 'echo e >> count', verify: { run: 'test -e ok' }, retry: { attempts: 2, delay: 1ms } }
  l: { run: 'echo l >> local', verify: { run: 'test -e ok' }, retry: { attempts: 2, delay: 1ms } }
")
    .code(1);
    assert_eq!((ran.bench.read("count").as_str(), ran.bench.read("local").as_str()), ("e\n", "l\nl\n"));
    ran.bench.write("ok", "");
    let ran = ran.resume(&[]).code(0);
    assert_eq!((ran.bench.read("count").as_str(), ran.bench.read("local").as_str()), ("e\n", "l\nl\nl\n"));
}

#[test]
fn the_key_is_the_same_over_attempts_and_resumes() {
    let ran = run("steps: { a: { retry: { attempts: 2, delay: 1ms }, run: 'echo $TREES_IDEMPOTENCY_KEY >> keys; test -e ok' } }").code(1);
    ran.bench.write("ok", "");
    let ran = ran.resume(&[]).code(0);
    let keys = ran.bench.read("keys");
    let keys: Vec<_> = keys.lines().collect();
    assert_eq!(keys.len(), 3);
    assert!(!keys[0].is_empty() && keys.iter().all(|k| *k == keys[0]), "{keys:?}");
}

#[test]
fn undo_pivot_and_was_stop_nothing() {
    run("steps: { a: { run: 'true', undo: { run: 'false', retry: { attempts: 5 } }, pivot: true, was: old }, b: { run: 'true', undo: { when: started, run: 'true' } } }").code(0);
}

#[test]
fn what_comes_later_checks_and_does_not_run() {
    has(&refused("secrets: { X: { from: vault, path: a/b } }\nsteps: { a: { secrets: [X], run: 'true' } }"), "vault");
}

#[test]
fn a_timeout_of_an_external_step_is_a_question() {
    let ran = run_in(tree("steps: { a: { effect: external, timeout: 50ms, run: 'echo x >> count; exec cat /dev/zero > /dev/null' }, b: { needs: a, run: 'true' } }"), &[]).code(3);
    assert_eq!(ran.statuses(), "a=waiting b=pending");
    let ran = ran.then(&["resolve", "@last", "a", "--done"]).code(0).resume(&[]).code(0);
    assert_eq!(ran.statuses(), "a=succeeded b=succeeded");
    assert_eq!(ran.bench.read("count"), "x\n");
}
