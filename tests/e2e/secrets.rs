//! The versions of a secret: a new value in the place of one that is there, and the old ones retired.

use crate::bench::{Bench, Outcome, fifo, hear};
use std::process::Stdio;

const TREE: &str =
    "tree: t\nsecrets: { TOKEN: {} }\nsteps:\n  a: { secrets: [TOKEN], run: 'printf %s \"$TOKEN\" | wc -c >> sizes; echo \"$TOKEN\"' }\n";

#[test]
fn a_secret_is_rotated_and_its_old_versions_retired() {
    let bench = Bench::with("tree.yaml", TREE);
    let said = |arguments: &[&str], input: &str, code: i32| bench.run_with_input(arguments, input).expect(code).stderr;
    let missing = said(&["secret", "rotate", "TOKEN"], "", 2);
    assert!(missing.contains("t has no secret TOKEN"), "{missing}");
    said(&["secret", "set", "TOKEN"], "canary-first-value\n", 0);
    let missing = said(&["secret", "rotate", "TOKEN", "-e", "production"], "", 2);
    assert!(missing.contains("t/production has no secret TOKEN"), "{missing}");
    bench.run(&["run", "tree.yaml"]).expect(0);

    let rotated = said(&["secret", "rotate", "TOKEN"], "", 0);
    assert!(rotated.contains("rotated TOKEN of t, version 2; the ones before stay"), "{rotated}");
    bench.run(&["run", "tree.yaml"]).expect(0);
    said(&["secret", "rotate", "TOKEN", "--length", "40", "--charset", "hex"], "", 0);
    bench.run(&["run", "tree.yaml"]).expect(0);
    said(&["secret", "rotate", "TOKEN", "--ask"], "canary-4\n", 0);
    bench.run(&["run", "tree.yaml"]).expect(0);
    assert_eq!(bench.read("sizes"), "18\n18\n40\n8\n", "as long as the one before, as asked for, as given");
    assert!(!bench.run(&["logs", "@last"]).expect(0).stdout.contains("canary"));
    said(&["secret", "rotate", "TOKEN", "--ask"], "\n", 2);
    said(&["secret", "rotate", "TOKEN", "--length", "0"], "", 2);
    said(&["secret", "rotate", "TOKEN", "--ask", "--length", "9"], "", 2);

    let retired = said(&["secret", "remove", "TOKEN", "--old"], "", 0);
    assert!(retired.contains("retired TOKEN of t, version 1, 2, 3"), "{retired}");
    assert!(said(&["secret", "remove", "TOKEN", "--old"], "", 0).contains("has no older versions"));
    bench.run(&["run", "tree.yaml"]).expect(0);
    let audit = bench.run(&["audit"]).expect(0).stdout;
    assert!(audit.contains("rotated TOKEN") && audit.contains("retired the versions before TOKEN"), "{audit}");
    assert!(!audit.contains("canary"));
    said(&["secret", "remove", "TOKEN"], "", 0);
    bench.run(&["run", "tree.yaml"]).expect(2);
}

const ROTATION: &str = "\
tree: t
params: { well: true }
secrets: { TOKEN: { from: store } }
on_failure: rollback
steps:
  before: { secrets: [TOKEN], run: 'printf %s \"$TOKEN\" | sha256sum >> seen; echo \"$TOKEN\"' }
  fresh: { needs: before, uses: secret/rotate, with: { name: TOKEN, older_than: LIMIT } }
  after: { needs: fresh, secrets: [TOKEN], run: 'printf %s \"$TOKEN\" | sha256sum >> seen; echo \"$TOKEN\"; test {{ params.well }} = true' }
  old: { needs: after, uses: secret/retire, with: { name: TOKEN } }
";

/// The digests that steps saw of the value.
fn seen(bench: &Bench) -> Vec<String> {
    bench.read("seen").lines().map(str::to_owned).collect()
}

