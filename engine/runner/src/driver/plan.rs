//! What a run would do: the run state machine in a world that looks and changes nothing. Where a
//! real world would make an attempt, this one asks the check, the observation and the cache; what
//! would run is taken to succeed, with results that nobody knows yet.

use super::look::{Eyes, Looked, Looker, Place, Seen, signalled};
use super::unknown::{Lineage, Unknowns};
use super::verdict::{Plan, Row, Verdict};
use super::{DriveError, KindSet};
use crate::kind::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Handle as Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trees_core::event::{ArtifactRef, Digests, Event, EventKind, Reason, RunStarted, RunStatus};
use trees_core::path::{RunId, StepPath};
use trees_core::run::{Decision, Effect, Input, Job, Mode, Outcome, Prepared, Run, Task};
use trees_core::tree::{Action, Effect as Changes, OnFailure, Tree};

/// The id of the run that does not take place; a value that holds it is not known.
const RUN: &str = "the-run-that-is-planned";

/// Plans a run with these first facts. A signal ends it.
///
/// # Errors
/// When something that the tree names is missing.
pub fn plan(eyes: Eyes, tree: &Arc<Tree>, started: RunStarted) -> Result<Looked<Plan>, DriveError> {
    // What a failure would do to the rest is no reason not to tell of the rest.
    let tree = &Arc::new(Tree { on_failure: OnFailure::Continue, ..Tree::clone(tree) });
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let place = Place { tree, selection: None, environment: &started.environment, params: &started.params, dir: Path::new(&started.dir) };
    let looker = Looker::open(eyes, RunId(RUN.into()), place, runtime.handle())?;
    let kinds = Arc::clone(&looker.eyes.kinds);
    let (sender, seen) = unbounded_channel();
    let planner = Planner {
        tree: Arc::clone(tree),
        run: Run::new(looker.run.clone(), Arc::clone(tree), kinds.as_kinds()),
        kinds,
        looker,
        workers: runtime.handle().clone(),
        sender,
        under_way: 0,
        unknown: Unknowns::default(),
        course: BTreeSet::new(),
        rows: BTreeMap::new(),
        changing: BTreeSet::new(),
        doubts: BTreeMap::new(),
    };
    runtime.block_on(planner.plan(started, seen))
}

/// What a look gave, of which step.
type Found = (StepPath, u32, Seen);

struct Planner {
    tree: Arc<Tree>,
    run: Run,
    kinds: Arc<dyn KindSet>,
    looker: Looker,
    workers: Runtime,
    sender: UnboundedSender<Found>,
    under_way: u32,
    unknown: Unknowns,
    /// Steps of which nobody knows whether they run.
    course: BTreeSet<String>,
    rows: BTreeMap<StepPath, Row>,
    /// Steps that would change something.
    changing: BTreeSet<String>,
    /// What is as it should be now and may not be then.
    doubts: BTreeMap<StepPath, String>,
}

impl Planner {
    async fn plan(mut self, started: RunStarted, mut seen: UnboundedReceiver<Found>) -> Result<Looked<Plan>, DriveError> {
        let end = signalled();
        tokio::pin!(end);
        // Time stands still: nothing is late in a plan.
        let now = jiff::Timestamp::now();
        let started = RunStarted { approved: vec!["*".into()], ..started };
        let mut inputs = vec![Input::Started(Box::new(started))];
        loop {
            let Decision { events, effects } = self.run.handle(std::mem::take(&mut inputs), now)?;
            events.iter().for_each(|event| self.note(event));
            for effect in effects {
                inputs.extend(self.perform(effect));
            }
            if self.run.status() != RunStatus::Running {
                break;
            }
            if inputs.is_empty() {
                if self.under_way == 0 {
                    break;
                }
                let (step, attempt, found) = tokio::select! {
                    found = seen.recv() => match found {
                        Some(found) => found,
                        None => break,
                    },
                    signal = &mut end => return Ok(Err(self.give_up(signal, seen).await)),
                };
                self.under_way -= 1;
                inputs.push(self.told(step, attempt, found));
            }
        }
        let steps = self.in_order();
        self.looker.close().await;
        Ok(Ok(Plan { steps }))
    }

