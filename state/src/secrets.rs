//! Secrets, sealed one by one. A value exists in memory only, while it is set or read.

use crate::audit::{Change, Witness};
use crate::error::{Fault, StateError, unusable};
use crate::generate;
use crate::master::Master;
use crate::sealed;
use crate::state::State;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde_json::{Value, json};
use trees_core::journal::JournalError;
use trees_core::store::{Generate, SecretValue};
use trees_points::{Point, hit};
use zeroize::Zeroizing;

/// A secret as the listing shows it: never its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretRow {
    /// The project.
    pub project: String,
    /// The environment, `""` for the project's own.
    pub environment: String,
    /// Its name.
    pub name: String,
    /// Its newest version; versions count over all environments of a project and never return.
    pub version: u64,
    /// When that was set.
    pub created: Timestamp,
}

/// Whose secret.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub project: String,
    pub environment: String,
    pub name: String,
}

impl Scope {
    pub(crate) fn new(project: &str, environment: &str, name: &str) -> Self {
        Self { project: project.into(), environment: environment.into(), name: name.into() }
    }

    /// Everything that a sealed value belongs to, unambiguously.
    fn label(&self, version: i64) -> String {
        serde_json::json!(["trees secret 1", self.project, self.environment, self.name, version]).to_string()
    }

    fn seal(&self, master: &Master, version: i64, value: &str) -> Option<Vec<u8>> {
        sealed::seal(master, &self.label(version), value.as_bytes())
    }

    fn open(&self, master: &Master, version: i64, sealed: &[u8]) -> Option<String> {
        String::from_utf8(sealed::open(master, &self.label(version), sealed)?).ok()
    }

