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
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for part in [
        "<title id=\"title\">t</title>",
        "<title>build; needs test</title>",
        "<title>sub/two; needs sub/one</title>",
        "<title>clean (finally)</title>",
        ">suites ×</text>",
        "<path class=\"inferred\"",
        "prefers-color-scheme: dark",
    ] {
        assert!(svg.contains(part), "{part}:\n{svg}");
    }
    assert_eq!(svg.matches("<path class=\"inferred\"").count(), 1, "the need of ship for build follows from a reference");
}

#[test]
fn of_a_run_by_status() {
    let bench = Bench::with("t.yaml", TREE);
    bench.write("sub.yaml", SUB.replace("two: { needs: one, run: \":\" }", "two: { needs: one, run: \"exit 3\" }"));
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    let svg = bench.run(&["graph", "@last", "--format", "svg"]).expect(0).stdout;
    for part in [
        "<title id=\"title\">t #1 failed</title>",
        "6 succeeded, ",
        "<g class=\"node bad\"><title>sub/two: failed; needs sub/one</title>",
        "<g class=\"node block\"><title>last: blocked; needs sub/two</title>",
        "<g class=\"node good finally\"><title>clean (finally): succeeded</title>",
        "</tspan> suites 2/2</text>",
    ] {
        assert!(svg.contains(part), "{part}:\n{svg}");
    }
}

#[test]
fn steps_of_a_fanned_out_sub_tree_stand_for_their_instances() {
    let bench = Bench::with(
        "t.yaml",
        "tree: t\nsteps:\n  each: { foreach: { items: [a, b], as: x }, tree: ./sub.yaml, with: { x: \"{{ x }}\" } }\n",
    );
    bench.write(
        "sub.yaml",
        "tree: sub\nparams: { x: { type: string, required: true } }\nsteps:\n  one: { run: \"test {{ params.x }} = a\" }\n",
    );
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    let text = bench.run(&["graph", "@last"]).expect(0).stdout;
    assert!(text.contains("each/one [failed]"), "{text}");
}

#[test]
fn what_is_neither_file_nor_run() {
    let outcome = bench().run(&["graph", "nothing"]).expect(2);
    assert!(outcome.stderr.contains("there is no file `nothing`"), "{}", outcome.stderr);
}
