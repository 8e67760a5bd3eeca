//! Approvals, protected environments, cancel, interrupt.

use crate::stage::check;

#[test]
fn an_approval_that_expired_at_rest_is_found_by_the_resume() {
    check(
        "steps: { p: { approve: { message: go?, timeout: 60s } } }",
        "begin\nrest 61\nresume",
        "p:approval_requested ~waiting\n-\np:approval_expired p:timed_out =failed",
    );
    check(
        "steps: { p: { approve: { message: go?, timeout: 60s } } }",
        "begin\nrest 30\nresume + approve p",
        "p:approval_requested ~waiting\n-\np:approval_given p:ok =succeeded",
    );
}

#[test]
fn an_approval_inside_a_sub_tree_with_a_timeout_lets_the_run_rest() {
    check(
        "steps: { t: { tree: ./sub.yaml, timeout: 1h } }
---
steps: { p: { approve: { message: go? } } }",
        "begin\nresume + approve t/p",
        "t:started#1 t/p:approval_requested ~waiting\nt/p:approval_given t/p:ok t:ok =succeeded",
    );
}

#[test]
fn an_approval_does_not_stand_behind_steps_that_wait_for_a_place() {
    check(
        "max_parallel: 1\nsteps: { a: { run: ':' }, b: { run: ':' }, p: { approve: { message: go? } } }",
        "begin\napprove p",
        "p:approval_requested a:started#1 > a#1 action\np:approval_given p:ok",
    );
}

#[test]
fn nothing_starts_in_a_protected_environment_not_even_a_check() {
    check(
        "environments: { live: { protected: true, default: true } }
         steps: { t: { environment: live, check: { run: ':' }, tree: ./sub.yaml } }
---
steps: { a: { run: ':' } }"
            .replace("\n         ", "\n")
            .as_str(),
        "begin\nresume + approve environment:live\nt already",
        "environment:live:approval_requested ~waiting
         environment:live:approval_given t:started#1 > t#1 check
         t:cached#1 =succeeded",
    );
}

#[test]
fn a_rejected_environment_blocks_and_is_asked_anew_by_a_resume() {
    let tree = "environments: { live: { protected: true }, lab: { default: true } }\nsteps: { a: { environment: live, run: ':' } }";
    check(
        tree,
        "begin\nresume + reject environment:live\nresume",
        "environment:live:approval_requested ~waiting
         environment:live:approval_rejected a:blocked =failed
         environment:live:approval_requested ~waiting",
    );
}

#[test]
fn cancel_awaits_external_steps_and_runs_finally() {
    let tree = "steps: { a: { run: ':' }, x: { effect: external, run: ':' }, c: { needs: a, run: ':' } }\nfinally: { f: { run: ':' } }";
    check(
        tree,
        "begin\ncancel\na stopped\nx ok\nf ok",
        "a:started#1 x:started#1 > a#1 action, x#1 action
         cancel_requested c:cancelled > stop a#1
         a:cancelled#1
         x:ok f:started#1 > f#1 action
         f:ok =cancelled",
    );
    check(
        tree,
        "begin\ncancel now\na stopped + x stopped\nf ok",
        "a:started#1 x:started#1 > a#1 action, x#1 action
         cancel_requested c:cancelled > stop a#1, stop x#1
         a:cancelled#1 x:interrupted#1 f:started#1 > f#1 action
         f:ok =cancelled",
    );
}

#[test]
fn a_signal_leaves_the_run_interrupted_without_finally() {
    check(
        "steps: { a: { run: ':' } }\nfinally: { f: { run: ':' } }",
        "begin\ninterrupt\na stopped\nresume",
        "a:started#1 > a#1 action\n- > stop a#1\na:interrupted#1 ~interrupted\na:started#2 > a#2 action",
    );
}
