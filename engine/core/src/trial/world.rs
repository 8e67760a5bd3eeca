//! A world for one case: attempts end as the case says, people answer when it says, and time jumps
//! from one happening to the next. The state machine is the one that drives real runs.

use super::case::{Answer, Case, End, Mock, Word, fits};
use crate::event::{ArtifactRef, Digests, ErrorReason, Event, EventKind, Json, Object, Reason, RunStarted, RunStatus, StepError};
use crate::hash;
use crate::path::{RunId, StepPath};
use crate::run::{Cached, Decision, Effect, IllegalEvent, Input, Job, Mode, Outcome, Prepared, Run, Secrets, Task};
use crate::tree::{Kinds, Step, Tree};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Turns of the state machine before a case is given up: retries without end and the like.
const TURNS: u32 = 1_000_000;

/// What came of a case.
pub struct Course {
    /// All events, virtual times.
    pub events: Vec<Event>,
    /// The run at its end.
    pub run: Run,
    /// What kinds were given, by step.
    pub with: BTreeMap<StepPath, Json>,
    /// How often steps were attempted.
    pub attempts: BTreeMap<StepPath, u32>,
    /// The status the run ended or rests with.
    pub status: RunStatus,
}

/// Something that will be heard.
enum Happening {
    Landing(Input),
    Said(Input),
}

pub(super) struct World<'a> {
    case: &'a Case,
    tree: &'a Arc<Tree>,
    kinds: &'a dyn Kinds,
    run: Run,
    now: Timestamp,
    events: Vec<Event>,
    /// By time and order.
    ahead: BTreeMap<(Timestamp, u64), (Option<StepPath>, Happening)>,
    count: u64,
    /// Attempts of each step that ended as its mock says.
    ended: BTreeMap<StepPath, u32>,
    attempts: BTreeMap<StepPath, u32>,
    with: BTreeMap<StepPath, Json>,
    asked: BTreeSet<(StepPath, usize)>,
}

/// Tries a case.
///
/// # Errors
/// On a bug in the state machine.
pub fn run(case: &Case, tree: &Arc<Tree>, kinds: &dyn Kinds) -> Result<Course, IllegalEvent> {
    let now = Timestamp::UNIX_EPOCH;
    let run = Run::new(RunId("test".into()), Arc::clone(tree), kinds);
    let (events, ahead, ended, attempts, with, asked) = Default::default();
    World { case, tree, kinds, run, now, events, ahead, count: 0, ended, attempts, with, asked }.course()
}

