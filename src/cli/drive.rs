//! A sitting: the driver with a screen, signals and a person. The only file here that knows how a
//! run is driven.

use super::detach::Leaving;
use super::finish;
use super::global::{Format, Global};
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::closing::{Closing, signal_name};
use crate::report::said::took;
use crate::report::screen::{Look, Screen, Setup as ScreenSetup};
use crate::report::{Line, Paint};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use trees_core::event::{Event, RunStatus};
use trees_core::journal::{Hold, Journal as _, RunFilter};
use trees_core::store::Store as _;
use trees_core::tree::{KindInfo, Kinds, Tree};
use trees_runner::driver::{Begin, DriveError, Driver, Handle, KindSet, Options, Setup, Vault};
use trees_runner::kind::AnyKind;
use trees_state::State;
use trees_steps::Catalogue;

/// Bytes of one attempt's log.
const LOG_LIMIT: u64 = 64 << 20;

/// A run that is held, and how it is to be driven.
pub struct Sitting {
    /// The state folder.
    pub state: Arc<State>,
    /// The right to write.
    pub hold: Box<dyn Hold>,
    /// The tree.
    pub tree: Arc<Tree>,
    /// The secrets, where they were looked for already.
    pub vault: Option<Vault>,
    /// Approvals given beforehand.
    pub approve: Vec<String>,
    /// Warnings make it fail.
    pub strict: bool,
    /// What was recorded before.
    pub before: Vec<Event>,
}

impl From<DriveError> for Failure {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Journal(error) => error.into(),
            DriveError::Unprepared(_) => Self::wrong(error),
            DriveError::Illegal(_) => Self::bug(error),
            DriveError::Runtime(_) => Self::failed(error),
        }
    }
}

/// The catalogue as the driver takes it.
struct Known(Catalogue);

impl Kinds for Known {
    fn kind(&self, name: &str) -> Option<&KindInfo> {
        self.0.kind(name)
    }

    fn names(&self) -> Vec<&str> {
        self.0.names()
    }
}

impl KindSet for Known {
    fn get(&self, name: &str) -> Option<Arc<dyn AnyKind>> {
        self.0.get(name).cloned()
    }

    fn as_kinds(&self) -> &dyn Kinds {
        self
    }
}

/// The screen that was asked for.
pub fn look(global: &Global) -> Result<Look, Failure> {
    let asked = global.known(&[Format::Human, Format::Plain, Format::Json])?;
    Ok(match asked {
        // What it says goes to a log.
        _ if global.detached => Look::Plain,
        Some(Format::Json) => Look::Json,
        Some(Format::Plain) => Look::Plain,
        _ => Look::human(),
    })
}

impl Sitting {
    /// Drives the run until it ends or rests, and says how it went.
    pub fn drive(self, begin: Begin, global: &Global) -> Result<Exit, Failure> {
        let look = look(global)?;
        let setup = self.setup(look, global);
        let (state, tree, run) = (self.state, self.tree, self.hold.run().clone());
        let driver = Driver::new(setup, self.hold, Arc::clone(&tree));
        let driver = match self.vault {
            Some(vault) => driver.with_secrets(vault),
            None => driver,
        };
        let screen = Screen::open(ScreenSetup {
            look,
            quiet: global.quiet,
            estimate: estimate(&state, &tree.name),
            tree,
            approved: self.approve,
            state: runs::folder(&state).to_owned(),
            before: self.before,
        });
        listen_to_signals(driver.handle(), screen.notes(), global.grace)?;
        if look.asks() {
            answer(&screen, driver.handle(), runs::actor());
        }
        let started = Instant::now();
        let listener = match global.detached {
            true => Box::new(Leaving::new(screen.listener(), state.run_folder(&run)?)),
            false => screen.listener(),
        };
        let ended = driver.drive(begin, listener);
        let tally = screen.close();
        let ended = ended.map_err(|error| resumable(error.into(), &state, &run.0))?;
        finish::tell(&Closing { run, status: ended.status, signal: ended.signal, took: started.elapsed(), tally }, global);
        finish::tidy(&state);
        Ok(match ended.signal {
            Some(signal) => Exit::signal(signal),
            None => finish::exit(ended.status, self.strict),
        })
    }

