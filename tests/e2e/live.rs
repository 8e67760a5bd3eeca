//! A sitting that is under way: its events are followed as they come, signals are sent to it.
//!
//! A test has no clock of its own here: "when" is always "after that event".

use crate::bench::{Bench, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A `trees` that was started, its standard output followed line by line.
pub struct Live {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: PathBuf,
    /// What it printed so far.
    pub lines: Vec<String>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Live {
    /// Starts one in a bench.
    pub fn start(bench: &Bench, arguments: &[&str]) -> Self {
        Self::of(bench, bench.command(arguments))
    }

    /// Starts a command.
    pub fn of(bench: &Bench, mut command: Command) -> Self {
        let stderr = bench.home().join(format!("stderr.{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, stderr, lines: Vec::new() }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line; none when its output has ended.
    pub fn line(&mut self) -> Option<&str> {
        let mut line = String::new();
        // A killed process may leave half a line.
        if self.stdout.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            return None;
        }
        self.lines.push(line.trim_end().to_owned());
        self.lines.last().map(String::as_str)
    }

    /// The next event; none when its output has ended.
    pub fn event(&mut self) -> Option<Value> {
        self.line().map(parse)
    }

    /// Follows it until an event of this type and, unless `step` is empty, of this step.
    #[track_caller]
    pub fn until(&mut self, kind: &str, step: &str) -> Value {
        while let Some(event) = self.event() {
            if event["type"] == kind && (step.is_empty() || event["step"] == step) {
                return event;
            }
        }
        panic!("no {kind} of `{step}` in:\n{}\nstderr:\n{}", self.lines.join("\n"), self.errors());
    }

    /// The run's id, from the first event.
    #[track_caller]
    pub fn run(&mut self) -> String {
        if self.lines.is_empty() {
            self.line();
        }
        let first = self.lines.first().unwrap_or_else(|| panic!("nothing was printed; stderr:\n{}", self.errors()));
        parse(first)["run"].as_str().unwrap().to_owned()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Value> {
        self.lines.iter().map(|line| parse(line)).collect()
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it with SIGKILL; what it had printed is read to its end. Whether that ended it.
    pub fn kill(&mut self) -> bool {
        self.child.kill().unwrap();
        while self.line().is_some() {}
        self.child.wait().unwrap().code().is_none()
    }

    /// What it said on standard error so far.
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Follows it to its end, which is a success; all its events.
    #[track_caller]
    pub fn finish(&mut self) -> Vec<Value> {
        self.end().expect(0);
        self.events()
    }

    /// Follows it to its end.
    pub fn end(&mut self) -> Outcome {
        while self.line().is_some() {}
        let status = self.child.wait().unwrap();
        Outcome { code: status.code().unwrap_or(-1), stdout: self.lines.join("\n"), stderr: self.errors() }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// The living processes whose environment has this run's mark.
pub fn processes_of(run: &str) -> Vec<String> {
    let mark = format!("TREES_RUN_ID={run}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|b| *b == 0).any(|pair| pair == mark.as_bytes()) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{:?}: {}", entry.file_name(), String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}
