//! `trees replay`: what was recorded of a run, once more through the same screens. Nothing is run.

mod play;
mod verify;

use super::drive;
use super::finish;
use super::global::Global;
use super::runs;
use super::show::Shown;
use crate::failure::{Exit, Failure};
use crate::report::closing::Closing;
use crate::report::out_line;
use crate::report::screen::Look;
use play::{Ended, Player};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use trees_core::event::{Event, EventKind, RunStatus};
use trees_core::journal::{Journal as _, RunSummary};

/// Show a recorded run again, as it went. Nothing is run.
///
/// The recorded events go through the same screens as those of a living run, at the speed at which
/// they came. The time in which the run was at rest is left out. Ctrl-C ends it.
///
/// With --verify nothing is shown: the recorded outcomes are given to the scheduler again, which decides
/// anew what starts, is skipped, tried again or taken back. The exit code is 1 where it decides otherwise.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    #[arg(default_value = "@last")]
    run: String,
    /// So many times as fast as it was: 10, 0.5
    #[arg(long, value_name = "X", default_value = "1", value_parser = speed)]
    speed: f64,
    /// At once
    #[arg(long, conflicts_with = "speed")]
    instant: bool,
    /// Stop after the event with this number, and show how all steps stood then
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    until: Option<u64>,
    /// Give the recorded outcomes to the scheduler again, and name the first decision that differs
    #[arg(long, conflicts_with_all = ["speed", "instant", "until"])]
    verify: bool,
    /// With this tree in place of the recorded one
    #[arg(long, value_name = "FILE", requires = "verify")]
    tree: Option<String>,
}

fn speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text).parse().ok();
    number.filter(|n: &f64| (0.001..=1e6).contains(n)).ok_or_else(|| "write a number from 0.001 to 1000000, as in 10 or 0.5".into())
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let look = drive::look(global)?;
    let state = runs::required(global)?;
    let run = runs::find(&state, &args.run)?;
    if args.verify {
        return verify::run(&state, &run, args.tree.as_deref(), global);
    }
    let mut recorded = state.load(&run.run, 0)?;
    if let Some(until) = args.until {
        let last = recorded.last().map_or(0, |event| event.seq);
        if until > last {
            return Err(Failure::wrong(format!("run {} has no event {until}", run.run)).hint(format!("its last is {last}")));
        }
        recorded.retain(|event| event.seq <= until);
    }
    let definitions = runs::definitions(&state, &run.run)?;
    let tree = Arc::clone(definitions.newest());
    let speed = (!args.instant).then_some(args.speed);
    let player = Player { look, quiet: global.quiet, speed, tree: tree.clone(), state: runs::folder(&state).to_owned() };
    let (ended, tally) = player.play(&recorded)?;
    if let Ended::Signal(signal) = ended {
        return Ok(Exit::signal(signal));
    }
    if args.until.is_none() {
        // The last word of the record may be that of a process that is gone: the summary knows.
        let status = if run.seq == recorded.last().map_or(0, |e| e.seq) { run.status } else { status(&recorded) };
        finish::tell(&Closing { run: run.run, status, signal: None, took: driven(&recorded), tally, words: BTreeMap::new() }, global);
        return Ok(Exit::OK);
    }
    let shown = Shown::of(then(run, &recorded), &recorded, Some(definitions));
    if look == Look::Json {
        let mut document = shown.document();
        document["seq"] = args.until.into();
        out_line(&document.to_string());
    } else {
        shown.print(&state, global.quiet);
    }
    Ok(Exit::OK)
}

/// The run as it was after the events.
fn then(run: RunSummary, recorded: &[Event]) -> RunSummary {
    let status = status(recorded);
    let last = recorded.last();
    RunSummary { status, finished: last.filter(|_| status.is_ended()).map(|e| e.ts), seq: last.map_or(0, |e| e.seq), pid: None, ..run }
}

/// The status of a run after its events.
fn status(recorded: &[Event]) -> RunStatus {
    let of = |event: &Event| match &event.kind {
        EventKind::RunSuspended { status, .. } | EventKind::RunFinished { status, .. } => Some(*status),
        EventKind::RunStarted(_) | EventKind::RunResumed { .. } => Some(RunStatus::Running),
        EventKind::RollbackStarted { .. } => Some(RunStatus::RollingBack),
        _ => None,
    };
    recorded.iter().rev().find_map(of).unwrap_or(RunStatus::Pending)
}

/// How long the run was driven, in all sittings.
fn driven(recorded: &[Event]) -> Duration {
    let pairs = recorded.windows(2).filter_map(|pair| <&[Event; 2]>::try_from(pair).ok());
    let apart = |[a, b]: &[Event; 2]| Duration::try_from(b.ts.duration_since(a.ts)).unwrap_or_default();
    pairs.filter(|[_, next]| !play::after_a_rest(next)).map(apart).sum()
}

#[cfg(test)]
mod tests {
    use super::speed;

    #[test]
    fn speeds() {
        for (text, expected) in
            [("10", Some(10.0)), ("0.5", Some(0.5)), ("4x", Some(4.0)), ("0", None), ("-1", None), ("NaN", None), ("fast", None)]
        {
            assert_eq!(speed(text).ok(), expected, "{text}");
        }
    }
}
