//! Signals to `trees`, through a terminal where a terminal sends them: what the page on the command
//! line says, exit code included, and each signal once to the step.

use crate::place::{Place, Told};
use crate::sitting::Sitting;
use crate::terminal::{SCREEN, Terminal};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Command, Stdio};

/// A step that counts the signals it gets, and ends at the last of those named.
fn counting(ends_at: &str) -> String {
    let trap = |signal: &str| {
        let end = if signal == ends_at { "; exit 1" } else { "" };
        format!("      trap 'mark {signal}{end}' {signal}\n")
    };
    let traps: String = ["INT", "TERM", "HUP"].map(trap).concat();
    format!(
        "tree: signals\nsteps:\n  counts:\n    run: |\n      . ./mark\n{traps}      mark start\n      echo it is up\n      while [ ! -e go ]; do sleep 0.02 || :; done\n      mark end\n"
    )
}

/// How often the step got each signal: INT, TERM, HUP.
fn counts(place: &Place) -> [usize; 3] {
    let ledger = place.ledger();
    ["INT", "TERM", "HUP"].map(|signal| ledger.marked(signal).len())
}

/// Ctrl-C so often, each after the word about the one before.
fn interrupted(times: usize, ends_at: &str) -> Vec<u8> {
    let place = Place::with(&counting(ends_at));
    let mut terminal = Terminal::start(&place.command(&["run", "tree.yaml"]), SCREEN);
    terminal.until("it is up", 1);
    let said = ["stopping: nothing new starts", "steps got SIGTERM", "steps got SIGKILL"];
    for (text, mark) in said.into_iter().zip(["INT", "TERM", "start"]).take(times) {
        terminal.press("\u{3}");
        terminal.until(text, 1);
        // The step hears of each before the next is sent; of the last it cannot.
        place.until_marked("counts", mark);
    }
    let (code, seen) = terminal.end();
    let shown = String::from_utf8_lossy(&seen).into_owned();
    assert_eq!(code, 130, "{times} times: {shown}");
    assert_eq!(counts(&place), [1, usize::from(times > 1), 0], "{times} times:\n{}", place.ledger());
    assert!(shown.contains("trees resume "), "{shown}");
    goes_on(&place);
    seen
}

/// Nothing is left, the run is interrupted, and a resume takes it to its end.
fn goes_on(place: &Place) {
    assert_eq!(place.processes(), Vec::<String>::new());
    place.write("go", "");
    place.run(&["resume", "@last"]).expect(0);
    assert_eq!(place.ledger().marked("end").len(), 1, "{}", place.ledger());
}

#[test]
fn ctrl_c_once_twice_three_times() {
    interrupted(1, "INT");
    interrupted(2, "TERM");
    interrupted(3, "none");
    println!("signals: INT once, twice, three times: exit 130, each signal once");
}

#[test]
fn term_and_hup_are_as_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let place = Place::with(&counting("INT"));
        let mut sitting = started(&place, place.command(&["run", "tree.yaml", "--format", "json"]));
        sitting.signal(signal);
        sitting.end().expect(code);
        assert_eq!(counts(&place), [1, 0, 0], "{}", place.ledger());
        goes_on(&place);
    }
    println!("signals: TERM exit 143, HUP exit 129, the step got INT once");
}

#[test]
fn a_terminal_that_goes_away_is_a_hangup() {
    let place = Place::with(&counting("INT"));
    let terminal = Terminal::start(&place.command(&["run", "tree.yaml"]), SCREEN);
    terminal.until("it is up", 1);
    assert_eq!(terminal.hang_up(), 129);
    assert_eq!(counts(&place), [1, 0, 0], "{}", place.ledger());
    goes_on(&place);
}

#[test]
fn who_was_told_to_ignore_a_hangup_does() {
    let place = Place::with(&counting("HUP"));
    let mut command = place.program("sh");
    let script = "trap '' HUP; exec \"$0\" run tree.yaml --format json";
    command.args(["-c", script]).arg(place.binary());
    let mut sitting = started(&place, command);
    sitting.signal(Signal::HUP);
    sitting.signal(Signal::HUP);
    place.write("go", "");
    sitting.end().expect(0);
    assert_eq!(counts(&place), [0, 0, 0], "{}", place.ledger());
    println!("signals: HUP ignored by the parent: exit 0, the step got none");
}

