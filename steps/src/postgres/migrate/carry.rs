//! Carrying files out: the lock, one file forth with its entry, one back.

use super::super::session::{Writer, get};
use super::folder::{Migration, Mode, Script};
use super::ledger::{Entry, Ledger};
use super::statements::Statement;
use std::time::{Duration, Instant};
use tokio_postgres::Error;
use tokio_postgres::error::ErrorPosition;
use trees_core::units;
use trees_runner::kind::{Cx, KindError};

/// Between two tries for the lock.
const AGAIN: Duration = Duration::from_millis(200);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Waiting for other migrations.
    pub wait: Duration,
    /// Waiting for a lock of others on a table.
    pub lock: Duration,
    /// One statement of a file.
    pub statement: Duration,
}

impl Limits {
    /// All statements of a file, each of which the server watches.
    fn file(self, script: &Script) -> Duration {
        self.statement.saturating_mul(u32::try_from(script.statements().len()).unwrap_or(u32::MAX).max(1))
    }
}

/// Takes the lock that holds other migrations off; it ends with the session.
///
/// # Errors
/// When another has it for too long; it is named.
pub async fn lock(writer: &Writer, ledger: &Ledger, limits: Limits, cx: &Cx) -> Result<(), KindError> {
    let (begun, key) = (Instant::now(), ledger.key());
    let mut told = false;
    loop {
        let rows =
            writer.rows("take the lock of migrations", "SELECT pg_try_advisory_lock($1::bigint) AS taken", &[&key.to_string()]).await?;
        if rows.first().map_or(Ok(false), |row| get(row, "taken"))? {
            return Ok(());
        }
        let holder = holder(writer, key).await?;
        if begun.elapsed() >= limits.wait {
            let message = format!("another migration of this database goes on, {holder}; waited {}", units::show(limits.wait));
            return Err(KindError::transient(message).help("wait for it, or raise `wait`; the lock ends with that session"));
        }
        if !told {
            cx.log(format!("waiting for another migration of this database: {holder}"));
            told = true;
        }
        cx.sleep(AGAIN.min(limits.wait)).await?;
    }
}

async fn holder(writer: &Writer, key: i64) -> Result<String, KindError> {
    let key = key.cast_unsigned();
    let select = "SELECT format('process %s of %s (%s), connected since %s', a.pid, a.usename, a.application_name, \
                  to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) AS holder \
                  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_database d ON d.oid = l.database \
                  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database() \
                  AND l.classid = $1::oid AND l.objid = $2::oid";
    let params = [(key >> 32).to_string(), (key & 0xFFFF_FFFF).to_string()];
    let rows = writer.rows("look who has the lock of migrations", select, &[&params[0], &params[1]]).await?;
    rows.first().map_or(Ok("already at its end".into()), |row| get(row, "holder"))
}

/// Applies one file, with its entry in the ledger.
///
/// # Errors
/// What the server says, with the line.
pub async fn forth(
    writer: &Writer,
    ledger: &Ledger,
    migration: &Migration,
    by: &(String, String),
    limits: Limits,
) -> Result<Duration, KindError> {
    let (name, script) = (migration.name.clone(), &migration.up);
    let mut entry = Entry { version: migration.version, name, sha256: script.sha256.clone(), by: by.clone(), begun: false };
    let begun = Instant::now();
    if script.mode == Mode::Transaction {
        within(writer, script, limits).await?;
        ledger.write(writer, &entry, Some(begun.elapsed().as_millis())).await?;
        commit(writer, &entry.name).await?;
        return Ok(begun.elapsed());
    }
    entry.begun = true;
    ledger.write(writer, &entry, None).await?;
    match alone(writer, script, limits).await {
        Ok(()) => ledger.write(writer, &entry, Some(begun.elapsed().as_millis())).await?,
        Err((done, wrong)) => {
            if done == 0 {
                ledger.strike(writer, entry.version).await?;
            }
            return Err(wrong);
        }
    }
    Ok(begun.elapsed())
}

