//! Runs and steps as listings show them, from what is derived.

use crate::error::Fault;
use crate::projection::count;
use crate::schema::SEQ;
use crate::state::State;
use jiff::Timestamp;
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use serde::Serialize;
use trees_core::event::{RunStatus, StepStatus};
use trees_core::journal::{JournalError, RunFilter, RunSummary};
use trees_core::path::{RunId, StepPath};

/// A step or instance as the listings show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRow {
    /// Its path.
    pub path: StepPath,
    /// Its status.
    pub status: StepStatus,
    /// How many attempts began.
    pub attempts: u32,
    /// When the first of its newest round began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// The number of the event that gave it its status; outputs and reasons stand there.
    pub settled: u64,
}

impl State {
    /// Runs, newest first. A run without events (its process died while making it) is none.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, JournalError> {
        let rows = self.read(|db| rows(db, filter))?;
        let mut runs = Vec::new();
        for (n, mut run) in rows {
            self.settle(&mut run);
            if !filter.statuses.is_empty() && !filter.statuses.contains(&run.status) {
                continue;
            }
            if run.total == 0 {
                (run.done, run.failed, run.total) = self.read(|db| Ok(count(db, n)?))?;
            }
            runs.push(run);
            if runs.len() == filter.limit {
                break;
            }
        }
        Ok(runs)
    }

    /// One run.
    ///
    /// # Errors
    /// When there is no such run, or the state cannot be read.
    pub fn run(&self, run: &RunId) -> Result<RunSummary, JournalError> {
        let n = self.number_of(run)?;
        let found = self.read(|db| {
            let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS}, {SEQ} FROM runs WHERE n = ?"))?;
            let mut rows = statement.query([n])?;
            rows.next()?.map(summary).transpose()
        })?;
        let (_, mut run) = found.ok_or_else(|| JournalError::Unknown(run.0.clone()))?;
        self.settle(&mut run);
        if run.total == 0 {
            (run.done, run.failed, run.total) = self.read(|db| Ok(count(db, n)?))?;
        }
        Ok(run)
    }

    /// The steps of a run that anything happened to, sorted by path.
    ///
    /// # Errors
    /// When there is no such run, or the state cannot be read.
    pub fn steps(&self, run: &RunId) -> Result<Vec<StepRow>, JournalError> {
        let n = self.number_of(run)?;
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT path, status, attempts, started, finished, settled FROM steps WHERE run = ? ORDER BY path")?;
            let mut rows = statement.query([n])?;
            let mut steps = Vec::new();
            while let Some(row) = rows.next()? {
                steps.push(StepRow {
                    path: StepPath(row.get(0)?),
                    status: word(&row.get::<_, String>(1)?)?,
                    attempts: row.get(2)?,
                    started: time(row.get(3)?)?,
                    finished: time(row.get(4)?)?,
                    settled: row.get::<_, i64>(5)?.unsigned_abs(),
                });
            }
            Ok(steps)
        })
    }

    /// What the record cannot know: whether the process that drives the run still lives.
    fn settle(&self, run: &mut RunSummary) {
        if run.status.is_ended() {
            return;
        }
        run.pid = self.driver(&run.run);
        if run.pid.is_none() && matches!(run.status, RunStatus::Pending | RunStatus::Running | RunStatus::RollingBack) {
            run.status = RunStatus::Interrupted;
        }
    }
}

const COLUMNS: &str = "n, id, tree, number, file, environment, status, coalesce(started, created), finished, coalesce(done, 0),
    coalesce(failed, 0), coalesce(total, 0)";

fn rows(db: &Connection, filter: &RunFilter) -> Result<Vec<(i64, RunSummary)>, Fault> {
    let mut sql = format!("SELECT {COLUMNS}, {SEQ} FROM runs WHERE {SEQ} > 0");
    let mut values: Vec<&dyn ToSql> = Vec::new();
    if let Some(tree) = &filter.tree {
        sql.push_str(" AND tree = ?");
        values.push(tree);
    }
    if filter.own {
        sql.push_str(" AND imported IS NULL");
    }
    sql.push_str(" ORDER BY n DESC");
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    // A status depends on whether the driver lives, so it is asked after.
    if filter.limit > 0 && filter.statuses.is_empty() {
        sql.push_str(" LIMIT ?");
        values.push(&limit);
    }
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut runs = Vec::new();
    while let Some(row) = found.next()? {
        runs.push(summary(row)?);
    }
    Ok(runs)
}

fn summary(row: &Row<'_>) -> Result<(i64, RunSummary), Fault> {
    let number = |column| -> Result<u64, rusqlite::Error> { Ok(row.get::<_, i64>(column)?.unsigned_abs()) };
    let run = RunSummary {
        run: RunId(row.get(1)?),
        tree: row.get(2)?,
        number: number(3)?,
        file: row.get(4)?,
        environment: row.get(5)?,
        status: word(&row.get::<_, String>(6)?)?,
        started: time(row.get(7)?)?.unwrap_or_default(),
        finished: time(row.get(8)?)?,
        done: number(9)?,
        failed: number(10)?,
        total: number(11)?,
        seq: number(12)?,
        pid: None,
    };
    Ok((row.get(0)?, run))
}

/// A status by its word.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| Fault::Damaged(error.to_string()))
}

fn time(micros: Option<i64>) -> Result<Option<Timestamp>, Fault> {
    micros.map(|micros| Timestamp::from_microsecond(micros).map_err(|error| Fault::Damaged(error.to_string()))).transpose()
}
