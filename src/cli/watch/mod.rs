//! `trees watch`: a new run of a tree whenever something that it reads has changed.
//!
//! What has changed and what follows from it is the runner's to say ([`trees_runner::watch`]); here
//! runs are started and people told. Read [`Session::go`] first.

mod order;
mod told;

use super::busy::{self, Turn};
use super::drive::{self, Sitting};
use super::given::Params;
use super::global::Global;
use super::proposal::facts;
use super::run::Consent;
use super::runs;
use super::signals::Ears;
use super::source::TreeFile;
use crate::failure::{Exit, Failure, Kind};
use crate::report;
use clap::ValueEnum;
use order::Order;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use told::{Cause, Teller};
use trees_core::event::{Event, RunStarted};
use trees_core::hash;
use trees_core::journal::{Journal as _, NewRun, RequestBody};
use trees_core::path::RunId;
use trees_core::store::LockGuard;
use trees_runner::driver::{Begin, Ended, Vault};
use trees_runner::watch::{Bell, Course, Snapshot, Used, Verdict, Watch};
use trees_state::State;

/// Run a tree again whenever something that it reads changes.
///
/// Watched are the inputs of all its steps, the files that step kinds read, dotenv files and the tree
/// files, or what the tree names in `watch`. Each change starts a new run; steps with `cache: true`
/// whose inputs did not change come from the cache. Artifacts and what a run writes itself start none.
/// A tree file that becomes wrong is said to be, and watching goes on. Ctrl-C ends it.
#[derive(clap::Args)]
pub struct Args {
    /// The tree file, or the name of a cookbook
    file: String,
    #[command(flatten)]
    params: Params,
    /// How many steps run at once [default: the tree's max_parallel, else the cores, at least 4]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Say yes to an approval step of every run beforehand, or to environment:NAME; '*' to all
    #[arg(long, value_name = "STEP")]
    approve: Vec<String>,
    /// Run at once, before anything changes
    #[arg(long)]
    run_now: bool,
    /// What a change does while a run works: `queue` starts one more run after it, `cancel_old`
    /// cancels it and starts a new one
    #[arg(long, value_name = "HOW", default_value = "queue", hide_possible_values = true)]
    on_busy: OnBusy,
    /// Look at the files twice a second, where the file system tells nothing: network drives, some
    /// containers
    #[arg(long)]
    poll: bool,
}

/// What a change does while a run works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OnBusy {
    /// One more run after it.
    Queue,
    /// It is cancelled, awaited, and a new one started.
    CancelOld,
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    drive::ready(global)?;
    let mut source = TreeFile::find(&args.file)?;
    let consent = Consent { approve: args.approve.clone(), yes: false, strict: false };
    let folder = runs::place(global)?;
    // What is wrong from the beginning is not waited out, and leaves no trace.
    let mut order = match Order::read(&source, &args.params, &consent, &folder)? {
        Ok(order) => order,
        Err(_) => return Ok(Exit::WRONG),
    };
    let state = Arc::new(runs::open(global)?);
    source.settle(&folder)?;
    // The system tells of files by the real names of their folders.
    let folder = folder.canonicalize().unwrap_or(folder);
    order.scope.never(&folder);
    let bell = Arc::new(Bell::default());
    let rung = Arc::clone(&bell);
    let ears = Ears::open(global.grace, move || rung.wake())?;
    let watch = Watch::open(order.scope, args.poll, Arc::clone(&bell));
    let teller = Teller { quiet: global.quiet };
    let session =
        Session { args, global, state, folder, source, consent, bell, ears, watch, teller, course: Course::default(), last: Vec::new() };
    session.go()
}

/// A run that may begin.
struct Due {
    started: Box<RunStarted>,
    sitting: Sitting,
    turn: Held,
}

/// No other run of the tree begins while this is held, where the tree says so.
type Held = Option<Box<dyn LockGuard>>;

/// The tree as it was read, and nothing that it needs is missing.
struct Ready {
    order: Order,
    vault: Vault,
}

