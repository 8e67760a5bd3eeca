//! Needs, rules, conditions, fan-outs, outputs.

use crate::stage::check;

#[test]
fn a_failed_need_blocks_and_a_skipped_one_skips() {
    check(
        "steps: { a: { run: ':' }, b: { needs: a, run: ':' }, c: { needs: b, run: ':' } }",
        "begin\na fail 1",
        "a:started#1 > a#1 action\na:failed#1 b:blocked c:blocked =failed",
    );
    check(
        "steps: { a: { run: ':' }, b: { needs: a, run: ':' }, c: { needs: b, run: ':' } }",
        "begin\na fail 77",
        "a:started#1 > a#1 action\na:skipped#1 b:skipped c:skipped =succeeded",
    );
}

#[test]
fn a_failure_among_the_needs_weighs_more_than_a_skip() {
    check(
        "steps: { a: { outputs: { x: string }, run: ':' }, b: { run: ':' }, c: { needs: b, run: 'echo {{ steps.a.outputs.x }}' } }",
        "begin\na fail 77\nb fail 1",
        "a:started#1 b:started#1 > a#1 action, b#1 action\na:skipped#1\nb:failed#1 c:blocked =failed",
    );
}

#[test]
fn rules_decide_as_soon_as_they_can() {
    check(
        "steps: { a: { run: ':' }, b: { run: ':' }, c: { needs: { steps: [a, b], rule: one_succeeded }, run: ':' } }",
        "begin\nb ok\nc ok\na fail 1",
        "a:started#1 b:started#1 > a#1 action, b#1 action\nb:ok c:started#1 > c#1 action\nc:ok\na:failed#1 =failed",
    );
    check(
        "steps: { a: { run: ':' }, b: { run: ':' }, c: { needs: { steps: [a, b], rule: all_failed }, run: ':' } }",
        "begin\nb fail 1\na ok",
        "a:started#1 b:started#1 > a#1 action, b#1 action\nb:failed#1\na:ok c:skipped =failed",
    );
}

#[test]
fn an_early_rule_waits_for_the_items_of_a_partner() {
    check(
        "steps: { a: { run: ':' }, w: { run: ':' }, p: { needs: w, foreach: { items: [x] }, run: ':' }, \
         b: { needs: { steps: [a, { step: p, by: key }], rule: one_succeeded }, foreach: { items: [x] }, run: ':' } }",
        "begin\na ok\nw ok\np[x] ok\nb[x] ok",
        "a:started#1 w:started#1 > a#1 action, w#1 action\na:ok\nw:ok p:expanded b:expanded p[x]:started#1 > p[x]#1 action\n\
         p[x]:ok p:ok b[x]:started#1 > b[x]#1 action\nb[x]:ok b:ok =succeeded",
    );
}

#[test]
fn an_instance_may_wait_for_its_partner_to_fail() {
    for rule in ["one_failed", "all_failed"] {
        check(
            &format!(
                "steps: {{ a: {{ foreach: {{ items: [x, y] }}, tolerate: 1, run: ':' }}, \
                 b: {{ needs: {{ steps: [{{ step: a, by: key }}], rule: {rule} }}, foreach: {{ items: [x, y] }}, run: ':' }} }}"
            ),
            "begin\na[x] ok\na[y] fail 1\nb[y] ok",
            "a:expanded b:expanded a[x]:started#1 a[y]:started#1 > a[x]#1 action, a[y]#1 action\n\
             a[x]:ok b[x]:skipped\na[y]:failed#1 a:ok b[y]:started#1 > b[y]#1 action\nb[y]:ok b:ok =succeeded_with_warnings",
        );
    }
}

#[test]
fn failed_asks_about_needs_by_reference_too() {
    check(
        "steps: { a: { allow_failure: [2], run: ':' }, b: { if: failed(), run: 'echo {{ steps.a.status }}' } }",
        "begin\na fail 1\nb ok",
        "a:started#1 > a#1 action\na:failed#1 b:started#1 > b#1 action\nb:ok =failed",
    );
}

#[test]
fn an_allowed_failure_is_a_warning() {
    check(
        "steps: { a: { allow_failure: true, run: ':' }, b: { needs: a, run: ':' } }",
        "begin\na fail 1\nb ok",
        "a:started#1 > a#1 action\na:failed#1 b:started#1 > b#1 action\nb:ok =succeeded_with_warnings",
    );
}

