//! `trees plan`, `trees run --plan` and `trees drift`: what would be done and what has changed, from
//! the real targets, with nothing changed by looking.

use crate::bench::{Bench, Outcome};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

const SERVICE: &str = "\
tree: service
params: { text: hello }
steps:
  note:
    uses: file/write
    with: { path: note.txt, content: \"{{ params.text }}\\n\" }
  serve:
    needs: note
    uses: deploy/process
    with: { name: idle, release: v1, command: [./serve], files: { serve: serve.sh } }
";

/// A deployed service; what it started ends with it.
struct Service(Bench);

impl Service {
    fn new() -> Self {
        let bench = Bench::with("service.yaml", SERVICE);
        bench.write("serve.sh", "#!/bin/sh\nexec sleep 100000\n");
        drop(Command::new("chmod").arg("+x").arg(bench.path("serve.sh")).status());
        Self(bench)
    }

    fn files(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.0.path(".trees/deploy")];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    todo.push(entry.path());
                } else if entry.file_name().to_str() == Some(name) {
                    found.push(entry.path());
                }
            }
        }
        found
    }

    /// Kills the supervisors first, then what they started, and sees them dead.
    fn kill(&self) {
        let all: Vec<Value> = self.files("status.json").iter().filter_map(|f| serde_json::from_slice(&fs::read(f).ok()?).ok()).collect();
        for part in ["supervisor", "child"] {
            for pid in all.iter().filter_map(|status| status[part]["pid"].as_u64()) {
                drop(Command::new("kill").args(["-KILL", &pid.to_string()]).output());
                let gone = || {
                    fs::read_to_string(format!("/proc/{pid}/stat"))
                        .map_or(true, |s| s.rsplit_once(") ").is_some_and(|(_, r)| r.starts_with(['Z', 'X'])))
                };
                while cfg!(target_os = "linux") && !gone() {
                    thread::yield_now();
                }
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The verdicts of a plan by path.
fn verdicts(outcome: &Outcome) -> Vec<(String, String)> {
    let document = outcome.json();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    document["steps"].as_array().unwrap().iter().map(|row| (text(row, "path"), text(row, "verdict"))).collect()
}

#[track_caller]
fn plans(bench: &Bench, arguments: &[&str], code: i32, expected: &[(&str, &str)]) -> Outcome {
    let outcome = bench.run(&[&["plan"], arguments, &["--format", "json"]].concat()).expect(code);
    let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(verdicts(&outcome), expected, "{}", outcome.stdout);
    outcome
}

#[test]
fn after_a_run_nothing_is_to_do_and_what_somebody_changes_is_named_and_healed() {
    let service = Service::new();
    let bench = &service.0;
    plans(bench, &["service.yaml"], 10, &[("note", "run"), ("serve", "run")]);
    assert!(!bench.path(".trees").exists() && !bench.path("note.txt").exists(), "a plan makes nothing");
    bench.run(&["run", "service.yaml"]).expect(0);
    plans(bench, &["service.yaml"], 0, &[("note", "done"), ("serve", "done")]);
    assert!(bench.run(&["drift"]).expect(0).stdout.contains("nothing has drifted"));

    service.kill();
    let text = bench.run(&["plan", "service.yaml"]).expect(10).stdout;
    assert!(text.contains("~ serve") && text.contains("process: dead -> running"), "{text}");
    let drift = bench.run(&["drift", "service.yaml", "--format", "json"]).expect(10).json();
    assert_eq!((&drift["schema"], &drift["drifted"]), (&"trees/drift".into(), &1.into()));
    assert_eq!((&drift["steps"][0]["path"], &drift["steps"][0]["changes"][0]["field"]), (&"serve".into(), &"process".into()));
    bench.run(&["run", "service.yaml"]).expect(0);
    bench.run(&["drift", "@last"]).expect(0);

    let release = service.files("serve").into_iter().find(|f| f.is_file()).unwrap();
    fs::remove_file(&release).unwrap();
    fs::write(&release, "#!/bin/sh\nexec sleep 99999\n").unwrap();
    let text = bench.run(&["drift"]).expect(10).stdout;
    assert!(text.contains("~ serve") && text.contains("files.serve: "), "{text}");
    let healed = bench.run(&["drift", "--heal"]).expect(0);
    assert!(healed.stderr.contains("healing: service runs again"), "{}", healed.stderr);
    bench.run(&["drift"]).expect(0);
    assert_eq!(fs::read_to_string(release).unwrap(), bench.read("serve.sh"));
    let events = bench.run(&["events", "@last"]).expect(0).stdout;
    assert!(events.lines().next().unwrap().contains("\"trigger\":\"heal\""), "{events}");
    assert!(bench.run(&["drift", "--heal"]).expect(0).stdout.contains("nothing has drifted"), "nothing to heal");
    assert_eq!(bench.run(&["list", "--format", "json"]).json()["runs"].as_array().unwrap().len(), 3);
}

const MIXED: &str = "\
tree: mixed
params: { cut: '' }
steps:
  always: { run: \"echo id=$(date +%s) >> \\\"$TREES_OUTPUT\\\"\", outputs: { id: string }, effect: none }
  cached: { run: cat in.txt > out.txt, inputs: [in.txt], cache: true, artifacts: { out: out.txt } }
  checked: { check: test -e marker, run: touch marker, effect: external }
  reads: { uses: file/write, with: { path: 'id-{{ steps.always.outputs.id }}', content: x } }
  maybe: { if: \"steps.always.outputs.id == 'x'\", run: 'true' }
  later: { needs: maybe, run: 'true' }
  each: { foreach: \"{{ [steps.always.outputs.id] }}\", run: 'true' }
  skipped: { if: params.cut == 'x', run: 'true' }
  ask: { needs: checked, approve: Go on? }
  probe: { needs: ask, uses: tcp/check, with: { host: 127.0.0.1, port: 9 } }
finally:
  tidy: { run: touch tidied }
";

#[test]
fn each_sort_of_step_has_its_verdict() {
    let bench = Bench::with("mixed.yaml", MIXED);
    bench.write("in.txt", "one");
    let unknown = [("reads", "unknown"), ("maybe", "unknown"), ("later", "unknown"), ("each", "unknown")];
    let end = [("skipped", "skip"), ("ask", "person"), ("probe", "ask"), ("tidy", "run")];
    let sorted = |outcome: &Outcome| {
        let mut all = verdicts(outcome);
        all.sort();
        all
    };
    let expect = |cached: &str, checked: &str| {
        let mut all: Vec<(String, String)> = [("always", "run"), ("cached", cached), ("checked", checked)]
            .iter()
            .chain(&unknown)
            .chain(&end)
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        all.sort();
        all
    };
    let plan = |code: i32| bench.run(&["plan", "mixed.yaml", "--format", "json"]).expect(code);
    assert_eq!(sorted(&plan(10)), expect("run", "run"));
    bench.write(
        "only.yaml",
        "tree: mixed\nsteps:\n  cached: { run: cat in.txt > out.txt, inputs: [in.txt], cache: true, artifacts: { out: out.txt } }\n",
    );
    bench.run(&["run", "only.yaml"]).expect(0);
    bench.write("marker", "");
    fs::remove_file(bench.path("out.txt")).unwrap();
    let before = bench.files();
    let found = plan(1);
    assert_eq!(sorted(&found), expect("cached", "done"), "a result of an earlier run stands for it");
    assert_eq!(bench.files(), before, "a plan puts nothing back and runs nothing");
    let beside: Vec<_> = fs::read_dir(bench.dir().parent().unwrap()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(beside.len(), 2, "it leaves nothing in the temporary folder: {beside:?}");
    let document = found.json();
    assert_eq!((&document["changes"], &document["exit"]), (&0.into(), &1.into()));
    let row = |path: &str| document["steps"].as_array().unwrap().iter().find(|r| r["path"] == path).unwrap()["reason"].clone();
    assert_eq!(row("reads"), "steps.always.outputs.id is unknown until then");
    assert!(row("maybe").as_str().unwrap().starts_with("its `if` reads steps.always.outputs.id"), "{document}");
    assert!(row("each").as_str().unwrap().starts_with("its items read steps.always.outputs.id"), "{document}");
}

#[test]
fn what_goes_first_may_change_what_is_looked_at() {
    let tree = "tree: chain\nsteps:\n  make: { run: echo x > made }\n  copy: { needs: make, uses: file/write, with: { path: copy, content: y } }\n  \
                use: { needs: make, run: cat made, inputs: [made], cache: true }\n";
    let bench = Bench::with("chain.yaml", tree);
    plans(&bench, &["chain.yaml"], 10, &[("make", "run"), ("use", "run"), ("copy", "run")]);
    bench.run(&["run", "chain.yaml"]).expect(0);
    let text = bench.run(&["plan", "chain.yaml"]).expect(10).stdout;
    assert!(text.contains("? copy") && text.contains("? use") && text.contains("make goes first"), "{text}");
}

#[test]
fn a_target_that_cannot_be_looked_at_is_told_so() {
    let bench = Bench::with(
        "odd.yaml",
        "tree: odd\nsteps:\n  a: { check: exit 3, run: 'true', effect: external }\n  b: { run: 'echo {{ params.x }}' }\nparams: { x: 1 }\n",
    );
    let text = bench.run(&["plan", "odd.yaml"]).stdout;
    assert!(text.contains("? a") && text.contains("check exited with 3; 0 means done, 1 not done"), "{text}");
    bench.run(&["plan", "nowhere.yaml"]).expect(2);
    bench.run(&["drift"]).expect(2);
}

#[test]
fn a_saved_plan_runs_while_it_holds_and_is_refused_after() {
    let bench = Bench::with(
        "service.yaml",
        "tree: service\nparams: { text: hello }\nsteps:\n  note: { uses: file/write, with: { path: note.txt, content: \"{{ params.text }}\" } }\n  other: { uses: file/write, with: { path: other.txt, content: x } }\n",
    );
    let refused = |arguments: &[&str], parts: &[&str]| {
        let outcome = bench.run(&[&["run", "service.yaml", "--plan", "p.json"], arguments].concat()).expect(2);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{part}\n{}", outcome.stderr);
        }
    };
    bench.run(&["plan", "service.yaml", "-p", "text=planned", "--out", "p.json"]).expect(10);
    refused(
        &["-p", "text=else"],
        &["does not hold any more", "the param text was \"planned\", now \"else\"", "trees plan service.yaml -p text=planned --out p.json"],
    );
    bench.write("other.txt", "by hand");
    refused(&[], &["other was to be run, now changed (content)"]);
    fs::remove_file(bench.path("other.txt")).unwrap();
    assert!(!bench.path("note.txt").exists(), "what is refused ran nothing");
    bench.run(&["run", "service.yaml", "--plan", "p.json"]).expect(0);
    assert_eq!(bench.read("note.txt"), "planned", "it runs with the params of the plan");
    refused(&[], &["note was to be run, now left as it is"]);
    bench.run(&["plan", "service.yaml", "--out", "p.json"]).expect(10);
    bench.write("service.yaml", bench.read("service.yaml").replace("content: x", "content: z"));
    refused(&[], &["the tree file or one of its sub-trees was changed"]);
    bench.write("p.json", bench.read("p.json").replace("hello", "hallo"));
    refused(&[], &["it was changed since it was saved"]);
    bench.write("p.json", "{}");
    refused(&[], &["is no saved plan"]);
    assert_eq!(bench.run(&["list", "--format", "json"]).json()["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn no_secret_is_in_a_plan() {
    let tree = "tree: keys\nsecrets: { KEY: {} }\nsteps:\n  write: { uses: file/write, with: { path: key, content: \"{{ secrets.KEY }}\", mode: '0600' } }\n  \
                odd: { secrets: [KEY], check: 'echo $KEY >&2; exit 3', run: 'true' }\n";
    let bench = Bench::with("keys.yaml", tree);
    bench.write("key", "other");
    let output =
        bench.command(&["plan", "keys.yaml", "--out", "p.json", "--format", "json"]).env("KEY", "hush-hush-hush").output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", String::from_utf8_lossy(&output.stderr));
    for text in [String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap(), bench.read("p.json")] {
        assert!(!text.contains("hush-hush"), "{text}");
    }
}

#[test]
fn a_signal_ends_a_plan_and_the_check_that_it_waits_for() {
    let bench =
        Bench::with("slow.yaml", "tree: slow\nsteps:\n  a: { check: 'echo $$ > pid; exec sleep 100000', run: 'true', effect: external }\n");
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        drop(fs::remove_file(bench.path("pid")));
        let mut child = bench.command(&["plan", "slow.yaml"]).spawn().unwrap();
        let pid = loop {
            match fs::read_to_string(bench.path("pid")).map(|text| text.trim().to_owned()) {
                Ok(pid) if !pid.is_empty() => break pid,
                _ => thread::yield_now(),
            }
        };
        drop(Command::new("kill").args([signal, &child.id().to_string()]).status());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!Command::new("kill").args(["-0", &pid]).output().unwrap().status.success(), "its check goes on");
    }
}

#[test]
fn what_is_unknown_stays_so_through_sub_trees_and_vars() {
    let bench = Bench::with(
        "top.yaml",
        "tree: top\nsteps:\n  a: { run: 'echo v=1 >> \"$TREES_OUTPUT\"', outputs: { v: string }, effect: none }\n  \
         sub: { tree: ./inner.yaml, with: { v: \"{{ steps.a.outputs.v }}\" } }\n  \
         after: { uses: file/write, with: { path: after, content: \"{{ steps.sub.outputs.x }}\" } }\n  \
         strict: { tree: ./strict.yaml, with: { n: \"{{ steps.a.outputs.v }}\" } }\n  \
         status: { if: \"steps.a.status == 'succeeded'\", uses: file/write, with: { path: known, content: x } }\n",
    );
    bench.write(
        "inner.yaml",
        "tree: inner\nparams: { v: { type: string } }\nvars: { w: \"{{ params.v }}!\" }\nsteps:\n  \
         read: { uses: file/write, with: { path: read, content: \"{{ vars.w }}\" } }\n  \
         free: { uses: file/write, with: { path: free, content: x } }\noutputs: { x: \"{{ vars.w }}\" }\n",
    );
    bench.write("strict.yaml", "tree: strict\nparams: { n: { type: string, pattern: '^[0-9]+$' } }\nsteps:\n  in: { run: 'true' }\n");
    bench.write("free", "x");
    bench.write("known", "x");
    let outcome = bench.run(&["plan", "top.yaml", "--format", "json"]).expect(1);
    let mut found = verdicts(&outcome);
    found.sort();
    let expected = [
        ("a", "run"),
        ("after", "unknown"),
        // Its tree cannot be entered with a param that nobody knows.
        ("strict", "unknown"),
        ("status", "done"),
        ("sub/free", "done"),
        ("sub/read", "unknown"),
    ];
    let mut expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
    expected.sort();
    assert_eq!(found, expected, "{}", outcome.stdout);
}

#[test]
fn a_value_that_only_stands_for_another_calls_nothing_cached() {
    let tree = "tree: stand\nsteps:\n  probe: { effect: none, run: 'echo ok=true >> \"$TREES_OUTPUT\"', outputs: { ok: boolean } }\n  \
                use: { needs: probe, run: 'true', inputs: [in.txt], cache: true }\n";
    let bench = Bench::with("stand.yaml", tree);
    bench.write("in.txt", "x");
    bench.run(&["run", "stand.yaml"]).expect(0);
    assert!(bench.run(&["run", "stand.yaml", "--format", "json"]).expect(0).stdout.contains("step_cached"));
    plans(&bench, &["stand.yaml"], 1, &[("probe", "run"), ("use", "unknown")]);
}

#[test]
fn drift_looks_at_no_more_at_once_than_the_run_did() {
    let check = "mkdir busy || echo clash >> clashes; i=0; until [ $i = 3000 ]; do i=$((i+1)); done; rmdir busy; test -e done";
    let step = |n: u8| format!("  s{n}: {{ effect: external, check: '{check}', run: ':' }}\n");
    let bench = Bench::with("t.yaml", format!("tree: t\nmax_parallel: 1\nsteps:\n{}", (0..6).map(step).collect::<String>()));
    bench.write("done", "");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    bench.run(&["drift", "@last"]).expect(0);
    assert!(!bench.path("clashes").exists());
}
