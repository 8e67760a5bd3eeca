//! `trees check`: each mistake gives one clear message with its place and exit 2.

use crate::bench::{Bench, fifo};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;

/// One mistake: exactly one error, with this message at this place.
#[track_caller]
fn check(text: &str, place: &str, message: &str) {
    let bench = Bench::with("tree.yaml", text);
    let outcome = bench.run(&["check", "tree.yaml"]).expect(2);
    let errors: Vec<&str> = outcome.stderr.lines().filter(|l| l.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "{}", outcome.stderr);
    assert!(errors[0].contains(message), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&format!("--> tree.yaml:{place}")), "no {place}:\n{}", outcome.stderr);
    assert!(outcome.stderr.contains('^'), "no caret:\n{}", outcome.stderr);
    assert!(outcome.stdout.is_empty(), "{}", outcome.stdout);
    run_says_the_same(&bench, &outcome.stderr);
}

/// `trees run` stops at the same message and leaves nothing behind.
#[track_caller]
fn run_says_the_same(bench: &Bench, message: &str) {
    let run = bench.run(&["run", "tree.yaml"]).expect(2);
    assert_eq!(run.stderr, message);
    assert!(!bench.path(".trees").exists());
}

#[test]
fn a_duplicate_step_id() {
    check("tree: t\nsteps:\n  a: { run: \":\" }\n  b: { run: \":\" }\n  a: { run: \":\" }\n", "5:3", "a");
}

#[test]
fn an_unknown_key_with_a_near_miss() {
    check("tree: t\nsteps:\n  a: { run: \":\" }\n  b:\n    need: a\n    run: \":\"\n", "5:5", "need");
    let help = Bench::with("tree.yaml", "tree: t\nsteps:\n  b: { run: \":\", neds: [] }\n").run(&["check", "tree.yaml"]);
    assert!(help.stderr.contains("needs"), "{}", help.stderr);
}

#[test]
fn an_unknown_kind() {
    check("tree: t\nsteps:\n  a: { uses: file/wirte, with: {} }\n", "3:14", "file/wirte");
}

#[test]
fn what_a_kind_itself_finds_wrong_in_what_is_known() {
    let hook = |with: &str| format!("tree: t\nparams: {{ at: x }}\nsteps:\n  a:\n    uses: notify/webhook\n    with:\n{with}");
    check(&hook("      url: https://x.test\n      text: a\n      hub_secret: ''\n"), "9:19", "hub_secret: it is empty");
    check(&hook("      url: https://x.test\n"), "7:7", "there is no message");
    check("tree: t\nsteps:\n  a: { uses: deploy/process, with: { name: a, release: v/1, command: [x] } }\n", "3:56", "release: `v/1`");
    // What is computed is judged when it is.
    Bench::with("tree.yaml", hook("      url: 'https://{{ params.at }}'\n      hub_secret: ''\n")).run(&["check", "tree.yaml"]).expect(0);
}

#[test]
fn a_cycle_of_three() {
    let text = "tree: t\nsteps:\n  a: { needs: c, run: \":\" }\n  b: { needs: a, run: \":\" }\n  c: { needs: b, run: \":\" }\n";
    let bench = Bench::with("tree.yaml", text);
    let outcome = bench.run(&["check", "tree.yaml"]).expect(2);
    assert_eq!(outcome.stderr.lines().filter(|l| l.starts_with("error")).count(), 1, "{}", outcome.stderr);
    for id in ["a", "b", "c"] {
        assert!(outcome.stderr.contains(id), "{}", outcome.stderr);
    }
    assert!(outcome.stderr.contains("--> tree.yaml:"), "{}", outcome.stderr);
}

#[test]
fn a_need_of_a_missing_step() {
    check("tree: t\nsteps:\n  build: { run: \":\" }\n  b: { needs: biuld, run: \":\" }\n", "4:15", "biuld");
}

#[test]
fn an_undefined_variable_in_a_template() {
    check("tree: t\nparams: { app: x }\nsteps:\n  a:\n    run: echo {{ params.ap }}\n", "5:18", "ap");
}

#[test]
fn a_wrong_parameter_type_in_the_tree() {
    check("tree: t\nparams:\n  n: { type: integer, default: two }\nsteps:\n  a: { run: \":\" }\n", "3:32", "integer");
}

#[test]
fn a_bad_duration() {
    check("tree: t\nsteps:\n  a: { run: \":\", timeout: 10 minutes }\n", "3:27", "10 minutes");
}

#[test]
fn a_tab() {
    check("tree: t\nsteps:\n\ta: { run: \":\" }\n", "3:", "tab");
}

