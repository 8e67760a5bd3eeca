//! What the world must have said for an event to be recorded.

use super::retrace::Retrace;
use crate::event::{Digests, ErrorReason, Event, EventKind, Object, Resolution, StepError, StepStatus, WaitFor};
use crate::path::StepPath;
use crate::run::input::{Cached, Input, Outcome, Prepared, Recovered, RollBack};
use crate::run::select::Course;
use crate::run::state::{NodeId, Stage};
use crate::run::words;
use std::collections::BTreeSet;

impl Retrace<'_> {
    /// The words of the world among the events at hand, each with the index of its event.
    pub(super) fn heard(&self) -> Vec<(usize, Input)> {
        let mut heard = Vec::new();
        let mut told = BTreeSet::new();
        for (at, event) in self.group().iter().enumerate() {
            if let Some(input) = self.word(event, &mut told) {
                heard.push((at, input));
            }
            heard.extend(self.course(event).map(|course| (at, Input::Selected(Box::new(course)))));
        }
        heard
    }

    fn word(&self, event: &Event, told: &mut BTreeSet<String>) -> Option<Input> {
        let actor = || event.actor.clone().unwrap_or_default();
        let name = || event.step.as_ref().map(|s| s.0.clone()).unwrap_or_default();
        let by_person = event.actor.as_deref().is_some_and(|a| a != "--approve");
        match &event.kind {
            EventKind::RunStarted(facts) => Some(Input::Started(facts.clone())),
            EventKind::RunResumed { epoch, definition } => {
                Some(Input::Recovered(Box::new(Recovered { definition: definition.clone(), ..self.recovered(*epoch) })))
            }
            EventKind::RollbackStarted(how) => {
                let (to, skip, epoch) = (how.to.clone(), how.skip.clone(), how.epoch?);
                let mark_undone = self.resolved(Resolution::Undone);
                Some(Input::RollBack(Box::new(RollBack { epoch, to, skip, mark_undone, actor: actor() })))
            }
            EventKind::CancelRequested { now } => Some(Input::Cancel { actor: actor(), now: *now }),
            EventKind::ApprovalGiven { note } if by_person => Some(Input::Approved { name: name(), actor: actor(), note: note.clone() }),
            EventKind::ApprovalRejected { note } if by_person => Some(Input::Rejected { name: name(), actor: actor(), note: note.clone() }),
            // Said with the beginning of the sitting.
            EventKind::StepResolved { resolution: Resolution::Skip | Resolution::Undone, .. } => None,
            EventKind::StepResolved { resolution, note, outputs } => {
                let (resolution, outputs, note) = (*resolution, outputs.clone(), note.clone());
                Some(Input::Resolved { name: name(), resolution, outputs, actor: actor(), note })
            }
            EventKind::StepWaiting { what: WaitFor::Lock, on } => {
                let (name, holder) = words::holder(on)?;
                told.insert(format!("lock {name}")).then(|| Input::LockBusy { name: name.into(), holder: holder.into() })
            }
            EventKind::StepReopened { .. } => self.reopened(event),
            _ => self.word_of_step(event, told),
        }
    }

    fn word_of_step(&self, event: &Event, told: &mut BTreeSet<String>) -> Option<Input> {
        let path = event.step.as_ref()?;
        let id = self.run.find(path)?;
        let node = self.run.node(id);
        if told.contains(path.as_str()) {
            return None;
        }
        match node.stage {
            Stage::Preparing if !node.suspect => {
                told.insert(path.0.clone());
                Some(Input::Prepared { step: path.clone(), result: prepared(event) })
            }
            Stage::Active | Stage::Stopping if event.attempt == Some(node.attempt) => {
                let input = self.ended(event, id)?;
                if !matches!(input, Input::Intended { .. }) {
                    told.insert(path.0.clone());
                }
                Some(input)
            }
            _ => None,
        }
    }

    /// The end of an attempt that is under way.
    fn ended(&self, event: &Event, id: NodeId) -> Option<Input> {
        let (step, attempt) = (event.step.clone()?, event.attempt?);
        let stopping = self.run.node(id).stage == Stage::Stopping;
        let failed = |error: &StepError| Outcome::Failed { error: error.clone(), permanent: self.permanent.contains(&event.seq) };
        let outcome = match &event.kind {
            EventKind::IntentRecorded { record } => return Some(Input::Intended { step, attempt, record: record.clone() }),
            EventKind::ActionSucceeded { outputs, artifacts } => {
                return Some(Input::ActionDone { step, attempt, outputs: outputs.clone(), artifacts: artifacts.clone() });
            }
            EventKind::StepSucceeded { outputs, artifacts } => {
                Outcome::Succeeded { outputs: outputs.as_object().cloned().unwrap_or_default(), artifacts: artifacts.clone() }
            }
            EventKind::UndoSucceeded => Outcome::Succeeded { outputs: Object::new(), artifacts: Default::default() },
            EventKind::StepCached { reason, outputs, artifacts, .. } => Outcome::AlreadyDone {
                code: if reason.code == "no_change" { "no_change" } else { "check" },
                text: reason.text.clone(),
                outputs: outputs.as_object().cloned().unwrap_or_default(),
                artifacts: artifacts.clone(),
            },
            EventKind::StepSkipped { reason } => {
                let code = words::skipping(&reason.text);
                failed(&StepError { reason: ErrorReason::Exit, code, message: reason.text.clone(), log: None })
            }
            EventKind::StepCancelled { .. } => Outcome::Stopped,
            EventKind::StepInterrupted { error } if error.reason == ErrorReason::Interrupted && stopping => Outcome::Stopped,
            EventKind::StepTimedOut { error } if stopping && error.message == words::LATE => Outcome::Stopped,
            EventKind::StepFailed { error }
            | EventKind::StepTimedOut { error }
            | EventKind::StepInterrupted { error }
            | EventKind::AttemptFailed { error, .. }
            | EventKind::UndoFailed { error } => failed(error),
            _ => return None,
        };
        Some(Input::Ended { step, attempt, outcome })
    }

    /// How a run of a part of its tree settled the steps that do not run.
    fn course(&self, event: &Event) -> Option<Course> {
        let EventKind::RunStarted(facts) = &event.kind else { return None };
        facts.selection.as_ref()?;
        let group = self.group();
        let mut settled: Vec<&Event> = group.iter().skip(1).take_while(|e| is_settling(&e.kind)).collect();
        // A fan-out that only expands does so by itself.
        while settled.last().is_some_and(|e| matches!(e.kind, EventKind::StepExpanded { .. })) {
            settled.pop();
        }
        let events = settled.into_iter().filter_map(|e| Some((e.step.clone()?, e.kind.clone()))).collect();
        Some(Course { events, changed: Vec::new() })
    }

    /// How the sitting took the run up.
    fn recovered(&self, epoch: u64) -> Recovered {
        let of_us = |e: &&Event| e.actor.as_deref() == Some("--approve") && matches!(e.kind, EventKind::ApprovalGiven { .. });
        let approved = self.sitting.iter().filter(of_us).filter_map(|e| e.step.as_ref().map(|s| s.0.clone())).collect();
        let forced = |e: &&Event| matches!(&e.kind, EventKind::StepReopened { reason } if reason.text == words::FORCED);
        let force = self.group().iter().filter(forced).filter_map(|e| e.step.clone()).collect();
        let skip = self.resolved(Resolution::Skip);
        Recovered { epoch, approved, accept_changes: self.refused().is_none(), definition: None, force, skip, actor: String::new() }
    }

    fn resolved(&self, how: Resolution) -> Vec<StepPath> {
        let fits = |e: &&Event| matches!(e.kind, EventKind::StepResolved { resolution, .. } if resolution == how);
        self.group().iter().filter(fits).filter_map(|e| e.step.clone()).collect()
    }

    /// What the sitting refused to run again, if it did.
    fn refused(&self) -> Option<&str> {
        match &self.sitting.last()?.kind {
            EventKind::RunSuspended { reason, .. } => words::refused(reason),
            _ => None,
        }
    }

    /// The answer to a prepare that is asked for at once.
    pub(super) fn answer(&self, step: &StepPath) -> Input {
        let result = match self.run.find(step) {
            Some(id) if self.run.node(id).suspect => Ok(Box::new(self.looked_at(step, id))),
            _ => self.group().iter().find(|e| e.step.as_ref() == Some(step)).map_or_else(|| Ok(Box::new(nothing_known())), prepared),
        };
        Input::Prepared { step: step.clone(), result }
    }

    /// What a suspect step is found to be made of: what it was, unless it is recorded to differ.
    fn looked_at(&self, step: &StepPath, id: NodeId) -> Prepared {
        let digests = self.run.node(id).more.as_ref().and_then(|m| m.digests.clone()).unwrap_or_else(|| nothing_known().digests);
        let same = Prepared { digests, cached: None, lost: None };
        match self.changed(step) {
            Some(code) => altered(same, code),
            None => same,
        }
    }

    /// What differs of a suspect step, by what this sitting records later.
    fn changed(&self, step: &StepPath) -> Option<&str> {
        let refused = self.refused().is_some_and(|list| words::is_refused(list, step));
        self.runs_again(step).or(refused.then_some("inputs"))
    }

    /// Why a suspect step is recorded to run again later, where its prepare is what finds that.
    fn runs_again(&self, step: &StepPath) -> Option<&str> {
        let of = |e: &Event, inner: &str| if inner.is_empty() { e.step.as_ref() == Some(step) } else { inner == step.as_str() };
        self.sitting.get(self.at..).unwrap_or_default().iter().find_map(|event| match &event.kind {
            EventKind::StepReopened { reason } if is_found(&reason.code) => {
                let inner = words::inner(&reason.text).unwrap_or_default();
                of(event, inner).then_some(reason.code.as_str())
            }
            _ => None,
        })
    }

    /// A suspect step whose prepare has been answered.
    fn reopened(&self, event: &Event) -> Option<Input> {
        let EventKind::StepReopened { reason } = &event.kind else { return None };
        let step = match words::inner(&reason.text) {
            Some(inner) => StepPath(inner.into()),
            None => event.step.clone()?,
        };
        let id = self.run.find(&step)?;
        let node = self.run.node(id);
        (is_found(&reason.code) && node.suspect && node.stage == Stage::Preparing).then(|| self.answer(&step))
    }

    /// What may have come to be known without leaving an event.
    pub(super) fn silent(&self) -> Vec<Input> {
        let run = &self.run;
        let locks = run.locks.iter().filter(|(_, l)| !l.held && !l.queue.is_empty());
        let mut silent: Vec<Input> = locks.map(|(name, _)| Input::Locked { name: name.clone() }).collect();
        for id in 0..crate::run::tables::index(run.nodes.len()) {
            let node = run.node(id);
            let (step, attempt) = (node.path.clone(), node.attempt);
            let asked = matches!(node.stage, Stage::Active | Stage::Stopping);
            let over = run.interrupting || run.halted(id).is_some() || run.is_quiet();
            if node.stage == Stage::Preparing && if node.suspect { self.runs_again(&step).is_none() } else { over } {
                silent.push(self.answer(&step));
            } else if asked && node.status == StepStatus::Undoing && run.interrupting {
                silent.push(Input::Ended { step, attempt, outcome: Outcome::Stopped });
            } else if asked && run.is_tree(id) && run.spec(id).check.is_some() {
                silent.push(Input::Ended { step, attempt, outcome: Outcome::NotDone });
            }
        }
        silent
    }

    /// Whether a prepare is answered within the turn that asks for it: no file is read for it.
    pub(super) fn is_prompt(&self, step: &StepPath) -> bool {
        let Some(id) = self.run.find(step) else { return false };
        let spec = self.run.spec(id);
        let reads = match &spec.action {
            crate::tree::Action::Uses { kind, .. } => self.scene.kinds.kind(kind).is_some_and(|k| !k.file_inputs.is_empty()),
            _ => false,
        };
        self.scene.pace == super::Pace::Driven
            && spec.inputs.is_none()
            && !spec.cache
            && !reads
            && self.run.recorded_artifacts(step).is_empty()
    }

    /// A lock is held at once, or somebody else has it.
    pub(super) fn lock_answer(&self, name: &str) -> Input {
        let busy = self.group().iter().find_map(|e| match &e.kind {
            EventKind::StepWaiting { what: WaitFor::Lock, on } => words::holder(on).filter(|(lock, _)| *lock == name),
            _ => None,
        });
        if let Some((_, holder)) = busy {
            return Input::LockBusy { name: name.into(), holder: holder.into() };
        }
        let begins = |id: &NodeId| self.group().iter().any(|e| e.step.as_ref() == Some(&self.run.node(*id).path));
        let waits = self.run.locks.get(name).is_some_and(|l| !l.queue.iter().any(begins));
        if self.run.is_undoing() && waits {
            // An undo that waits leaves no event.
            return Input::LockBusy { name: name.into(), holder: String::new() };
        }
        Input::Locked { name: name.into() }
    }
}

