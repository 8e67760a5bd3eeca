//! Places, pools, locks.

use crate::stage::check;

#[test]
fn a_pool_and_the_run_have_so_many_places() {
    check(
        "max_parallel: 2\npools: { one: 1 }\nsteps: { a: { pool: one, run: ':' }, b: { pool: one, run: ':' }, c: { run: ':' }, d: { run: ':' } }",
        "begin\nc ok\na ok",
        "a:started#1 c:started#1 > a#1 action, c#1 action\nc:ok d:started#1 > d#1 action\na:ok b:started#1 > b#1 action",
    );
}

#[test]
fn a_lock_is_handed_on_and_given_back() {
    check(
        "steps: { a: { lock: l, run: ':' }, b: { lock: l, run: ':' } }",
        "begin\na ok\nb ok",
        "a:started#1 > a#1 action\na:ok b:started#1 > b#1 action\nb:ok =succeeded > unlock lock:l",
    );
}

#[test]
fn a_sub_tree_at_work_takes_its_lock_again_before_its_steps_go_on() {
    check(
        "steps: { t: { lock: l, tree: ./sub.yaml } }
---
steps: { a: { run: ':' } }",
        "begin\nbusy + resume\nlocked lock:l\nt/a ok",
        "t:started#1 t/a:started#1 > t/a#1 action
         t/a:interrupted#1 t:waiting#1
         t/a:started#2 > t/a#2 action
         t/a:ok t:ok =succeeded > unlock lock:l",
    );
}

#[test]
fn a_retry_in_a_sub_tree_waits_for_the_lock_of_the_sub_tree_too() {
    check(
        "steps: { t: { lock: l, tree: ./sub.yaml } }
---
steps: { a: { retry: { attempts: 2, delay: 5s, jitter: 0 }, run: ':' } }",
        "begin\nt/a fail 1\nbusy + resume\nwait 10\nlocked lock:l\nwait 0",
        "t:started#1 t/a:started#1 > t/a#1 action
         t/a:attempt_failed#1
         t:waiting#1
         -
         -
         t/a:started#2 > t/a#2 action",
    );
}

#[test]
fn a_cancelled_waiter_gives_its_lock_on() {
    check(
        "steps: { a: { lock: l, run: ':' }, b: { lock: l, run: ':' } }\nfinally: { f: { lock: l, run: ':' } }",
        "begin\ncancel\na stopped\nf ok",
        "a:started#1 > a#1 action
         cancel_requested b:cancelled > stop a#1
         a:cancelled#1 f:started#1 > unlock lock:l, f#1 action
         f:ok =cancelled > unlock lock:l",
    );
}

#[test]
fn a_sub_tree_at_work_has_its_place_again_before_another_begins() {
    check(
        "steps: { a: { foreach: { items: [x, y] }, max_parallel: 1, tree: ./sub.yaml } }\n---\nsteps: { p: { run: ':' } }",
        "begin\nresume\na[y]/p ok",
        "a:expanded a[y]:started#1 a[y]/p:started#1 > a[y]/p#1 action
         a[y]/p:interrupted#1 a[y]/p:started#2 > a[y]/p#2 action
         a[y]/p:ok a[y]:ok a[x]:started#1 a[x]/p:started#1 > a[x]/p#1 action",
    );
}
