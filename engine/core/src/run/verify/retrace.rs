//! Finds the turns behind a recorded sitting: which words of the world came at once, and which came
//! without an event of their own.
//!
//! Each turn is guessed from the events with the next time, the likeliest guess first, and tried on
//! the scheduler; the first under which it decides what is recorded is taken.

use super::compare::{self, Unlike};
use super::{Difference, Pace, Scene};
use crate::event::{Event, EventKind, RunStatus};
use crate::path::StepPath;
use crate::run::input::{Effect, Input};
use crate::run::{IllegalEvent, Run};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// Recorded times are cut to microseconds: a timer may seem to fire so much too early.
const CUT: SignedDuration = SignedDuration::from_micros(2);
/// A silent word may have come so much earlier than it is heard here.
const LATE: SignedDuration = SignedDuration::from_millis(20);
/// A signal shows at most so many turns after it came.
const BACK: usize = 60;
/// So many turns are heard between two states that are kept to come back to.
const APART: usize = BACK + 4;

/// What the scheduler heard at once.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub inputs: Vec<Input>,
    pub now: Timestamp,
    /// The recorded events that follow from it, by their index in the sitting.
    pub from: usize,
    pub to: usize,
    /// What was asked for in it.
    pub prepares: Vec<StepPath>,
    pub locks: Vec<String>,
    /// Of that, what is answered at once.
    asked: Vec<Effect>,
}

pub(super) struct Retrace<'a> {
    pub scene: Scene<'a>,
    pub sitting: &'a [Event],
    pub run: Run,
    /// The first event that no turn explains yet.
    pub at: usize,
    turns: Vec<Turn>,
    asked: Vec<Effect>,
    /// Failures that no retry can help.
    pub permanent: BTreeSet<u64>,
    interrupted: bool,
    /// Timers were looked at before this event.
    woken: Option<usize>,
    /// What the likeliest guess led to, where it did not fit.
    miss: Option<Vec<Event>>,
    /// An event with the digest of another definition.
    redefined: Option<usize>,
    /// States to come back to: the one at the beginning, and the newest two.
    marks: Vec<Mark>,
    /// How many turns were heard once more.
    #[cfg(test)]
    again: usize,
}

/// The scheduler as it was after so many turns.
struct Mark {
    turns: usize,
    run: Run,
}

impl<'a> Retrace<'a> {
    pub fn of(scene: Scene<'a>, before: &'a [Event], sitting: &'a [Event]) -> Result<Self, IllegalEvent> {
        let run = scene.run(before, super::attended(sitting))?;
        Ok(Self {
            marks: vec![Mark { turns: 0, run: run.clone() }],
            #[cfg(test)]
            again: 0,
            scene,
            sitting,
            run,
            at: 0,
            turns: Vec::new(),
            asked: Vec::new(),
            permanent: BTreeSet::new(),
            interrupted: false,
            woken: None,
            miss: None,
            redefined: None,
        })
    }

    /// The turns of the sitting, or the first decision that no turn explains.
    pub fn trace(&mut self) -> Result<Vec<Turn>, Difference> {
        while !self.is_over() {
            if !self.step() && !self.mend() && !self.look_back() {
                return Err(self.difference());
            }
        }
        match self.redefined.and_then(|at| self.sitting.get(at)) {
            Some(event) => Err(redefined(&self.run, event)),
            None => Ok(std::mem::take(&mut self.turns)),
        }
    }

    fn is_over(&self) -> bool {
        self.at >= self.sitting.len() && self.asked.is_empty()
    }

