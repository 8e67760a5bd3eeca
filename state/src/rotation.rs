//! The versions of a secret: a new value in the place of one that is there, and the end of the old ones.

use crate::audit::Witness;
use crate::error::{Fault, StateError, unusable};
use crate::generate;
use crate::secrets::{Scope, check_name, check_value};
use crate::state::State;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use trees_core::journal::JournalError;
use trees_core::store::{Generate, SecretVersions};
use zeroize::Zeroizing;

/// How the next value of a secret is made.
#[derive(Debug, Clone, Default)]
pub struct Rotation {
    /// Characters, 1 to 4096; without, as many as the value before has.
    pub length: Option<u32>,
    /// `alphanumeric` (default), `hex`, `base64url` or `ascii`.
    pub charset: Option<String>,
}

impl State {
    /// A new value in the place of one that is there: `value`, else random characters as `how` says. The
    /// versions before stay until they are [retired](Self::retire_secret). Says the new version's number.
    ///
    /// # Errors
    /// Also when there is no such secret.
    pub fn rotate_secret(
        &self,
        project: &str,
        environment: &str,
        name: &str,
        value: Option<&str>,
        how: &Rotation,
    ) -> Result<u64, StateError> {
        check_name(name)?;
        let scope = Scope::new(project, environment, name);
        if let Some(value) = value {
            check_value(name, value)?;
            return Ok(self.seal_next(scope, value, "secret_rotated", None)?.unsigned_abs());
        }
        let charset = how.charset.clone().unwrap_or_else(|| "alphanumeric".into());
        let fresh = self.next_value(&scope, &Generate { length: how.length.unwrap_or(0), charset })?;
        Ok(self.seal_next(scope, &fresh, "secret_rotated", None)?.unsigned_abs())
    }

