//! `postgres/migrate`: the migrations of a folder, each once.

use super::name::wrong;
use super::server::Server;
use super::session::Access;
use super::{change, holds};
use crate::file::{failed, replace};
use crate::period::{Limit, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

mod carry;
mod folder;
mod ledger;
mod plan;
mod statements;
#[cfg(test)]
mod tests;

use carry::{Limits, back, forth, lock};
use folder::{Migration, Mode, read_script};
use ledger::{Entry, Ledger, parts};
use plan::pending;

/// The kind `postgres/migrate`.
pub struct Migrate;

/// What `postgres/migrate` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Which server and as whom: `postgres://USER@HOST:PORT/DATABASE` or `host=… port=… user=… dbname=…`, with
    /// `sslmode` and `sslrootcert` as libpq knows them.
    pub server: String,
    /// The password of that user; without, the step's `PGPASSWORD`.
    #[serde(default)]
    pub password: Option<String>,
    /// For connecting, and for each answer of the server but those to the files.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
    /// The database; without, the one that `server` names.
    #[serde(default)]
    pub database: Option<String>,
    /// The folder with `NUMBER_NAME.sql` and, where there is a way back, `NUMBER_NAME.down.sql`, relative to the
    /// working folder.
    pub folder: String,
    /// The ledger, `table` or `schema.table`; made when it is not there.
    #[serde(default = "ledger")]
    pub table: String,
    /// What else is an error and here is none.
    #[serde(default)]
    pub allow: Vec<Allow>,
    /// How long another migration of the database is waited for.
    #[serde(default = "crate::default::a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub wait: Period,
    /// How long a file may wait for a lock that others have on a table, while all others queue behind it.
    #[serde(default = "crate::default::ten_seconds", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub lock_timeout: Period,
    /// What one statement of a file may take.
    #[serde(default = "ten_minutes", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub statement_timeout: Period,
}

fn ledger() -> String {
    "trees_migrations".into()
}

fn ten_minutes() -> Period {
    Period::seconds(600)
}

/// What can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Allow {
    /// A number is missing between two files.
    Gaps,
    /// A file that is not applied comes before one that is.
    OutOfOrder,
    /// The database has what is not among the files.
    Missing,
}

/// What `postgres/migrate` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// What this step applied, in order.
    pub applied: Vec<String>,
    /// The highest number that the database has; 0: none.
    pub version: i64,
}

/// How migrations are taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    server: Server,
    /// The ledger, as the step calls it.
    table: String,
    /// It was not there.
    ledger_made: bool,
    /// Run and step, as they stand in the ledger.
    by: (String, String),
    /// What this step applies, and has applied in earlier attempts.
    files: Vec<Taken>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    version: i64,
    name: String,
    /// The file that takes it back and its digest, under which it is kept in the state folder.
    down: Option<(PathBuf, String)>,
}

impl Kind for Migrate {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "postgres/migrate",
        summary: "Apply the migrations that a PostgreSQL database lacks",
        doc: include_str!("migrate.md"),
        example: "tree: shop\nsecrets:\n  PG_SHOP: {}\nsteps:\n  migrate:\n    uses: postgres/migrate\n    with:\n      \
                  server: postgres://shop@127.0.0.1:5432/shop\n      password: \"{{ secrets.PG_SHOP }}\"\n      folder: migrations\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: true,
        file_inputs: &["folder"],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut found = Vec::new();
        match Server::read(&with.server) {
            Ok((server, _)) if server.database.is_none() && with.database.is_none() => {
                found.push("server: it names no database; write `…/DATABASE`, or `database`".into());
            }
            Ok(_) => {}
            Err(e) => found.push(format!("server: {e}")),
        }
        found.extend(with.database.iter().filter_map(|name| wrong("database", name)));
        let (schema, table) = parts(&with.table);
        found.extend(schema.into_iter().chain([table]).filter_map(|name| wrong("table", name)));
        found
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let files = folder::read(&cx.path(&with.folder))?;
        let reader = match access(with, cx)?.read(cx).await {
            // A database that an earlier step will make.
            Err(e) if is_gone(&e) => return Ok(Observation::Absent),
            answer => answer?,
        };
        let entries = Ledger::new(&with.table)?.read(&reader).await?.unwrap_or_default();
        let pending = pending(&files, &entries, &with.allow)?;
        Ok(if pending.is_empty() {
            Observation::Satisfied(out(Vec::new(), &entries))
        } else {
            Observation::Differs(pending.into_iter().map(planned).collect())
        })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let files = folder::read(&cx.path(&with.folder))?;
        let access = access(with, cx)?;
        let writer = access.write(cx).await?;
        let ledger = Ledger::new(&with.table)?.settled(&writer).await?;
        lock(&writer, &ledger, limits(with), cx).await?;
        let there = ledger.read(&writer).await?;
        let (ledger_made, entries) = (there.is_none(), there.unwrap_or_default());
        let pending = pending(&files, &entries, &with.allow)?;
        if pending.is_empty() {
            return Ok(out(Vec::new(), &entries));
        }
        let by = (cx.run.0.clone(), cx.step.to_string());
        let earlier = files.values().filter(|m| entries.get(&m.version).is_some_and(|entry| entry.by == by && !entry.begun));
        let files = earlier.chain(pending.iter().copied()).map(|migration| taken(migration, cx)).collect::<Result<_, _>>()?;
        cx.intend(Record { server: access.server.clone(), table: with.table.clone(), ledger_made, by: by.clone(), files }).await?;
        if ledger_made {
            ledger.make(&writer).await?;
        }
        let mut applied = Vec::new();
        for migration in &pending {
            cx.progress(Some(applied.len() as f64 / pending.len() as f64), &migration.name);
            let took = forth(&writer, &ledger, migration, &by, limits(with)).await?;
            cx.log(format!("applied {} in {} ms", migration.name, took.as_millis()));
            applied.push(migration.name.clone());
        }
        let entries = ledger.read(&writer).await?.unwrap_or_default();
        writer.close().await;
        Ok(out(applied, &entries))
    }

    async fn verify(with: &With, _out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        holds("the database", Self::observe(with, cx).await?)
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        let with: Option<With> = serde_json::from_value(Json::clone(&cx.with)).ok();
        let limits = with.as_ref().map_or(
            Limits { wait: crate::default::a_minute().0, lock: crate::default::ten_seconds().0, statement: ten_minutes().0 },
            limits,
        );
        let writer = match Access::again(&record.server, cx).write(cx).await {
            Err(e) if is_gone(&e) => {
                cx.log("the database is not there any more, so there is nothing to take back");
                return Ok(());
            }
            answer => answer?,
        };
        let ledger = Ledger::new(&record.table)?.settled(&writer).await?;
        lock(&writer, &ledger, limits, cx).await?;
        let Some(entries) = ledger.read(&writer).await? else { return Ok(()) };
        // All of it is known to be possible before the first of it is done.
        for (taken, script) in ways_back(&record, &entries, cx)? {
            back(&writer, &ledger, taken.version, &taken.name, &script, limits).await?;
            cx.log(format!("took {} back", taken.name));
        }
        if record.ledger_made {
            ledger.remove_empty(&writer).await?;
        }
        writer.close().await;
        Ok(())
    }
}

