//! What the folders of runs tell that the database does not: SQLite takes a log that was cut, flipped or deleted for
//! one that ended there, so a record can lose its end, or a whole run, without a word. What was begun has left a
//! folder, and no attempt makes it before its start is recorded.

use crate::error::{io_unusable, unusable};
use crate::folder::{component, is_run_id, names};
use crate::schema::SEQ;
use crate::state::State;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::event::{Event, EventKind};
use trees_core::journal::JournalError;
use trees_core::path::RunId;

/// The sign that the run was removed on purpose.
const REMOVED: &str = "removed";

/// An attempt that left its folder and is not recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remains {
    /// The folder with its logs.
    pub folder: PathBuf,
    /// The step, as its folder is named.
    pub step: String,
    /// Its number.
    pub attempt: u32,
}

/// Folders of runs of which nothing is recorded.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    /// Left by a process that died while it made or removed a run.
    pub(crate) idle: Vec<RunId>,
    /// Of runs that have begun: their record is lost.
    pub(crate) lost: Vec<RunId>,
}

impl State {
    /// The attempts of a run that have begun and are not among its events.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn remains(&self, run: &RunId, events: &[Event]) -> Result<Vec<Remains>, JournalError> {
        let mut recorded: BTreeMap<String, u32> = BTreeMap::new();
        for event in events {
            if let (EventKind::StepStarted { .. }, Some(step), Some(attempt)) = (&event.kind, &event.step, event.attempt) {
                let newest = recorded.entry(component(step.as_str())).or_default();
                *newest = (*newest).max(attempt);
            }
        }
        let mut remains = Vec::new();
        let steps = self.run_folder(run)?.join("steps");
        for step in names(self.dir(), &steps)? {
            let newest = recorded.get(&step).copied().unwrap_or(0);
            let folder = steps.join(&step);
            let attempts = names(self.dir(), &folder)?.into_iter().filter_map(|name| name.parse().ok()).filter(|n| *n > newest);
            remains.extend(attempts.map(|attempt: u32| Remains { folder: folder.join(attempt.to_string()), step: step.clone(), attempt }));
        }
        remains.sort();
        Ok(remains)
    }

    /// Puts aside what remains, so that the attempts can be made again.
    ///
    /// # Errors
    /// When a folder cannot be renamed.
    pub fn put_aside(&self, remains: &[Remains]) -> Result<(), JournalError> {
        for Remains { folder, .. } in remains {
            let free = |n: &u32| !folder.with_extension(format!("lost-{n}")).exists();
            let to = folder.with_extension(format!("lost-{}", (1..).find(free).unwrap_or(0)));
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
        let homes = names(self.dir(), &runs)?.into_iter().filter(|name| is_run_id(name));
        let homes: Vec<(String, bool)> = homes
            .map(|name| {
                let lost = is_lost(&runs.join(&name));
                (name, lost)
            })
            .collect();
        let known: BTreeMap<String, bool> = self.read(|db| {
            let mut statement = db.prepare_cached(&format!("SELECT id, {SEQ} > 0 FROM runs"))?;
            Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })?;
        let mut strays = Strays::default();
        for (name, lost) in homes {
            match (known.get(&name), lost) {
                (None, false) => strays.idle.push(RunId(name)),
                (None | Some(false), true) => strays.lost.push(RunId(name)),
                _ => {}
            }
        }
        Ok(strays)
    }

    /// Why a run is not known that once was.
    pub(crate) fn lost_run(&self, id: &str) -> Option<JournalError> {
        let home = self.run_folder(&RunId(id.to_owned())).ok().filter(|home| is_lost(home))?;
        let text = format!("run {id} has begun ({} is there), and its record is lost: trees.db-wal was damaged or removed", home.display());
        Some(unusable(self.dir(), format!("{text}; put back a copy of the state folder, or let its logs go too: trees gc --lost")))
    }

    /// Marks the folder of a run that is about to be deleted from the database.
    pub(crate) fn mark_removed(&self, run: &RunId) -> Result<(), JournalError> {
        let mark = self.run_folder(run)?.join(REMOVED);
        fs::write(&mark, "").map_err(|error| io_unusable(self.dir(), "writing", &mark, &error))
    }

    /// Takes the mark back: somebody went on with the run.
    pub(crate) fn unmark_removed(&self, run: &RunId) -> Result<(), JournalError> {
        let mark = self.run_folder(run)?.join(REMOVED);
        fs::remove_file(&mark).map_err(|error| io_unusable(self.dir(), "removing", &mark, &error))
    }
}

/// Whether steps of the run began that the folder belongs to, and nobody removed it.
pub(crate) fn is_lost(home: &Path) -> bool {
    home.join("steps").exists() && !home.join(REMOVED).exists()
}
