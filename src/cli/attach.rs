//! The screen of a run that another process drives: `trees show -f`.
//!
//! Events come from the journal, the newest lines of running steps from their logs. A signal ends
//! the screen and leaves the run alone.

use super::drive;
use super::finish;
use super::global::Global;
use super::{runs, signals, story};
use crate::failure::{Exit, Failure};
use crate::report::closing::Closing;
use crate::report::said::status_after;
use crate::report::screen::{Look, Screen, Setup};
use crate::report::{say, tail::tail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use trees_core::event::{Event, EventKind, StepStatus};
use trees_core::journal::{Journal as _, RequestBody, RunSummary};
use trees_core::path::{RunId, StepPath};
use trees_runner::clock::Clock;
use trees_runner::listen::Listener;
use trees_state::State;

/// How often it is looked for news; publishing is a doorbell inside one process only.
const LOOK: Duration = Duration::from_millis(200);

/// Shows the run until it ends or rests, or a signal comes; the exit code is the run's.
pub fn attach(state: State, run: &RunSummary, global: &Global) -> Result<Exit, Failure> {
    let look = drive::look(global)?;
    runs::tell_stopped(run);
    let state = Arc::new(state);
    let tree = runs::tree(&state, &run.run)?;
    let recorded = state.load(&run.run, 0)?;
    let words = runs::words(&state, &run.run)?;
    // A program gets all; a person what the screen of the last sitting has said.
    let begun = if look == Look::Json { 0 } else { sitting(&recorded) };
    let screen = Screen::open(
        Setup {
            look,
            quiet: global.quiet,
            estimate: drive::estimate(&state, &run.tree),
            tree,
            // What was answered is not asked again.
            approved: words.keys().cloned().collect(),
            state: runs::folder(&state).to_owned(),
            before: recorded[..begun].to_vec(),
        },
        Clock::after(recorded.last().map(|newest| newest.ts)).into(),
    );
    if look.asks() {
        answer(&screen, Arc::clone(&state), run.run.clone());
    }
    let signals = signals::receiver()?;
    let mut follower = Follower {
        state: &state,
        run: &run.run,
        seq: recorded.get(begun).map_or(1, |e| e.seq) - 1,
        logs: Logs::default(),
        last: None,
        signal: None,
    };
    let ended = follower.follow(&mut *screen.listener(), &signals, look == Look::Terminal);
    let (last, signal) = (follower.last, follower.signal);
    let mut later = None;
    let tally = screen.close(|| {
        later = later.or_else(|| signals.try_recv().ok());
        signal.or(later).is_some()
    });
    let ended = ended?;
    let Some(tally) = tally else {
        finish::tell_unread(&run.run);
        return Ok(ended.or(signal).or(later).map_or(Exit::FAILED, Exit::signal));
    };
    if let Some(number) = ended {
        say(&format!("detached; run {0} goes on, see it again with: trees show {0} -f", run.run));
        return Ok(Exit::signal(number));
    }
    let status = runs::find(&state, &run.run.0)?.status;
    let words = runs::words(&state, &run.run)?;
    let took = recorded.get(begun).zip(last).map(|(first, last)| last.duration_since(first.ts));
    let took = took.and_then(|t| Duration::try_from(t).ok()).unwrap_or_default();
    finish::tell(&Closing { run: run.run.clone(), status, signal, took, tally, words }, global);
    Ok(signal.map_or_else(|| finish::exit(status, false), Exit::signal))
}

/// Where the events of the last sitting begin.
fn sitting(events: &[Event]) -> usize {
    events.iter().rposition(|e| e.kind.begins_sitting()).unwrap_or(0)
}

/// A person at this screen answers as one elsewhere does.
fn answer(screen: &Screen, state: Arc<State>, run: RunId) {
    screen.answers(move |answer| {
        let (step, note) = (answer.name, None);
        let body = if answer.yes { RequestBody::Approve { step, note } } else { RequestBody::Reject { step, note } };
        if let Err(failure) = runs::ask(&state, &run, &body) {
            say(&format!("the answer could not be recorded: {failure}"));
        }
    });
}

struct Follower<'a> {
    state: &'a State,
    run: &'a RunId,
    seq: u64,
    logs: Logs,
    /// When the newest event was recorded.
    last: Option<jiff::Timestamp>,
    /// The signal that ended it.
    signal: Option<i32>,
}

impl Follower<'_> {
    /// Tells all news until the run rests, or the signal that came before.
    fn follow(&mut self, to: &mut dyn Listener, signals: &Receiver<i32>, output: bool) -> Result<Option<i32>, Failure> {
        loop {
            // Asked before the events are read, so that none is missed at the end.
            let rests = story::at_rest(runs::find(self.state, &self.run.0)?.status);
            let events = self.state.load(self.run, self.seq)?;
            if let Some(newest) = events.last() {
                (self.seq, self.last) = (newest.seq, Some(newest.ts));
                self.signal = match &newest.kind {
                    EventKind::RunSuspended { signal, .. } => *signal,
                    _ => None,
                };
                to.events(&events);
            }
            if rests {
                return Ok(None);
            }
            if output {
                events.iter().for_each(|event| self.logs.hear(self.state, event));
                self.logs.tell(to);
            }
            match signals.recv_timeout(LOOK) {
                Ok(number) => return Ok(Some(number)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
            }
        }
    }
}

/// The logs of the steps at work, with how long they were when they were last looked at.
#[derive(Default)]
struct Logs(BTreeMap<StepPath, (PathBuf, u64)>);

impl Logs {
    fn hear(&mut self, state: &State, event: &Event) {
        let Some(step) = &event.step else { return };
        match (&event.kind, event.attempt) {
            (EventKind::StepStarted { .. }, Some(attempt)) => {
                if let Ok(folder) = state.attempt_path(&event.run, step, attempt) {
                    self.0.insert(step.clone(), (folder.join(trees_runner::output::FILE), 0));
                }
            }
            (kind, _) if status_after(kind).is_some_and(|status| status != StepStatus::Running) => drop(self.0.remove(step)),
            _ => {}
        }
    }

    /// The newest line of each log that has grown.
    fn tell(&mut self, to: &mut dyn Listener) {
        for (step, (path, seen)) in &mut self.0 {
            let length = path.metadata().map_or(0, |file| file.len());
            if length != *seen
                && let Some(line) = tail(path, 1).ok().and_then(|lines| lines.into_iter().next())
            {
                *seen = length;
                to.output(step, &line);
            }
        }
    }
}