    /// Ends what is being looked at.
    async fn give_up(mut self, signal: i32, mut seen: UnboundedReceiver<Found>) -> i32 {
        self.looker.stop();
        while self.under_way > 0 && seen.recv().await.is_some() {
            self.under_way -= 1;
        }
        self.looker.close().await;
        signal
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Prepare { step } => Some(self.prepare(step)),
            Effect::Launch { step, attempt, mode } => self.launch(step, attempt, mode),
            Effect::Stop { step, attempt, .. } => Some(Input::Ended { step, attempt, outcome: Outcome::Stopped }),
            Effect::Lock { name } => Some(Input::Locked { name }),
            Effect::Unlock { .. } => None,
        }
    }

    fn prepare(&mut self, step: StepPath) -> Input {
        let result = match self.looker.prepare(&self.run, &step) {
            Ok(prepared) => Ok(self.prepared(&step, prepared)),
            // Its files may not be there yet.
            Err(_) if self.looker.task(&self.run, &step).is_ok() && self.goes_first(&step).is_some() => Ok(blank()),
            Err(error) => {
                // Values that cannot be computed from what nobody knows say nothing of the run.
                if let Some(what) = self.reads(&step) {
                    self.undecided(&step, &format!("{what} is unknown until then ({})", error.message));
                }
                Err(error)
            }
        };
        Input::Prepared { step, result: result.map(Box::new) }
    }

    fn prepared(&mut self, step: &StepPath, prepared: Prepared) -> Prepared {
        let Some(cached) = &prepared.cached else { return prepared };
        let needed = || self.lineage(step).and_then(|l| self.unknown.needed_by(&l)).or_else(|| self.reads(step));
        let doubt = match self.goes_first(step) {
            Some(first) => Some(format!("it would be cached as things are, but {first} goes first and may change that")),
            None => needed().map(|what| format!("{what} is unknown until then")),
        };
        match doubt {
            None => {
                let reason = cached.reason.text.clone();
                self.row(step, Verdict::Cached, &reason, Vec::new());
                prepared
            }
            Some(doubt) => {
                self.doubts.insert(step.clone(), doubt);
                Prepared { cached: None, ..prepared }
            }
        }
    }

    /// A step before this one that would change something.
    fn goes_first(&self, step: &StepPath) -> Option<String> {
        let below = |start: String| self.changing.range(start.clone()..).next().is_some_and(|path| path.starts_with(&start));
        let changed = |path: &str| self.changing.contains(path) || below(format!("{path}/")) || below(format!("{path}["));
        self.lineage(step).and_then(|l| l.before(changed))
    }

    fn launch(&mut self, step: StepPath, attempt: u32, mode: Mode) -> Option<Input> {
        let (reads, sort) = (self.reads(&step), self.sort(&step));
        let looks = sort.looks && !sort.finally;
        if looks && reads.is_none() && mode != Mode::Verify {
            match self.looker.look(&self.run, &step, None) {
                Ok(look) => {
                    let sender = self.sender.clone();
                    self.under_way += 1;
                    let workers = self.workers.clone();
                    self.workers.spawn(async move {
                        // A kind that panics says nothing, and the plan must not wait for it.
                        let seen = workers.spawn(async move { look.see().await }).await;
                        let unsaid = |_| Seen::Unknown("a bug in trees broke the look off".into());
                        drop(sender.send((step, attempt, seen.unwrap_or_else(unsaid))));
                    });
                    return None;
                }
                Err(error) => return Some(self.told(step, attempt, Seen::Unknown(error.message))),
            }
        }
        if mode != Mode::Action {
            return Some(Input::Ended { step, attempt, outcome: Outcome::NotDone });
        }
        let until = |what: String| format!("{what} is unknown until then");
        match reads {
            _ if self.doubts.contains_key(&step) => {
                let doubt = self.doubts.remove(&step).unwrap_or_default();
                self.row(&step, Verdict::Unknown, &doubt, Vec::new());
            }
            _ if sort.finally => self.row(&step, Verdict::Run, "runs whenever the run ends", Vec::new()),
            Some(what) if sort.reading => self.row(&step, Verdict::Ask, &until(what), Vec::new()),
            None if sort.reading => self.row(&step, Verdict::Ask, "asks when the run gets there", Vec::new()),
            Some(what) if sort.cached || looks => self.row(&step, Verdict::Unknown, &until(what), Vec::new()),
            _ if sort.none => self.row(&step, Verdict::Run, "changes nothing that matters (effect: none)", Vec::new()),
            _ if sort.cached => self.row(&step, Verdict::Run, "no earlier result has its definition and inputs", Vec::new()),
            _ => self.row(&step, Verdict::Run, "nothing calls it done: it has no check, no cache, no observation", Vec::new()),
        }
        Some(self.would_run(step, attempt))
    }

    /// What a look found becomes what the attempt would have said.
    fn told(&mut self, step: StepPath, attempt: u32, seen: Seen) -> Input {
        let contains = self.lineage(&step).and_then(|l| l.step()).is_some_and(|s| matches!(s.action, Action::Tree { .. }));
        match seen {
            Seen::Done { code, text, outputs } => {
                let first = self.goes_first(&step).filter(|_| self.sort(&step).files);
                match first {
                    Some(first) => {
                        self.unknown.add(&step);
                        let doubt = format!("{text} now, but {first} goes first and may change that");
                        self.row(&step, Verdict::Unknown, &doubt, Vec::new());
                    }
                    None => self.row(&step, Verdict::Done, &text, Vec::new()),
                }
                if self.spec(&step).is_some_and(|(_, artifacts)| artifacts) {
                    self.unknown.add(&step);
                }
                let outcome = Outcome::AlreadyDone { code, text, outputs, artifacts: BTreeMap::new() };
                return Input::Ended { step, attempt, outcome };
            }
            // The steps inside say what would be done.
            Seen::NotDone | Seen::Blind | Seen::Absent | Seen::Differs(_) | Seen::Anew(_) if contains => {
                return Input::Ended { step, attempt, outcome: Outcome::NotDone };
            }
            Seen::Differs(changes) => self.row(&step, Verdict::Change, "it is not as it should be", changes),
            Seen::Anew(changes) => self.row(&step, Verdict::Run, "each run does it anew", changes),
            Seen::Absent => self.row(&step, Verdict::Run, "it is not there", Vec::new()),
            Seen::NotDone => self.row(&step, Verdict::Run, "its check says that it is not done", Vec::new()),
            Seen::Blind => self.row(&step, Verdict::Run, "nothing calls it done", Vec::new()),
            Seen::Unknown(why) => {
                self.row(&step, Verdict::Unknown, &format!("could not tell: {why}"), Vec::new());
                if contains {
                    return Input::Ended { step, attempt, outcome: Outcome::NotDone };
                }
            }
        }
        self.would_run(step, attempt)
    }

    /// It would run and, as far as a plan goes, succeed; nobody knows what it returns.
    fn would_run(&mut self, step: StepPath, attempt: u32) -> Input {
        self.unknown.add(&step);
        let outputs = self.lineage(&step).and_then(|l| l.step()).map(|s| s.examples(self.kinds.as_kinds())).unwrap_or_default();
        let artifacts = self.looker.task(&self.run, &step).map(|task| unkept(&task)).unwrap_or_default();
        Input::Ended { step, attempt, outcome: Outcome::Succeeded { outputs, artifacts } }
    }

    /// What events say that no look does: skips, questions, failures before an attempt.
    fn note(&mut self, event: &Event) {
        let Some(step) = event.step.clone() else { return };
        match &event.kind {
            EventKind::ApprovalRequested { message, .. } => {
                let reads = self.lineage(&step).and_then(|l| self.unknown.read_by(&l));
                let question = reads.map_or_else(|| message.clone(), |what| format!("a person is asked; {what} is unknown until then"));
                self.row(&step, Verdict::Person, &question, Vec::new());
            }
            EventKind::StepSkipped { reason } | EventKind::StepBlocked { reason } => {
                let blocked = matches!(event.kind, EventKind::StepBlocked { .. });
                self.left_out(&step, reason, if blocked { Verdict::Fail } else { Verdict::Skip });
            }
            EventKind::StepFailed { error } if !self.rows.contains_key(&step) => self.failed(&step, &error.message),
            EventKind::StepSucceeded { .. } | EventKind::StepExpanded { .. } => self.contained(&step),
            _ => {}
        }
    }

    fn left_out(&mut self, step: &StepPath, reason: &Reason, verdict: Verdict) {
        let cause = reason.values.keys().find(|path| self.course.contains(*path)).cloned();
        let unknown = self.lineage(step).and_then(|l| self.unknown.course_of(&l));
        match (unknown, cause) {
            (Some(what), _) => self.undecided(step, &format!("{what}, which is unknown until then")),
            (None, Some(cause)) => self.undecided(step, &format!("it needs {cause}, of which it is unknown whether it runs")),
            (None, None) => self.row(step, verdict, &reason.text, Vec::new()),
        }
    }

    fn undecided(&mut self, step: &StepPath, reason: &str) {
        self.course.insert(step.0.clone());
        self.unknown.add(step);
        self.row(step, Verdict::Unknown, reason, Vec::new());
    }

    fn failed(&mut self, step: &StepPath, message: &str) {
        let inside = [format!("{step}/"), format!("{step}[")];
        let below = |path: &str| inside.iter().any(|i| path.starts_with(i));
        if self.course.iter().any(|path| below(path)) {
            self.course.insert(step.0.clone());
            self.unknown.add(step);
            return;
        }
        if self.rows.keys().any(|path| below(path.as_str())) {
            return;
        }
        let reads = self.lineage(step).and_then(|l| self.unknown.read_by(&l).or_else(|| self.unknown.course_of(&l)));
        match reads {
            Some(what) => self.undecided(step, &format!("{what} is unknown until then")),
            None => self.row(step, Verdict::Fail, &format!("it would fail: {message}"), Vec::new()),
        }
    }

    /// A sub-tree whose outputs read what nobody knows, a fan-out whose items do.
    fn contained(&mut self, step: &StepPath) {
        let Some(lineage) = self.lineage(step) else { return };
        let Some(spec) = lineage.step() else { return };
        let fan = spec.fan_out.is_some() && !step.as_str().ends_with(']');
        let items = self.unknown.course_of(&lineage).filter(|_| fan);
        let outputs = self.unknown.outputs_of(step, &lineage).filter(|_| matches!(spec.action, Action::Tree { .. }));
        if let Some(what) = items {
            // Nobody knows its instances: those that stood for them say nothing.
            let instances = format!("{step}[");
            self.rows.retain(|path, _| !path.as_str().starts_with(&instances));
            self.changing.retain(|path| !path.starts_with(&instances));
            self.undecided(step, &format!("{what}, which is unknown until then"));
        } else if outputs.is_some() {
            self.unknown.add(step);
        }
    }

    fn lineage(&self, step: &StepPath) -> Option<Lineage<'_>> {
        Lineage::of(&self.tree, step)
    }

    /// What the step reads that nobody knows yet.
    fn reads(&self, step: &StepPath) -> Option<String> {
        if let Some(what) = self.lineage(step).and_then(|l| self.unknown.read_by(&l)) {
            return Some(what);
        }
        let task = self.looker.task(&self.run, step).ok()?;
        names_the_run(&task).then(|| "run.id".to_owned())
    }

    fn spec(&self, step: &StepPath) -> Option<(u32, bool)> {
        self.lineage(step).and_then(|l| l.step()).map(|s| (s.span.line, !s.artifacts.is_empty()))
    }

    fn sort(&self, step: &StepPath) -> Sort {
        let Some(spec) = self.lineage(step).and_then(|l| l.step()) else { return Sort::default() };
        let kind = if let Action::Uses { kind, .. } = &spec.action { self.kinds.kind(kind) } else { None };
        Sort {
            finally: spec.finally || self.is_in_finally(step),
            reading: kind.is_some_and(|k| k.reads_only),
            none: spec.effect == Changes::None,
            cached: spec.cache,
            looks: spec.check.is_some() || kind.is_some_and(|k| k.observes),
            files: kind.is_some_and(|k| k.effect == Changes::Local || !k.file_inputs.is_empty()),
        }
    }

    /// A step of a sub-tree that stands in `finally`.
    fn is_in_finally(&self, step: &StepPath) -> bool {
        let above = step.as_str().match_indices('/').map(|(at, _)| StepPath(step.as_str()[..at].to_owned()));
        above.into_iter().any(|path| self.lineage(&path).and_then(|l| l.step()).is_some_and(|s| s.finally))
    }

    fn row(&mut self, step: &StepPath, verdict: Verdict, reason: &str, changes: Vec<Change>) {
        let sort = self.sort(step);
        let lineage = self.lineage(step);
        let course = lineage.as_ref().and_then(|l| self.unknown.course_of(l));
        let (verdict, reason) = match course {
            // It was decided by values that nobody knows.
            Some(what) if verdict != Verdict::Unknown && !sort.finally => {
                (Verdict::Unknown, format!("{what}, which is unknown until then"))
            }
            Some(_) | None => (verdict, reason.to_owned()),
        };
        let would = matches!(verdict, Verdict::Run | Verdict::Change);
        let kind = lineage.as_ref().and_then(Lineage::step).map(|s| match &s.action {
            Action::Run(_) => "run".to_owned(),
            Action::Uses { kind, .. } => kind.clone(),
            Action::Tree { .. } => "tree".into(),
            Action::Approve { .. } => "approve".into(),
        });
        let row = Row {
            path: step.clone(),
            kind: kind.unwrap_or_else(|| "approve".into()),
            verdict,
            counts: would && !sort.finally && !sort.reading && !sort.none,
            reason: self.looker.masker.mask(&reason).into_owned(),
            file: lineage.as_ref().and_then(Lineage::tree).map(|t| t.file.clone()).unwrap_or_default(),
            line: lineage.as_ref().and_then(Lineage::step).map_or(0, |s| s.span.line),
            changes,
        };
        if row.counts {
            self.changing.insert(step.0.clone());
        }
        self.rows.insert(step.clone(), row);
    }

    /// The rows in the order of the tree; questions for environments first.
    fn in_order(&mut self) -> Vec<Row> {
        let mut rows = std::mem::take(&mut self.rows);
        let known: Vec<StepPath> = self.run.steps().map(|s| s.path).collect();
        let mut order = Vec::new();
        walk(&self.tree, "", &known, &mut order);
        let steps: Vec<Row> = order.iter().filter_map(|path| rows.remove(path)).collect();
        rows.into_values().chain(steps).collect()
    }
}

