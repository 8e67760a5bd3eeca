//! The ledger: which migrations the database has, in a table of its own.

use super::super::name::ident;
use super::super::session::{Asks, Writer, get, lock_key};
use std::collections::BTreeMap;
use tokio_postgres::Row;
use trees_runner::kind::KindError;

/// The table, `table` or `schema.table`.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// As it is called.
    pub table: String,
    quoted: String,
}

/// One migration that the database has, or that was begun in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// The digest of its file.
    pub sha256: String,
    /// The run and the step that applied it.
    pub by: (String, String),
    /// It was begun outside of a transaction, and nothing says that it was ended.
    pub begun: bool,
}

const COLUMNS: &str = "SELECT version::text AS version, name, sha256, run, step, took_ms IS NULL AS begun FROM";

fn entry(row: &Row) -> Result<Entry, KindError> {
    let version: String = get(row, "version")?;
    Ok(Entry {
        version: version.parse().map_err(|_| KindError::new(format!("the ledger has the version `{version}`")))?,
        name: get(row, "name")?,
        sha256: get(row, "sha256")?,
        by: (get(row, "run")?, get(row, "step")?),
        begun: get(row, "begun")?,
    })
}

/// Schema and table of a name.
pub fn parts(table: &str) -> (Option<&str>, &str) {
    table.split_once('.').map_or((None, table), |(schema, table)| (Some(schema), table))
}

impl Ledger {
    /// Of this name.
    pub fn new(table: &str) -> Result<Self, KindError> {
        let (schema, name) = parts(table);
        let schema = schema.map(|schema| ident(schema).map(|schema| format!("{schema}."))).transpose()?.unwrap_or_default();
        Ok(Self { table: table.into(), quoted: format!("{schema}{}", ident(name)?) })
    }

    /// The key of the lock that holds other migrations off: one in each database, and the same however the table is
    /// called, once that is [settled](Self::settled).
    pub fn key(&self) -> i64 {
        lock_key(&format!("the migrations in {}", self.quoted))
    }

    /// With its schema, where a file may change what is searched.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn settled(self, writer: &Writer) -> Result<Self, KindError> {
        if parts(&self.table).0.is_some() {
            return Ok(self);
        }
        let rows = writer.rows(&self.asked(), "SELECT coalesce(current_schema()::text, 'public') AS schema", &[]).await?;
        let schema: String = rows.first().map_or_else(|| Ok("public".into()), |row| get(row, "schema"))?;
        Ok(Self { quoted: format!("{}.{}", ident(&schema)?, self.quoted), ..self })
    }

    /// What the database has; `None`: no ledger.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn read(&self, by: &impl Asks) -> Result<Option<BTreeMap<i64, Entry>>, KindError> {
        let asked = self.asked();
        let there = by.ask(&asked, "SELECT to_regclass($1) IS NOT NULL AS there", &[&self.quoted]).await?;
        if !there.first().map_or(Ok(false), |row| get(row, "there"))? {
            return Ok(None);
        }
        let rows = by.ask(&asked, &format!("{COLUMNS} {}", self.quoted), &[]).await?;
        rows.iter().map(|row| entry(row).map(|entry| (entry.version, entry))).collect::<Result<_, _>>().map(Some)
    }

    fn asked(&self) -> String {
        format!("read the ledger `{}`", self.table)
    }

    /// Makes it.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn make(&self, writer: &Writer) -> Result<(), KindError> {
        let statement = format!(
            "CREATE TABLE {} (version bigint PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, \
             applied_at timestamptz NOT NULL DEFAULT now(), run text NOT NULL, step text NOT NULL, took_ms bigint); \
             COMMENT ON TABLE {} IS 'trees: which migrations this database has'",
            self.quoted, self.quoted
        );
        writer.run(&format!("make the ledger `{}`", self.table), &statement).await
    }

    /// Removes it where nothing is in it.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn remove_empty(&self, writer: &Writer) -> Result<(), KindError> {
        let asked = format!("remove the ledger `{}`", self.table);
        let rows = writer.rows(&asked, &format!("SELECT count(*) AS entries FROM {}", self.quoted), &[]).await?;
        if rows.first().map_or(Ok(1_i64), |row| get(row, "entries"))? == 0 {
            writer.run(&asked, &format!("DROP TABLE {}", self.quoted)).await?;
        }
        Ok(())
    }

    /// Writes an entry; `took` is `None` while it is only begun.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn write(&self, writer: &Writer, entry: &Entry, took_ms: Option<u128>) -> Result<(), KindError> {
        let took = took_ms.map(|took| took.to_string()).unwrap_or_default();
        let statement = format!(
            "INSERT INTO {} (version, name, sha256, run, step, took_ms) VALUES ($1::bigint, $2, $3, $4, $5, nullif($6, '')::bigint) \
             ON CONFLICT (version) DO UPDATE SET applied_at = now(), took_ms = excluded.took_ms, sha256 = excluded.sha256, \
             run = excluded.run, step = excluded.step, name = excluded.name",
            self.quoted
        );
        let params = [&entry.version.to_string(), &entry.name, &entry.sha256, &entry.by.0, &entry.by.1, &took];
        writer.rows(&format!("write `{}` into the ledger", entry.name), &statement, &params.map(String::as_str)).await.map(drop)
    }

    /// Marks an entry as begun again, before its file is taken back outside of a transaction; says what
    /// [`undone`](Self::undone) needs.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn doubt(&self, writer: &Writer, version: i64) -> Result<String, KindError> {
        let statement = format!(
            "WITH was AS (SELECT took_ms FROM {0} WHERE version = $1::bigint) UPDATE {0} SET took_ms = NULL FROM was \
             WHERE version = $1::bigint RETURNING coalesce(was.took_ms::text, '') AS took_ms",
            self.quoted
        );
        let rows = writer.rows("mark an entry of the ledger as begun", &statement, &[&version.to_string()]).await?;
        rows.first().map_or_else(|| Ok(String::new()), |row| get(row, "took_ms"))
    }

    /// Takes the mark away again: nothing of it was done.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn undone(&self, writer: &Writer, version: i64, took_ms: &str) -> Result<(), KindError> {
        let statement = format!("UPDATE {} SET took_ms = nullif($2, '')::bigint WHERE version = $1::bigint", self.quoted);
        writer.rows("put an entry of the ledger back", &statement, &[&version.to_string(), took_ms]).await.map(drop)
    }

    /// Strikes an entry out.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn strike(&self, writer: &Writer, version: i64) -> Result<(), KindError> {
        let statement = format!("DELETE FROM {} WHERE version = $1::bigint", self.quoted);
        writer.rows("strike an entry out of the ledger", &statement, &[&version.to_string()]).await.map(drop)
    }
}
