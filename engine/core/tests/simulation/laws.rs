//! What must hold of every journal, told from the events alone.

use crate::forest::Forest;
use crate::world::{World, is_end, story};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use trees_core::event::{Event, EventKind, Resolution, RunStatus};
use trees_core::run::{Mode, Pace, verify};
use trees_core::tree::{Action, AllowFailure, NeedKind, NoKinds, OnCrash, Rule, Step};

pub struct Laws<'a> {
    forest: &'a Forest,
    world: &'a World<'a>,
}

impl<'a> Laws<'a> {
    pub fn of(forest: &'a Forest, world: &'a World<'a>) -> Self {
        Self { forest, world }
    }

    pub fn check(&self) {
        self.reference_agrees();
        self.check_laws();
    }

    /// The laws alone.
    pub fn check_laws(&self) {
        self.numbers_have_no_gap();
        self.every_sitting_ends_once();
        self.success_is_kept();
        self.attempts_count_on();
        self.keys_are_kept();
        self.needs_come_first();
        self.nothing_starts_after_a_cancel();
        self.finally_comes_last();
        self.launches_are_recorded();
        self.places_are_kept();
        self.gates_hold();
        self.doubts_are_settled_by_people();
        self.sittings_leave_nothing_running();
        self.statuses_fit_the_steps();
        self.what_was_built_on_goes_first();
        self.nothing_is_left();
    }

    fn reference_agrees(&self) {
        if let Err((seq, wrong)) = crate::reference::judge(&self.forest.written, &self.world.facts, self.events()) {
            let event = self.events().iter().find(|e| e.seq == seq);
            let story = story(&self.events()[..usize::try_from(seq).unwrap()]);
            panic!("seed {}: the reference says: {wrong}: {event:?}\n{story}\n{}", self.forest.seed, self.forest.text)
        }
    }

    /// The journal alone leads the scheduler to the same decisions.
    pub fn check_again(&self) {
        let id = trees_core::path::RunId("r".into());
        let different = verify(&id, self.events(), &Arc::clone(&self.forest.tree).into(), None, &NoKinds, Pace::Free);
        assert_eq!(different, None, "seed {}\n{}\n{}", self.forest.seed, self.story(), self.forest.text);
    }

    fn events(&self) -> &[Event] {
        &self.world.journal
    }

    fn broken(&self, law: &str, event: &Event) -> ! {
        panic!("seed {}: {law}: {event:?}\n{}\n{}", self.forest.seed, self.story(), self.forest.text)
    }

    fn story(&self) -> String {
        story(self.events())
    }

    fn numbers_have_no_gap(&self) {
        for (at, event) in (1u64..).zip(self.events()) {
            if event.seq != at {
                self.broken("numbers have no gap", event);
            }
        }
    }

    fn every_sitting_ends_once(&self) {
        let mut open = false;
        for event in self.events() {
            match event.kind {
                EventKind::RunStarted(_) | EventKind::RunResumed { .. } => open = true,
                EventKind::RollbackStarted(ref how) if how.epoch.is_some() => open = true,
                EventKind::RunFinished { .. } | EventKind::RunSuspended { .. } if !open => self.broken("a sitting ends once", event),
                EventKind::RunFinished { .. } | EventKind::RunSuspended { .. } => open = false,
                _ if !open => self.broken("nothing happens at rest", event),
                _ => {}
            }
        }
    }

    fn success_is_kept(&self) {
        let mut done: HashMap<&str, u64> = HashMap::new();
        for event in self.events() {
            let Some(step) = event.step.as_ref().map(|s| s.as_str()) else { continue };
            let finally = step.split('/').any(|part| part.starts_with('f'));
            match &event.kind {
                EventKind::StepSucceeded { .. } | EventKind::StepCached { .. } => drop(done.insert(step, event.seq)),
                EventKind::StepResolved { resolution: Resolution::Done, .. } => drop(done.insert(step, event.seq)),
                EventKind::UndoSucceeded | EventKind::UndoFailed { .. } | EventKind::StepReopened { .. } => drop(done.remove(step)),
                EventKind::StepResolved { resolution: Resolution::Undone, .. } => drop(done.remove(step)),
                EventKind::StepStarted { .. } if !finally && done.contains_key(step) => {
                    self.broken("a recorded success is not run again", event)
                }
                _ => {}
            }
        }
    }

    fn attempts_count_on(&self) {
        let mut last: HashMap<&str, u32> = HashMap::new();
        for event in self.events().iter().filter(|e| matches!(e.kind, EventKind::StepStarted { .. })) {
            let step = event.step.as_ref().map_or("", |s| s.as_str());
            let before = last.insert(step, event.attempt.unwrap_or(0)).unwrap_or(0);
            if event.attempt != Some(before + 1) {
                self.broken("attempts count on by one", event);
            }
        }
    }

