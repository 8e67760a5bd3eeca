//! One file, replaced whole and taken back: what `file/write` and `file/template` share.
//!
//! [`Written::plan`] says what would be done and how it is taken back, [`Written::put`] does it by
//! writing aside and renaming, [`Written::undo`] takes it back and is content when it was done before.

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_points::{Point, hit};
use trees_runner::kind::{Cx, KindError};

/// Content up to this many bytes stands in the record; more is kept in the state folder.
const INLINE: usize = 64 << 10;

/// How a file that was written is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The file (absolute).
    pub path: PathBuf,
    /// What was there; `None`: it was created.
    pub before: Option<Before>,
    /// The digest of what is written.
    pub sha256: String,
    /// The folders that are made for it, the outermost first.
    pub folders: Vec<PathBuf>,
}

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Its digest.
    pub sha256: String,
    /// Its mode.
    pub mode: u32,
    /// Its content, sealed: it may hold secrets of then. `None`: kept, sealed too, in the state folder under `undo/<sha256>`.
    pub sealed: Option<String>,
}

/// A file as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its content.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// A file's content and mode; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or is no file.
pub fn find(path: &Path) -> Result<Option<Found>, KindError> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound) => return Ok(None),
        Err(e) => return Err(failed("cannot look at", path, &e)),
    };
    if !meta.is_file() {
        return Err(KindError::new(format!("`{}` is {}, not a file", path.display(), if meta.is_dir() { "a folder" } else { "a device" })));
    }
    let content = fs::read(path).map_err(|e| failed("cannot read", path, &e))?;
    Ok(Some(Found { content, mode: meta.permissions().mode() & 0o7777 }))
}

impl Written {
    /// What writing `content` to `path` replaces; what is too large for the record is kept beside it.
    ///
    /// # Errors
    /// When what is there cannot be read or kept.
    pub fn plan(path: &Path, content: &[u8], cx: &Cx) -> Result<Self, KindError> {
        let path = resolved(path);
        let before = find(&path)?.map(|found| Before::keep(&found, cx)).transpose()?;
        Ok(Self { before, sha256: hash::bytes(content), folders: missing_folders(&path), path })
    }

    /// Writes `content` there.
    ///
    /// # Errors
    /// When it cannot be written; the old content stays then.
    pub fn put(&self, content: &[u8], mode: Option<u32>) -> Result<(), KindError> {
        replace(&self.path, content, mode.or(self.before.as_ref().map(|b| b.mode)).unwrap_or(0o644))
    }

    /// Puts back what was there.
    ///
    /// # Errors
    /// When somebody changed the file since, or it cannot be written.
    pub fn undo(&self, cx: &Cx) -> Result<(), KindError> {
        clear(&self.path);
        let now = find(&self.path)?;
        let digest = now.as_ref().map(|found| hash::bytes(&found.content));
        match &self.before {
            None if digest.is_none() => {}
            Some(before) if digest.as_ref() == Some(&before.sha256) => {
                return fs::set_permissions(&self.path, fs::Permissions::from_mode(before.mode))
                    .map_err(|e| failed("cannot write", &self.path, &e));
            }
            _ if digest.as_ref().is_some_and(|d| *d != self.sha256) => return Err(self.changed_since()),
            Some(before) => replace(&self.path, &before.content(cx)?, before.mode)?,
            None => fs::remove_file(&self.path).map_err(|e| failed("cannot remove", &self.path, &e))?,
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    fn changed_since(&self) -> KindError {
        KindError::new(format!("`{}` was changed by somebody after this step wrote it; it is left alone", self.path.display()))
            .help("put it right by hand, then go on with the rollback")
    }
}

impl Before {
    fn keep(found: &Found, cx: &Cx) -> Result<Self, KindError> {
        let (sha256, mode) = (hash::bytes(&found.content), found.mode);
        let sealed = cx.keeper.seal(&label(&sha256), &found.content)?;
        if found.content.len() <= INLINE {
            return Ok(Self { sha256, mode, sealed: Some(sealed) });
        }
        replace(&kept(&cx.state, &sha256), sealed.as_bytes(), 0o600)?;
        Ok(Self { sha256, mode, sealed: None })
    }

    fn content(&self, cx: &Cx) -> Result<Vec<u8>, KindError> {
        let path = kept(&cx.state, &self.sha256);
        let sealed = match &self.sealed {
            Some(sealed) => sealed.clone(),
            None => fs::read_to_string(&path).map_err(|e| failed("cannot read what was there before from", &path, &e))?,
        };
        cx.keeper.open(&label(&self.sha256), &sealed)
    }
}

/// What the content of a file is sealed as.
fn label(sha256: &str) -> String {
    format!("the file with the digest {sha256}")
}

fn kept(state: &Path, sha256: &str) -> PathBuf {
    state.join("undo").join(sha256)
}

/// A link is followed, so that the link stays one.
fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
    missing.reverse();
    missing
}

/// Writes aside, syncs and renames, so that a reader sees the old or the new content.
///
/// # Errors
/// When the folder cannot be made or written.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), KindError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|e| failed("cannot make the folder", folder, &e))?;
    let aside = aside(path);
    let write = || -> std::io::Result<()> {
        let mut file = own(&aside)?;
        let written = fill(&mut file, content, mode).and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&aside);
        }
        written?;
        hit(Point::FileNamed);
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|e| failed("cannot write", path, &e))
}