    /// Forgets all versions of a secret but the newest; says which.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn retire_secret(&self, project: &str, environment: &str, name: &str) -> Result<Vec<u64>, StateError> {
        Ok(self.forget_old(Scope::new(project, environment, name))?)
    }

    /// A random value; as long as the one before where no length is given.
    fn next_value(&self, scope: &Scope, how: &Generate) -> Result<Zeroizing<String>, StateError> {
        let Some((version, sealed)) = self.read(|db| scope.newest(db))? else {
            return Err(StateError::Unknown(format!("there is no secret `{}` to rotate", scope.name)));
        };
        let mut how = how.clone();
        if how.length == 0 {
            let before = Zeroizing::new(self.opened_value(scope, version, &sealed)?.value);
            how.length = u32::try_from(before.chars().count()).unwrap_or(u32::MAX).min(4096);
        }
        generate::secret(&how).map_err(StateError::Invalid)
    }

    fn forget_old(&self, scope: Scope) -> Result<Vec<u64>, JournalError> {
        let witness = self.witness();
        let retired = self.write(move |db| {
            let before = scope.standing(db)?;
            let Some((newest, _)) = scope.newest(db)? else { return Ok(Vec::new()) };
            let mut statement = db.prepare_cached(
                "UPDATE secrets SET sealed = NULL WHERE project = ? AND environment = ? AND name = ? AND version < ? AND sealed IS NOT NULL
                 RETURNING version",
            )?;
            let rows = statement.query_map(params![scope.project, scope.environment, scope.name, newest], |row| row.get::<_, i64>(0))?;
            let mut retired = rows.collect::<Result<Vec<_>, _>>()?;
            retired.sort_unstable();
            if !retired.is_empty() {
                scope.witness(db, &witness, "secret_retired", before)?;
            }
            Ok(retired)
        })?;
        Ok(retired.into_iter().map(i64::unsigned_abs).collect())
    }

    /// The secret that an environment uses: its own, else the project's.
    fn in_use(&self, project: &str, environment: &str, name: &str) -> Result<Option<Scope>, JournalError> {
        for scope in Self::scopes(project, environment, name) {
            if self.read(|db| scope.newest(db))?.is_some() {
                return Ok(Some(scope));
            }
        }
        Ok(None)
    }

    pub(crate) fn versions(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretVersions>, JournalError> {
        let Some(scope) = self.in_use(project, environment, name)? else { return Ok(None) };
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT version, created FROM secrets WHERE project = ? AND environment = ? AND name = ? AND sealed IS NOT NULL ORDER BY version DESC",
            )?;
            let rows = statement.query_map(params![scope.project, scope.environment, scope.name], |row| {
                Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?))
            })?;
            let mut rows = rows.collect::<Result<Vec<_>, _>>()?.into_iter();
            let Some((newest, created)) = rows.next() else { return Ok(None) };
            let since = Timestamp::from_microsecond(created).unwrap_or_default();
            Ok(Some(SecretVersions { newest, since, older: rows.map(|(version, _)| version).collect() }))
        })
    }

    /// What an environment could use, its own first.
    fn scopes(project: &str, environment: &str, name: &str) -> [Scope; 2] {
        [Scope::new(project, environment, name), Scope::new(project, "", name)]
    }

    /// The version that was made for a key, or a new one. It is looked for where it may have been made: the environment
    /// may have got one of its own since.
    pub(crate) fn rotated(&self, project: &str, environment: &str, name: &str, how: &Generate, key: &str) -> Result<u64, JournalError> {
        let missing = || unusable(self.dir(), format!("there is no secret `{name}` to rotate"));
        let scope = self.in_use(project, environment, name)?.ok_or_else(missing)?;
        for scope in Self::scopes(project, environment, name) {
            if let Some(version) = self.read(|db| scope.made_for(db, key))? {
                return Ok(version.unsigned_abs());
            }
        }
        let fresh = self.next_value(&scope, how).map_err(|error| unusable(self.dir(), error.to_string()))?;
        Ok(self.seal_next(scope, &fresh, "secret_rotated", Some(key))?.unsigned_abs())
    }

    /// Takes the version that was made for a key away, so that the one before it is in use again; where it was made, even
    /// if the environment has got one of its own since.
    pub(crate) fn withdrawn(&self, project: &str, environment: &str, name: &str, key: &str) -> Result<Result<(), String>, JournalError> {
        let (witness, key) = (self.witness(), key.to_owned());
        let scopes = Self::scopes(project, environment, name);
        self.write(move |db| {
            for scope in &scopes {
                if let Some(made) = scope.made_for(db, &key)? {
                    return scope.withdraw(db, &witness, made);
                }
            }
            Ok(Ok(()))
        })
    }

    pub(crate) fn retired(&self, project: &str, environment: &str, name: &str) -> Result<Vec<u64>, JournalError> {
        self.in_use(project, environment, name)?.map_or(Ok(Vec::new()), |scope| self.forget_old(scope))
    }
}

impl Scope {
    /// The version that was made for a key.
    fn made_for(&self, db: &Connection, key: &str) -> Result<Option<i64>, Fault> {
        let mut statement = db.prepare_cached(
            "SELECT version FROM secrets WHERE project = ? AND environment = ? AND name = ? AND made_for = ? AND sealed IS NOT NULL",
        )?;
        Ok(statement.query_row(params![self.project, self.environment, self.name, key], |row| row.get(0)).optional()?)
    }

    /// Takes a version away, unless a newer one is in use or none is before it.
    fn withdraw(&self, db: &Connection, witness: &Witness, made: i64) -> Result<Result<(), String>, Fault> {
        let before = self.standing(db)?;
        let mut statement = db.prepare_cached(
            "SELECT version FROM secrets WHERE project = ? AND environment = ? AND name = ? AND sealed IS NOT NULL ORDER BY version DESC",
        )?;
        let rows = statement.query_map(params![self.project, self.environment, self.name], |row| row.get::<_, i64>(0))?;
        match rows.collect::<Result<Vec<_>, _>>()?[..] {
            [newest, ..] if newest != made => return Ok(Err(format!("version {newest} is in use"))),
            [_, _, ..] => {}
            [_] | [] => return Ok(Err("the versions before it are retired".into())),
        }
        db.prepare_cached("UPDATE secrets SET sealed = NULL WHERE project = ? AND environment = ? AND name = ? AND version = ?")?
            .execute(params![self.project, self.environment, self.name, made])?;
        self.witness(db, witness, "secret_withdrawn", before)?;
        Ok(Ok(()))
    }
}
