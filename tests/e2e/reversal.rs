//! What `why` tells of a step after a rollback.

use crate::bench::Bench;

const TREE: &str = "tree: t
on_failure: rollback
steps:
  a: { run: ':', undo: ':' }
  p: { needs: a, run: ':', undo: ':', pivot: true }
  b: { run: ':', undo: ':' }
  n: { run: ':', effect: external }
  c: { needs: [p, b, n], run: 'test -e mended' }
";

#[test]
fn why_tells_what_was_undone_and_what_stayed() {
    let bench = Bench::with("t.yaml", TREE);
    bench.run(&["run", "t.yaml", "-q"]).expect(1);
    let why = |step: &str| bench.run(&["why", "@last", step]).expect(0).stdout;
    let undone = why("b");
    assert!(undone.starts_with("b was undone: taken back at 2") && undone.contains("because c failed"), "{undone}");
    assert!(undone.contains("and on_failure is rollback\nc failed: "), "the failure is told too: {undone}");
    for (step, reason) in [("a", "behind a pivot"), ("p", "behind a pivot"), ("n", "it has no undo")] {
        let text = why(step);
        assert!(text.contains(&format!("{step} succeeded: it stayed when the run was rolled back: {reason}\n")), "{text}");
    }
    // Once the run has gone on, that is past.
    bench.write("mended", "");
    bench.run(&["resume", "-q"]).expect(0);
    assert!(!why("b").contains("taken back") && !why("p").contains("stayed"), "{}", why("b"));
}

#[test]
fn who_asked_for_it_is_told() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps:\n  a: { run: ':', undo: ':' }\n  b: { needs: a, run: ':', undo: ':' }\n");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    bench.run(&["rollback", "@last", "--to", "a", "-q"]).expect(0);
    let why = |step: &str| bench.run(&["why", "@last", step]).expect(0).stdout;
    assert!(why("b").contains("because tester rolled the run back\n"), "{}", why("b"));
    assert!(why("a").contains("it stayed when the run was rolled back: kept by --to\n"), "{}", why("a"));
    let json = bench.run(&["why", "@last", "b", "--format", "json"]).expect(0).json();
    assert_eq!((&json["status"], &json["because"][0]["code"]), (&"undone".into(), &"undone".into()));
}
