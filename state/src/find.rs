//! Which run a person means.

use crate::error::StateError;
use crate::schema::SEQ;
use crate::state::State;
use rusqlite::{OptionalExtension as _, params};
use trees_core::event::RunStatus;
use trees_core::journal::RunFilter;
use trees_core::path::RunId;

impl State {
    /// The run that a text names: an id, a unique prefix, `@last`, `@last-failed`, `TREE@last`,
    /// `TREE#NUMBER`.
    ///
    /// # Errors
    /// When none or more than one is called so, or the state cannot be read.
    pub fn find(&self, text: &str) -> Result<RunId, StateError> {
        if let Some((tree, number)) = text.split_once('#') {
            return self.find_numbered(text, tree, number);
        }
        match text.split_once('@') {
            Some((tree, "last")) => self.find_last(text, tree, &[]),
            Some((tree, "last-failed")) => {
                self.find_last(text, tree, &[RunStatus::Failed, RunStatus::RolledBack, RunStatus::RollbackStuck])
            }
            Some(_) => Err(StateError::Unknown(format!(
                "`{text}` names no run; write an id, `@last`, `@last-failed`, `TREE@last` or `TREE#NUMBER`"
            ))),
            None => self.find_prefix(text),
        }
    }

    fn find_numbered(&self, text: &str, tree: &str, number: &str) -> Result<RunId, StateError> {
        let found: Option<String> = match number.parse::<i64>() {
            Ok(number) => self.read(|db| {
                let mut statement = db.prepare_cached(&format!("SELECT id FROM runs WHERE tree = ? AND number = ? AND {SEQ} > 0"))?;
                Ok(statement.query_row(params![tree, number], |row| row.get(0)).optional()?)
            })?,
            Err(_) => None,
        };
        match found {
            Some(id) => Ok(RunId(id)),
            None => self.unknown(text, Some(tree)),
        }
    }

    fn find_last(&self, text: &str, tree: &str, statuses: &[RunStatus]) -> Result<RunId, StateError> {
        let tree = (!tree.is_empty()).then(|| tree.to_owned());
        let filter = RunFilter { tree: tree.clone(), statuses: statuses.to_vec(), limit: 1, own: false };
        match self.runs(&filter)?.pop() {
            Some(run) => Ok(run.run),
            None => self.unknown(text, tree.as_deref()),
        }
    }

    fn find_prefix(&self, text: &str) -> Result<RunId, StateError> {
        let wanted = text.to_ascii_lowercase();
        // Only letters that ids are made of; a `%` would mean more to SQL.
        if wanted.is_empty() || !wanted.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return self.unknown(text, None);
        }
        let mut found = self.read(|db| {
            let mut statement = db
                .prepare_cached(&format!("SELECT id FROM runs WHERE id >= ?1 AND id < ?1 || '~' AND {SEQ} > 0 ORDER BY n DESC LIMIT 20"))?;
            let rows = statement.query_map([&wanted], |row| row.get(0).map(RunId))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        if found.is_empty()
            && let Some(lost) = self.lost_run(&wanted)
        {
            return Err(lost.into());
        }
        match (found.pop(), found.is_empty()) {
            (Some(run), true) => Ok(run),
            (Some(run), false) => {
                found.push(run);
                Err(StateError::Ambiguous { text: text.into(), runs: found })
            }
            (None, _) => self.unknown(text, None),
        }
    }

    /// Says what there is.
    fn unknown(&self, text: &str, tree: Option<&str>) -> Result<RunId, StateError> {
        let mut filter = RunFilter { tree: tree.filter(|tree| !tree.is_empty()).map(str::to_owned), limit: 3, ..RunFilter::default() };
        let mut runs = self.runs(&filter)?;
        if runs.is_empty() {
            filter.tree = None;
            runs = self.runs(&filter)?;
        }
        let there: Vec<String> =
            runs.iter().map(|run| format!("{} ({}#{}, {})", run.run, run.tree, run.number, run.status.as_str())).collect();
        let there = if there.is_empty() { "there are no runs yet".into() } else { format!("the newest are {}", there.join(", ")) };
        Err(StateError::Unknown(format!("no run `{text}`; {there}")))
    }
}
