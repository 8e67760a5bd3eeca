//! Trees in trees: loaded once, checked against what they are given, never in circles.

use crate::bench::{check, shown};
use trees_core::language::{Sources, check as check_source};
use trees_core::tree::Action;

const TOP: &str = "tree: top\nparams: { app: web }\nsteps:\n  a: { tree: ./sub/a.yaml, with: { name: \"{{ params.app }}\", n: 3 } }\n  b: { needs: a, uses: http/check, with: { url: \"{{ steps.a.outputs.url }}\" } }\n";
const A: &str = "tree: a\nparams:\n  name: { type: string }\n  n: { type: integer, max: 9 }\n  more: { type: list, default: [] }\nsteps:\n  x: { run: \"echo {{ params.name }}\" }\noutputs: { url: \"http://{{ params.name }}\" }\n";

#[test]
fn a_sub_tree_is_loaded_beside_its_parent() {
    let checked = check(TOP, &[("sub/a.yaml", A)]);
    assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
    let tree = checked.tree.expect("nothing is wrong");
    let Action::Tree { tree: sub, with } = &tree.steps[0].action else { panic!("it is a sub-tree") };
    assert_eq!((sub.name.as_str(), sub.file.as_str(), sub.source, with.len()), ("a", "sub/a.yaml", 1, 2));
}

#[test]
fn the_recorded_files_check_again_without_the_disk() {
    let first = check(TOP, &[("sub/a.yaml", A)]);
    let sources: Sources = first.sources;
    let top = sources.files[0].clone();
    let again = check_source(top, &sources, &crate::bench::kinds());
    assert!(again.tree.is_some(), "{:#?}", again.diagnostics);
    assert_eq!(again.sources, sources);
}

/// What is wrong with a top tree whose step `a` is `step`, beside these files.
fn wrong(step: &str, files: &[(&str, &str)]) -> String {
    let text = format!("tree: top\nparams: {{ app: web, n: 3 }}\nsteps:\n  a: {{ tree: ./a.yaml, {step} }}\n");
    shown(&check(&text, files).diagnostics)
}

#[test]
fn what_is_given_fits_what_is_declared() {
    let rows = [
        ("with: { nam: x, n: 1 }", "missing-param 4:30; unknown-param 4:32"),
        ("with: { name: 5, n: x }", "wrong-param 4:38; wrong-param 4:44"),
        ("with: { name: x, n: 10, more: { a: 1 } }", "wrong-param 4:44; wrong-param 4:54"),
        ("with: { name: \"{{ params.n }}\", n: \"a{{ params.n }}\" }", "wrong-param 4:59"),
        ("with: { name: \"a{{ params.n }}\", n: \"{{ params.n }}\" }", ""),
        ("description: none", "missing-param 4:14; missing-param 4:14"),
        ("with: { name: x, n: 1 }, cwd: x, env: { A: b }, run: x", "two-actions 4:72"),
        ("with: { name: x, n: 1 }, cache: true, env: { A: b }", "no-effect 4:49; cache-without-inputs 4:49; no-effect 4:62"),
    ];
    for (step, expected) in rows {
        assert_eq!(wrong(step, &[("a.yaml", A)]), expected, "{step}");
    }
}

#[test]
fn files_that_name_each_other_are_shown_as_a_path() {
    let a = "tree: a\nsteps:\n  x: { tree: ./b.yaml }\n";
    let b = "tree: b\nsteps:\n  y: { tree: ./a.yaml }\n";
    let checked = check("tree: top\nsteps:\n  t: { tree: ./a.yaml }\n", &[("a.yaml", a), ("b.yaml", b)]);
    assert_eq!(shown(&checked.diagnostics), "include-cycle 2:3:14");
    assert_eq!(checked.diagnostics[0].message, "sub-trees lead back to themselves: a.yaml -> b.yaml -> a.yaml");
    let own = check("tree: top\nsteps:\n  t: { tree: ./tree.yaml }\n", &[("tree.yaml", "")]);
    assert_eq!(shown(&own.diagnostics), "include-cycle 3:14");
}

#[test]
fn sub_trees_nest_64_levels() {
    let name = |i: usize| format!("s{i}.yaml");
    let text = |i: usize| format!("tree: s\nsteps:\n  t: {{ tree: ./{} }}\n", name(i + 1));
    let chain = |levels: usize| {
        let mut files: Vec<(String, String)> = (0..levels).map(|i| (name(i), text(i))).collect();
        files.push((name(levels), "tree: leaf\nsteps: { x: { run: y } }\n".into()));
        let borrowed: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        shown(&check(&format!("tree: top\nsteps:\n  t: {{ tree: ./{} }}\n", name(0)), &borrowed).diagnostics)
    };
    assert_eq!(chain(62), "");
    assert_eq!(chain(63), "too-deep 63:3:14");
}

#[test]
fn names_that_only_environments_define_are_passed_by_with() {
    let sub = "tree: s\nenvironments: { prod: { vars: { port: 1 } } }\nsteps:\n  x: { run: \"echo {{ vars.port }} {{ environment }}\" }\n";
    let checked = check("tree: top\nsteps:\n  t: { tree: ./s.yaml }\n", &[("s.yaml", sub)]);
    assert_eq!(shown(&checked.diagnostics), "environment-only 1:4:22");
    let help = checked.diagnostics[0].help.clone().unwrap_or_default();
    assert_eq!(help, "make it a parameter and pass it by `with: { port: … }`");
    assert_eq!(shown(&check(sub, &[]).diagnostics), "", "run by itself it is fine");
}

#[test]
fn a_sub_trees_environment_and_pool_are_the_top_ones() {
    let sub = "tree: s\nsteps:\n  x: { run: y, environment: prod, pool: net }\n  z: { run: y, environment: dev, pool: other }\n";
    let top = "tree: top\nenvironments: { prod: { default: true } }\npools: { net: 1 }\nsteps:\n  t: { tree: ./s.yaml }\n";
    assert_eq!(shown(&check(top, &[("s.yaml", sub)]).diagnostics), "unknown-environment 1:4:29; unknown-pool 1:4:40");
}

#[test]
fn a_broken_sub_tree_is_told_in_its_own_file() {
    let checked = check(
        "tree: top\nsteps:\n  t: { tree: ./s.yaml }\n  u: { uses: http/check, with: { url: \"{{ steps.t.outputs.x }}\" } }\n",
        &[("s.yaml", "tree: s\nsteps: [\n")],
    );
    assert_eq!(checked.diagnostics.len(), 1, "{:#?}", checked.diagnostics);
    assert_eq!(checked.diagnostics[0].span.map(|s| s.source), Some(1));
}
