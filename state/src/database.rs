//! Connections to `trees.db`: how they are set up, and how the file is made ready once.

use crate::artifacts::remove;
use crate::error::{Fault, damaged, io_unusable, unusable};
use crate::flock::Flock;
use crate::folder::{self, is_run_id};
use crate::schema;
use crate::state::Durability;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use trees_core::journal::JournalError;
use trees_points::{Point, hit};

/// The oldest SQLite that is free of the WAL-reset corruption.
const OLDEST: i32 = 3_051_003;
/// The newest format of a schema that SQLite writes.
const NEWEST_FORMAT: u32 = 4;
/// How long a foreign program may hold the database before we give up. Processes of `trees` queue
/// for `write.lock` and never meet this.
const PATIENCE: Duration = Duration::from_secs(20);
/// The name of the database while it is made.
const NEW: &str = "trees.db-new";
const KEPT_READERS: usize = 4;

/// Where the database is and how it is written.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) durability: Durability,
    /// Why it can only be read, with the cure, where that is so.
    pub(crate) unwritable: Option<String>,
}

impl Place {
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("trees.db")
    }

    /// Refuses a folder that can only be read.
    pub(crate) fn writable(&self) -> Result<(), JournalError> {
        self.unwritable.as_ref().map_or(Ok(()), |why| Err(unusable(&self.folder, why.clone())))
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.join("write.lock")
    }

    /// The queue of all processes that want to write.
    pub(crate) fn write_lock(&self) -> Result<Flock, JournalError> {
        Flock::open(&self.folder, &self.lock_file())
    }

    /// A connection of either sort, set up but for what only the writer does.
    pub(crate) fn connect(&self) -> Result<Connection, Fault> {
        match &self.unwritable {
            None => self.open(&self.file(), OpenFlags::SQLITE_OPEN_READ_WRITE),
            Some(why) => self.look(why),
        }
    }

    /// A connection to a database that cannot be written: SQLite would make a log and an index beside
    /// it, so without a log it is told that nothing changes, and with one their files must be there.
    fn look(&self, why: &str) -> Result<Connection, Fault> {
        let logged = self.folder.join("trees.db-wal").metadata().is_ok_and(|log| log.len() > 0);
        let opened = if logged {
            self.open(&self.file(), OpenFlags::SQLITE_OPEN_READ_ONLY)
        } else {
            self.open(&still(&self.file()), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
        };
        let looked = opened.and_then(|db| {
            db.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0))?;
            Ok(db)
        });
        match looked {
            Err(Fault::Sql(error)) if logged && error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
                let (why, _) = why.split_once("; ").unwrap_or((why, ""));
                let copy = "copy it to where you may write (cp -r) and name the copy with --state";
                Err(unusable(&self.folder, format!("{why}, and it can be read only after its log trees.db-wal is taken in; {copy}")).into())
            }
            looked => looked,
        }
    }

    fn open(&self, file: &Path, how: OpenFlags) -> Result<Connection, Fault> {
        let db = Connection::open_with_flags(file, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(PATIENCE)?;
        db.set_prepared_statement_cache_capacity(64);
        db.execute_batch(
            "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
        )?;
        Ok(db)
    }

    /// The one connection that writes.
    pub(crate) fn writer(&self) -> Result<Connection, Fault> {
        let db = self.open(&self.file(), OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let synchronous = match self.durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        db.execute_batch(&format!(
            "PRAGMA synchronous = {synchronous}; PRAGMA fullfsync = {}; PRAGMA checkpoint_fullfsync = {0};
             PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;",
            if self.durability == Durability::Full { "ON" } else { "OFF" }
        ))?;
        Ok(db)
    }

    /// Makes the log beside the database, and its name durable before anything is in it: SQLite syncs the
    /// folder with the first commit, but says nothing when that fails.
    pub(crate) fn name_log(&self, db: &Connection) -> Result<(), Fault> {
        let _: i64 = db.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        if self.durability == Durability::Full {
            folder::sync(&self.folder, &self.folder)?;
        }
        Ok(())
    }

    /// Makes the database, or brings it to the newest schema; refuses one that is damaged or from
    /// the future before anything in it is touched.
    pub(crate) fn prepare(&self) -> Result<(), JournalError> {
        let linked = rusqlite::version_number();
        if linked < OLDEST {
            return Err(unusable(
                &self.folder,
                format!("this program was built with SQLite {}; at least 3.51.3 is needed", rusqlite::version()),
            ));
        }
        self.check_missing()?;
        self.check_header()?;
        if self.is_ready()? {
            return Ok(());
        }
        if let Some(why) = &self.unwritable {
            let older = "it was written by an older `trees` and has to be brought up to date before it is read";
            return Err(unusable(&self.folder, format!("{older}, but {why}")));
        }
        let lock = self.write_lock()?;
        let _turn = lock.wait()?;
        self.check_missing()?;
        hit(Point::BeforeMigration);
        let made = if self.is_missing()? { self.make() } else { self.migrate() };
        made.map_err(|fault| fault.explain(&self.folder))?;
        hit(Point::AfterMigration);
        Ok(())
    }

    /// SQLite syncs what is in its files; that they and their folder exist is ours to sync.
    fn sync_names(&self) -> Result<(), JournalError> {
        folder::sync(&self.folder, &self.folder)?;
        self.sync_home()
    }

    /// The name of the folder itself.
    fn sync_home(&self) -> Result<(), JournalError> {
        self.folder.parent().map_or(Ok(()), |parent| folder::sync(&self.folder, parent))
    }

    fn is_ready(&self) -> Result<bool, JournalError> {
        if !folder::is_there(&self.folder, &self.file())? {
            return Ok(false);
        }
        let look = || -> Result<(i64, String, bool), Fault> {
            let db = self.connect()?;
            let version = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let known = schema::known(version).map_or(Ok(true), |tables| is_known(&db, tables))?;
            Ok((version, db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?, known))
        };
        let (version, mode, known) = look().map_err(|fault| fault.explain(&self.folder))?;
        if version > schema::VERSION {
            return Err(self.too_new(version));
        }
        if !known || (1..schema::OLDEST).contains(&version) {
            return Err(self.too_old(version));
        }
        // Where nothing can change there is no log, whatever SQLite calls that.
        Ok(version == schema::VERSION && (mode == "wal" || self.unwritable.is_some()))
    }

    /// An empty file is as good as none.
    fn is_missing(&self) -> Result<bool, JournalError> {
        Ok(!folder::is_there(&self.folder, &self.file())? || self.file().metadata().is_ok_and(|file| file.len() == 0))
    }

    /// Makes the database aside and gives it its name once it is whole and on the disk: one sync where SQLite, which
    /// cannot know that nobody else looks yet, would do ten.
    fn make(&self) -> Result<(), Fault> {
        let aside = self.folder.join(NEW);
        let failed = |what: &str, error: &std::io::Error| Fault::from(io_unusable(&self.folder, what, &aside, error));
        // One that was killed here has left it; and a journal without its database is for none that is to come.
        let left = ["", "-journal", "-wal", "-shm"].map(|name| format!("{NEW}{name}"));
        for name in left.iter().map(String::as_str).chain(["trees.db-journal", "trees.db-wal", "trees.db-shm"]) {
            remove(&self.folder.join(name)).map_err(|error| failed("removing", &error))?;
        }
        let mut db = self.open(&aside, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        db.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")?;
        self.lead_on(&mut db)?;
        self.choose_log(&db)?;
        db.close().map_err(|(_, error)| error)?;
        hit(Point::DatabaseMade);
        File::open(&aside).and_then(|made| made.sync_all()).map_err(|error| failed("syncing", &error))?;
        // The name comes last: with it the database is ready, and nobody syncs that of its folder again.
        self.sync_home()?;
        fs::rename(&aside, self.file()).map_err(|error| failed("renaming", &error))?;
        Ok(folder::sync(&self.folder, &self.folder)?)
    }

    fn migrate(&self) -> Result<(), Fault> {
        let mut db = self.writer()?;
        self.choose_log(&db)?;
        // The schema comes last: with it the database is ready, and nobody syncs these names again.
        self.sync_names()?;
        self.lead_on(&mut db)
    }

    fn choose_log(&self, db: &Connection) -> Result<(), Fault> {
        let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            let text =
                format!("this file system does not allow a write-ahead log (journal mode `{mode}`); choose another folder with --state");
            return Err(unusable(&self.folder, text).into());
        }
        hit(Point::LogChosen);
        Ok(())
    }

    fn lead_on(&self, db: &mut Connection) -> Result<(), Fault> {
        schema::migrations().to_latest(db).map_err(|error| match error {
            rusqlite_migration::Error::RusqliteError { err, .. } => Fault::Sql(err),
            other => unusable(&self.folder, format!("the database could not be brought up to date: {other}")).into(),
        })
    }

    /// Reads the first bytes of the file without SQLite, which would begin to recover it.
    fn check_header(&self) -> Result<(), JournalError> {
        let mut file = match File::open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let (what, cure) = folder::unreadable(&self.file());
                return Err(unusable(&self.folder, format!("{what}; {cure}")));
            }
            Err(_) => return Ok(()),
        };
        let mut header = [0_u8; 100];
        let mut got = 0;
        while got < header.len() {
            match file.read(&mut header[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) => return Err(io_unusable(&self.folder, "reading", &self.file(), &error)),
            }
        }
        if got == 0 {
            return self.check_empty();
        }
        if got < header.len() || !header.starts_with(b"SQLite format 3\0") {
            return Err(unusable(&self.folder, damaged("it is no SQLite database")));
        }
        let format = u32::from_be_bytes([header[44], header[45], header[46], header[47]]);
        if format > NEWEST_FORMAT {
            return Err(unusable(&self.folder, damaged(&format!("its header names a format {format} that SQLite does not have"))));
        }
        let version = i64::from(i32::from_be_bytes([header[60], header[61], header[62], header[63]]));
        if version > schema::VERSION { Err(self.too_new(version)) } else { Ok(()) }
    }

    fn has_runs(&self) -> bool {
        match self.folder.join("runs").read_dir() {
            Ok(mut entries) => entries.next().is_some(),
            // What may not be looked at is not taken for nothing.
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    /// An empty file is a fresh one, unless runs have left folders: then its content was lost, for
    /// the first run comes after the schema is on the disk. SQLite would throw away a log beside it.
    fn check_empty(&self) -> Result<(), JournalError> {
        if self.has_runs() { Err(unusable(&self.folder, damaged("it is empty, but there are folders of runs"))) } else { Ok(()) }
    }

    /// A log whose database is gone holds what SQLite would throw away with it, and the folder of a run is made
    /// after the database that records it.
    pub(crate) fn check_missing(&self) -> Result<(), JournalError> {
        if folder::is_there(&self.folder, &self.file())? {
            return Ok(());
        }
        if self.folder.join("trees.db-wal").metadata().is_ok_and(|log| log.len() > 0) {
            return Err(unusable(&self.folder, damaged("it is missing, but its log is there")));
        }
        let runs = self.folder.join("runs");
        // Another process may make it meanwhile, and begin one.
        match folder::names(&self.folder, &runs)?.iter().filter(|name| is_run_id(name)).count() {
            some if some > 0 && !folder::is_there(&self.folder, &self.file())? => Err(unusable(&self.folder, gone(some))),
            _ => Ok(()),
        }
    }

    fn too_old(&self, version: i64) -> JournalError {
        let text = format!(
            "it was written by a `trees` from before the first release (a form of schema {version} that nothing leads on from); \
             choose another folder with --state, or move this one away"
        );
        unusable(&self.folder, text)
    }

    fn too_new(&self, version: i64) -> JournalError {
        unusable(
            &self.folder,
            format!(
                "it was written by a newer `trees` (schema {version}, this one knows {}); use that version, or choose another folder with --state",
                schema::VERSION
            ),
        )
    }
}

/// What is said of a database that runs need and that is not there.
fn gone(runs: usize) -> String {
    let folders = if runs == 1 { "the folder of a run is".into() } else { format!("the folders of {runs} runs are") };
    format!(
        "trees.db is missing, but {folders} there; put back trees.db, or move runs/ away to begin anew (the runs in it are then unknown)"
    )
}

/// Whether all tables have the columns that are read and written.
fn is_known(db: &Connection, tables: &str) -> Result<bool, Fault> {
    match db.prepare(tables) {
        Ok(_) => Ok(true),
        // No such table, no such column: the statement itself is wrong.
        Err(Error::SqlInputError { .. }) => Ok(false),
        Err(Error::SqliteFailure(error, _)) if error.code == ErrorCode::Unknown => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The name by which SQLite opens a file that nobody changes: as an address, where only some bytes
/// stand for themselves.
fn still(file: &Path) -> PathBuf {
    let mut name = String::from("file:");
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => name.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => name.push(char::from(*byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    PathBuf::from(name + "?immutable=1")
}

/// A few connections for reading, opened on need.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Works with a connection. What it reads must be short: a long reader keeps the log from
    /// being taken into the database.
    pub(crate) fn read<T>(&self, place: &Place, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, JournalError> {
        let idle = locked(&self.idle).pop();
        let answer = match idle.map_or_else(|| place.connect(), Ok) {
            Ok(db) => {
                let answer = work(&db);
                let mut idle = locked(&self.idle);
                // One that was told that nothing changes is told so for one look.
                if idle.len() < KEPT_READERS && place.unwritable.is_none() {
                    idle.push(db);
                }
                answer
            }
            Err(fault) => Err(fault),
        };
        answer.map_err(|fault| fault.explain(&place.folder))
    }
}

/// A panic elsewhere leaves nothing half-done behind our mutexes.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
