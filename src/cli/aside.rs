//! A file for a person, written beside its place and renamed: whoever looks at it sees all of it or
//! the one before.

use crate::failure::Failure;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Writes a file; where that fails what was there stays, and nothing lies beside it.
pub fn write<T>(file: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    let part = PathBuf::from(name);
    let failed = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", file.display()));
    let mut to = BufWriter::new(File::create_new(&part).map_err(failed)?);
    let done = fill(&mut to).and_then(|filled| {
        let written = to.into_inner().map_err(io::IntoInnerError::into_error).and_then(|open| open.sync_all());
        written.and_then(|()| fs::rename(&part, file)).map(|()| filled).map_err(failed)
    });
    if done.is_err() {
        // The first error is the one to tell.
        fs::remove_file(&part).ok();
    }
    done
}

/// Writes a text so.
pub fn write_text(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", file.display()));
    write(file, |to| io::Write::write_all(to, text.as_bytes()).map_err(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page");
        write_text(&file, "old").unwrap();
        write(&file, |_| Err::<(), _>(Failure::failed("it broke"))).unwrap_err();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((names, fs::read_to_string(&file).unwrap()), (vec!["page".into()], "old".into()));
    }
}
