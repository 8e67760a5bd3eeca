//! Kernel locks on files: they die with their holder, whatever happens to it.

use crate::error::{AWAY, io_unusable, unusable};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use trees_core::journal::JournalError;

/// A lock file, open and not locked by us. Its descriptor is not inherited.
#[derive(Debug)]
pub(crate) struct Flock {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    /// Device and number of the file.
    which: (u64, u64),
}

/// Unlocks when dropped.
pub(crate) struct Turn<'a>(&'a File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Closing the descriptor would do it too; nothing can be done about a failure.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// Closing alone would not do while a child between fork and exec still has a copy.
impl Drop for Flock {
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Flock {
    /// Opens or makes the file; `folder` is the state folder, for messages.
    pub(crate) fn open(folder: &Path, path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let opened = file.and_then(|file| Ok((which(&file.metadata()?), file)));
        let (which, file) = opened.map_err(|error| io_unusable(folder, "opening", path, &error))?;
        Ok(Self { folder: folder.into(), path: path.into(), file, which })
    }

    /// The same for a look at who holds it: nothing is made or written. `None` where there is no such file.
    pub(crate) fn look(folder: &Path, path: &Path) -> Result<Option<Self>, JournalError> {
        let failed = |error| io_unusable(folder, "looking at", path, &error);
        let found = match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed)?,
        };
        if !found.is_file() {
            return Err(unusable(folder, format!("{} is no file; {AWAY}", path.display())));
        }
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => Ok(Some(Self { folder: folder.into(), path: path.into(), file: file.map_err(failed)?, which: which(&found) })),
        }
    }

    /// Waits for the lock, however long; the kernel serves the waiting in order.
    pub(crate) fn wait(&self) -> Result<Turn<'_>, JournalError> {
        loop {
            match flock(&self.file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Turn(&self.file)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Waits for the lock and keeps it until this value is dropped.
    pub(crate) fn hold(&self) -> Result<(), JournalError> {
        std::mem::forget(self.wait()?);
        Ok(())
    }

    /// Takes the lock if it is free now.
    pub(crate) fn try_turn(&self) -> Option<Turn<'_>> {
        flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok().then(|| Turn(&self.file))
    }

    /// Takes the lock if it is free, until this value is dropped. A listing may look at the lock
    /// for a moment, so a busy one is tried again a few times.
    pub(crate) fn take(&self) -> Result<bool, JournalError> {
        for pause in [1, 2, 4, 8, 0] {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(pause)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(false)
    }

    /// Whether somebody holds the lock.
    pub(crate) fn is_taken(&self) -> Result<bool, JournalError> {
        loop {
            match flock(&self.file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {
                    drop(Turn(&self.file));
                    return Ok(false);
                }
                Err(Errno::WOULDBLOCK) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Whether the path still leads to the file that is locked.
    pub(crate) fn is_current(&self) -> bool {
        self.path.metadata().is_ok_and(|found| which(&found) == self.which)
    }

    /// Whether the path leads to another file: ours was removed, and somebody has locked one of his own.
    pub(crate) fn is_replaced(&self) -> bool {
        self.path.metadata().is_ok_and(|found| which(&found) != self.which)
    }

    /// Says who holds it.
    pub(crate) fn sign(&mut self, text: &str) -> Result<(), JournalError> {
        let mut write = || -> std::io::Result<()> {
            self.file.rewind()?;
            self.file.write_all(text.as_bytes())?;
            self.file.set_len(text.len() as u64)
        };
        write().map_err(|error| io_unusable(&self.folder, "writing", &self.path, &error))
    }

    /// Makes what was said durable.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_all().map_err(|error| io_unusable(&self.folder, "syncing", &self.path, &error))
    }

    /// What the holder said.
    pub(crate) fn signature(&mut self) -> String {
        let mut text = String::new();
        // A message without a name is better than none.
        let _ = self.file.rewind().and_then(|()| self.file.read_to_string(&mut text));
        text
    }

    fn failed(&self, error: Errno) -> JournalError {
        unusable(
            &self.folder,
            format!(
                "locking {} failed: {error}; the file system must know flock: choose a local folder with --state or TREES_STATE",
                self.path.display()
            ),
        )
    }
}

/// No other file has the same two while this one is open.
fn which(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
