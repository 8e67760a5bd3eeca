//! `finally`: after success, failure and cancel, and what its own failure does.

use super::{run, run_in, tree};

#[test]
fn it_runs_after_everything_else() {
    let ran = run("
steps: { a: { run: 'echo a >> order' }, b: { needs: a, run: 'false' }, c: { needs: b, run: 'true' } }
finally:
  f: { run: 'echo f >> order' }
  bad: { if: failed(), run: 'echo bad >> order', needs: f }
  good: { if: not failed(), run: 'echo good >> order' }
  status: { run: 'echo \"{{ steps.b.status }} {{ steps.c.status }}\"' }
")
    .code(1);
    assert_eq!(ran.bench.read("order"), "a\nf\nbad\n");
    let steps = ran.steps();
    let status = |suffix: &str| steps.iter().find(|(p, _)| p.ends_with(suffix)).unwrap().1["status"].clone();
    assert_eq!(status("good"), "skipped");
    let path = steps.keys().find(|p| p.ends_with("status")).unwrap();
    assert_eq!(ran.log(path).trim(), "failed blocked");
}

#[test]
fn it_is_told_what_failed_and_why() {
    let text = |given: &str| {
        format!(
            "{given}\nfinally:\n  bad: {{ run: 'false' }}\n  z: {{ run: 'echo {{{{ failure.step }}}}: {{{{ failure.error }}}} > told' }}"
        )
    };
    let told = |given: &str| run_in(tree(&text(given)), &[]).bench.read("told");
    assert_eq!(told("steps: { a: { run: 'true' } }"), ": \n", "the failure of a step of `finally` is none of the run");
    let failing = "steps: { a: { run: 'true' }, b: { needs: a, run: 'echo no >&2; exit 4' } }";
    for on_failure in ["continue", "rollback"] {
        let told = told(&format!("on_failure: {on_failure}\n{failing}"));
        assert!(told.starts_with("b: ") && told.contains("exited with 4"), "{told}");
    }
    // In a sub-tree it is the sub-tree's own.
    let sub = format!("tree: sub\n{}", text("steps: { c: { run: 'exit 5' } }").replace("> told", "> told.sub"));
    let bench = tree(&text("on_failure: stop\nsteps: { a: { run: 'false', allow_failure: true }, b: { needs: a, tree: ./sub.yaml } }"));
    bench.write("sub.yaml", sub);
    let ran = run_in(bench, &[]).code(1);
    for file in ["told", "told.sub"] {
        let told = ran.bench.read(file);
        assert!(told.starts_with("b/c: ") && told.contains("exited with 5"), "{file}: {told}");
    }
}

#[test]
fn its_failure_fails_a_run_that_was_succeeding() {
    let ran = run("steps: { a: { run: 'true' } }\nfinally: { f: { run: 'false' } }").code(1);
    assert_eq!(ran.show()["status"], "failed");
    // A resume sets it back and asks again.
    let ran = ran.resume(&[]).code(1);
    assert_eq!(ran.show()["status"], "failed");
}

#[test]
fn it_runs_once_more_when_a_resumed_run_ends() {
    let ran = run("
steps: { a: { run: 'echo a >> order' }, b: { needs: a, run: 'test -e ok' } }
finally: { f: { run: 'echo f >> order' } }
")
    .code(1);
    ran.bench.write("ok", "");
    let ran = ran.resume(&[]).code(0);
    assert_eq!(ran.bench.read("order"), "a\nf\nf\n");
    let ran = ran.resume(&[]).code(0);
    assert_eq!(ran.bench.read("order"), "a\nf\nf\n");
}

#[test]
fn it_runs_after_a_cancel_and_not_at_a_rest() {
    let ran = run_in(
        tree(
            "
steps: { a: { approve: go? }, b: { needs: a, run: 'touch b' } }
finally: { f: { if: cancelled(), run: 'touch f' } }
",
        ),
        &[],
    )
    .code(3);
    assert!(!ran.bench.path("f").exists());
    let ran = ran.then(&["cancel", "@last"]);
    assert!(ran.bench.path("f").exists(), "{}", ran.outcome.stderr);
    assert_eq!(ran.show()["status"], "cancelled");
    assert!(!ran.bench.path("b").exists());
}
