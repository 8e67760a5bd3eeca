//! The screen on a real terminal: bars, a question answered with a key, Ctrl-C, the terminal left
//! as it was found.

use crate::bench::Bench;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A terminal with a command in its foreground.
struct Terminal {
    keys: File,
    slave: File,
    child: Child,
    seen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    fn start(bench: &Bench, arguments: &[&str], columns: u16, rows: u16) -> Self {
        let program = bench.command(&[]).get_program().to_str().unwrap().to_owned();
        Self::of(bench, &program, arguments, columns, rows)
    }

    /// With another program.
    fn of(bench: &Bench, program: &str, arguments: &[&str], columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let plain = bench.command(arguments);
        // In a session of its own, with this terminal as the controlling one.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program).args(plain.get_args()).current_dir(bench.dir()).env_clear();
        command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?)))).env("TERM", "xterm-256color").env("NO_COLOR", "1");
        let end = || slave.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(master);
        let seen = Arc::new(Mutex::new(String::new()));
        let reader = read(keys.try_clone().unwrap(), Arc::clone(&seen));
        Self { keys, slave, child, seen, reader }
    }

    fn until(&self, text: &str) {
        for _ in 0..3000 {
            if self.seen.lock().unwrap().contains(text) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{text} never came:\n{}", self.seen.lock().unwrap());
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// The exit code and all that was shown.
    fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        assert!(self.echoes(), "the terminal does not echo any more");
        drop(self.slave);
        drop(self.keys);
        self.reader.join().unwrap();
        let seen = self.seen.lock().unwrap().clone();
        (code, seen)
    }
}

/// Gathers what is shown, until the last writer is gone.
fn read(mut master: File, seen: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = master.read(&mut chunk) {
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    })
}

#[test]
fn a_question_is_answered_while_other_steps_run() {
    let text = "tree: t\nsteps:\n  ask: { approve: { message: Ship it? } }\n  other: { run: \"while [ ! -e go ]; do sleep 0.05; done\" }\n  ship: { needs: ask, run: touch go }\n";
    let bench = Bench::with("t.yaml", text);
    let mut terminal = Terminal::start(&bench, &["run", "t.yaml"], 60, 20);
    terminal.until("? ");
    terminal.until("• other");
    assert!(!terminal.echoes());
    terminal.press("what\ny\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("ask approved by tester") && seen.contains("t #1"), "{seen}");
}

#[test]
fn three_times_ctrl_c_leaves_the_terminal_as_it_was() {
    let text = "tree: t\nsteps:\n  deaf: { run: \"trap '' INT TERM; touch begun; while [ ! -e go ]; do sleep 0.05; done\" }\n";
    let bench = Bench::with("t.yaml", text);
    let mut terminal = Terminal::start(&bench, &["run", "t.yaml"], 40, 10);
    terminal.until("• deaf");
    while !bench.path("begun").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    // Signals that come too close are one; the third is the one that kills.
    while terminal.child.try_wait().unwrap().is_none() {
        terminal.press("\u{3}");
        thread::sleep(Duration::from_millis(50));
    }
    let (code, seen) = terminal.end();
    assert_eq!(code, 130, "{seen}");
    assert!(seen.contains("trees resume ") && seen.contains("ended by SIGINT (Ctrl-C)"), "{seen}");
    assert!(seen.contains("stopping: nothing new starts") && seen.contains("steps got SIGTERM"), "{seen}");
}

#[test]
fn ctrl_c_ends_a_replay_and_leaves_the_terminal_as_it_was() {
    let bench = Bench::with("t.yaml", "tree: t\nsteps:\n  one: { run: sleep 0.2 }\n");
    bench.run(&["run", "t.yaml", "-q"]).expect(0);
    let mut terminal = Terminal::start(&bench, &["replay", "--speed", "0.001"], 60, 20);
    terminal.until("• one");
    terminal.press("\u{3}");
    let (code, seen) = terminal.end();
    assert_eq!(code, 130, "{seen}");
    assert!(!seen.contains("one succeeded"), "{seen}");
}

#[test]
fn ctrl_c_leaves_the_screen_of_a_run_and_not_the_run() {
    let text = "tree: t\nsteps:\n  w: { run: \"echo a line; while [ ! -e go ]; do sleep 0.05; done\" }\n";
    let bench = Bench::with("t.yaml", text);
    let run = bench.run(&["run", "t.yaml", "--detach"]).expect(0).stdout.trim().to_owned();
    let mut terminal = Terminal::start(&bench, &["show", &run, "-f"], 40, 10);
    terminal.until("• w");
    terminal.until("a line");
    terminal.press("\u{3}");
    let (code, seen) = terminal.end();
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
    let mut terminal = Terminal::start(&bench, &["show", &run, "-f"], 60, 20);
    terminal.until("? ");
    terminal.press("y\n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("ask approved by tester"), "{seen}");
}

#[test]
fn a_detached_run_outlives_its_terminal() {
    let text = "tree: t\nsteps:\n  w: { run: \"while [ ! -e go ]; do sleep 0.05; done\" }\n";
    let bench = Bench::with("t.yaml", text);
    let terminal = Terminal::start(&bench, &["run", "t.yaml", "--detach"], 60, 20);
    // The terminal is gone when this returns: whoever is in its session gets SIGHUP.
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("goes on as run"), "{seen}");
    bench.write("go", "");
    bench.run(&["show", "@last", "-f"]).expect(0);
}

#[test]
fn ctrl_z_leaves_the_terminal_as_it_was_also_to_a_shell_that_sees_to_nothing() {
    let text = "tree: t\nsteps:\n  w: { run: \"while [ ! -e go ]; do sleep 0.05; done\" }\n";
    let bench = Bench::with("t.yaml", text);
    let program = bench.command(&[]).get_program().to_str().unwrap().to_owned();
    bench.write("job", format!("set -m\n{program} run t.yaml; stty -a > modes; echo stopped; fg; echo over\n"));
    let mut terminal = Terminal::of(&bench, "bash", &["job"], 60, 20);
    terminal.until("• w");
    assert!(!terminal.echoes());
    terminal.press("\u{1a}");
    terminal.until("stopped");
    assert!(bench.read("modes").contains(" echo "), "{}", bench.read("modes"));
    bench.write("go", "");
    terminal.until("over");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("t #1 succeeded"), "{seen}");
}
