//! A world for one run: a journal in memory, attempts that end when the dice say so, people who
//! answer or do not, and crashes that throw the run in memory away.

use crate::facts::{End, Fact, Word};
use crate::forest::{Dice, Forest};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use trees_core::event::{Digests, ErrorReason, Event, EventKind, Object, Resolution, RunStarted, RunStatus, StepError, StepStatus};
use trees_core::path::{RunId, StepPath};
use trees_core::run::{Decision, Effect, Input, Mode, Outcome, Prepared, Recovered, RollBack, Run};
use trees_core::tree::NoKinds;

/// How the world behaves.
#[derive(Clone)]
pub struct Plan {
    pub fail: u64,
    pub time_out: u64,
    pub crash: u64,
    pub lose: u64,
    pub cancel: u64,
    pub interrupt: u64,
    pub say_no: u64,
    pub done_already: u64,
    /// A person takes the run back.
    pub roll_back: u64,
    /// An undo fails.
    pub stick: u64,
    /// Prepares and locks are answered at once, as the driver does.
    pub prompt: bool,
    pub sittings: u32,
}

impl Plan {
    pub fn wild(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0xABCD);
        Self {
            fail: dice.below(40),
            time_out: dice.below(8),
            crash: dice.below(6),
            lose: 30,
            cancel: dice.below(3),
            interrupt: dice.below(3),
            say_no: 20,
            done_already: 15,
            roll_back: 0,
            stick: 0,
            prompt: false,
            sittings: 60,
        }
    }

    /// As wild, and a person takes runs back.
    pub fn backwards(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0xBACC);
        Self { roll_back: 50, stick: dice.below(15), ..Self::wild(seed) }
    }

    pub fn calm() -> Self {
        Self {
            fail: 0,
            time_out: 0,
            crash: 0,
            lose: 0,
            cancel: 0,
            interrupt: 0,
            say_no: 0,
            done_already: 0,
            roll_back: 0,
            stick: 0,
            prompt: false,
            sittings: 60,
        }
    }
}

/// An attempt under way.
#[derive(Debug, Clone)]
struct Flight {
    step: StepPath,
    attempt: u32,
    mode: Mode,
    stopped: bool,
}

pub struct World<'a> {
    forest: &'a Forest,
    plan: Plan,
    dice: Dice,
    now: Timestamp,
    pub journal: Vec<Event>,
    /// The length of the journal when each launch was asked for.
    pub launches: Vec<(StepPath, u32, Mode, usize)>,
    /// The lengths of the journal between two decisions: a real journal ends at one of them.
    pub borders: BTreeSet<usize>,
    /// What the run was told.
    pub facts: Vec<Fact>,
    /// The most leaves in flight at once.
    pub most: usize,
    flights: Vec<Flight>,
    preparing: Vec<StepPath>,
    locks: BTreeSet<String>,
    sittings: u32,
    pub ended: bool,
}

impl<'a> World<'a> {
    pub fn new(forest: &'a Forest, seed: u64, plan: Plan) -> Self {
        Self {
            forest,
            plan,
            dice: Dice::new(seed ^ 0x5EED),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            journal: Vec::new(),
            launches: Vec::new(),
            borders: BTreeSet::new(),
            facts: Vec::new(),
            most: 0,
            flights: Vec::new(),
            preparing: Vec::new(),
            locks: BTreeSet::new(),
            sittings: 0,
            ended: false,
        }
    }

    /// The first `cut` events of another world's journal, then a crash.
    pub fn from_prefix(forest: &'a Forest, seed: u64, other: &World, cut: usize) -> Self {
        let mut world = Self::new(forest, seed ^ cut as u64, Plan { crash: 0, ..other.plan.clone() });
        world.journal = other.journal[..cut].to_vec();
        world.facts = other.facts.iter().filter(|f| f.at < cut).cloned().collect();
        world.now = world.journal[cut - 1].ts;
        world.sittings = 1;
        world
    }

    pub fn run_to_the_end(&mut self) {
        while !self.ended {
            self.sit();
            self.sittings += 1;
            assert!(
                self.sittings < self.plan.sittings * 2,
                "seed {}: no end in sight\n{}\n{}",
                self.forest.seed,
                story(&self.journal),
                self.forest.text
            );
            if self.sittings > self.plan.sittings / 2 {
                self.plan = Plan { say_no: 0, ..Plan::calm() };
            }
        }
    }

    fn run(&self) -> Run {
        let mut run = Run::new(RunId("r".into()), Arc::clone(&self.forest.tree), &NoKinds);
        run.replay(&self.journal).unwrap_or_else(|e| panic!("seed {}: replay: {e}", self.forest.seed));
        run
    }

