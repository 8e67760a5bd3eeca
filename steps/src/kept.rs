//! A note that the way back of a step has still to be gone, in `undo` of the state folder: what is taken back
//! twice is done once. Nothing secret stands in it: the way back takes that from the step's `with`.

use crate::file::{failed, replace};
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// Notes it for the undo of this attempt; gives the name by which the record finds it. `part` tells apart what
/// one attempt notes.
///
/// # Errors
/// When the state folder cannot be written.
pub fn note(cx: &Cx, part: &str) -> Result<String, KindError> {
    let name = hash::bytes(format!("{}\n{}\n{part}", cx.idempotency_key, cx.attempt).as_bytes());
    replace(&place(&cx.state, &name), b"open", 0o600)?;
    Ok(name)
}

/// Whether it has still to be gone.
///
/// # Errors
/// When the note cannot be read.
pub fn is_open(state: &Path, name: &str) -> Result<bool, KindError> {
    let path = place(state, name);
    let text = fs::read(&path).map_err(|e| failed("cannot read what the undo needs from", &path, &e))?;
    Ok(!text.is_empty())
}

/// It is done.
///
/// # Errors
/// When the state folder cannot be written.
pub fn close(state: &Path, name: &str) -> Result<(), KindError> {
    replace(&place(state, name), b"", 0o600)
}

fn place(state: &Path, name: &str) -> PathBuf {
    state.join("undo").join(name)
}

#[cfg(test)]
mod tests {
    use super::{close, is_open, note, place};
    use crate::bench::Bench;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn is_open_until_it_is_done() {
        let bench = Bench::new();
        let cx = bench.cx();
        let name = note(&cx, "url").unwrap();
        assert_ne!(name, note(&cx, "other").unwrap());
        let path = place(&cx.state, &name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(is_open(&cx.state, &name).unwrap() && is_open(&cx.state, &name).unwrap());
        close(&cx.state, &name).unwrap();
        assert!(!is_open(&cx.state, &name).unwrap());
        std::fs::remove_file(path).unwrap();
        assert!(is_open(&cx.state, &name).unwrap_err().message.starts_with("cannot read what the undo needs from"));
    }
}
