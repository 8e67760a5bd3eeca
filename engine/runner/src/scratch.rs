//! Folders that an attempt has for itself and that are removed after it: its TMPDIR, and the files
//! of the secrets that it gets `as: file`.
//!
//! The names begin with the run's id, so that [`sweep`] finds what a crash left.

use rustix::fs::statfs;
use std::fs::{File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use trees_core::journal::{JournalError, cure_of_disk};
use trees_core::path::RunId;

/// A fresh folder for `TMPDIR`, mode 0700, removed when dropped. It is in the temporary folder of
/// the system, as the paths of sockets must be short.
///
/// # Errors
/// When it cannot be made.
fn temporary(run: &RunId) -> io::Result<Folder> {
    Folder::new(run, &std::env::temp_dir())
}

/// A folder of nobody else, mode 0700, removed when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    /// Its error is the system's own word: whether the disk is full must be seen in it.
    fn new(run: &RunId, base: &Path) -> io::Result<Self> {
        let make = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
        let made = tempfile::Builder::new().prefix(&prefix(run)).make_in(base, make)?;
        Ok(Self(made.into_temp_path().keep().map_err(|e| e.error)?))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn prefix(run: &RunId) -> String {
    format!("trees-{run}-")
}

/// The scratch folders of a sitting. One that an attempt leaves as it got it is given to a later
/// attempt: making and removing folders is what costs most beside the processes themselves.
#[derive(Clone)]
pub struct Pool {
    run: RunId,
    free: Free,
    tidy: Tidy,
}

/// Folders that can be given again.
type Free = Arc<Mutex<Vec<Fresh>>>;

/// A folder as an attempt gets it.
struct Fresh {
    folder: Folder,
    /// How its parts looked then; none where that would not show every change.
    looks: Option<[Look; 3]>,
}

/// What changes with whatever is done to a file or folder.
#[derive(PartialEq, Eq)]
struct Look {
    number: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Where folders are looked through and removed: a step may leave a million files.
#[derive(Clone)]
struct Tidy {
    workers: Handle,
    tasks: TaskTracker,
}

/// The scratch folder of one attempt: an empty TMPDIR, the file behind `$TREES_OUTPUT`, the file
/// behind `$TREES_INPUTS`.
pub struct Scratch {
    folder: Option<Fresh>,
    free: Free,
    tidy: Tidy,
    used: Vec<PathBuf>,
}

const TMP: &str = "tmp";
/// Longer than the clock of any file system stands still, and too short for anybody who clears away
/// what is old.
const BEFORE: Duration = Duration::from_secs(60);
const NOTHING: &str = "nothing.json";

impl Pool {
    /// For a run; what attempts leave is tidied up on `workers`.
    pub fn new(run: RunId, workers: Handle) -> Self {
        Self { run, free: Arc::default(), tidy: Tidy { workers, tasks: TaskTracker::new() } }
    }

    /// Waits until what attempts have left so far is tidied up.
    pub async fn tidied(&self) {
        self.tidy.tasks.close();
        self.tidy.tasks.wait().await;
    }

    /// A fresh one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn take(&self) -> io::Result<Scratch> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let folder = match free {
            Some(folder) => folder,
            None => {
                let folder = temporary(&self.run)?;
                std::fs::create_dir(folder.path().join(TMP))?;
                std::fs::write(folder.path().join(NOTHING), b"{}")?;
                Fresh::of(folder)
            }
        };
        Ok(Scratch { folder: Some(folder), free: Arc::clone(&self.free), tidy: self.tidy.clone(), used: Vec::new() })
    }
}

impl Scratch {
    /// Where a file of it is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().map(|f| f.folder.path().join(name)).unwrap_or_default()
    }

    /// The attempt's TMPDIR, empty.
    pub fn tmp(&self) -> PathBuf {
        self.path(TMP)
    }

    /// A file that does not exist yet.
    pub fn file(&mut self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.used.push(path.clone());
        path
    }

    /// A file that holds an empty JSON object.
    pub fn nothing(&self) -> PathBuf {
        self.path(NOTHING)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(fresh) = self.folder.take() else { return };
        if fresh.is_untouched() {
            return give(&self.free, fresh);
        }
        let (free, used) = (Arc::clone(&self.free), std::mem::take(&mut self.used));
        let tidy = move || {
            let Fresh { folder, .. } = fresh;
            if is_fresh(folder.path(), &used) {
                give(&free, Fresh::of(folder));
            }
        };
        self.tidy.tasks.spawn_blocking_on(tidy, &self.tidy.workers);
    }
}

