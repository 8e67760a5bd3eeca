//! The cookbooks of the binary, each run in an empty folder of its own.

use crate::bench::Bench;
use crate::git;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

/// What a run said.
struct Said {
    code: i32,
    events: Vec<Value>,
    stderr: String,
}

/// Runs or resumes, with the events as JSON.
fn trees(bench: &Bench, arguments: &[&str]) -> Said {
    let outcome = bench.run(&[arguments, &["--format", "json"]].concat());
    let events = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    Said { code: outcome.code, events, stderr: outcome.stderr }
}

/// Git in the folder, with the home of the place.
fn git(bench: &Bench, arguments: &[&str]) -> String {
    git::git(&bench.dir(), &bench.home(), arguments)
}

impl Said {
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        let failed: Vec<&Value> = self.events.iter().filter(|e| !e["error"].is_null()).collect();
        assert_eq!(self.code, code, "{failed:#?}\n{}", self.stderr);
        self
    }

    /// The last type of event of each step, without `step_`.
    fn steps(&self) -> BTreeMap<String, String> {
        let kind = |e: &Value| e["type"].as_str().unwrap().trim_start_matches("step_").to_owned();
        self.events.iter().filter_map(|e| Some((e["step"].as_str()?.to_owned(), kind(e)))).collect()
    }

    /// The steps whose last event is of that type.
    fn those(&self, kind: &str) -> Vec<String> {
        self.steps().into_iter().filter(|(_, last)| last == kind).map(|(step, _)| step).collect()
    }

    /// The steps of which an attempt was started.
    fn started(&self) -> Vec<String> {
        let started = self.events.iter().filter(|e| e["type"] == "step_started");
        let mut steps: Vec<String> = started.map(|e| e["step"].as_str().unwrap().to_owned()).collect();
        steps.sort();
        steps.dedup();
        steps
    }

    fn outputs(&self) -> &Value {
        &self.events.iter().rfind(|e| e["type"] == "run_finished").expect("the run has ended")["outputs"]
    }
}

/// Two ports that nobody had a moment ago.
fn ports() -> (u16, u16) {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (a, b) = (listen(), listen());
    (a.local_addr().unwrap().port(), b.local_addr().unwrap().port())
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// Ends what was deployed when the test is over: the supervisors, which are named by their file,
/// then what they started.
struct Deployed<'a>(&'a Bench);

impl Drop for Deployed<'_> {
    fn drop(&mut self) {
        let root = self.0.dir().canonicalize().unwrap();
        for what in ["__supervise", "--port="] {
            for pid in processes(&[root.to_str().unwrap(), what]) {
                drop(Command::new("kill").args(["-KILL", &pid]).status());
            }
        }
    }
}

