//! `params`: their sources, types and bounds.

use super::{has, refused, run, run_in, tree};
use serde_json::json;

const ECHO: &str = "
params: { app: deflt, n: 2 }
steps: { a: { run: 'echo \"{{ params.app }} {{ params.n }}\"' } }
";

#[test]
fn the_nearest_source_wins() {
    let bench = tree(ECHO);
    bench.write("p.yaml", "app: file\nn: 5\n");
    let go = |arguments: &[&str], variable: Option<&str>| {
        let mut command = bench.command(&["run", "t.yaml"]);
        command.args(arguments);
        if let Some(value) = variable {
            command.env("TREES_PARAM_app", value);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        bench.run(&["logs", "@last", "a"]).stdout.trim().to_owned()
    };
    assert_eq!(go(&[], None), "deflt 2");
    assert_eq!(go(&[], Some("variable")), "variable 2");
    assert_eq!(go(&["--params", "p.yaml"], Some("variable")), "file 5");
    assert_eq!(go(&["--params", "p.yaml", "-p", "app=line"], Some("variable")), "line 5");
}

#[test]
fn values_have_types() {
    let ran = run_in(
        tree(
            "params: { i: 1, x: 1.5, b: false, l: { type: list, default: [] }, o: { type: object, default: {} } }\nsteps: { a: { run: 'true' } }",
        ),
        &["-p", "i=7", "-p", "x=2", "-p", "b=true", "-p", r#"l=[1,"two"]"#, "-p", r#"o={"k":null}"#],
    );
    let params = ran.code(0).show()["params"].clone();
    assert_eq!(params["i"], json!(7));
    assert_eq!(params["x"].as_f64(), Some(2.0));
    assert_eq!(params["b"], json!(true));
    assert_eq!(params["l"], json!([1, "two"]));
    assert_eq!(params["o"], json!({"k": null}));
}

#[test]
fn what_does_not_fit_is_refused_all_at_once() {
    let tree = tree(
        "params:
  replicas: { type: integer, default: 2, min: 1, max: 10 }
  tier: { enum: [free, paid], default: free }
  tag: { type: string, pattern: '^v\\d+$' }
  flag: true
  free: { type: string, required: false }
steps: { a: { run: 'touch ran' } }",
    );
    let ran = run_in(tree, &["-p", "replicas=11", "-p", "tier=gold", "-p", "flag=7", "-p", "nope=1"]).code(2);
    for part in ["replicas", "10", "tier", "free", "tag", "flag", "nope"] {
        has(&ran.outcome.stderr, part);
    }
    let ran = ran.again(&["-p", "tag=1"]).code(2);
    has(&ran.outcome.stderr, "^v\\d+$");
    assert!(!ran.bench.path("ran").exists());
    let ran = ran.again(&["-p", "tag=v1"]).code(0);
    assert_eq!(ran.show()["params"]["tag"], "v1");
}

#[test]
fn a_default_outside_its_bounds_is_refused() {
    has(&refused("params: { n: { type: integer, default: 20, max: 10 } }\nsteps: { a: { run: 'true' } }"), "10");
}

#[test]
fn a_missing_param_names_itself() {
    let text = refused("params: { tag: { type: string } }\nsteps: { a: { run: 'true' } }");
    has(&text, "tag");
    has(&text, "-p tag=");
}

#[test]
fn a_param_that_is_not_required_may_be_left_out() {
    let ran = run("params: { tag: { type: string, required: false } }
steps: { a: { run: 'echo \"[{{ params.tag | default(value=\"none\") }}]\"' }, b: { if: params.tag is defined, run: 'true' } }");
    let ran = ran.code(0);
    assert_eq!(ran.log("a").trim(), "[none]");
    assert_eq!(ran.statuses(), "a=succeeded b=skipped");
}
