//! A sitting: the driver with a screen, signals and a person. The only file here that knows how a
//! run is driven.

use super::detach::Leaving;
use super::finish;
use super::global::{Format, Global};
use super::run::asks;
use super::runs;
use super::signals::Ears;
use crate::failure::{Exit, Failure, Kind};
use crate::report::Line;
use crate::report::closing::Closing;
use crate::report::said::took;
use crate::report::screen::{Look, Screen, Setup as ScreenSetup};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trees_core::event::{Event, Json, RunStatus};
use trees_core::journal::{Hold, Journal as _, RunFilter};
use trees_core::path::RunId;
use trees_core::run::Definitions;
use trees_core::store::Store as _;
use trees_core::tree::{KindInfo, Kinds};
use trees_runner::clock::Clock;
use trees_runner::driver::{Begin, DriveError, Driver, Ended, Handle, KindSet, Options, Setup, Vault};
use trees_runner::kind::AnyKind;
use trees_runner::room;
use trees_state::{Remains, State};
use trees_steps::Catalogue;

/// Bytes of one attempt's log.
const LOG_LIMIT: u64 = 64 << 20;

/// A run that is held, and how it is to be driven.
pub struct Sitting {
    /// The state folder.
    pub state: Arc<State>,
    /// The right to write.
    pub hold: Box<dyn Hold>,
    /// The tree, with those it was before.
    pub definitions: Definitions,
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

