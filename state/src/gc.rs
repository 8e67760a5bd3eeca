//! What is old goes: ended runs with their logs, then content that nobody names, then the oldest
//! of the cache. A run that has not ended is never touched, nor one that somebody drives.

use crate::artifacts::remove;
use crate::audit::{Change, Witness};
use crate::bundle::{DETACHED, STEPS};
use crate::error::{Fault, io_unusable};
use crate::flock::Flock;
use crate::folder;
use crate::releases::KEPT;
use crate::remains::{Strays, is_lost};
use crate::schema::SEQ;
use crate::state::State;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trees_core::event::{ArtifactRef, RunStatus};
use trees_core::hash;
use trees_core::journal::JournalError;
use trees_core::path::RunId;
use trees_points::{Point, hit};

/// Runs removed in one transaction.
const TOGETHER: usize = 64;

/// What to keep.
#[derive(Debug, Clone)]
pub struct Gc {
    /// So many runs of each tree stay, the newest; `None`: all.
    pub keep: Option<usize>,
    /// Ended runs older than this go.
    pub older: Option<SignedDuration>,
    /// So many bytes of artifacts stay, the newest.
    pub cache: u64,
    /// Content younger than this stays: a step may just be recording it.
    pub grace: Duration,
    /// Folders of runs whose record is lost go too.
    pub lost: bool,
    /// Only say what would go.
    pub dry_run: bool,
}

impl Default for Gc {
    fn default() -> Self {
        Self { keep: Some(50), older: None, cache: 5 << 30, grace: Duration::from_secs(3600), lost: false, dry_run: false }
    }
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Runs, with their events and logs.
    pub runs: Vec<RunId>,
    /// Artifacts by digest.
    pub artifacts: Vec<String>,
    /// Bytes on disk: logs and artifacts.
    pub bytes: u64,
    /// Runs whose record is lost and whose folders stay.
    pub lost: Vec<RunId>,
}

impl State {
    /// Removes what is old. On a full disk the files go first, as that takes no room, and the database
    /// follows once there is some.
    ///
    /// # Errors
    /// When the state cannot be read or written. What went before is gone.
    pub fn gc(&self, gc: &Gc) -> Result<Removed, JournalError> {
        let mut removed = Removed::default();
        let refused = match self.clear(gc, BTreeSet::new(), &mut removed) {
            Err(refused @ JournalError::State { .. }) if !gc.dry_run && folder::is_short(self.dir()) => refused,
            done => return done.map(|()| removed),
        };
        let before = removed.bytes;
        let early = self.relieve(gc, &mut removed)?;
        let freed = removed.bytes - before;
        if freed == 0 {
            return Err(refused);
        }
        match self.again()?.clear(gc, early, &mut removed) {
            Err(JournalError::State { folder, message }) => {
                let gone = format!("{} KiB of logs and artifacts are removed, what is recorded of them still stands", freed >> 10);
                Err(JournalError::State { folder, message: format!("{message}, then `trees gc` again ({gone})") })
            }
            done => done.map(|()| removed),
        }
    }

    /// Removes what is old; the content `early` is gone already.
    fn clear(&self, gc: &Gc, early: BTreeSet<String>, removed: &mut Removed) -> Result<(), JournalError> {
        for some in self.old(gc)?.chunks(TOGETHER) {
            self.remove_runs(some, gc, removed)?;
        }
        self.remove_strays(gc, removed)?;
        if !gc.dry_run {
            self.remove_aside(gc)?;
        }
        self.remove_ways_back(gc, removed)?;
        self.remove_artifacts(gc, early, removed)
    }

