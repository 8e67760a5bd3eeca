//! The screen on a real terminal: bars, a question answered with a key, Ctrl-C, the terminal left
//! as it was found.

use crate::bench::{Bench, fifo, hear};
use crate::pty::Terminal;
use crate::waiting;
use std::process::Command;

fn start(bench: &Bench, arguments: &[&str], columns: u16, rows: u16) -> Terminal {
    Terminal::start(&bench.command(arguments), (columns, rows))
}

/// A shell that has a job, does something once it is stopped, says so, and then has it go on.
fn job(bench: &Bench, job: &str, stopped: &str) -> Terminal {
    bench.write("job", format!("set -m\n{job}; {stopped}; echo stopped; fg; echo over\n"));
    let plain = bench.command(&["job"]);
    let mut shell = Command::new("bash");
    shell.args(plain.get_args()).current_dir(bench.dir()).envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    Terminal::start(shell.env("PROGRAM", plain.get_program()), (60, 20))
}

/// The exit code and all that was shown.
fn end(terminal: Terminal) -> (i32, String) {
    let (code, seen) = terminal.end();
    (code, String::from_utf8_lossy(&seen).into_owned())
}

/// It ends, and the run went well.
#[track_caller]
fn succeeds(terminal: Terminal) {
    let (code, seen) = end(terminal);
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("t #1 succeeded"), "{seen}");
}

/// A tree with a step `w` that does something first and then waits for the file `go`.
fn until_go(first: &str) -> String {
    format!("tree: t\nsteps:\n  w: {{ run: \"{first}while [ ! -e go ]; do sleep 0.05; done\" }}\n")
}

#[test]
fn a_question_is_answered_while_other_steps_run() {
    let text = "tree: t\nsteps:\n  ask: { approve: { message: Ship it? } }\n  other: { run: \"while [ ! -e go ]; do sleep 0.05; done\" }\n  ship: { needs: ask, run: touch go }\n";
    let bench = Bench::with("t.yaml", text);
    let mut terminal = start(&bench, &["run", "t.yaml"], 60, 20);
    terminal.until("? ", 1);
    terminal.until("• other", 1);
    assert!(!terminal.echoes());
    terminal.press("what\ny\n");
    let (code, seen) = end(terminal);
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("ask approved by tester") && seen.contains("t #1"), "{seen}");
}

#[test]
fn an_unknown_outcome_is_nothing_that_a_key_could_answer() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps:\n  a: { run: 'touch begun; sleep 1000', undo: ':' }\n");
    let mut child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
    waiting::until(&bench.dir(), "the step", || bench.path("begun").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..2 {
        let (code, seen) = end(start(&bench, &["resume", "--yes"], 100, 20));
        assert!(code == 3 && seen.contains("trees resolve") && seen.contains("--retry"), "{code}: {seen}");
    }
}

#[test]
fn three_times_ctrl_c_leaves_the_terminal_as_it_was() {
    let text = "tree: t\nsteps:\n  deaf: { run: \"trap '' INT TERM; echo up > begun; while [ ! -e go ]; do sleep 0.05; done\" }\n";
    let bench = Bench::with("t.yaml", text);
    fifo(&bench.path("begun"));
    let mut terminal = start(&bench, &["run", "t.yaml"], 40, 10);
    terminal.until("• deaf", 1);
    assert_eq!(hear(&bench.path("begun")), "up");
    // Signals that come too close are one; the third is the one that kills.
    for said in ["stopping: nothing new starts", "steps got SIGTERM", "steps got SIGKILL"] {
        terminal.press("\u{3}");
        terminal.until(said, 1);
    }
    let (code, seen) = end(terminal);
    assert_eq!(code, 130, "{seen}");
    assert!(seen.contains("trees resume ") && seen.contains("ended by SIGINT (Ctrl-C)"), "{seen}");
    assert!(seen.contains("stopping: nothing new starts") && seen.contains("steps got SIGTERM"), "{seen}");
}