#[test]
fn a_tolerated_failure_is_a_warning_also_after_a_crash() {
    check(
        "steps: { a: { foreach: { items: [x, y] }, tolerate: 1, run: ':' }, b: { needs: a, run: ':' } }",
        "begin\na[x] fail 1 + a[y] ok\nresume\nb ok",
        "a:expanded a[x]:started#1 a[y]:started#1 > a[x]#1 action, a[y]#1 action
         a[x]:failed#1 a[y]:ok a:ok b:started#1 > b#1 action
         b:interrupted#1 b:started#2 > b#2 action
         b:ok =succeeded_with_warnings",
    );
}

#[test]
fn a_warning_inside_a_sub_tree_is_known_after_a_crash() {
    check(
        "steps: { t: { tree: ./sub.yaml }, b: { needs: t, run: ':' } }
---
steps: { a: { allow_failure: true, run: ':' } }",
        "begin\nt/a fail 1\nresume\nb ok",
        "t:started#1 t/a:started#1 > t/a#1 action
         t/a:failed#1 t:ok b:started#1 > b#1 action
         b:interrupted#1 b:started#2 > b#2 action
         b:ok =succeeded_with_warnings",
    );
}

#[test]
fn outputs_flow_into_items_and_out_of_the_tree() {
    check(
        "outputs: { all: '{{ steps.b.outputs }}' }
         steps: { a: { outputs: { l: list }, run: ':' }, b: { foreach: { items: '{{ steps.a.outputs.l }}' }, outputs: { n: string }, run: ':' } }"
            .replace("\n         ", "\n")
            .as_str(),
        "begin\na ok {\"l\":[\"x\"]}\nb[x] ok {\"n\":\"1\"}",
        "a:started#1 > a#1 action\na:ok b:expanded b[x]:started#1 > b[x]#1 action\nb[x]:ok b:ok =succeeded{\"all\":[{\"n\":\"1\"}]}",
    );
}

#[test]
fn a_tree_whose_output_cannot_be_computed_fails() {
    check(
        "outputs: { x: '{{ steps.a.outputs.x }}' }\nsteps: { a: { outputs: { x: string }, run: ':' } }",
        "begin\na fail 77",
        "a:started#1 > a#1 action\na:skipped#1 =failed{\"x\":null}",
    );
}

#[test]
fn an_empty_fan_out_succeeds_and_a_skipped_one_is_skipped() {
    check("steps: { a: { foreach: { items: [] }, run: ':' } }", "begin", "a:expanded a:ok =succeeded");
    check(
        "steps: { a: { foreach: { items: [x] }, if: item == 'y', run: ':' }, b: { needs: a, run: ':' } }",
        "begin",
        "a:expanded a[x]:skipped a:skipped b:skipped =succeeded",
    );
}

#[test]
fn instances_are_joined_by_key() {
    check(
        "steps: { a: { foreach: { items: [x, y] }, run: ':' }, b: { needs: [{ step: a, by: key }], foreach: { items: [x, y] }, run: ':' } }",
        "begin\na[y] ok\na[x] fail 1\nb[y] ok",
        "a:expanded b:expanded a[x]:started#1 a[y]:started#1 > a[x]#1 action, a[y]#1 action
         a[y]:ok b[y]:started#1 > b[y]#1 action
         a[x]:failed#1 a:failed b[x]:blocked
         b[y]:ok b:failed =failed",
    );
}

#[test]
fn finally_runs_after_a_failure_and_again_after_a_resume() {
    check(
        "steps: { a: { run: ':' } }\nfinally: { f: { run: ':' } }",
        "begin\na fail 1\nf ok\nresume\na ok\nf ok",
        "a:started#1 > a#1 action
         a:failed#1 f:started#1 > f#1 action
         f:ok =failed
         a:started#2 > a#2 action
         a:ok f:started#2 > f#2 action
         f:ok =succeeded",
    );
}

#[test]
fn the_outputs_of_a_run_have_a_limit() {
    let big = format!("begin\na ok {{\"x\":\"{}\"}}", "x".repeat(17 << 20));
    check("steps: { a: { outputs: { x: string }, run: ':' } }", &big, "a:started#1 > a#1 action\na:failed#1 =failed");
}
