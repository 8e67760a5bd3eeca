//! Retries, timeouts, deadlines.

use crate::stage::check;

#[test]
fn an_interrupted_attempt_keeps_its_number_and_does_not_count() {
    check(
        "steps: { a: { retry: { attempts: 2, delay: 1s, jitter: 0 }, run: ':' } }",
        "begin\nresume\na fail 1\nwait 1\na fail 1",
        "a:started#1 > a#1 action
         a:interrupted#1 a:started#2 > a#2 action
         a:attempt_failed#2
         a:started#3 > a#3 action
         a:failed#3 =failed",
    );
}

#[test]
fn a_retry_keeps_its_time_over_a_rest() {
    check(
        "steps: { a: { retry: { attempts: 2, delay: 10s, jitter: 0 }, run: ':' } }",
        "begin\na fail 1\nrest 4\nresume\nwait 5\nwait 1",
        "a:started#1 > a#1 action\na:attempt_failed#1\n-\n-\n-\na:started#2 > a#2 action",
    );
}

/// It was launched beside the need that the resume had reopened.
#[test]
fn a_retry_waits_for_a_need_that_a_resume_reopened() {
    check(
        "steps: { n: { run: ':' }, a: { needs: n, retry: { attempts: 2, delay: 1s, jitter: 0 }, run: ':' } }",
        "begin\nn ok\na fail 1\nresume --force n\nwait 2\nn ok\na ok",
        "n:started#1 > n#1 action
         n:ok a:started#1 > a#1 action
         a:attempt_failed#1
         n:reopened#1 n:started#2 > n#2 action
         -
         n:ok a:started#2 > a#2 action
         a:ok =succeeded",
    );
}

#[test]
fn the_timeout_of_a_sub_tree_is_that_of_one_attempt() {
    // The limit of the first attempt neither cuts the wait short nor the second attempt.
    check(
        "steps: { t: { tree: ./sub.yaml, timeout: 10s, retry: { attempts: 2, delay: 20s, jitter: 0 } } }
---
steps: { a: { run: ':' } }",
        "begin\nwait 5\nt/a fail 1\nwait 5\nwait 15\nwait 9\nwait 1\nt/a stopped",
        "t:started#1 t/a:started#1 > t/a#1 action
         -
         t/a:failed#1 t:attempt_failed#1
         -
         t:started#2 t/a:started#2 > t/a#2 action
         -
         - > stop t/a#2
         t/a:timed_out#2 t:timed_out#2 =failed",
    );
}

#[test]
fn a_deadline_counts_waits_and_not_the_time_at_rest() {
    check(
        "steps: { a: { deadline: 10s, retry: { attempts: 5, delay: 6s, jitter: 0 }, run: ':' } }",
        "begin\nwait 2\na fail 1\nrest 100\nresume\na fail 1\nwait 6\na fail 1",
        "a:started#1 > a#1 action\n-\na:attempt_failed#1\n-\na:started#2 > a#2 action\na:attempt_failed#2\na:started#3 > a#3 action\na:timed_out#3 =failed",
    );
}

#[test]
fn the_deadline_of_the_run_counts_steps_that_run_beside_a_question() {
    check(
        "deadline: 10s\nsteps: { a: { run: ':' }, b: { run: ':' }, p: { approve: { message: go? } } }",
        "begin\nwait 6 + b ok\nresume\nwait 4\na stopped",
        "p:approval_requested a:started#1 b:started#1 > a#1 action, b#1 action
         b:ok
         a:interrupted#1 a:started#2 > a#2 action
         p:blocked > stop a#2
         a:timed_out#2 =failed",
    );
}

#[test]
fn codes_126_and_127_are_not_tried_again_and_75_is() {
    check("steps: { a: { retry: { attempts: 3 }, run: ':' } }", "begin\na fail 127", "a:started#1 > a#1 action\na:failed#1 =failed");
    check(
        "steps: { a: { retry: { attempts: 2, on: [timeout] }, run: ':' } }",
        "begin\na fail 75\na fail 1",
        "a:started#1 > a#1 action\na:attempt_failed#1 a:started#2 > a#2 action\na:failed#2 =failed",
    );
}

#[test]
fn on_failure_stop_starts_nothing_new_and_its_deadline_still_holds() {
    check(
        "on_failure: stop\ndeadline: 10s\nmax_parallel: 2\nsteps: { a: { run: ':' }, b: { run: ':' }, c: { run: ':' } }",
        "begin\na fail 1\nwait 10\nb stopped",
        "a:started#1 b:started#1 > a#1 action, b#1 action
         a:failed#1 c:blocked
         - > stop b#1
         b:timed_out#1 =failed",
    );
}
