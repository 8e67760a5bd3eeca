//! Who changed what: one entry a change, written in the transaction of the change. Each entry holds
//! the digest of the one before, so that nobody takes one out or rewrites one unseen.
//!
//! The newest entry is known a second time in `audit_head`; entries outlive the runs they are about.

use crate::error::Fault;
use crate::state::State;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use trees_core::hash;
use trees_core::journal::JournalError;

/// What the first entry holds for the one before it.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who acts, from where, with which command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Witness {
    /// The person on this machine, `user@host`.
    pub actor: String,
    /// The user's number.
    pub uid: u32,
    /// The process.
    pub pid: u32,
    /// The working folder.
    pub folder: String,
    /// A person sits at a terminal.
    pub terminal: bool,
    /// The address of the other end of a remote login, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The command with its arguments, without secrets.
    pub command: Vec<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1, without gaps.
    pub n: u64,
    /// When.
    pub ts: Timestamp,
    /// Who.
    #[serde(flatten)]
    pub witness: Witness,
    /// What was done: `run_created`, `run_held`, `run_asked`, `run_amended`, `run_imported`, `runs_removed`,
    /// `artifacts_removed`, `secret_set`, `secret_generated`, `secret_removed`.
    pub change: String,
    /// The run it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What was there before; `null`: nothing.
    pub before: Value,
    /// What is there now; `null`: nothing.
    pub after: Value,
    /// The digest of the entry before.
    pub previous: String,
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only about this run.
    pub run: Option<String>,
    /// At most so many, the newest; 0: all.
    pub limit: usize,
}

/// How the chain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// How many entries there are.
    pub entries: u64,
    /// The digest of the newest; keep it elsewhere, and nobody rewrites what came before unseen.
    pub head: String,
    /// The first link that does not hold.
    pub broken: Option<Broken>,
}

/// A link that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The number of the entry.
    pub n: u64,
    /// What became of it: `changed`, `missing`, `reordered`, `replaced`, `cut`, `record`.
    pub why: &'static str,
    /// One sentence.
    pub text: String,
}

impl Broken {
    fn new(n: u64, why: &'static str, text: impl Into<String>) -> Self {
        Self { n, why, text: text.into() }
    }
}

/// What one transaction does.
pub(crate) struct Change<'a> {
    pub(crate) what: &'static str,
    pub(crate) run: Option<&'a str>,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

impl Witness {
    /// Writes down a change; part of the transaction that makes it.
    pub(crate) fn record(&self, db: &Connection, change: Change<'_>) -> Result<(), Fault> {
        let head = head(db)?;
        let newest: Option<i64> = db.prepare_cached("SELECT max(n) FROM audit")?.query_row([], |row| row.get(0))?;
        let n = head.0.max(newest.unwrap_or(0).unsigned_abs()) + 1;
        let entry = Entry {
            n,
            ts: Timestamp::now(),
            witness: self.clone(),
            change: change.what.into(),
            run: change.run.map(str::to_owned),
            before: change.before,
            after: change.after,
            previous: head.1,
        };
        // Through a value: its keys are sorted.
        let body = serde_json::to_value(&entry).map_err(|error| Fault::Damaged(error.to_string()))?.to_string();
        let digest = hash::bytes(body.as_bytes());
        db.prepare_cached("INSERT INTO audit (n, run, body, digest) VALUES (?, ?, ?, ?)")?
            .execute(params![n as i64, entry.run, body, digest])?;
        db.prepare_cached("INSERT OR REPLACE INTO audit_head (one, n, digest) VALUES (1, ?, ?)")?.execute(params![n as i64, digest])?;
        Ok(())
    }
}

fn head(db: &Connection) -> Result<(u64, String), Fault> {
    let columns = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?));
    let found = db.prepare_cached("SELECT n, digest FROM audit_head")?.query_row([], columns).optional()?;
    Ok(found.unwrap_or((0, NOTHING.into())))
}

/// The digest of a run's events up to one: over the digest that an earlier entry saw, where there is
/// one, and all events since. So each event is read once, however many entries see it.
#[derive(Clone)]
pub(crate) struct Seen {
    /// The last event that the earlier entry saw; 0 without one.
    since: i64,
    last: i64,
    sum: Sha256,
}

