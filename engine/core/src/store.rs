//! What the engine asks of the state folder beside the journal: results for the cache, artifacts
//! by content, secrets, locks. `trees-state` implements it; the engine never sees how.

use crate::event::{ArtifactRef, Json};
use crate::journal::JournalError;
use crate::path::{RunId, StepPath};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What begins the name of the folder of a try of an undo, in that of the attempt that is taken back.
pub const UNDO: &str = "undo-";

/// The folder of the try of an undo with this number, from 1, in that of the attempt that is taken back.
#[must_use]
pub fn undo_folder(attempt: &Path, number: u32) -> PathBuf {
    attempt.join(format!("{UNDO}{number}"))
}

/// A result of an earlier run that may stand for a step with the same digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedResult {
    /// The run it comes from.
    pub run: RunId,
    /// The step it comes from.
    pub step: StepPath,
    /// Its outputs.
    pub outputs: Json,
    /// Its artifacts.
    pub artifacts: BTreeMap<String, ArtifactRef>,
}

/// A secret's value with what may be recorded of it.
#[derive(Clone)]
pub struct SecretValue {
    /// The plain value. Never in events, logs, errors; `Debug` is not derived on purpose.
    pub value: String,
    /// `store:3` (name's version in the store) or `hmac:…` (keyed with the master key).
    pub fingerprint: String,
}

/// How a new secret is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generate {
    /// Characters, 1 to 4096.
    pub length: u32,
    /// `alphanumeric`, `hex`, `base64url` or `ascii`.
    pub charset: String,
}

/// The versions of a secret in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersions {
    /// The newest, which is the one in use.
    pub newest: u64,
    /// When it was made.
    pub since: Timestamp,
    /// Those before it that are still kept.
    pub older: Vec<u64>,
}

/// A lock of the state folder that is held until dropped or until the process ends.
pub trait LockGuard: Send {}

/// The state folder beside the journal.
pub trait Store: Send + Sync {
    /// The state folder (absolute).
    fn folder(&self) -> &Path;

    /// The newest result of the tree with these digests whose artifacts are all there.
    fn cached(&self, tree: &str, definition: &str, input: &str) -> Result<Option<CachedResult>, JournalError>;

    /// Keeps a file or folder by content, with modes; `path` is what the reference will name.
    fn keep(&self, from: &Path, path: &str) -> Result<ArtifactRef, JournalError>;

    /// Puts an artifact back at `to`: written aside and renamed. False where its content is gone.
    fn restore(&self, artifact: &ArtifactRef, to: &Path) -> Result<bool, JournalError>;

    /// Whether what is at a place has the content and the modes of an artifact.
    fn is_there(&self, artifact: &ArtifactRef, at: &Path) -> bool;

    /// Where an artifact's content can be read (a file, or a folder), never to be written.
    fn content(&self, sha256: &str) -> Option<PathBuf>;

    /// A secret of the sealed store. The environment's own first, then the project's.
    fn secret(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretValue>, JournalError>;

    /// The secret of the store, made there first if it is missing. Atomic over processes.
    fn generated(&self, project: &str, environment: &str, name: &str, how: &Generate) -> Result<SecretValue, JournalError>;

    /// The versions of a secret that the environment uses: its own, else the project's.
    fn secret_versions(&self, project: &str, environment: &str, name: &str) -> Result<Option<SecretVersions>, JournalError>;

    /// Makes a new version of that secret, once for a key: the version that was made for it is given again.
    /// `length` and `charset` of `how` hold; a length of 0 is that of the value before.
    fn rotate(&self, project: &str, environment: &str, name: &str, how: &Generate, key: &str) -> Result<u64, JournalError>;

    /// Takes the version that was made for a key away, so that the one before it is in use again; without one
    /// nothing is done. Says why not, where it is not the newest or those before it are retired.
    fn withdraw(&self, project: &str, environment: &str, name: &str, key: &str) -> Result<Result<(), String>, JournalError>;

    /// Forgets all versions but the newest; says which.
    fn retire(&self, project: &str, environment: &str, name: &str) -> Result<Vec<u64>, JournalError>;

    /// What may be recorded of a value that is not in the store.
    fn fingerprint(&self, value: &str) -> Result<String, JournalError>;

    /// Seals bytes with the master key, as text. The label says what they belong to, for people too.
    fn seal(&self, label: &str, bytes: &[u8]) -> Result<String, JournalError>;

    /// What [`Self::seal`] sealed with that label. An error under another key, and where it was changed.
    fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, JournalError>;

    /// Takes a lock of the state folder, or tells who holds it.
    fn lock(&self, name: &str, run: &RunId) -> Result<Result<Box<dyn LockGuard>, String>, JournalError>;

    /// The folder of a run, which exists while it is held.
    fn run_folder(&self, run: &RunId) -> Result<PathBuf, JournalError>;

    /// The folder for the logs of a step's attempt, below that of the run: made with the first file
    /// in it, not here.
    fn attempt_folder(&self, run: &RunId, step: &StepPath, attempt: u32) -> Result<PathBuf, JournalError>;
}
