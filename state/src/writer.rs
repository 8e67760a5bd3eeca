//! The one desk of this process where is written: all work that waits is done in one transaction and
//! answered only when that is durable, so that many share one fsync. Who comes when nobody else is
//! there does his work at the desk himself; else the writing thread does it for him.

use crate::database::Place;
use crate::error::{Fault, sql_message, unusable};
use crate::flock::{Flock, Turn};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use trees_core::journal::JournalError;
use trees_points::{Point, hit};

/// Work that shares one commit.
const MOST: usize = 256;
/// How long work may wait for its turn: another process would have to be stopped inside a commit.
const PATIENCE: Duration = Duration::from_secs(60);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const ABANDONED: u8 = 2;

/// The writing thread's door.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    desk: Arc<Mutex<Desk>>,
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the connection and begins to wait for work.
    pub(crate) fn start(place: &Place) -> Result<Self, JournalError> {
        let db = place.writer().map_err(|fault| fault.explain(&place.folder))?;
        place.name_log(&db).map_err(|fault| fault.explain(&place.folder))?;
        let queue = place.write_lock()?;
        let (jobs, inbox) = channel();
        let desk = Arc::new(Mutex::new(Desk { folder: place.folder.clone(), db, queue }));
        let shared = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("trees-journal".into()).spawn(move || work(&shared, &inbox));
        let thread = thread.map_err(|error| unusable(&place.folder, format!("starting the writing thread failed: {error}")))?;
        Ok(Self { folder: place.folder.clone(), desk, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Does the work in a transaction; `Ok` means that it is durable, an error that nothing of it
    /// was written.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (answer, result) = sync_channel(1);
        let state = Arc::new(AtomicU8::new(WAITING));
        let job: Box<dyn Job> = Box::new(Task { work: Some(work), result: None, state: Arc::clone(&state), answer });
        let gone = || unusable(&self.folder, "the writing thread has ended; run the command again");
        if let Err(job) = self.at_once(job) {
            self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(gone)?;
        }
        match result.recv_timeout(PATIENCE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => match state.compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => Err(unusable(&self.folder, "another `trees` has been writing for a minute; is it stopped? continue or end it")),
                Err(_) => result.recv().unwrap_or_else(|_| Err(gone())),
            },
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    /// Does the work on this thread if nobody is at the desk, here or in another process: two
    /// changes of threads cost more than the work itself. Else gives it back.
    fn at_once(&self, job: Box<dyn Job>) -> Result<(), Box<dyn Job>> {
        // A poisoned desk is the writing thread's to tell.
        let Ok(desk) = self.desk.try_lock() else { return Err(job) };
        let Some(turn) = desk.queue.try_turn() else { return Err(job) };
        desk.serve(vec![job], Ok(turn));
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It panicked: nothing is left to be done.
            let _ = thread.join();
        }
    }
}

/// A piece of work whose answer has some type.
trait Job: Send {
    /// Whether somebody still waits for it.
    fn begin(&self) -> bool;
    /// Does it; false where it refused and what it wrote must go.
    fn run(&mut self, db: &Connection) -> bool;
    /// What SQLite said to it, if it said no.
    fn trouble(&self) -> Option<String>;
    /// Answers; `failure` where the transaction as a whole came to nothing.
    fn settle(self: Box<Self>, failure: Option<JournalError>, folder: &std::path::Path);
}

struct Task<T, F> {
    work: Option<F>,
    result: Option<Result<T, Fault>>,
    state: Arc<AtomicU8>,
    answer: SyncSender<Result<T, JournalError>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, Fault> + Send> Job for Task<T, F> {
    fn begin(&self) -> bool {
        self.state.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn run(&mut self, db: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(db));
        matches!(self.result, Some(Ok(_)))
    }

    fn trouble(&self) -> Option<String> {
        match &self.result {
            Some(Err(Fault::Sql(error))) => Some(sql_message(error)),
            Some(Ok(_) | Err(Fault::Refused(_) | Fault::Unfit(_) | Fault::Damaged(_))) | None => None,
        }
    }

    fn settle(self: Box<Self>, failure: Option<JournalError>, folder: &std::path::Path) {
        let result = match (self.result, failure) {
            (Some(Err(fault)), _) => Err(fault.explain(folder)),
            (_, Some(failure)) => Err(failure),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(unusable(folder, "the work was not begun")),
        };
        // Nobody waits any more: nothing to tell.
        let _ = self.answer.send(result);
    }
}

#[derive(Debug)]
struct Desk {
    folder: PathBuf,
    db: Connection,
    queue: Flock,
}

/// The writing thread.
fn work(desk: &Mutex<Desk>, inbox: &Receiver<Box<dyn Job>>) {
    while let Ok(first) = inbox.recv() {
        let Ok(desk) = desk.lock() else { return };
        let turn = desk.queue.wait();
        let mut batch = vec![first];
        batch.extend(inbox.try_iter().take(MOST - 1));
        batch.retain(|job| job.begin());
        desk.serve(batch, turn);
    }
}

impl Desk {
    /// Commits a batch, ends the turn and answers.
    fn serve(&self, mut batch: Vec<Box<dyn Job>>, turn: Result<Turn<'_>, JournalError>) {
        let failure = match &turn {
            Ok(_) => self.commit(&mut batch).err(),
            Err(error) => Some(error.to_string()),
        };
        drop(turn);
        for job in batch {
            job.settle(failure.as_ref().map(|message| unusable(&self.folder, message.clone())), &self.folder);
        }
    }

    /// All of the batch in one transaction; one piece that refuses takes only its own back.
    fn commit(&self, batch: &mut [Box<dyn Job>]) -> Result<(), String> {
        if batch.is_empty() {
            return Ok(());
        }
        self.run("BEGIN IMMEDIATE")?;
        let filled = self.fill(batch);
        hit(Point::BeforeCommit);
        let done = filled.and_then(|()| self.run("COMMIT"));
        hit(Point::AfterCommit);
        if done.is_err() && !self.db.is_autocommit() {
            // The first error is the one to tell.
            let _ = self.run("ROLLBACK");
        }
        done
    }

    fn fill(&self, batch: &mut [Box<dyn Job>]) -> Result<(), String> {
        // One that is alone is taken back with the whole.
        if let [job] = batch {
            return if job.run(&self.db) { Ok(()) } else { Err(job.trouble().unwrap_or_else(|| "the work was refused".into())) };
        }
        for job in batch.iter_mut() {
            self.run("SAVEPOINT piece")?;
            let fine = job.run(&self.db);
            if self.db.is_autocommit() {
                // A full disk or a failed write: SQLite has taken everything back by itself.
                return Err(job.trouble().unwrap_or_else(|| "the database took the transaction back".into()));
            }
            if !fine {
                self.run("ROLLBACK TO piece")?;
            }
            self.run("RELEASE piece")?;
        }
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<(), String> {
        let done = self.db.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        done.map(|_| ()).map_err(|error| sql_message(&error))
    }
}