impl Seen {
    /// Goes on from what was seen up to an event; from nothing where that is none.
    fn after(since: i64, digest: &str) -> Self {
        let sum = if since == 0 { Sha256::new() } else { Sha256::new_with_prefix(digest) };
        Self { since, last: since, sum }
    }

    /// All events of a run that are there now, after those that its newest entry saw.
    pub(crate) fn now(db: &Connection, run: &str) -> Result<Self, Fault> {
        let Some(n) = number_of(db, run)? else { return Ok(Self::after(0, "")) };
        let sql = "SELECT json_extract(body, '$.before.seq'), json_extract(body, '$.before.events') FROM audit
                   WHERE run = ? AND json_extract(body, '$.before.events') IS NOT NULL ORDER BY n DESC LIMIT 1";
        let before = db.prepare_cached(sql)?.query_row([run], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
        let newest: i64 = db.prepare_cached("SELECT coalesce(max(seq), 0) FROM events WHERE run = ?")?.query_row([n], |row| row.get(0))?;
        // A run that was taken away and came back may have fewer.
        let mut seen = match before {
            Some((seq, digest)) if seq <= newest => Self::after(seq, &digest),
            _ => Self::after(0, ""),
        };
        seen.read_on(db, n, i64::MAX)?;
        Ok(seen)
    }

    /// Takes the events up to one that it has not seen.
    fn read_on(&mut self, db: &Connection, run: i64, upto: i64) -> Result<(), Fault> {
        let mut statement = db.prepare_cached(
            "SELECT seq, json_array(seq, ts, type, step, attempt, actor, body) FROM events WHERE run = ? AND seq > ? AND seq <= ? ORDER BY seq",
        )?;
        let mut rows = statement.query(params![run, self.last, upto])?;
        while let Some(row) = rows.next()? {
            self.last = row.get(0)?;
            self.sum.update(row.get_ref(1)?.as_bytes().map_err(|error| Fault::Damaged(error.to_string()))?);
            self.sum.update(b"\n");
        }
        Ok(())
    }

    fn digest(self) -> String {
        hash::hex(&self.sum.finalize())
    }

    /// How the run stands, as an entry says it; what came meanwhile is seen too.
    pub(crate) fn standing(mut self, db: &Connection, run: &str) -> Result<Value, Fault> {
        let columns = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?));
        let mut statement = db.prepare_cached("SELECT n, status, epoch FROM runs WHERE id = ?")?;
        let Some((n, status, epoch)) = statement.query_row([run], columns).optional()? else { return Ok(Value::Null) };
        self.read_on(db, n, i64::MAX)?;
        let mut standing = json!({ "status": status, "epoch": epoch, "seq": self.last });
        if self.since > 0 {
            standing["since"] = self.since.into();
        }
        standing["events"] = self.digest().into();
        Ok(standing)
    }
}

fn number_of(db: &Connection, run: &str) -> Result<Option<i64>, Fault> {
    Ok(db.prepare_cached("SELECT n FROM runs WHERE id = ?")?.query_row([run], |row| row.get(0)).optional()?)
}

impl State {
    /// Says who acts from here on.
    pub fn testify(&self, witness: Witness) {
        *crate::database::locked(&self.witness) = witness;
    }

    pub(crate) fn witness(&self) -> Witness {
        crate::database::locked(&self.witness).clone()
    }

    /// The entries with their digests, the newest last.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn audit(&self, filter: &AuditFilter) -> Result<Vec<(Entry, String)>, JournalError> {
        let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT body, digest FROM audit WHERE ?1 IS NULL OR run LIKE ?1 || '%' ORDER BY n DESC LIMIT ?2")?;
            let rows = statement.query_map(params![filter.run, limit], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            let mut entries = Vec::new();
            for row in rows {
                let (body, digest) = row?;
                let entry = serde_json::from_str(&body)
                    .map_err(|error| Fault::Damaged(format!("an entry of the audit ({error}); see `trees audit --verify`")))?;
                entries.push((entry, digest));
            }
            entries.reverse();
            Ok(entries)
        })
    }

    /// Walks the chain to the first link that does not hold.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn verify_audit(&self) -> Result<Chain, JournalError> {
        self.read(|db| {
            // One moment for all that is asked.
            db.execute_batch("BEGIN")?;
            let chain = walk(db);
            db.execute_batch("COMMIT")?;
            chain
        })
    }
}

struct Link {
    n: u64,
    body: String,
    digest: String,
}