    /// What step kinds kept in `undo` for a rollback that no run needs any more. A record names its file.
    fn remove_ways_back(&self, gc: &Gc, removed: &mut Removed) -> Result<(), JournalError> {
        let entries = fs::read_dir(self.dir().join("undo")).into_iter().flatten();
        let mut kept: BTreeMap<String, PathBuf> =
            entries.filter_map(|entry| Some((entry.as_ref().ok()?.file_name().into_string().ok()?, entry.ok()?.path()))).collect();
        kept.retain(|_, path| Object::of(path).is_some_and(|object| object.age >= gc.grace));
        if kept.is_empty() {
            return Ok(());
        }
        let runs: BTreeSet<&str> = removed.runs.iter().map(|run| run.0.as_str()).collect();
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT r.id, e.body FROM events e JOIN runs r ON r.n = e.run WHERE e.type = 'intent_recorded'")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let (run, Some(body)) = (row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)
                    && !runs.contains(run.as_str())
                {
                    match self.recorded(&body) {
                        Some(record) => kept.retain(|name, _| !record.contains(name.as_str())),
                        // Nobody knows what it names.
                        None => kept.clear(),
                    }
                }
            }
            Ok(())
        })?;
        for path in kept.values() {
            removed.bytes += size(path);
            if !gc.dry_run {
                self.remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The runs that are to go.
    fn old(&self, gc: &Gc) -> Result<Vec<Old>, JournalError> {
        let mut old = self.read(|db| old_runs(db, gc))?;
        if !gc.lost {
            old.retain(|old| old.begun || !self.run_folder(&old.run).is_ok_and(|home| is_lost(&home)));
        }
        Ok(old)
    }

    /// Makes room where the database cannot grow, so that it can: the logs and the content that are to go
    /// with it go before it. What it still names then is missing as what was damaged is: nothing stands for
    /// it. The content that went.
    fn relieve(&self, gc: &Gc, removed: &mut Removed) -> Result<BTreeSet<String>, JournalError> {
        self.remove_strays(gc, removed)?;
        self.remove_aside(gc)?;
        let mut runs = BTreeSet::new();
        for Old { run, .. } in self.old(gc)? {
            let home = self.run_folder(&run)?;
            let Some(lock) = Flock::look(self.dir(), &home.join("lock"))? else { continue };
            if !lock.take()? || !lock.is_current() {
                continue;
            }
            for logs in [STEPS, DETACHED].map(|name| home.join(name)) {
                removed.bytes += size(&logs);
                self.remove_file(&logs)?;
            }
            runs.insert(run.0);
        }
        let mut gone = BTreeSet::new();
        for Object { sha256, size, .. } in self.fading(gc, &runs)? {
            self.remove_object(&sha256)?;
            removed.bytes += size;
            gone.insert(sha256);
        }
        Ok(gone)
    }

    fn remove_file(&self, path: &Path) -> Result<(), JournalError> {
        remove(path).map_err(|error| io_unusable(self.dir(), "removing", path, &error))
    }

    fn remove_object(&self, sha256: &str) -> Result<(), JournalError> {
        self.object(sha256).map_or(Ok(()), |path| self.remove_file(&path))
    }

    fn remove_runs(&self, runs: &[Old], gc: &Gc, removed: &mut Removed) -> Result<(), JournalError> {
        let mut held = Vec::new();
        for Old { run, begun } in runs {
            if gc.dry_run {
                if self.driver(run)?.is_none() {
                    removed.bytes += size(&self.run_folder(run)?);
                    removed.runs.push(run.clone());
                }
                continue;
            }
            match self.lock_run(run) {
                Ok(lock) => held.push((run.clone(), *begun, lock)),
                Err(JournalError::Held { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        held.iter().try_for_each(|(run, ..)| self.mark_passing(run))?;
        let ids: Vec<(String, bool)> = held.iter().map(|(run, begun, _)| (run.0.clone(), *begun)).collect();
        let witness = self.witness();
        hit(Point::BeforeRunsRemoved);
        let gone = self.write(move |db| delete_runs(db, &ids, &witness))?;
        hit(Point::RunsRemoved);
        for (run, _, lock) in held {
            if gone.contains(&run.0) {
                removed.bytes += size(&self.run_folder(&run)?);
                self.remove_home(&run)?;
                hit(Point::RunFolderRemoved);
                removed.runs.push(run);
            } else {
                self.unmark_passing(&run)?;
            }
            drop(lock);
        }
        Ok(())
    }

    /// Folders whose run is not in the database. Those of runs that had begun go only when that is asked for.
    fn remove_strays(&self, gc: &Gc, removed: &mut Removed) -> Result<(), JournalError> {
        let Strays { idle, lost } = self.strays()?;
        removed.lost.clear();
        for run in lost {
            if gc.lost && gc.dry_run {
                removed.bytes += size(&self.run_folder(&run)?);
                removed.runs.push(run);
            } else if gc.lost && self.remove_stray(&run, removed)? {
                removed.runs.push(run);
            } else {
                removed.lost.push(run);
            }
        }
        if !gc.dry_run {
            idle.iter().try_for_each(|run| self.remove_stray(run, removed).map(drop))?;
        }
        Ok(())
    }

    fn remove_stray(&self, run: &RunId, removed: &mut Removed) -> Result<bool, JournalError> {
        let home = self.run_folder(run)?;
        let lock = Flock::open(self.dir(), &home.join("lock"))?;
        // Whoever makes a run holds its lock before the run is in the database.
        let ours = lock.take()? && lock.is_current() && matches!(self.number_of(run), Err(JournalError::Unknown(_)));
        if ours {
            removed.bytes += size(&home);
            self.remove_home(run)?;
        }
        Ok(ours)
    }

    /// What a process that died had not yet renamed.
    fn remove_aside(&self, gc: &Gc) -> Result<(), JournalError> {
        let Ok(entries) = fs::read_dir(self.dir().join("artifacts")) else { return Ok(()) };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let aside = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".trees-"));
            if aside && Object::of(&path).is_some_and(|object| object.age >= gc.grace) {
                self.remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The record of an intent, opened where it is sealed; `None` where it cannot be.
    fn recorded<'b>(&self, body: &'b str) -> Option<Cow<'b, str>> {
        let event: Value = serde_json::from_str(body).ok()?;
        let part = |name: &str| event["record"][name].as_str();
        let (Some(label), Some(sealed)) = (part("sealed_as"), part("sealed")) else { return Some(body.into()) };
        Some(String::from_utf8(self.opened(label, sealed).ok()?).ok()?.into())
    }

    /// The content that is to go when these runs are gone.
    fn fading(&self, gc: &Gc, runs: &BTreeSet<String>) -> Result<Vec<Object>, JournalError> {
        let named = self.read(|db| named(db, runs))?;
        let mut objects = self.objects();
        // What nobody names first, then the oldest.
        objects.sort_by_key(|object| named.get(&object.sha256).map(|use_| use_.ts));
        let mut total: u64 = objects.iter().map(|object| object.size).sum();
        objects.retain(|object| {
            let use_ = named.get(&object.sha256);
            let wanted = use_.is_some_and(|use_| use_.needed) || (use_.is_some() && total <= gc.cache);
            let fades = !wanted && object.age >= gc.grace;
            total -= if fades { object.size } else { 0 };
            fades
        });
        Ok(objects)
    }

    /// Removes it, and what the database says of it and of what is gone `early`.
    fn remove_artifacts(&self, gc: &Gc, early: BTreeSet<String>, removed: &mut Removed) -> Result<(), JournalError> {
        let runs: BTreeSet<String> = removed.runs.iter().map(|run| run.0.clone()).collect();
        let fading = self.fading(gc, &runs)?;
        let gone: BTreeSet<String> = early.iter().chain(fading.iter().map(|object| &object.sha256)).cloned().collect();
        if !gc.dry_run && !gone.is_empty() {
            hit(Point::BeforeArtifactsForgotten);
            // The results first: what is named is there.
            self.forget(gone)?;
            hit(Point::ArtifactsForgotten);
            for object in &fading {
                self.remove_object(&object.sha256)?;
                hit(Point::ArtifactRemoved);
            }
        }
        removed.bytes += fading.iter().map(|object| object.size).sum::<u64>();
        removed.artifacts.extend(early.into_iter().chain(fading.into_iter().map(|object| object.sha256)));
        Ok(())
    }

    fn forget(&self, gone: BTreeSet<String>) -> Result<(), JournalError> {
        let witness = self.witness();
        self.write(move |db| {
            let digest = hash::json(&gone).map_err(|error| Fault::Damaged(error.to_string()))?;
            let before = json!({ "artifacts": gone.len(), "digest": digest });
            witness.record(db, Change { what: "artifacts_removed", run: None, before, after: Value::Null })?;
            forget_results(db, &gone)
        })
    }

    /// All content there is.
    fn objects(&self) -> Vec<Object> {
        let shelves = walkdir::WalkDir::new(self.dir().join("artifacts")).min_depth(2).max_depth(2);
        let entries = shelves.into_iter().filter_map(Result::ok);
        entries.filter_map(|entry| Object::of(entry.path())).filter(|object| self.object(&object.sha256).is_some()).collect()
    }
}

struct Object {
    sha256: String,
    size: u64,
    age: Duration,
}

impl Object {
    fn of(path: &Path) -> Option<Self> {
        let changed = path.symlink_metadata().ok()?.modified().ok()?;
        let sha256 = path.file_name()?.to_str()?.to_owned();
        Some(Self { sha256, size: size(path), age: changed.elapsed().unwrap_or_default() })
    }
}

/// Who names an artifact.
#[derive(Default)]
struct Use {
    /// When it was last recorded.
    ts: i64,
    /// A run that has not ended names it.
    needed: bool,
}

fn size(path: &Path) -> u64 {
    let files = walkdir::WalkDir::new(path).into_iter().filter_map(|entry| entry.ok()?.metadata().ok());
    files.filter(fs::Metadata::is_file).map(|metadata| metadata.len()).sum()
}

/// A run that is to go.
struct Old {
    run: RunId,
    /// It has events; without one its process died while making it.
    begun: bool,
}

fn old_runs(db: &Connection, gc: &Gc) -> Result<Vec<Old>, Fault> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT id, status, {SEQ}, coalesce(finished, created), row_number() OVER (PARTITION BY tree ORDER BY number DESC),
         imported IS NOT NULL FROM runs WHERE id NOT IN (SELECT run FROM (
            SELECT run, row_number() OVER (PARTITION BY project, environment ORDER BY number DESC) AS rank FROM releases
            WHERE status IN ('succeeded', 'succeeded_with_warnings')) WHERE rank <= {KEPT}) ORDER BY n"
    ))?;
    let rows = statement.query_map([], |row| {
        let (id, status): (String, String) = (row.get(0)?, row.get(1)?);
        let (seq, finished, rank): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok((id, status, seq, finished, rank, row.get::<_, bool>(5)?))
    })?;
    let limit =
        gc.older.map(|older| Timestamp::now().as_microsecond().saturating_sub(i64::try_from(older.as_micros()).unwrap_or(i64::MAX)));
    let mut old = Vec::new();
    for row in rows {
        let (id, status, seq, finished, rank, imported) = row?;
        let status: RunStatus = serde_json::from_value(status.into()).map_err(|error| Fault::Damaged(error.to_string()))?;
        let beyond = gc.keep.is_some_and(|keep| rank > i64::try_from(keep).unwrap_or(i64::MAX));
        // One from elsewhere is not awaited here.
        if seq == 0 || ((status.is_ended() || imported) && (beyond || limit.is_some_and(|limit| finished < limit))) {
            old.push(Old { run: RunId(id), begun: seq > 0 });
        }
    }
    Ok(old)
}