    pub(crate) fn newest(&self, db: &Connection) -> Result<Option<(i64, Vec<u8>)>, Fault> {
        let mut statement = db.prepare_cached(
            "SELECT version, sealed FROM secrets WHERE project = ? AND environment = ? AND name = ? AND sealed IS NOT NULL ORDER BY version DESC LIMIT 1",
        )?;
        Ok(statement.query_row(params![self.project, self.environment, self.name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// Which version there is; never its value.
    pub(crate) fn standing(&self, db: &Connection) -> Result<Value, Fault> {
        let version = self.newest(db)?.map(|(version, _)| version);
        let there = json!({ "project": self.project, "environment": self.environment, "secret": self.name, "version": version });
        Ok(if version.is_some() { there } else { Value::Null })
    }

    pub(crate) fn witness(&self, db: &Connection, witness: &Witness, what: &'static str, before: Value) -> Result<(), Fault> {
        let after = self.standing(db)?;
        witness.record(db, Change { what, run: None, before, after })
    }

    fn insert(&self, db: &Connection, master: &Master, value: &str, made_for: Option<&str>) -> Result<i64, Fault> {
        let mut statement = db.prepare_cached("SELECT coalesce(max(version), 0) + 1 FROM secrets WHERE project = ? AND name = ?")?;
        let version: i64 = statement.query_row(params![self.project, self.name], |row| row.get(0))?;
        unopened(db, master)?;
        let sealed = self.seal(master, version, value).ok_or_else(|| Fault::Damaged(format!("sealing `{}` failed", self.name)))?;
        db.prepare_cached(
            "INSERT INTO secrets (project, environment, name, version, sealed, created, made_for) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            self.project,
            self.environment,
            self.name,
            version,
            sealed,
            Timestamp::now().as_microsecond(),
            made_for
        ])?;
        Ok(version)
    }
}

/// Refuses a key that does not open what is sealed: with a second key the store would be mixed, and
/// no key would open all of it.
fn unopened(db: &Connection, master: &Master) -> Result<(), Fault> {
    let mut statement = db.prepare_cached(
        "SELECT project, environment, name, max(version), sealed FROM secrets WHERE sealed IS NOT NULL
         GROUP BY project, environment, name ORDER BY project, name, environment",
    )?;
    let mut rows = statement.query([])?;
    let (mut closed, mut all) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let scope = Scope { project: row.get(0)?, environment: row.get(1)?, name: row.get(2)? };
        all += 1;
        if scope.open(master, row.get(3)?, &row.get::<_, Vec<u8>>(4)?).is_none() {
            closed.push(scope);
        }
    }
    let Some(first) = closed.first() else { return Ok(()) };
    let place = if first.environment.is_empty() { String::new() } else { format!(" -e {}", first.environment) };
    let remove = format!("trees secret remove {} --project {}{place}", first.name, first.project);
    let more = if closed.len() > 1 { " and the like, see trees secret list" } else { "" };
    Err(Fault::Unfit(format!(
        "this master key is another than the one the secrets were sealed with: it does not open {} of {all} (`{}` of {}); \
         use the key they were sealed with, or where that is lost remove what it does not open ({remove}{more}) and set it again",
        closed.len(),
        first.name,
        first.project
    )))
}

fn fingerprint(version: i64) -> String {
    format!("store:{version}")
}

impl State {
    /// Seals a new version of a secret and says its number. `environment` is `""` for the project's
    /// own.
    ///
    /// # Errors
    /// When the name or the value cannot be a secret's, or the state or the key cannot be used.
    pub fn set_secret(&self, project: &str, environment: &str, name: &str, value: &str) -> Result<u64, StateError> {
        check_name(name)?;
        check_value(name, value)?;
        let scope = Scope::new(project, environment, name);
        Ok(self.seal_next(scope, value, "secret_set", None)?.unsigned_abs())
    }

    /// Seals a value as the newest version, and says its number.
    pub(crate) fn seal_next(&self, scope: Scope, value: &str, what: &'static str, made_for: Option<&str>) -> Result<i64, JournalError> {
        let master = self.master()?.share();
        let (value, made_for) = (Zeroizing::new(value.to_owned()), made_for.map(str::to_owned));
        let witness = self.witness();
        hit(Point::BeforeSecret);
        let version = self.write(move |db| {
            let before = scope.standing(db)?;
            let version = scope.insert(db, &master, &value, made_for.as_deref())?;
            scope.witness(db, &witness, what, before)?;
            Ok(version)
        })?;
        hit(Point::AfterSecret);
        Ok(version)
    }

    /// The secrets of a project, or of all, sorted.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn list_secrets(&self, project: Option<&str>) -> Result<Vec<SecretRow>, StateError> {
        let rows = self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT project, environment, name, max(version), max(created) FROM secrets
                 WHERE sealed IS NOT NULL AND (?1 IS NULL OR project = ?1) GROUP BY project, environment, name ORDER BY project, name, environment",
            )?;
            let rows = statement.query_map([project], |row| {
                let created = Timestamp::from_microsecond(row.get(4)?).unwrap_or_default();
                let version = row.get::<_, i64>(3)?.unsigned_abs();
                Ok(SecretRow { project: row.get(0)?, environment: row.get(1)?, name: row.get(2)?, version, created })
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        Ok(rows)
    }

    /// Forgets all versions of a secret; false where there was none.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn remove_secret(&self, project: &str, environment: &str, name: &str) -> Result<bool, StateError> {
        let scope = Scope::new(project, environment, name);
        let witness = self.witness();
        let removed = self.write(move |db| {
            let before = scope.standing(db)?;
            // The numbers stay taken, so that a version never means two values.
            let mut statement = db.prepare_cached(
                "UPDATE secrets SET sealed = NULL WHERE project = ? AND environment = ? AND name = ? AND sealed IS NOT NULL",
            )?;
            let removed = statement.execute(params![scope.project, scope.environment, scope.name])?;
            if removed > 0 {
                scope.witness(db, &witness, "secret_removed", before)?;
            }
            Ok(removed)
        })?;
        Ok(removed > 0)
    }

    /// The environment's own value first, then the project's.
    pub(crate) fn secret_value(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretValue>, JournalError> {
        let own = Scope::new(project, environment, name);
        let shared = Scope::new(project, "", name);
        for scope in [own, shared] {
            if let Some((version, sealed)) = self.read(|db| scope.newest(db))? {
                return self.opened_value(&scope, version, &sealed).map(Some);
            }
        }
        Ok(None)
    }

    pub(crate) fn generated_value(
        &self,
        project: &str,
        environment: &str,
        name: &str,
        how: &Generate,
    ) -> Result<SecretValue, JournalError> {
        if let Some(there) = self.secret_value(project, environment, name)? {
            return Ok(there);
        }
        let scope = Scope::new(project, environment, name);
        let master = self.master()?.share();
        let fresh = generate::secret(how).map_err(|error| unusable(self.dir(), error))?;
        let (mine, witness) = (scope.clone(), self.witness());
        let (version, sealed) = self.write(move |db| {
            // Another process may have been first: then its value counts.
            if let Some(there) = mine.newest(db)? {
                return Ok(there);
            }
            mine.insert(db, &master, &fresh, None)?;
            mine.witness(db, &witness, "secret_generated", Value::Null)?;
            mine.newest(db)?.ok_or_else(|| Fault::Damaged("a secret just made is not there".into()))
        })?;
        self.opened_value(&scope, version, &sealed)
    }

    /// Says so where the master key is another than the one that secrets are sealed with.
    pub(crate) fn check_sealed(&self) -> Result<(), JournalError> {
        let master = self.master()?;
        self.read(|db| unopened(db, master))
    }

    pub(crate) fn opened_value(&self, scope: &Scope, version: i64, sealed: &[u8]) -> Result<SecretValue, JournalError> {
        let wrong = || {
            let message = format!(
                "the secret `{}` cannot be opened with this master key; use the key it was sealed with, or where that is lost remove the secret and set it again",
                scope.name
            );
            unusable(self.dir(), message)
        };
        let value = scope.open(self.master()?, version, sealed).ok_or_else(wrong)?;
        Ok(SecretValue { value, fingerprint: fingerprint(version) })
    }
}

pub(crate) fn check_value(name: &str, value: &str) -> Result<(), StateError> {
    if value.is_empty() {
        return Err(StateError::Invalid(format!("the secret `{name}` would be empty; to take it away, remove it")));
    }
    if value.contains('\0') {
        return Err(StateError::Invalid(format!("the secret `{name}` holds a NUL byte, which no environment can carry")));
    }
    Ok(())
}

pub(crate) fn check_name(name: &str) -> Result<(), StateError> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let fits = starts && name.len() <= 200 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits {
        Ok(())
    } else {
        Err(StateError::Invalid(format!("`{name}` is no name of a secret; write letters, digits and `_`, as SLACK_TOKEN")))
    }
}