fn walk(db: &Connection) -> Result<Chain, Fault> {
    let head = head(db)?;
    let mut statement = db.prepare_cached("SELECT n, body, digest FROM audit ORDER BY n")?;
    let mut rows = statement.query([])?;
    let (mut last, mut entries, mut broken) = ((0, NOTHING.to_owned()), 0, None);
    let mut known = HashMap::new();
    while let Some(row) = rows.next()? {
        let link = Link { n: row.get::<_, i64>(0)?.unsigned_abs(), body: row.get(1)?, digest: row.get(2)? };
        entries += 1;
        if broken.is_none() {
            broken = match link.fault(&last) {
                Err(broken) => Some(broken),
                Ok(entry) => record(db, &entry, &mut known)?,
            };
        }
        last = (link.n, link.digest);
    }
    let broken = match broken {
        Some(broken) => Some(broken),
        None => end(&last, &head).or(unwitnessed(db, last.0)?),
    };
    Ok(Chain { entries, head: last.1, broken })
}

impl Link {
    /// The entry, if it follows on the one before.
    fn fault(&self, before: &(u64, String)) -> Result<Entry, Broken> {
        let n = self.n;
        if n != before.0 + 1 {
            let first = before.0 + 1;
            return Err(match n - first {
                1 => Broken::new(first, "missing", format!("entry {first} is missing")),
                _ => Broken::new(first, "missing", format!("entries {first} to {} are missing", n - 1)),
            });
        }
        if hash::bytes(self.body.as_bytes()) != self.digest {
            return Err(Broken::new(n, "changed", format!("entry {n} is not what was written: its digest is another")));
        }
        let entry: Entry =
            serde_json::from_str(&self.body).map_err(|error| Broken::new(n, "changed", format!("entry {n} cannot be read: {error}")))?;
        if entry.n != n {
            return Err(Broken::new(n, "reordered", format!("entry {} stands in the place of entry {n}", entry.n)));
        }
        if entry.previous != before.1 {
            let text = format!("entry {n} does not follow on entry {}: one of the two was replaced", before.0);
            return Err(Broken::new(n, "replaced", text));
        }
        Ok(entry)
    }
}

/// Whether the events that an entry saw are still those that are recorded; of runs that are there.
/// `known`: of each run, up to where its last entry saw it, and what is there up to then.
fn record(db: &Connection, entry: &Entry, known: &mut HashMap<String, (i64, String)>) -> Result<Option<Broken>, Fault> {
    let (Some(run), Some(seq), Some(told)) = (&entry.run, entry.before["seq"].as_i64(), entry.before["events"].as_str()) else {
        return Ok(None);
    };
    let Some(n) = number_of(db, run)? else { return Ok(None) };
    let mut seen = match (entry.before["since"].as_i64(), known.get(run)) {
        (Some(since), Some((last, digest))) if since == *last => Seen::after(since, digest),
        (_, _) => Seen::after(0, ""),
    };
    seen.read_on(db, n, seq)?;
    let (last, digest) = (seen.last, seen.digest());
    let holds = (last, digest.as_str()) == (seq, told);
    known.insert(run.clone(), (last, digest));
    if holds {
        return Ok(None);
    }
    let text = format!("the events of run {run} up to {seq} are not those that entry {} saw", entry.n);
    Ok(Some(Broken::new(entry.n, "record", text)))
}

/// Whether entries were cut off at the end.
fn end(last: &(u64, String), head: &(u64, String)) -> Option<Broken> {
    let next = last.0 + 1;
    match head.0 {
        n if n > last.0 => Some(Broken::new(next, "cut", format!("the end is cut off: entries {next} to {n} are missing"))),
        n if n < last.0 => Some(Broken::new(last.0, "cut", format!("the newest entry should be {n}, and there is {}", last.0))),
        n if head.1 != last.1 => Some(Broken::new(n, "replaced", format!("entry {n}, the newest, was replaced"))),
        _ => None,
    }
}

/// A run that no entry speaks of: its entry was cut off.
fn unwitnessed(db: &Connection, last: u64) -> Result<Option<Broken>, Fault> {
    let sql = "SELECT id FROM runs WHERE id NOT IN (SELECT run FROM audit WHERE run IS NOT NULL) ORDER BY n LIMIT 1";
    let run: Option<String> = db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(run.map(|run| Broken::new(last + 1, "cut", format!("run {run} is there, and no entry says who made it"))))
}
