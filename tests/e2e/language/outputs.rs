//! `$TREES_OUTPUT`, declared outputs, outputs of the tree.

use super::{has, refused, run, tree};
use serde_json::json;

#[test]
fn three_forms_and_six_types() {
    let ran = run(r#"
steps:
  a:
    run: |
      echo 's=a = b' >> "$TREES_OUTPUT"
      printf 'text<<END\none\n two=2\n\nEND\n' >> "$TREES_OUTPUT"
      echo '{"i": 3, "n": 1.5, "b": true}' >> "$TREES_OUTPUT"
      echo 'l=[1, "x"]' >> "$TREES_OUTPUT"
      echo 'o={"k": [null]}' >> "$TREES_OUTPUT"
      echo 'empty=' >> "$TREES_OUTPUT"
    outputs: { s: string, text: string, i: integer, n: number, b: boolean, l: list, o: object, empty: string }
outputs: { i: '{{ steps.a.outputs.i }}', text: 'n={{ steps.a.outputs.n }}', l: '{{ steps.a.outputs.l }}' }
"#)
    .code(0);
    assert_eq!(
        ran.outputs("a"),
        json!({"s": "a = b", "text": "one\n two=2\n", "i": 3, "n": 1.5, "b": true, "l": [1, "x"], "o": {"k": [null]}, "empty": ""})
    );
    assert_eq!(ran.show()["outputs"], json!({"i": 3, "text": "n=1.5", "l": [1, "x"]}));
    assert_eq!(ran.event("a", "step_succeeded")["outputs"]["i"], 3);
}

#[test]
fn what_does_not_fit_fails_the_attempt() {
    let table: [(&str, &str, &[&str]); 8] = [
        ("true", "{ v: string }", &["v"]),
        ("printf 'v=1\\nw=2\\n' >> $TREES_OUTPUT", "{ v: string }", &["w"]),
        ("printf 'v=1\\nv=2\\n' >> $TREES_OUTPUT", "{ v: string }", &["v", "twice"]),
        ("echo v=x >> $TREES_OUTPUT", "{ v: integer }", &["v", "integer"]),
        ("echo v=yes >> $TREES_OUTPUT", "{ v: boolean }", &["v", "boolean"]),
        ("echo 'v={' >> $TREES_OUTPUT", "{ v: object }", &["v", "object"]),
        ("echo nonsense >> $TREES_OUTPUT", "{ v: string }", &["nonsense"]),
        ("printf 'v<<END\\nx\\n' >> $TREES_OUTPUT", "{ v: string }", &["END"]),
    ];
    for (script, outputs, parts) in table {
        let ran = run(&format!("steps:\n  a:\n    run: |\n      {script}\n    outputs: {outputs}\n")).code(1);
        assert_eq!(ran.event("a", "step_failed")["error"]["reason"], "output", "{script}");
        for part in parts {
            has(&ran.text("a"), part);
        }
    }
}

#[test]
fn an_undeclared_output_fails_with_the_line_to_add() {
    let ran = run("steps: { a: { run: 'echo v=1 >> $TREES_OUTPUT' } }").code(1);
    has(&ran.text("a"), "outputs: {");
    has(&ran.text("a"), "v");
}

#[test]
fn a_large_output_is_refused_whole() {
    let ran = run("steps: { a: { run: 'printf v= >> $TREES_OUTPUT; head -c 1100000 /dev/zero | tr \"\\\\0\" x >> $TREES_OUTPUT', outputs: { v: string } } }").code(1);
    has(&ran.text("a"), "artifacts");
    has(&ran.text("a"), "1 MiB");
}

#[test]
fn a_secret_is_no_output() {
    let bench = tree(
        "secrets: { TOKEN: {} }\nsteps: { a: { secrets: [TOKEN], run: 'echo \"v=x$TOKEN\" >> $TREES_OUTPUT', outputs: { v: string } } }",
    );
    let output = bench.command(&["run", "t.yaml", "--format", "json"]).env("TOKEN", "s3cr3t-value").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("s3cr3t-value"), "{text}");
    has(&text, "secret");
}

#[test]
fn an_output_of_the_tree_that_cannot_be_computed_is_null() {
    let ran =
        run("steps: { a: { run: 'false', outputs: { v: string } } }\noutputs: { v: '{{ steps.a.outputs.v }}', w: '{{ steps.a.status }}' }")
            .code(1);
    assert_eq!(ran.show()["outputs"], json!({"v": null, "w": "failed"}));
}

#[test]
fn an_undeclared_name_cannot_be_read() {
    has(&refused("steps: { a: { run: 'true', outputs: { sha: string } }, b: { run: 'echo {{ steps.a.outputs.sah }}' } }"), "sha");
}
