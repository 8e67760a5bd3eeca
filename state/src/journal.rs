//! The journal over SQLite.

use crate::audit::Change;
use crate::body::{self, Columns};
use crate::database::locked;
use crate::error::{Fault, unusable};
use crate::projection::Row;
use crate::schema::SEQ;
use crate::state::{Asked, State};
use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;
use std::collections::HashSet;
use std::sync::OnceLock;
use trees_core::event::{Event, Json};
use trees_core::journal::{Hold, Journal, JournalError, NewRun, Request, RequestBody};
use trees_core::path::RunId;
use trees_points::{Point, hit};

impl Journal for State {
    fn create(&self, run: &NewRun) -> Result<Box<dyn Hold>, JournalError> {
        self.create_run(run)
    }

    fn hold(&self, run: &RunId) -> Result<Box<dyn Hold>, JournalError> {
        self.hold_run(run)
    }

    fn append(&self, run: &RunId, expected_seq: u64, epoch: u64, events: &[Event], taken: &[u64]) -> Result<(), JournalError> {
        let mut rows = Vec::with_capacity(events.len());
        for (event, seq) in events.iter().zip(expected_seq + 1..) {
            if event.seq != seq || event.run != *run {
                return Err(JournalError::Fenced { expected: event.seq, found: seq });
            }
            rows.push(Row::of(event).map_err(|error| unusable(self.dir(), format!("event {seq} cannot be written as JSON: {error}")))?);
        }
        let piece = Piece { run: run.clone(), expected_seq, epoch, rows, taken: taken.to_vec() };
        self.write(move |db| piece.write(db))
    }

    fn load(&self, run: &RunId, after: u64) -> Result<Vec<Event>, JournalError> {
        let n = self.number_of(run)?;
        self.read(|db| load(db, n, run, after))
    }

    fn definition(&self, run: &RunId) -> Result<Json, JournalError> {
        let found: Option<(String, Option<String>)> = self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT r.definition, d.body FROM runs r LEFT JOIN definitions d ON d.digest = r.definition WHERE r.id = ?",
            )?;
            Ok(statement.query_row([&run.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })?;
        let (digest, body) = found.ok_or_else(|| JournalError::Unknown(run.0.clone()))?;
        let definition = body.ok_or_else(|| "it is missing".into()).and_then(|body| body::definition(&digest, &body));
        definition.map_err(|why| Fault::Damaged(format!("the definition of run {run}: {why}")).explain(self.dir()))
    }

    fn requests(&self, run: &RunId) -> Result<Vec<Request>, JournalError> {
        let mut slot = locked(&self.asked);
        let answer = self.open_requests(&mut slot, run);
        if answer.is_err() {
            *slot = None;
        }
        answer.map_err(|fault| fault.explain(self.dir()))
    }
}

impl State {
    /// Asks something of a run from elsewhere; its driver takes it up.
    ///
    /// # Errors
    /// When there is no such run, another word on the same step waits, or the state cannot be written.
    pub fn ask(&self, run: &RunId, actor: &str, body: &RequestBody) -> Result<u64, JournalError> {
        let text =
            serde_json::to_string(body).map_err(|error| unusable(self.dir(), format!("a request cannot be written as JSON: {error}")))?;
        let asks = serde_json::to_value(body).unwrap_or_default();
        let (run, actor, body, witness) = (run.clone(), actor.to_owned(), body.clone(), self.witness());
        hit(Point::BeforeRequest);
        let asked = self.write(move |db| {
            body.alone(&requests(db, &run)?).map_err(Fault::Refused)?;
            let run = run.0.as_str();
            let id: Option<i64> = db
                .prepare_cached("INSERT INTO requests (run, ts, actor, body) SELECT n, ?, ?, ? FROM runs WHERE id = ? RETURNING id")?
                .query_row(params![Timestamp::now().as_microsecond(), actor, text, run], |row| row.get(0))
                .optional()?;
            let id = id.ok_or_else(|| Fault::Refused(JournalError::Unknown(run.to_owned())))?;
            let before = db
                .prepare_cached(&format!("SELECT status, {SEQ} FROM runs WHERE id = ?"))?
                .query_row([run], |row| Ok(json!({ "status": row.get::<_, String>(0)?, "seq": row.get::<_, i64>(1)? })))?;
            let after = json!({ "request": id, "asks": asks });
            witness.record(db, Change { what: "run_asked", run: Some(run), before, after })?;
            Ok(id.unsigned_abs())
        })?;
        hit(Point::AfterRequest);
        Ok(asked)
    }

