//! Hands recorded events to a screen when their time has come.

use crate::cli::signals;
use crate::failure::Failure;
use crate::report::clock::Clock;
use crate::report::screen::{Look, Screen, Setup};
use crate::report::view::Tally;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use trees_core::event::Event;
use trees_core::tree::Tree;
use trees_runner::listen::Listener;

/// What a replay needs to know.
pub struct Player {
    /// Which screen.
    pub look: Look,
    /// Only failures and the end.
    pub quiet: bool,
    /// How fast; at once where there is none.
    pub speed: Option<f64>,
    /// The recorded tree.
    pub tree: Arc<Tree>,
    /// The state folder.
    pub state: PathBuf,
}

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All was shown.
    Whole,
    /// A signal came first.
    Signal(i32),
}

impl Player {
    /// Shows the events, each when its time has come; tells how far the run came.
    pub fn play(self, events: &[Event]) -> Result<(Ended, Tally), Failure> {
        let begin = events.first().map_or(jiff::Timestamp::UNIX_EPOCH, |event| event.ts);
        let clock = Clock::recorded(begin, self.speed.unwrap_or(1.0));
        // Only a terminal must be put back as it was found; elsewhere a signal ends the process.
        let signals = if self.look == Look::Terminal { signals::receiver()? } else { channel().1 };
        let setup = Setup {
            look: self.look,
            quiet: self.quiet,
            tree: self.tree,
            estimate: None,
            approved: Vec::new(),
            state: self.state,
            before: Vec::new(),
        };
        let screen = Screen::open(setup, clock.clone());
        let mut listener = screen.listener();
        let ended = match self.speed {
            None => {
                listener.events(events);
                Ended::Whole
            }
            Some(_) => paced(events, &clock, &mut *listener, &signals),
        };
        drop(listener);
        // Nobody hurries: a signal ends the process.
        Ok((ended, screen.close(|| false).unwrap_or_default()))
    }
}

/// Whether a run was at rest, or cut off, before this event.
pub fn after_a_rest(event: &Event) -> bool {
    event.kind.begins_sitting() && event.seq > 1
}

fn paced(events: &[Event], clock: &Clock, listener: &mut dyn Listener, signals: &Receiver<i32>) -> Ended {
    for event in events {
        if after_a_rest(event) {
            clock.jump(event.ts);
        }
        clock.run_to(event.ts);
        if let Some(signal) = wait(clock.until(event.ts), signals) {
            return Ended::Signal(signal);
        }
        listener.events(std::slice::from_ref(event));
    }
    Ended::Whole
}

/// Waits so long, or until a signal comes.
fn wait(time: Duration, signals: &Receiver<i32>) -> Option<i32> {
    match signals.recv_timeout(time) {
        Ok(signal) => Some(signal),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            std::thread::sleep(time);
            None
        }
    }
}
