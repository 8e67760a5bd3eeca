//! `trees timeline`: when each step of a run waited and ran, and what decided how long it took.
//!
//! [`record`] puts events on one axis of time, [`course`] walks the tree over them for needs and
//! the critical path, [`sums`] adds up; `chart`, `document` and `page` show the [`Timeline`].

mod chart;
mod course;
mod document;
mod page;
mod record;
mod spans;
mod sums;
#[cfg(test)]
mod tests;

use super::aside;
use super::global::Global;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::said::took;
use crate::report::{out, out_json, say, style};
use jiff::Timestamp;
use record::{Lane, Phase};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sums::Totals;
use trees_core::event::{Event, RunStatus};
use trees_core::journal::{Journal as _, RunSummary};
use trees_core::tree::Tree;

/// Show when each step of a run waited and ran.
///
/// A Gantt chart with the critical path marked, and what the steps waited for. The time in which the
/// run was at rest is left out of the chart.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    #[arg(default_value = "@last")]
    run: String,
    /// Write it as one web page that needs nothing else (`-`: to standard output)
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Less is not told among sums.
const WORTH_TELLING: Time = 50_000;

/// Microseconds from the start of the run, the time at rest left out.
pub type Time = i64;

/// A run on its axis of time.
pub struct Timeline {
    /// The run.
    pub run: RunSummary,
    /// Each leaf of which something was heard, in the order in which they began.
    pub lanes: Vec<Lane>,
    /// Where the axis ends.
    pub end: Time,
    /// Where sittings after the first begin.
    pub sittings: Vec<Time>,
    /// Indices of the lanes on the critical path, in order.
    pub critical: Vec<usize>,
    /// The length of the critical path.
    pub critical_time: Time,
    /// How many leaves run from a time on.
    pub curve: Vec<(Time, u32)>,
    /// The sums.
    pub totals: Totals,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let state = runs::required(global)?;
    let run = runs::counted(&state, runs::find(&state, &args.run)?);
    let recorded = state.load(&run.run, 0)?;
    let definitions = runs::definitions(&state, &run.run)?;
    let timeline = Timeline::of(run, &definitions.retold(&recorded), definitions.newest());
    if let Some(file) = &args.html {
        let text = page::page(&timeline)?;
        write(file, &text)?;
    }
    match (json, &args.html) {
        (true, Some(file)) if file == Path::new("-") => {}
        (true, _) => out_json(&document::document(&timeline)),
        (false, None) => {
            let width = style::columns().unwrap_or(chart::WIDTH).clamp(chart::NARROWEST, chart::WIDEST);
            let lines = chart::lines(&timeline, width);
            out(&lines.iter().map(|line| line.painted_out() + "\n").collect::<String>());
        }
        (false, Some(_)) => {}
    }
    Ok(Exit::OK)
}

/// How many seconds each leaf ran.
pub fn ran(recorded: &[Event], tree: &Tree) -> HashMap<String, f64> {
    let lanes = record::record(recorded, tree, None).lanes;
    lanes.into_iter().map(|lane| (lane.path.clone(), seconds(lane.spent(Phase::Run)))).collect()
}

/// Into the file, or to standard output where it is `-`.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    if file == Path::new("-") {
        out(text);
        return Ok(());
    }
    aside::write_text(file, text)?;
    say(&format!("wrote {}", file.display()));
    Ok(())
}

impl Timeline {
    /// From all events.
    pub fn of(run: RunSummary, recorded: &[Event], tree: &Tree) -> Self {
        let alive = matches!(run.status, RunStatus::Running | RunStatus::RollingBack);
        let record = record::record(recorded, tree, alive.then(Timestamp::now));
        let facts = runs::facts(recorded);
        let environment = facts.map_or("", |f| f.environment.as_str());
        let mut lanes = record.lanes;
        let course = course::course(tree, environment, &mut lanes, &record.containers, record.end);
        let limit = facts.map_or(u32::MAX, |f| f.max_parallel);
        let loads = sums::Loads::of(&lanes, limit);
        sums::split(&mut lanes, &loads, &record.sittings);
        let totals = Totals::of(&lanes, &record.sittings, record.end, record.rest);
        let curve = loads.curve();
        let (lanes, critical) = in_order(lanes, course.critical);
        let sittings = record.sittings.into_iter().skip(1).collect();
        Self { run, lanes, end: record.end, sittings, critical, critical_time: course.length, curve, totals }
    }

    /// A time of the axis as a share of it, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    pub fn percent(&self, time: Time) -> f64 {
        if self.end <= 0 { 0.0 } else { (time as f64 / self.end as f64 * 100.0).clamp(0.0, 100.0) }
    }
}

/// The lanes by when they began.
fn in_order(lanes: Vec<Lane>, critical: Vec<usize>) -> (Vec<Lane>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    order.sort_by_key(|i| lanes.get(*i).and_then(Lane::first));
    let mut place = vec![0; lanes.len()];
    for (new, old) in order.into_iter().enumerate() {
        place[old] = new;
    }
    let mut placed: Vec<(usize, Lane)> = place.iter().copied().zip(lanes).collect();
    placed.sort_by_key(|(new, _)| *new);
    let critical: Vec<usize> = critical.into_iter().map(|old| place[old]).collect();
    let mut lanes: Vec<Lane> = placed.into_iter().map(|(_, lane)| lane).collect();
    critical.iter().for_each(|i| lanes[*i].critical = true);
    (lanes, critical)
}

/// A time in words.
pub fn told(time: Time) -> String {
    match time {
        ..500 => "0s".into(),
        500..100_000 => format!("{}ms", (time + 500) / 1000),
        _ => took(Duration::from_micros(u64::try_from(time).unwrap_or_default())),
    }
}

/// A time in seconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit")]
pub fn seconds(time: Time) -> f64 {
    time as f64 / 1e6
}
