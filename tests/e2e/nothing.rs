//! Every command in an empty folder, and with words it does not know.

use crate::bench::Bench;

#[track_caller]
fn check(arguments: &[&str], code: i32, stderr: &str) {
    let bench = Bench::new();
    let outcome = bench.run(arguments).expect(code);
    assert!(outcome.stderr.contains(stderr), "{arguments:?}: {}", outcome.stderr);
    assert!(outcome.stdout.is_empty(), "{arguments:?}: {}", outcome.stdout);
    assert_eq!(bench.files(), Vec::<String>::new());
    assert!(!bench.path(".trees").exists(), "{arguments:?} made a state folder");
}

#[test]
fn commands_about_runs_say_that_there_are_none() {
    let none = "there are no runs here yet";
    for command in [
        &["show"][..],
        &["logs"],
        &["events"],
        &["why", "@last", "a"],
        &["cancel", "@last"],
        &["approve", "@last", "a"],
        &["reject", "@last", "a", "--note", "no"],
        &["resolve", "@last", "a", "--done"],
        &["resume"],
        &["resume", "abc"],
    ] {
        check(command, 2, none);
    }
}

#[test]
fn listings_are_empty() {
    check(&["list"], 0, "no runs here yet");
    let bench = Bench::new();
    assert_eq!(bench.run(&["list", "--format", "json"]).expect(0).json()["runs"], serde_json::json!([]));
    assert_eq!(bench.show(&["gc"]), "exit 0\n--- stdout\nremoved 0 runs, 0 artifacts, 0 bytes\n");
    let doctor = bench.run(&["doctor"]).expect(0);
    assert!(doctor.stdout.contains("SQLite 3.") && doctor.stdout.contains("there is no state at"), "{}", doctor.stdout);
    assert!(!bench.path(".trees").exists());
}

#[test]
fn a_list_without_a_match_says_that_there_are_others() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { run: ':' } }\n");
    bench.run(&["run", "t.yaml"]).expect(0);
    for filter in [&["list", "--tree", "nope"], &["list", "--status", "failed"]] {
        let listed = bench.run(filter).expect(0);
        assert!(listed.stdout.is_empty() && listed.stderr.contains("the one run here is no such run"), "{}", listed.stderr);
    }
    bench.run(&["run", "t.yaml"]).expect(0);
    let listed = bench.run(&["list", "--tree", "nope"]).expect(0);
    assert!(listed.stderr.contains("none of the 2 runs here is such a run; see them with: trees list"), "{}", listed.stderr);
}

#[test]
fn words_that_nobody_knows() {
    check(&["rnu", "x"], 2, "unrecognized subcommand 'rnu'");
    check(&["run"], 2, "<FILE>");
    check(&["run", "x.yaml", "--frobnicate"], 2, "--frobnicate");
    check(&["check", "--format", "xml", "x.yaml"], 2, "xml");
    check(&["list", "--format", "sarif"], 2, "this command does not print sarif; it knows human, plain, json");
    check(&["--grace", "soon", "list"], 2, "`soon` is no duration");
    check(&["resolve", "x", "y"], 2, "--done");
    check(&["list", "--status", "fine"], 2, "succeeded_with_warnings");
}

#[test]
fn which_project_is_asked_for() {
    check(&["secret", "list"], 2, "which project is meant?");
    check(&["secret", "list", "--project", "chat"], 0, "");
    check(&["secret", "remove", "KEY", "--project", "chat"], 2, "chat has no secret KEY");
}

#[test]
fn a_closed_standard_output_is_no_error() {
    let bench = Bench::new();
    for command in ["trees steps", "trees schema", "trees --help", "trees completions bash"] {
        let script = format!("{} | true; exit ${{PIPESTATUS[0]}}", command.replacen("trees", env!("CARGO_BIN_EXE_trees"), 1));
        let status = std::process::Command::new("bash").args(["-c", &script]).current_dir(bench.dir()).output().unwrap();
        assert_eq!(status.status.code(), Some(0), "{command}: {}", String::from_utf8_lossy(&status.stderr));
        assert!(status.stderr.is_empty(), "{command}: {}", String::from_utf8_lossy(&status.stderr));
    }
}