/// A watch under way.
struct Session<'a> {
    args: Args,
    global: &'a Global,
    state: Arc<State>,
    folder: PathBuf,
    source: TreeFile,
    consent: Consent,
    bell: Arc<Bell>,
    ears: Ears,
    watch: Watch,
    teller: Teller,
    course: Course,
    /// The events of the last run.
    last: Vec<Event>,
}

impl Session<'_> {
    /// Waits and runs until a signal ends it.
    fn go(mut self) -> Result<Exit, Failure> {
        let mut due = self.args.run_now.then_some(Cause::Asked);
        loop {
            if let Some(signal) = self.ears.signal() {
                self.teller.ended(signal);
                return Ok(Exit::signal(signal));
            }
            due = match due {
                Some(cause) => self.run(cause)?,
                None => self.wait(),
            };
        }
    }

    /// What changes while no run works; nothing when a signal comes first.
    fn wait(&mut self) -> Option<Cause> {
        self.teller.waiting(&mut self.watch);
        let ears = self.ears.clone();
        while self.watch.wait(&|| ears.signal().is_some()) {
            let changed = self.watch.look();
            if !changed.is_empty() {
                return Some(Cause::Changed(self.course.between(changed)));
            }
        }
        None
    }

    /// One run, and what follows from it.
    fn run(&mut self, cause: Cause) -> Result<Option<Cause>, Failure> {
        let Some(Due { started, sitting, turn }) = self.begin(cause)? else { return Ok(None) };
        let (before, number) = (self.watch.seen().clone(), started.number);
        let run = sitting.hold.run().clone();
        let ended = self.sit(sitting, started, &before);
        self.ears.rest();
        drop(turn);
        if let Err(failure) = ended {
            self.bearable(failure)?;
        }
        self.last = self.state.load(&run, 0)?;
        let used = Used::of(&self.last, &self.source.dir);
        self.watch.turn(self.watch.scope().after(&self.last, &used));
        self.watch.look();
        let before = before.within(self.watch.scope());
        let Verdict { mut again, own } = self.course.ran(&before, self.watch.seen(), &used);
        self.teller.own(&own, self.watch.scope());
        if again.is_empty() {
            return Ok(None);
        }
        // What goes on changing is one with it.
        let ears = self.ears.clone();
        self.watch.settle(&|| ears.signal().is_some());
        let later = self.watch.look();
        again.extend(self.course.between(later));
        Ok(Some(Cause::Meanwhile(again, number)))
    }

    /// A new run of the tree as it is now; none where something is wrong with it, which is said.
    fn begin(&mut self, cause: Cause) -> Result<Option<Due>, Failure> {
        match self.fresh(cause) {
            Ok(begun) => Ok(begun),
            Err(failure) => self.bearable(failure).map(|()| None),
        }
    }

    fn fresh(&mut self, mut cause: Cause) -> Result<Option<Due>, Failure> {
        let Some((Ready { order, vault }, turn)) = self.turn(&mut cause)? else { return Ok(None) };
        let definition = serde_json::to_value(&order.sources).map_err(Failure::bug)?;
        let digest = hash::json(&definition).map_err(Failure::bug)?;
        let hold = self.state.create(&NewRun { tree: order.tree.name.clone(), digest: digest.clone(), definition })?;
        let started = RunStarted {
            number: hold.number(),
            epoch: hold.epoch(),
            trigger: "watch".into(),
            changed: cause.recorded(self.watch.scope()),
            approved: self.args.approve.clone(),
            ..facts(&self.source, &order.tree, order.environment, order.params, digest, self.args.jobs)
        };
        self.teller.starts(&cause, self.watch.scope(), started.number);
        let approve = self.args.approve.clone();
        let state = Arc::clone(&self.state);
        let sitting =
            Sitting { state, hold, definitions: order.tree.into(), vault: Some(vault), approve, strict: false, before: Vec::new() };
        Ok(Some(Due { started: Box::new(started), sitting, turn }))
    }

    /// Takes the tree's turn. Hours may pass until then: what was read before is good for taking it only.
    fn turn(&mut self, cause: &mut Cause) -> Result<Option<(Ready, Held)>, Failure> {
        let ears = self.ears.clone();
        let Some(mut ready) = self.ready()? else { return Ok(None) };
        loop {
            let waited = Cell::new(false);
            let enough = || {
                waited.set(true);
                ears.signal().is_some()
            };
            let Turn::Ours(turn) = busy::turn_unless(&self.state, &ready.order.tree, None, &enough)? else { return Ok(None) };
            if !waited.get() {
                return Ok(Some((ready, turn)));
            }
            let changed = self.watch.look();
            cause.also(self.course.between(changed));
            let Some(now) = self.ready()? else { return Ok(None) };
            let same = (&now.order.tree.name, now.order.tree.on_busy) == (&ready.order.tree.name, ready.order.tree.on_busy);
            ready = now;
            // Else it is another turn that is to be taken.
            if same {
                return Ok(Some((ready, turn)));
            }
        }
    }

    /// Reads the tree and watches what it reads; none where it is wrong, which is said.
    fn ready(&mut self) -> Result<Option<Ready>, Failure> {
        self.source.reread()?;
        let order = match Order::read(&self.source, &self.args.params, &self.consent, &self.folder)? {
            Ok(order) => order,
            Err(files) => {
                let mut scope = self.watch.scope().clone();
                files.iter().for_each(|file| scope.add_tree(file));
                self.watch.turn(scope);
                return Ok(None);
            }
        };
        let used = Used::of(&self.last, &self.source.dir);
        self.watch.turn(order.scope.after(&self.last, &used));
        let vault = runs::vault(&self.state, &order.tree, None, &order.environment, &order.params, &self.source.dir)?;
        Ok(Some(Ready { order, vault }))
    }

    /// Drives the run; with `cancel_old` a change ends it.
    fn sit(&mut self, sitting: Sitting, started: Box<RunStarted>, before: &Snapshot) -> Result<Ended, Failure> {
        let begin = Begin::New(started);
        if self.args.on_busy == OnBusy::Queue {
            return sitting.sit(begin, self.global, &self.ears);
        }
        let over = AtomicBool::new(false);
        let run = sitting.hold.run().clone();
        let (global, ears, bell) = (self.global, self.ears.clone(), Arc::clone(&self.bell));
        thread::scope(|scope| {
            scope.spawn(|| self.overtake(&run, before, &over));
            let ended = sitting.sit(begin, global, &ears);
            over.store(true, Ordering::Release);
            bell.wake();
            ended
        })
    }

    /// Cancels a run when something changes that did not change in the run before.
    fn overtake(&mut self, run: &RunId, before: &Snapshot, over: &AtomicBool) {
        let ears = self.ears.clone();
        while self.watch.wait(&|| over.load(Ordering::Acquire) || ears.signal().is_some()) {
            self.watch.look();
            let used = Used::of(&self.state.load(run, 0).unwrap_or_default(), &self.source.dir);
            let changed = self.course.meanwhile(before, self.watch.seen(), &used);
            if changed.is_empty() {
                continue;
            }
            self.teller.overtakes(&changed, self.watch.scope());
            if let Err(failure) = runs::ask(&self.state, run, &RequestBody::Cancel { now: false }) {
                report::finish(Err(failure));
            }
            return;
        }
    }

    /// What may be mended while it is waited for is said; the rest ends the watch.
    fn bearable(&self, failure: Failure) -> Result<(), Failure> {
        match failure.kind {
            Kind::Wrong | Kind::Failed | Kind::Held => {
                report::finish(Err(failure));
                Ok(())
            }
            Kind::State | Kind::Bug => Err(failure),
        }
    }
}

/// Paths that changed.
type Paths = BTreeSet<PathBuf>;
