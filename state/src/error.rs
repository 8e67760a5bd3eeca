//! Why the state folder said no, with the cure. The words are the product: each names the folder
//! and what to do.

use crate::filesystem;
use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};
use trees_core::journal::{JournalError, cure_of_disk};
use trees_core::path::RunId;

/// Why the state folder said no.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be written, is full, damaged, too new or on a network file system: exit 7.
    #[error("the state in {folder} cannot be used: {message}")]
    Unusable {
        /// The state folder.
        folder: PathBuf,
        /// What and how to mend it.
        message: String,
    },
    /// No run is called so: exit 2.
    #[error("{0}")]
    Unknown(String),
    /// More than one run is called so: exit 2.
    #[error("`{text}` means more than one run: {}", list(.runs))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// The runs it may mean, newest first.
        runs: Vec<RunId>,
    },
    /// What was given is wrong, a secret's name for instance: exit 2.
    #[error("{0}")]
    Invalid(String),
    /// It could not be done: exit 1.
    #[error("{0}")]
    Failed(String),
    /// What the journal said.
    #[error(transparent)]
    Journal(JournalError),
}

impl From<JournalError> for StateError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::State { folder, message } => Self::Unusable { folder, message },
            JournalError::Unknown(run) => Self::Unknown(format!("no run `{run}`")),
            JournalError::Unkept(message) => Self::Failed(message),
            JournalError::Fenced { .. } | JournalError::Held { .. } | JournalError::Answered { .. } | JournalError::Temporary { .. } => {
                Self::Journal(error)
            }
        }
    }
}

fn list(runs: &[RunId]) -> String {
    let mut names: Vec<&str> = runs.iter().take(5).map(|run| run.0.as_str()).collect();
    if runs.len() > 5 {
        names.push("…");
    }
    names.join(", ")
}

/// What went wrong inside a piece of work on the database.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite said no.
    Sql(rusqlite::Error),
    /// We said no; nothing was written.
    Refused(JournalError),
    /// Something beside the database does not fit it; one sentence with the cure.
    Unfit(String),
    /// What stands in the database cannot be understood.
    Damaged(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    /// As the contract has it.
    pub(crate) fn explain(self, folder: &Path) -> JournalError {
        match self {
            Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) && filesystem::is_full(folder) => {
                unusable(folder, format!("the disk is full; {FREE}"))
            }
            Self::Sql(error) => unusable(folder, sql_message(&error)),
            Self::Refused(error) => error,
            Self::Unfit(message) => unusable(folder, message),
            Self::Damaged(what) => unusable(folder, damaged(&what)),
        }
    }
}

/// The journal's word for a folder that cannot be used.
pub(crate) fn unusable(folder: &Path, message: impl Into<String>) -> JournalError {
    JournalError::State { folder: folder.into(), message: message.into() }
}

/// The same for an operation on a file.
pub(crate) fn io_unusable(folder: &Path, what: &str, path: &Path, error: &io::Error) -> JournalError {
    unusable(folder, format!("{what} {} failed: {error}{}", path.display(), io_cure(error)))
}

/// What to do where nothing more fits.
pub(crate) const FREE: &str = "free some space";
/// What to do with a thing that stands in the place of a file of ours.
pub(crate) const AWAY: &str = "move it away";

fn io_cure(error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::IsADirectory => Some("move that folder away"),
        io::ErrorKind::PermissionDenied => Some("give yourself the right to write there, or choose another folder with --state"),
        _ => cure_of_disk(error),
    };
    cure.map(|cure| format!("; {cure}")).unwrap_or_default()
}

/// What is said of a database that cannot be read.
pub(crate) fn damaged(what: &str) -> String {
    format!(
        "the database trees.db is damaged ({what}); put back a copy of the folder, or move trees.db, trees.db-wal, trees.db-shm and runs aside to begin anew (the runs in it are then unknown)"
    )
}

/// One sentence and the cure for an error of SQLite.
pub(crate) fn sql_message(error: &rusqlite::Error) -> String {
    let Some(code) = error.sqlite_error_code() else {
        // Nothing of ours writes what we cannot read.
        let unreadable = matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::SqlInputError { .. }
                | rusqlite::Error::Utf8Error(..)
        );
        return if unreadable { damaged(&error.to_string()) } else { format!("the database answered: {error}") };
    };
    match code {
        // Our statements are fixed: one that is not understood meets a schema that is not ours any more.
        ErrorCode::NotADatabase | ErrorCode::Unknown => damaged(&error.to_string()),
        // SQLite says so too of a page that the disk could not read.
        ErrorCode::DatabaseCorrupt => {
            let what = format!("{error}, or the disk could not read it: run the command again, and see to the disk");
            damaged(&what)
        }
        ErrorCode::DiskFull => format!("the disk is full; {FREE}"),
        ErrorCode::SystemIoFailure => {
            format!("reading or writing the database failed ({error}); see to the disk and its free space")
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            format!(
                "the database cannot be opened for writing ({error}); see to the owner and mode of the folder, or choose another with --state"
            )
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "another program keeps the database locked (a stopped `trees`, a backup, a database browser); end it".into()
        }
        _ => format!("the database answered: {error}"),
    }
}