    /// Every attempt at one deed has the same idempotency key, and no other deed has it. A deed is another one when the
    /// one before had ended well or was taken back, and in each pass through `finally`.
    fn keys_are_kept(&self) {
        let mut keys: HashMap<&str, &str> = HashMap::new();
        let mut owners: HashMap<&str, &str> = HashMap::new();
        for event in self.events() {
            let Some(step) = event.step.as_ref().map(|s| s.as_str()) else { continue };
            match &event.kind {
                EventKind::StepStarted { idempotency_key: Some(key), .. } => {
                    let finally = step.split('/').any(|part| part.starts_with('f'));
                    if keys.insert(step, key).is_some_and(|before| !finally && before != key) {
                        self.broken("attempts at one deed share a key", event);
                    }
                    if *owners.entry(key).or_insert(step) != step {
                        self.broken("two steps have one key", event);
                    }
                }
                EventKind::StepSucceeded { .. } | EventKind::StepReopened { .. } | EventKind::UndoSucceeded => drop(keys.remove(step)),
                EventKind::StepResolved { resolution: Resolution::Done | Resolution::Undone | Resolution::Skip, .. } => {
                    keys.remove(step);
                }
                _ => {}
            }
        }
    }

    /// In the top tree: a step with the default rule starts after all its needs ended well. Another try, in the place of one
    /// that failed, starts after they have ended: a resume that found a need changed while the step was at work, or between
    /// two tries, runs that need again, and however it ends then, the step goes on with what had begun.
    fn needs_come_first(&self) {
        let tree = &self.forest.tree;
        let mut tried: BTreeSet<&str> = BTreeSet::new();
        let mut ended: BTreeMap<&str, bool> = BTreeMap::new();
        for event in self.events() {
            let Some(path) = event.step.as_ref().map(|s| s.as_str()).filter(|path| !path.contains('/')) else { continue };
            let step = tree.step(path.split('[').next().unwrap_or_default());
            match (&event.kind, step) {
                (EventKind::StepStarted { .. }, Some(step)) => {
                    let again = tried.remove(path);
                    let all = step.rule == Rule::AllSucceeded && step.condition.is_none();
                    for need in step.needs.iter().filter(|n| all && n.kind == NeedKind::Explicit) {
                        let on = &tree.steps[need.step as usize];
                        let well = ended.get(on.id.as_str()).copied();
                        let fine = if again { well.is_some() } else { well == Some(true) };
                        if !fine && on.allow_failure == AllowFailure::No {
                            self.broken(&format!("it needs {}, which has not ended well", on.id), event);
                        }
                    }
                    ended.remove(path);
                }
                (EventKind::AttemptFailed { .. }, _) => drop(tried.insert(path)),
                (EventKind::StepReopened { .. }, _) => drop(ended.remove(path)),
                (EventKind::StepResolved { resolution, .. }, _) => drop(ended.insert(path, *resolution == Resolution::Done)),
                (kind, _) if is_end(kind) => {
                    tried.remove(path);
                    ended.insert(path, matches!(kind, EventKind::StepSucceeded { .. } | EventKind::StepCached { .. }));
                }
                _ => {}
            }
        }
    }

    fn nothing_starts_after_a_cancel(&self) {
        let (mut cancelled, mut back) = (false, false);
        for event in self.events() {
            match &event.kind {
                // A rollback that is cancelled rests; what it has done stays done.
                EventKind::CancelRequested { .. } => cancelled = !back,
                EventKind::RunResumed { .. } => cancelled = false,
                EventKind::RollbackStarted(_) => (cancelled, back) = (false, true),
                EventKind::RunFinished { .. } if back => back = false,
                EventKind::StepStarted { .. } if cancelled => {
                    let path = event.step.as_ref().map_or("", |s| s.as_str());
                    if !path.split('/').any(|part| part.starts_with('f')) {
                        self.broken("after a cancel nothing in `steps` starts", event);
                    }
                }
                EventKind::RunFinished { status, .. } if cancelled && *status != RunStatus::Cancelled => {
                    self.broken("a cancelled run ends cancelled", event)
                }
                _ => {}
            }
        }
    }

    fn finally_comes_last(&self) {
        let mut open: BTreeMap<&str, bool> = BTreeMap::new();
        for event in self.events() {
            if matches!(event.kind, EventKind::RunResumed { .. } | EventKind::RollbackStarted(_)) {
                open.clear();
            }
            let Some(path) = event.step.as_ref().map(|s| s.as_str()).filter(|p| !p.contains('/')) else { continue };
            match &event.kind {
                EventKind::UndoStarted | EventKind::UndoSucceeded | EventKind::UndoFailed { .. } => {}
                EventKind::StepStarted { .. } if path.starts_with('f') => {
                    if let Some((other, _)) = open.iter().find(|(p, o)| p.starts_with('s') && **o) {
                        self.broken(&format!("finally starts while {other} runs"), event);
                    }
                }
                EventKind::StepStarted { .. } => drop(open.insert(path, true)),
                EventKind::StepInterrupted { .. } => drop(open.insert(path, false)),
                kind if is_end(kind) => drop(open.insert(path, false)),
                _ => {}
            }
        }
    }

