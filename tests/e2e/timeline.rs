//! `trees timeline` of real runs: the chart, the document, the page.

use crate::bench::Bench;

const TREE: &str = "tree: t
steps:
  a: { run: 'sleep 0.1' }
  b: { needs: a, run: 'sleep 0.1; test -e mended' }
  c: { needs: b, run: ':' }
";

fn bench() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    bench
}

#[test]
fn a_chart_without_a_terminal_is_plain() {
    let bench = bench();
    let chart = bench.run(&["timeline"]).expect(0).stdout;
    assert!(chart.starts_with("t #1 failed\n"), "{chart}");
    for part in ["◆ a ", "◆ b ", "  c ", "⊘ blocked", "critical path  ", "2 steps: a b", "waited for     needs "] {
        assert!(chart.contains(part), "{part}:\n{chart}");
    }
    assert!(!chart.chars().any(|c| c.is_control() && c != '\n') && chart.lines().all(|l| l.chars().count() <= 100), "{chart}");
}

#[test]
fn as_one_document() {
    let bench = bench();
    bench.write("mended", "");
    bench.run(&["resume", "-q"]).expect(0);
    let document = bench.run(&["timeline", "@last", "--format", "json"]).expect(0).json();
    assert_eq!((&document["schema"], &document["status"]), (&"trees/timeline".into(), &"succeeded".into()));
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    let b = steps.iter().find(|s| s["path"] == "b").unwrap();
    let ran: Vec<bool> =
        b["segments"].as_array().unwrap().iter().filter(|s| s["phase"] == "run").map(|s| s["failed"].as_bool().unwrap()).collect();
    assert_eq!((ran, b["attempts"].as_u64()), (vec![true, false], Some(2)), "{b:#}");
    let totals = &document["totals"];
    let (wall, rest) = (totals["wall"].as_f64().unwrap(), totals["rest"].as_f64().unwrap());
    assert!(rest > 0.0 && rest < wall && document["sittings"].as_array().unwrap().len() == 1, "{document:#}");
    assert_eq!(totals["parallelism"]["peak"], 1);
}

#[test]
fn a_page_is_one_file() {
    let bench = bench();
    let said = bench.run(&["timeline", "--html", "t.html"]).expect(0);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", "wrote t.html\n"));
    let page = bench.read("t.html");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{page}");
    assert!(page.contains("aria-label=\"c: blocked: it needs b, which failed\""), "{page}");
    assert_eq!(bench.files(), ["t.html", "t.yaml"]);
    assert_eq!(bench.run(&["timeline", "--html", "-"]).expect(0).stdout, page);
    let failed = bench.run(&["timeline", "--html", "no/such/folder.html"]).expect(1);
    assert!(failed.stderr.contains("cannot write no/such/folder.html"), "{}", failed.stderr);
}