    fn first(&mut self, run: &Run) -> Input {
        // Whose rollback is stuck goes on only by a rollback.
        let stuck = run.status() == RunStatus::RollbackStuck;
        if !self.journal.is_empty() && (stuck || self.dice.percent(self.plan.roll_back)) {
            let skip = if stuck && self.dice.percent(10) { failed_undos(run) } else { Vec::new() };
            let mark_undone = if stuck && self.dice.percent(10) { failed_undos(run) } else { Vec::new() };
            let epoch = u64::from(self.sittings) + 1;
            return Input::RollBack(Box::new(RollBack { epoch, to: None, skip, mark_undone, actor: "me".into() }));
        }
        if !self.journal.is_empty() {
            let accept_changes = self.plan_is_calm() || self.dice.percent(50);
            let epoch = u64::from(self.sittings) + 1;
            return Input::Recovered(Box::new(Recovered { epoch, accept_changes, ..Recovered::default() }));
        }
        let tree = &self.forest.tree;
        Input::Started(Box::new(RunStarted {
            tree: tree.name.clone(),
            project: tree.project.clone(),
            number: 1,
            file: "top.yaml".into(),
            dir: "/w".into(),
            tree_dir: "/w".into(),
            environment: "lab".into(),
            params: Object::new(),
            definition: String::new(),
            epoch: 1,
            trigger: "run".into(),
            changed: None,
            version: "0".into(),
            max_parallel: tree.max_parallel.unwrap_or(4),
            approved: Vec::new(),
            pause_on_failure: false,
            selection: None,
        }))
    }

    /// One sitting: until the run ends or rests, or a crash.
    fn sit(&mut self) {
        let mut run = self.run();
        (self.flights, self.preparing, self.locks) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut inputs = vec![self.first(&run)];
        if self.dice.percent(60) {
            inputs.extend(self.late_answers(&run));
        }
        let mut first = true;
        loop {
            let told: Vec<Word> = inputs.iter().filter_map(word).collect();
            let decision = run.handle(inputs, self.now).unwrap_or_else(|e| panic!("seed {}: {e}\n{}", self.forest.seed, self.forest.text));
            if self.dice.percent(self.plan.crash) && self.dice.percent(self.plan.lose) {
                return;
            }
            let crash = self.dice.percent(self.plan.crash);
            let at = self.journal.len();
            self.facts.extend(told.into_iter().map(|word| Fact { at, first, word }));
            first = false;
            self.perform(decision);
            self.borders.insert(self.journal.len());
            self.compare(&run);
            if crash {
                return;
            }
            if !matches!(run.status(), RunStatus::Running | RunStatus::RollingBack) {
                assert!(
                    self.flights.is_empty(),
                    "seed {}: rests with attempts under way\n{}\n{}",
                    self.forest.seed,
                    story(&self.journal),
                    self.forest.text
                );
                self.rest(&run);
                return;
            }
            inputs = self.next(&run);
        }
    }

    /// The replayed journal is the same run.
    fn compare(&self, run: &Run) {
        if !self.journal.len().is_multiple_of(7) && run.status() == RunStatus::Running {
            return;
        }
        let seen = |run: &Run| -> BTreeMap<StepPath, (StepStatus, u32)> {
            let calm = |s: StepStatus| if s == StepStatus::Ready { StepStatus::Pending } else { s };
            run.steps().map(|s| (s.path, (calm(s.status), s.attempt))).collect()
        };
        assert_eq!(seen(run), seen(&self.run()), "seed {}: replay differs", self.forest.seed);
    }

    fn perform(&mut self, decision: Decision) {
        self.journal.extend(decision.events);
        for effect in decision.effects {
            match effect {
                Effect::Prepare { step } => self.preparing.push(step),
                Effect::Launch { step, attempt, mode } => {
                    self.launches.push((step.clone(), attempt, mode, self.journal.len()));
                    self.flights.push(Flight { step, attempt, mode, stopped: false });
                    self.most = self.most.max(self.flights.iter().filter(|f| !self.is_tree(&f.step)).count());
                }
                Effect::Stop { step, attempt, .. } => {
                    let flight = self.flights.iter_mut().find(|f| f.step == step && f.attempt == attempt);
                    flight.unwrap_or_else(|| panic!("seed {}: stop of {step}, which is not under way", self.forest.seed)).stopped = true;
                }
                Effect::Lock { name } => drop(self.locks.insert(name)),
                Effect::Unlock { name } => drop(self.locks.remove(&name)),
            }
        }
    }

