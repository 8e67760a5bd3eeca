//! Runs as listings show them, from what is derived.

use crate::error::Fault;
use crate::schema::SEQ;
use crate::state::State;
use jiff::Timestamp;
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use trees_core::event::{Progress, RunStatus};
use trees_core::journal::{JournalError, RunFilter, RunSummary};
use trees_core::path::RunId;

impl State {
    /// Runs, newest first. A run without events (its process died while making it) is none.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, JournalError> {
        let rows = self.read(|db| rows(db, filter))?;
        let mut runs = Vec::new();
        for mut run in rows {
            self.settle(&mut run)?;
            if !filter.statuses.is_empty() && !filter.statuses.contains(&run.status) {
                continue;
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
        let mut run = found.ok_or_else(|| JournalError::Unknown(run.0.clone()))?;
        self.settle(&mut run)?;
        Ok(run)
    }

    /// What the record cannot know: whether the process that drives the run still lives.
    fn settle(&self, run: &mut RunSummary) -> Result<(), JournalError> {
        if run.status.is_ended() {
            return Ok(());
        }
        run.pid = self.driver(&run.run)?;
        if run.pid.is_none() && matches!(run.status, RunStatus::Pending | RunStatus::Running | RunStatus::RollingBack) {
            run.status = RunStatus::Interrupted;
        }
        Ok(())
    }
}

const COLUMNS: &str = "id, tree, number, file, environment, status, coalesce(started, created), finished, done, failed, total";

fn rows(db: &Connection, filter: &RunFilter) -> Result<Vec<RunSummary>, Fault> {
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

fn summary(row: &Row<'_>) -> Result<RunSummary, Fault> {
    let number = |column| -> Result<u64, rusqlite::Error> { Ok(row.get::<_, i64>(column)?.unsigned_abs()) };
    let progress = match row.get::<_, Option<i64>>(10)? {
        Some(total) => Some(Progress { done: number(8)?, failed: number(9)?, total: total.unsigned_abs() }),
        None => None,
    };
    Ok(RunSummary {
        run: RunId(row.get(0)?),
        tree: row.get(1)?,
        number: number(2)?,
        file: row.get(3)?,
        environment: row.get(4)?,
        status: word(&row.get::<_, String>(5)?)?,
        started: time(row.get(6)?)?.unwrap_or_default(),
        finished: time(row.get(7)?)?,
        progress,
        seq: number(11)?,
        pid: None,
    })
}

/// A status by its word.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| Fault::Damaged(error.to_string()))
}

fn time(micros: Option<i64>) -> Result<Option<Timestamp>, Fault> {
    micros.map(|micros| Timestamp::from_microsecond(micros).map_err(|error| Fault::Damaged(error.to_string()))).transpose()
}
