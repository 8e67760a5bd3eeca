//! `trees diff`: what differs between two runs.

use crate::bench::Bench;
use serde_json::{Value, json};

const TREE: &str = r#"tree: t
params: { word: one }
steps:
  read: { inputs: [in.txt], run: 'cat in.txt > out.txt; echo "n=$(cat in.txt)" >> "$TREES_OUTPUT"', outputs: { n: integer }, artifacts: { out: out.txt } }
  say: { run: "echo {{ params.word }}" }
  quick: { cache: true, inputs: [fixed.txt], run: ":" }
  may: { run: "test -e well" }
  after: { needs: may, run: ":" }
outputs: { n: "{{ steps.read.outputs.n }}" }
"#;

/// Two runs: between them an input, a param, the tree and what one step finds have changed.
fn bench() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.write("in.txt", "1");
    bench.write("fixed.txt", "");
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    bench.write("in.txt", "2");
    bench.write("well", "");
    bench
        .write("t.yaml", TREE.replace("after: { needs: may, run: \":\" }", "after: { needs: may, run: \"true\" }\n  more: { run: \":\" }"));
    bench.run(&["run", "t.yaml", "-q", "-p", "word=two"]).expect(0);
    bench
}

fn step<'a>(document: &'a Value, path: &str) -> &'a Value {
    document["steps"].as_array().unwrap().iter().find(|s| s["path"] == path).unwrap_or_else(|| panic!("{path} in {document:#}"))
}

#[test]
fn it_names_what_differs() {
    let diff = bench().run(&["diff", "t#1", "t#2"]).expect(0).stdout;
    let words: Vec<String> = diff.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "param word one → two",
        "file t.yaml changed",
        "read input file:in.txt changed",
        "output n: 1 → 2",
        "artifact out changed",
        "say input value:params.word changed",
        "quick succeeded → cached",
        "may failed → succeeded",
        "after blocked → succeeded",
        "more only in the second (succeeded)",
        "6 steps differ, 0 alike",
    ] {
        assert!(words.iter().any(|l| l == line), "{line}:\n{diff}");
    }
}

#[test]
fn as_one_document() {
    let bench = bench();
    let diff = bench.run(&["diff", "t#1", "t#2", "--format", "json"]).expect(0).json();
    assert_eq!((&diff["schema"], &diff["version"]), (&json!("trees/diff"), &json!(1)));
    assert_eq!(diff["params"], json!({ "word": { "before": "one", "after": "two" } }));
    assert_eq!(diff["outputs"], json!({ "n": { "before": 1, "after": 2 } }));
    assert_eq!(diff["run"]["status"], json!({ "before": "failed", "after": "succeeded" }));
    assert_eq!(step(&diff, "read")["outputs"], json!({ "n": { "before": 1, "after": 2 } }));
    assert_eq!(step(&diff, "read")["inputs"], json!({ "file:in.txt": "changed" }));
    assert_eq!(step(&diff, "more")["status"], json!({ "before": null, "after": "succeeded" }));
    // Turned around it says the opposite.
    let back = bench.run(&["diff", "t#2", "t#1", "--format", "json"]).expect(0).json();
    assert_eq!(step(&back, "quick")["status"], json!({ "before": "cached", "after": "succeeded" }));
}

#[test]
fn a_changed_definition_is_named_where_both_ran() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { run: ':' }, b: { run: ':' } }\n");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    bench.write("t.yaml", "tree: t\nsteps: { a: { run: 'true' }, b: { run: ':' } }\n");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    let diff = bench.run(&["diff", "t#1", "@last"]).expect(0).stdout;
    assert!(diff.contains("  a  definition changed\n1 step differs, 1 alike"), "{diff}");
}

#[test]
fn alike_and_unknown() {
    let bench = bench();
    let alike = bench.run(&["diff", "@last", "@last"]).expect(0).stdout;
    assert!(alike.contains("the two are alike in all 6 steps"), "{alike}");
    let unknown = bench.run(&["diff", "@last", "t#9"]).expect(2);
    assert!(unknown.stderr.contains("t#9"), "{}", unknown.stderr);
}
