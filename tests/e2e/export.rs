//! A run goes to a colleague: another folder, another state, without what was secret.

use crate::bench::{Bench, fifo};
use crate::live::Live;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::process::{Command, Stdio};

const TREE: &str = r#"tree: t
secrets: { TOKEN: { from: environment } }
steps:
  a:
    secrets: [TOKEN]
    run: 'echo "token $TOKEN"; printf %s "$TOKEN" | base64; mkdir -p out; echo built > out/app; chmod +x out/app'
    artifacts: { all: out }
  bad: { needs: a, run: "echo because >&2; exit 3" }
finally:
  end: { run: touch ended }
"#;

/// Runs the tree to its failure and exports it as `run.tgz`; the id.
fn exported(bench: &Bench) -> String {
    let output = bench.command(&["run", "t.yaml", "-q"]).env("TOKEN", "canary-4711").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let said = bench.run(&["export", "-o", "run.tgz"]).expect(0);
    assert_eq!(said.stdout, "run.tgz\n");
    // A log that took its time has an index of the times beside it.
    assert!(said.stderr.starts_with("exported run ") && said.stderr.contains("(t #1), 2 logs, 1 artifact, "), "{}", said.stderr);
    bench.run(&["show", "--format", "json"]).expect(0).json()["run"].as_str().unwrap().to_owned()
}

fn entries(bench: &Bench) -> usize {
    bench.run(&["audit", "--format", "json"]).expect(0).json()["entries"].as_array().unwrap().len()
}

#[test]
fn a_colleague_sees_the_run_and_no_secret() {
    let bench = Bench::with("t.yaml", TREE);
    let run = exported(&bench);
    let unpacked = Command::new("tar").args(["-xzO", "-f"]).arg(bench.path("run.tgz")).output().unwrap();
    let text = String::from_utf8_lossy(&unpacked.stdout);
    assert!(unpacked.status.success() && text.contains("token ***") && text.contains("because"), "{text}");
    assert!(!text.contains("canary") && !text.contains("Y2FuYXJ5"), "{text}");
    bench.run(&["export", &run, "-o", "again.tgz"]).expect(0);
    assert!(fs::read(bench.path("run.tgz")).unwrap() == fs::read(bench.path("again.tgz")).unwrap(), "the same run, the same bytes");
    let events = bench.run(&["events"]).expect(0).stdout;

    let other = Bench::new();
    fs::copy(bench.path("run.tgz"), other.path("run.tgz")).unwrap();
    drop(bench);
    let said = other.run(&["import", "run.tgz"]).expect(0);
    assert_eq!(said.stdout, format!("{run}\n"));
    assert!(said.stderr.contains(&format!("imported run {run} (t #1, failed) of ")), "{}", said.stderr);
    assert_eq!(other.run(&["events", &run]).expect(0).stdout, events);
    assert_eq!(other.run(&["logs", &run, "bad"]).expect(0).stdout, "because\n");
    assert!(other.run(&["logs", &run, "a"]).expect(0).stdout.starts_with("token ***\n"));
    let shown = other.run(&["show", &run]).expect(0).stdout;
    assert!(shown.contains("imported from run.tgz of ") && shown.contains("│ because"), "{shown}");
    assert!(other.run(&["list"]).expect(0).stdout.trim_end().ends_with("imported"));
    let listed = other.run(&["list", "--format", "json"]).expect(0).json();
    assert_eq!(listed["runs"][0]["imported"]["file"], "run.tgz");
    assert!(other.run(&["graph", &run]).expect(0).stdout.contains("bad [failed]"));
    other.run(&["show", &run, "-f"]).expect(1);
    assert_eq!(other.run(&["audit", "--format", "json"]).expect(0).json()["entries"][0]["change"], "run_imported");
    other.run(&["audit", "--verify"]).expect(0);
    other.run(&["doctor"]).expect(0);

    for words in [&["resume", &run][..], &["resume", &run[..6]], &["resolve", &run, "bad", "--retry"]] {
        let resumed = other.run(words).expect(2);
        assert!(resumed.stderr.contains("was imported from run.tgz") && resumed.stderr.contains("which is not here"), "{}", resumed.stderr);
    }
    let newest = other.run(&["resume"]).expect(2);
    assert!(newest.stderr.contains("there are no runs here yet"), "{}", newest.stderr);
    assert!(!other.path("ended").exists());
}

