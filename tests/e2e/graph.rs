//! `trees graph` of a file.

use crate::bench::Bench;

const TREE: &str = r#"tree: t
steps:
  test: { run: ":" }
  build:
    needs: test
    run: echo "sha=1" >> "$TREES_OUTPUT"
    outputs: { sha: string }
  suites: { needs: build, foreach: { items: [a, b], as: x }, run: "echo {{ x }}" }
  ship: { needs: suites, run: "echo {{ steps.build.outputs.sha }}" }
  sub: { needs: build, tree: ./sub.yaml }
  last: { needs: sub, run: ":" }
finally:
  clean: { run: ":" }
"#;
const SUB: &str = "tree: sub\nsteps:\n  one: { run: \":\" }\n  two: { needs: one, run: \":\" }\n";

fn bench() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.write("sub.yaml", SUB);
    bench
}

#[test]
fn as_text() {
    let text = bench().run(&["graph", "t.yaml"]).expect(0).stdout;
    let expected = "t
      1  test
      2  build  ← test
      3  sub/one  ← build
         suites ×  ← build
      4  ship  ← ~build, suites
         sub/two  ← sub/one
      5  last  ← sub/two
finally  clean
~ needed because of a reference
";
    assert_eq!(text, expected);
}

#[test]
fn as_dot_and_mermaid() {
    let bench = bench();
    let dot = bench.run(&["graph", "t.yaml", "--format", "dot"]).expect(0).stdout;
    assert!(dot.contains("  \"test\" -> \"build\";\n") && dot.contains("  \"build\" -> \"ship\" [style=dashed];\n"), "{dot}");
    let mermaid = bench.run(&["graph", "t.yaml", "--format", "mermaid"]).expect(0).stdout;
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains(" -.-> ") && mermaid.contains("[\"sub/two\"]"), "{mermaid}");
}

#[test]
fn as_svg() {
    let svg = bench().run(&["graph", "t.yaml", "--format", "svg"]).expect(0).stdout;
    assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for label in ["test", "build", "sub/two", "finally: clean"] {
        assert!(svg.contains(label), "{label}");
    }
    assert!(svg.contains("stroke-dasharray"), "inferred needs are dashed");
}

#[test]
fn what_is_neither_file_nor_run() {
    let outcome = bench().run(&["graph", "nothing"]).expect(2);
    assert!(outcome.stderr.contains("there is no file `nothing`"), "{}", outcome.stderr);
}
