//! `on_busy`: what happens when another run of the same tree is active.

use super::runs;
use crate::failure::{Failure, Kind};
use crate::report::say;
use std::thread;
use std::time::Duration;
use trees_core::event::RunStatus;
use trees_core::journal::{RequestBody, RunFilter, RunSummary};
use trees_core::path::RunId;
use trees_core::store::{LockGuard, Store as _};
use trees_core::tree::{OnBusy, Tree};
use trees_state::State;

/// How often the other run is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What came of it.
pub enum Turn {
    /// Nothing else runs, and nothing else will while this is held.
    Ours(Option<Box<dyn LockGuard>>),
    /// The tree says to leave it.
    Skipped,
    /// Waiting was given up.
    GivenUp,
}

/// Takes the tree's turn, as the tree says; `run` is what goes on, where one does.
pub fn turn(state: &State, tree: &Tree, run: Option<&RunId>) -> Result<Turn, Failure> {
    turn_unless(state, tree, run, &|| false)
}

/// The same, for those who do not die of a signal: it is given up when `enough` says so.
pub fn turn_unless(state: &State, tree: &Tree, run: Option<&RunId>, enough: &dyn Fn() -> bool) -> Result<Turn, Failure> {
    if tree.on_busy == OnBusy::Allow {
        return Ok(Turn::Ours(None));
    }
    let name = format!("tree:{}", tree.name);
    let holder = run.cloned().unwrap_or_else(|| RunId(String::new()));
    let mut asked: Option<RunId> = None;
    let mut told = false;
    loop {
        let guard = state.lock(&name, &holder)?;
        let active = active(state, tree, run)?;
        match (guard, &active) {
            (Ok(guard), None) => return Ok(Turn::Ours(Some(guard))),
            _ if tree.on_busy == OnBusy::Skip => {
                say(&format!("skipped: {}", words(active.as_ref(), tree)));
                return Ok(Turn::Skipped);
            }
            _ if tree.on_busy == OnBusy::Fail => {
                let failure = Failure::new(Kind::Held, words(active.as_ref(), tree));
                return Err(failure.hint("the tree says `on_busy: fail`; wait for it, or end it with trees cancel"));
            }
            (_, Some(other)) if tree.on_busy == OnBusy::CancelOld && asked.as_ref() != Some(&other.run) => {
                runs::ask(state, &other.run, &RequestBody::Cancel { now: false })?;
                say(&format!("{}; it is being cancelled", words(active.as_ref(), tree)));
                asked = Some(other.run.clone());
            }
            _ if !told && asked.is_none() => {
                told = true;
                say(&format!("waiting: {} (Ctrl-C: do not wait)", words(active.as_ref(), tree)));
                active.iter().for_each(runs::tell_stopped);
            }
            _ => {}
        }
        if enough() {
            return Ok(Turn::GivenUp);
        }
        thread::sleep(LOOK);
    }
}

/// Another run of the tree that a living process drives.
fn active(state: &State, tree: &Tree, own: Option<&RunId>) -> Result<Option<RunSummary>, Failure> {
    let statuses = vec![RunStatus::Running, RunStatus::RollingBack];
    let all = runs::list(state, &RunFilter { tree: Some(tree.name.clone()), statuses, ..RunFilter::default() })?;
    Ok(all.into_iter().find(|r| r.pid.is_some() && Some(&r.run) != own))
}

fn words(active: Option<&RunSummary>, tree: &Tree) -> String {
    match active {
        Some(run) => format!("run {} ({} #{}) is active, process {}", run.run, run.tree, run.number, run.pid.unwrap_or_default()),
        None => format!("another run of {} is just starting", tree.name),
    }
}
