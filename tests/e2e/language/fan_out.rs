//! `foreach` and `matrix`.

use super::{has, refused, run, run_in, tree};
use serde_json::json;

#[test]
fn a_list_becomes_instances() {
    let ran = run(r#"
steps:
  a:
    foreach: { items: [general, "two words", "a/b", 7], as: channel }
    run: echo "v={{ channel }}" >> "$TREES_OUTPUT"
    outputs: { v: string }
  b: { run: 'echo "{{ steps.a.by_key.general.v }} {{ steps.a.outputs | length }}"' }
"#);
    let ran = ran.code(0);
    assert_eq!(ran.statuses(), "a=succeeded a[7]=succeeded a[a%2Fb]=succeeded a[general]=succeeded a[two%20words]=succeeded b=succeeded");
    assert_eq!(ran.outputs("a"), json!([{"v": "general"}, {"v": "two words"}, {"v": "a/b"}, {"v": "7"}]));
    assert_eq!(ran.log("b").trim(), "general 4");
    let ran = ran.then(&["why", "@last", "a:general"]).code(0);
    has(&ran.outcome.stdout, "a[general]");
}

#[test]
fn items_come_from_an_earlier_step() {
    let ran = run(r#"
steps:
  list: { run: 'echo "l=[\"x\",\"y\"]" >> $TREES_OUTPUT', outputs: { l: list } }
  a: { foreach: { items: steps.list.outputs.l }, run: 'echo {{ item }}' }
  maps:
    foreach: { items: [{ id: eu, n: 1 }, { id: us, n: 2 }], as: region, key: region.id }
    run: echo "{{ region.id }}={{ region.n }}"
  none: { foreach: { items: [] }, run: 'true' }
  after: { needs: none, run: 'true' }
  skipped: { foreach: { items: [1, 2] }, if: item > 5, run: 'true' }
  some: { foreach: { items: [1, 2] }, if: item > 1, run: 'true' }
  once: { foreach: { items: [1, 2] }, if: 'false', run: 'true' }
"#)
    .code(0);
    assert_eq!(
        ran.statuses(),
        "a=succeeded a[x]=succeeded a[y]=succeeded after=succeeded list=succeeded maps=succeeded maps[eu]=succeeded maps[us]=succeeded \
         none=succeeded once=skipped skipped=skipped skipped[1]=skipped skipped[2]=skipped some=succeeded some[1]=skipped some[2]=succeeded"
    );
    assert_eq!(ran.outputs("none"), json!([]));
    assert_eq!(ran.log("maps[us]").trim(), "us=2");
}

#[test]
fn keys_are_unique_and_given_for_maps() {
    has(&refused("steps: { a: { foreach: { items: [x, x] }, run: 'true' } }"), "x");
    has(&refused("steps: { a: { foreach: { items: [{ a: 1 }] }, run: 'true' } }"), "key");
    let ran = run("steps: { l: { run: 'echo \"l=[1,1]\" >> $TREES_OUTPUT', outputs: { l: list } }, a: { foreach: { items: steps.l.outputs.l }, run: 'true' } }").code(1);
    assert_eq!(ran.statuses(), "a=failed l=succeeded");
    has(&ran.text("a"), "1");
}

#[test]
fn a_matrix_leaves_out_what_it_excludes() {
    let ran = run("steps: { s: { matrix: { suite: [unit, api], db: [pg15, pg16], exclude: [{ suite: unit, db: pg15 }] }, run: 'echo {{ matrix.suite }} {{ matrix.db }}' } }").code(0);
    assert_eq!(ran.statuses(), "s=succeeded s[api,pg15]=succeeded s[api,pg16]=succeeded s[unit,pg16]=succeeded");
}

#[test]
fn a_failure_counts_unless_it_is_tolerated() {
    let with = |tolerate: &str| {
        run(&format!(
            "steps: {{ a: {{ foreach: {{ items: [1, 2, 3, 4] }}, {tolerate} run: 'test {{{{ item }}}} != 2 && echo v={{{{ item }}}} >> $TREES_OUTPUT', outputs: {{ v: integer }} }}, b: {{ needs: a, run: 'true' }} }}"
        ))
    };
    let ran = with("").code(1);
    has(&ran.statuses(), "a=failed");
    has(&ran.statuses(), "b=blocked");
    for tolerate in ["tolerate: 1,", "tolerate: '25%',"] {
        let ran = with(tolerate).code(0);
        assert_eq!(ran.show()["status"], "succeeded_with_warnings");
        has(&ran.statuses(), "b=succeeded");
        assert_eq!(ran.outputs("a"), json!([{"v": 1}, null, {"v": 3}, {"v": 4}]));
    }
    has(&with("tolerate: '20%',").code(1).statuses(), "b=blocked");
}

#[test]
fn instances_join_by_key() {
    let ran = run("
steps:
  a: { foreach: { items: [x, y] }, run: 'test {{ item }} = x; echo v={{ item }} >> $TREES_OUTPUT', outputs: { v: string } }
  b: { needs: [{ step: a, by: key }], foreach: { items: [x, y] }, run: 'true' }
")
    .code(1);
    assert_eq!(ran.statuses(), "a=failed a[x]=succeeded a[y]=failed b=failed b[x]=succeeded b[y]=blocked");
    let ran = run_in(
        tree(
            "
params: { items: { type: list, default: [x, z] } }
steps:
  a: { foreach: { items: [x] }, run: 'true' }
  b: { needs: [{ step: a, by: key }], foreach: { items: params.items }, run: 'true' }
",
        ),
        &[],
    );
    assert_ne!(ran.outcome.code, 0);
    has(&format!("{}{}", ran.outcome.stdout, ran.outcome.stderr), "z");
}

#[test]
fn max_parallel_and_pools_bound_what_runs_at_once() {
    for bound in ["max_parallel: 1,", "pool: one,"] {
        let ran = run(&format!(
            "
pools: {{ one: 1 }}
steps: {{ a: {{ foreach: {{ items: [1, 2, 3] }}, {bound} run: 'mkdir busy; rmdir busy' }} }}
"
        ))
        .code(0);
        has(&ran.statuses(), "a[3]=succeeded");
        // One ends before the next begins.
        let mut open = 0;
        for event in ran.events().iter().filter(|e| e["step"].as_str().is_some_and(|s| s.starts_with("a["))) {
            match event["type"].as_str().unwrap() {
                "step_started" => open += 1,
                "step_succeeded" => open -= 1,
                _ => {}
            }
            assert!(open <= 1, "two at once");
        }
    }
}
