//! What is derived from events, in the transaction that writes them: the status of runs and steps,
//! results for the cache, which artifacts a run names. All of it can be dropped and made again.

use crate::body;
use crate::error::Fault;
use crate::releases::Release;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use trees_core::event::{ArtifactRef, Digests, Event, EventKind, Json, Progress, RunStatus};

/// An event made ready for the database, outside the writing thread.
pub(crate) struct Row {
    columns: body::Columns,
    sum: body::Sum,
    run: Option<RunChange>,
    releases: Vec<Release>,
    reuse: Option<Reuse>,
    artifacts: Vec<String>,
}

/// What an event has to do with results that may stand for other steps.
enum Reuse {
    /// An attempt begins; what its success would stand for, where it may be used again.
    Begins(Option<[u8; 16]>),
    /// It succeeded.
    Ends(ResultColumns),
    /// A result was taken over, and stands for the next ones too.
    Passes([u8; 16], ResultColumns),
}

enum RunChange {
    Started { file: String, environment: String },
    Driven(RunStatus),
    Rests { status: RunStatus, progress: Option<Progress>, ended: bool },
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
        Ok(Self { columns, sum, run: run_change(&event.kind), releases: Release::of(event)?, reuse: reuse(&event.kind)?, artifacts })
    }

    /// The same, but its result stands for no other step.
    pub(crate) fn without_result(self) -> Self {
        Self { reuse: None, ..self }
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
        for release in &self.releases {
            release.keep(db, id, tree)?;
        }
        if let (Some(reuse), Some(path)) = (&self.reuse, &self.columns.step) {
            self.project_result(db, (run, id, tree), path, reuse)?;
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
            RunChange::Driven(status) => {
                db.prepare_cached("UPDATE runs SET status = ?, finished = NULL, total = NULL WHERE n = ?")?
                    .execute(params![status.as_str(), run])?;
            }
            RunChange::Rests { status, progress, ended } => {
                let count = |of: fn(&Progress) -> u64| progress.as_ref().map(|progress| of(progress) as i64);
                db.prepare_cached("UPDATE runs SET status = ?, finished = ?, done = ?, failed = ?, total = ? WHERE n = ?")?.execute(
                    params![
                        status.as_str(),
                        ended.then_some(self.columns.ts),
                        count(|p| p.done),
                        count(|p| p.failed),
                        count(|p| p.total),
                        run
                    ],
                )?;
            }
        }
        Ok(())
    }

    /// What a success stands for is known when its attempt begins, and kept until it is there.
    fn project_result(&self, db: &Connection, of: (i64, &str, &str), path: &str, reuse: &Reuse) -> Result<(), Fault> {
        let run = of.0;
        match reuse {
            Reuse::Begins(Some(digest)) => {
                db.prepare_cached("INSERT OR REPLACE INTO begun (run, path, digest) VALUES (?, ?, ?)")?
                    .execute(params![run, path, digest])?;
            }
            Reuse::Begins(None) => {
                db.prepare_cached("DELETE FROM begun WHERE run = ? AND path = ?")?.execute(params![run, path])?;
            }
            Reuse::Ends(result) => {
                let mut begun = db.prepare_cached("DELETE FROM begun WHERE run = ? AND path = ? RETURNING digest")?;
                if let Some(digest) = begun.query_row(params![run, path], |row| row.get(0)).optional()? {
                    self.keep_result(db, of, path, (&digest, result))?;
                }
            }
            Reuse::Passes(digest, result) => self.keep_result(db, of, path, (digest, result))?,
        }
        Ok(())
    }

    fn keep_result(
        &self,
        db: &Connection,
        (_, id, tree): (i64, &str, &str),
        path: &str,
        (digest, (outputs, artifacts)): (&[u8; 16], &ResultColumns),
    ) -> Result<(), Fault> {
        let sum = result_sum(digest, outputs.as_deref(), artifacts.as_deref());
        db.prepare_cached(
            "INSERT OR REPLACE INTO results (digest, tree, run, step, outputs, artifacts, ts, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![digest, tree, id, path, outputs, artifacts, self.columns.ts, sum])?;
        Ok(())
    }
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

fn result_columns(outputs: &Json, artifacts: &BTreeMap<String, ArtifactRef>) -> Result<ResultColumns, serde_json::Error> {
    let outputs = if *outputs == Json::Null { None } else { Some(outputs.to_string()) };
    let artifacts = if artifacts.is_empty() { None } else { Some(serde_json::to_string(artifacts)?) };
    Ok((outputs, artifacts))
}

fn reuse(kind: &EventKind) -> Result<Option<Reuse>, serde_json::Error> {
    let digest = |digests: &Option<Digests>| digests.as_ref().filter(|d| d.reusable).map(|d| result_digest(&d.definition, &d.input));
    Ok(match kind {
        EventKind::StepStarted { digests, .. } => Some(Reuse::Begins(digest(digests))),
        EventKind::StepSucceeded { outputs, artifacts } => Some(Reuse::Ends(result_columns(outputs, artifacts)?)),
        EventKind::StepCached { digests, outputs, artifacts, .. } => match digest(digests) {
            Some(digest) => Some(Reuse::Passes(digest, result_columns(outputs, artifacts)?)),
            None => None,
        },
        _ => None,
    })
}

fn run_change(kind: &EventKind) -> Option<RunChange> {
    match kind {
        EventKind::RunStarted(started) => Some(RunChange::Started { file: started.file.clone(), environment: started.environment.clone() }),
        EventKind::RunResumed { .. } => Some(RunChange::Driven(RunStatus::Running)),
        EventKind::RollbackStarted(_) => Some(RunChange::Driven(RunStatus::RollingBack)),
        EventKind::RunSuspended { status, progress, .. } => Some(RunChange::Rests { status: *status, progress: *progress, ended: false }),
        EventKind::RunFinished { status, progress, .. } => Some(RunChange::Rests { status: *status, progress: *progress, ended: true }),
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
