//! The folders below the state folder, and names that stay inside them.

use crate::error::{FREE, io_unusable, unusable};
use crate::filesystem;
use crate::state::State;
use rustix::fs::Access;
use rustix::io::Errno;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_core::journal::JournalError;
use trees_core::path::{RunId, StepPath};

/// Where else the state can be.
const ELSEWHERE: &str = "name another folder with --state or TREES_STATE";
/// Longer names are cut and marked with their digest; file systems end at 255 bytes.
const LONGEST: usize = 180;

/// Makes the state folder and says where it is, absolutely.
pub(crate) fn make(folder: &Path) -> Result<PathBuf, JournalError> {
    let folder = absolute(folder)?;
    is_there(&folder, &folder.join("trees.db"))?;
    if let Some((what, cure)) = unwritable(&folder) {
        return Err(unusable(&folder, format!("{what}; {cure}")));
    }
    refuse_foreign(&folder)?;
    if let Some(there) = folder.ancestors().find(|ancestor| ancestor.exists()) {
        filesystem::refuse_network(there)?;
    }
    make_durable(&folder, &folder)?;
    let mode = fs::metadata(&folder).map_err(|error| io_unusable(&folder, "looking at", &folder, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        let tight = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&folder, tight).map_err(|error| io_unusable(&folder, "making private", &folder, &error))?;
    }
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        fs::write(&ignore, "*\n").map_err(|error| io_unusable(&folder, "writing", &ignore, &error))?;
    }
    filesystem::refuse_network(&folder)?;
    absolute(&folder)
}

/// `--state .` must not make a project private and hide it from git.
fn refuse_foreign(folder: &Path) -> Result<(), JournalError> {
    let ours =
        folder.file_name().is_some_and(|name| name == ".trees") || folder.join("trees.db").exists() || folder.join("write.lock").exists();
    let used = || fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if ours || !used() {
        return Ok(());
    }
    Err(unusable(folder, "it holds other things; name a new or empty folder with --state or TREES_STATE"))
}

/// Whether a file of the state is there: one that may not be looked at is not one that is missing.
pub(crate) fn is_there(state: &Path, path: &Path) -> Result<bool, JournalError> {
    match path.metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let file = path.ancestors().find(|above| above.metadata().is_ok_and(|there| !there.is_dir())).unwrap_or(path);
            Err(unusable(state, format!("{} is no folder; move it away, or {ELSEWHERE}", file.display())))
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let (what, cure) = unreadable(path);
            Err(unusable(state, format!("{what}; {cure}")))
        }
        Err(error) => Err(io_unusable(state, "looking at", path, &error)),
    }
}

/// What is said of a file that may not be read, and the cure: the nearest thing above it that can be
/// looked at tells whose it is.
pub(crate) fn unreadable(path: &Path) -> (String, String) {
    let seen = path.ancestors().find_map(|above| Some((above, above.metadata().ok()?)));
    match seen {
        Some((above, there)) => forbidden("read", above, &there),
        None => (format!("you may not read {}", path.display()), ELSEWHERE.into()),
    }
}

/// What is said of a file that may not be read or written, and the cure.
fn forbidden(deed: &str, path: &Path, there: &fs::Metadata) -> (String, String) {
    let (owner, mode) = (there.uid(), there.permissions().mode() & 0o777);
    let what = format!("you may not {deed} {} (it is of user {owner}, mode {mode:03o})", path.display());
    let own = owner == rustix::process::geteuid().as_raw();
    let first = if own { format!("chmod u+rwX {}", path.display()) } else { "run the command as that user".into() };
    (what, format!("{first}, or {ELSEWHERE}"))
}

/// Why nothing can be written to a state folder that is there, and the cure; `None` where it can be.
pub(crate) fn unwritable(folder: &Path) -> Option<(String, String)> {
    let full = || filesystem::is_full(folder).then(|| (format!("the disk of {} is full", folder.display()), FREE.into()));
    closed(folder).or_else(full)
}

/// The same where it is a matter of rights.
fn closed(folder: &Path) -> Option<(String, String)> {
    let files = ["", "trees.db", "trees.db-wal", "trees.db-shm", "write.lock"].map(|name| folder.join(name));
    files.iter().find_map(|path| {
        // One that is not there may be made by another process the next moment.
        let refused = rustix::fs::access(path, Access::WRITE_OK).err().filter(|refused| *refused != Errno::NOENT)?;
        let there = path.metadata().ok()?;
        if refused == Errno::ROFS {
            let what = format!("{} is on a file system that is mounted read-only", folder.display());
            return Some((what, format!("mount it for writing, or {ELSEWHERE}")));
        }
        Some(forbidden("write", path, &there))
    })
}

