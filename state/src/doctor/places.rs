//! What stands in the state folder, looked at without opening the database: modes, the file system,
//! room, and whether each file and folder of ours is one.

use super::Finding;
use crate::error::{AWAY, io_unusable};
use crate::folder::{self, is_run_id};
use crate::{database, filesystem};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use trees_core::journal::JournalError;

/// Less is said to be little.
const LITTLE: u64 = 256 << 20;
/// A commit takes no more, as a rule.
const PROBE: usize = 64 << 10;
/// Things in the wrong place that are named.
const NAMED: usize = 5;

/// All that can be told of a folder that is there.
pub(super) fn look(folder: &Path) -> Vec<Finding> {
    let mut found = vec![mode(folder), file_system(folder), space(folder), writing(folder)];
    match misplaced(folder) {
        Ok(wrong) if wrong.is_empty() => {}
        Ok(wrong) => found.extend(wrong.into_iter().take(NAMED)),
        Err(error) => found.push(Finding::refused("locks", &error)),
    }
    found
}

/// What is said where there is no database.
pub(super) fn missing(folder: &Path) -> Finding {
    let place = database::Place { folder: folder.into(), durability: crate::Durability::Full, unwritable: None };
    match place.check_missing() {
        Err(error) => Finding::refused("database", &error),
        Ok(()) => Finding::good("database", "there is no database yet"),
    }
}

fn mode(folder: &Path) -> Finding {
    let database = folder.join("trees.db");
    let of = |path: &Path| path.metadata().map(|there| there.permissions().mode() & 0o777);
    match of(folder) {
        Ok(mode) if mode & 0o077 != 0 => {
            let text = format!("others may enter {} (mode {mode:03o})", folder.display());
            Finding::bad("folder", text, &format!("chmod 700 {}", folder.display()))
        }
        Ok(mode) if mode & 0o700 != 0o700 => {
            let text = format!("its owner may not write {} (mode {mode:03o})", folder.display());
            Finding::bad("folder", text, &format!("chmod 700 {}", folder.display()))
        }
        Ok(_) => match of(&database) {
            Ok(mode) if mode & 0o600 != 0o600 => {
                let text = format!("its owner may not write {} (mode {mode:03o})", database.display());
                Finding::bad("folder", text, &format!("chmod 600 {}", database.display()))
            }
            _ => Finding::good("folder", "nobody else may enter it"),
        },
        Err(error) => Finding::bad("folder", format!("{}: {error}", folder.display()), "see to its owner and mode"),
    }
}

fn file_system(folder: &Path) -> Finding {
    match filesystem::network(folder) {
        Ok(None) => Finding::good("file system", "local"),
        Ok(Some(name)) => {
            Finding::bad("file system", format!("{name}, over the network"), "choose a local folder with --state or TREES_STATE")
        }
        Err(error) => Finding::bad("file system", error.to_string(), "see to the mount"),
    }
}

fn space(folder: &Path) -> Finding {
    match filesystem::free(folder) {
        Ok(free) if free < LITTLE => Finding::note("space", format!("{} MiB free", free >> 20), "trees gc, or free some space"),
        Ok(free) => Finding::good("space", format!("{} MiB free", free >> 20)),
        Err(error) => Finding::note("space", error.to_string(), "see to the mount"),
    }
}

/// What the system says of free space is not what it gives (quotas, reserves, mounts): a small file
/// is written, synced and taken away.
fn writing(folder: &Path) -> Finding {
    if let Some((what, cure)) = folder::unwritable(folder) {
        return Finding::bad("writing", what, &cure);
    }
    let path = folder.join(".trees-probe");
    // One that was killed here has left it.
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = opened.and_then(|mut file| file.write_all(&[0; PROBE]).and_then(|()| file.sync_all()));
    let gone = match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        gone => gone,
    };
    match written.and(gone) {
        Ok(()) => Finding::good("writing", "a file can be written and synced"),
        Err(error) => Finding::refused("writing", &io_unusable(folder, "writing", &path, &error)),
    }
}

/// What stands where a file or folder of ours belongs and is none.
fn misplaced(folder: &Path) -> Result<Vec<Finding>, JournalError> {
    let mut files: Vec<PathBuf> = vec![folder.join("write.lock")];
    let mut wrong = Vec::new();
    for (name, below) in [("runs", Some("lock")), ("locks", Some("")), ("artifacts", None), ("deploy", None)] {
        let home = folder.join(name);
        match home.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            _ if !home.is_dir() => {
                wrong.push(Finding::bad("locks", format!("{} is no folder", home.display()), AWAY));
                continue;
            }
            _ => {}
        }
        if let Some(below) = below {
            let names = folder::names(folder, &home)?;
            let ours = names.into_iter().filter(|name| below.is_empty() || is_run_id(name));
            files.extend(ours.map(|name| if below.is_empty() { home.join(name) } else { home.join(name).join(below) }));
        }
    }
    for file in files {
        match file.metadata() {
            Ok(there) if !there.is_file() => wrong.push(Finding::bad("locks", format!("{} is no file", file.display()), AWAY)),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                wrong.push(Finding::refused("locks", &io_unusable(folder, "looking at", &file, &error)));
            }
            _ => {}
        }
    }
    Ok(wrong)
}
