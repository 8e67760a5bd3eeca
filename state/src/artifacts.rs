//! Artifacts by content: `artifacts/<2 hex>/<sha256>` is a file or a folder, written aside, synced
//! and renamed, never changed after. A file is named by its bytes, a folder by its canonical
//! listing (paths, executable bits, link targets, digests).

use crate::export;
use crate::folder;
use crate::state::State;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fmt::{self, Display};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;
use trees_core::event::ArtifactRef;
use trees_core::hash;
use trees_core::journal::{JournalError, cure_of_disk};
use trees_points::{Point, hit};

/// What a file or folder is made of.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    sha256: String,
    size: u64,
}

/// One line of a folder's canonical listing: path, sort (`file`, `executable`, `link`, `folder`),
/// digest or target.
type Line = (String, &'static str, String);

impl State {
    /// Where content of this digest is, if it is there; `None` for what is no digest.
    pub(crate) fn object(&self, sha256: &str) -> Option<PathBuf> {
        let hex = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| self.dir().join("artifacts").join(&sha256[..2]).join(sha256))
    }

    pub(crate) fn keep_artifact(&self, from: &Path, path: &str) -> Result<ArtifactRef, JournalError> {
        let failed = |broken: Broken| self.unkept(&format!("keeping the artifact {path}"), &broken);
        let home = self.dir().join("artifacts");
        folder::make_durable(self.dir(), &home)?;
        let aside = self.aside(&home)?;
        hit(Point::BeforeArtifact);
        let kept = copy(from, &aside).and_then(|content| self.place(&aside, content).map_err(Broken::writing(&aside)));
        if kept.is_err() || aside.symlink_metadata().is_ok() {
            // What could not be kept, or was there already.
            let _ = remove(&aside);
        }
        let content = kept.map_err(failed)?;
        hit(Point::AfterArtifact);
        Ok(ArtifactRef { path: path.into(), sha256: content.sha256, size: content.size })
    }

    /// Renames what was written aside to its name, unless the same is there in good order.
    fn place(&self, aside: &Path, content: Content) -> io::Result<Content> {
        hit(Point::ArtifactAside);
        let object = self.object(&content.sha256).ok_or_else(|| io::Error::other("a digest is no digest"))?;
        let shelf = object.parent().ok_or_else(|| io::Error::other("an object has no folder"))?;
        fs::create_dir_all(shelf)?;
        if object.symlink_metadata().is_ok() {
            if measure(&object).is_ok_and(|there| there == content) {
                make_executable_like(aside, &object)?;
                // Young again, so that nobody clears it away before it is recorded.
                File::open(&object)?.set_modified(SystemTime::now())?;
                return Ok(content);
            }
            remove(&object)?;
        }
        sync(aside)?;
        match fs::rename(aside, &object) {
            // Another process was first with the same folder.
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
            other => other?,
        }
        hit(Point::ArtifactNamed);
        File::open(shelf)?.sync_all()?;
        File::open(self.dir().join("artifacts"))?.sync_all()?;
        Ok(content)
    }

    /// A disk of the state that is full or fails is the state's trouble, all else the step's: what it made,
    /// and the folder it works in.
    fn unkept(&self, what: &str, broken: &Broken) -> JournalError {
        let text = format!("{what} failed: {} {}", broken.deed, broken.path.display());
        let disk = JournalError::of_disk(self.dir(), &broken.path, &text, &broken.error);
        disk.unwrap_or_else(|| JournalError::Unkept(format!("{what} failed: {broken}")))
    }

    pub(crate) fn restore_artifact(&self, artifact: &ArtifactRef, to: &Path) -> Result<bool, JournalError> {
        let Some(object) = self.object(&artifact.sha256).filter(|object| object.symlink_metadata().is_ok()) else { return Ok(false) };
        let failed = |broken: Broken| self.unkept(&format!("restoring {}", to.display()), &broken);
        if is_same(to, &object, &artifact.sha256) {
            return Ok(true);
        }
        let home = to.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(home).map_err(Broken::writing(home)).map_err(failed)?;
        // In the state folder, where that can be renamed from: what a crash leaves there is cleared away.
        let own = self.dir().join("artifacts");
        let aside = self.aside(if is_one_device(&own, home) { &own } else { home })?;
        let copied = copy(&object, &aside);
        if !copied.as_ref().is_ok_and(|content| content.sha256 == artifact.sha256) {
            let _ = remove(&aside);
            return match copied {
                Err(broken) if !broken.path.starts_with(&object) || cure_of_disk(&broken.error).is_some() => Err(failed(broken)),
                // Damaged content is no content: what made it runs again and keeps it anew.
                Ok(_) | Err(_) => {
                    let _ = remove(&object);
                    Ok(false)
                }
            };
        }
        hit(Point::RestoreAside);
        let swapped = match swap(&aside, to) {
            // Another mount of the same device.
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                let _ = remove(&aside);
                let beside = self.aside(home)?;
                let copied = copy(&object, &beside);
                copied.and_then(|_| swap(&beside, to).map_err(Broken::writing(to))).inspect_err(|_| drop(remove(&beside)))
            }
            other => other.map_err(Broken::writing(to)).inspect_err(|_| drop(remove(&aside))),
        };
        swapped.map_err(failed)?;
        hit(Point::Restored);
        Ok(true)
    }
}