    /// The events with the next time.
    pub fn group(&self) -> &'a [Event] {
        let rest = self.sitting.get(self.at..).unwrap_or_default();
        let Some(first) = rest.first() else { return rest };
        let length = rest.iter().take_while(|e| e.ts == first.ts).count();
        rest.get(..length).unwrap_or_default()
    }

    fn now(&self) -> Timestamp {
        let last = self.turns.last().map(|t| t.now);
        self.group().first().map(|e| e.ts).or(last).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Explains the next events by one more turn.
    fn step(&mut self) -> bool {
        self.miss = None;
        let now = self.now();
        if !self.asked.is_empty() {
            return self.attempt(self.said_at_once_all(), now, true);
        }
        let heard = self.heard();
        if self.wake_first(&heard, now) {
            return true;
        }
        let all: Vec<Input> = heard.iter().map(|(_, input)| input.clone()).collect();
        if self.soon(&all, now) || self.plain(&all, now) {
            return true;
        }
        let head = heard.iter().enumerate().take_while(|(nth, (at, _))| nth == at).count();
        for length in [head, 1] {
            if length < all.len() && length > 0 && self.attempt(all.iter().take(length).cloned().collect(), now, false) {
                return true;
            }
        }
        self.with_silent(&all, now)
    }

    /// Timers that fired without an event.
    fn wake_first(&mut self, heard: &[(usize, Input)], now: Timestamp) -> bool {
        let due = self.run.next_wakeup().filter(|at| *at <= now);
        let Some(due) = due.filter(|_| !heard.is_empty() && self.woken != Some(self.at)) else { return false };
        self.woken = Some(self.at);
        let length = self.turns.len();
        let mut fired = self.attempt(vec![Input::Woke], due, true) && self.turns.last().is_some_and(|t| t.from == t.to);
        if fired && !self.asked.is_empty() {
            // What starts by it starts before anything else, or it was heard together with that.
            fired = self.attempt(self.said_at_once_all(), now, true);
        }
        if !fired {
            self.rebuild(length);
        }
        self.miss = None;
        fired
    }

    /// Where any answer may come at any time, it mostly comes with the next word.
    fn soon(&mut self, all: &[Input], now: Timestamp) -> bool {
        if self.scene.pace == Pace::Driven {
            return false;
        }
        let answers = self.silent().into_iter().filter(|input| !matches!(input, Input::Ended { .. }));
        let inputs: Vec<Input> = answers.chain(all.iter().cloned()).collect();
        let soon = inputs.len() > all.len() && self.attempt(inputs, now, false);
        self.miss = None;
        soon
    }

    /// All that was heard, and no more. A failure may turn out to be one that no retry can help.
    fn plain(&mut self, all: &[Input], now: Timestamp) -> bool {
        let inputs = if all.is_empty() { vec![Input::Woke] } else { all.to_vec() };
        let late = self.run.next_wakeup().filter(|at| *at > now && at.duration_since(now) <= CUT);
        if self.attempt(inputs, late.unwrap_or(now), false) {
            return true;
        }
        let tried = |e: &&Event| matches!(e.kind, EventKind::AttemptFailed { .. });
        let again: Vec<StepPath> = self.miss.iter().flatten().filter(tried).filter_map(|e| e.step.clone()).collect();
        let ended = |e: &&Event| {
            matches!(e.kind, EventKind::StepFailed { .. } | EventKind::StepTimedOut { .. } | EventKind::UndoFailed { .. })
                && e.step.as_ref().is_some_and(|s| again.contains(s))
        };
        let permanent: Vec<u64> = self.group().iter().filter(ended).map(|e| e.seq).filter(|s| !self.permanent.contains(s)).collect();
        if permanent.is_empty() {
            return false;
        }
        self.permanent.extend(permanent);
        let inputs = self.heard().into_iter().map(|(_, input)| input).collect();
        self.attempt(inputs, now, false)
    }

    /// With what leaves no event: one word, or all of them, or a timer that seems early.
    fn with_silent(&mut self, all: &[Input], now: Timestamp) -> bool {
        let silent = self.silent();
        let with = |more: &[Input]| more.iter().chain(all).cloned().collect::<Vec<_>>();
        let mut quiet: Option<(u8, &Input)> = None;
        for one in &silent {
            if self.attempt(with(std::slice::from_ref(one)), now, true) {
                if self.turns.last().is_some_and(|t| t.to > t.from) {
                    return true;
                }
                self.rebuild(self.turns.len() - 1);
            }
            if self.attempt(vec![one.clone()], now, true) {
                let rank = self.rank();
                self.rebuild(self.turns.len() - 1);
                quiet = quiet.filter(|(best, _)| *best <= rank).or(Some((rank, one)));
            }
        }
        if silent.len() > 1 && self.attempt(with(&silent), now, false) {
            if self.turns.last().is_some_and(|t| t.to > t.from) {
                return true;
            }
            self.rebuild(self.turns.len() - 1);
        }
        if let Some((_, one)) = quiet {
            return self.attempt(vec![one.clone()], now, true);
        }
        let late = self.run.next_wakeup().filter(|at| *at > now && at.duration_since(now) <= LATE);
        late.is_some_and(|at| self.attempt(with(&[Input::Woke]), at, false))
    }

    /// How likely a silent word was heard before the next events, the likeliest first.
    fn rank(&self) -> u8 {
        let Some(turn) = self.turns.last() else { return 3 };
        let next = |step: &StepPath| self.group().iter().any(|e| e.step.as_ref() == Some(step));
        match turn {
            _ if turn.to > turn.from || turn.prepares.iter().any(next) => 0,
            _ if turn.prepares.is_empty() && turn.locks.is_empty() => 1,
            _ => 2,
        }
    }

    fn said_at_once_all(&self) -> Vec<Input> {
        self.asked.iter().map(|asked| self.said_at_once(asked)).collect()
    }

    fn said_at_once(&self, asked: &Effect) -> Input {
        match asked {
            Effect::Lock { name } => self.lock_answer(name),
            Effect::Prepare { step } | Effect::Launch { step, .. } | Effect::Stop { step, .. } => self.answer(step),
            Effect::Unlock { name } => Input::Locked { name: name.clone() },
        }
    }

    /// Tries one guess; where it does not fit, nothing has changed.
    fn attempt(&mut self, inputs: Vec<Input>, now: Timestamp, silent: bool) -> bool {
        let length = self.turns.len();
        let fits = self.hear(inputs, now, silent);
        if !fits {
            self.rebuild(length);
        }
        fits
    }

    fn hear(&mut self, inputs: Vec<Input>, now: Timestamp, silent: bool) -> bool {
        let Ok(decision) = self.run.handle(inputs.clone(), now) else { return false };
        let (from, to) = (self.at, self.at + decision.events.len());
        let mut turn = Turn { inputs, now, from, to, prepares: Vec::new(), locks: Vec::new(), asked: Vec::new() };
        for effect in decision.effects {
            match &effect {
                Effect::Prepare { step } => {
                    turn.prepares.push(step.clone());
                    if self.is_prompt(step) {
                        turn.asked.push(effect);
                    }
                }
                Effect::Lock { name } => {
                    turn.locks.push(name.clone());
                    if self.scene.pace == Pace::Driven {
                        turn.asked.push(effect);
                    }
                }
                Effect::Launch { .. } | Effect::Stop { .. } | Effect::Unlock { .. } => {}
            }
        }
        let recorded = self.group().get(..to - from);
        let fits = recorded.is_some_and(|recorded| compare::unlike(recorded, &decision.events).is_none());
        let moved = silent || to > from || !turn.prepares.is_empty() || !turn.locks.is_empty();
        if !fits || !moved {
            self.miss.get_or_insert(decision.events);
            return false;
        }
        if let Some(at) = (from..to).find(|at| self.sitting.get(*at).is_some_and(|e| is_redefined(&self.run, self.scene.pace, e))) {
            self.redefined.get_or_insert(at);
        }
        (self.at, self.asked) = (to, turn.asked.clone());
        self.turns.push(turn);
        self.mark(self.turns.len());
        true
    }

    /// Keeps the state after so many turns, where the last one kept is far enough behind.
    fn mark(&mut self, turns: usize) {
        // A state is as large as its tree: of a large one few are made.
        let apart = APART.max(self.run.nodes.len() / 8);
        if self.marks.last().is_none_or(|mark| mark.turns + apart <= turns) {
            if self.marks.len() > 2 {
                self.marks.remove(1);
            }
            self.marks.push(Mark { turns, run: self.run.clone() });
        }
    }

    /// The scheduler as it was after so many turns: from the last state kept before, the turns since
    /// are heard once more.
    fn rebuild(&mut self, length: usize) {
        self.turns.truncate(length);
        self.marks.retain(|mark| mark.turns <= length);
        let Some(Mark { turns: from, run }) = self.marks.last() else { return };
        let from = *from;
        self.run = run.clone();
        for at in from..length {
            let Some(turn) = self.turns.get(at) else { break };
            drop(self.run.handle(turn.inputs.clone(), turn.now));
            self.mark(at + 1);
        }
        #[cfg(test)]
        (self.again += length - from);
        self.at = self.turns.last().map_or(0, |t| t.to);
        self.asked = self.turns.last().map(|t| t.asked.clone()).unwrap_or_default();
    }

    /// A signal leaves no event of its own: a sitting that ended by one, or was cut off after it, heard it here or some
    /// turns ago.
    fn mend(&mut self) -> bool {
        let by_signal = |e: &Event| match e.kind {
            EventKind::RunSuspended { status, .. } => status == RunStatus::Interrupted,
            EventKind::RunFinished { .. } => false,
            _ => true,
        };
        if self.interrupted || !self.sitting.last().is_some_and(by_signal) {
            return false;
        }
        self.interrupted = true;
        let (saved, miss, goal) = (self.turns.clone(), self.miss.clone(), self.at);
        for back in 0..=saved.len().min(BACK) {
            for way in 0..3 {
                self.turns.clone_from(&saved);
                self.woken = None;
                self.rebuild(saved.len() - back);
                if self.asked.is_empty() && self.signal(way) && self.goes_on(goal) {
                    return true;
                }
            }
        }
        self.put_back(saved, BACK);
        (self.interrupted, self.miss) = (false, miss);
        false
    }

    /// What leaves no event may have been heard some turns before it shows.
    fn look_back(&mut self) -> bool {
        let (saved, miss, goal) = (self.turns.clone(), self.miss.clone(), self.at);
        for back in 1..=saved.len().min(BACK / 3) {
            let rewind = |retrace: &mut Self| {
                retrace.turns.clone_from(&saved);
                retrace.woken = None;
                retrace.rebuild(saved.len() - back);
            };
            rewind(self);
            let silent = if self.asked.is_empty() { self.silent() } else { Vec::new() };
            let whole = std::iter::once(silent.as_slice()).filter(|all| all.len() > 1);
            for words in whole.chain(silent.chunks(1)) {
                for with in [true, false] {
                    rewind(self);
                    let heard = self.heard().into_iter().map(|(_, input)| input).filter(|_| with);
                    let inputs = words.iter().cloned().chain(heard).collect();
                    if self.attempt(inputs, self.now(), true) && self.goes_on(goal) {
                        return true;
                    }
                }
            }
        }
        self.put_back(saved, BACK / 3);
        self.miss = miss;
        false
    }

    /// Other turns were tried from so far back on: what was kept of those goes.
    fn put_back(&mut self, turns: Vec<Turn>, back: usize) {
        self.marks.retain(|mark| mark.turns + back <= turns.len() || mark.turns == 0);
        self.turns = turns;
        self.rebuild(self.turns.len());
    }

    /// The signal comes by itself, before what is heard next, or after it.
    fn signal(&mut self, way: u8) -> bool {
        let heard = self.heard().into_iter().map(|(_, input)| input);
        let inputs = match way {
            0 => vec![Input::Interrupt],
            1 => std::iter::once(Input::Interrupt).chain(heard).collect(),
            _ => heard.chain([Input::Interrupt]).collect(),
        };
        self.attempt(inputs, self.now(), true)
    }

    fn goes_on(&mut self, goal: usize) -> bool {
        while !self.is_over() && self.at <= goal {
            if !self.step() {
                return false;
            }
        }
        true
    }

    fn difference(&self) -> Difference {
        let group = self.group();
        let emitted = self.miss.as_deref().unwrap_or_default();
        let last = self.sitting.last().map_or(0, |e| e.seq);
        match compare::unlike(group.get(..emitted.len()).filter(|g| !g.is_empty()).unwrap_or(group), emitted) {
            Some(unlike) => {
                let at = unlike.recorded.and_then(|at| group.get(at)).or_else(|| group.first());
                compare::tell(&self.run, at, last, &unlike)
            }
            None => compare::tell(&self.run, group.first(), last, &Unlike { recorded: Some(0), now: None }),
        }
    }
}

/// Whether an event has the digest of a definition that is another now.
pub(super) fn is_redefined(run: &Run, pace: Pace, event: &Event) -> bool {
    let digests = match &event.kind {
        EventKind::StepStarted { digests, .. } | EventKind::StepCached { digests, .. } => digests.as_ref(),
        _ => None,
    };
    let Some((digests, step)) = digests.zip(event.step.as_ref()).filter(|_| pace == Pace::Driven) else { return false };
    run.definition_digest(step).is_some_and(|now| now != digests.definition)
}

/// The same decision about a step that is another.
pub(super) fn redefined(run: &Run, event: &Event) -> Difference {
    let unlike = Unlike { recorded: Some(0), now: Some(event) };
    let told = compare::tell(run, Some(event), event.seq, &unlike);
    Difference { now: format!("{} with another definition", told.now), ..told }
}

#[cfg(test)]
mod tests;