#[test]
fn an_import_that_changes_nothing_says_so() {
    let bench = Bench::with("t.yaml", TREE);
    let run = exported(&bench);
    let before = entries(&bench);
    let again = bench.run(&["import", "run.tgz"]).expect(0);
    assert!(again.stderr.contains(&format!("run {run} is here already; nothing to do")), "{}", again.stderr);
    let document = bench.run(&["import", "run.tgz", "--format", "json"]).expect(0).json();
    assert_eq!((&document["schema"], &document["new"]), (&"trees/imported".into(), &Value::Bool(false)));
    let bytes = fs::read(bench.path("run.tgz")).unwrap();
    bench.write("cut.tgz", &bytes[..bytes.len() / 2]);
    bench.write("text.tgz", "hello\n");
    bench.run(&["gc", "--keep", "0"]).expect(0);
    for (file, part) in [
        ("cut.tgz", "cut.tgz is damaged, nothing was imported"),
        ("text.tgz", "text.tgz is no exported run"),
        ("none.tgz", "cannot read none.tgz"),
        (".", ". is a folder"),
    ] {
        let refused = bench.run(&["import", file]).expect(2);
        assert!(refused.stderr.contains(part), "{file}: {}", refused.stderr);
    }
    assert_eq!(bench.run(&["list"]).expect(0).stdout, "");
    assert_eq!(entries(&bench), before + 1, "the clearing away alone");
    // Its folder is there: it goes on, by its name.
    bench.run(&["import", "run.tgz"]).expect(0);
    let output = bench.command(&["resume", &run]).env("TOKEN", "canary-4711").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bad started, attempt 2"));
}

#[test]
fn a_run_goes_through_a_pipe() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { run: echo hi } }\n");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    let other = Bench::new();
    let mut from = bench.command(&["export", "-o", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = other.command(&["import", "-"]).stdin(from.stdout.take().unwrap()).output().unwrap();
    assert!(from.wait().unwrap().success() && output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(other.run(&["show"]).expect(0).stdout.contains("imported from standard input of "));
    assert_eq!(other.run(&["logs"]).expect(0).stdout, "a │ hi\n");
    // The name by default is the run's.
    let file = bench.run(&["export"]).expect(0).stdout;
    let document = bench.run(&["export", "--format", "json"]).expect(0).json();
    assert_eq!((&document["schema"], &document["logs"]), (&"trees/exported".into(), &1.into()));
    assert_eq!(document["file"], file.trim_end());
    assert_eq!(bench.files().len(), 2, "{:?}", bench.files());
}

#[test]
fn a_living_run_is_not_exported() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { w: { run: \"while [ ! -e go ]; do sleep 0.05; done\" } }\n");
    let mut live = Live::start(&bench, &["run", "t.yaml", "--format", "json"]);
    live.until("step_started", "w");
    let held = bench.run(&["export"]).expect(6);
    assert!(held.stderr.contains("is held by process"), "{}", held.stderr);
    assert_eq!(bench.files(), ["t.yaml"]);
    bench.write("go", "");
    live.finish();
    bench.run(&["export"]).expect(0);
}

/// A pipe, a device and a link were replaced by a file.
#[test]
fn an_export_goes_where_a_redirection_would() {
    let bench = Bench::with("t.yaml", TREE);
    exported(&bench);
    let whole = fs::read(bench.path("run.tgz")).unwrap();
    fifo(&bench.path("pipe"));
    let reader = std::thread::spawn({
        let pipe = bench.path("pipe");
        move || fs::read(pipe).unwrap()
    });
    let said = bench.run(&["export", "-o", "pipe"]).expect(0).stderr;
    assert!(reader.join().unwrap() == whole && bench.path("pipe").symlink_metadata().unwrap().file_type().is_fifo());
    assert!(!said.contains(" 0 B"), "{said}");
    fs::create_dir(bench.path("there")).unwrap();
    std::os::unix::fs::symlink("there/linked.tgz", bench.path("link")).unwrap();
    for _ in 0..2 {
        bench.run(&["export", "-o", "link"]).expect(0);
        assert!(fs::read(bench.path("there/linked.tgz")).unwrap() == whole && bench.path("link").is_symlink());
    }
    bench.run(&["export", "-o", "/dev/null"]).expect(0);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let refused = bench.run(&["export", "-o", "there"]).expect(1).stderr;
    assert!(refused.contains("cannot write there: is a directory") && refused.contains("name a file in it"), "{refused}");
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket")).unwrap();
    assert!(bench.run(&["export", "-o", "socket"]).expect(1).stderr.contains("cannot write socket: "));
    assert!(bench.path("socket").symlink_metadata().unwrap().file_type().is_socket());
    assert_eq!(fs::read_dir(bench.path("there")).unwrap().count(), 1, "nothing lies beside it");
}