/// What sort of step it is.
#[derive(Default)]
struct Sort {
    finally: bool,
    reading: bool,
    none: bool,
    cached: bool,
    looks: bool,
    /// What it looks at are files of the working folder.
    files: bool,
}

fn walk(tree: &Tree, prefix: &str, known: &[StepPath], order: &mut Vec<StepPath>) {
    for step in tree.order.iter().filter_map(|at| tree.steps.get(*at as usize)) {
        let own = StepPath(format!("{prefix}{}", step.id));
        let start = format!("{own}[");
        let many = if step.fan_out.is_some() { known } else { &[] };
        let instances = many.iter().filter(|p| p.as_str().starts_with(&start) && !p.as_str()[start.len()..].contains('/')).cloned();
        for path in std::iter::once(own).chain(instances) {
            let inside = format!("{path}/");
            order.push(path);
            if let Action::Tree { tree, .. } = &step.action {
                walk(tree, &inside, known, order);
            }
        }
    }
}

/// Whether a value of the task holds the id of the run, which is not known.
fn names_the_run(task: &Task) -> bool {
    let job = |job: &Job| match job {
        Job::Run { bound, .. } => bound.iter().any(|(_, value)| value.to_string().contains(RUN)),
        Job::Uses { with, .. } => with.to_string().contains(RUN),
    };
    task.job.as_ref().is_some_and(job) || task.check.as_ref().is_some_and(job) || task.env.iter().any(|(_, value)| value.contains(RUN))
}

fn blank() -> Prepared {
    let digests = Digests { definition: String::new(), input: String::new(), ingredients: BTreeMap::new(), reusable: false };
    Prepared { digests, cached: None, lost: None }
}

fn unkept(task: &Task) -> BTreeMap<String, ArtifactRef> {
    let one = |(name, path, _): &(String, String, bool)| (name.clone(), ArtifactRef { path: path.clone(), sha256: String::new(), size: 0 });
    task.artifacts.iter().map(one).collect()
}
