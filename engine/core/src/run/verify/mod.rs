//! The recorded outcomes through the scheduler again: does it decide what was recorded?
//!
//! Two parts. [`retrace`](retrace::Retrace) finds the turns behind the record: which words of the
//! world the scheduler heard at once, silent ones (a signal, a lock that came free) included. Where
//! it cannot, the scheduler decides otherwise now. Then another tree is given the same turns, and
//! what it makes of them is compared.

mod compare;
mod follow;
mod retrace;
mod world;

use super::{Definitions, Run};
use crate::event::{Event, EventKind};
use crate::path::{RunId, StepPath};
use crate::tree::{Kinds, Tree};
use std::sync::Arc;

/// The first decision that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The number of the recorded event.
    pub seq: u64,
    /// Its step.
    pub step: Option<StepPath>,
    /// What was recorded, in words.
    pub recorded: String,
    /// What would happen now, in words.
    pub now: String,
    /// The tree file in which the step stands, of this event or of what happens now.
    pub file: Option<String>,
    /// Its line, from 1.
    pub line: Option<u32>,
    /// The other tree decides so, and the recorded one as recorded.
    pub edited: bool,
}

/// How a record came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As `trees` drives a run: what can be prepared at once is, in the same turn.
    Driven,
    /// Any answer may come at any time, and digests say nothing.
    Free,
}

/// What both parts need to know.
#[derive(Clone, Copy)]
struct Scene<'a> {
    id: &'a RunId,
    definitions: &'a Definitions,
    kinds: &'a dyn Kinds,
    pace: Pace,
}

impl Scene<'_> {
    /// The run as its events left it, for a sitting to begin.
    fn run(&self, before: &[Event], attended: bool) -> Result<Run, super::IllegalEvent> {
        let mut run = Run::new(self.id.clone(), self.definitions.clone(), self.kinds);
        run.replay(before)?;
        run.attend(attended);
        Ok(run)
    }
}

/// The first decision in a record that the scheduler would not make again: with the recorded tree in
/// any sitting, and then with `edited`, if there is one.
pub fn verify(
    id: &RunId,
    events: &[Event],
    recorded: &Definitions,
    edited: Option<&Arc<Tree>>,
    kinds: &dyn Kinds,
    pace: Pace,
) -> Option<Difference> {
    let scene = Scene { id, definitions: recorded, kinds, pace };
    // It stands for all that the run went through.
    let edited = edited.map(|tree| Definitions {
        first: Arc::clone(tree),
        later: recorded.later.iter().map(|(digest, _)| (digest.clone(), Arc::clone(tree))).collect(),
    });
    let mut traced = Vec::new();
    for (from, to) in sittings(events) {
        let (before, sitting) = (events.get(..from)?, events.get(from..to)?);
        match retrace::Retrace::of(scene, before, sitting).map(|mut retrace| retrace.trace()) {
            Ok(Ok(turns)) => traced.push(((from, to), turns)),
            Ok(Err(difference)) => return Some(difference),
            Err(illegal) => return Some(unfit(&illegal)),
        }
    }
    let other = edited.as_ref().map(|definitions| Scene { definitions, ..scene })?;
    let names = follow::Names::of(recorded, other.definitions.newest());
    let difference = traced.iter().find_map(|(place, turns)| follow::follow(other, &names, events, *place, turns))?;
    Some(Difference { edited: true, ..difference })
}

fn unfit(illegal: &super::IllegalEvent) -> Difference {
    Difference {
        seq: illegal.seq,
        step: Some(StepPath(illegal.step.clone())),
        recorded: illegal.kind.clone(),
        now: format!("that does not fit: it is {}", illegal.status),
        file: None,
        line: None,
        edited: false,
    }
}

/// Where sittings begin and end.
fn sittings(events: &[Event]) -> Vec<(usize, usize)> {
    let mut starts: Vec<usize> = events.iter().enumerate().filter(|(_, e)| e.kind.begins_sitting()).map(|(at, _)| at).collect();
    starts.push(events.len());
    starts.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect()
}

/// Whether a sitting had a person at the screen: without one a run that only waits is put to rest.
fn attended(sitting: &[Event]) -> bool {
    let waits = |e: &Event| matches!(&e.kind, EventKind::RunSuspended { reason, .. } if super::words::waits(reason));
    !sitting.last().is_some_and(waits)
}

impl Run {
    /// The digest of a step's definition as it is now.
    fn definition_digest(&self, step: &StepPath) -> Option<String> {
        self.find(step).map(|id| super::task::definition_digest(self.spec(id)))
    }

    /// Where a step stands: file and line.
    fn place(&self, step: &StepPath) -> Option<(String, u32)> {
        let id = self.find(step)?;
        Some((self.scope(self.node(id).scope).tree.file.clone(), self.spec(id).span.line))
    }
}
