//! A `trees` under way, followed line by line. "When" is always "after that line".

use crate::place::{Place, Told, code};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// What has not ended after so long is taken to go on for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One.
pub struct Sitting {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: PathBuf,
    said: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Sitting {
    /// Starts a command.
    pub fn of(place: &Place, mut command: Command) -> Self {
        let stderr = place.root().join(format!("stderr.{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, stderr, said: String::new() }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The next whole line; none when its output has ended. A killed process may leave half a line.
    pub fn line(&mut self) -> Option<&str> {
        let from = self.said.len();
        self.stdout.read_line(&mut self.said).unwrap();
        self.said[from..].strip_suffix('\n')
    }

    /// Follows it until an event of this type and, unless `step` is empty, of this step.
    #[track_caller]
    pub fn until(&mut self, kind: &str, step: &str) -> Value {
        while let Some(line) = self.line() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            if event["type"] == kind && (step.is_empty() || event["step"] == step) {
                return event;
            }
        }
        panic!("no {kind} of `{step}` in:\n{}\nstderr:\n{}", self.said, self.errors());
    }

    /// What it said on standard error so far.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Told {
        while self.line().is_some() {}
        let status = self.child.wait().unwrap();
        Told { code: code(status), stdout: self.said.clone(), stderr: self.errors() }
    }

    /// Reads all that it still says; one that has not ended by then is killed.
    pub fn rest(&mut self, within: Duration) {
        let pid = Pid::from_child(&self.child);
        let (done, waits) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if waits.recv_timeout(within) == Err(RecvTimeoutError::Timeout) {
                    kill_process(pid, Signal::KILL).unwrap();
                }
            });
            while self.line().is_some() {}
            drop(done);
        });
    }

    /// Kills it with SIGKILL, unless it has ended by itself.
    pub fn kill(&mut self) -> Told {
        drop(self.child.kill());
        self.end()
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