/// The ids of the processes whose command line has all of this in it.
fn processes(parts: &[&str]) -> Vec<String> {
    let listed = Command::new("ps").args(["-A", "-ww", "-o", "pid=,args="]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let ours = listed.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    ours.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn slackpath_is_built_and_published_and_a_second_run_changes_nothing() {
    let bench = Bench::new();
    let _deployed = Deployed(&bench);
    let (staging, production) = ports();
    let (staging_port, production_port) = (format!("port={staging}"), format!("production_port={production}"));
    let args = ["run", "slackpath.yaml", "--approve", "*", "-p", &staging_port, "-p", &production_port];
    let first = trees(&bench, &args).ends(0);
    let version = first.outputs()["version"].as_str().unwrap().to_owned();
    assert_eq!(git(&bench, &["-C", "slackpath-app", "rev-parse", "HEAD"]), version);
    for port in [staging, production] {
        assert_eq!(get(port, "/version").trim(), version);
        assert!(get(port, "/").contains("is up"), "the posted message is on the page");
    }
    let second = trees(&bench, &args).ends(0);
    assert_eq!(second.outputs(), first.outputs());
    let cached = second.those("cached");
    for step in ["render", "commit", "test", "build", "staging/deploy", "production/deploy"] {
        assert!(cached.iter().any(|c| c == step), "{step} is not cached: {:?}", second.steps());
    }
    let messages: Value = serde_json::from_str(&get(production, "/channels/general/messages")).unwrap();
    assert_eq!(messages.as_array().unwrap().len(), 1, "posting twice is posting once");
    let plan = bench.run(&["plan", "slackpath.yaml", "-p", &staging_port, "-p", &production_port]);
    assert!(plan.code == 0 && plan.stdout.contains("nothing to do"), "{}\n{}", plan.stdout, plan.stderr);
    bench.run(&["drift", "slackpath.yaml"]).expect(0);
    for pid in [
        processes(&[bench.dir().canonicalize().unwrap().to_str().unwrap(), "__supervise", "staging"]),
        processes(&[&format!("--port={staging} ")]),
    ]
    .concat()
    {
        drop(Command::new("kill").args(["-KILL", &pid]).status());
    }
    let drift = bench.run(&["drift", "slackpath.yaml"]).expect(10);
    assert!(drift.stdout.contains("~ staging/deploy") && !drift.stdout.contains("~ production"), "{}", drift.stdout);
    let healed = trees(&bench, &args).ends(0);
    assert!(healed.those("succeeded").contains(&"staging/deploy".to_owned()), "{:?}", healed.steps());
    bench.run(&["drift", "slackpath.yaml"]).expect(0);
}

#[test]
fn slackpath_goes_on_where_it_broke() {
    let bench = Bench::new();
    let _deployed = Deployed(&bench);
    let (staging, production) = ports();
    let (staging, production) = (format!("port={staging}"), format!("production_port={production}"));
    for (broken, step) in [("test", "test"), ("build", "build"), ("deploy", "staging/preflight"), ("verify", "production/deploy")] {
        let (name, fuse) = (format!("name=with-{broken}"), format!("break={broken}"));
        let args = ["run", "slackpath.yaml", "--approve", "*", "-p", &staging, "-p", &production, "-p", &name, "-p", &fuse];
        let first = trees(&bench, &args).ends(1);
        assert!(first.those("failed").iter().any(|s| s == step), "{broken}: {:?}", first.steps());
        let done = [first.those("succeeded"), first.those("cached")].concat();
        let second = trees(&bench, &["resume", "--approve", "*"]).ends(0);
        let again: Vec<String> = second.started().into_iter().filter(|s| done.contains(s)).collect();
        assert_eq!(again, Vec::<String>::new(), "{broken}: done and run again");
        assert!(second.those("succeeded").iter().any(|s| s == step), "{broken}: {:?}", second.steps());
        assert!(second.outputs()["production"].is_string());
    }
}

#[test]
fn rust_ci_tests_a_matrix_and_keeps_what_did_not_change() {
    let bench = Bench::new();
    bench.write("app/Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n");
    // Cargo would write it in the first step that builds, and it is an input of all of them.
    bench.write("app/Cargo.lock", "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n");
    let main = "fn main() {\n    println!(\"hello\");\n}\n\n#[test]\nfn adds() {\n    assert_eq!(1 + 1, 2);\n}\n";
    bench.write("app/src/main.rs", main);
    let args = ["run", "rust-ci.yaml", "-p", "dir=app", "-p", "offline=true", "-p", "profiles=[\"dev\"]"];
    let first = trees(&bench, &args).ends(0);
    let tests: Vec<String> = first.those("succeeded").into_iter().filter(|s| s.starts_with("test[")).collect();
    assert_eq!(tests, ["test[dev,all]", "test[dev,default]"]);
    let program = bench.path(first.outputs()["programs"].as_str().unwrap()).join("app");
    assert_eq!(Command::new(program).output().unwrap().stdout, b"hello\n");
    let second = trees(&bench, &args).ends(0);
    let cached = second.those("cached");
    for step in ["test[dev,all]", "test[dev,default]", "build"] {
        assert!(cached.iter().any(|c| c == step), "{step}: {:?}", second.steps());
    }
    bench.write("app/src/main.rs", main.replace("2)", "3)"));
    let third = trees(&bench, &args).ends(1);
    assert!(third.those("failed").iter().any(|s| s == "test[dev,all]"), "{:?}", third.steps());
    assert_eq!(third.steps()["build"], "blocked");
}

#[test]
fn fan_out_retries_each_item_and_reads_again_only_what_changed() {
    let bench = Bench::new();
    let first = trees(&bench, &["run", "fan-out.yaml", "-p", "flaky=true"]).ends(0);
    assert_eq!(first.outputs()["files"], 3);
    let retried = first.events.iter().filter(|e| e["type"] == "attempt_failed").count();
    assert_eq!(retried, 3);
    let report: Value = serde_json::from_str(&bench.read("fan-out-report.json")).unwrap();
    assert_eq!(&report, &first.outputs()["results"]);
    assert_eq!(report[0]["bytes"], 17);

    trees(&bench, &["run", "fan-out.yaml"]).ends(0);
    bench.write("fan-out-data/birch.txt", "another");
    let third = trees(&bench, &["run", "fan-out.yaml"]).ends(0);
    let items = |kind: &str| third.those(kind).iter().filter(|s| s.starts_with("checksum[")).count();
    assert_eq!((items("cached"), items("succeeded")), (2, 1), "{:?}", third.steps());
    assert_eq!(third.outputs()["results"][1]["bytes"], 7);
}

#[test]
fn release_waits_for_a_person_and_publishes_once() {
    let bench = Bench::new();
    git(&bench, &["init", "--quiet"]);
    bench.write("CHANGELOG.md", "# Changes\n\n## 0.2.0\n\n- `it` $(works)\n\n## 0.1.0\n\n- begun\n");
    git(&bench, &["add", "CHANGELOG.md"]);
    git(&bench, &["commit", "--quiet", "--message", "first"]);
    git(&bench, &["tag", "v0.1.0"]);

    let old = trees(&bench, &["run", "release.yaml", "-p", "version=0.0.9"]).ends(1);
    assert!(old.those("failed").iter().any(|s| s == "ready/bump"), "{:?}", old.steps());

    let args = ["run", "release.yaml", "-p", "version=0.2.0", "-p", "name=app"];
    trees(&bench, &args).ends(3);
    assert_eq!(git(&bench, &["tag"]), "v0.1.0");
    let approved = bench.run(&["approve", "@last", "approval", "--note", "read it"]);
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    let done = trees(&bench, &["resume"]).ends(0);
    assert_eq!(git(&bench, &["tag"]), "v0.1.0\nv0.2.0");
    assert_eq!(git(&bench, &["tag", "--list", "--format=%(contents:body)%(contents:subject)", "v0.2.0"]), "- `it` $(works)");
    let folder = bench.path(done.outputs()["folder"].as_str().unwrap());
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(sums, format!("{}  app-0.2.0.tar.gz\n", done.outputs()["sha256"].as_str().unwrap()));
    assert!(folder.join("app-0.2.0.tar.gz").is_file());

    let again = trees(&bench, &[&args[..], &["--approve", "*"]].concat()).ends(0);
    assert_eq!((again.steps()["tag"].as_str(), again.steps()["publish"].as_str()), ("cached", "cached"));
}
