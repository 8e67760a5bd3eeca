//! The loop that drives a run: gather what has arrived, let the state machine decide, make its
//! events durable in one transaction, and only then publish them and perform the effects.
//!
//! If an append fails nothing was performed, and the run in memory is thrown away: it is a cache of
//! the journal. A resume is the same loop with another first input. Read [`Driver::drive`] first.

mod attempt;
mod drift;
mod glass;
mod keys;
mod locks;
mod look;
mod message;
mod perform;
mod plan;
mod points;
mod port;
mod prepare;
mod script;
mod secrets;
mod unknown;
mod verdict;

pub use drift::{Drift, drift};
pub use look::{Eyes, Looked};
pub mod shell;
mod surroundings;
mod undo;
mod uses;

pub use message::Handle;
pub use plan::plan;
pub use secrets::Vault;
pub use verdict::{Plan, Row, Verdict};

use crate::clock::Clock;
use crate::environment::Environment;
use crate::http::Client;
use crate::identity::Register;
use crate::kind::AnyKind;
use crate::listen::Listener;
use crate::mask::Masker;
use crate::room::Room;
use crate::scratch::Pool;
use locks::Locks;
use message::{Message, Pending};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle as Runtime};
use tokio::sync::mpsc::UnboundedReceiver;
use trees_core::event::{Event, RunStarted, RunStatus};
use trees_core::journal::{Hold, Journal, JournalError, Request, RequestBody};
use trees_core::path::StepPath;
use trees_core::run::{Course, Decision, Definitions, Effect, IllegalEvent, Input, Recovered, RollBack, Run};
use trees_core::store::Store;
use trees_core::tree::Kinds;
use trees_points::{Point, hit};

/// How often requests from elsewhere and locks of others are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long a thread may have nothing to do.
const STAYS: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many words are heard before what follows from them is done: lines of output never end.
const AT_ONCE: usize = 4096;

/// The step kinds a driver performs.
pub trait KindSet: Kinds + Send + Sync {
    /// One by name.
    fn get(&self, name: &str) -> Option<Arc<dyn AnyKind>>;
    /// As the checker sees them.
    fn as_kinds(&self) -> &dyn Kinds;
}

/// What a driver works with.
#[derive(Clone)]
pub struct Setup {
    /// The durable record.
    pub journal: Arc<dyn Journal>,
    /// The state folder beside it.
    pub store: Arc<dyn Store>,
    /// The step kinds.
    pub kinds: Arc<dyn KindSet>,
    /// How.
    pub options: Options,
    /// The sitting's time: it has begun after all that is recorded of the run.
    pub clock: Clock,
}

/// How a run is driven.
#[derive(Debug, Clone)]
pub struct Options {
    /// From SIGINT to SIGTERM.
    pub grace: Duration,
    /// Approvals given beforehand (`*`: all).
    pub approve: Vec<String>,
    /// A person can answer on this screen.
    pub attended: bool,
    /// Bytes of one attempt's log.
    pub log_limit: u64,
    /// Who acts here, `user@host`.
    pub actor: String,
}

/// How a sitting begins.
#[derive(Debug, Clone)]
pub enum Begin {
    /// A new run.
    New(Box<RunStarted>),
    /// A new run of a part of its tree.
    Part(Box<RunStarted>, Box<Course>),
    /// A run of the journal goes on.
    Resume(Box<Recovered>),
    /// What a run did is taken back.
    RollBack(Box<RollBack>),
    /// A run at rest is taken up only to be ended.
    Cancel {
        /// External steps are not awaited.
        now: bool,
    },
}

/// How a sitting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The run's status.
    pub status: RunStatus,
    /// Why it rests, or what failed of the run itself.
    pub reason: Option<String>,
    /// The signal that ended the sitting.
    pub signal: Option<i32>,
}

/// Why a sitting could not go on. The run can be resumed once that is mended.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The journal said no.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something that the tree names is missing: nothing was run.
    #[error("{0}")]
    Unprepared(String),
    /// A bug.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// No runtime.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// One sitting of one run.
pub struct Driver {
    setup: Setup,
    hold: Box<dyn Hold>,
    definitions: Definitions,
    vault: Option<Vault>,
    /// What was recorded of the run, where that was read already.
    recorded: Option<Vec<Event>>,
    inbox: UnboundedReceiver<Message>,
    handle: Handle,
}