#[test]
fn ctrl_c_ends_a_replay_and_leaves_the_terminal_as_it_was() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps:\n  one: { run: sleep 0.2 }\n");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    let mut terminal = start(&bench, &["replay", "--speed", "0.001"], 60, 20);
    terminal.until("• one", 1);
    terminal.press("\u{3}");
    let (code, seen) = end(terminal);
    assert_eq!(code, 130, "{seen}");
    assert!(!seen.contains("one succeeded"), "{seen}");
}

#[test]
fn ctrl_c_leaves_the_screen_of_a_run_and_not_the_run() {
    let bench = Bench::with("t.yaml", until_go("echo a line; "));
    let run = bench.run(&["run", "t.yaml", "--detach"]).expect(0).stdout.trim().to_owned();
    let mut terminal = start(&bench, &["show", &run, "-f"], 40, 10);
    terminal.until("• w", 1);
    terminal.until("a line", 1);
    terminal.press("\u{3}");
    let (code, seen) = end(terminal);
    assert_eq!(code, 130, "{seen}");
    assert!(seen.contains(&format!("detached; run {run} goes on")), "{seen}");
    bench.write("go", "");
    bench.run(&["show", &run, "-f"]).expect(0);
}

#[test]
fn a_question_is_answered_on_the_screen_of_another_process() {
    let text = "tree: t\nsteps:\n  ask: { approve: { message: Ship it? } }\n  w: { run: \"while [ ! -e go ]; do sleep 0.05; done\" }\n  ship: { needs: ask, run: touch go }\n";
    let bench = Bench::with("t.yaml", text);
    let run = bench.run(&["run", "t.yaml", "--detach"]).expect(0).stdout.trim().to_owned();
    let mut terminal = start(&bench, &["show", &run, "-f"], 60, 20);
    terminal.until("? ", 1);
    terminal.press("y\n");
    let (code, seen) = end(terminal);
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("ask approved by tester"), "{seen}");
}

#[test]
fn a_detached_run_outlives_its_terminal() {
    let bench = Bench::with("t.yaml", until_go(""));
    let terminal = start(&bench, &["run", "t.yaml", "--detach"], 60, 20);
    // The terminal is gone when this returns: whoever is in its session gets SIGHUP.
    let (code, seen) = end(terminal);
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("goes on as run"), "{seen}");
    bench.write("go", "");
    bench.run(&["show", "@last", "-f"]).expect(0);
}

#[test]
fn ctrl_z_leaves_the_terminal_as_it_was_also_to_a_shell_that_sees_to_nothing() {
    let bench = Bench::with("t.yaml", until_go(""));
    let mut terminal = job(&bench, "$PROGRAM run t.yaml", "stty -a > modes");
    terminal.until("• w", 1);
    assert!(!terminal.echoes());
    terminal.press("\u{1a}");
    terminal.until("stopped", 1);
    assert!(bench.read("modes").contains(" echo "), "{}", bench.read("modes"));
    bench.write("go", "");
    terminal.until("over", 1);
    succeeds(terminal);
}

#[test]
fn ctrl_z_stops_a_run_that_a_script_started() {
    let bench = Bench::with("t.yaml", until_go("echo $PPID > trees; "));
    // The script stops before we can, so the terminal is the shell's already: a person's puts its modes back itself.
    let stopped = "until grep -q '^State:.T' /proc/$(cat trees)/status; do :; done; stty echo";
    let mut terminal = job(&bench, "sh -c '$PROGRAM run t.yaml; :'", stopped);
    terminal.until("• w", 1);
    waiting::until(&bench.dir(), "the step", || bench.path("trees").exists());
    terminal.press("\u{1a}");
    terminal.until("stopped", 1);
    bench.write("go", "");
    terminal.until("over", 1);
    succeeds(terminal);
}

#[test]
fn ctrl_z_where_no_shell_looks_after_us_stops_nothing() {
    let bench = Bench::with("t.yaml", until_go("") + "  next: { needs: w, run: \":\" }\n");
    let mut terminal = start(&bench, &["run", "t.yaml"], 60, 20);
    terminal.until("• w", 1);
    terminal.press("\u{1a}");
    bench.write("go", "");
    succeeds(terminal);
}
