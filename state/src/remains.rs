//! What the folders of runs tell that the database does not: SQLite takes a log that was cut, flipped or deleted for
//! one that ended there, so a record can lose its end, or a whole run, without a word. What was begun has left a
//! folder, and no attempt makes it before its start is recorded.

use crate::artifacts::remove;
use crate::bundle::{ARTIFACTS, STEPS};
use crate::error::{io_unusable, unusable};
use crate::folder::{component, is_run_id, make_private, names};
use crate::schema::SEQ;
use crate::state::State;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::event::{Event, EventKind};
use trees_core::journal::JournalError;
use trees_core::path::RunId;
use trees_core::store::UNDO;

/// The sign that what is in the folder of a run is being made or removed, and not lost.
const PASSING: &str = "passing";

/// Something that began, left its folder and is not recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remains {
    /// The folder with its logs.
    pub folder: PathBuf,
    /// What it is, in words.
    pub what: String,
}

/// What is recorded of a step, by the name of its folder.
#[derive(Default)]
struct Known {
    /// The number of its newest attempt.
    attempt: u32,
    /// At most so many tries of its undo.
    undos: u32,
}

/// What is said of runs whose record is lost, and what helps.
#[must_use]
pub fn lost_words(runs: &[RunId]) -> Option<(String, &'static str)> {
    let first = runs.first()?;
    let others = if runs.len() > 1 { format!(" and {} more", runs.len() - 1) } else { String::new() };
    Some((format!("the record of run {first}{others} is lost: steps began whose folders are there"), LOST_CURE))
}

/// What helps a run whose record is lost.
const LOST_CURE: &str = "put back a copy of the state folder, or let the logs go too: trees gc --lost";

/// Folders of runs of which nothing is recorded.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    /// Left by a process that died while it made or removed a run.
    pub(crate) idle: Vec<RunId>,
    /// Of runs that have begun: their record is lost.
    pub(crate) lost: Vec<RunId>,
}