/// What could not be read or written, and where: only that tells whose trouble it is.
#[derive(Debug)]
struct Broken {
    deed: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl Broken {
    fn reading(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self { deed: "reading", path: path.into(), error }
    }

    fn writing(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self { deed: "writing", path: path.into(), error }
    }
}

impl Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is refused names its place itself.
        if self.error.get_ref().is_none() {
            write!(f, "{} {}: ", self.deed, self.path.display())?;
        }
        self.error.fmt(f)
    }
}

/// Puts `aside` in the place of whatever is there.
fn swap(aside: &Path, to: &Path) -> io::Result<()> {
    let folders = [aside, to].map(|path| path.symlink_metadata().map(|there| there.is_dir()));
    if matches!(folders, [Ok(false), Ok(false)]) || folders[1].is_err() {
        return fs::rename(aside, to);
    }
    // The two change places in one step, where the file system can: at no moment is nothing there.
    if renameat_with(CWD, aside, CWD, to, RenameFlags::EXCHANGE).is_ok() {
        hit(Point::RestoreCleared);
        return remove(aside);
    }
    let old = aside.with_extension("old");
    fs::rename(to, &old)?;
    fs::rename(aside, to)?;
    remove(&old)
}

fn is_one_device(a: &Path, b: &Path) -> bool {
    matches!((a.metadata(), b.metadata()), (Ok(a), Ok(b)) if a.dev() == b.dev())
}

fn is_same(to: &Path, object: &Path, sha256: &str) -> bool {
    let plain = to.symlink_metadata().is_ok_and(|there| !there.is_symlink());
    let same_mode = || match (to.metadata(), object.metadata()) {
        (Ok(a), Ok(b)) => a.is_dir() == b.is_dir() && (a.is_dir() || is_executable(&a) == is_executable(&b)),
        _ => false,
    };
    plain && same_mode() && measure(to).is_ok_and(|content| content.sha256 == sha256)
}

