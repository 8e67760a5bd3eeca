//! The releases of each environment: what a run deployed there, how it ended, what stands of it.
//! Derived from the ends of runs; a row outlives its run.

use crate::body;
use crate::error::Fault;
use crate::state::State;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;
use trees_core::event::{DeployedStep, Event, EventKind, RunStatus};
use trees_core::journal::JournalError;
use trees_core::path::RunId;

/// So many verified releases of an environment keep their runs, so that one can go back to them.
pub(crate) const KEPT: i64 = 10;

/// One release of an environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReleaseRow {
    /// Its number among those of the environment, from 1; never given twice.
    pub number: u64,
    /// The run that deployed it.
    pub run: RunId,
    /// That run's tree.
    pub tree: String,
    /// How that run ended.
    pub status: RunStatus,
    /// It was verified: the run ended well, and so did every verify of it.
    pub verified: bool,
    /// When the run ended.
    pub at: Timestamp,
    /// What stands of it, by step.
    pub steps: Vec<DeployedStep>,
    /// The run is still kept, so one can go back to it.
    pub kept: bool,
}

/// A release on its way into the database.
pub(crate) struct Release {
    project: String,
    environment: String,
    status: RunStatus,
    ts: i64,
    steps: String,
}

impl Release {
    /// What the end of a run says of releases.
    pub fn of(event: &Event) -> Result<Vec<Self>, serde_json::Error> {
        let EventKind::RunFinished { status, deployed, .. } = &event.kind else { return Ok(Vec::new()) };
        let one = |place: &trees_core::event::Deployed| {
            Ok(Self {
                project: place.project.clone(),
                environment: place.environment.clone(),
                status: *status,
                ts: event.ts.as_microsecond(),
                steps: serde_json::to_string(&place.steps)?,
            })
        };
        deployed.iter().map(one).collect()
    }

    /// Writes it; a run that ends again (it was resumed, or taken back) keeps its number. What a run did on
    /// another machine is no release here.
    pub fn keep(&self, db: &Connection, run: &str, tree: &str) -> Result<(), Fault> {
        db.prepare_cached(
            "INSERT INTO releases (project, environment, number, run, tree, status, ts, steps, sum)
             SELECT ?1, ?2, (SELECT coalesce(max(number), 0) + 1 FROM releases WHERE project = ?1 AND environment = ?2), ?3, ?4, ?5, ?6, ?7, ?8
             WHERE EXISTS (SELECT 1 FROM runs WHERE id = ?3 AND imported IS NULL)
             ON CONFLICT (run, project, environment) DO UPDATE SET status = ?5, ts = ?6, steps = ?7, sum = ?8",
        )?
        .execute(params![
            self.project,
            self.environment,
            run,
            tree,
            self.status.as_str(),
            self.ts,
            self.steps,
            sum(run, self.status.as_str(), self.ts, &self.steps)
        ])?;
        Ok(())
    }
}

fn sum(run: &str, status: &str, ts: i64, steps: &str) -> body::Sum {
    body::sum([run, status, &ts.to_string(), steps].map(Some))
}

/// Whether what a run that ended so deployed was verified.
fn is_verified(status: RunStatus, steps: &[DeployedStep]) -> bool {
    matches!(status, RunStatus::Succeeded | RunStatus::SucceededWithWarnings) && steps.iter().all(|step| !step.failed)
}

impl State {
    /// The releases of an environment, the newest first.
    ///
    /// # Errors
    /// When the state cannot be read, or a row is not what was written.
    pub fn releases(&self, project: &str, environment: &str) -> Result<Vec<ReleaseRow>, JournalError> {
        self.read(|db| rows(db, project, environment))
    }

    /// The projects that have releases in an environment, sorted.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn projects(&self, environment: &str) -> Result<Vec<String>, JournalError> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT DISTINCT project FROM releases WHERE environment = ? ORDER BY project")?;
            let rows = statement.query_map([environment], |row| row.get(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }
}

fn rows(db: &Connection, project: &str, environment: &str) -> Result<Vec<ReleaseRow>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT number, run, tree, status, ts, steps, sum, EXISTS (SELECT 1 FROM runs WHERE id = run) FROM releases
         WHERE project = ? AND environment = ? ORDER BY number DESC",
    )?;
    let mut rows = statement.query([project, environment])?;
    let mut releases = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, run, status, ts, steps): (i64, String, String, i64, String) =
            (row.get(0)?, row.get(1)?, row.get(3)?, row.get(4)?, row.get(5)?);
        let damaged = || Fault::Damaged(format!("release {number} of {project}/{environment} is not what was recorded"));
        if row.get::<_, body::Sum>(6)? != sum(&run, &status, ts, &steps) {
            return Err(damaged());
        }
        let status: RunStatus = serde_json::from_value(status.into()).map_err(|_| damaged())?;
        let steps: Vec<DeployedStep> = serde_json::from_str(&steps).map_err(|_| damaged())?;
        releases.push(ReleaseRow {
            number: u64::try_from(number).map_err(|_| damaged())?,
            run: RunId(run),
            tree: row.get(2)?,
            status,
            verified: is_verified(status, &steps),
            at: Timestamp::from_microsecond(ts).map_err(|_| damaged())?,
            steps,
            kept: row.get(7)?,
        });
    }
    Ok(releases)
}