/// Reasons that a prepare finds; the others the scheduler finds by itself.
fn is_found(code: &str) -> bool {
    matches!(code, "definition" | "inputs" | "artifacts")
}

/// The prepare behind the first event of an attempt.
fn prepared(event: &Event) -> Result<Box<Prepared>, StepError> {
    match &event.kind {
        EventKind::StepStarted { digests: Some(digests), .. } => {
            Ok(Box::new(Prepared { digests: digests.clone(), cached: None, lost: None }))
        }
        EventKind::StepCached { reason, outputs, artifacts, digests: Some(digests) } => {
            let cached = Cached { reason: reason.clone(), outputs: outputs.clone(), artifacts: artifacts.clone() };
            Ok(Box::new(Prepared { digests: digests.clone(), cached: Some(cached), lost: None }))
        }
        EventKind::StepFailed { error } => Err(error.clone()),
        _ => Ok(Box::new(nothing_known())),
    }
}

fn nothing_known() -> Prepared {
    let digests = Digests { definition: String::new(), input: String::new(), ingredients: Default::default(), reusable: false };
    Prepared { digests, cached: None, lost: None }
}

fn altered(mut was: Prepared, code: &str) -> Prepared {
    match code {
        "definition" => was.digests.definition.push_str(" changed"),
        "artifacts" => was.lost = Some("an artifact".into()),
        _ => drop(was.digests.ingredients.insert(" changed".into(), String::new())),
    }
    was
}

/// Whether an event may settle a step that a selection leaves out.
fn is_settling(kind: &EventKind) -> bool {
    match kind {
        EventKind::StepCached { reason, .. } | EventKind::StepSkipped { reason } => {
            matches!(reason.code.as_str(), "taken_over" | "not_asked")
        }
        EventKind::StepResolved { resolution, .. } => *resolution == Resolution::Skip,
        EventKind::StepExpanded { .. } => true,
        _ => false,
    }
}
