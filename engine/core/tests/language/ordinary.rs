//! Ordinary trees, and what is made of them.

use crate::bench::{check, good, shown};
use trees_core::tree::{NeedKind, Rule};

#[test]
fn needs_take_three_forms() {
    let tree = good(
        "tree: t\nsteps:\n  a: { run: x }\n  b: { needs: a, run: x }\n  c: { needs: [a, b], run: x }\n  d: { needs: { steps: [a, c], rule: all_done }, run: x }\n",
    );
    let needs = |id: &str| tree.step(id).expect("it stands there").needs.iter().map(|n| n.step).collect::<Vec<_>>();
    assert_eq!([needs("a"), needs("b"), needs("c"), needs("d")], [vec![], vec![0], vec![0, 1], vec![0, 2]]);
    assert_eq!(tree.step("d").map(|d| d.rule), Some(Rule::AllDone));
}

#[test]
fn a_reference_is_a_need() {
    let tree = good(
        "tree: t\nsteps:\n  a: { run: x, outputs: { sha: string } }\n  b: { uses: http/check, with: { url: \"{{ steps.a.outputs.sha }}\" } }\n  c: { uses: http/check, with: { url: \"{{ steps.a.status }}\" } }\n",
    );
    let kinds: Vec<NeedKind> = tree.steps.iter().flat_map(|s| &s.needs).map(|n| n.kind).collect();
    assert_eq!(kinds, [NeedKind::Succeeded, NeedKind::Done]);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let checked = check("tree: t\nsteps:\n  a: { nedes: b, run: x }\n  b: { needs: [c, a] }\n  d: { run: x, timeout: 5 }\n", &[]);
    assert_eq!(shown(&checked.diagnostics), "unknown-key 3:8; no-action 4:3; unknown-step 4:16; wrong-type 5:25");
}

#[test]
fn a_span_leads_back_to_its_text() {
    let checked = check("tree: t\nsteps:\n  é: { run: x }\n", &[]);
    let span = checked.diagnostics[0].span.expect("it has a place");
    let sources = &checked.sources;
    assert_eq!((sources.place(span).as_str(), sources.line(span)), ("tree.yaml:3:3", Some("  é: { run: x }")));
    assert_eq!(sources.range(span).map(|r| &sources.files[0].text[r]), Some("é"));
    assert_eq!((sources.index("tree.yaml"), sources.index("other")), (Some(0), None));
}

#[test]
fn the_codes_are_sorted_and_unique() {
    let codes = trees_core::language::codes();
    assert!(codes.windows(2).all(|w| w[0].0 < w[1].0));
}

#[test]
fn merge_keys_and_aliases_stand_for_what_they_name() {
    let tree = good(
        "tree: t\nx-base: &base { run: x, timeout: 5s, retry: { attempts: 2 } }\nx-more: &more { timeout: 9s, cwd: sub }\nsteps:\n  a: { <<: *base }\n  b: { <<: [*more, *base], run: y }\n  c: *base\n",
    );
    let seconds: Vec<Option<u64>> = tree.steps.iter().map(|s| s.timeout.map(|t| t.as_secs())).collect();
    assert_eq!(seconds, [Some(5), Some(9), Some(5)]);
    assert_eq!(tree.steps[1].retry.attempts, 2);
    assert!(tree.steps[1].cwd.is_some());
}

#[test]
fn defaults_are_merged_field_by_field() {
    let tree = good(
        "tree: t\ndefaults: { timeout: 1m, retry: { attempts: 3, delay: 1s, on: [timeout] }, env: { A: x, B: y }, shell: bash }\nsteps:\n  a: { run: x, retry: { attempts: 5 }, env: { B: z } }\n  b: { run: x, retry: { on: [failure] } }\n  c: { uses: http/check, with: { url: x } }\n  d: { approve: Sure? }\n",
    );
    let [a, b, c, d] = tree.steps.as_slice() else { panic!("four steps") };
    assert_eq!((a.retry.attempts, a.retry.delay.as_secs(), a.retry.on_explicit), (5, 1, false));
    assert_eq!((b.retry.attempts, b.retry.on_explicit), (3, true));
    let names: Vec<&str> = a.env.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!((names, c.timeout.is_some(), d.timeout), (vec!["A", "B"], true, None));
}