    /// Makes everything derived again from the events.
    ///
    /// # Errors
    /// When an event cannot be read, or the state cannot be written. Nothing is changed then.
    pub fn rebuild(&self) -> Result<(), JournalError> {
        self.write(|db| {
            db.execute_batch(
                "DELETE FROM begun; DELETE FROM uses; DELETE FROM results WHERE run IN (SELECT id FROM runs);
                 UPDATE runs SET status = 'pending', started = NULL, finished = NULL, done = NULL, failed = NULL, total = NULL, file = '', environment = '';",
            )?;
            let mut statement = db.prepare("SELECT n, id, tree, imported IS NOT NULL FROM runs ORDER BY n")?;
            let runs = statement.query_map([], |row| {
                Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, bool>(3)?))
            })?;
            for row in runs.collect::<Result<Vec<_>, _>>()? {
                let (n, id, tree, imported) = row;
                for event in load(db, n, &RunId(id.clone()), 0)? {
                    let row = Row::of(&event).map_err(|error| Fault::Damaged(error.to_string()))?;
                    let row = if imported { row.without_result() } else { row };
                    row.project(db, n, &id, &tree)?;
                }
            }
            Ok(())
        })
    }

    /// The number of a run inside the database.
    pub(crate) fn number_of(&self, run: &RunId) -> Result<i64, JournalError> {
        let n: Option<i64> =
            self.read(|db| Ok(db.prepare_cached("SELECT n FROM runs WHERE id = ?")?.query_row([&run.0], |row| row.get(0)).optional()?))?;
        n.ok_or_else(|| JournalError::Unknown(run.0.clone()))
    }

    fn open_requests(&self, slot: &mut Option<Asked>, run: &RunId) -> Result<Vec<Request>, Fault> {
        let asked = match slot {
            Some(asked) => asked,
            None => slot.insert(Asked { db: self.place.connect()?, version: -1, none: HashSet::new() }),
        };
        // Grows with every commit of any other connection, our own writer's too.
        let version: i64 = asked.db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version != asked.version {
            asked.version = version;
            asked.none.clear();
        }
        if asked.none.contains(run) {
            return Ok(Vec::new());
        }
        let requests = requests(&asked.db, run)?;
        if requests.is_empty() {
            asked.none.insert(run.clone());
        }
        Ok(requests)
    }
}

fn requests(db: &Connection, run: &RunId) -> Result<Vec<Request>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT q.id, q.ts, q.actor, q.body FROM requests q JOIN runs r ON r.n = q.run WHERE r.id = ? AND q.taken = 0 ORDER BY q.id",
    )?;
    let mut rows = statement.query([&run.0])?;
    let mut requests = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get::<_, i64>(0)?.unsigned_abs();
        let broken = |why: String| Fault::Damaged(format!("request {id}: {why}"));
        let ts = Timestamp::from_microsecond(row.get(1)?).map_err(|error| broken(error.to_string()))?;
        let body = serde_json::from_str(&row.get::<_, String>(3)?).map_err(|error| broken(error.to_string()))?;
        requests.push(Request { id, run: run.clone(), ts, actor: row.get(2)?, body });
    }
    Ok(requests)
}

static FENCE: OnceLock<String> = OnceLock::new();

/// One append, ready to be written.
struct Piece {
    run: RunId,
    expected_seq: u64,
    epoch: u64,
    rows: Vec<Row>,
    taken: Vec<u64>,
}

impl Piece {
    fn write(&self, db: &Connection) -> Result<(), Fault> {
        let (n, tree) = self.fence(db)?;
        for row in &self.rows {
            row.insert(db, n)?;
            row.project(db, n, &self.run.0, &tree)?;
        }
        for id in &self.taken {
            db.prepare_cached("UPDATE requests SET taken = 1 WHERE id = ? AND run = ?")?.execute(params![*id as i64, n])?;
        }
        Ok(())
    }

    /// Refuses a writer that was overtaken.
    fn fence(&self, db: &Connection) -> Result<(i64, String), Fault> {
        let mut statement = db.prepare_cached(FENCE.get_or_init(|| format!("SELECT n, tree, epoch, {SEQ} FROM runs WHERE id = ?")))?;
        let found = statement
            .query_row([&self.run.0], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs(), row.get::<_, i64>(3)?.unsigned_abs()))
            })
            .optional()?;
        let (n, tree, epoch, seq) = found.ok_or_else(|| JournalError::Unknown(self.run.0.clone()))?;
        if epoch != self.epoch {
            return Err(JournalError::Fenced { expected: self.epoch, found: epoch }.into());
        }
        if seq != self.expected_seq {
            return Err(JournalError::Fenced { expected: self.expected_seq, found: seq }.into());
        }
        Ok((n, tree))
    }
}

/// The events of a run after a number.
pub(crate) fn load(db: &Connection, n: i64, run: &RunId, after: u64) -> Result<Vec<Event>, Fault> {
    let mut statement =
        db.prepare_cached("SELECT seq, ts, type, step, attempt, actor, body, sum FROM events WHERE run = ? AND seq > ? ORDER BY seq")?;
    let mut rows = statement.query(params![n, after as i64])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = Columns {
            seq: row.get::<_, i64>(0)?.unsigned_abs(),
            ts: row.get(1)?,
            word: row.get(2)?,
            step: row.get(3)?,
            attempt: row.get(4)?,
            actor: row.get(5)?,
            body: row.get(6)?,
        };
        let wanted = after + 1 + events.len() as u64;
        if columns.seq != wanted {
            return Err(Fault::Damaged(format!("event {wanted} of run {run} is missing")));
        }
        if row.get_ref(7)? != ValueRef::Blob(&columns.sum(run)) {
            return Err(Fault::Damaged(format!("event {wanted} of run {run} is not as it was written")));
        }
        events.push(body::decode(run, columns).map_err(Fault::Damaged)?);
    }
    Ok(events)
}