fn access(with: &With, cx: &ReadCx) -> Result<Access, KindError> {
    let access = Access::of(&with.server, with.password.as_deref(), with.timeout, cx)?;
    Ok(match &with.database {
        Some(database) => access.at(database),
        None => access,
    })
}

/// There is no such database.
fn is_gone(error: &KindError) -> bool {
    error.message.contains("(SQLSTATE 3D000)")
}

fn limits(with: &With) -> Limits {
    Limits { wait: with.wait.0, lock: with.lock_timeout.0, statement: with.statement_timeout.0 }
}

fn out(applied: Vec<String>, entries: &BTreeMap<i64, Entry>) -> Out {
    let version = entries.values().filter(|entry| !entry.begun).map(|entry| entry.version).max().unwrap_or(0);
    Out { applied, version }
}

fn planned(migration: &Migration) -> Change {
    let how = match migration.up.mode {
        Mode::Transaction => "",
        Mode::Alone | Mode::Repeatable => ", outside of a transaction",
    };
    change(migration.name.clone(), json!(null), format!("applied ({}{how})", migration.way_back()), None)
}

/// Keeps the way back as it is now: the folder may be another by then.
fn taken(migration: &Migration, cx: &Cx) -> Result<Taken, KindError> {
    let down = match &migration.down {
        Some(script) => {
            replace(&cx.state.join("undo").join(&script.sha256), script.text.as_bytes(), 0o600)?;
            Some((script.path.clone(), script.sha256.clone()))
        }
        None => None,
    };
    Ok(Taken { version: migration.version, name: migration.name.clone(), down })
}

/// What is to be taken back, the newest first, and how.
fn ways_back<'a>(record: &'a Record, entries: &BTreeMap<i64, Entry>, cx: &Cx) -> Result<Vec<(&'a Taken, folder::Script)>, KindError> {
    let mut ours: Vec<&Taken> =
        record.files.iter().filter(|taken| entries.get(&taken.version).is_some_and(|e| e.by == record.by)).collect();
    ours.sort_by_key(|taken| std::cmp::Reverse(taken.version));
    let Some(oldest) = ours.last().map(|taken| taken.version) else { return Ok(Vec::new()) };
    let names = |all: Vec<&Taken>| all.iter().rev().map(|taken| taken.name.as_str()).collect::<Vec<_>>().join(", ");
    let half: Vec<&Taken> = ours.iter().copied().filter(|taken| entries.get(&taken.version).is_some_and(|e| e.begun)).collect();
    if !half.is_empty() {
        return Err(KindError::new(format!(
            "begun outside of a transaction, and nobody knows how far it came: {}; nothing is taken back",
            names(half)
        ))
        .help("take it back by hand and delete its row in the ledger, then go on with the rollback"));
    }
    let irreversible: Vec<&Taken> = ours.iter().copied().filter(|taken| taken.down.is_none()).collect();
    if !irreversible.is_empty() {
        return Err(KindError::new(format!("irreversible, for want of a `.down.sql`: {}; nothing is taken back", names(irreversible)))
            .help("mend it with a new migration, or take it back by hand; `trees rollback --skip STEP` goes on without this step"));
    }
    let since = entries.values().find(|entry| entry.version > oldest && !ours.iter().any(|taken| taken.version == entry.version));
    if let Some(entry) = since {
        return Err(KindError::new(format!("`{}` was applied on top by the run {}; nothing is taken back", entry.name, entry.by.0))
            .help("take that back first"));
    }
    ours.into_iter()
        .filter_map(|taken| taken.down.as_ref().map(|down| (taken, down)))
        .map(|(taken, down)| Ok((taken, kept(down, cx)?)))
        .collect()
}

fn kept((path, sha256): &(PathBuf, String), cx: &Cx) -> Result<folder::Script, KindError> {
    let kept = cx.state.join("undo").join(sha256);
    let text = std::fs::read_to_string(&kept).map_err(|e| failed("cannot read the way back from", &kept, &e))?;
    read_script(path, &text)
}
