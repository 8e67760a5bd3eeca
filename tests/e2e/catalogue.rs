//! The catalogue of kinds, the schema, completions.

use crate::bench::Bench;

#[test]
fn kinds_are_listed_and_documented() {
    let bench = Bench::new();
    let list = bench.run(&["steps"]).expect(0).stdout;
    let kinds: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for kind in ["deploy/process", "deploy/ssh", "deploy/route", "dns/record", "postgres/migrate", "tls/certificate", "secret/rotate"] {
        assert!(kinds.contains(&kind), "{kind} in:\n{list}");
    }
    for kind in &kinds {
        let page = bench.run(&["steps", kind]).expect(0).stdout;
        for part in [&format!("# {kind}")[..], "## Inputs (`with`)", "## Outputs", "## Example", "```yaml"] {
            assert!(page.contains(part), "{part} in:\n{page}");
        }
    }
    let document = bench.run(&["steps", "--format", "json"]).expect(0).json();
    assert_eq!(document["version"], 1);
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), list.lines().count());
    assert!(steps.iter().all(|s| s["kind"].is_string() && s["summary"].is_string() && s["input"].is_object()), "{document:#}");
    let unknown = bench.run(&["steps", "file/wirte"]).expect(2);
    assert!(unknown.stderr.contains("there is no step kind `file/wirte`") && unknown.stderr.contains("file/write"), "{}", unknown.stderr);
}

#[test]
fn the_example_of_each_kind_passes_the_check() {
    let bench = Bench::new();
    let document = bench.run(&["steps", "--format", "json"]).expect(0).json();
    for step in document["steps"].as_array().unwrap() {
        bench.write("example.yaml", step["example"].as_str().unwrap());
        let outcome = bench.run(&["check", "example.yaml"]);
        assert_eq!(outcome.code, 0, "{}: {}", step["kind"], outcome.stderr);
    }
}

#[test]
fn the_schema_is_one() {
    let schema = Bench::new().run(&["schema"]).expect(0).json();
    assert!(schema["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")), "{schema:#}");
    assert!(schema["properties"]["steps"].is_object());
}

#[test]
fn completions_name_the_commands() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = bench.run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("resume") && script.contains("cookbook"), "{shell}");
    }
}

#[test]
fn a_kind_that_asks_nobody_needs_no_http_client() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { uses: file/write, with: { path: out, content: x } } }\n");
    let run = bench.command(&["run", "t.yaml"]).env("all_proxy", "http://[").output().unwrap();
    assert!(run.status.success() && bench.path("out").exists(), "{}", String::from_utf8_lossy(&run.stderr));
    bench.write("t.yaml", "tree: t\nsteps: { a: { uses: http/request, with: { url: 'http://127.0.0.1:1/' } } }\n");
    let run = bench.command(&["run", "t.yaml"]).env("all_proxy", "http://[").output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.code() == Some(1) && said.contains("the address of a proxy"), "{said}");
}