#[test]
fn a_stopped_sitting_goes_on_where_it_was() {
    let place = Place::with(&counting("INT"));
    let mut shell = place.program("bash");
    shell.args(["--norc", "--noprofile", "-i"]).env("PS1", "> ");
    let mut terminal = Terminal::start(&shell, SCREEN);
    terminal.press(&format!("{} run tree.yaml; printf 'with %s.\\n' $?\n", place.binary().display()));
    terminal.until("it is up", 1);
    terminal.press("\u{1a}");
    // The shell hears of it: all of trees stands still, and the step goes on.
    terminal.until("with 148.", 1);
    assert!(place.processes().iter().any(|p| p.contains("run tree.yaml")));
    place.write("go", "");
    place.until_marked("counts", "end");
    terminal.press("fg; printf 'at last %s.\\n' $?\n");
    terminal.until("at last 0.", 1);
    terminal.press("exit\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&seen));
    assert_eq!(counts(&place), [0, 0, 0], "{}", place.ledger());
    println!("signals: TSTP and CONT: exit 0, the step got none");
}

#[test]
fn a_closed_standard_output_does_not_stop_the_run() {
    let place = Place::with(
        "tree: closed\nsteps:\n  one: { run: 'until [ -e go ]; do sleep 0.02; done' }\n  two: { needs: one, run: ': > done' }\n",
    );
    for (n, format) in ["json", "plain", "human"].into_iter().enumerate() {
        place.run(&["list"]);
        let mut command = place.command(&["run", "tree.yaml", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        place.write("go", "");
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{format}");
        assert_eq!(place.read("done"), "");
        assert!(place.path("done").exists(), "{format}");
        fs::remove_file(place.path("done")).unwrap();
        fs::remove_file(place.path("go")).unwrap();
        let list = place.run(&["list", "--format", "json"]).expect(0).stdout;
        assert_eq!(list.matches("\"succeeded\"").count(), n + 1, "{list}");
    }
    println!("signals: closed standard output and error: exit 0 in 3 formats");
}

/// Somebody holds the pipe and reads nothing: the run goes on to its end, and a signal ends who would wait.
#[test]
fn an_output_that_nobody_reads_holds_nothing_up() {
    const STEPS: usize = 300;
    let steps: String = (0..STEPS).map(|n| format!("  s{n}: {{ run: ':' }}\n")).collect();
    let place = Place::with(&format!("tree: unread\nsteps:\n{steps}"));
    let mut child = place.command(&["run", "tree.yaml", "--format", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let recorded =
        || place.path(".trees/trees.db").exists() && place.run(&["list", "--format", "json"]).expect(0).stdout.contains("\"succeeded\"");
    while !recorded() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended with its output unread");
    }
    assert_eq!(child.try_wait().unwrap(), None, "who reads late gets all of it");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    println!("signals: an output that nobody reads: the run succeeded, SIGTERM ends who waits");
}

#[test]
fn as_process_1_of_a_namespace() {
    if let Some(why) = no_namespaces() {
        println!("signals: left out: process 1 of a namespace ({why})");
        return;
    }
    let place = Place::with(&counting("INT"));
    let mut command = place.program("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(place.binary()).args(["run", "tree.yaml", "--format", "json"]);
    let mut sitting = started(&place, command);
    // From outside its number is another.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", sitting.pid())).unwrap();
    let one = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    kill_process(one, Signal::TERM).unwrap();
    sitting.end().expect(143);
    assert_eq!(counts(&place), [1, 0, 0], "{}", place.ledger());
    goes_on(&place);
    println!("signals: TERM to process 1 of a namespace: exit 143, the step got INT once");
}

/// Why there is no namespace to be had, if so.
fn no_namespaces() -> Option<String> {
    match Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output() {
        Err(e) => Some(format!("unshare: {e}")),
        Ok(output) if !output.status.success() => Some(Told::of(&output).stderr.trim().to_owned()),
        Ok(_) => None,
    }
}

/// Until the step is up.
fn started(place: &Place, command: Command) -> Sitting {
    let mut sitting = Sitting::of(place, command);
    sitting.until("step_started", "counts");
    place.until_marked("counts", "start");
    sitting
}