#[test]
fn a_step_rotates_a_secret_and_those_behind_it_get_the_new_value() {
    let bench = Bench::with("tree.yaml", ROTATION.replace("LIMIT", "0s"));
    let versions = || bench.run(&["secret", "list"]).expect(0).stdout;
    let missing = bench.run(&["run", "tree.yaml"]).expect(2).stderr;
    assert!(missing.contains("TOKEN"), "{missing}");
    bench.run_with_input(&["secret", "set", "TOKEN"], "canary-first-value\n").expect(0);
    bench.run(&["plan", "tree.yaml"]).expect(10);
    assert!(versions().contains("version 1 "), "a plan makes nothing");
    // It fails behind the rotation: the value before is in use again.
    bench.run(&["run", "tree.yaml", "-p", "well=false"]).expect(4);
    assert!(versions().contains("version 1 "), "{}", versions());
    let failed = seen(&bench);
    assert_ne!(failed[0], failed[1]);
    bench.run(&["run", "tree.yaml"]).expect(0);
    let all = seen(&bench);
    assert_eq!(all[2], failed[0]);
    assert!(all[3] != all[2] && all[3] != failed[1]);
    assert!(versions().contains("version 3 "), "{}", versions());
    assert!(bench.run_with_input(&["secret", "remove", "TOKEN", "--old"], "").expect(0).stderr.contains("no older"), "it was retired");
    // Neither value is in a log, though the new one was made while the run was under way.
    let logs = bench.run(&["logs", "@last"]).expect(0).stdout;
    assert!(!logs.contains("canary") && logs.contains("after │ ***"), "{logs}");
    let twice = bench.run(&["rollback", "@last"]).expect(5).stderr;
    assert!(twice.contains("the versions before it are retired"), "{twice}");
}

#[test]
fn a_value_that_is_young_enough_stays() {
    let bench = Bench::with("tree.yaml", ROTATION.replace("LIMIT", "90d"));
    bench.run_with_input(&["secret", "set", "TOKEN"], "canary-first-value\n").expect(0);
    bench.run(&["run", "tree.yaml"]).expect(0);
    let all = seen(&bench);
    assert_eq!(all[0], all[1]);
    bench.run(&["plan", "tree.yaml", "--format", "json"]);
    let steps = bench.run(&["show", "@last", "--format", "json"]).json();
    let status = |path: &str| steps["steps"].as_array().unwrap().iter().find(|s| s["path"] == path).unwrap()["status"].clone();
    assert_eq!((status("fresh"), status("old")), ("cached".into(), "cached".into()));
}

