//! The files of a folder of backups: each dump has a note beside it that says whose it is.

use crate::file::{failed, replace};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// What is known of a backup; `<file>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// `trees:<project>/<environment>`.
    pub mark: String,
    /// Where it was dumped, and as whom.
    pub server: String,
    /// The database.
    pub database: String,
    /// What it belongs to.
    pub release: Option<String>,
    /// The run that made it.
    pub run: String,
    /// Stable over the attempts of one step in one run.
    pub key: String,
    /// When.
    pub taken_at: Timestamp,
    /// Of the dump.
    pub sha256: String,
    /// Of the dump.
    pub size: u64,
    /// The server's version.
    pub server_version: String,
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".json");
    path.with_file_name(name)
}

impl Note {
    /// Of a dump.
    pub fn of(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(beside(path)).ok()?).ok()
    }

    /// Gives a dump its name. The note is there first: a dump without one would be nobody's.
    ///
    /// # Errors
    /// When it cannot be written, or the name is another's.
    pub fn put(&self, path: &Path, aside: &Path) -> Result<(), KindError> {
        let foreign = match Self::of(path) {
            Some(there) => there.mark != self.mark,
            None => path.exists(),
        };
        if foreign {
            return Err(KindError::new(format!("`{}` is there already, and was not made by this step: it is left alone", path.display()))
                .help("give another `folder` or `release`"));
        }
        let text = serde_json::to_vec_pretty(self).map_err(|e| KindError::new(e.to_string()))?;
        replace(&beside(path), &text, 0o600)?;
        fs::rename(aside, path).map_err(|e| failed("cannot name", path, &e))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed("cannot sync", folder, &e))
    }
}

/// All dumps of a folder that have a note.
pub fn notes(folder: &Path) -> Vec<(PathBuf, Note)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|e| e == "dump")).filter_map(|path| Note::of(&path).map(|note| (path, note))).collect()
}

/// The backups of a database that a project and environment made, but the one at `path` and the newest beside it
/// until there are `keep`: only their number counts, not what they belong to.
pub fn surplus(folder: &Path, (mark, database): (&str, &str), path: Option<&Path>, keep: usize) -> Vec<(PathBuf, Note)> {
    let mut others = notes(folder);
    others.retain(|(other, note)| Some(other.as_path()) != path && note.mark == mark && note.database == database);
    others.sort_by_key(|(_, note)| std::cmp::Reverse(note.taken_at));
    others.split_off(others.len().min(keep.saturating_sub(1)))
}

/// Removes what is too many beside the one just made.
///
/// # Errors
/// When one cannot be removed.
pub fn prune(folder: &Path, own: &Note, path: &Path, keep: usize, cx: &Cx) -> Result<(), KindError> {
    for (old, _) in surplus(folder, (&own.mark, &own.database), Some(path), keep) {
        fs::remove_file(&old).map_err(|e| failed("cannot remove", &old, &e))?;
        let note = beside(&old);
        fs::remove_file(&note).map_err(|e| failed("cannot remove", &note, &e))?;
        cx.log(format!("removed {}, an older backup", old.display()));
    }
    Ok(())
}

/// An empty file that only its owner can read, for a dump to be written to.
///
/// # Errors
/// When it cannot be made.
pub fn begin(aside: &Path) -> Result<(), KindError> {
    let removed = fs::remove_file(aside).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) });
    removed
        .and_then(|()| fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside))
        .map(drop)
        .map_err(|e| failed("cannot write", aside, &e))
}

/// Brings a dump to the disk; its digest and size.
///
/// # Errors
/// When it cannot be synced or read.
pub async fn settle(aside: &Path) -> Result<(String, u64), KindError> {
    fs::File::open(aside).and_then(|file| file.sync_all()).map_err(|e| failed("cannot sync", aside, &e))?;
    digest(aside).await?.ok_or_else(|| KindError::new(format!("`{}` is gone", aside.display())))
}

/// Digest and size of a file; `None`: it is not there.
///
/// # Errors
/// When it cannot be read.
pub async fn digest(path: &Path) -> Result<Option<(String, u64)>, KindError> {
    let owned = path.to_path_buf();
    let read = tokio::task::spawn_blocking(move || read(&owned)).await.map_err(|e| KindError::new(e.to_string()))?;
    match read {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("cannot read", path, &e)),
    }
}

fn read(path: &Path) -> io::Result<(String, u64)> {
    let mut file = fs::File::open(path)?;
    let (mut digest, mut size, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((hash::hex(&digest.finalize()), size)),
            read => {
                digest.update(&chunk[..read]);
                size += read as u64;
            }
        }
    }
}