impl State {
    /// What of a run has begun and is not among its events; `retold`: the same as its newest tree names their steps, where
    /// that was changed. What has a name that neither knows is left out then.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn remains(&self, run: &RunId, recorded: &[Event], retold: Option<&[Event]>) -> Result<Vec<Remains>, JournalError> {
        let mut known = known(recorded);
        for (name, more) in retold.map(self::known).unwrap_or_default() {
            let known = known.entry(name).or_default();
            *known = Known { attempt: known.attempt.max(more.attempt), undos: known.undos.max(more.undos) };
        }
        let steps = self.run_folder(run)?.join(STEPS);
        let mut remains = Vec::new();
        for step in names(self.dir(), &steps)? {
            match known.get(&step) {
                None if retold.is_some() => {}
                known => self.unrecorded(&steps.join(&step), &step, known, &mut remains)?,
            }
        }
        remains.sort();
        Ok(remains)
    }

    fn unrecorded(&self, home: &Path, step: &str, known: Option<&Known>, remains: &mut Vec<Remains>) -> Result<(), JournalError> {
        let (last, undos) = known.map_or((0, 0), |known| (known.attempt, known.undos));
        for (name, attempt) in numbered(self.dir(), home, "")? {
            let folder = home.join(name);
            if attempt > last {
                remains.push(Remains { folder, what: format!("attempt {attempt} of `{step}`") });
                continue;
            }
            let tries = numbered(self.dir(), &folder, UNDO)?.into_iter().filter(|(_, n)| *n > undos);
            remains.extend(tries.map(|(name, _)| Remains { folder: folder.join(name), what: format!("an undo of `{step}`") }));
        }
        Ok(())
    }

    /// Puts aside what remains: who goes on takes it for not begun.
    ///
    /// # Errors
    /// When a folder cannot be renamed.
    pub fn put_aside(&self, remains: &[Remains]) -> Result<(), JournalError> {
        for Remains { folder, .. } in remains {
            let name = |n: u32| folder.with_extension(format!("lost-{n}"));
            let to = name((1..).find(|n| !name(*n).exists()).unwrap_or(0));
            fs::rename(folder, &to).map_err(|error| io_unusable(self.dir(), "renaming", folder, &error))?;
        }
        Ok(())
    }

    /// The runs that have begun and of which no event is recorded.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn lost(&self) -> Result<Vec<RunId>, JournalError> {
        Ok(self.strays()?.lost)
    }

    /// The folders of runs of which nothing is recorded.
    pub(crate) fn strays(&self) -> Result<Strays, JournalError> {
        // The folders first: what begins meanwhile is in the database by then.
        let runs = self.dir().join("runs");
        let looked = |name: String| (is_lost(&runs.join(&name)), name);
        let homes: Vec<(bool, String)> = names(self.dir(), &runs)?.into_iter().filter(|name| is_run_id(name)).map(looked).collect();
        let known: BTreeMap<String, bool> = self.read(|db| {
            let mut statement = db.prepare_cached(&format!("SELECT id, {SEQ} > 0 FROM runs"))?;
            Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })?;
        let mut strays = Strays::default();
        for (lost, name) in homes {
            match (known.get(&name), lost) {
                (None, false) => strays.idle.push(RunId(name)),
                // And again: what was removed meanwhile bears the mark, or is gone.
                (None | Some(false), true) if is_lost(&runs.join(&name)) => strays.lost.push(RunId(name)),
                _ => {}
            }
        }
        Ok(strays)
    }

    /// Why a run is not known that once was.
    pub(crate) fn lost_run(&self, id: &str) -> Option<JournalError> {
        let home = self.run_folder(&RunId(id.to_owned())).ok().filter(|home| is_lost(home))?;
        let text = format!("run {id} has begun ({} is there), and its record is lost: trees.db-wal was damaged or removed", home.display());
        Some(unusable(self.dir(), format!("{text}; {LOST_CURE}")))
    }

    /// Marks the folder of a run whose place in the database is about to be made or deleted.
    pub(crate) fn mark_passing(&self, run: &RunId) -> Result<(), JournalError> {
        let mark = self.run_folder(run)?.join(PASSING);
        fs::write(&mark, "").map_err(|error| io_unusable(self.dir(), "writing", &mark, &error))
    }

    /// Takes the mark back, whoever left it: the run is there.
    pub(crate) fn unmark_passing(&self, run: &RunId) -> Result<(), JournalError> {
        let mark = self.run_folder(run)?.join(PASSING);
        remove(&mark).map_err(|error| io_unusable(self.dir(), "removing", &mark, &error))
    }

    /// Removes the folder of a run: at once for who looks, whatever ends us in the midst of it.
    pub(crate) fn remove_home(&self, run: &RunId) -> Result<(), JournalError> {
        let (home, shelves) = (self.run_folder(run)?, self.dir().join(ARTIFACTS));
        make_private(self.dir(), &shelves)?;
        let aside = self.aside(&shelves)?;
        let removed = fs::rename(&home, &aside).and_then(|()| remove(&aside));
        removed.map_err(|error| io_unusable(self.dir(), "removing", &home, &error))
    }
}

/// What events tell of each step.
fn known(events: &[Event]) -> BTreeMap<String, Known> {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for event in events {
        let Some(step) = &event.step else { continue };
        match (&event.kind, event.attempt) {
            (EventKind::StepStarted { .. }, Some(attempt)) => {
                let known = known.entry(component(step.as_str())).or_default();
                known.attempt = known.attempt.max(attempt);
            }
            // A try of an undo that failed, and another follows, is told like one of the action.
            (EventKind::UndoStarted | EventKind::AttemptFailed { .. }, _) => known.entry(component(step.as_str())).or_default().undos += 1,
            _ => {}
        }
    }
    known
}

/// What is called by this and a number in a folder.
fn numbered(state: &Path, folder: &Path, prefix: &str) -> Result<Vec<(String, u32)>, JournalError> {
    let number = |name: String| name.strip_prefix(prefix)?.parse().ok().map(|n| (name.clone(), n));
    Ok(names(state, folder)?.into_iter().filter_map(number).collect())
}

/// Whether steps of the run began that the folder belongs to, and nobody is making or removing it.
pub(crate) fn is_lost(home: &Path) -> bool {
    home.join(STEPS).exists() && !home.join(PASSING).exists()
}