/// Deletes those that still are as they were when they were chosen (one that had no event may have
/// begun, and ended, since), and definitions that nobody needs any more.
fn delete_runs(db: &Connection, ids: &[(String, bool)], witness: &Witness) -> Result<Vec<String>, Fault> {
    let (mut gone, mut before) = (Vec::new(), Vec::new());
    for (id, begun) in ids {
        let there = standing(db, id)?;
        let deleted = db
            .prepare_cached(&format!(
                "DELETE FROM runs WHERE id = ? AND CASE WHEN ? THEN status IN
                 ('succeeded', 'succeeded_with_warnings', 'failed', 'cancelled', 'rolled_back', 'rollback_stuck') OR imported IS NOT NULL ELSE {SEQ} = 0 END"
            ))?
            .execute(params![id, begun])?;
        if deleted > 0 {
            gone.push(id.clone());
            before.push(there);
        }
    }
    if !gone.is_empty() {
        witness.record(db, Change { what: "runs_removed", run: None, before: json!({ "runs": before }), after: Value::Null })?;
    }
    db.execute("DELETE FROM definitions WHERE digest NOT IN (SELECT definition FROM runs UNION SELECT definition FROM amendments)", [])?;
    Ok(gone)
}

/// What goes with a run.
fn standing(db: &Connection, id: &str) -> Result<Value, Fault> {
    let mut statement = db.prepare_cached(&format!("SELECT tree, number, status, definition, {SEQ} FROM runs WHERE id = ?"))?;
    let row = statement.query_row([id], |row| {
        let (tree, number, status): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (definition, seq): (String, i64) = (row.get(3)?, row.get(4)?);
        Ok(json!({ "run": id, "tree": tree, "number": number, "status": status, "definition": definition, "seq": seq }))
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// The artifacts that results and runs name, but for these runs.
fn named(db: &Connection, without: &BTreeSet<String>) -> Result<BTreeMap<String, Use>, Fault> {
    let mut named: BTreeMap<String, Use> = BTreeMap::new();
    let mut statement = db.prepare_cached(
        "SELECT u.sha256, r.id, coalesce(r.finished, r.created), r.finished IS NULL FROM uses u JOIN runs r ON r.n = u.run",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !without.contains(&row.get::<_, String>(1)?) {
            let entry = named.entry(row.get(0)?).or_default();
            entry.ts = entry.ts.max(row.get(2)?);
            entry.needed |= row.get::<_, bool>(3)?;
        }
    }
    let mut statement = db.prepare_cached("SELECT artifacts, ts FROM results WHERE artifacts IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for sha256 in digests(&row.get::<_, String>(0)?)? {
            let entry = named.entry(sha256).or_default();
            entry.ts = entry.ts.max(row.get(1)?);
        }
    }
    Ok(named)
}

fn digests(artifacts: &str) -> Result<Vec<String>, Fault> {
    let kept: BTreeMap<String, ArtifactRef> =
        serde_json::from_str(artifacts).map_err(|error| Fault::Damaged(format!("a result: {error}")))?;
    Ok(kept.into_values().map(|artifact| artifact.sha256).collect())
}

fn forget_results(db: &Connection, gone: &BTreeSet<String>) -> Result<(), Fault> {
    let mut statement = db.prepare("SELECT digest, tree, artifacts FROM results WHERE artifacts IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?;
    for (digest, tree, artifacts) in rows.collect::<Result<Vec<_>, _>>()? {
        if digests(&artifacts)?.iter().any(|sha256| gone.contains(sha256)) {
            db.prepare_cached("DELETE FROM results WHERE digest = ? AND tree = ?")?.execute(params![digest, tree])?;
        }
    }
    Ok(())
}