/// Whether we may write there and so little room is left that a commit may not fit.
pub(crate) fn is_short(folder: &Path) -> bool {
    const LITTLE: u64 = 16 << 20;
    closed(folder).is_none() && filesystem::free(folder).is_ok_and(|free| free < LITTLE)
}

/// The folder as an absolute path, its links resolved where it exists.
pub(crate) fn absolute(folder: &Path) -> Result<PathBuf, JournalError> {
    folder.canonicalize().or_else(|_| std::path::absolute(folder)).map_err(|error| io_unusable(folder, "finding", folder, &error))
}

/// Makes a folder and its parents, for the owner only.
pub(crate) fn make_private(state: &Path, folder: &Path) -> Result<(), JournalError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| io_unusable(state, "making", folder, &error))
}

/// The same, and durable: each name that was made is synced with the folder it stands in.
pub(crate) fn make_durable(state: &Path, folder: &Path) -> Result<(), JournalError> {
    let new: Vec<&Path> = folder.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    make_private(state, folder)?;
    new.iter().filter_map(|made| made.parent()).try_for_each(|parent| sync(state, parent))
}

/// Makes the names in a folder durable.
pub(crate) fn sync(state: &Path, folder: &Path) -> Result<(), JournalError> {
    let synced = fs::File::open(folder).and_then(|open| open.sync_all());
    let failed = |error: std::io::Error| {
        let what = format!("syncing {} failed: {error}", folder.display());
        unusable(state, format!("{what}; see to the disk, or choose a folder of another file system with --state or TREES_STATE"))
    };
    synced.map_err(failed)
}

/// One path component for any text: never empty, `.`, `..`, hidden, or too long.
pub(crate) fn component(text: &str) -> String {
    let name = StepPath(text.into()).folder();
    if name.is_empty() {
        return "%".into();
    }
    match name.get(..LONGEST) {
        Some(start) if name.len() > LONGEST => format!("{start}-{}", &hash::bytes(text.as_bytes())[..16]),
        _ => name,
    }
}

/// The names in a folder of the state, sorted; none where it is not there yet.
pub(crate) fn names(state: &Path, folder: &Path) -> Result<Vec<String>, JournalError> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, std::io::Error>>();
    let mut names: Vec<String> = match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => {
            let read = read.map_err(|error| io_unusable(state, "reading", folder, &error))?;
            // What we name is UTF-8.
            read.into_iter().filter_map(|name| name.into_string().ok()).collect()
        }
    };
    names.sort();
    Ok(names)
}

/// Whether a text has the form of a run's id: a folder may be named so.
pub(crate) fn is_run_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| b"0123456789abcdefghjkmnpqrstvwxyz".contains(&byte))
}

impl State {
    /// The folder of a run, whether it exists or not.
    pub(crate) fn run_folder(&self, run: &RunId) -> Result<PathBuf, JournalError> {
        if is_run_id(&run.0) { Ok(self.dir().join("runs").join(&run.0)) } else { Err(JournalError::Unknown(run.0.clone())) }
    }

    /// The folder of an attempt, whether it exists or not: where its logs are read.
    ///
    /// # Errors
    /// When the run's id has not the form of one.
    pub fn attempt_path(&self, run: &RunId, step: &StepPath, attempt: u32) -> Result<PathBuf, JournalError> {
        Ok(self.run_folder(run)?.join("steps").join(component(step.as_str())).join(attempt.to_string()))
    }

    /// Where `deploy/process` keeps a service of an environment.
    #[must_use]
    pub fn deploy_folder(&self, project: &str, environment: &str, name: &str) -> PathBuf {
        self.dir().join("deploy").join(component(project)).join(component(environment)).join(component(name))
    }

    /// A fresh path for work aside in a folder, on the same file system as what it will become.
    pub(crate) fn aside(&self, folder: &Path) -> Result<PathBuf, JournalError> {
        Ok(folder.join(format!(".trees-{}", crate::generate::id().map_err(|error| unusable(self.dir(), error))?)))
    }
}
