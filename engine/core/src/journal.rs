//! Where events are kept, as the engine sees it. `trees-state` implements it over SQLite,
//! [`MemoryJournal`] stands in for it in tests.

use crate::event::{Event, Json, Progress, RunStatus};
use crate::path::RunId;
use crate::tree::Heirs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

mod memory;
pub use memory::MemoryJournal;

/// Why the journal said no. Nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process drives the run: `expected_seq` or the epoch is not the journal's.
    #[error("another process has taken the run over (the journal is at {found}, this writer at {expected})")]
    Fenced {
        /// This writer's sequence number or epoch.
        expected: u64,
        /// The journal's.
        found: u64,
    },
    /// The run is driven by a living process.
    #[error("run {run} is held by process {pid}")]
    Held {
        /// The run.
        run: RunId,
        /// The holder.
        pid: u32,
    },
    /// No such run.
    #[error("no run `{0}`")]
    Unknown(String),
    /// Somebody's word on a step waits to be taken up: a second one would be lost.
    #[error("`{step}` was answered already, by {actor}")]
    Answered {
        /// The step.
        step: String,
        /// Whose word waits.
        actor: String,
    },
    /// The folder cannot be written, is full, or the database is damaged: exit 7.
    #[error("the state in {folder} cannot be used: {message}")]
    State {
        /// The state folder.
        folder: PathBuf,
        /// What and how to mend it.
        message: String,
    },
    /// The folder for what is kept only while a step runs is full or fails: exit 7 too.
    #[error("the temporary folder {folder} cannot be used: {message}")]
    Temporary {
        /// That folder.
        folder: PathBuf,
        /// What and how to mend it.
        message: String,
    },
    /// What was to be kept or put back cannot be, for a reason of its own: the step's failure.
    #[error("{0}")]
    Unkept(String),
}

/// `EIO`, on every system there is.
const EIO: i32 = 5;

/// What helps where the disk of the state is full or fails; nothing where the disk is not to blame.
pub fn cure_of_disk(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("free some space"),
        io::ErrorKind::ReadOnlyFilesystem => Some("choose a folder that can be written with --state"),
        _ => (error.raw_os_error() == Some(EIO)).then_some("see to the disk"),
    }
}

impl JournalError {
    /// The disk under a state folder is full or fails, or something there may not be written; none where it is not to
    /// blame. What lies elsewhere says nothing of the state: there a step may have put anything, a link to a device too.
    pub fn of_disk(folder: &Path, path: &Path, what: &str, error: &io::Error) -> Option<Self> {
        let forbidden = || (error.kind() == io::ErrorKind::PermissionDenied).then_some("give yourself the right to write there");
        let cure = cure_of_disk(error).or_else(forbidden).filter(|_| path.starts_with(folder))?;
        Some(Self::State { folder: folder.into(), message: format!("{what}: {error}; {cure}") })
    }

    /// The state or the system refused, not the step: the sitting ends and the step is for the resume.
    pub fn ends_the_sitting(&self) -> bool {
        matches!(self, Self::State { .. } | Self::Temporary { .. })
    }
}

/// What somebody asks of a run from elsewhere. It becomes an input of the run's driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its number among the requests of all runs.
    pub id: u64,
    /// The run.
    pub run: RunId,
    /// When.
    pub ts: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub body: RequestBody,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RequestBody {
    /// End the run.
    Cancel {
        /// External steps too.
        now: bool,
    },
    /// Yes to an approval step or `environment:NAME`.
    Approve {
        /// Which.
        step: String,
        /// A word.
        note: Option<String>,
    },
    /// No.
    Reject {
        /// Which.
        step: String,
        /// A word.
        note: Option<String>,
    },
    /// Settle an unknown outcome.
    Resolve {
        /// Which step.
        step: String,
        /// As what.
        resolution: crate::event::Resolution,
        /// Outputs for `done`.
        outputs: crate::event::Object,
        /// A word.
        note: Option<String>,
    },
}

