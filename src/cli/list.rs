//! `trees list`: the runs, newest first.

use super::global::Global;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::{Line, Paint, out, out_json, said, say, style};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use trees_core::event::RunStatus;
use trees_core::journal::{RunFilter, RunSummary};
use trees_state::{Origin, State, stopped};

/// List runs, newest first.
#[derive(clap::Args)]
pub struct Args {
    /// Only runs of this tree
    #[arg(long, value_name = "TREE")]
    tree: Option<String>,
    /// Only runs with this status
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Vec<RunStatus>,
    /// At most so many; 0 for all
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

fn status(text: &str) -> Result<RunStatus, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        "write pending, running, waiting, paused, interrupted, rolling_back, succeeded, succeeded_with_warnings, failed, cancelled, rolled_back \
         or rollback_stuck"
            .into()
    })
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let filter = RunFilter { tree: args.tree.clone(), statuses: args.status.clone(), limit: args.limit, own: false };
    let state = runs::existing(global)?;
    let (all, origins): (Vec<RunSummary>, _) = match &state {
        Some(state) => (runs::list(state, &filter)?.into_iter().map(|run| runs::counted(state, run)).collect(), state.origins()?),
        None => Default::default(),
    };
    let lost = state.as_ref().map_or(Ok(Vec::new()), State::lost)?;
    if json {
        let rows: Vec<Value> = all.iter().map(|run| marked(run, origins.get(&run.run))).collect();
        out_json(&json!({ "schema": "trees/list", "version": 1, "runs": rows }));
    } else if all.is_empty() {
        let others = state.as_ref().map_or(Ok(0), |state| runs::list(state, &RunFilter::default()).map(|all| all.len()))?;
        if others > 0 || lost.is_empty() {
            say(&nothing(others));
        }
    } else {
        let mark = |run: &RunSummary| if origins.contains_key(&run.run) { "  imported" } else { "" };
        let lines = table(&all).into_iter().zip(&all).map(|(line, run)| line.with(Paint::Faint, mark(run)));
        let fit = |line: Line| style::columns().map_or(line.clone(), |columns| line.fit(columns));
        out(&lines.map(|line| fit(line).painted_out() + "\n").collect::<String>());
        all.iter().for_each(runs::tell_stopped);
    }
    if let Some(text) = runs::lost(&lost) {
        say(&text);
    }
    Ok(Exit::OK)
}

/// What is said instead of a list.
fn nothing(others: usize) -> String {
    match others {
        0 => "no runs here yet; start one with: trees run FILE".into(),
        1 => "the one run here is no such run; see it with: trees list".into(),
        _ => format!("none of the {others} runs here is such a run; see them with: trees list"),
    }
}

/// A run as JSON.
pub fn row(run: &RunSummary) -> Value {
    json!({
        "run": run.run, "tree": run.tree, "number": run.number, "file": run.file, "environment": run.environment,
        "status": run.status, "started": stamp(run.started), "finished": run.finished.map(stamp),
        "done": run.progress.map(|p| p.done), "failed": run.progress.map(|p| p.failed), "total": run.progress.map(|p| p.total),
        "pid": run.pid, "stopped": run.pid.is_some_and(|pid| stopped(&run.run, pid).is_some()),
    })
}

/// The same, with where it comes from if that is elsewhere.
pub fn marked(run: &RunSummary, origin: Option<&Origin>) -> Value {
    let mut row = row(run);
    row["imported"] = origin.map_or(Value::Null, |o| json!({ "file": o.file, "host": o.host, "at": stamp(o.at) }));
    row
}

/// RFC 3339, UTC, microseconds, as in events.
pub fn stamp(ts: Timestamp) -> String {
    format!("{ts:.6}")
}

/// One line a run, columns as wide as they need.
pub fn table(all: &[RunSummary]) -> Vec<Line> {
    let name = |run: &RunSummary| format!("{} #{}", run.tree, run.number);
    let width = |text: &dyn Fn(&RunSummary) -> String| all.iter().map(|r| text(r).len()).max().unwrap_or(0);
    let names = width(&name);
    let statuses = width(&|r| r.status.as_str().to_owned());
    let environments = width(&|r| r.environment.clone());
    let line = |run: &RunSummary| {
        let (paint, _) = said::status_word(run.status);
        let mut line = Line::default()
            .with(Paint::Strong, run.run.to_string())
            .with(Paint::Plain, format!("  {}", style::pad(&name(run), names)))
            .with(paint, format!("  {}", style::pad(run.status.as_str(), statuses)));
        if environments > 0 {
            line = line.with(Paint::Plain, format!("  {}", style::pad(&run.environment, environments)));
        }
        let took = run.finished.map(|end| said::took(Duration::try_from(end.duration_since(run.started)).unwrap_or_default()));
        let far = run.progress.map_or_else(|| "?".into(), |p| format!("{}/{}", p.done, p.total));
        let started = run.started.strftime("%Y-%m-%d %H:%M:%SZ");
        line.with(Paint::Plain, format!("  {started}  {:>7}  {far}", took.unwrap_or_default()))
    };
    let fit = |line: Line| style::columns().map_or(line.clone(), |columns| line.fit(columns));
    all.iter().map(line).map(fit).collect()
}
