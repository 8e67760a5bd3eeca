//! `trees gc`: removes old runs and what nobody names any more.

use super::global::Global;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::said::plural;
use crate::report::{out_json, out_line, say};
use jiff::SignedDuration;
use serde_json::json;
use std::time::Duration;
use trees_core::journal::{JournalError, RunFilter, RunSummary};
use trees_core::store::Store as _;
use trees_core::units;
use trees_runner::identity::Register;
use trees_runner::{leftovers, scratch};
use trees_state::{Gc, Removed, State};

/// Remove old runs with their logs, and artifacts that nobody names.
///
/// Runs that have not ended always stay; what a killed one left in memory and in the temporary folder goes, once none of
/// its processes lives. After each run old runs and artifacts go by themselves, but for 50 runs a tree and 5 GiB.
#[derive(clap::Args)]
pub struct Args {
    /// So many runs of each tree stay, the newest [default: 50]
    #[arg(long, value_name = "COUNT", conflicts_with = "older")]
    keep: Option<usize>,
    /// Runs that ended longer ago go, and no others
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    older: Option<Duration>,
    /// Folders of runs whose record is lost go too
    #[arg(long)]
    lost: bool,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let older = args.older.map(|d| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX));
    let keep = if older.is_some() { None } else { args.keep.or(Gc::default().keep) };
    let gc = Gc { keep, older, lost: args.lost, dry_run: args.dry_run, ..Gc::default() };
    let removed = match runs::existing(global)? {
        Some(state) => {
            if !args.dry_run {
                clear(&state)?;
            }
            if args.lost && !args.dry_run { with_lost(&state, &gc)? } else { state.gc(&gc)? }
        }
        None => Removed::default(),
    };
    if json {
        let mut document = json!(removed);
        document["schema"] = "trees/gc".into();
        document["version"] = 1.into();
        document["dry_run"] = args.dry_run.into();
        out_json(&document);
        return Ok(Exit::OK);
    }
    let word = if args.dry_run { "would remove" } else { "removed" };
    out_line(&format!(
        "{word} {}, {}, {}",
        plural(removed.runs.len(), "run"),
        plural(removed.artifacts.len(), "artifact"),
        size(removed.bytes)
    ));
    if let Some(text) = runs::lost(&removed.lost) {
        say(&text);
    }
    Ok(Exit::OK)
}

/// Runs whose record is lost go with what they left elsewhere: no resume will find it any more.
fn with_lost(state: &State, gc: &Gc) -> Result<Removed, Failure> {
    let lost = state.lost()?;
    for run in &lost {
        let alive: Vec<String> = leftovers::of_run(run).map_err(Failure::failed)?.iter().map(|found| found.pid.to_string()).collect();
        if !alive.is_empty() {
            let pids = alive.join(" ");
            return Err(Failure::failed(format!("processes of run {run}, whose record is lost, still run: {pids}"))
                .hint(format!("end them first: kill {pids}")));
        }
    }
    let removed = state.gc(gc)?;
    for run in lost.iter().filter(|run| removed.runs.contains(run)) {
        scratch::sweep(run);
    }
    Ok(removed)
}

/// What attempts of killed runs left in memory and in the temporary folder, secrets among it, goes where nobody
/// uses it any more: no resume may ever come.
fn clear(state: &State) -> Result<(), Failure> {
    let all = runs::list(state, &RunFilter { own: true, ..RunFilter::default() })?;
    for RunSummary { run, .. } in all.into_iter().filter(|run| !run.status.is_ended()) {
        if !scratch::is_left(&run) {
            continue;
        }
        let _still = match state.still(&run) {
            Ok(still) => still,
            Err(JournalError::Held { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let register = Register::new(state.run_folder(&run)?);
        if leftovers::may_live(&run, register.path()).map_err(Failure::failed)? {
            continue;
        }
        scratch::sweep(&run);
        if scratch::is_left(&run) {
            say(&format!("what attempts of run {run} left in the temporary folder cannot be removed; see to its owner"));
        }
    }
    Ok(())
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}