    /// What was launched had its start in the journal before.
    fn launches_are_recorded(&self) {
        for (step, attempt, mode, length) in &self.world.launches {
            let known = self.events()[..*length].iter().any(|e| {
                e.step.as_ref() == Some(step)
                    && e.attempt == Some(*attempt)
                    && match mode {
                        Mode::Undo => e.kind == EventKind::UndoStarted,
                        Mode::Action | Mode::Verify | Mode::Check => matches!(e.kind, EventKind::StepStarted { .. }),
                    }
            });
            let verified = *mode != Mode::Verify || known;
            assert!(
                known && verified,
                "seed {}: {step} #{attempt} was launched before its start was recorded\n{}",
                self.forest.seed,
                self.story()
            );
        }
    }

    fn places_are_kept(&self) {
        let most = self.forest.tree.max_parallel.unwrap_or(4) as usize;
        // Checks and verifies of sub-trees and of instances below them hold no place of the run.
        assert!(self.world.most <= most + 8, "seed {}: {} at once, {most} allowed", self.forest.seed, self.world.most);
    }

    fn gates_hold(&self) {
        let mut open = false;
        for event in self.events() {
            let Some(path) = event.step.as_ref().map(|s| s.as_str()) else { continue };
            match &event.kind {
                EventKind::ApprovalGiven { .. } if path == "environment:live" => open = true,
                EventKind::StepStarted { digests: Some(_), .. } if !path.contains('/') => {
                    let step = self.forest.tree.step(path.split('[').next().unwrap_or_default());
                    if step.is_some_and(|s| s.environment.as_deref() == Some("live")) && !open {
                        self.broken("nothing starts in a protected environment before its approval", event);
                    }
                }
                _ => {}
            }
        }
    }

    /// The step of a path, through its sub-trees.
    fn step(&self, path: &str) -> Option<Step> {
        let mut tree = Arc::clone(&self.forest.tree);
        let mut found = None;
        for part in path.split('/') {
            let step = tree.step(part.split('[').next().unwrap_or_default())?.clone();
            if let Action::Tree { tree: inner, .. } = &step.action {
                tree = Arc::clone(inner);
            }
            found = Some(step);
        }
        found
    }

    /// An interrupted attempt with `on_crash: ask` or `fail`, whose action is not recorded, is never
    /// followed by another without a person's word.
    fn doubts_are_settled_by_people(&self) {
        let mut doubtful: HashMap<&str, bool> = HashMap::new();
        for event in self.events() {
            let Some(path) = event.step.as_ref().map(|s| s.as_str()) else { continue };
            match &event.kind {
                EventKind::StepStarted { .. } if doubtful.get(path) == Some(&true) => {
                    let step = self.step(path);
                    let asks = step.as_ref().is_some_and(|s| matches!(s.on_crash, OnCrash::Ask | OnCrash::Fail));
                    if asks && !step.is_some_and(|s| s.finally || matches!(s.action, Action::Tree { .. })) && !in_finally(path) {
                        self.broken("an unknown outcome is settled by a person", event);
                    }
                }
                EventKind::StepInterrupted { .. } => drop(doubtful.entry(path).or_insert(true)),
                EventKind::ActionSucceeded { .. } => drop(doubtful.insert(path, false)),
                EventKind::StepResolved { .. } | EventKind::UndoSucceeded => drop(doubtful.remove(path)),
                _ => {}
            }
        }
    }

    /// A sitting that was not killed leaves no attempt without an end.
    fn sittings_leave_nothing_running(&self) {
        let mut open: BTreeMap<&str, bool> = BTreeMap::new();
        for event in self.events() {
            let path = event.step.as_ref().map_or("", |s| s.as_str());
            let leaf = || self.step(path).is_some_and(|s| matches!(s.action, Action::Run(_)));
            match &event.kind {
                EventKind::RunResumed { .. } | EventKind::RollbackStarted(_) => open.clear(),
                EventKind::StepStarted { .. } if leaf() => drop(open.insert(path, true)),
                EventKind::StepInterrupted { .. } | EventKind::AttemptFailed { .. } => drop(open.remove(path)),
                EventKind::RunFinished { .. } | EventKind::RunSuspended { .. } if !open.is_empty() => {
                    self.broken(&format!("{open:?} still run"), event)
                }
                kind if is_end(kind) => drop(open.remove(path)),
                _ => {}
            }
        }
    }

