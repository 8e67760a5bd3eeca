//! A sitting and the rest of the world: signals, other owners, people elsewhere, followers.
//!
//! Steps and test meet at named pipes: `say up` blocks until the test [`Meet::hears`] it.

use crate::bench::{Bench, fifo};
use crate::laws;
use crate::live::{Live, processes_of};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Says a word to the test; goes on when it was heard.
const SAY: &str = "say() { echo \"$1\" > said; read -r _ < heard; }\n";

struct Meet {
    bench: Bench,
}

impl Meet {
    fn new(tree: &str) -> Self {
        let bench = Bench::with("tree.yaml", tree);
        bench.write("say", SAY);
        fifo(&bench.path("said"));
        fifo(&bench.path("heard"));
        Self { bench }
    }

    /// What a step says next.
    fn hears(&self) -> String {
        let word = fs::read_to_string(self.bench.path("said")).unwrap().trim().to_owned();
        fs::write(self.bench.path("heard"), "\n").unwrap();
        word
    }

    /// A run that is under way: its step has said `up`.
    #[track_caller]
    fn start(&self, more: &[&str]) -> Live {
        let live = Live::start(&self.bench, &[&["run", "tree.yaml", "--format", "json"], more].concat());
        assert_eq!(self.hears(), "up");
        live
    }

    fn status(&self, run: &str) -> Value {
        self.bench.run(&["show", run, "--format", "json"]).expect(0).json()["status"].clone()
    }
}

