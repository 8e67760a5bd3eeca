//! What taking back needs beside the record: a note that only its owner can read, in `undo` of the state folder. It is
//! emptied when it has served, so that what is taken back twice is done once. Secrets do not belong here: the way back
//! takes them from the step's `with`.

use crate::file::{failed, replace};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// Keeps it for the undo of this attempt; gives the name under which the record finds it. `part` tells apart what one
/// attempt keeps.
///
/// # Errors
/// When the state folder cannot be written.
pub fn keep(cx: &Cx, part: &str, what: &impl Serialize) -> Result<String, KindError> {
    let name = hash::bytes(format!("{}\n{}\n{part}", cx.idempotency_key, cx.attempt).as_bytes());
    let text = serde_json::to_vec(what).map_err(|e| KindError::new(format!("cannot keep what the undo needs: {e}")))?;
    replace(&place(&cx.state, &name), &text, 0o600)?;
    Ok(name)
}

/// What was kept; `None`: it has served.
///
/// # Errors
/// When it cannot be read.
pub fn kept<T: DeserializeOwned>(state: &Path, name: &str) -> Result<Option<T>, KindError> {
    let path = place(state, name);
    let text = fs::read(&path).map_err(|e| failed("cannot read what the undo needs from", &path, &e))?;
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&text).map(Some).map_err(|e| KindError::new(format!("cannot read `{}`: {e}", path.display())))
}

/// The undo is done.
///
/// # Errors
/// When the state folder cannot be written.
pub fn served(state: &Path, name: &str) -> Result<(), KindError> {
    replace(&place(state, name), b"", 0o600)
}

fn place(state: &Path, name: &str) -> PathBuf {
    state.join("undo").join(name)
}

#[cfg(test)]
mod tests {
    use super::{keep, kept, place, served};
    use crate::bench::Bench;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn is_there_for_its_owner_until_it_has_served() {
        let bench = Bench::new();
        let cx = bench.cx();
        let name = keep(&cx, "url", &"a secret").unwrap();
        assert_ne!(name, keep(&cx, "other", &"b").unwrap());
        let mode = std::fs::metadata(place(&cx.state, &name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(kept::<String>(&cx.state, &name).unwrap().unwrap(), "a secret");
        served(&cx.state, &name).unwrap();
        assert_eq!(kept::<String>(&cx.state, &name).unwrap(), None);
        assert!(kept::<String>(&cx.state, "gone").unwrap_err().message.starts_with("cannot read what the undo needs from"));
    }
}
