//! `trees diff`: what differs between two runs. [`compare`] finds it, `text` says it.

mod compare;
mod text;

use super::global::Global;
use super::list::row;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::{out, out_json};
use compare::{Change, Difference, Side, StepChange};
use serde_json::{Map, Value, json};

/// Tell what differs between two runs.
///
/// Steps that ran, were cached, skipped or failed in one and not in the other, took longer, or
/// differ in their definition, inputs or outputs; params, environment and tree files.
#[derive(clap::Args)]
pub struct Args {
    /// The run to compare with: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    before: String,
    /// The other run
    after: String,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let state = runs::required(global)?;
    let before = Side::of(&state, runs::counted(&state, runs::find(&state, &args.before)?))?;
    let after = Side::of(&state, runs::counted(&state, runs::find(&state, &args.after)?))?;
    let difference = Difference::of(&before, &after);
    if json {
        out_json(&document(&before, &after, &difference));
    } else {
        let lines = text::lines(&before, &after, &difference);
        out(&lines.iter().map(|line| line.painted_out() + "\n").collect::<String>());
    }
    Ok(Exit::OK)
}

fn document(before: &Side, after: &Side, difference: &Difference) -> Value {
    json!({
        "schema": "trees/diff", "version": 1, "before": row(&before.run), "after": row(&after.run),
        "run": changes(&difference.run), "params": changes(&difference.params), "outputs": changes(&difference.outputs),
        "files": difference.files, "same": difference.same,
        "steps": difference.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn changes(changes: &[Change]) -> Map<String, Value> {
    changes.iter().map(|c| (c.name.clone(), json!({ "before": c.before, "after": c.after }))).collect()
}

fn step(step: &StepChange) -> Value {
    let status = step.status.map(|s| s.map(|s| s.as_str()));
    json!({
        "path": step.path,
        "status": { "before": status[0], "after": status[1] },
        "seconds": { "before": step.seconds[0], "after": step.seconds[1], "ratio": step.ratio },
        "attempts": { "before": step.attempts[0], "after": step.attempts[1] },
        "definition": step.definition, "inputs": step.inputs, "outputs": changes(&step.outputs), "artifacts": step.artifacts,
    })
}
