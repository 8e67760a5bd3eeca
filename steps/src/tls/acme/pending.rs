//! An order that has not come to its end: kept with its key in the state folder, readable by its owner
//! only, so that a try after a crash goes on with it and makes no other.

use crate::file::{failed, replace};
use crate::tls::trace::Trace;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;
use trees_runner::kind::KindError;

/// The order under way.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pending {
    /// What it is for: another wish makes another order.
    pub wish: String,
    /// The order's address at the directory.
    pub order: String,
    /// The account's address.
    pub account: String,
    /// The certificate's private key in PEM.
    pub key: String,
    /// What was put up for the directory to find.
    pub traces: Vec<Trace>,
}

impl Pending {
    /// Reads it; `None` where there is none, or none that can be read.
    ///
    /// # Errors
    /// When the file is there and cannot be opened.
    pub fn read(file: &Path) -> Result<Option<Self>, KindError> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("cannot read", file, &e)),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), KindError> {
        let text = serde_json::to_vec(self).map_err(|e| KindError::new(format!("cannot write the order: {e}")))?;
        replace(file, &text, 0o600)
    }
}

/// Removes it; nothing where there is none.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(file: &Path) -> Result<(), KindError> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("cannot remove", file, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}