    fn is_tree(&self, path: &StepPath) -> bool {
        let id = path.as_str().split('/').next_back().unwrap_or_default().split('[').next().unwrap_or_default();
        let step = self.forest.tree.step(id).filter(|_| !path.as_str().contains('/'));
        step.is_some_and(|s| matches!(s.action, trees_core::tree::Action::Tree { .. }))
    }

    /// What the world says next; never nothing.
    fn next(&mut self, run: &Run) -> Vec<Input> {
        if self.plan.prompt && !(self.preparing.is_empty() && self.locks.is_empty()) {
            return self.answers();
        }
        self.now += Duration::from_millis(self.dice.below(3_000));
        if self.dice.percent(self.plan.cancel) {
            return vec![Input::Cancel { actor: "me".into(), now: self.dice.percent(30) }];
        }
        if self.dice.percent(self.plan.interrupt) {
            return vec![Input::Interrupt];
        }
        let mut inputs = self.answers();
        let flights = self.flights.len() as u64;
        for _ in 0..=self.dice.below(3).min(flights) {
            if let Some(at) = (!self.flights.is_empty()).then(|| self.dice.below(self.flights.len() as u64)) {
                let flight = self.flights.swap_remove(usize::try_from(at).unwrap());
                inputs.push(self.land(flight, run));
            }
        }
        if inputs.is_empty() || run.next_wakeup().is_some_and(|at| at <= self.now) {
            inputs.extend(self.sleep(run));
        }
        assert!(!inputs.is_empty(), "seed {}: stuck\n{}\n{}\n{}", self.forest.seed, story(&self.journal), standing(run), self.forest.text);
        inputs
    }

    /// Locks are free, prepares succeed.
    fn answers(&mut self) -> Vec<Input> {
        let locks = std::mem::take(&mut self.locks).into_iter().map(|name| Input::Locked { name });
        locks.chain(std::mem::take(&mut self.preparing).into_iter().map(|step| prepared(&step))).collect()
    }

    fn sleep(&mut self, run: &Run) -> Option<Input> {
        let at = run.next_wakeup()?;
        self.now = self.now.max(at);
        Some(Input::Woke)
    }

    fn land(&mut self, flight: Flight, run: &Run) -> Input {
        let Flight { step, attempt, mode, stopped } = flight;
        let outcome = if stopped && self.dice.percent(80) { Outcome::Stopped } else { self.outcome(&step, mode, run) };
        let verified = self.has_verify(&step) && mode == Mode::Action;
        match outcome {
            Outcome::Succeeded { outputs, artifacts } if verified => Input::ActionDone { step, attempt, outputs, artifacts },
            outcome => Input::Ended { step, attempt, outcome },
        }
    }

    fn has_verify(&self, path: &StepPath) -> bool {
        let mut tree = Arc::clone(&self.forest.tree);
        let mut found = false;
        for part in path.as_str().split('/') {
            let id = part.split('[').next().unwrap_or_default();
            let Some(step) = tree.step(id).cloned() else { return false };
            found = step.verify.is_some();
            if let trees_core::tree::Action::Tree { tree: inner, .. } = step.action {
                tree = inner;
            }
        }
        found
    }

    fn outcome(&mut self, step: &StepPath, mode: Mode, _run: &Run) -> Outcome {
        if mode == Mode::Undo {
            return match self.dice.percent(self.plan.stick) {
                true => Outcome::Failed { error: error(ErrorReason::Exit, Some(1)), permanent: self.dice.percent(20) },
                false => Outcome::Succeeded { outputs: Object::new(), artifacts: BTreeMap::new() },
            };
        }
        if mode == Mode::Check && !self.dice.percent(self.plan.done_already) {
            return Outcome::NotDone;
        }
        if mode == Mode::Check {
            return Outcome::AlreadyDone { code: "check", text: "it is".into(), outputs: Object::new(), artifacts: BTreeMap::new() };
        }
        if self.dice.percent(self.plan.time_out) {
            return Outcome::Failed { error: error(ErrorReason::Timeout, None), permanent: false };
        }
        if self.dice.percent(self.plan.fail) {
            let (reason, code) = *self.dice.pick(&[
                (ErrorReason::Exit, Some(1)),
                (ErrorReason::Exit, Some(75)),
                (ErrorReason::Exit, Some(77)),
                (ErrorReason::Signal, Some(9)),
                (ErrorReason::Verify, None),
                (ErrorReason::Spawn, None),
            ]);
            return Outcome::Failed { error: error(reason, code), permanent: self.dice.percent(10) };
        }
        let _ = step;
        Outcome::Succeeded { outputs: Object::new(), artifacts: BTreeMap::new() }
    }

