//! The state folder as the engine sees it beside the journal.

use crate::error::Fault;
use crate::projection::{result_digest, result_sum};
use crate::state::State;
use rusqlite::{OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trees_core::event::{ArtifactRef, Json};
use trees_core::journal::JournalError;
use trees_core::path::{RunId, StepPath};
use trees_core::store::{CachedResult, Generate, LockGuard, SecretValue, SecretVersions, Store};

impl Store for State {
    fn folder(&self) -> &Path {
        self.dir()
    }

    fn cached(&self, tree: &str, definition: &str, input: &str) -> Result<Option<CachedResult>, JournalError> {
        let digest = result_digest(definition, input);
        let found = self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT run, step, outputs, artifacts, sum FROM results WHERE digest = ? AND tree = ?")?;
            let columns = |row: &rusqlite::Row<'_>| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, Option<String>>(2)?,
                    row.get::<_, Option<String>>(3)?,
                    row.get_ref(4)?.as_blob().ok().map(<[u8]>::to_vec),
                ))
            };
            Ok(statement.query_row(params![digest, tree], columns).optional()?)
        })?;
        let Some((run, step, outputs, artifacts, sum)) = found else { return Ok(None) };
        // A damaged result stands for nothing: the step runs.
        if sum.as_deref() != Some(result_sum(&digest, outputs.as_deref(), artifacts.as_deref()).as_slice()) {
            return Ok(None);
        }
        let result =
            result(run, step, outputs, artifacts).map_err(|error| Fault::Damaged(format!("a result: {error}")).explain(self.dir()))?;
        let there = result.artifacts.values().all(|artifact| self.content(&artifact.sha256).is_some());
        Ok(there.then_some(result))
    }

    fn keep(&self, from: &Path, path: &str) -> Result<ArtifactRef, JournalError> {
        self.keep_artifact(from, path)
    }

    fn is_there(&self, artifact: &ArtifactRef, at: &Path) -> bool {
        crate::artifacts::is_there(artifact, at)
    }

    fn restore(&self, artifact: &ArtifactRef, to: &Path) -> Result<bool, JournalError> {
        self.restore_artifact(artifact, to)
    }

    fn content(&self, sha256: &str) -> Option<PathBuf> {
        self.object(sha256).filter(|object| object.symlink_metadata().is_ok())
    }

    fn secret(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretValue>, JournalError> {
        self.secret_value(project, environment, name)
    }

    fn generated(&self, project: &str, environment: &str, name: &str, how: &Generate) -> Result<SecretValue, JournalError> {
        self.generated_value(project, environment, name, how)
    }

    fn secret_versions(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretVersions>, JournalError> {
        self.versions(project, environment, name)
    }

    fn rotate(&self, project: &str, environment: &str, name: &str, how: &Generate, key: &str) -> Result<u64, JournalError> {
        self.rotated(project, environment, name, how, key)
    }

    fn withdraw(&self, project: &str, environment: &str, name: &str, key: &str) -> Result<Result<(), String>, JournalError> {
        self.withdrawn(project, environment, name, key)
    }

    fn retire(&self, project: &str, environment: &str, name: &str) -> Result<Vec<u64>, JournalError> {
        self.retired(project, environment, name)
    }

    fn fingerprint(&self, value: &str) -> Result<String, JournalError> {
        let fingerprint = self.master()?.fingerprint(value);
        fingerprint.ok_or_else(|| crate::error::unusable(self.dir(), "a fingerprint could not be computed"))
    }

    fn seal(&self, label: &str, bytes: &[u8]) -> Result<String, JournalError> {
        self.sealed(label, bytes)
    }

    fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, JournalError> {
        self.opened(label, sealed)
    }

    fn lock(&self, name: &str, run: &RunId) -> Result<Result<Box<dyn LockGuard>, String>, JournalError> {
        self.take_lock(name, run)
    }

    fn attempt_folder(&self, run: &RunId, step: &StepPath, attempt: u32) -> Result<PathBuf, JournalError> {
        self.attempt_path(run, step, attempt)
    }

    fn run_folder(&self, run: &RunId) -> Result<PathBuf, JournalError> {
        State::run_folder(self, run)
    }
}

fn result(run: String, step: String, outputs: Option<String>, artifacts: Option<String>) -> Result<CachedResult, serde_json::Error> {
    let outputs = outputs.map_or(Ok(Json::Null), |text| serde_json::from_str(&text))?;
    let artifacts = artifacts.map_or(Ok(BTreeMap::new()), |text| serde_json::from_str(&text))?;
    Ok(CachedResult { run: RunId(run), step: StepPath(step), outputs, artifacts })
}
