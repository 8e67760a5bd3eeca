//! The versions of secrets for step kinds: those of the project and environment that a step works for.

use crate::kind::{Keeper, KindError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use trees_core::journal::JournalError;
use trees_core::store::{Generate, SecretVersions, Store};

/// The store, seen from one step.
pub(super) struct Keys {
    pub store: Arc<dyn Store>,
    pub project: String,
    pub environment: String,
    /// Set when a version was made or taken away: what is in use has to be looked up again.
    pub turned: Arc<AtomicBool>,
}

impl Keys {
    fn turned<T>(&self, done: T) -> T {
        self.turned.store(true, Ordering::Release);
        done
    }
}

fn failed(error: &JournalError) -> KindError {
    KindError::new(error.to_string())
}

impl Keeper for Keys {
    fn versions(&self, name: &str) -> Result<Option<SecretVersions>, KindError> {
        self.store.secret_versions(&self.project, &self.environment, name).map_err(|e| failed(&e))
    }

    fn rotate(&self, name: &str, how: &Generate, key: &str) -> Result<u64, KindError> {
        self.turned(self.store.rotate(&self.project, &self.environment, name, how, key)).map_err(|e| failed(&e))
    }

    fn withdraw(&self, name: &str, key: &str) -> Result<(), KindError> {
        let done = self.turned(self.store.withdraw(&self.project, &self.environment, name, key)).map_err(|e| failed(&e))?;
        done.map_err(|why| KindError::new(format!("the new version of {name} cannot be taken back: {why}")))
    }

    fn retire(&self, name: &str) -> Result<Vec<u64>, KindError> {
        self.store.retire(&self.project, &self.environment, name).map_err(|e| failed(&e))
    }

    fn seal(&self, label: &str, bytes: &[u8]) -> Result<String, KindError> {
        self.store.seal(label, bytes).map_err(|e| failed(&e))
    }

    fn open(&self, label: &str, sealed: &str) -> Result<Vec<u8>, KindError> {
        self.store.open(label, sealed).map_err(|e| failed(&e))
    }
}