fn is_executable(metadata: &fs::Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

fn mode(executable: bool) -> Permissions {
    Permissions::from_mode(if executable { 0o755 } else { 0o644 })
}

/// A file's bytes have one place, whatever its mode: executable once, executable from then on.
fn make_executable_like(aside: &Path, object: &Path) -> io::Result<()> {
    let (new, old) = (fs::symlink_metadata(aside)?, fs::symlink_metadata(object)?);
    if new.is_file() && is_executable(&new) && !is_executable(&old) {
        fs::set_permissions(object, mode(true))?;
    }
    Ok(())
}

/// Removes a file, link or folder, whatever stands there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether what is at a place has the content of an artifact.
pub(crate) fn is_there(artifact: &ArtifactRef, at: &Path) -> bool {
    measure(at).is_ok_and(|content| content.sha256 == artifact.sha256)
}

/// The digest and size of what is there.
fn measure(path: &Path) -> Result<Content, Broken> {
    walk(path, None)
}

/// Copies a file (also behind a link) or a folder, and measures what was copied.
fn copy(from: &Path, to: &Path) -> Result<Content, Broken> {
    walk(from, Some(to))
}

fn walk(from: &Path, to: Option<&Path>) -> Result<Content, Broken> {
    let there = fs::metadata(from).map_err(Broken::reading(from))?;
    if there.is_file() {
        return pour(from, to);
    }
    if !there.is_dir() {
        return Err(Broken::reading(from)(refused(from, "is neither a file nor a folder")));
    }
    let (mut lines, mut size) = (Vec::new(), 0);
    for entry in walkdir::WalkDir::new(from).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(from).to_owned();
            Broken::reading(&path)(error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links")))
        })?;
        let relative = entry.path().strip_prefix(from).map_err(io::Error::other).map_err(Broken::reading(from))?;
        let target = to.map(|to| if relative.as_os_str().is_empty() { to.to_path_buf() } else { to.join(relative) });
        let (line, bytes) = take(entry.path(), relative, target.as_deref())?;
        size += bytes;
        lines.push(line);
    }
    lines.sort();
    Ok(Content { sha256: hash::json(&lines).map_err(io::Error::other).map_err(Broken::reading(from))?, size })
}

/// One entry of a folder.
fn take(path: &Path, relative: &Path, to: Option<&Path>) -> Result<(Line, u64), Broken> {
    let there = path.symlink_metadata().map_err(Broken::reading(path))?;
    let refused = |why| Broken::reading(path)(refused(path, why));
    let name = relative.to_str().ok_or_else(|| refused("has a name that is not UTF-8"))?.to_owned();
    if there.is_symlink() {
        let target = fs::read_link(path).map_err(Broken::reading(path))?;
        if leaves(relative, &target) {
            return Err(refused("is a link that leads out of the folder"));
        }
        if let Some(to) = to {
            symlink(&target, to).map_err(Broken::writing(to))?;
        }
        let target = target.to_str().ok_or_else(|| refused("leads to a name that is not UTF-8"))?.to_owned();
        return Ok(((name, "link", target), 0));
    }
    if there.is_dir() {
        if let Some(to) = to {
            fs::create_dir(to).map_err(Broken::writing(to))?;
        }
        return Ok(((name, "folder", String::new()), 0));
    }
    if !there.is_file() {
        return Err(refused("is neither a file, a folder nor a link"));
    }
    let content = pour(path, to)?;
    Ok(((name, if is_executable(&there) { "executable" } else { "file" }, content.sha256), content.size))
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("{} {why}", path.display()))
}

/// Whether a link at `relative` leads out of the folder it is in.
pub(crate) fn leaves(relative: &Path, target: &Path) -> bool {
    let mut depth = relative.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

/// Reads a file to its end, into another if asked to.
fn pour(from: &Path, to: Option<&Path>) -> Result<Content, Broken> {
    let file = File::open(from).map_err(Broken::reading(from))?;
    let executable = is_executable(&file.metadata().map_err(Broken::reading(from))?);
    let mut source = Source { file, failed: false };
    let Some(to) = to else {
        let (size, sha256) = export::pour(&mut source, &mut io::sink()).map_err(Broken::reading(from))?;
        return Ok(Content { sha256, size });
    };
    let mut sink = File::options().write(true).create_new(true).open(to).map_err(Broken::writing(to))?;
    let poured = export::pour(&mut source, &mut sink);
    let (size, sha256) = poured.map_err(|error| if source.failed { Broken::reading(from)(error) } else { Broken::writing(to)(error) })?;
    sink.set_permissions(mode(executable)).map_err(Broken::writing(to))?;
    Ok(Content { sha256, size })
}

/// A file that is read, and whether it was the reading that failed.
struct Source {
    file: File,
    failed: bool,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).inspect_err(|error| self.failed = error.kind() != ErrorKind::Interrupted)
    }
}

/// A file, or a folder with all in it; what is there already needs none of it.
fn sync(path: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        let entry = entry.map_err(io::Error::other)?;
        if !entry.path_is_symlink() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    Ok(())
}