    fn setup(&self, look: Look, global: &Global) -> Setup {
        let options = Options {
            grace: global.grace,
            approve: self.approve.clone(),
            attended: look.asks(),
            log_limit: LOG_LIMIT,
            actor: runs::actor(),
        };
        let kinds = Arc::new(Known(trees_steps::catalogue()));
        Setup { journal: Arc::clone(&self.state) as _, store: Arc::clone(&self.state) as _, kinds, options }
    }
}

/// What a failure of the machinery leaves can be resumed, once there is something of it.
fn resumable(failure: Failure, state: &State, run: &str) -> Failure {
    match runs::find(state, run) {
        Ok(_) => failure.hint(format!("what was recorded is safe; when that is mended, go on with: trees resume {run}")),
        Err(_) => failure,
    }
}

fn answer(screen: &Screen, handle: Handle, actor: String) {
    screen.answers(move |answer| match answer.yes {
        true => handle.approve(&answer.name, &actor),
        false => handle.reject(&answer.name, &actor),
    });
}

/// How long the last good runs of the tree took.
pub fn estimate(state: &State, tree: &str) -> Option<Duration> {
    let filter = RunFilter { tree: Some(tree.into()), statuses: vec![RunStatus::Succeeded, RunStatus::SucceededWithWarnings], limit: 3 };
    let earlier = runs::list(state, &filter).ok()?;
    let took = |run: &trees_core::journal::RunSummary| Duration::try_from(run.finished?.duration_since(run.started)).ok();
    let all: Vec<Duration> = earlier.iter().filter_map(took).collect();
    let count = u32::try_from(all.len()).ok().filter(|n| *n > 0)?;
    Some(all.iter().sum::<Duration>() / count)
}

/// From here on signals end no more than the sitting, in order.
fn listen_to_signals(handle: Handle, note: Box<dyn Fn(Line) + Send>, grace: Duration) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::failed)?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _guard = runtime.enter();
        let listen = |kind: SignalKind| signal(kind).map_err(Failure::failed);
        let hangup = if ignores_hangup() { None } else { Some(listen(SignalKind::hangup())?) };
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, hangup)
    };
    thread::spawn(move || {
        runtime.block_on(async move {
            for heard in 0_u32.. {
                let number = tokio::select! {
                    _ = interrupt.recv() => 2,
                    _ = terminate.recv() => 15,
                    () = received(&mut hangup) => 1,
                };
                handle.signal(number);
                if let Some(text) = heard_signal(heard, number, grace) {
                    note(Line::default().with(Paint::Care, "! ").with(Paint::Plain, text));
                }
            }
        });
    });
    Ok(())
}

/// What a signal does: the first ends the sitting, further Ctrl-C hurry it.
fn heard_signal(heard: u32, signal: i32, grace: Duration) -> Option<String> {
    let grace = took(grace);
    match (heard, signal) {
        (0, 2) => Some(format!("stopping: nothing new starts; steps get SIGTERM in {grace} (Ctrl-C again: now)")),
        (0, _) => Some(format!("{}: nothing new starts; steps get SIGTERM in {grace}", signal_name(signal))),
        (1, 2) => Some("steps got SIGTERM (Ctrl-C again: SIGKILL)".into()),
        (2, 2) => Some("steps got SIGKILL".into()),
        _ => None,
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether whoever started us wants us to outlive the terminal (`nohup`). Read from the kernel's
/// own account; where there is none we do not know of it.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|hex| u64::from_str_radix(hex, 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Everything recorded of a run.
pub fn recorded(state: &State, hold: &dyn Hold) -> Result<Vec<Event>, Failure> {
    Ok(state.load(hold.run(), 0)?)
}
