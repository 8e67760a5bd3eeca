//! What is derived from events, in the transaction that writes them: the status of runs and steps,
//! results for the cache, which artifacts a run names. All of it can be dropped and made again.

use crate::body;
use crate::error::Fault;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use trees_core::event::{ArtifactRef, Digests, Event, EventKind, Json, Resolution, RunStatus, StepStatus};

/// An event made ready for the database, outside the writing thread.
pub(crate) struct Row {
    columns: body::Columns,
    sum: body::Sum,
    step: Option<StepChange>,
    run: Option<RunChange>,
    result: Option<(Option<String>, Option<String>)>,
    artifacts: Vec<String>,
}

#[derive(Clone, Copy)]
enum Ends {
    No,
    Yes,
}

struct StepChange {
    status: StepStatus,
    /// The attempt begins: what it is made of.
    begins: bool,
    ends: Ends,
    digest: Option<[u8; 16]>,
}

enum RunChange {
    Started { file: String, environment: String },
    Resumed,
    RollsBack,
    Rests(RunStatus),
    Ended(RunStatus),
}

/// What is equal when a result may stand for a step.
pub(crate) fn result_digest(definition: &str, input: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(definition.as_bytes());
    hash.update([0]);
    hash.update(input.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

/// The sum over a result.
pub(crate) fn result_sum(digest: &[u8; 16], outputs: Option<&str>, artifacts: Option<&str>) -> body::Sum {
    body::sum([Some(trees_core::hash::hex(digest).as_str()), outputs, artifacts])
}

impl Row {
    /// Everything that costs time and needs no database.
    pub(crate) fn of(event: &Event) -> Result<Self, serde_json::Error> {
        let (word, text) = body::encode(&event.kind)?;
        let columns = body::Columns {
            seq: event.seq,
            ts: event.ts.as_microsecond(),
            word,
            step: event.step.as_ref().map(|path| path.0.clone()),
            attempt: event.attempt,
            actor: event.actor.clone(),
            body: text,
        };
        let artifacts = artifacts(&event.kind).into_iter().flatten().map(|(_, kept)| kept.sha256.clone()).collect();
        let sum = columns.sum(&event.run);
        Ok(Self { columns, sum, step: step_change(&event.kind), run: run_change(&event.kind), result: result(&event.kind)?, artifacts })
    }

    /// The same, but its result stands for no other step.
    pub(crate) fn without_result(self) -> Self {
        Self { result: None, ..self }
    }

    /// Writes the event itself.
    pub(crate) fn insert(&self, db: &Connection, run: i64) -> Result<(), Fault> {
        let c = &self.columns;
        db.prepare_cached("INSERT INTO events (run, seq, ts, type, step, attempt, actor, body, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![run, c.seq as i64, c.ts, c.word, c.step, c.attempt, c.actor, c.body, self.sum])?;
        Ok(())
    }

    /// Writes what follows from it.
    pub(crate) fn project(&self, db: &Connection, run: i64, id: &str, tree: &str) -> Result<(), Fault> {
        if let Some(change) = &self.run {
            self.project_run(db, run, change)?;
        }
        if let (Some(change), Some(path)) = (&self.step, &self.columns.step) {
            let digest = self.project_step(db, run, path, change)?;
            if let (Some((outputs, artifacts)), Some(digest)) = (&self.result, digest) {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO results (digest, tree, run, step, outputs, artifacts, ts, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    digest,
                    tree,
                    id,
                    path,
                    outputs,
                    artifacts,
                    self.columns.ts,
                    result_sum(&digest, outputs.as_deref(), artifacts.as_deref())
                ])?;
            }
        }
        for sha256 in &self.artifacts {
            db.prepare_cached("INSERT OR IGNORE INTO uses (run, sha256) VALUES (?, ?)")?.execute(params![run, sha256])?;
        }
        Ok(())
    }

    fn project_run(&self, db: &Connection, run: i64, change: &RunChange) -> Result<(), Fault> {
        match change {
            RunChange::Started { file, environment } => {
                db.prepare_cached("UPDATE runs SET status = 'running', started = ?, file = ?, environment = ? WHERE n = ?")?
                    .execute(params![self.columns.ts, file, environment, run])?;
            }
            RunChange::Resumed => {
                db.prepare_cached("UPDATE runs SET status = 'running', finished = NULL, total = NULL WHERE n = ?")?.execute([run])?;
            }
            RunChange::RollsBack => {
                db.prepare_cached("UPDATE runs SET status = 'rolling_back', finished = NULL, total = NULL WHERE n = ?")?.execute([run])?;
            }
            RunChange::Rests(status) => {
                db.prepare_cached("UPDATE runs SET status = ? WHERE n = ?")?.execute(params![status.as_str(), run])?;
            }
            RunChange::Ended(status) => {
                let (done, failed, total) = count(db, run)?;
                db.prepare_cached("UPDATE runs SET status = ?, finished = ?, done = ?, failed = ?, total = ? WHERE n = ?")?
                    .execute(params![status.as_str(), self.columns.ts, done as i64, failed as i64, total as i64, run])?;
            }
        }
        Ok(())
    }

    fn project_step(&self, db: &Connection, run: i64, path: &str, change: &StepChange) -> Result<Option<[u8; 16]>, Fault> {
        let ts = self.columns.ts;
        let ended = matches!(change.ends, Ends::Yes).then_some(ts);
        let started = change.begins.then_some(ts);
        let digest = db
            .prepare_cached(STEP)?
            .query_row(
                params![
                    run,
                    path,
                    change.status.as_str(),
                    self.columns.attempt.unwrap_or(0),
                    started,
                    ended,
                    self.columns.seq as i64,
                    change.digest
                ],
                |row| row.get(0),
            )
            .optional()?;
        Ok(digest.flatten())
    }
}

/// A step that begins afresh forgets when it ended; one that is tried again keeps when it began.
const STEP: &str = "
INSERT INTO steps (run, path, status, attempts, started, finished, settled, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (run, path) DO UPDATE SET
    status = ?3,
    attempts = max(attempts, ?4),
    started = CASE WHEN ?5 IS NULL OR (status IN ('running', 'retry_wait', 'waiting', 'interrupted') AND started IS NOT NULL)
        THEN started ELSE ?5 END,
    finished = CASE WHEN ?5 IS NULL THEN coalesce(?6, finished) END,
    settled = ?7,
    digest = CASE WHEN ?5 IS NULL THEN coalesce(?8, digest) ELSE ?8 END
RETURNING digest";

/// Leaves (steps without steps below them) that ended well, that failed, and all.
pub(crate) fn count(db: &Connection, run: i64) -> Result<(u64, u64, u64), rusqlite::Error> {
    let mut statement = db.prepare_cached(
        "SELECT s.status, count(*) FROM steps s WHERE s.run = ?1 AND s.path NOT LIKE 'environment:%'
            AND NOT EXISTS (SELECT 1 FROM steps c WHERE c.run = ?1 AND c.path > s.path || '/' AND c.path < s.path || '0')
            AND NOT EXISTS (SELECT 1 FROM steps c WHERE c.run = ?1 AND c.path > s.path || '[' AND c.path < s.path || '\\')
         GROUP BY s.status",
    )?;
    let rows = statement.query_map([run], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let (mut done, mut failed, mut total) = (0, 0, 0);
    for row in rows {
        let (status, n) = row?;
        let n = u64::try_from(n).unwrap_or(0);
        total += n;
        match status.as_str() {
            "succeeded" | "cached" | "skipped" => done += n,
            "failed" | "timed_out" | "cancelled" | "blocked" | "rejected" | "undo_failed" => failed += n,
            _ => {}
        }
    }
    Ok((done, failed, total))
}

fn artifacts(kind: &EventKind) -> Option<&BTreeMap<String, ArtifactRef>> {
    let (EventKind::ActionSucceeded { artifacts, .. }
    | EventKind::StepSucceeded { artifacts, .. }
    | EventKind::StepCached { artifacts, .. }) = kind
    else {
        return None;
    };
    Some(artifacts)
}

type ResultColumns = (Option<String>, Option<String>);

fn result(kind: &EventKind) -> Result<Option<ResultColumns>, serde_json::Error> {
    let (EventKind::StepSucceeded { outputs, artifacts } | EventKind::StepCached { outputs, artifacts, .. }) = kind else {
        return Ok(None);
    };
    let outputs = if *outputs == Json::Null { None } else { Some(outputs.to_string()) };
    let artifacts = if artifacts.is_empty() { None } else { Some(serde_json::to_string(artifacts)?) };
    Ok(Some((outputs, artifacts)))
}

fn run_change(kind: &EventKind) -> Option<RunChange> {
    match kind {
        EventKind::RunStarted(started) => Some(RunChange::Started { file: started.file.clone(), environment: started.environment.clone() }),
        EventKind::RunResumed { .. } => Some(RunChange::Resumed),
        EventKind::RunSuspended { status, .. } => Some(RunChange::Rests(*status)),
        EventKind::RunFinished { status, .. } => Some(RunChange::Ended(*status)),
        EventKind::RollbackStarted(_) => Some(RunChange::RollsBack),
        EventKind::CancelRequested { .. }
        | EventKind::StepStarted { .. }
        | EventKind::ActionSucceeded { .. }
        | EventKind::StepSucceeded { .. }
        | EventKind::StepCached { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepReopened { .. }
        | EventKind::StepBlocked { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepTimedOut { .. }
        | EventKind::StepCancelled { .. }
        | EventKind::StepInterrupted { .. }
        | EventKind::StepResolved { .. }
        | EventKind::StepExpanded { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::AttemptFailed { .. }
        | EventKind::ApprovalRequested { .. }
        | EventKind::ApprovalGiven { .. }
        | EventKind::ApprovalRejected { .. }
        | EventKind::ApprovalExpired
        | EventKind::IntentRecorded { .. }
        | EventKind::UndoStarted
        | EventKind::UndoSucceeded
        | EventKind::UndoFailed { .. } => None,
    }
}

fn step_change(kind: &EventKind) -> Option<StepChange> {
    let to = |status, ends| Some(StepChange { status, begins: false, ends, digest: None });
    let digest = |digests: &Option<Digests>| digests.as_ref().filter(|d| d.reusable).map(|d| result_digest(&d.definition, &d.input));
    match kind {
        EventKind::RunStarted(_)
        | EventKind::RunResumed { .. }
        | EventKind::RunSuspended { .. }
        | EventKind::RunFinished { .. }
        | EventKind::CancelRequested { .. }
        | EventKind::RollbackStarted(_)
        | EventKind::IntentRecorded { .. }
        | EventKind::StepExpanded { .. } => None,
        EventKind::StepStarted { digests, .. } => {
            Some(StepChange { status: StepStatus::Running, begins: true, ends: Ends::No, digest: digest(digests) })
        }
        EventKind::ActionSucceeded { .. } => to(StepStatus::Running, Ends::No),
        EventKind::StepSucceeded { .. } => to(StepStatus::Succeeded, Ends::Yes),
        EventKind::StepCached { digests, .. } => {
            Some(StepChange { status: StepStatus::Cached, begins: false, ends: Ends::Yes, digest: digest(digests) })
        }
        EventKind::StepReopened { .. } => to(StepStatus::Pending, Ends::No),
        EventKind::StepSkipped { .. } => to(StepStatus::Skipped, Ends::Yes),
        EventKind::StepBlocked { .. } => to(StepStatus::Blocked, Ends::Yes),
        EventKind::StepFailed { .. } => to(StepStatus::Failed, Ends::Yes),
        EventKind::StepTimedOut { .. } | EventKind::ApprovalExpired => to(StepStatus::TimedOut, Ends::Yes),
        EventKind::StepCancelled { .. } => to(StepStatus::Cancelled, Ends::Yes),
        EventKind::StepInterrupted { .. } => to(StepStatus::Interrupted, Ends::Yes),
        EventKind::StepResolved { resolution, .. } => match resolution {
            Resolution::Done | Resolution::Skip => to(StepStatus::Succeeded, Ends::Yes),
            Resolution::Retry => to(StepStatus::Pending, Ends::No),
            Resolution::Fail => to(StepStatus::Failed, Ends::Yes),
            Resolution::Undone => to(StepStatus::Undone, Ends::Yes),
        },
        EventKind::StepWaiting { .. } | EventKind::ApprovalRequested { .. } => to(StepStatus::Waiting, Ends::No),
        EventKind::AttemptFailed { .. } => to(StepStatus::RetryWait, Ends::No),
        EventKind::ApprovalGiven { .. } => to(StepStatus::Succeeded, Ends::Yes),
        EventKind::ApprovalRejected { .. } => to(StepStatus::Rejected, Ends::Yes),
        EventKind::UndoStarted => to(StepStatus::Undoing, Ends::No),
        EventKind::UndoSucceeded => to(StepStatus::Undone, Ends::Yes),
        EventKind::UndoFailed { .. } => to(StepStatus::UndoFailed, Ends::Yes),
    }
}
