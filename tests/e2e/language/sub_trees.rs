//! `tree`: a file of its own, run in place.

use super::{has, refused, run_in, tree};
use crate::bench::Bench;
use serde_json::json;

const REPORT: &str = "
tree: report
params: { app: { type: string }, fail: '' }
vars: { title: 'of {{ params.app }}' }
env: { WHO: report }
steps:
  one: { run: 'echo one >> count; echo \"title={{ vars.title }} $WHO\" >> $TREES_OUTPUT', outputs: { title: string } }
  two: { needs: one, run: 'test \"{{ params.app }}\" != \"{{ params.fail }}\" || test -e ok' }
finally: { f: { run: 'echo f >> count' } }
outputs: { title: '{{ steps.one.outputs.title }}' }
";

fn place(text: &str) -> Bench {
    let bench = tree(text);
    bench.write("parts/report.yaml", REPORT);
    bench
}

#[test]
fn it_has_params_and_outputs_of_its_own() {
    let ran = run_in(
        place("params: { app: chat }\nsteps: { r: { tree: parts/report.yaml, with: { app: '{{ params.app }}' } }, b: { run: 'echo \"{{ steps.r.outputs.title }}\"' } }\noutputs: { t: '{{ steps.r.outputs.title }}' }"),
        &[],
    )
    .code(0);
    assert_eq!(ran.log("b").trim(), "of chat report");
    assert_eq!(ran.show()["outputs"], json!({"t": "of chat report"}));
    for path in ["b", "r", "r/one", "r/two"] {
        assert_eq!(ran.steps()[path]["status"], "succeeded", "{path}");
    }
    assert_eq!(ran.bench.read("count"), "one\nf\n");
}

#[test]
fn what_it_is_given_is_checked() {
    let refuse = |with: &str| {
        let ran = run_in(place(&format!("steps: {{ r: {{ tree: parts/report.yaml, with: {{ {with} }} }} }}")), &[]).code(2);
        ran.outcome.stderr
    };
    has(&refuse(""), "app");
    has(&refuse("app: x, nope: 1"), "nope");
    has(&refuse("app: [1]"), "app");
    has(&refused("steps: { r: { tree: ./none.yaml } }"), "none.yaml");
}

#[test]
fn a_retry_keeps_what_succeeded_in_it() {
    let ran =
        run_in(place("steps: { r: { tree: parts/report.yaml, with: { app: x, fail: x }, retry: { attempts: 2, delay: 1ms } } }"), &[])
            .code(1);
    assert_eq!(ran.bench.read("count"), "one\nf\nf\n");
    let steps = ran.steps();
    assert_eq!((steps["r/one"]["attempts"].as_u64(), steps["r/two"]["attempts"].as_u64()), (Some(1), Some(2)));
    ran.bench.write("ok", "");
    let ran = ran.resume(&[]).code(0);
    assert_eq!(ran.bench.read("count"), "one\nf\nf\nf\n");
    assert_eq!(ran.steps()["r"]["status"], "succeeded");
}

#[test]
fn it_fans_out() {
    let ran =
        run_in(place("steps: { r: { foreach: { items: [x, y] }, tree: parts/report.yaml, with: { app: '{{ item }}', fail: y } } }"), &[])
            .code(1);
    let steps = ran.steps();
    for (path, status) in [
        ("r", "failed"),
        ("r[x]", "succeeded"),
        ("r[x]/two", "succeeded"),
        ("r[y]", "failed"),
        ("r[y]/one", "succeeded"),
        ("r[y]/two", "failed"),
    ] {
        assert_eq!(steps[path]["status"], status, "{path}");
    }
    ran.bench.write("ok", "");
    let ran = ran.resume(&[]).code(0);
    assert_eq!(ran.bench.read("count").matches("one").count(), 2, "kept");
    assert_eq!(ran.outputs("r"), json!([{"title": "of x report"}, {"title": "of y report"}]));
}

#[test]
fn its_secrets_are_its_own() {
    let bench = tree("steps: { r: { tree: s.yaml } }");
    bench.write("s.yaml", "tree: s\nproject: t\nsecrets: { TOKEN: { from: generate, length: 24 } }\nsteps: { a: { secrets: [TOKEN], run: 'echo \"$TOKEN\"; test ${#TOKEN} = 24' } }");
    let ran = run_in(bench, &[]).code(0);
    has(&ran.log("r/a"), "***");
}

#[test]
fn an_environment_reaches_it() {
    let bench = tree(
        "
environments: { staging: { default: true }, production: {} }
steps: { r: { environment: production, tree: s.yaml }, q: { tree: s.yaml } }",
    );
    bench.write("s.yaml", "tree: s\nsteps: { a: { run: 'echo {{ environment }}' } }");
    let ran = run_in(bench, &[]).code(0);
    assert_eq!((ran.log("r/a").trim(), ran.log("q/a").trim()), ("production", "staging"));
}