#[test]
fn what_a_rollback_needs_is_whole_though_a_secret_stands_in_it() {
    let tree = "tree: t\nparams: { port: '1', well: 'false' }\nsecrets: { TOKEN: {} }\non_failure: rollback\nsteps:\n  conf:\n    \
                uses: file/write\n    with: { path: app.conf, content: 'port={{ params.port }} {{ secrets.TOKEN }}' }\n  \
                end: { needs: conf, run: 'test {{ params.well }} = true' }\n";
    let bench = Bench::with("t.yaml", tree);
    let run = |token: &str, arguments: &[&str], code: i32| {
        let all = [&["run", "t.yaml"], arguments].concat();
        Outcome::of(&bench.command(&all).env("TOKEN", token).output().unwrap()).expect(code);
    };
    run("canary-name", &["-p", "well=true"], 0);
    run("canary-name", &["-p", "port=2"], 4);
    assert_eq!(bench.read("app.conf"), "port=1 canary-name");
    // A value of then, which nobody knows any more: no step of this run names it.
    bench.write("plain.yaml", tree.replace("secrets.TOKEN", "params.port").replace("secrets: { TOKEN: {} }\n", ""));
    bench.run(&["run", "plain.yaml", "-p", "port=3"]).expect(4);
    assert_eq!(bench.read("app.conf"), "port=1 canary-name");
    let state = bench.path(".trees").canonicalize().unwrap();
    let holding = bench.holding(&["canary-name"]).into_iter().filter(|path| path.canonicalize().unwrap().starts_with(&state));
    assert_eq!(holding.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
}

/// A rotation whose verification waits: the new version is made, and nothing says so yet.
const HELD: &str = "\
tree: t
environments: { staging: { default: true }, production: {} }
secrets: { TOKEN: { from: store } }
steps:
  fresh:
    uses: secret/rotate
    with: { name: TOKEN }
    verify: { run: 'test -e well || { echo up > up; sleep 300; }' }
";

#[test]
fn killed_between_the_new_version_and_its_record_there_is_one_new_version() {
    let bench = Bench::with("tree.yaml", HELD);
    let versions = || bench.run(&["secret", "list"]).expect(0).stdout;
    bench.run_with_input(&["secret", "set", "TOKEN"], "canary-first-value\n").expect(0);
    fifo(&bench.path("up"));
    let mut child = bench.command(&["run", "tree.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(hear(&bench.path("up")), "up");
    assert!(versions().contains("version 2 "), "{}", versions());
    child.kill().unwrap();
    child.wait().unwrap();
    bench.write("well", "");
    bench.run(&["resume"]).expect(0);
    assert!(versions().contains("version 2 "), "{}", versions());
    // Both attempts have recorded how to take it back: the second time nothing is left to do.
    bench.run(&["rollback", "@last"]).expect(0);
    assert!(versions().contains("version 1 "), "{}", versions());
    bench.run(&["rollback", "@last"]);
    assert!(versions().contains("version 1 "), "{}", versions());
}

#[test]
fn a_rollback_leaves_a_version_that_somebody_set_since() {
    let bench = Bench::with("tree.yaml", HELD);
    bench.write("well", "");
    let versions = || bench.run(&["secret", "list"]).expect(0).stdout;
    let set = |more: &[&str]| bench.run_with_input(&[&["secret", "set", "TOKEN"], more].concat(), "canary-by-hand\n").expect(0);
    set(&[]);
    bench.run(&["run", "tree.yaml"]).expect(0);
    set(&[]);
    let back = bench.run(&["rollback", "@last"]).expect(5).stderr;
    assert!(back.contains("the new version of TOKEN cannot be taken back: version 3 is in use"), "{back}");
    assert!(versions().contains("version 3 "), "{}", versions());
    // The project's was rotated for an environment, which got one of its own since: that stays.
    bench.run(&["run", "tree.yaml", "-e", "production"]).expect(0);
    set(&["-e", "production"]);
    assert!(versions().contains("version 4 ") && versions().contains("version 5 "), "{}", versions());
    bench.run(&["rollback", "@last"]).expect(0);
    assert!(versions().contains("version 3 ") && versions().contains("version 5 "), "{}", versions());
}

#[test]
fn a_rotation_that_is_due_or_impossible_is_drift() {
    let bench = Bench::with("tree.yaml", HELD.replace("name: TOKEN", "name: TOKEN, older_than: 90d"));
    bench.write("well", "");
    let set = || bench.run_with_input(&["secret", "set", "TOKEN"], "canary-first-value\n").expect(0);
    set();
    bench.run(&["run", "tree.yaml"]).expect(0);
    bench.run(&["drift", "@last"]).expect(0);
    bench.run(&["secret", "remove", "TOKEN"]).expect(0);
    let gone = bench.run(&["drift", "@last"]).expect(1).stdout;
    assert!(gone.contains("could not tell: the store has no secret TOKEN"), "{gone}");
    set();
    bench.run(&["drift", "@last"]).expect(0);
    bench.write("tree.yaml", HELD.replace("name: TOKEN", "name: TOKEN, older_than: 0s"));
    bench.run(&["run", "tree.yaml"]).expect(0);
    let due = bench.run(&["drift", "@last"]).expect(10).stdout;
    assert!(due.contains("version") && due.contains("a new one"), "{due}");
}