    /// At rest: a person answers, or takes the run up as it is; an ended run is taken up once more.
    fn rest(&mut self, run: &Run) {
        self.now += Duration::from_secs(self.dice.below(100));
        let again = !self.plan_is_calm() && self.dice.percent(50);
        let takes_back = self.plan.roll_back > 0 && self.dice.percent(self.plan.roll_back);
        let open = run.status() == RunStatus::RollbackStuck || (run.status() != RunStatus::Succeeded && again) || takes_back;
        self.ended = run.status().is_ended() && !open;
    }

    fn plan_is_calm(&self) -> bool {
        self.plan.fail == 0 && self.plan.crash == 0
    }

    fn late_answers(&mut self, run: &Run) -> Vec<Input> {
        let waiting: Vec<String> = run.steps().filter(|s| s.status == StepStatus::Waiting).map(|s| s.path.0).collect();
        let mut inputs = Vec::new();
        for name in waiting.into_iter().chain(["environment:live".to_owned()]) {
            let actor = "me".to_owned();
            inputs.push(if self.dice.percent(self.plan.say_no) {
                Input::Rejected { name: name.clone(), actor: actor.clone(), note: None }
            } else {
                Input::Approved { name: name.clone(), actor: actor.clone(), note: None }
            });
            let resolution = *self.dice.pick(&[Resolution::Done, Resolution::Retry, Resolution::Fail]);
            inputs.push(Input::Resolved { name, resolution, outputs: Object::new(), actor, note: None });
        }
        inputs
    }
}

/// What an input says, in words that know nothing of the machine.
fn word(input: &Input) -> Option<Word> {
    let end = |outcome: &Outcome| match outcome {
        Outcome::Succeeded { .. } => End::Good,
        Outcome::AlreadyDone { .. } => End::Already,
        Outcome::NotDone => End::NotDone,
        Outcome::Failed { error, permanent } => End::Bad { reason: error.reason, code: error.code, permanent: *permanent },
        Outcome::Stopped => End::Stopped,
    };
    match input {
        Input::ActionDone { step, attempt, .. } => Some(Word::Acted { step: step.0.clone(), attempt: *attempt }),
        Input::Ended { step, attempt, outcome } => Some(Word::Ended { step: step.0.clone(), attempt: *attempt, end: end(outcome) }),
        Input::Approved { name, .. } => Some(Word::Answered { name: name.clone(), yes: true }),
        Input::Rejected { name, .. } => Some(Word::Answered { name: name.clone(), yes: false }),
        Input::Resolved { name, resolution, .. } => Some(Word::Resolved { name: name.clone(), resolution: *resolution }),
        Input::Cancel { .. } => Some(Word::Cancelled),
        Input::Interrupt => Some(Word::Interrupted),
        Input::RollBack(asked) => Some(Word::TakenBack { marked: asked.mark_undone.iter().map(|step| step.0.clone()).collect() }),
        Input::Started(_)
        | Input::Selected(_)
        | Input::Recovered(_)
        | Input::Woke
        | Input::Prepared { .. }
        | Input::Intended { .. }
        | Input::Locked { .. }
        | Input::LockBusy { .. } => None,
    }
}

fn failed_undos(run: &Run) -> Vec<StepPath> {
    run.steps().filter(|s| s.status == StepStatus::UndoFailed).map(|s| s.path).collect()
}

fn prepared(step: &StepPath) -> Input {
    let digests = Digests { definition: "d".into(), input: "i".into(), ingredients: BTreeMap::new(), reusable: false };
    Input::Prepared { step: step.clone(), result: Ok(Box::new(Prepared { digests, cached: None, lost: None })) }
}

fn error(reason: ErrorReason, code: Option<i32>) -> StepError {
    StepError { reason, code, message: "as the dice said".into(), log: None }
}

/// Whether an event ends a step.
pub fn is_end(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::StepSucceeded { .. }
            | EventKind::StepCached { .. }
            | EventKind::StepSkipped { .. }
            | EventKind::StepBlocked { .. }
            | EventKind::StepFailed { .. }
            | EventKind::StepTimedOut { .. }
            | EventKind::StepCancelled { .. }
            | EventKind::ApprovalRejected { .. }
    )
}

/// What has not ended.
fn standing(run: &Run) -> String {
    run.steps().filter(|s| !s.status.is_final()).map(|s| format!("{} {}\n", s.path, s.status.as_str())).collect()
}

/// The journal in a line an event.
pub fn story(events: &[Event]) -> String {
    let name = |e: &Event| format!("{:?}", e.kind).split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    events.iter().map(|e| format!("{} {} {:?} {}\n", e.seq, e.step.as_ref().map_or("-", StepPath::as_str), e.attempt, name(e))).collect()
}