/// Takes one file back, with its entry.
///
/// # Errors
/// What the server says, with the line.
pub async fn back(writer: &Writer, ledger: &Ledger, version: i64, name: &str, script: &Script, limits: Limits) -> Result<(), KindError> {
    if script.mode == Mode::Transaction {
        within(writer, script, limits).await?;
        ledger.strike(writer, version).await?;
        return commit(writer, name).await;
    }
    // One that may be run again is, until it came to its end.
    let took = if script.mode == Mode::Alone { Some(ledger.doubt(writer, version).await?) } else { None };
    match (alone(writer, script, limits).await, took) {
        (Ok(()), _) => ledger.strike(writer, version).await,
        (Err((0, wrong)), Some(took)) => {
            // The first error is the one to tell.
            let _ = ledger.undone(writer, version, &took).await;
            Err(wrong)
        }
        (Err((_, wrong)), _) => Err(wrong),
    }
}

/// Begins a transaction and runs the file in it.
async fn within(writer: &Writer, script: &Script, limits: Limits) -> Result<(), KindError> {
    writer.afresh(limits.statement, limits.lock).await?;
    writer.run("begin a transaction", "BEGIN").await?;
    if let Err(e) = writer.attempt(&running(script), limits.file(script), &script.text).await? {
        let wrong = failed(writer, script, None, &e);
        // The first error is the one to tell.
        let _ = writer.run("roll back", "ROLLBACK").await;
        return Err(wrong);
    }
    writer.run("go on after the file", "RESET SESSION AUTHORIZATION; RESET ROLE").await
}

async fn commit(writer: &Writer, name: &str) -> Result<(), KindError> {
    writer.run(&format!("commit `{name}`"), "COMMIT").await
}

/// Runs the statements of a file each for itself; how many were done when one failed. It may wait for all
/// others, as CREATE INDEX CONCURRENTLY does.
async fn alone(writer: &Writer, script: &Script, limits: Limits) -> Result<(), (usize, KindError)> {
    writer.afresh(limits.statement, Duration::ZERO).await.map_err(|e| (0, e))?;
    for (done, statement) in script.statements().iter().enumerate() {
        let answer = writer.attempt(&running(script), limits.statement, &statement.text).await.map_err(|e| (done + 1, e))?;
        if let Err(e) = answer {
            let mut wrong = failed(writer, script, Some(statement), &e);
            if done > 0 {
                wrong.message = format!("{}; the {done} before it in the file stay done", wrong.message);
            }
            return Err((done, wrong));
        }
    }
    writer.run("go on after the file", "RESET SESSION AUTHORIZATION; RESET ROLE").await.map_err(|e| (usize::MAX, e))
}

fn running(script: &Script) -> String {
    format!("run `{}`", script.path.display())
}

/// With the line, where the server tells it or the statement is known that was sent by itself.
fn failed(writer: &Writer, script: &Script, alone: Option<&Statement>, error: &Error) -> KindError {
    let wrong = writer.failed(&running(script), error);
    let character = match error.as_db_error().and_then(|answer| answer.position()) {
        Some(ErrorPosition::Original(character)) => Some(*character as usize),
        Some(ErrorPosition::Internal { .. }) | None => None,
    };
    let line = match (alone, character) {
        (Some(statement), character) => statement.line + line(&statement.text, character.unwrap_or(1)) - 1,
        (None, Some(character)) => line(&script.text, character),
        (None, None) => return wrong,
    };
    KindError { message: format!("line {line}: {}", wrong.message), ..wrong }
}

/// The line in which a character stands; both from 1.
fn line(text: &str, character: usize) -> usize {
    text.chars().take(character.saturating_sub(1)).filter(|c| *c == '\n').count() + 1
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_character_stands_in_its_line() {
        for (character, expected) in [(0, 1), (1, 1), (2, 1), (3, 2), (5, 3), (99, 3)] {
            assert_eq!(super::line("ä\nb\nc", character), expected, "{character}");
        }
    }
}
