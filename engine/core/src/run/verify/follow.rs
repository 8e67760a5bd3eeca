//! The turns of a record given to another tree.

use super::compare::{self, Unlike};
use super::retrace::{Turn, is_redefined, redefined};
use super::{Difference, Scene};
use crate::event::{Event, EventKind};
use crate::path::StepPath;
use crate::run::input::{Effect, Input};
use crate::run::{Definitions, Run};
use crate::tree::{Heirs, Tree};
use std::collections::BTreeSet;

/// The first decision of a sitting that another tree leads to otherwise.
pub fn follow(scene: Scene<'_>, names: &Names, original: &[Event], (from, to): (usize, usize), turns: &[Turn]) -> Option<Difference> {
    let events: Vec<Event> = original.get(..to)?.iter().cloned().map(|e| renamed_event(names, e)).collect();
    let (before, sitting) = events.split_at_checked(from)?;
    let mut run = match scene.run(before, super::attended(sitting)) {
        Ok(run) => run,
        Err(illegal) => return Some(super::unfit(&illegal)),
    };
    let mut known = BTreeSet::new();
    for (nth, turn) in turns.iter().enumerate() {
        known.extend(turn.locks.iter().cloned());
        let inputs = turn.inputs.iter().cloned().map(|i| renamed_input(names, i));
        let (mut emitted, prepares) = match heard(&mut run, inputs.collect(), turn, &known) {
            Ok(done) => done,
            Err(illegal) => return Some(super::unfit(&illegal)),
        };
        let recorded = sitting.get(turn.from..turn.to)?;
        let named = original.get(from + turn.from..from + turn.to)?;
        named.iter().zip(recorded).filter(|(a, b)| a.step != b.step).for_each(|(_, b)| keep_time(&mut run, b, &mut emitted));
        let last = sitting.last().map_or(0, |e| e.seq);
        if let Some(unlike) = compare::unlike(recorded, &emitted) {
            let instead = unlike.recorded.and_then(|at| recorded.get(at));
            let at = instead.or_else(|| later(sitting.get(turn.to..)?, unlike.now?)).or_else(|| sitting.get(turn.to));
            return Some(compare::tell(&run, at, last, &unlike));
        }
        if let Some(event) = recorded.iter().find(|e| is_redefined(&run, scene.pace, e)) {
            return Some(redefined(&run, event));
        }
        let expected = expected(names, turns.get(nth..)?);
        if let Some(extra) = prepares.into_iter().find(|step| !expected.contains(step)) {
            let start = started(&run, extra);
            return Some(compare::tell(&run, sitting.get(turn.to), last, &Unlike { recorded: None, now: Some(&start) }));
        }
    }
    None
}

/// What was recorded of a step in the place of what happens now: other steps may come between.
fn later<'a>(sitting: &'a [Event], now: &Event) -> Option<&'a Event> {
    now.step.as_ref()?;
    sitting.iter().find(|e| e.step == now.step).filter(|e| !compare::same(e, now))
}

/// The draw of `jitter` comes from the path: a step that was renamed keeps the recorded one.
fn keep_time(run: &mut Run, recorded: &Event, emitted: &mut [Event]) {
    let EventKind::AttemptFailed { retry_at: at, .. } = recorded.kind else { return };
    let Some(id) = recorded.step.as_ref().and_then(|step| run.find(step)) else { return };
    for event in emitted.iter_mut().filter(|e| e.step == recorded.step) {
        let EventKind::AttemptFailed { retry_at, .. } = &mut event.kind else { continue };
        run.retries.remove(&(*retry_at, id));
        run.retries.insert((at, id));
        run.node_mut(id).more().retry_at = Some(at);
        *retry_at = at;
    }
}

/// What is asked for in a turn, and once the locks are there that it asks for.
fn expected(names: &Names, turns: &[Turn]) -> BTreeSet<StepPath> {
    let then = turns.windows(2).take_while(|pair| pair.first().is_some_and(|t| !t.locks.is_empty())).filter_map(|pair| pair.get(1));
    turns.first().into_iter().chain(then).flat_map(|t| &t.prepares).map(|step| names.now(step)).collect()
}

type Heard = Result<(Vec<Event>, Vec<StepPath>), crate::run::IllegalEvent>;

/// One turn; a lock that nobody asked for then is free.
fn heard(run: &mut Run, inputs: Vec<Input>, turn: &Turn, known: &BTreeSet<String>) -> Heard {
    let (mut emitted, mut prepares, mut inputs) = (Vec::new(), Vec::new(), inputs);
    loop {
        let decision = run.handle(std::mem::take(&mut inputs), turn.now)?;
        emitted.extend(decision.events);
        for effect in decision.effects {
            match effect {
                Effect::Prepare { step } => prepares.push(step),
                Effect::Lock { name } if !known.contains(&name) => inputs.push(Input::Locked { name }),
                Effect::Lock { .. } | Effect::Unlock { .. } | Effect::Launch { .. } | Effect::Stop { .. } => {}
            }
        }
        if inputs.is_empty() {
            return Ok((emitted, prepares));
        }
    }
}

/// The start that a prepare leads to.
fn started(run: &Run, step: StepPath) -> Event {
    let kind = EventKind::StepStarted { digests: None, idempotency_key: None };
    Event { v: 1, run: run.id.clone(), seq: 0, ts: jiff::Timestamp::UNIX_EPOCH, step: Some(step), attempt: None, actor: None, kind }
}

/// The names that steps have in the edited tree, from each tree that the run went through, the newest first.
pub struct Names(Vec<Heirs>);

impl Names {
    /// From the recorded trees to the edited one.
    pub fn of(recorded: &Definitions, edited: &Tree) -> Self {
        let trees = recorded.later.iter().rev().map(|(_, tree)| tree).chain([&recorded.first]);
        Self(trees.map(|tree| Heirs::of(tree, edited)).collect())
    }

    /// A recorded path by the name that the step has now; one that is gone keeps its name.
    fn now(&self, path: &StepPath) -> StepPath {
        let found = self.0.iter().find_map(|heirs| heirs.name(path.as_str()));
        found.map_or_else(|| path.clone(), StepPath)
    }
}

fn renamed_event(names: &Names, mut event: Event) -> Event {
    event.step = event.step.map(|step| names.now(&step));
    if let EventKind::RollbackStarted(how) = &mut event.kind {
        how.to = how.to.as_ref().map(|step| names.now(step));
        how.skip = how.skip.iter().map(|step| names.now(step)).collect();
    }
    event
}

fn renamed_input(names: &Names, mut input: Input) -> Input {
    let all = |steps: &mut Vec<StepPath>| steps.iter_mut().for_each(|step| *step = names.now(step));
    match &mut input {
        Input::Prepared { step, .. } | Input::Intended { step, .. } | Input::ActionDone { step, .. } | Input::Ended { step, .. } => {
            *step = names.now(step);
        }
        Input::Approved { name, .. } | Input::Rejected { name, .. } | Input::Resolved { name, .. } => {
            *name = names.now(&StepPath(name.clone())).0;
        }
        Input::Recovered(how) => {
            all(&mut how.force);
            all(&mut how.skip);
        }
        Input::Selected(course) => course.events.iter_mut().for_each(|(step, _)| *step = names.now(step)),
        Input::RollBack(how) => {
            how.to = how.to.as_ref().map(|step| names.now(step));
            all(&mut how.skip);
            all(&mut how.mark_undone);
        }
        Input::Started(_) | Input::Woke | Input::Locked { .. } | Input::LockBusy { .. } | Input::Cancel { .. } | Input::Interrupt => {}
    }
    input
}
