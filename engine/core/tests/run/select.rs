//! A part of a tree, with what another run did.

use super::stage::check;

const TREE: &str = "
    steps:
      a: { run: ':' }
      b: { needs: a, run: ':' }
      c: { needs: b, run: ':' }
      d: { run: ':' }
    finally:
      f: { run: ':' }
";

#[test]
fn needs_are_taken_over_and_others_left() {
    check(
        TREE,
        "begin
         a ok + d ok
         b ok
         c ok
         f ok
         part --only c
         c ok
         f ok",
        "a:started#1 d:started#1 > a#1 action, d#1 action
         a:ok d:ok b:started#1 > b#1 action
         b:ok c:started#1 > c#1 action
         c:ok f:started#1 > f#1 action
         f:ok =succeeded
         d:skipped a:skipped b:cached c:started#1 > c#1 action
         c:ok f:started#1 > f#1 action
         f:ok =succeeded",
    );
}

#[test]
fn a_resume_does_not_run_what_was_left() {
    check(
        TREE,
        "begin
         a ok + d ok
         b ok
         c ok
         f ok
         part --from b --skip c
         b fail 1
         f ok
         resume
         b ok
         f ok",
        "a:started#1 d:started#1 > a#1 action, d#1 action
         a:ok d:ok b:started#1 > b#1 action
         b:ok c:started#1 > c#1 action
         c:ok f:started#1 > f#1 action
         f:ok =succeeded
         d:skipped a:cached c:resolved b:started#1 > b#1 action
         b:failed#1 f:started#1 > f#1 action
         f:ok =failed
         b:started#2 > b#2 action
         b:ok f:started#2 > f#2 action
         f:ok =succeeded",
    );
}

#[test]
fn what_was_skipped_there_stays_so_where_the_rule_bears_it() {
    check(
        "
        steps:
          a: { if: 'false', run: ':' }
          b: { needs: { steps: [a], rule: none_failed }, run: ':' }
        ",
        "begin
         b ok
         part --only b
         b ok",
        "a:skipped b:started#1 > b#1 action
         b:ok =succeeded
         a:skipped b:started#1 > b#1 action
         b:ok =succeeded",
    );
}

#[test]
fn partners_by_key_find_what_was_taken_over() {
    check(
        "
        steps:
          a: { foreach: [x, y], run: ':' }
          b: { foreach: [x, y], needs: [{ step: a, by: key }], run: ':' }
        ",
        "begin
         a[x] ok + a[y] ok
         b[x] ok + b[y] ok
         part --only b[y]
         b[y] ok",
        "a:expanded b:expanded a[x]:started#1 a[y]:started#1 > a[x]#1 action, a[y]#1 action
         a[x]:ok a[y]:ok a:ok b[x]:started#1 b[y]:started#1 > b[x]#1 action, b[y]#1 action
         b[x]:ok b[y]:ok b:ok =succeeded
         a:expanded a[x]:cached a[y]:cached a:cached b:expanded b[x]:skipped b[y]:started#1 > b[y]#1 action
         b[y]:ok b:ok =succeeded",
    );
}

#[test]
fn a_resume_does_not_look_again_at_what_was_taken_over() {
    check(
        "
        steps:
          a: { run: ':', outputs: { list: list } }
          b: { foreach: \"{{ steps.a.outputs.list }}\", run: ':' }
          c: { needs: b, run: ':' }
        ",
        "begin
         a ok {\"list\":[\"x\"]}
         b[x] ok
         c ok
         part --only c
         c fail 1
         resume
         c ok",
        "a:started#1 > a#1 action
         a:ok b:expanded b[x]:started#1 > b[x]#1 action
         b[x]:ok b:ok c:started#1 > c#1 action
         c:ok =succeeded
         a:skipped b:expanded b[x]:cached b:cached c:started#1 > c#1 action
         c:failed#1 =failed
         c:started#2 > c#2 action
         c:ok =succeeded",
    );
}