    fn wrong(&self, name: &str, with: &Json) -> Vec<String> {
        self.0.wrong(name, with)
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

/// The step kinds as the driver takes them.
pub fn kinds() -> Arc<dyn KindSet> {
    Arc::new(Known(trees_steps::catalogue()))
}

/// How steps are performed where nobody watches them.
pub fn options(global: &Global) -> Options {
    Options { grace: global.grace, approve: Vec::new(), attended: false, log_limit: LOG_LIMIT, actor: runs::actor() }
}

/// Looks, before anything is held or recorded, whether a run can be driven here at all.
pub fn ready(global: &Global) -> Result<(), Failure> {
    look(global)?;
    room::look().map_err(Failure::failed)
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
        let strict = self.strict;
        let ended = self.sit(begin, global, &Ears::open(global.grace, || {})?)?;
        Ok(match ended.signal {
            Some(signal) => Exit::signal(signal),
            None => finish::exit(ended.status, strict),
        })
    }

    /// The same for one of several sittings of this process: all of them share its ears.
    pub fn sit(self, begin: Begin, global: &Global, ears: &Ears) -> Result<Ended, Failure> {
        let look = look(global)?;
        let clock = Clock::after(self.before.last().map(|newest| newest.ts));
        let setup = self.setup(look, global, clock);
        let (state, run) = (self.state, self.hold.run().clone());
        let tree = Arc::clone(self.definitions.newest());
        let places = places(&begin, &self.before);
        let before = self.definitions.retold(&self.before);
        let driver = Driver::new(setup, self.hold, self.definitions).with_recorded(self.before);
        let driver = match self.vault {
            Some(vault) => driver.with_secrets(vault),
            None => driver,
        };
        let screen = Screen::open(
            ScreenSetup {
                look,
                quiet: global.quiet,
                estimate: estimate(&state, &tree.name),
                tree,
                approved: self.approve,
                state: runs::folder(&state).to_owned(),
                before,
            },
            clock.into(),
        );
        ears.sit(driver.handle(), screen.notes());
        if let Some(text) = room::narrow(places) {
            screen.notes()(Line::caution(&text));
        }
        if look.asks() {
            answer(&screen, driver.handle(), runs::actor());
        }
        let started = Instant::now();
        let listener = match global.detached {
            true => Box::new(Leaving::new(screen.listener(), state.run_folder(&run)?)),
            false => screen.listener(),
        };
        let ended = driver.drive(begin, listener);
        let tally = screen.close(|| ears.signal().is_some());
        let ended = ended.map_err(|error| resumable(error.into(), &state, &run.0))?;
        let Some(tally) = tally else {
            finish::tell_unread(&run);
            return Ok(Ended { signal: ended.signal.or_else(|| ears.signal()), ..ended });
        };
        // It has taken up all that was said.
        let words = BTreeMap::new();
        finish::tell(&Closing { run, status: ended.status, signal: ended.signal, took: started.elapsed(), tally, words }, global);
        finish::tidy(&state);
        Ok(ended)
    }

    fn setup(&self, look: Look, global: &Global, clock: Clock) -> Setup {
        // An unknown outcome is nothing that a key could answer: for that alone nobody is waited for.
        let attended = look.asks() && asks(self.definitions.newest());
        let options = Options { approve: self.approve.clone(), attended, ..options(global) };
        Setup { journal: Arc::clone(&self.state) as _, store: Arc::clone(&self.state) as _, kinds: kinds(), options, clock }
    }
}

/// How many steps at once are asked for.
fn places(begin: &Begin, before: &[Event]) -> u32 {
    let recorded = || runs::facts(before).map_or(1, |facts| facts.max_parallel);
    match begin {
        Begin::New(started) | Begin::Part(started, _) => started.max_parallel,
        Begin::Resume(_) | Begin::RollBack(_) | Begin::Cancel { .. } => recorded(),
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
    let filter =
        RunFilter { tree: Some(tree.into()), statuses: vec![RunStatus::Succeeded, RunStatus::SucceededWithWarnings], limit: 3, own: false };
    let earlier = runs::list(state, &filter).ok()?;
    let took = |run: &trees_core::journal::RunSummary| Duration::try_from(run.finished?.duration_since(run.started)).ok();
    let all: Vec<Duration> = earlier.iter().filter_map(took).collect();
    let count = u32::try_from(all.len()).ok().filter(|n| *n > 0)?;
    Some(all.iter().sum::<Duration>() / count)
}

/// Everything recorded of a run that a command is about to drive; `yes`: whatever the clock says, and what its folder
/// tells of attempts that are not recorded.
pub fn recorded(state: &State, hold: &dyn Hold, command: &str, yes: bool) -> Result<Vec<Event>, Failure> {
    let recorded = state.load(hold.run(), 0)?;
    if let Some(newest) = recorded.last().filter(|_| !yes) {
        clock_fits(hold.run(), newest.ts, command)?;
    }
    let remains = runs::remains(state, hold.run(), &recorded)?;
    match remains.first() {
        Some(_) if yes => state.put_aside(&remains)?,
        Some(first) => return Err(cut_short(state, hold.run(), command, first, remains.len())),
        None => {}
    }
    Ok(recorded)
}

/// Steps have begun of which nothing is recorded: what they did nobody here can know.
fn cut_short(state: &State, run: &RunId, command: &str, first: &Remains, all: usize) -> Failure {
    let Remains { folder, .. } = first;
    let text = format!("{}; trees.db-wal in {} was damaged or removed", runs::cut_short(run, first, all), runs::folder(state).display());
    Failure::new(Kind::State, text).hint("put back a copy of the state folder, if there is one").hint(format!(
        "else see what was done ({}), then: trees {command} {run} --yes (what is not recorded counts as not begun)",
        folder.display()
    ))
}

/// A clock far behind what is recorded is wrong, or was when that was recorded: which of the two, a
/// person must say. Little is no harm: time goes on from the newest event.
fn clock_fits(run: &RunId, newest: Timestamp, command: &str) -> Result<(), Failure> {
    let Some(text) = behind(run, newest) else { return Ok(()) };
    let again = format!("trees {command} {run}");
    Err(Failure::new(Kind::State, text)
        .hint(format!("{SET_CLOCK}, then: {again}"))
        .hint(format!("if the clock is right and what was recorded is not: {again} --yes")))
}

/// What helps where the clock is wrong.
pub const SET_CLOCK: &str = "set the clock (`timedatectl set-ntp true`, or `date`)";

/// What is said of a clock that stands far behind the newest event of a run.
pub fn behind(run: &RunId, newest: Timestamp) -> Option<String> {
    const LITTLE: SignedDuration = SignedDuration::from_mins(10);
    let now = Timestamp::now();
    let behind = Some(newest.duration_since(now)).filter(|behind| *behind > LITTLE)?;
    let behind = took(behind.unsigned_abs());
    Some(format!("the clock of this machine ({now:.0}) is {behind} behind the newest event of run {run} ({newest:.0})"))
}
