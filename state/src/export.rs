//! A run as one file: the same run gives the same bytes. Nothing is held in memory but the events.

use crate::bundle::{AMENDMENTS, ARTIFACTS, DEFINITION, DETACHED, EVENTS, Item, MANIFEST, Manifest, SCHEMA, STEPS, Sort, VERSION};
use crate::error::{Fault, StateError};
use crate::state::State;
use flate2::{Compression, GzBuilder};
use rusqlite::OptionalExtension as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use trees_core::event::RunStatus;
use trees_core::hash;
use trees_core::journal::{Journal as _, JournalError};
use trees_core::path::RunId;

/// An entry with where its content is.
struct Source {
    item: Item,
    from: Content,
}

enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
    None,
}

impl State {
    /// Writes a run with its events, sources, logs and artifacts. It is held meanwhile, also where the
    /// state can only be read.
    ///
    /// # Errors
    /// When there is no such run, somebody drives it, or it cannot be read or written.
    pub fn export(&self, run: &RunId, host: &str, to: impl Write) -> Result<Manifest, StateError> {
        self.number_of(run)?;
        let _lock = self.still_run(run)?;
        let failed = |error: io::Error| StateError::Failed(format!("exporting run {run} failed: {error}"));
        let mut manifest = self.cover(run, host)?;
        let mut sources = vec![bytes(EVENTS, self.lines(run)?), bytes(DEFINITION, self.sources(run)?)];
        let amendments = self.amendments(run)?;
        if !amendments.is_empty() {
            sources.push(bytes(AMENDMENTS, json!(amendments).to_string().into_bytes()));
        }
        let home = self.run_folder(run)?;
        logs(&home, &mut sources).map_err(failed)?;
        for sha256 in self.uses(run)? {
            match self.object(&sha256).filter(|object| object.symlink_metadata().is_ok()) {
                Some(object) => walk(&object, &format!("{ARTIFACTS}/{sha256}"), &mut sources).map_err(failed)?,
                None => manifest.missing.push(sha256),
            }
        }
        manifest.files = sources.iter().map(|source| source.item.clone()).collect();
        pack(&manifest, &sources, to).map_err(failed)?;
        Ok(manifest)
    }