impl RequestBody {
    /// The step that it is a word on.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Cancel { .. } => None,
            Self::Approve { step, .. } | Self::Reject { step, .. } | Self::Resolve { step, .. } => Some(step),
        }
    }

    /// The same, of the step by its name in the tree that came after.
    #[must_use]
    pub fn renamed(mut self, heirs: &Heirs) -> Self {
        match &mut self {
            Self::Cancel { .. } => {}
            Self::Approve { step, .. } | Self::Reject { step, .. } | Self::Resolve { step, .. } => {
                heirs.name(step).into_iter().for_each(|name| *step = name);
            }
        }
        self
    }

    /// Refuses a second word on a step while another waits to be taken up.
    ///
    /// # Errors
    /// When one of `open` is on the same step.
    pub fn alone<'a>(&self, open: impl IntoIterator<Item = &'a Request>) -> Result<(), JournalError> {
        let Some(step) = self.step() else { return Ok(()) };
        match open.into_iter().find(|request| request.body.step() == Some(step)) {
            Some(request) => Err(JournalError::Answered { step: step.into(), actor: request.actor.clone() }),
            None => Ok(()),
        }
    }
}

/// A run as the listings show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub run: RunId,
    /// Its tree.
    pub tree: String,
    /// Its number in the tree, from 1.
    pub number: u64,
    /// The tree file as given.
    pub file: String,
    /// Its environment.
    pub environment: String,
    /// Its status; `running` of a run whose process is gone reads `interrupted`.
    pub status: RunStatus,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How far it is, as its last sitting recorded it when it ended; `None` of a run that is driven or
    /// was cut off: its events tell.
    pub progress: Option<Progress>,
    /// The last event's number.
    pub seq: u64,
    /// The process that drives it, if one does.
    pub pid: Option<u32>,
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only of this tree.
    pub tree: Option<String>,
    /// Only with one of these; empty: all.
    pub statuses: Vec<RunStatus>,
    /// At most so many, newest first; 0: all.
    pub limit: usize,
    /// Only what began here, nothing imported.
    pub own: bool,
}

/// What a new run is made of.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The tree's name.
    pub tree: String,
    /// The digest of `definition`.
    pub digest: String,
    /// The recorded sources ([`crate::language::Sources`]) as JSON.
    pub definition: Json,
}

/// The right to write to a run: dropped or the process ended, it is free again.
pub trait Hold: Send + Sync {
    /// The run.
    fn run(&self) -> &RunId;
    /// What every append must carry.
    fn epoch(&self) -> u64;
    /// The run's number in its tree.
    fn number(&self) -> u64;
    /// Whether nobody has taken the run over, as far as can be told at no cost. The journal's word
    /// at the next append is the one that counts: this is for what happens before it.
    fn is_ours(&self) -> bool;
}

/// The durable record of runs. Every method may fail; what returned `Ok` survives a crash (and a
/// power cut with full durability).
pub trait Journal: Send + Sync {
    /// Makes a run (id, number) and holds it, with epoch 1 and no events.
    fn create(&self, run: &NewRun) -> Result<Box<dyn Hold>, JournalError>;
    /// Holds a run at rest, with a raised epoch.
    fn hold(&self, run: &RunId) -> Result<Box<dyn Hold>, JournalError>;
    /// Appends in one transaction; `expected_seq` is the number of the last event the writer knows
    /// (0: none). The requests named are marked as taken in the same transaction.
    fn append(&self, run: &RunId, expected_seq: u64, epoch: u64, events: &[Event], taken: &[u64]) -> Result<(), JournalError>;
    /// The events after a number, in order.
    fn load(&self, run: &RunId, after: u64) -> Result<Vec<Event>, JournalError>;
    /// The recorded sources.
    fn definition(&self, run: &RunId) -> Result<Json, JournalError>;
    /// The requests for a run that no driver has taken yet, in order. Cheap when nothing changed.
    fn requests(&self, run: &RunId) -> Result<Vec<Request>, JournalError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_to_blame_for_what_is_its_own() {
        let at = |path: &str, error: io::Error| {
            JournalError::of_disk(Path::new("/s"), Path::new(path), "writing x failed", &error).map(|e| e.to_string())
        };
        let cure = |error: io::Error| at("/s/x", error);
        let full = cure(io::Error::from(io::ErrorKind::StorageFull)).unwrap();
        assert_eq!(full, "the state in /s cannot be used: writing x failed: no storage space; free some space");
        assert!(cure(io::Error::from_raw_os_error(EIO)).unwrap().contains("see to the disk"));
        assert!(cure(io::Error::from(io::ErrorKind::PermissionDenied)).unwrap().contains("give yourself the right to write there"));
        assert_eq!(at("/else/x", io::Error::from(io::ErrorKind::PermissionDenied)), None);
        // What is elsewhere is another disk, or no disk at all.
        assert_eq!(at("/state/x", io::Error::from_raw_os_error(EIO)), None);
    }
}
