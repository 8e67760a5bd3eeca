//! `trees events`: what was recorded of a run, as it was recorded.

use super::global::{Format, Global};
use super::{runs, story};
use crate::failure::{Exit, Failure};
use crate::report::{out_line, said};
use std::thread;
use std::time::Duration;
use trees_core::event::Event;
use trees_core::journal::Journal as _;
use trees_core::path::RunId;
use trees_state::State;

/// How often a follower looks for news; publishing is a doorbell inside one process only.
const LOOK: Duration = Duration::from_millis(200);

/// Print the recorded events of a run, one JSON object a line.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    #[arg(default_value = "@last")]
    run: String,
    /// Go on until the run ends or rests
    #[arg(short, long)]
    follow: bool,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let format = global.known(&[Format::Human, Format::Plain, Format::Json])?;
    let state = runs::required(global)?;
    let run = runs::find(&state, &args.run)?.run;
    let plain = matches!(format, Some(Format::Human | Format::Plain));
    follow(&state, &run, args.follow, |event| match plain {
        true => sentence(event).is_none_or(|line| out_line(&line)),
        false => serde_json::to_string(event).is_ok_and(|line| out_line(&line)),
    })?;
    Ok(Exit::OK)
}

/// An event in words; none where there is nothing to say.
fn sentence(event: &Event) -> Option<String> {
    let line = said::begun(event).or_else(|| said::say(event, None, false).map(|said| said.line))?;
    Some(format!("{:>4} {:.3} {}", event.seq, event.ts, line.plain()))
}

/// Hands each event on; follows a run until it ends or rests, or `to` says that nobody listens.
pub fn follow(state: &State, run: &RunId, follow: bool, mut to: impl FnMut(&Event) -> bool) -> Result<(), Failure> {
    let mut seq = 0;
    loop {
        // Asked before the events are read, so that none is missed at the end.
        let rests = story::at_rest(runs::find(state, &run.0)?.status);
        for event in state.load(run, seq)? {
            seq = event.seq;
            if !to(&event) {
                return Ok(());
            }
        }
        if rests || !follow {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
}
