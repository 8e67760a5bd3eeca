//! `trees doctor`: is everything there that runs need, and is the state well?

use super::drive;
use super::global::Global;
use super::runs;
use crate::failure::{Exit, Failure, Kind};
use crate::report::{Line, Paint, clean, out_json, out_line};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use trees_core::event::{Event, EventKind};
use trees_core::journal::Journal as _;
use trees_core::path::RunId;
use trees_state::{Finding, Health, State};

/// Look whether the state is well and everything is there that runs need.
///
/// Nothing is changed: one small file is written and taken away. Exit 1 if something will make runs
/// fail, or cannot be read.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let folder = runs::place(global)?;
    let mut found =
        vec![Finding::good("trees", format!("{} on {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH))];
    found.push(Finding::good("state", folder.display().to_string()));
    found.extend(State::doctor(&folder, &judge));
    found.push(tool("sh", &["-c", "echo the shell answers"], "steps with `run` need it"));
    found.push(tool("git", &["--version"], "the git kinds need it"));
    if json {
        let rows: Vec<Value> = found.iter().map(|f| json!(f)).collect();
        out_json(&json!({ "schema": "trees/doctor", "version": 1, "findings": rows }));
    } else {
        found.iter().for_each(print);
    }
    let bad = found.iter().any(|f| f.health == Health::Bad);
    Ok(if bad { Exit::FAILED } else { Exit::OK })
}

/// Whether the events of a run follow from one another, as a resume would find.
fn judge(state: &State, run: &RunId, recorded: &[Event]) -> Option<Finding> {
    let Err(failure) = runs::definitions(state, run).and_then(|known| runs::replayed(run, known, recorded)) else {
        return unrecorded(state, run, recorded).or_else(|| early(run, recorded));
    };
    let text = format!("run {run} cannot be taken up again: {failure}");
    Some(match failure.kind {
        // Another version of trees would take it.
        Kind::Wrong => Finding::note("events", text, "use the version that began it"),
        Kind::Failed | Kind::Held | Kind::State | Kind::Bug => {
            Finding::bad("events", text, "put back a copy of the state folder; the other runs are not touched by it")
        }
    })
}

/// Whether more began than the events tell.
fn unrecorded(state: &State, run: &RunId, recorded: &[Event]) -> Option<Finding> {
    runs::remains(state, run, recorded).ok()?.first()?;
    // What a living run began meanwhile is recorded by now.
    let recorded = state.load(run, 0).ok()?;
    let remains = runs::remains(state, run, &recorded).ok()?;
    let text = runs::cut_short(run, remains.first()?, remains.len());
    Some(Finding::bad("events", text, &format!("put back a copy of the state folder, or see: trees resume {run}")))
}

/// Whether the clock stands far behind what is recorded of a run that is to go on.
fn early(run: &RunId, recorded: &[Event]) -> Option<Finding> {
    let newest = recorded.last().filter(|newest| !matches!(newest.kind, EventKind::RunFinished { .. }))?;
    let text = drive::behind(run, newest.ts)?;
    Some(Finding::bad("clock", text, &format!("{}; if it is right: trees resume {run} --yes", drive::SET_CLOCK)))
}

/// Whether a program can be started.
fn tool(name: &'static str, arguments: &[&str], needed: &str) -> Finding {
    match Command::new(name).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::good(name, clean(text.lines().next().unwrap_or_default()))
        }
        Ok(output) => missing(name, format!("`{name}` ends with {}", output.status), needed),
        Err(error) => missing(name, format!("`{name}` cannot be started: {error}"), needed),
    }
}

fn missing(check: &'static str, text: String, needed: &str) -> Finding {
    Finding::note(check, text, &format!("install {check}; {needed}"))
}

fn print(finding: &Finding) {
    let (paint, sign) = match finding.health {
        Health::Good => (Paint::Good, "✓"),
        Health::Note => (Paint::Care, "!"),
        Health::Bad => (Paint::Bad, "✗"),
    };
    out_line(
        &Line::default()
            .with(paint, format!("{sign} "))
            .with(Paint::Plain, format!("{:<12} {}", finding.check, clean(&finding.text)))
            .painted_out(),
    );
    if let Some(cure) = &finding.cure {
        out_line(&Line::default().with(Paint::Faint, format!("{:15}{}", "", clean(cure))).painted_out());
    }
}
