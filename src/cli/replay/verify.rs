//! `trees replay --verify`: whether the scheduler decides again what was recorded.

use crate::cli::check;
use crate::cli::global::Global;
use crate::cli::runs;
use crate::cli::source::TreeFile;
use crate::failure::{Exit, Failure};
use crate::report::{out_json, out_line};
use serde_json::json;
use std::sync::Arc;
use trees_core::journal::{Journal as _, RunSummary};
use trees_core::run::{Difference, Pace, verify};
use trees_core::tree::Tree;
use trees_state::State;

/// Gives the recorded outcomes to the scheduler again, with the recorded tree and then with that of `file`.
pub fn run(state: &State, run: &RunSummary, file: Option<&str>, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let kinds = trees_steps::catalogue();
    let edited = match file.map(|file| edited(file, &kinds)).transpose()? {
        Some(Err(exit)) => return Ok(exit),
        Some(Ok(found)) => Some(found),
        None => None,
    };
    let recorded = runs::definitions(state, &run.run)?;
    let events = state.load(&run.run, 0)?;
    let different = verify(&run.run, &events, &recorded, edited.as_ref().map(|(tree, _)| tree), &kinds, Pace::Driven);
    let prefix = edited.as_ref().filter(|_| different.as_ref().is_some_and(|d| d.edited)).map_or("", |(_, prefix)| prefix);
    let place = different.as_ref().and_then(|d| d.file.as_ref()).map(|name| format!("{prefix}{name}"));
    if json {
        out_json(&json!({
            "schema": "trees/verify", "version": 1, "run": run.run, "tree": file, "events": events.len(), "same": different.is_none(),
            "difference": different.as_ref().map(|d| json!({
                "seq": d.seq, "step": d.step, "recorded": d.recorded, "now": d.now, "file": place, "line": d.line,
            })),
        }));
    } else if let Some(difference) = &different {
        out_line(&line(difference, place.as_deref()));
    } else if !global.quiet {
        let with = file.map(|file| format!(" with {file}")).unwrap_or_default();
        out_line(&format!("run {}: all {} events are decided the same{with}", run.run, events.len()));
    }
    Ok(if different.is_none() { Exit::OK } else { Exit::FAILED })
}

/// The tree of a file, and what stands before the names of its texts.
fn edited(file: &str, kinds: &trees_steps::Catalogue) -> Result<Result<(Arc<Tree>, String), Exit>, Failure> {
    let source = TreeFile::find(file)?;
    Ok(check::tree(&source, kinds).map(|(tree, _)| (tree, source.prefix.clone())))
}

/// `seq 41: recorded X at deploy, now Y (tree.yaml:31)`.
fn line(difference: &Difference, file: Option<&str>) -> String {
    let at = difference.step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
    let line = difference.line.map(|line| format!(":{line}")).unwrap_or_default();
    let place = file.map(|file| format!(" ({file}{line})")).unwrap_or_default();
    format!("seq {}: recorded {}{at}, now {}{place}", difference.seq, difference.recorded, difference.now)
}
