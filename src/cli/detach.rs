//! `trees run --detach`: the run goes on in a process of its own.
//!
//! The command starts itself again. That process says what is wrong where the person sees it; once
//! the run is recorded it takes leave: it hands over the run's id, begins a session of its own and
//! writes to a log in the run's folder from then on. Its environment is inherited, so secrets from
//! there are on no command line.

use super::global::Global;
use crate::failure::{Exit, Failure};
use crate::report::{self, ColorChoice, out, out_json, out_line, say};
use rustix::process::setsid;
use rustix::stdio::{dup2_stderr, dup2_stdout};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use trees_core::event::{Event, EventKind};
use trees_core::path::StepPath;
use trees_runner::listen::Listener;

/// The log of a detached run in its folder.
const LOG: &str = "detached.log";
/// What the process that takes leave hands over.
const SCHEMA: &str = "trees/detached";

/// Starts the process that drives the run and tells which run it is, as soon as that is recorded.
pub fn start(global: &Global) -> Result<Exit, Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::failed(format!("cannot tell which program this is: {e}")))?;
    let mut command = Command::new(own);
    command.arg("--detached").args(std::env::args_os().skip(1)).stdin(Stdio::null()).stdout(Stdio::piped());
    let failed = |e: io::Error| Failure::failed(format!("a process for the run cannot be started: {e}"));
    let mut child = command.spawn().map_err(failed)?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).map_err(failed)?;
    }
    match serde_json::from_str::<Value>(&said) {
        Ok(word) if word["schema"] == SCHEMA => tell(&word, global),
        // It ended before there was a run, and has said why.
        _ => {
            out(&said);
            return Ok(code(child.wait().map_err(failed)?));
        }
    }
    Ok(Exit::OK)
}

fn tell(word: &Value, global: &Global) {
    if global.json().unwrap_or(false) {
        return out_json(word);
    }
    let text = |key: &str| word[key].as_str().unwrap_or_default().to_owned();
    let run = text("run");
    out_line(&run);
    if !global.quiet {
        say(&format!("{} #{} goes on as run {run} in process {}", text("tree"), word["number"], word["pid"]));
        say(&format!("  follow it with: trees show {run} -f"));
        say(&format!("  end it with: trees cancel {run}"));
        say(&format!("  what it says: {}", text("log")));
    }
}

fn code(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit(u8::try_from(code).unwrap_or(1)),
        (None, signal) => Exit::signal(signal.unwrap_or(9)),
    }
}

/// Hears for another; takes leave of the terminal when the run is recorded.
pub struct Leaving {
    listener: Box<dyn Listener>,
    folder: Option<PathBuf>,
}

impl Leaving {
    /// For a run whose folder this is.
    pub fn new(listener: Box<dyn Listener>, folder: PathBuf) -> Self {
        Self { listener, folder: Some(folder) }
    }
}

impl Listener for Leaving {
    fn events(&mut self, events: &[Event]) {
        if let (Some(folder), Some(first)) = (self.folder.take(), events.first())
            && let Err(error) = leave(&folder.join(LOG), first)
        {
            // The run goes on where it began.
            say(&format!("the run could not leave the terminal: {error}"));
        }
        self.listener.events(events);
    }

    fn output(&mut self, step: &StepPath, line: &str) {
        self.listener.output(step, line);
    }

    fn note(&mut self, text: &str) {
        self.listener.note(text);
    }

    fn progress(&mut self, step: &StepPath, fraction: Option<f64>, text: &str) {
        self.listener.progress(step, fraction, text);
    }
}

fn leave(path: &std::path::Path, first: &Event) -> io::Result<()> {
    let log: File = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let (tree, number) = match &first.kind {
        EventKind::RunStarted(facts) => (facts.tree.as_str(), facts.number),
        _ => ("", 0),
    };
    let word = json!({
        "schema": SCHEMA, "version": 1, "run": first.run, "tree": tree, "number": number,
        "pid": std::process::id(), "log": path.display().to_string(),
    });
    setsid()?;
    report::color(ColorChoice::Never);
    dup2_stderr(&log)?;
    let handed = io::stdout().lock().write_all(word.to_string().as_bytes()).and_then(|()| io::stdout().flush());
    dup2_stdout(&log)?;
    // Whoever started it may be gone already.
    handed.or(Ok(()))
}