    /// The manifest without its files.
    fn cover(&self, run: &RunId, host: &str) -> Result<Manifest, JournalError> {
        let id = run.0.clone();
        let row = self.read(|db| {
            let mut statement = db.prepare_cached("SELECT tree, number, status, created, definition, imported FROM runs WHERE id = ?")?;
            let columns = |row: &rusqlite::Row<'_>| {
                let (tree, number, status): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((tree, number, status, row.get(3)?, row.get(4)?, row.get::<_, Option<String>>(5)?))
            };
            statement.query_row([&id], columns).optional()?.ok_or_else(|| JournalError::Unknown(id.clone()).into())
        })?;
        let (tree, number, status, created, definition, imported) = row;
        let status: RunStatus =
            serde_json::from_value(status.into()).map_err(|error| Fault::Damaged(error.to_string()).explain(self.dir()))?;
        let origin = imported.and_then(|text| serde_json::from_str::<crate::import::Origin>(&text).ok());
        Ok(Manifest {
            schema: SCHEMA.into(),
            version: VERSION,
            made_by: env!("CARGO_PKG_VERSION").into(),
            host: origin.map_or_else(|| host.to_owned(), |origin| origin.host),
            run: run.clone(),
            tree,
            number: number.unsigned_abs(),
            status,
            created,
            definition,
            files: Vec::new(),
            missing: Vec::new(),
        })
    }

    /// All events, one a line.
    pub(crate) fn lines(&self, run: &RunId) -> Result<Vec<u8>, JournalError> {
        let mut lines = Vec::new();
        for event in self.load(run, 0)? {
            serde_json::to_writer(&mut lines, &event).map_err(|error| Fault::Damaged(error.to_string()).explain(self.dir()))?;
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// The recorded sources, as text.
    pub(crate) fn sources(&self, run: &RunId) -> Result<Vec<u8>, JournalError> {
        Ok(self.definition(run)?.to_string().into_bytes())
    }

    /// The artifacts that the run's events name.
    fn uses(&self, run: &RunId) -> Result<Vec<String>, JournalError> {
        let n = self.number_of(run)?;
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT sha256 FROM uses WHERE run = ? ORDER BY sha256")?;
            Ok(statement.query_map([n], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }
}

fn bytes(path: &str, content: Vec<u8>) -> Source {
    let item =
        Item { path: path.into(), sort: Sort::File, size: content.len() as u64, sha256: hash::bytes(&content), target: String::new() };
    Source { item, from: Content::Bytes(content) }
}

/// The logs of the steps, and the run's own where it was detached.
fn logs(home: &Path, to: &mut Vec<Source>) -> io::Result<()> {
    let own = home.join(DETACHED);
    let steps = walkdir::WalkDir::new(home.join(STEPS)).sort_by_file_name().into_iter();
    let steps = steps.filter_map(Result::ok).map(|entry| entry.into_path());
    for path in [own].into_iter().chain(steps) {
        if path.symlink_metadata().is_ok_and(|there| there.is_file()) {
            let name = path.strip_prefix(home).map_err(io::Error::other)?.to_path_buf();
            to.push(entry(&path, name_of(&name)?, Sort::File)?);
        }
    }
    Ok(())
}

/// An artifact, a file or a folder with all in it.
fn walk(object: &Path, name: &str, to: &mut Vec<Source>) -> io::Result<()> {
    for found in walkdir::WalkDir::new(object).follow_links(false).sort_by_file_name() {
        let found = found.map_err(io::Error::other)?;
        let inner = found.path().strip_prefix(object).map_err(io::Error::other)?;
        let path = if inner.as_os_str().is_empty() { name.to_owned() } else { format!("{name}/{}", name_of(inner)?) };
        let there = found.path().symlink_metadata()?;
        let sort = match there.file_type() {
            kind if kind.is_symlink() => Sort::Link,
            kind if kind.is_dir() => Sort::Folder,
            _ if there.permissions().mode() & 0o100 != 0 => Sort::Executable,
            _ => Sort::File,
        };
        to.push(entry(found.path(), path, sort)?);
    }
    Ok(())
}

fn name_of(path: &Path) -> io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other(format!("the name {} is not UTF-8", path.display())))
}

fn entry(from: &Path, path: String, sort: Sort) -> io::Result<Source> {
    let item = Item { path, sort, size: 0, sha256: String::new(), target: String::new() };
    Ok(match sort {
        Sort::Folder => Source { item, from: Content::None },
        Sort::Link => Source { item: Item { target: name_of(&fs::read_link(from)?)?, ..item }, from: Content::None },
        Sort::File | Sort::Executable => {
            let (size, sha256) = pour(&mut File::open(from)?, &mut io::sink())?;
            Source { item: Item { size, sha256, ..item }, from: Content::File(from.into()) }
        }
    })
}

/// Copies to the end in pieces; how much it was, and its digest.
pub(crate) fn pour(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(u64, String)> {
    let (mut size, mut sum, mut piece) = (0, Sha256::new(), vec![0; 128 << 10]);
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok((size, hash::hex(&sum.finalize()))),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = piece.get(..count).unwrap_or_default();
        sum.update(part);
        to.write_all(part)?;
        size += count as u64;
    }
}

fn pack(manifest: &Manifest, sources: &[Source], to: impl Write) -> io::Result<()> {
    // Neither names nor times of this machine.
    let mut tar = Builder::new(GzBuilder::new().write(to, Compression::default()));
    let cover = serde_json::to_vec(manifest).map_err(io::Error::other)?;
    append(&mut tar, &bytes(MANIFEST, cover))?;
    for source in sources {
        append(&mut tar, source)?;
    }
    tar.into_inner()?.finish()?.flush()
}

fn append(tar: &mut Builder<impl Write>, source: &Source) -> io::Result<()> {
    let item = &source.item;
    let (kind, mode) = match item.sort {
        Sort::File => (EntryType::Regular, 0o644),
        Sort::Executable => (EntryType::Regular, 0o755),
        Sort::Folder => (EntryType::Directory, 0o755),
        Sort::Link => (EntryType::Symlink, 0o777),
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(item.size);
    match &source.from {
        Content::Bytes(content) => tar.append_data(&mut header, &item.path, content.as_slice()),
        Content::None if item.sort == Sort::Link => tar.append_link(&mut header, &item.path, &item.target),
        Content::None => tar.append_data(&mut header, &item.path, io::empty()),
        Content::File(path) => {
            // One that has grown since is as it was; one that shrank is an error.
            let mut content = Exact { file: File::open(path)?, left: item.size };
            tar.append_data(&mut header, &item.path, &mut content)
        }
    }
}

/// So many bytes of a file, no more and no fewer.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        match (&mut self.file).take(self.left).read(buffer)? {
            0 => Err(io::Error::other("a file has become shorter meanwhile")),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}