impl World<'_> {
    fn course(mut self) -> Result<Course, IllegalEvent> {
        self.run.attend(true);
        if let Some((after, now)) = self.case.cancel {
            self.later(after, None, Happening::Said(Input::Cancel { actor: "test".into(), now }));
        }
        let mut inputs = vec![Input::Started(Box::new(self.facts()))];
        for _ in 0..TURNS {
            let mut decision = self.run.handle(inputs, self.now)?;
            inputs = self.perform(&mut decision);
            self.events.append(&mut decision.events);
            if !matches!(self.run.status(), RunStatus::Running | RunStatus::RollingBack) {
                break;
            }
            if inputs.is_empty() {
                match self.next()? {
                    Some(next) => inputs = next,
                    None => break,
                }
            }
        }
        let status = self.run.status();
        Ok(Course { events: self.events, run: self.run, with: self.with, attempts: self.attempts, status })
    }

    fn facts(&self) -> RunStarted {
        RunStarted {
            tree: self.tree.name.clone(),
            project: self.tree.project.clone(),
            number: 1,
            file: self.tree.file.clone(),
            dir: "/here".into(),
            tree_dir: "/here".into(),
            environment: self.case.environment.clone(),
            params: self.case.params.clone(),
            definition: String::new(),
            epoch: 1,
            trigger: "test".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            max_parallel: self.case.max_parallel,
            approved: Vec::new(),
            pause_on_failure: false,
            changed: None,
            selection: None,
        }
    }

    fn later(&mut self, after: Duration, step: Option<StepPath>, happening: Happening) {
        self.count += 1;
        let at = self.now.checked_add(after).unwrap_or(Timestamp::MAX);
        self.ahead.insert((at, self.count), (step, happening));
    }

    /// What is asked of the world; answers what it says at once.
    fn perform(&mut self, decision: &mut Decision) -> Vec<Input> {
        let mut inputs = Vec::new();
        for event in &decision.events {
            self.hear(event);
        }
        for effect in decision.effects.drain(..) {
            match effect {
                Effect::Prepare { step } => inputs.push(self.prepare(step)),
                Effect::Launch { step, attempt, mode } => self.launch(step, attempt, mode),
                Effect::Stop { step, attempt, .. } => {
                    self.ahead.retain(|_, (of, _)| of.as_ref() != Some(&step));
                    inputs.push(Input::Ended { step, attempt, outcome: Outcome::Stopped });
                }
                Effect::Lock { name } => inputs.push(Input::Locked { name }),
                Effect::Unlock { .. } => {}
            }
        }
        inputs
    }

    /// People hear questions.
    fn hear(&mut self, event: &Event) {
        let question = matches!(event.kind, EventKind::ApprovalRequested { .. } | EventKind::StepWaiting { .. });
        let Some(step) = event.step.as_ref().filter(|_| question) else { return };
        let Some((at, answer)) = self.answer(step, matches!(event.kind, EventKind::ApprovalRequested { .. })) else { return };
        let (name, actor, note, after) = (step.0.clone(), "test".to_owned(), answer.note.clone(), answer.after);
        let input = match &answer.word {
            Word::Approve(true) => Input::Approved { name, actor, note },
            Word::Approve(false) => Input::Rejected { name, actor, note },
            Word::Resolve(resolution, outputs) => Input::Resolved { name, resolution: *resolution, outputs: outputs.clone(), actor, note },
            Word::Expire => return,
        };
        // A decision is made once: whoever says `retry` does not say it for ever.
        if self.asked.insert((step.clone(), at)) || matches!(input, Input::Approved { .. } | Input::Rejected { .. }) {
            self.later(after, None, Happening::Said(input));
        }
    }

    fn answer(&self, step: &StepPath, approval: bool) -> Option<(usize, &Answer)> {
        let sort = |a: &Answer| matches!(a.word, Word::Resolve(..)) != approval;
        let all = self.case.answers.iter().enumerate().filter(|(_, a)| sort(a));
        let exact = |a: &Answer| if a.name == *step { Some(usize::MAX) } else { fits(&a.name, step) };
        all.filter_map(|(at, a)| Some((exact(a)?, at, a))).max_by_key(|(exact, ..)| *exact).map(|(_, at, a)| (at, a))
    }

    fn mock(&self, step: &StepPath) -> Option<&Mock> {
        self.case.mocks.iter().filter_map(|m| Some((fits(&m.path, step)?, m))).max_by_key(|(exact, _)| *exact).map(|(_, m)| m)
    }

    /// How the attempt at hand ends.
    fn end(&self, step: &StepPath) -> End {
        let Some(mock) = self.mock(step) else { return End::Well };
        let ended = self.ended.get(step).copied().unwrap_or(0);
        if mock.times.is_some_and(|times| ended >= times) { End::Well } else { mock.end.clone() }
    }

    fn task(&self, step: &StepPath) -> Result<Task, StepError> {
        let secrets = self.secrets(step);
        self.run.task(step, &secrets)
    }

    fn secrets(&self, step: &StepPath) -> Secrets {
        let value = |name: String| {
            let value = self.case.secrets.get(&name).cloned().unwrap_or_else(|| format!("secret {name}"));
            (name, value)
        };
        self.run.secret_names(step).2.into_iter().map(value).collect()
    }

    fn prepare(&mut self, step: StepPath) -> Input {
        let result = self.task(&step).map(|task| {
            if let Some(Job::Uses { with, .. }) = &task.job {
                self.with.insert(step.clone(), with.clone());
            }
            let digests = Digests { definition: String::new(), input: String::new(), ingredients: BTreeMap::new(), reusable: false };
            let spec = task.spec();
            let cached = (spec.cache && spec.check.is_none() && self.end(&step) == End::Done).then(|| {
                let text = "the case says that an earlier run has its result".to_owned();
                let reason = Reason {
                    code: "inputs".into(),
                    text,
                    file: Some(task.tree.file.clone()),
                    line: Some(spec.span.line),
                    values: BTreeMap::new(),
                };
                Cached { reason, outputs: Json::Object(self.outputs(&step, spec)), artifacts: artifacts(&task) }
            });
            Box::new(Prepared { digests, cached, lost: None })
        });
        Input::Prepared { step, result }
    }

    fn launch(&mut self, step: StepPath, attempt: u32, mode: Mode) {
        if mode == Mode::Undo {
            return self.take_back(step, attempt);
        }
        if mode != Mode::Verify {
            *self.attempts.entry(step.clone()).or_default() += 1;
        }
        let task = match self.task(&step) {
            Ok(task) => task,
            Err(error) => return self.land(step, attempt, Duration::ZERO, Outcome::Failed { error, permanent: true }),
        };
        let takes = self.mock(&step).map_or(Duration::ZERO, |m| m.takes);
        let spec = task.spec();
        match (mode, self.end(&step)) {
            (Mode::Verify, End::Failed { reason: ErrorReason::Verify, code, message, in_check: false }) => {
                self.fail(step, attempt, Duration::ZERO, StepError { reason: ErrorReason::Verify, code, message, log: None });
            }
            (Mode::Verify, _) => self.land(step, attempt, Duration::ZERO, well(Object::new(), BTreeMap::new())),
            (Mode::Check, End::Done) | (Mode::Action, End::Done) => {
                let code = if spec.check.is_some() { "check" } else { "no_change" };
                let text = "the case says that it is done".into();
                let outcome = Outcome::AlreadyDone { code, text, outputs: self.outputs(&step, spec), artifacts: artifacts(&task) };
                self.land(step, attempt, Duration::ZERO, outcome);
            }
            (_, End::Failed { reason, code, message, in_check: true }) => {
                self.fail(step, attempt, Duration::ZERO, StepError { reason, code, message, log: None });
            }
            (Mode::Check, _) => self.land(step, attempt, Duration::ZERO, Outcome::NotDone),
            (Mode::Undo, _) => {}
            (Mode::Action, end) => self.act(step, attempt, &task, end, takes),
        }
    }

    fn take_back(&mut self, step: StepPath, attempt: u32) {
        let outcome = match self.mock(&step) {
            Some(mock) if mock.undo_fails => {
                let error = StepError { reason: ErrorReason::Exit, code: Some(1), message: "undo failed".into(), log: None };
                Outcome::Failed { error, permanent: false }
            }
            Some(_) | None => well(Object::new(), BTreeMap::new()),
        };
        self.land(step, attempt, Duration::ZERO, outcome);
    }

    fn act(&mut self, step: StepPath, attempt: u32, task: &Task, end: End, takes: Duration) {
        let late = |limit: Duration| StepError {
            reason: ErrorReason::Timeout,
            code: None,
            message: format!("took longer than {}", crate::units::show(limit)),
            log: None,
        };
        match (end, task.timeout) {
            (_, Some(limit)) if takes > limit => self.fail(step, attempt, limit, late(limit)),
            (End::Failed { reason: ErrorReason::Timeout, code, message, .. }, Some(limit)) => {
                self.fail(step, attempt, limit, StepError { reason: ErrorReason::Timeout, code, message, log: None });
            }
            // The action ends well; its verify says no.
            (End::Failed { reason, code, message, .. }, _) if reason != ErrorReason::Verify => {
                self.fail(step, attempt, takes, StepError { reason, code, message, log: None });
            }
            (End::Well | End::Done | End::Failed { .. }, _) => {
                let (outputs, artifacts) = (self.outputs(&step, task.spec()), artifacts(task));
                if task.has_verify {
                    let input = Input::ActionDone { step: step.clone(), attempt, outputs, artifacts };
                    self.later(takes, Some(step), Happening::Landing(input));
                } else {
                    self.land(step, attempt, takes, well(outputs, artifacts));
                }
            }
        }
    }

    fn fail(&mut self, step: StepPath, attempt: u32, after: Duration, error: StepError) {
        *self.ended.entry(step.clone()).or_default() += 1;
        let permanent = error.reason == ErrorReason::Output;
        self.land(step, attempt, after, Outcome::Failed { error, permanent });
    }

    fn land(&mut self, step: StepPath, attempt: u32, after: Duration, outcome: Outcome) {
        let input = Input::Ended { step: step.clone(), attempt, outcome };
        self.later(after, Some(step), Happening::Landing(input));
    }

    /// What a step returns: what the case gives, and a value of its type for what it does not.
    fn outputs(&self, step: &StepPath, spec: &Step) -> Object {
        let given = self.mock(step).map(|m| m.outputs.clone()).unwrap_or_default();
        let mut outputs = spec.examples(self.kinds);
        outputs.extend(given);
        outputs
    }

    /// The next thing that is heard: time jumps there. `None`: nothing will ever happen.
    fn next(&mut self) -> Result<Option<Vec<Input>>, IllegalEvent> {
        let first = self.ahead.first_key_value().map(|((at, _), _)| *at);
        let wake = self.run.next_wakeup();
        if first.is_none() && !self.expires() && self.rests()? {
            return Ok(None);
        }
        match (first, wake) {
            (None, None) => Ok(None),
            (Some(at), wake) if wake.is_none_or(|w| at <= w) => {
                self.now = self.now.max(at);
                Ok(self.ahead.pop_first().map(|(_, (_, happening))| match happening {
                    Happening::Landing(input) | Happening::Said(input) => vec![input],
                }))
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                Ok(Some(vec![Input::Woke]))
            }
            (Some(_), None) => Ok(None),
        }
    }

    /// Whether the case says of a question that waits that it expires.
    fn expires(&self) -> bool {
        let waiting = self.run.steps().filter(|s| s.status == crate::event::StepStatus::Waiting);
        waiting.map(|s| s.path).any(|path| self.answer(&path, true).is_some_and(|(_, a)| a.word == Word::Expire))
    }

    /// Whether the run rests where nobody answers.
    fn rests(&mut self) -> Result<bool, IllegalEvent> {
        self.run.attend(false);
        let decision = self.run.handle([], self.now)?;
        self.run.attend(true);
        self.events.extend(decision.events);
        Ok(!matches!(self.run.status(), RunStatus::Running | RunStatus::RollingBack))
    }
}

fn well(outputs: Object, artifacts: BTreeMap<String, ArtifactRef>) -> Outcome {
    Outcome::Succeeded { outputs, artifacts }
}

fn artifacts(task: &Task) -> BTreeMap<String, ArtifactRef> {
    let one = |(name, path, _): &(String, String, bool)| {
        (name.clone(), ArtifactRef { path: path.clone(), sha256: hash::bytes(format!("{}\n{name}", task.step).as_bytes()), size: 0 })
    };
    task.artifacts.iter().map(one).collect()
}