fn fill(file: &mut fs::File, content: &[u8], mode: u32) -> std::io::Result<()> {
    file.set_len(0)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    hit(Point::FileAside);
    Ok(())
}

/// Where a file is written before it has its name: always the same place, so that what a crash left
/// there is written over by the next attempt.
fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    path.with_file_name(format!(".trees-{}", &hash::bytes(name)[..16]))
}

/// Opens the file aside for one writer at a time: the lock dies with its holder. What is no file of
/// ours there, a link or a pipe, is not gone through: it is put out of the way.
fn own(aside: &Path) -> std::io::Result<fs::File> {
    loop {
        let Some(file) = opened(fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600), aside)? else {
            fs::remove_file(aside).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
            continue;
        };
        // A file system without locks has one writer or none that knows of the other.
        while flock(&file, FlockOperation::LockExclusive) == Err(Errno::INTR) {}
        // The one before may have given it its name meanwhile.
        if is_at(&file, aside) {
            return Ok(file);
        }
    }
}

/// A plain file of one name; none where something else is in its place.
fn opened(options: &mut fs::OpenOptions, path: &Path) -> std::io::Result<Option<fs::File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        // A link, and a pipe that nobody reads.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::LOOP | Errno::NXIO)) => return Ok(None),
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    Ok((meta.is_file() && meta.nlink() <= 1).then_some(file))
}

fn is_at(file: &fs::File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
    matches!((file.metadata(), path.symlink_metadata()), (Ok(a), Ok(b)) if same(&a, &b))
}

/// Removes what an attempt that died left aside, unless somebody writes there now.
fn clear(path: &Path) {
    let aside = aside(path);
    let Ok(Some(file)) = opened(fs::OpenOptions::new().write(true), &aside) else { return };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_at(&file, &aside) {
        let _ = fs::remove_file(&aside);
    }
}

/// An input or output error with its path.
pub fn failed(what: &str, path: &Path, error: &std::io::Error) -> KindError {
    KindError::new(format!("{what} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{aside, clear, own, replace};
    use std::fs;
    use std::path::Path;

    #[test]
    fn what_a_crash_left_aside_is_written_over_or_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note");
        let names = || fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
        fs::write(aside(&path), "longer than what comes").unwrap();
        replace(&path, b"short", 0o600).unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["note".into()], b"short".to_vec()));
        fs::write(aside(&path), "half").unwrap();
        let writer = own(&aside(&path)).unwrap();
        clear(&path);
        assert_eq!(names().len(), 2, "somebody writes there");
        drop(writer);
        clear(&path);
        assert_eq!(names(), ["note"]);
    }

    #[test]
    fn a_link_or_pipe_in_the_place_aside_is_not_gone_through() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("note"), folder.path().join("other"));
        let check = |put: &dyn Fn(&Path)| {
            fs::write(&other, "untouched").unwrap();
            put(&aside(&path));
            clear(&path);
            replace(&path, b"new", 0o600).unwrap();
            assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".to_vec(), b"untouched".to_vec()));
            assert!(fs::symlink_metadata(aside(&path)).is_err() && fs::symlink_metadata(&path).unwrap().is_file());
        };
        check(&|aside| std::os::unix::fs::symlink(&other, aside).unwrap());
        check(&|aside| std::os::unix::fs::symlink(folder.path().join("nowhere"), aside).unwrap());
        check(&|aside| std::os::unix::fs::symlink(aside, aside).unwrap());
        check(&|aside| fs::hard_link(&other, aside).unwrap());
        check(&|aside| assert!(std::process::Command::new("mkfifo").arg(aside).status().unwrap().success()));
    }

    #[test]
    fn many_writers_of_one_file_leave_one_whole_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note");
        std::thread::scope(|scope| {
            for n in 0_u8..8 {
                let path = &path;
                scope.spawn(move || (0..50).for_each(|_| replace(path, &vec![n; 4096], 0o644).unwrap()));
            }
        });
        let content = fs::read(&path).unwrap();
        assert!(content.len() == 4096 && content.iter().all(|byte| *byte == content[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