/// A step that runs until the test hears it say `go`.
const HELD: &str = "
tree: held
steps:
  first: { run: \":\" }
  held: { needs: first, run: \". ./say; say up; say go\" }
  last: { needs: held, run: \":\" }
finally:
  swept: { run: \"echo swept >> swept\" }
";

/// A step that takes note of signals and ends by none but SIGKILL. (Its `sleep` gets them too, and
/// under `sh -e` would end the shell.)
const STUBBORN: &str = "
tree: stubborn
steps:
  stubborn:
    run: |
      . ./say
      trap 'say int' INT
      trap 'say term' TERM
      say up
      while :; do sleep 0.02 || :; done
";

#[test]
fn ctrl_c_interrupts_then_terminates_then_kills() {
    let meet = Meet::new(STUBBORN);
    let mut live = meet.start(&["--grace", "1h"]);
    live.signal(Signal::INT);
    assert_eq!(meet.hears(), "int");
    live.signal(Signal::INT);
    assert_eq!(meet.hears(), "term", "each signal arrives once");
    live.signal(Signal::INT);
    let outcome = live.end().expect(130);
    let run = live.run();
    assert!(outcome.stderr.contains(&format!("trees resume {run}")), "{}", outcome.stderr);
    assert_eq!(meet.status(&run), "interrupted");
    let left = processes_of(&run);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_short_grace_is_enough_for_one_ctrl_c() {
    // It does not hear SIGINT, and SIGTERM ends it.
    let deaf = STUBBORN.replace("trap 'say term' TERM", "").replace("'say int'", "''");
    let meet = Meet::new(&deaf);
    let mut live = meet.start(&["--grace", "10ms"]);
    live.signal(Signal::INT);
    live.end().expect(130);
}

#[test]
fn what_a_signal_ended_is_resumed_without_finally_having_run() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let meet = Meet::new(HELD);
        let mut live = meet.start(&[]);
        live.signal(signal);
        live.end().expect(code);
        let events = live.events();
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["status"]), (&Value::from("run_suspended"), &Value::from("interrupted")));
        assert!(!meet.bench.path("swept").exists());
        let mut resumed = Live::start(&meet.bench, &["resume", "--format", "json"]);
        assert_eq!((meet.hears(), meet.hears()), ("up".into(), "go".into()));
        let again = resumed.finish();
        assert!(!again.iter().any(|e| e["step"] == "first"), "done before");
        let all = [events, again].concat();
        laws::of_events(&all, "succeeded");
        assert_eq!(meet.bench.read("swept"), "swept\n");
    }
}

#[test]
fn a_hang_up_that_the_parent_ignores_ends_nothing() {
    let meet = Meet::new(HELD);
    let mut shell = Command::new("sh");
    let plain = meet.bench.command(&["run", "tree.yaml", "--format", "json"]);
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    shell.current_dir(meet.bench.dir()).env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let mut live = Live::of(&meet.bench, shell);
    live.until("step_started", "held");
    live.signal(Signal::HUP);
    assert_eq!((meet.hears(), meet.hears()), ("up".into(), "go".into()));
    laws::of_events(&live.finish(), "succeeded");
}

#[test]
fn a_second_owner_is_refused_and_told_of_the_first() {
    let meet = Meet::new(HELD);
    let mut live = meet.start(&[]);
    let run = live.run();
    let refused = meet.bench.run(&["resume", &run]).expect(6);
    assert!(refused.stderr.contains(&live.pid().to_string()), "{}", refused.stderr);
    assert!(live.kill());
    // A dead owner is none. What its step would still say is not heard: it is ended first.
    let mut resumed = Live::start(&meet.bench, &["resume", "--format", "json"]);
    resumed.until("step_started", "held");
    assert_eq!((meet.hears(), meet.hears()), ("up".into(), "go".into()));
    resumed.finish();
    laws::of_rest(&meet.bench, &run);
}

#[test]
fn runs_share_a_state_folder() {
    let bench = Bench::with("tree.yaml", "tree: t\nmax_parallel: 2\nsteps:\n  a: { matrix: { n: [1, 2, 3, 4] }, run: \":\" }\n");
    let start = |_| Live::start(&bench, &["run", "tree.yaml", "--format", "json"]);
    let mut all: Vec<Live> = (0..8).map(start).collect();
    for _ in 0..4 {
        bench.run(&["list"]).expect(0);
    }
    for live in &mut all {
        laws::of_events(&live.finish(), "succeeded");
    }
    let list = bench.run(&["list", "--format", "json"]).expect(0).json();
    assert_eq!(list["runs"].as_array().unwrap().len(), 8);
}

#[test]
fn a_cancel_from_elsewhere_ends_the_steps_and_runs_finally() {
    let meet = Meet::new(HELD);
    let mut live = meet.start(&[]);
    let run = live.run();
    meet.bench.run(&["cancel", &run]).expect(0);
    live.end().expect(1);
    laws::of_events(&live.events(), "cancelled");
    let seen: Vec<(String, String)> = live.events().iter().map(|e| (e["type"].to_string(), e["step"].to_string())).collect();
    for (kind, step) in [("\"step_cancelled\"", "\"held\""), ("\"step_succeeded\"", "\"finally/swept\"")] {
        let found = seen.iter().any(|(k, s)| k == kind && (s == step || s == "\"swept\""));
        assert!(found, "no {kind} of {step}: {seen:?}");
    }
    assert_eq!(meet.bench.read("swept"), "swept\n");
    assert!(processes_of(&run).is_empty());
}

const ASKS: &str = "
tree: asks
steps:
  busy: { run: \". ./say; say up; say done\" }
  ask: { approve: { message: Go? } }
  then: { needs: ask, run: \":\" }
";

#[test]
fn people_elsewhere_answer_while_it_runs() {
    let meet = Meet::new(ASKS);
    let mut live = meet.start(&[]);
    let run = live.run();
    live.until("approval_requested", "ask");
    meet.bench.run(&["approve", &run, "ask", "--note", "looks good"]).expect(0);
    let given = live.until("approval_given", "ask");
    assert_eq!((&given["actor"], &given["note"]), (&Value::from(given["actor"].as_str().unwrap()), &Value::from("looks good")));
    live.until("step_succeeded", "then");
    assert_eq!(meet.hears(), "done");
    laws::of_events(&live.finish(), "succeeded");

    let mut live = meet.start(&[]);
    let run = live.run();
    live.until("approval_requested", "ask");
    meet.bench.run(&["reject", &run, "ask", "--note", "no"]).expect(0);
    live.until("step_blocked", "then");
    assert_eq!(meet.hears(), "done");
    live.end().expect(1);
}

#[test]
fn followers_end_with_the_run() {
    let meet = Meet::new(HELD);
    let mut live = meet.start(&[]);
    let run = live.run();
    let follow = |arguments: &[&str]| Live::start(&meet.bench, arguments);
    let mut events = follow(&["events", &run, "-f"]);
    let mut others = [follow(&["logs", &run, "-f"]), follow(&["show", &run, "-f"]), follow(&["logs", &run, "held", "-f"])];
    events.until("step_started", "held");
    assert_eq!(meet.hears(), "go");
    live.finish();
    events.end().expect(0);
    assert_eq!(events.events(), live.events());
    for other in &mut others {
        other.end().expect(0);
    }
}

#[test]
fn nothing_escapes_a_cancel() {
    let tree = "
tree: escapes
steps:
  many:
    run: |
      . ./say
      setsid sleep 600 &
      nohup sleep 600 > /dev/null 2>&1 &
      sh -c '(setsid sh -c \"sleep 600 & sleep 600\" &) &'
      sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done' &
      . ./chain
      chain 20 &
      sleep 600
";
    let meet = Meet::new(tree);
    meet.bench.write(
        "chain",
        "chain() { if [ \"$1\" -gt 0 ]; then sh -c '. ./chain; chain '$(($1 - 1)); else . ./say; say up; sleep 600; fi; }\n",
    );
    let mut live = meet.start(&["--grace", "10ms"]);
    let run = live.run();
    assert!(processes_of(&run).len() > 5, "{:?}", processes_of(&run));
    meet.bench.run(&["cancel", &run]).expect(0);
    live.end().expect(1);
    let left = processes_of(&run);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_a_step_leaves_is_ended_with_it() {
    let text = "tree: t\nsteps:\n  a: { run: \"setsid sleep 600 & sleep 600 & nohup sleep 600 > /dev/null 2>&1 &\" }\n";
    let bench = Bench::with("tree.yaml", text);
    let mut live = Live::start(&bench, &["run", "tree.yaml", "--format", "json"]);
    live.finish();
    let left = processes_of(&live.run());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_held_pipe_does_not_hold_the_step() {
    // What is left running has the step's standard output open for ten minutes.
    let bench =
        Bench::with("tree.yaml", "tree: t\nsteps:\n  a: { leave_running: true, run: \"sleep 600 & echo $! > pid; echo printed\" }\n");
    bench.run(&["run", "tree.yaml"]).expect(0);
    assert_eq!(bench.run(&["logs", "@last", "a"]).expect(0).stdout, "printed\n");
    let done = Command::new("kill").arg(bench.read("pid").trim()).status().unwrap();
    assert!(done.success(), "it was left running");
}

/// With a terminal too: nothing of a step can ask there and wait for ever.
#[cfg(target_os = "linux")]
#[test]
fn a_step_has_no_terminal_to_ask_at() {
    let bench =
        Bench::with("tree.yaml", "tree: t\nsteps:\n  a: { run: \"read -r answer < /dev/tty\" }\n  b: { run: \"! read -r line\" }\n");
    let plain = bench.command(&["run", "tree.yaml", "--format", "json"]);
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &format!("{} run tree.yaml --format plain", plain.get_program().display()), "/dev/null"]);
    terminal.current_dir(bench.dir()).env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = terminal.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("/dev/tty"), "{text}");
    let show = bench.run(&["show", "--format", "json"]).expect(0).json();
    let status = |step: &str| show["steps"].as_array().unwrap().iter().find(|s| s["path"] == step).unwrap()["status"].clone();
    assert_eq!((status("a"), status("b")), (Value::from("failed"), Value::from("succeeded")));
}

/// Until the run went on it was shown as asking, and the second answer was refused.
#[test]
fn what_was_answered_is_not_shown_as_asked_for() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps: { ship: { approve: { message: Go? } } }\n");
    bench.run(&["run", "t.yaml"]).expect(3);
    let run = bench.run(&["list", "--format", "json"]).expect(0).json()["runs"][0]["run"].as_str().unwrap().to_owned();
    assert!(bench.run(&["show"]).expect(0).stdout.contains(&format!("asked: Go? (trees approve {run} ship)")));
    bench.run(&["approve", &run, "ship"]).expect(0);
    let shown = bench.run(&["show"]).expect(0).stdout;
    assert!(shown.contains(&format!("answered: Go? (approved by tester; taken up by: trees resume {run})")), "{shown}");
    assert!(!shown.contains("trees approve"), "{shown}");
    let asked = &bench.run(&["show", "--format", "json"]).expect(0).json()["asked"];
    assert_eq!(asked.to_string(), r#"[{"answer":"approved by tester","message":"Go?","step":"ship"}]"#);
    let followed = bench.run(&["show", "-f"]).expect(3).stderr;
    assert!(followed.contains("ship was approved by tester") && followed.contains(&format!("trees resume {run}")), "{followed}");
    assert!(!followed.contains("trees approve"), "{followed}");
    bench.run(&["resume"]).expect(0);
    assert!(!bench.run(&["show"]).expect(0).stdout.contains("answered"));
}