/// A sitting under way.
struct Sitting {
    setup: Setup,
    hold: Arc<dyn Hold>,
    run: Run,
    /// Where kinds work and files are read: nothing there holds the loop up.
    workers: Runtime,
    handle: Handle,
    listener: Box<dyn Listener>,
    vault: Vault,
    /// A step made or took away a version of a secret.
    turned: Arc<AtomicBool>,
    masker: Masker,
    client: Arc<Client>,
    locks: Locks,
    attempts: HashMap<StepPath, attempt::Control>,
    scratch: Pool,
    room: Arc<Room>,
    clock: Clock,
    dotenv: prepare::Dotenvs,
    /// What steps get of our own environment, by their `env_pass`.
    inherited: HashMap<Vec<String>, Arc<Environment>>,
    register: Arc<Register>,
    /// Requests whose inputs are in the batch at hand.
    taken: Vec<u64>,
    /// Intents whose kinds wait until they are durable.
    pending: Vec<Pending>,
    signals: u32,
    signal: Option<i32>,
    looked: Instant,
}

impl Driver {
    /// A driver for a run that is held.
    pub fn new(setup: Setup, hold: Box<dyn Hold>, definitions: impl Into<Definitions>) -> Self {
        let (handle, inbox) = Handle::new();
        Self { setup, hold, definitions: definitions.into(), vault: None, recorded: None, inbox, handle }
    }

    /// With secrets that were found beforehand.
    #[must_use]
    pub fn with_secrets(self, vault: Vault) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// With all that is recorded of the run, as it was read since the run is held.
    #[must_use]
    pub fn with_recorded(self, events: Vec<Event>) -> Self {
        Self { recorded: Some(events), ..self }
    }

    /// What signals, screens and people talk to.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Drives the run until it ends or rests. `begun` is called once the first events are durable.
    ///
    /// # Errors
    /// Nothing that failed was performed; the run can be resumed.
    pub fn drive(self, begin: Begin, listener: Box<dyn Listener>) -> Result<Ended, DriveError> {
        // The one thread for what may block is there from the start and stays: where the system gives no
        // more of them, work waits for it.
        let workers = Builder::new_multi_thread().worker_threads(1).thread_keep_alive(STAYS).enable_all().build()?;
        drop(workers.spawn_blocking(|| {}));
        // The loop and the processes of scripts share a thread: handing each start and each end to
        // another costs more than the work itself.
        let own = Builder::new_current_thread().enable_all().build()?;
        let ended = own.block_on(self.sit(begin, listener, workers.handle().clone()));
        workers.shutdown_timeout(LOOK);
        ended
    }

    async fn sit(self, begin: Begin, listener: Box<dyn Listener>, workers: Runtime) -> Result<Ended, DriveError> {
        let mut run = Run::new(self.hold.run().clone(), self.definitions.clone(), self.setup.kinds.as_kinds());
        let events = match begin {
            Begin::New(_) | Begin::Part(..) => Vec::new(),
            Begin::Resume(_) | Begin::RollBack(_) | Begin::Cancel { .. } => {
                hit(Point::BeforeRecovery);
                match self.recorded {
                    Some(events) => events,
                    None => self.setup.journal.load(self.hold.run(), 0)?,
                }
            }
        };
        run.replay(&events)?;
        run.attend(self.setup.options.attended);
        let of = |facts: &RunStarted| (facts.environment.clone(), facts.params.clone(), facts.dir.clone());
        let (environment, params, dir) = match &begin {
            Begin::New(started) | Begin::Part(started, _) => of(started),
            Begin::Resume(_) | Begin::RollBack(_) | Begin::Cancel { .. } => run.facts().map(of).unwrap_or_default(),
        };
        // What is forced may be a step that had no part in the run.
        let forced = matches!(&begin, Begin::Resume(how) if !how.force.is_empty());
        let selection = run.facts().and_then(|f| f.selection.as_deref()).filter(|_| !forced);
        let vault = match self.vault {
            Some(vault) => vault,
            None => Vault::open(self.definitions.newest(), selection, &environment, &params, dir.as_ref(), self.setup.store.as_ref())?,
        };
        let scratch = self.hold.run().clone();
        let register = Arc::new(Register::new(self.setup.store.run_folder(&scratch)?));
        let sitting = Sitting {
            masker: Masker::new(vault.all_values()),
            client: Arc::default(),
            clock: self.setup.clock,
            setup: self.setup,
            hold: Arc::from(self.hold),
            run,
            handle: self.handle,
            listener,
            vault,
            turned: Arc::default(),
            locks: Locks::default(),
            attempts: HashMap::new(),
            scratch: Pool::new(scratch, workers.clone()),
            room: Arc::default(),
            workers,
            dotenv: prepare::Dotenvs::default(),
            inherited: HashMap::new(),
            register,
            taken: Vec::new(),
            pending: Vec::new(),
            signals: 0,
            signal: None,
            looked: Instant::now(),
        };
        let mut inbox = self.inbox;
        sitting.drive(begin, &mut inbox).await
    }
}

