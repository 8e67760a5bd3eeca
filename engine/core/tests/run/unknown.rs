//! External steps whose outcome is not known, checks and verifies.

use crate::stage::check;

const ASK: &str = "steps: { x: { effect: external, on_crash: ask, retry: { attempts: 3 }, run: ':' } }";
const FAIL: &str = "steps: { x: { effect: external, on_crash: fail, run: ':' } }";

#[test]
fn ask_rests_until_a_person_says() {
    check(
        ASK,
        "begin\nresume\nresume\nresume + resolve x done",
        "x:started#1 > x#1 action\nx:interrupted#1 x:waiting#1 ~waiting\n~waiting\nx:resolved#1 =succeeded",
    );
    check(
        ASK,
        "begin\nx timeout\nresume + resolve x retry",
        "x:started#1 > x#1 action\nx:interrupted#1 x:waiting#1 ~waiting\nx:resolved#1 x:started#2 > x#2 action",
    );
    check(
        ASK,
        "begin\nx signal\nresume + resolve x fail\nresume",
        "x:started#1 > x#1 action\nx:interrupted#1 x:waiting#1 ~waiting\nx:resolved#1 =failed\nx:started#2 > x#2 action",
    );
}

#[test]
fn retry_on_failure_does_not_name_a_signal() {
    check(
        "steps: { x: { effect: external, on_crash: ask, retry: { attempts: 3, on: [failure] }, run: ':' } }",
        "begin\nx signal",
        "x:started#1 > x#1 action\nx:interrupted#1 x:waiting#1 ~waiting",
    );
    check(
        "steps: { x: { effect: external, on_crash: ask, retry: { attempts: 3, on: ['signal:9'] }, run: ':' } }",
        "begin\nx signal",
        "x:started#1 > x#1 action\nx:attempt_failed#1 x:started#2 > x#2 action",
    );
}

#[test]
fn what_failed_without_a_known_outcome_is_not_run_again_silently() {
    check(
        FAIL,
        "begin\nresume\nresume\nresume + resolve x retry",
        "x:started#1 > x#1 action\nx:interrupted#1 x:failed#1 =failed\nx:waiting#1 ~waiting\nx:resolved#1 x:started#2 > x#2 action",
    );
}

#[test]
fn a_cancel_does_not_make_an_unknown_outcome_known() {
    check(
        ASK,
        "begin\nresume\nresume + cancel\nresume",
        "x:started#1 > x#1 action
         x:interrupted#1 x:waiting#1 ~waiting
         cancel_requested x:interrupted#1 =cancelled
         x:waiting#1 ~waiting",
    );
    check(
        ASK,
        "begin\ncancel\nx timeout\nresume",
        "x:started#1 > x#1 action\ncancel_requested\nx:interrupted#1 =cancelled\nx:waiting#1 ~waiting",
    );
}

#[test]
fn a_stop_does_not_make_an_unknown_outcome_known() {
    check(
        "on_failure: stop\nsteps: { x: { effect: external, on_crash: ask, run: ':' }, a: { run: ':' } }",
        "begin\nx timeout\na fail 1\nresume + resolve x done",
        "x:started#1 a:started#1 > x#1 action, a#1 action
         x:interrupted#1 x:waiting#1
         a:failed#1 ~waiting
         x:resolved#1 a:started#2 > a#2 action",
    );
}

#[test]
fn an_external_script_repeats_only_its_verify() {
    check(
        "steps: { x: { effect: external, on_crash: ask, retry: { attempts: 2, delay: 1s, jitter: 0 }, run: ':', verify: { run: ':' } } }",
        "begin\nx acted\nx verify\nwait 1\nresume\nx ok",
        "x:started#1 > x#1 action
         x:action_succeeded#1 > x#1 verify
         x:attempt_failed#1
         x:started#2 > x#2 verify
         x:interrupted#2 x:started#3 > x#3 verify
         x:ok =succeeded",
    );
}

#[test]
fn a_local_step_repeats_action_and_verify() {
    check(
        "steps: { a: { retry: { attempts: 2, delay: 1s, jitter: 0 }, run: ':', verify: { run: ':' } } }",
        "begin\na acted\na verify\nwait 1\na acted\na ok",
        "a:started#1 > a#1 action
         a:action_succeeded#1 > a#1 verify
         a:attempt_failed#1
         a:started#2 > a#2 action
         a:action_succeeded#2 > a#2 verify
         a:ok =succeeded",
    );
}

#[test]
fn what_is_found_done_is_cached_only_before_any_attempt() {
    let tree = "steps: { a: { check: { run: ':' }, run: ':' } }";
    check(tree, "begin\na already", "a:started#1 > a#1 action\na:cached#1 =succeeded");
    check(tree, "begin\nresume\na already", "a:started#1 > a#1 action\na:interrupted#1 a:started#2 > a#2 action\na:ok =succeeded");
}

#[test]
fn a_look_after_the_last_attempt_stays_a_look_after_a_crash() {
    check(
        "steps: { x: { effect: external, on_crash: check, check: { run: ':' }, run: ':' } }",
        "begin\nx timeout\nresume\nx undone",
        "x:started#1 > x#1 action
         x:attempt_failed#1 x:started#2 > x#2 check
         x:interrupted#2 x:started#3 > x#3 check
         x:timed_out#3 =failed",
    );
}
