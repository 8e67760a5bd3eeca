//! The state folder, open.

use crate::audit::{Change, Witness};
use crate::body;
use crate::database::{Place, Readers};
use crate::error::{Fault, StateError};
use crate::master::Master;
use crate::schema::SEQ;
use crate::writer::Writer;
use crate::{filesystem, folder};
use rusqlite::{Connection, params};
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use trees_core::event::Json;
use trees_core::journal::JournalError;
use trees_core::path::RunId;

/// What survives what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// What was acknowledged survives a power cut.
    #[default]
    Full,
    /// It survives the death of any process; a power cut may take the last moments.
    Normal,
}

/// The state folder `.trees/`. One value a process; it is shared freely between threads.
#[derive(Debug)]
pub struct State {
    pub(crate) place: Place,
    pub(crate) readers: Readers,
    pub(crate) asked: Mutex<Option<Asked>>,
    pub(crate) master: OnceLock<Master>,
    pub(crate) key_place: Option<PathBuf>,
    pub(crate) witness: Mutex<Witness>,
    writer: Mutex<Option<std::sync::Arc<Writer>>>,
}

/// What is known about requests, so that asking again is cheap.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) db: Connection,
    pub(crate) version: i64,
    pub(crate) none: HashSet<RunId>,
}

impl State {
    /// Opens a state folder, made where it is missing (mode 0700, hidden from git).
    ///
    /// # Errors
    /// On a network file system, when it cannot be written, is damaged or from a newer `trees`.
    pub fn open(folder: impl AsRef<Path>, durability: Durability) -> Result<Self, StateError> {
        let folder = folder::make(folder.as_ref())?;
        Self::ready(Place { folder, durability, unwritable: None })
    }

    /// Opens a state folder that is there; `None` where there is none. One that cannot be written is
    /// opened for reading; what would write to it says why it cannot.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn open_existing(folder: impl AsRef<Path>, durability: Durability) -> Result<Option<Self>, StateError> {
        let folder = folder.as_ref();
        if !folder::is_there(folder, &folder.join("trees.db"))? {
            let place = Place { folder: folder.to_owned(), durability, unwritable: None };
            return Ok(place.check_missing().map(|()| None)?);
        }
        let folder = folder::absolute(folder)?;
        filesystem::refuse_network(&folder)?;
        let unwritable = folder::unwritable(&folder).map(|(what, cure)| format!("{what}; {cure}"));
        Self::ready(Place { folder, durability, unwritable }).map(Some)
    }

    fn ready(place: Place) -> Result<Self, StateError> {
        place.prepare()?;
        Ok(Self {
            place,
            readers: Readers::default(),
            asked: Mutex::new(None),
            master: OnceLock::new(),
            key_place: None,
            witness: Mutex::new(Witness { pid: std::process::id(), ..Witness::default() }),
            writer: Mutex::new(None),
        })
    }

    /// The same folder as it is now: what could only be read may be written again.
    pub(crate) fn again(&self) -> Result<Self, JournalError> {
        let unwritable = folder::unwritable(self.dir()).map(|(what, cure)| format!("{what}; {cure}"));
        Ok(Self {
            place: Place { unwritable, ..self.place.clone() },
            readers: Readers::default(),
            asked: Mutex::new(None),
            master: OnceLock::new(),
            key_place: self.key_place.clone(),
            witness: Mutex::new(crate::database::locked(&self.witness).clone()),
            writer: Mutex::new(None),
        })
    }

    /// Takes the master key from this file and nowhere else: for tests and for a folder that
    /// carries its own key.
    #[must_use]
    pub fn with_key_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.key_place = Some(file.into());
        self
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.place.folder
    }

    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, JournalError> {
        self.readers.read(&self.place, work)
    }

    /// Does the work on the writing thread, which begins with the first work.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.place.writable()?;
        let writer = {
            let mut slot = crate::database::locked(&self.writer);
            match &*slot {
                Some(writer) => std::sync::Arc::clone(writer),
                None => std::sync::Arc::clone(slot.insert(std::sync::Arc::new(Writer::start(&self.place)?))),
            }
        };
        writer.write(work)
    }

    /// Keeps another definition of a run, for a resume that goes on with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn amend(&self, run: &RunId, digest: &str, definition: &Json) -> Result<(), JournalError> {
        let (n, run, digest, body) = (self.number_of(run)?, run.0.clone(), digest.to_owned(), definition.to_string());
        let witness = self.witness();
        self.write(move |db| {
            db.prepare_cached("INSERT OR IGNORE INTO definitions (digest, body) VALUES (?, ?)")?.execute(params![digest, body])?;
            let new = db.prepare_cached("INSERT OR IGNORE INTO amendments (run, definition) VALUES (?, ?)")?.execute(params![n, digest])?;
            if new == 0 {
                return Ok(());
            }
            let before = db
                .prepare_cached(&format!("SELECT status, {SEQ}, definition FROM runs WHERE n = ?"))?
                .query_row([n], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))?;
            let later = in_force(db, n)?.pop().map(|(digest, _)| digest);
            let before = json!({ "status": before.0, "seq": before.1, "definition": later.unwrap_or(before.2) });
            witness.record(db, Change { what: "run_amended", run: Some(&run), before, after: json!({ "definition": digest }) })
        })
    }

    /// The definitions that resumes brought, by digest: the one in force is the last. One that was
    /// kept for a resume that never began is none of them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn amendments(&self, run: &RunId) -> Result<Vec<(String, Json)>, JournalError> {
        let n = self.number_of(run)?;
        let found = self.read(|db| in_force(db, n))?;
        let parse = |(digest, body): (String, String)| match body::definition(&digest, &body) {
            Ok(json) => Ok((digest, json)),
            Err(error) => Err(Fault::Damaged(format!("a definition of run {run}: {error}")).explain(self.dir())),
        };
        found.into_iter().map(parse).collect()
    }
}

/// The definitions of the resumes that began, with their digests, in the order of their last use.
fn in_force(db: &Connection, n: i64) -> Result<Vec<(String, String)>, Fault> {
    let sql = "SELECT d.digest, d.body FROM
         (SELECT json_extract(body, '$.definition') AS digest, max(seq) AS at FROM events
          WHERE run = ? AND type = 'run_resumed' GROUP BY 1) r
         JOIN definitions d ON d.digest = r.digest ORDER BY r.at";
    let rows = db.prepare_cached(sql)?.query_map([n], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}
