//! `inputs`, `cache`, `artifacts`.

use super::{has, refused, run, run_in, tree};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const BUILD: &str = "
params: { p: one }
env: { E: '{{ params.p }}' }
steps:
  src: { run: 'echo v=$(cat v) >> $TREES_OUTPUT', outputs: { v: string } }
  build:
    inputs: { files: ['src/**', '!src/skip'] }
    cache: true
    run: echo built >> count; mkdir -p out/bin; cat src/a > out/bin/x; chmod 755 out/bin/x; echo \"n={{ steps.src.outputs.v }}\" >> $TREES_OUTPUT
    artifacts: { bin: out }
    outputs: { n: string }
  use: { run: 'cat {{ steps.build.artifacts.bin.path }}/bin/x; echo \"{{ steps.build.artifacts.bin.sha256 }}\"' }
";

#[test]
fn a_cached_step_comes_back_with_its_artifacts() {
    let bench = tree(BUILD);
    bench.write("src/a", "hello\n");
    bench.write("v", "1");
    let mut ran = run_in(bench, &[]).code(0);
    has(&ran.log("use"), "hello");
    fs::remove_dir_all(ran.bench.path("out")).unwrap();
    ran = ran.again(&[]).code(0);
    assert_eq!(ran.statuses(), "build=cached src=succeeded use=succeeded");
    assert_eq!(ran.reason("build"), "inputs");
    assert_eq!(ran.outputs("build")["n"], "1");
    assert_eq!(ran.bench.read("out/bin/x"), "hello\n");
    assert_eq!(fs::metadata(ran.bench.path("out/bin/x")).unwrap().permissions().mode() & 0o777, 0o755);

    let mut count = 1;
    let mut changed = |ran: super::Ran, what: &str, arguments: &[&str], runs: bool| {
        count += usize::from(runs);
        let ran = ran.again(arguments).code(0);
        assert_eq!(ran.bench.read("count").lines().count(), count, "{what}");
        ran
    };
    ran.bench.write("src/skip", "x");
    ran = changed(ran, "an excluded file", &[], false);
    ran.bench.write("src/b", "x");
    ran = changed(ran, "a new file", &[], true);
    ran.bench.write("src/a", "hullo\n");
    ran = changed(ran, "a changed file", &[], true);
    ran = changed(ran, "a variable of the environment", &["-p", "p=two"], true);
    ran = changed(ran, "back again", &[], false);
    ran.bench.write("v", "2");
    ran = changed(ran, "an output of a need", &[], true);
    let text = ran.bench.read("t.yaml").replace("chmod 755", "chmod 750");
    ran.bench.write("t.yaml", text);
    ran = changed(ran, "the script", &[], true);
    has(&ran.then(&["why", "@last", "build"]).outcome.stdout, "build");
}

#[test]
fn a_step_whose_stored_artifact_is_lost_runs_again() {
    let bench = tree(BUILD);
    bench.write("src/a", "hello\n");
    bench.write("v", "1");
    let ran = run_in(bench, &[]).code(0);
    fs::remove_dir_all(ran.bench.path("out")).unwrap();
    // Whatever the store keeps contents in, none of it is left.
    let mut folders = vec![ran.bench.path(".trees")];
    let mut lost = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).is_ok_and(|b| b == b"hello\n") {
                fs::remove_file(path).unwrap();
                lost += 1;
            }
        }
    }
    assert!(lost > 0);
    let ran = ran.again(&[]).code(0);
    assert_eq!(ran.statuses(), "build=succeeded src=succeeded use=succeeded");
    assert_eq!(ran.bench.read("out/bin/x"), "hello\n");
}

#[test]
fn inputs_must_match() {
    let ran = run("steps: { a: { inputs: { files: ['none/**'] }, run: 'true' } }").code(1);
    has(&ran.text("a"), "none/**");
    run("steps: { a: { inputs: { files: ['none/**'], optional: true }, run: 'true' } }").code(0);
}

#[test]
fn a_missing_artifact_fails_the_step() {
    let ran = run("steps: { a: { run: 'true', artifacts: { x: out/x } } }").code(1);
    has(&ran.text("a"), "out/x");
}

#[test]
fn what_may_not_be_cached_is_refused() {
    has(&refused("steps: { a: { cache: true, run: 'true' } }"), "inputs");
    has(&refused("steps: { a: { cache: true, effect: external, inputs: { files: ['*'] }, run: 'true' } }"), "external");
    has(&refused("steps: { a: { run: 'true', artifacts: { x: ../x } } }"), "../x");
    has(&refused("steps: { a: { run: 'true', artifacts: { x: /tmp/x } } }"), "/tmp/x");
}
