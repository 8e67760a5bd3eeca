//! Looking at what a step would work on, changing nothing: its check, the observation of its kind.

use super::attempt::{Attempt, Control, Part, Trouble};
use super::glass::Glass;
use super::message::Handle;
use super::perform::KILL_AFTER;
use super::prepare::{Dotenvs, Work, ingredients, task};
use super::{DriveError, KindSet, Options, Vault};
use crate::clock::Clock;
use crate::environment::Environment;
use crate::http::Client;
use crate::identity::{Marks, Register};
use crate::kind::{Change, Observation};
use crate::mask::Masker;
use crate::process::Stop;
use crate::room::Room;
use crate::scratch::Pool;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle as Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use trees_core::event::{ErrorReason, Json, Object, Selection, StepError};
use trees_core::path::{RunId, StepPath};
use trees_core::run::{Job, Outcome, Prepared, Run, Task};
use trees_core::store::Store;
use trees_core::tree::Tree;

/// What `plan` and `drift` look with.
#[derive(Clone)]
pub struct Eyes {
    /// The state folder; it is not written.
    pub store: Arc<dyn Store>,
    /// The step kinds.
    pub kinds: Arc<dyn KindSet>,
    /// How a check is run.
    pub options: Options,
}

/// What came of looking: an answer, or the signal that ended it.
pub type Looked<T> = Result<T, i32>;

/// What looking at a step's target found.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// It is done.
    Done { code: &'static str, text: String, outputs: Object },
    /// It is there and differs.
    Differs(Vec<Change>),
    /// It is done anew in each run.
    Anew(Vec<Change>),
    /// It is not there.
    Absent,
    /// The check says that it is not done.
    NotDone,
    /// Nothing can be looked at.
    Blind,
    /// It could not be told.
    Unknown(String),
}

/// Where it is looked: what says which secrets are needed.
pub(super) struct Place<'a> {
    pub tree: &'a Arc<Tree>,
    pub selection: Option<&'a Selection>,
    pub environment: &'a str,
    pub params: &'a Object,
    pub dir: &'a Path,
}

/// All that looking at a run's steps takes.
pub(super) struct Looker {
    pub eyes: Eyes,
    pub run: RunId,
    pub vault: Vault,
    pub masker: Masker,
    glass: Arc<dyn Store>,
    dotenv: Dotenvs,
    scratch: Pool,
    room: Arc<Room>,
    register: Arc<Register>,
    client: Arc<Client>,
    handle: Handle,
    controls: Vec<Control>,
}

impl Looker {
    /// For a run of a tree in an environment; finds its secrets.
    pub fn open(eyes: Eyes, run: RunId, place: Place<'_>, workers: &Runtime) -> Result<Self, DriveError> {
        let glass: Arc<dyn Store> = Arc::new(Glass::before(Arc::clone(&eyes.store))?);
        let vault = Vault::open(place.tree, place.selection, place.environment, place.params, place.dir, glass.as_ref())?;
        Ok(Self {
            masker: Masker::new(vault.all_values()),
            register: Arc::new(Register::new(glass.run_folder(&run)?)),
            scratch: Pool::new(run.clone(), workers.clone()),
            room: Arc::default(),
            client: Arc::default(),
            dotenv: Dotenvs::default(),
            handle: Handle::new().0,
            controls: Vec::new(),
            glass,
            vault,
            run,
            eyes,
        })
    }

    /// The task of a step.
    pub fn task(&self, run: &Run, step: &StepPath) -> Result<Task, StepError> {
        task(run, &self.vault, &self.masker, step)
    }

    /// What an attempt would be made of, and a result that stands for it.
    pub fn prepare(&mut self, run: &Run, step: &StepPath) -> Result<Prepared, StepError> {
        let failed = |e: String| StepError { reason: ErrorReason::Spawn, code: None, message: e, log: None };
        let task = self.task(run, step)?;
        let ingredients = ingredients(run, &self.vault, &self.masker, step)?;
        let dotenv = self.dotenv.of(&task).map_err(failed)?;
        let tree = run.facts().map(|f| f.tree.clone()).unwrap_or_default();
        let work = Work {
            task,
            ingredients,
            dotenv,
            recorded: Vec::new(),
            store: Arc::clone(&self.glass),
            kinds: Arc::clone(&self.eyes.kinds),
            tree,
        };
        work.prepare().map_err(|e| failed(self.masker.mask(&e.to_string()).into_owned()))
    }