    /// In a rollback: a step of the top tree is taken back after all that needs it.
    fn what_was_built_on_goes_first(&self) {
        let tree = &self.forest.tree;
        let mut acted: BTreeSet<String> = BTreeSet::new();
        let mut back = None;
        for event in self.events() {
            match &event.kind {
                EventKind::RollbackStarted(how) => back = Some(how),
                EventKind::RunFinished { .. } => back = None,
                _ => {}
            }
            let path = event.step.as_ref().map_or("", |s| s.as_str());
            if let (EventKind::UndoStarted, Some(how), Some(id)) = (&event.kind, back, tree.index.get(top_of(path))) {
                let later = acted.iter().find(|a| {
                    let rests = tree.index.get(top_of(a)).is_some_and(|d| self.rests_on(*d, *id));
                    rests && !how.skip.iter().any(|s| s.as_str() == *a) && !self.has_pivot()
                });
                if let Some(later) = later {
                    self.broken(&format!("{later} rests on it and is not taken back"), event);
                }
            }
            note(&mut acted, event, self.step(path).as_ref());
        }
    }

    /// Whether a step of the top tree needs another as a whole, directly or not.
    fn rests_on(&self, step: u32, on: u32) -> bool {
        let mut open = vec![step];
        while let Some(at) = open.pop() {
            for need in self.forest.tree.steps[at as usize].needs.iter().filter(|n| n.kind != NeedKind::ByKey) {
                if need.step == on {
                    return true;
                }
                open.push(need.step);
            }
        }
        false
    }

    fn has_pivot(&self) -> bool {
        self.forest.text.contains("pivot")
            || self.events().iter().any(|e| self.step(e.step.as_ref().map_or("", |s| s.as_str())).is_some_and(|s| s.pivot))
    }

    /// A run that was rolled back left nothing that it had a way to take back.
    fn nothing_is_left(&self) {
        let mut acted: BTreeSet<String> = BTreeSet::new();
        for event in self.events() {
            let path = event.step.as_ref().map_or("", |s| s.as_str());
            note(&mut acted, event, self.step(path).as_ref());
            if let EventKind::RunFinished { status: RunStatus::RolledBack, .. } = &event.kind
                && let Some(left) = acted.iter().find(|a| !in_finally(a))
            {
                self.broken(&format!("{left} is not taken back"), event);
            }
        }
    }

    /// A run fails because a step failed or for a reason of its own, and never succeeds beside a failure.
    fn statuses_fit_the_steps(&self) {
        let mut failed: BTreeMap<&str, bool> = BTreeMap::new();
        for event in self.events() {
            let path = event.step.as_ref().map_or("", |s| s.as_str());
            let top = self.forest.tree.step(path);
            let allowed = top.is_some_and(|s| s.allow_failure == AllowFailure::Any);
            match &event.kind {
                EventKind::StepFailed { .. } | EventKind::StepTimedOut { .. } if top.is_some() => _ = failed.insert(path, !allowed),
                EventKind::StepBlocked { .. } | EventKind::StepCancelled { .. } | EventKind::ApprovalRejected { .. } if top.is_some() => {
                    _ = failed.insert(path, true)
                }
                EventKind::StepResolved { resolution, .. } if top.is_some() => {
                    _ = failed.insert(path, *resolution == Resolution::Fail && !allowed)
                }
                EventKind::RunFinished { status, error, .. } => {
                    let bad = failed.values().any(|f| *f);
                    match status {
                        RunStatus::Failed if !bad && error.is_none() => self.broken("a failed run has a failed step", event),
                        RunStatus::Succeeded | RunStatus::SucceededWithWarnings if bad => {
                            self.broken(&format!("a run with {failed:?} does not succeed"), event)
                        }
                        _ => {}
                    }
                }
                kind if is_end(kind) => _ = failed.remove(path),
                _ => {}
            }
        }
    }
}

/// What a journal says that is in the world, by step: set by its success, gone by its undo.
fn note(acted: &mut BTreeSet<String>, event: &Event, step: Option<&Step>) {
    let Some(path) = event.step.as_ref().map(|s| s.as_str()).filter(|p| !in_finally(p)) else { return };
    let leaf = step.is_some_and(|s| s.undo.is_some() && matches!(s.action, Action::Run(_)));
    match &event.kind {
        EventKind::ActionSucceeded { .. } | EventKind::StepResolved { resolution: Resolution::Done, .. } if leaf => {
            _ = acted.insert(path.into())
        }
        EventKind::StepSucceeded { .. } if leaf && event.attempt.is_some() => _ = acted.insert(path.into()),
        EventKind::UndoSucceeded | EventKind::StepResolved { resolution: Resolution::Undone, .. } => _ = acted.remove(path),
        _ => {}
    }
}

fn top_of(path: &str) -> &str {
    path.split(['/', '[']).next().unwrap_or_default()
}

fn in_finally(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('f'))
}
