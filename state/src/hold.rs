//! Who drives a run: a kernel lock on the run's folder that dies with its holder, and an epoch in
//! the database that grows with each holder, so that a late writer is refused.

use crate::audit::{Change, Seen};
use crate::error::{Fault, unusable};
use crate::flock::Flock;
use crate::folder;
use crate::generate;
use crate::state::State;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use trees_core::journal::{Hold, JournalError, NewRun};
use trees_core::path::RunId;
use trees_core::store::LockGuard;
use trees_points::{Point, hit};

/// How long a lock whose signer is dead may stay taken.
const INHERITED: Duration = Duration::from_secs(5);

struct Held {
    run: RunId,
    epoch: u64,
    number: u64,
    /// Closed, and so unlocked, with the hold.
    lock: Flock,
}

impl Hold for Held {
    fn run(&self) -> &RunId {
        &self.run
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn is_ours(&self) -> bool {
        !self.lock.is_replaced()
    }
}

impl State {
    pub(crate) fn create_run(&self, new: &NewRun) -> Result<Box<dyn Hold>, JournalError> {
        let run = RunId(generate::id().map_err(|error| unusable(self.dir(), error))?);
        let lock = self.lock_run(&run)?;
        let (id, tree, digest) = (run.0.clone(), new.tree.clone(), new.digest.clone());
        let body = new.definition.to_string();
        let witness = self.witness();
        hit(Point::BeforeRunCreated);
        let number = self.write(move |db| {
            db.prepare_cached("INSERT OR IGNORE INTO definitions (digest, body) VALUES (?, ?)")?.execute(params![digest, body])?;
            let number: i64 = db
                .prepare_cached(
                    "INSERT INTO trees (name, last) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
                )?
                .query_row([&tree], |row| row.get(0))?;
            db.prepare_cached("INSERT INTO runs (id, tree, number, definition, created, epoch) VALUES (?, ?, ?, ?, ?, 1)")?
                .execute(params![id, tree, number, digest, Timestamp::now().as_microsecond()])?;
            let after = json!({ "status": "pending", "epoch": 1, "seq": 0, "tree": tree, "number": number, "definition": digest });
            witness.record(db, Change { what: "run_created", run: Some(&id), before: Value::Null, after })?;
            Ok(number)
        })?;
        hit(Point::AfterRunCreated);
        Ok(Box::new(Held { run, epoch: 1, number: number.unsigned_abs(), lock }))
    }

    pub(crate) fn hold_run(&self, run: &RunId) -> Result<Box<dyn Hold>, JournalError> {
        // A wrong id must not leave a folder.
        self.number_of(run)?;
        let lock = self.lock_run(run)?;
        self.unmark_passing(run)?;
        let id = run.0.clone();
        let witness = self.witness();
        hit(Point::BeforeRunHeld);
        // What is there is read before anybody waits for us; nobody else takes the run up meanwhile.
        let seen = self.read(|db| Seen::now(db, &id))?;
        let (epoch, number) = self.write(move |db| {
            let before = seen.standing(db, &id)?;
            let raised: Option<(i64, i64)> = db
                .prepare_cached("UPDATE runs SET epoch = epoch + 1 WHERE id = ? RETURNING epoch, number")?
                .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let (epoch, number) = raised.ok_or_else(|| Fault::Refused(JournalError::Unknown(id.clone())))?;
            let after = json!({ "epoch": epoch });
            witness.record(db, Change { what: "run_held", run: Some(&id), before, after })?;
            Ok((epoch, number))
        })?;
        hit(Point::AfterRunHeld);
        Ok(Box::new(Held { run: run.clone(), epoch: epoch.unsigned_abs(), number: number.unsigned_abs(), lock }))
    }

    /// Locks the folder of a run and signs with our process number.
    pub(crate) fn lock_run(&self, run: &RunId) -> Result<Flock, JournalError> {
        let home = self.run_folder(run)?;
        let path = home.join("lock");
        self.place.writable()?;
        loop {
            folder::make_private(self.dir(), &home)?;
            let mut lock = match Flock::open(self.dir(), &path) {
                Err(_) if !home.exists() => continue,
                other => other?,
            };
            if let Err(pid) = claim(&mut lock)? {
                return Err(JournalError::Held { run: run.clone(), pid });
            }
            // Somebody may have removed the folder between the opening and the locking.
            if lock.is_current() {
                hit(Point::LockTaken);
                lock.sign(&std::process::id().to_string())?;
                hit(Point::LockSigned);
                return Ok(lock);
            }
        }
    }

    /// Keeps everybody from driving the run, though nothing may be written here; none where it has no lock.
    pub(crate) fn still_run(&self, run: &RunId) -> Result<Option<Flock>, JournalError> {
        if self.place.writable().is_ok() {
            return self.lock_run(run).map(Some);
        }
        let Some(mut lock) = Flock::look(self.dir(), &self.run_folder(run)?.join("lock"))? else { return Ok(None) };
        match claim(&mut lock)? {
            Ok(()) => Ok(Some(lock)),
            Err(pid) => Err(JournalError::Held { run: run.clone(), pid }),
        }
    }

    /// Keeps everybody from driving the run as long as the answer lives, without a word in its record.
    ///
    /// # Errors
    /// [`JournalError::Held`] by who drives it.
    pub fn still(&self, run: &RunId) -> Result<Box<dyn LockGuard>, JournalError> {
        struct Still(#[expect(dead_code, reason = "unlocked when it is dropped")] Option<Flock>);
        impl LockGuard for Still {}
        Ok(Box::new(Still(self.still_run(run)?)))
    }

    /// The process that drives the run, if one does.
    ///
    /// # Errors
    /// When nobody can tell.
    pub(crate) fn driver(&self, run: &RunId) -> Result<Option<u32>, JournalError> {
        let Some(mut lock) = Flock::look(self.dir(), &self.run_folder(run)?.join("lock"))? else { return Ok(None) };
        Ok(lock.is_taken()?.then(|| lock.signature().trim().parse().unwrap_or(0)))
    }
}

/// Takes the lock of a run, or says whose it is. Where the signer is dead the lock is on its way to
/// being free: a child that it forked just before it was killed has a copy of the descriptor until
/// it becomes another program, and one that has just taken the lock has not signed yet.
fn claim(lock: &mut Flock) -> Result<Result<(), u32>, JournalError> {
    let begun = Instant::now();
    loop {
        if lock.take()? {
            return Ok(Ok(()));
        }
        let holder = lock.signature().trim().parse().unwrap_or(0);
        if is_alive(holder) || begun.elapsed() > INHERITED {
            return Ok(Err(holder));
        }
    }
}

/// Whether a process was stopped (SIGSTOP, Ctrl-Z) and goes on only when it is told to. Where the
/// system does not say so in a file, none was.
fn is_stopped(pid: u32) -> bool {
    // The name before the state may hold anything, brackets too.
    let told = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    told.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// What is said of a run whose process was stopped, and how to go on.
pub fn stopped(run: &RunId, pid: u32) -> Option<(String, String)> {
    let cure = || format!("kill -CONT {pid} lets it go on; kill -KILL {pid} ends it, then: trees resume {run}");
    is_stopped(pid).then(|| (format!("process {pid}, which holds run {run}, is stopped"), cure()))
}

/// Whether there is such a process.
pub fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