impl Sitting {
    async fn drive(mut self, begin: Begin, inbox: &mut UnboundedReceiver<Message>) -> Result<Ended, DriveError> {
        let mut inputs = self.first(begin).await?;
        let ended = loop {
            match self.step(std::mem::take(&mut inputs)) {
                Ok(()) => {}
                Err(error) => break Err(error),
            }
            if !matches!(self.run.status(), RunStatus::Running | RunStatus::RollingBack) {
                break Ok(self.ended());
            }
            inputs = match self.gather(inbox).await {
                Ok(inputs) => inputs,
                Err(error) => break Err(error),
            };
        };
        self.abandon().await;
        ended
    }

    /// The first inputs. What a former sitting left running is ended first.
    async fn first(&mut self, begin: Begin) -> Result<Vec<Input>, DriveError> {
        let actor = self.setup.options.actor.clone();
        let (epoch, approved) = (self.hold.epoch(), self.setup.options.approve.clone());
        let recovered = |how: Recovered| Input::Recovered(Box::new(Recovered { epoch, approved, actor: actor.clone(), ..how }));
        let heirs = match &begin {
            Begin::Resume(how) => how.definition.as_deref().and_then(|digest| self.run.heirs(digest)),
            Begin::New(_) | Begin::Part(..) | Begin::RollBack(_) | Begin::Cancel { .. } => None,
        };
        let mut inputs = match begin {
            Begin::New(started) => return Ok(vec![Input::Started(started)]),
            Begin::Part(started, course) => return Ok(vec![Input::Started(started), Input::Selected(course)]),
            Begin::Resume(how) => vec![recovered(*how)],
            Begin::RollBack(asked) => vec![Input::RollBack(Box::new(RollBack { epoch, actor: actor.clone(), ..*asked }))],
            Begin::Cancel { now } => vec![recovered(Recovered::default()), Input::Cancel { actor, now }],
        };
        hit(Point::Replayed);
        self.end_leftovers().await?;
        // What ran out at rest did so before any answer that came later.
        let due = self.run.next_wakeup();
        // What was said of a step was said of it by its former name.
        let named = |r: Request| match &heirs {
            Some(heirs) => Request { body: r.body.renamed(heirs), ..r },
            None => r,
        };
        let (in_time, late): (Vec<_>, Vec<_>) = self.unanswered()?.into_iter().map(named).partition(|r| due.is_none_or(|due| r.ts < due));
        inputs.extend(in_time.into_iter().map(|r| self.request(r)));
        inputs.push(Input::Woke);
        inputs.extend(late.into_iter().map(|r| self.request(r)));
        Ok(inputs)
    }

    /// One turn: decide, make durable, perform, publish.
    fn step(&mut self, inputs: Vec<Input>) -> Result<(), DriveError> {
        let (events, effects) = self.decide(inputs)?;
        if !events.is_empty() || !self.taken.is_empty() {
            points::before(&events);
            let before = self.run.seq() - u64::try_from(events.len()).unwrap_or(0);
            self.setup.journal.append(self.hold.run(), before, self.hold.epoch(), &events, &self.taken)?;
            self.taken.clear();
            points::after(&events);
        }
        for pending in self.pending.drain(..) {
            pending.done();
        }
        for effect in effects {
            self.perform(effect);
        }
        if !events.is_empty() {
            self.listener.events(&events);
            hit(Point::Published);
        }
        Ok(())
    }

    /// Decides until nothing more follows; what can be prepared at once is part of the same turn.
    fn decide(&mut self, inputs: Vec<Input>) -> Result<(Vec<Event>, Vec<Effect>), DriveError> {
        let (mut events, mut effects) = (Vec::new(), Vec::new());
        let mut inputs = inputs;
        // The step that turned a version said so before it said that it has ended.
        if self.turned.swap(false, Ordering::Acquire) {
            self.look_up_secrets()?;
        }
        loop {
            let Decision { events: new, effects: asked } = self.run.handle(std::mem::take(&mut inputs), self.clock.now())?;
            events.extend(new);
            for effect in asked {
                match effect {
                    Effect::Prepare { step } => inputs.extend(self.prepare(step)),
                    Effect::Lock { name } => inputs.extend(self.lock(name)?),
                    Effect::Unlock { name } => self.locks.release(&name),
                    other @ (Effect::Launch { .. } | Effect::Stop { .. }) => effects.push(other),
                }
            }
            if inputs.is_empty() {
                return Ok((events, effects));
            }
        }
    }

