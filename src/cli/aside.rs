//! A file for a person. A regular one is written beside its place and renamed, so whoever looks at it
//! sees all of it or the one before; a pipe or a device is written into; a link is followed.

use crate::failure::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Links that are followed, as the system does.
const LINKS: usize = 40;

/// What goes into a file, and how much of it.
pub struct Sink {
    to: BufWriter<File>,
    bytes: u64,
}

impl Write for Sink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.to.write(piece)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes a file and says how many bytes it has; where that fails what was there stays, and nothing
/// lies beside it.
pub fn write<T>(file: &Path, fill: impl FnOnce(&mut Sink) -> Result<T, Failure>) -> Result<(T, u64), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", file.display()));
    match file.metadata() {
        Ok(there) if there.is_dir() => Err(failed(ErrorKind::IsADirectory.into()).hint("name a file in it")),
        Ok(there) if !there.is_file() => {
            let (filled, _, bytes) = poured(OpenOptions::new().write(true).open(file), fill, &failed)?;
            Ok((filled, bytes))
        }
        there => replace(&target(file).map_err(failed)?, there.ok().as_ref(), fill, &failed),
    }
}

/// Writes a text so.
pub fn write_text(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", file.display()));
    write(file, |to| to.write_all(text.as_bytes()).map_err(failed)).map(|((), _)| ())
}

/// Where a path leads, links followed; what it leads to need not be there.
fn target(file: &Path) -> io::Result<PathBuf> {
    let mut file = file.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&file) {
            Ok(to) => file = file.parent().unwrap_or(Path::new("")).join(to),
            // It is no link.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => return Ok(file),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many links"))
}

/// Writes a regular file beside its place and renames it; it keeps the mode of the one before.
fn replace<T>(
    file: &Path,
    before: Option<&fs::Metadata>,
    fill: impl FnOnce(&mut Sink) -> Result<T, Failure>,
    failed: &dyn Fn(io::Error) -> Failure,
) -> Result<(T, u64), Failure> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    let part = PathBuf::from(name);
    let done = poured(File::create_new(&part), fill, failed).and_then(|(filled, open, bytes)| {
        let kept = before.map_or(Ok(()), |before| open.set_permissions(before.permissions()));
        kept.and_then(|()| open.sync_all()).and_then(|()| fs::rename(&part, file)).map(|()| (filled, bytes)).map_err(failed)
    });
    if done.is_err() {
        // The first error is the one to tell.
        fs::remove_file(&part).ok();
    }
    done
}

/// All of it in a file that was opened, with the file and its bytes.
fn poured<T>(
    open: io::Result<File>,
    fill: impl FnOnce(&mut Sink) -> Result<T, Failure>,
    failed: &dyn Fn(io::Error) -> Failure,
) -> Result<(T, File, u64), Failure> {
    let mut sink = Sink { to: BufWriter::new(open.map_err(failed)?), bytes: 0 };
    let filled = fill(&mut sink)?;
    let file = sink.to.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok((filled, file, sink.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_cannot_be_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page");
        write_text(&file, "old").unwrap();
        write(&file, |_| Err::<(), _>(Failure::failed("it broke"))).err().unwrap();
        assert_eq!((names(folder.path()), fs::read_to_string(&file).unwrap()), (vec!["page".into()], "old".into()));
    }

    #[test]
    fn a_link_is_followed_and_a_mode_kept() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, far] = ["file", "link", "far"].map(|name| folder.path().join(name));
        symlink("link", &far).unwrap();
        symlink("file", &link).unwrap();
        write_text(&far, "new").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        write_text(&far, "newer").unwrap();
        assert_eq!(
            (names(folder.path()), fs::read_to_string(&file).unwrap()),
            (["far", "file", "link"].map(String::from).into(), "newer".into())
        );
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(link.is_symlink() && far.is_symlink());
        symlink("round", folder.path().join("round")).unwrap();
        write_text(&folder.path().join("round"), "x").unwrap_err();
        write_text(folder.path(), "x").unwrap_err();
    }
}
