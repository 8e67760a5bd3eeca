//! The state folder behind glass: it can be looked at and not be written. `plan` and `drift` get no
//! other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use trees_core::event::ArtifactRef;
use trees_core::journal::JournalError;
use trees_core::path::{RunId, StepPath};
use trees_core::store::{CachedResult, Generate, LockGuard, SecretValue, SecretVersions, Store};

/// A store that cannot be written; what a look must leave somewhere is in a temporary folder.
pub(super) struct Glass {
    store: Arc<dyn Store>,
    folder: TempDir,
}

struct NoLock;

impl LockGuard for NoLock {}

impl Glass {
    /// Before a store.
    pub fn before(store: Arc<dyn Store>) -> std::io::Result<Self> {
        Ok(Self { store, folder: tempfile::Builder::new().prefix("trees-look-").tempdir()? })
    }
}

impl Store for Glass {
    fn folder(&self) -> &Path {
        self.store.folder()
    }

    fn cached(&self, tree: &str, definition: &str, input: &str) -> Result<Option<CachedResult>, JournalError> {
        self.store.cached(tree, definition, input)
    }

    /// Named, not kept: what is read of it counts as unknown.
    fn keep(&self, _from: &Path, path: &str) -> Result<ArtifactRef, JournalError> {
        Ok(ArtifactRef { path: path.into(), sha256: String::new(), size: 0 })
    }

    /// Whether it could be put back.
    fn restore(&self, artifact: &ArtifactRef, _to: &Path) -> Result<bool, JournalError> {
        Ok(self.store.content(&artifact.sha256).is_some())
    }

    fn is_there(&self, artifact: &ArtifactRef, at: &Path) -> bool {
        self.store.is_there(artifact, at)
    }

    fn content(&self, sha256: &str) -> Option<PathBuf> {
        self.store.content(sha256)
    }

    fn secret(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretValue>, JournalError> {
        self.store.secret(project, environment, name)
    }

    /// The one that is there, else one for the time being.
    fn generated(&self, project: &str, environment: &str, name: &str, _how: &Generate) -> Result<SecretValue, JournalError> {
        let there = self.store.secret(project, environment, name)?;
        Ok(there.unwrap_or_else(|| SecretValue { value: format!("{name} is not generated yet"), fingerprint: "new".into() }))
    }

    fn secret_versions(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretVersions>, JournalError> {
        self.store.secret_versions(project, environment, name)
    }

    fn rotate(&self, project: &str, environment: &str, name: &str, _how: &Generate, _key: &str) -> Result<u64, JournalError> {
        Ok(self.store.secret_versions(project, environment, name)?.map_or(1, |versions| versions.newest + 1))
    }

    fn withdraw(&self, _project: &str, _environment: &str, _name: &str, _key: &str) -> Result<Result<(), String>, JournalError> {
        Ok(Ok(()))
    }

    fn retire(&self, project: &str, environment: &str, name: &str) -> Result<Vec<u64>, JournalError> {
        Ok(self.store.secret_versions(project, environment, name)?.map(|versions| versions.older).unwrap_or_default())
    }

    fn fingerprint(&self, value: &str) -> Result<String, JournalError> {
        self.store.fingerprint(value)
    }

    fn seal(&self, label: &str, bytes: &[u8]) -> Result<String, JournalError> {
        self.store.seal(label, bytes)
    }

    fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, JournalError> {
        self.store.open(label, sealed)
    }

    fn lock(&self, _name: &str, _run: &RunId) -> Result<Result<Box<dyn LockGuard>, String>, JournalError> {
        Ok(Ok(Box::new(NoLock)))
    }

    fn run_folder(&self, _run: &RunId) -> Result<PathBuf, JournalError> {
        Ok(self.folder.path().to_path_buf())
    }

    fn attempt_folder(&self, _run: &RunId, step: &StepPath, attempt: u32) -> Result<PathBuf, JournalError> {
        Ok(self.folder.path().join(step.folder()).join(attempt.to_string()))
    }
}