fn give(free: &Free, fresh: Fresh) {
    free.lock().unwrap_or_else(PoisonError::into_inner).push(fresh);
}

impl Fresh {
    /// The clock of a file system may stand still for some milliseconds: only a time from before shows
    /// a change at once.
    fn of(folder: Folder) -> Self {
        let looks = || {
            let before = FileTimes::new().set_modified(SystemTime::now().checked_sub(BEFORE).ok_or(io::ErrorKind::Other)?);
            for part in parts(folder.path()) {
                File::open(part)?.set_times(before)?;
            }
            looks(folder.path())
        };
        Self { looks: looks().ok(), folder }
    }

    fn is_untouched(&self) -> bool {
        self.looks.is_some() && looks(self.folder.path()).ok() == self.looks
    }
}

fn parts(folder: &Path) -> [PathBuf; 3] {
    [folder.into(), folder.join(TMP), folder.join(NOTHING)]
}

fn looks(folder: &Path) -> io::Result<[Look; 3]> {
    let [folder, tmp, nothing] = parts(folder);
    Ok([Look::at(&folder)?, Look::at(&tmp)?, Look::at(&nothing)?])
}

impl Look {
    fn at(path: &Path) -> io::Result<Self> {
        let found = path.symlink_metadata()?;
        Ok(Self {
            number: found.ino(),
            mode: found.mode(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Whether the next attempt would get the folder as this one did, once its own files are gone.
fn is_fresh(folder: &Path, used: &[PathBuf]) -> bool {
    let removed = |path: &PathBuf| match std::fs::remove_file(path) {
        Ok(()) => true,
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    };
    let names = |path: &Path| std::fs::read_dir(path).map(|d| d.flatten().count());
    let tmp = folder.join(TMP);
    used.iter().all(removed)
        && names(&tmp).is_ok_and(|n| n == 0)
        && names(folder).is_ok_and(|n| n == 2)
        && std::fs::read(folder.join(NOTHING)).is_ok_and(|b| b == b"{}")
        && tmp.symlink_metadata().is_ok_and(|m| m.is_dir() && m.permissions().mode() & 0o700 == 0o700)
}

/// Secrets as files, removed when dropped.
#[derive(Debug)]
pub struct SecretFiles {
    folder: Folder,
}

impl SecretFiles {
    /// An empty folder, in memory where this system has one for that, else in `fallback`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(run: &RunId, fallback: &Path) -> io::Result<Self> {
        let make = |base: &Path| Folder::new(run, base);
        let folder = memory_folders().iter().find_map(|base| make(base).ok()).map_or_else(|| make(fallback), Ok)?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes one secret, mode 0600, and tells where.
    ///
    /// # Errors
    /// When it cannot be written, or a name is given twice.
    pub fn add(&self, name: &str, value: &str) -> io::Result<PathBuf> {
        let path = self.folder.path().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(value.as_bytes())?;
        Ok(path)
    }
}

/// Folders whose content is never written to a disk (but to swap).
fn memory_folders() -> Vec<PathBuf> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let is_memory = |path: &PathBuf| {
        let kind = statfs(path).ok().and_then(|s| u64::try_from(s.f_type).ok()).map(|t| t & 0xffff_ffff);
        cfg!(target_os = "linux") && path.is_absolute() && matches!(kind, Some(TMPFS | RAMFS))
    };
    runtime.into_iter().chain([PathBuf::from("/dev/shm")]).filter(is_memory).collect()
}

/// The system's folder for what is kept for a moment is full or fails, told with what helps there; none
/// where that is not why `path` could not be written.
pub fn refused(path: &Path, error: &io::Error) -> Option<JournalError> {
    let base = std::env::temp_dir();
    let own = path.starts_with(&base);
    let cure = match cure_of_disk(error)? {
        _ if error.kind() == io::ErrorKind::ReadOnlyFilesystem => "make it writable".to_owned(),
        cure => format!("{cure} there"),
    };
    let cure = if own { format!("{cure}, or set TMPDIR to another folder") } else { cure };
    let folder = if own { base } else { path.into() };
    Some(JournalError::Temporary { folder, message: format!("writing {} failed: {error}; {cure}", path.display()) })
}

/// Removes what attempts of a run left behind when `trees` was killed; how many folders. The run
/// must be held and none of its processes alive.
pub fn sweep(run: &RunId) -> usize {
    left(run).filter(|folder| std::fs::remove_dir_all(folder).is_ok()).count()
}

/// Whether attempts of a run have folders, its own or what a crash left.
pub fn is_left(run: &RunId) -> bool {
    left(run).next().is_some()
}

fn left(run: &RunId) -> impl Iterator<Item = PathBuf> {
    let prefix = prefix(run);
    let entries =
        memory_folders().into_iter().chain([std::env::temp_dir()]).flat_map(|base| std::fs::read_dir(base).into_iter().flatten().flatten());
    let ours = entries
        .filter(move |entry| entry.file_type().is_ok_and(|t| t.is_dir()) && entry.file_name().to_string_lossy().starts_with(&prefix));
    ours.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn secrets_as_files_are_for_one_owner_and_go_with_the_attempt() {
        let fallback = tempfile::tempdir().unwrap();
        let files = SecretFiles::new(&RunId("secretfilesrun".into()), fallback.path()).unwrap();
        let path = files.add("KEY", "value\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "value\n");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(files.add("KEY", "again").is_err());
        drop(files);
        assert!(!path.parent().unwrap().exists());
    }

    #[tokio::test]
    async fn a_scratch_folder_is_used_again_only_when_it_is_as_it_was() {
        let pool = Pool::new(RunId("scratchpool1".into()), Handle::current());
        let mut first = pool.take().unwrap();
        let (tmp, output) = (first.tmp(), first.file("outputs"));
        std::fs::write(&output, "a=1").unwrap();
        drop(first);
        pool.tidied().await;
        assert!(!output.exists());
        let second = pool.take().unwrap();
        assert_eq!((second.tmp(), std::fs::read(second.nothing()).unwrap()), (tmp.clone(), b"{}".to_vec()));
        std::fs::write(tmp.join("left"), "x").unwrap();
        drop(second);
        pool.tidied().await;
        assert!(!tmp.exists());
        let third = pool.take().unwrap();
        std::fs::write(third.nothing(), "[]").unwrap();
        let gone = third.tmp();
        drop(third);
        pool.tidied().await;
        let fourth = pool.take().unwrap();
        assert_ne!(fourth.tmp(), gone);
        // Nothing was done to it: it is there at once.
        let again = fourth.tmp();
        drop(fourth);
        assert_eq!(pool.take().unwrap().tmp(), again);
    }

    #[test]
    fn a_sweep_takes_what_a_crash_left_of_that_run_only() {
        let (run, other) = (RunId("sweeprun0001".into()), RunId("sweeprun0002".into()));
        let left = std::mem::ManuallyDrop::new(temporary(&run).unwrap()).path().to_owned();
        std::fs::write(left.join("file"), "x").unwrap();
        let kept = temporary(&other).unwrap();
        assert_eq!((mode(&left), sweep(&run), sweep(&run)), (0o700, 1, 0));
        assert!(!left.exists() && kept.path().exists());
    }
}