#[test]
fn an_alias_bomb() {
    let mut text = String::from("tree: t\nx-a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for (n, next) in ('a'..'i').zip('b'..='i') {
        writeln!(text, "x-{next}: &{next} [*{n}, *{n}, *{n}, *{n}, *{n}, *{n}, *{n}, *{n}, *{n}]").unwrap();
    }
    let bench = Bench::with("tree.yaml", text + "steps:\n  a: { run: \":\" }\n");
    let outcome = bench.run(&["check", "tree.yaml"]).expect(2);
    assert!(outcome.stderr.contains("--> tree.yaml:"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("alias") || outcome.stderr.contains("expan"), "{}", outcome.stderr);
}

#[test]
fn brackets_without_end() {
    let text = format!("tree: t\nsteps: {}\n", "[".repeat(200_000));
    let outcome = Bench::with("tree.yaml", text).run(&["check", "tree.yaml"]).expect(2);
    assert!(outcome.stderr.contains("--> tree.yaml:2:"), "{}", &outcome.stderr[..outcome.stderr.len().min(2000)]);
    assert!(outcome.stderr.len() < 4000, "{} bytes", outcome.stderr.len());
}

#[test]
fn an_empty_file() {
    let outcome = Bench::with("tree.yaml", "").run(&["check", "tree.yaml"]).expect(2);
    assert!(outcome.stderr.contains("empty"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("tree.yaml"), "{}", outcome.stderr);
}

#[test]
fn a_tree_that_includes_itself() {
    let bench = Bench::with("tree.yaml", "tree: t\nsteps:\n  a: { tree: ./sub/b.yaml }\n");
    bench.write("sub/b.yaml", "tree: b\nsteps:\n  c: { tree: ../tree.yaml }\n");
    let outcome = bench.run(&["check", "tree.yaml"]).expect(2);
    assert_eq!(outcome.stderr.lines().filter(|l| l.starts_with("error")).count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("sub/b.yaml"), "{}", outcome.stderr);
}

#[test]
fn params_that_are_wrong_or_missing() {
    let bench = Bench::with("tree.yaml", "tree: t\nparams:\n  n: { type: integer }\nsteps:\n  a: { run: \":\" }\n");
    let message = |arguments: &[&str]| bench.run(arguments).expect(2).stderr;
    let missing = message(&["run", "tree.yaml"]);
    assert!(missing.contains('n') && missing.contains("tree.yaml:3:"), "{missing}");
    let wrong = message(&["run", "tree.yaml", "-p", "n=many"]);
    assert!(wrong.contains("many") && wrong.contains("integer"), "{wrong}");
    let unknown = message(&["run", "tree.yaml", "-p", "n=1", "-p", "m=2"]);
    assert!(unknown.contains('m'), "{unknown}");
    assert!(message(&["run", "tree.yaml", "-p", "n"]).contains("write -p name=value"));
    assert!(message(&["run", "tree.yaml", "-e", "production"]).contains("has no environments"));
    assert!(!bench.path(".trees").exists());
}

#[test]
fn what_is_no_file() {
    let bench = Bench::new();
    fs::create_dir(bench.path("folder")).unwrap();
    fifo(&bench.path("pipe"));
    bench.write("latin.yaml", b"tree: caf\xe9\n");
    let check = |file: &str, message: &str| {
        for command in ["check", "run", "graph"] {
            let outcome = bench.run(&[command, file]).expect(2);
            assert!(outcome.stderr.contains(message), "{command} {file}: {}", outcome.stderr);
        }
    };
    check("./folder", "`./folder` is a folder; name the tree file in it");
    check("./none.yaml", "there is no file `./none.yaml`");
    check("none.yaml", "there is no file `none.yaml`");
    check("./pipe", "`./pipe` is no regular file");
    check("latin.yaml", "`latin.yaml` is not UTF-8 (line 1, byte 9)");
}

const TWO: &str = "tree: t\nsteps:\n  a: { need: b, run: \":\" }\n  b: { run: \":\", timeout: soon }\n";

#[test]
fn all_mistakes_of_all_files_at_once_as_json() {
    let bench = Bench::with("one.yaml", TWO);
    bench.write("sub/two.yaml", "tree: u\n");
    let outcome = bench.run(&["check", "one.yaml", "sub/two.yaml", "none.yaml", "--format", "json"]).expect(2);
    let document = outcome.json();
    assert_eq!(document["version"], 1);
    assert!(document["schema"].is_string());
    let all = document["diagnostics"].as_array().unwrap();
    let files: Vec<&str> = all.iter().map(|d| d["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["one.yaml", "one.yaml", "sub/two.yaml", "none.yaml"], "{document:#}");
    assert_eq!((all[0]["line"].as_u64(), all[0]["column"].as_u64()), (Some(3), Some(8)));
    assert!(all[0]["help"].as_str().is_some_and(|h| h.contains("needs")), "{}", all[0]);
    for diagnostic in all {
        let keys: Vec<&String> = diagnostic.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "column", "file", "help", "line", "message", "severity"]);
        assert_eq!(diagnostic["severity"], "error");
    }
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
}

#[test]
fn sarif() {
    let document = Bench::with("one.yaml", TWO).run(&["check", "one.yaml", "--format", "sarif"]).expect(2).json();
    assert_eq!(document["version"], "2.1.0");
    let results = document["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "one.yaml");
    assert_eq!((place["region"]["startLine"].as_u64(), place["region"]["startColumn"].as_u64()), (Some(3), Some(8)));
    let rules = document["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(results.iter().all(|r| rules.iter().any(|rule| rule["id"] == r["ruleId"])));
}

#[test]
fn a_tree_that_is_fine() {
    let bench = Bench::with("tree.yaml", "tree: t\nsteps:\n  a: { run: \":\" }\n");
    assert_eq!(bench.show(&["check", "tree.yaml"]), "exit 0\n--- stdout\ntree.yaml: t is fine, 1 step\n");
    assert_eq!(bench.run(&["check", "tree.yaml", "--format", "json"]).expect(0).json()["diagnostics"], Value::Array(Vec::new()));
    assert_eq!(bench.show(&["check", "-q", "tree.yaml"]), "exit 0\n");
}