    /// What runs from here on gets the newest versions; the former ones are masked as well.
    fn look_up_secrets(&mut self) -> Result<(), DriveError> {
        let project = self.run.facts().map(|facts| facts.project.clone()).unwrap_or_default();
        self.vault.refresh(&project, self.setup.store.as_ref())?;
        self.masker = self.vault.masker();
        Ok(())
    }

    /// All that has arrived; waits for the first of it.
    async fn gather(&mut self, inbox: &mut UnboundedReceiver<Message>) -> Result<Vec<Input>, DriveError> {
        let mut inputs = Vec::new();
        loop {
            // Its own handle keeps the channel open.
            if let Ok(Some(message)) = tokio::time::timeout(self.patience(), inbox.recv()).await {
                self.hear(message, &mut inputs)?;
            }
            for message in std::iter::from_fn(|| inbox.try_recv().ok()).take(AT_ONCE) {
                self.hear(message, &mut inputs)?;
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                inputs.extend(self.requests()?);
                inputs.extend(self.locks.look(self.setup.store.as_ref(), self.hold.run())?);
            }
            if self.run.next_wakeup().is_some_and(|at| at <= self.clock.now()) {
                inputs.push(Input::Woke);
            }
            if !inputs.is_empty() {
                return Ok(inputs);
            }
        }
    }

    fn patience(&self) -> Duration {
        let until = self.run.next_wakeup().map_or(LOOK, |at| Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default());
        until.min(LOOK)
    }

    fn hear(&mut self, message: Message, inputs: &mut Vec<Input>) -> Result<(), DriveError> {
        match message {
            Message::Broken(error) => return Err(error.into()),
            Message::Input(input) => {
                if let Input::Ended { step, .. } = &*input {
                    hit(Point::EndHeard);
                    self.attempts.remove(step);
                }
                inputs.push(*input);
            }
            Message::Intend { step, attempt, record, pending } => {
                self.pending.push(pending);
                inputs.push(Input::Intended { step, attempt, record });
            }
            Message::Note(text) => self.listener.note(&text),
            Message::Output { step, line } => self.listener.output(&step, &line),
            Message::Progress { step, fraction, text } => self.listener.progress(&step, fraction, &text),
            Message::Signal(signal) => {
                // Only Ctrl-C counts up: SIGTERM and SIGHUP are as one.
                self.signals += if self.signals == 0 { 1 } else { u32::from(signal == 2) };
                self.signal.get_or_insert(signal);
                self.run.signalled(signal);
                self.escalate();
                inputs.push(Input::Interrupt);
            }
        }
        Ok(())
    }

    /// What was asked of the run from elsewhere.
    fn requests(&mut self) -> Result<Vec<Input>, DriveError> {
        Ok(self.unanswered()?.into_iter().map(|r| self.request(r)).collect())
    }

    fn unanswered(&self) -> Result<Vec<Request>, DriveError> {
        let requests = self.setup.journal.requests(self.hold.run())?;
        Ok(requests.into_iter().filter(|r| !self.taken.contains(&r.id)).collect())
    }

    fn request(&mut self, request: Request) -> Input {
        let Request { id, ts, actor, body, .. } = request;
        self.taken.push(id);
        match body {
            RequestBody::Cancel { now } => Input::Cancel { actor, now },
            // A yes that came too late is none: the question has expired.
            RequestBody::Approve { step, .. } if self.run.expires_at(&step).is_some_and(|at| at <= ts) => Input::Woke,
            RequestBody::Approve { step, note } => Input::Approved { name: step, actor, note },
            RequestBody::Reject { step, note } => Input::Rejected { name: step, actor, note },
            RequestBody::Resolve { step, resolution, outputs, note } => Input::Resolved { name: step, resolution, outputs, actor, note },
        }
    }

    fn ended(&self) -> Ended {
        let signal = if self.run.status() == RunStatus::Interrupted { self.signal } else { None };
        Ended { status: self.run.status(), reason: None, signal }
    }
}