    /// A look at a step, to be taken on any thread; `left` is what it returned, where that is compared with.
    pub fn look(&mut self, run: &Run, step: &StepPath, left: Option<Json>) -> Result<Attempt, StepError> {
        let failed = |e: String| StepError { reason: ErrorReason::Spawn, code: None, message: e, log: None };
        let task = self.task(run, step)?;
        let dotenv = self.dotenv.of(&task).map_err(failed)?;
        let (source, environment, _) = run.secret_names(step);
        let folder = self.glass.attempt_folder(&self.run, step, 1).map_err(|e| failed(e.to_string()))?;
        let control = Control::default();
        self.controls.push(control.clone());
        Ok(Attempt {
            marks: Marks { run: self.run.clone(), step: step.clone(), attempt: 1 },
            secrets: self.vault.given(source, &environment, &task.secrets),
            left: left.map(Arc::new),
            part: Part::Check,
            dotenv,
            inherited: Arc::new(Environment::inherited(std::env::vars_os(), &task.env_pass)),
            task,
            register: Arc::clone(&self.register),
            scratch: self.scratch.clone(),
            room: Arc::clone(&self.room),
            clock: Clock::default(),
            hold: None,
            folder,
            masker: self.masker.clone(),
            turned: Arc::default(),
            store: Arc::clone(&self.glass),
            kinds: Arc::clone(&self.eyes.kinds),
            client: Arc::clone(&self.client),
            options: self.eyes.options.clone(),
            control,
            handle: self.handle.clone(),
        })
    }

    /// Ends all looks under way: their processes are told to end.
    pub fn stop(&self) {
        self.controls.iter().for_each(|control| control.stop(Stop::Terminate { kill_after: KILL_AFTER }));
    }

    /// Waits until nothing of the looks is left.
    pub async fn close(self) {
        self.scratch.tidied().await;
    }
}

/// Resolves with the signal that asks this process to end.
pub(super) async fn signalled() -> i32 {
    let listen = |kind: SignalKind| signal(kind).ok();
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    tokio::select! {
        () = heard(&mut interrupt) => 2,
        () = heard(&mut terminate) => 15,
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

impl Attempt {
    /// Looks: the check first, then the observation, as an attempt does before it changes anything.
    pub(super) async fn see(&self) -> Seen {
        let seen = match self.checked().await {
            Ok(Some(Outcome::AlreadyDone { code, text, outputs, .. })) => Seen::Done { code, text, outputs },
            Ok(_) => self.observe().await,
            Err(trouble) => Seen::Unknown(trouble_text(&trouble)),
        };
        self.masked(seen)
    }

    async fn observe(&self) -> Seen {
        let not_done = if self.task.check.is_some() { Seen::NotDone } else { Seen::Blind };
        let Some(Job::Uses { kind, with }) = &self.task.job else { return not_done };
        let Some(kind) = self.kinds.get(kind).filter(|k| k.info().observes) else { return not_done };
        let wrong = kind.validate(with);
        if !wrong.is_empty() {
            return Seen::Unknown(wrong.join("; "));
        }
        let cx = match self.read_cx() {
            Ok(cx) => cx,
            Err(trouble) => return Seen::Unknown(trouble_text(&trouble)),
        };
        match self.bounded(self.task.timeout, "observation", kind.observe(with, &cx)).await {
            Ok(Ok(Observation::Satisfied(outputs))) => {
                let outputs = outputs.as_object().cloned().unwrap_or_default();
                Seen::Done { code: "no_change", text: "it is as it should be".into(), outputs }
            }
            Ok(Ok(Observation::Differs(changes))) => Seen::Differs(changes),
            Ok(Ok(Observation::Anew(changes))) => Seen::Anew(changes),
            Ok(Ok(Observation::Absent)) => Seen::Absent,
            Ok(Ok(Observation::Unknown(why))) => Seen::Unknown(why),
            Ok(Err(error)) => Seen::Unknown(error.message),
            Err(trouble) => Seen::Unknown(trouble_text(&trouble)),
        }
    }

    /// Nothing that was seen shows a secret.
    fn masked(&self, seen: Seen) -> Seen {
        let one = |c: Change| Change { old: self.masker.mask_json(&c.old), new: self.masker.mask_json(&c.new), ..c };
        let masked = |changes: Vec<Change>| changes.into_iter().map(one).collect();
        match seen {
            Seen::Differs(changes) => Seen::Differs(masked(changes)),
            Seen::Anew(changes) => Seen::Anew(masked(changes)),
            Seen::Unknown(why) => Seen::Unknown(self.masker.mask(&why).into_owned()),
            other @ (Seen::Done { .. } | Seen::Absent | Seen::NotDone | Seen::Blind) => other,
        }
    }
}

fn trouble_text(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Failed(error, _) => error.message.clone(),
        Trouble::Stopped => "the look was ended".into(),
        Trouble::Disk(error) => error.to_string(),
    }
}
