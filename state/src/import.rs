//! Takes in a run that was exported elsewhere: nothing of it counts before all of it is verified.

use crate::artifacts::remove;
use crate::audit::{Change, Witness};
use crate::bundle::{AMENDMENTS, ARTIFACTS, DEFINITION, DETACHED, EVENTS, Item, MANIFEST, Manifest, SCHEMA, STEPS, Sort, VERSION};
use crate::error::{Fault, StateError, io_unusable};
use crate::export::pour;
use crate::folder::{is_run_id, make_durable, make_private};
use crate::projection::Row;
use crate::state::State;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use tar::{Archive, Entry, EntryType};
use trees_core::event::{Event, EventKind};
use trees_core::hash;
use trees_core::journal::JournalError;
use trees_core::path::RunId;
use trees_points::{Point, hit};

/// A manifest is never longer.
const LARGEST: u64 = 256 << 20;

/// Where an imported run comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file, as it was named.
    pub file: String,
    /// The machine it was exported on first.
    pub host: String,
    /// When it was imported.
    pub at: Timestamp,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// The run is here now.
    New {
        /// The list of contents.
        manifest: Box<Manifest>,
        /// Its number here: its own, or the next where that is taken.
        number: u64,
    },
    /// The very same run was here before; nothing was changed.
    Already(RunId),
}

type Tar<'a> = Archive<GzDecoder<&'a mut dyn Read>>;

impl State {
    /// Takes in an exported run under its own id.
    ///
    /// # Errors
    /// When the file is no export, damaged, from a newer `trees` or holds paths that leave the
    /// folder, another run has the id, or the state cannot be written. Nothing is changed then.
    pub fn import(&self, from: &mut dyn Read, file: &str) -> Result<Imported, StateError> {
        let mut tar: Tar<'_> = Archive::new(GzDecoder::new(from));
        let mut entries = tar.entries().map_err(|_| foreign(file))?;
        let manifest = cover(entries.next(), file)?;
        if let Some(known) = self.known(&manifest, file)? {
            return Ok(known);
        }
        let home = self.dir().join(ARTIFACTS);
        make_durable(self.dir(), &home)?;
        let aside = self.aside(&home)?;
        make_private(self.dir(), &aside)?;
        hit(Point::BeforeUnpacked);
        let unpacked = unpack(&mut entries, &manifest, &aside);
        let whole = unpacked.and_then(|()| rest(tar)).map_err(|why| damaged(file, &why));
        hit(Point::Unpacked);
        let done = whole.and_then(|()| self.take_in(manifest, &aside, file));
        // What is left of it is cleared away some day in any case.
        let _ = remove(&aside);
        done
    }

    /// Where imported runs come from.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn origins(&self) -> Result<BTreeMap<RunId, Origin>, StateError> {
        Ok(self.read(|db| {
            let mut statement = db.prepare_cached("SELECT id, imported FROM runs WHERE imported IS NOT NULL")?;
            let rows = statement.query_map([], |row| Ok((RunId(row.get(0)?), row.get::<_, String>(1)?)))?;
            let mut origins = BTreeMap::new();
            for row in rows {
                let (run, text) = row?;
                let origin = serde_json::from_str(&text).map_err(|error| Fault::Damaged(format!("run {run}: {error}")))?;
                origins.insert(run, origin);
            }
            Ok(origins)
        })?)
    }

    /// Whether the very same run is here; another one with its id is an error.
    fn known(&self, manifest: &Manifest, file: &str) -> Result<Option<Imported>, StateError> {
        let run = &manifest.run;
        match self.number_of(run) {
            Err(JournalError::Unknown(_)) => return Ok(None),
            there => there?,
        };
        let digest = |path: &str| manifest.item(path).map(|item| item.sha256.clone());
        let here = [hash::bytes(&self.lines(run)?), hash::bytes(&self.sources(run)?)].map(Some);
        if here == [EVENTS, DEFINITION].map(digest) {
            return Ok(Some(Imported::Already(run.clone())));
        }
        Err(StateError::Invalid(format!("run {run} is here already, and what is recorded of it differs from {file}")))
    }

    /// Puts what was unpacked and verified in its place.
    fn take_in(&self, manifest: Manifest, aside: &Path, file: &str) -> Result<Imported, StateError> {
        let record = Record::read(&manifest, aside).map_err(|why| damaged(file, &why))?;
        for sha256 in manifest.artifacts() {
            let kept = self.keep_artifact(&aside.join(ARTIFACTS).join(sha256), sha256)?;
            if kept.sha256 != sha256 {
                return Err(damaged(file, &format!("the artifact {sha256} has another digest")));
            }
        }
        let run = &manifest.run;
        let lock = self.lock_run(run)?;
        // Another import of the same file may have been faster.
        if let Some(known) = self.known(&manifest, file)? {
            return Ok(known);
        }
        let home = self.run_folder(run)?;
        self.mark_passing(run)?;
        for name in [STEPS, DETACHED] {
            let (from, to) = (aside.join(name), home.join(name));
            let moved = remove(&to).and_then(|()| if from.exists() { fs::rename(&from, &to) } else { Ok(()) });
            moved.map_err(|error| io_unusable(self.dir(), "moving", &to, &error))?;
        }
        let origin = Origin { file: file.into(), host: manifest.host.clone(), at: Timestamp::now() };
        let (cover, witness) = (Manifest { files: Vec::new(), ..manifest.clone() }, self.witness());
        hit(Point::ImportMoved);
        let number = self.write(move |db| record.write(db, &cover, &origin, &witness));
        hit(Point::Imported);
        match &number {
            Ok(_) => self.unmark_passing(run)?,
            Err(_) => drop(self.remove_home(run)),
        }
        drop(lock);
        Ok(Imported::New { number: number?, manifest: Box::new(manifest) })
    }
}

fn foreign(file: &str) -> StateError {
    StateError::Invalid(format!("{file} is no exported run; `trees export RUN` writes one"))
}

fn damaged(file: &str, why: &str) -> StateError {
    StateError::Invalid(format!("{file} is damaged, nothing was imported: {why}"))
}

/// The manifest, which comes first.
fn cover(first: Option<io::Result<Entry<'_, GzDecoder<&mut dyn Read>>>>, file: &str) -> Result<Manifest, StateError> {
    let Some(Ok(first)) = first else { return Err(foreign(file)) };
    if *first.path_bytes() != *MANIFEST.as_bytes() || first.size() > LARGEST {
        return Err(foreign(file));
    }
    let document: Value =
        serde_json::from_reader(first).map_err(|error| if error.is_io() { damaged(file, &error.to_string()) } else { foreign(file) })?;
    if document["schema"] != SCHEMA {
        return Err(foreign(file));
    }
    match document["version"].as_u64() {
        Some(version) if version > VERSION => {
            return Err(StateError::Invalid(format!(
                "{file} was written by a newer trees ({}): its form is {version}, this trees reads up to {VERSION}",
                document["made_by"].as_str().unwrap_or("unknown")
            )));
        }
        _ => {}
    }
    let manifest: Manifest = serde_json::from_value(document).map_err(|error| damaged(file, &format!("its manifest: {error}")))?;
    if !is_run_id(&manifest.run.0) {
        return Err(damaged(file, "its run has no proper id"));
    }
    manifest.check().map_err(|why| StateError::Invalid(format!("{file} is refused: {why}")))?;
    Ok(manifest)
}

/// Unpacks what the manifest names, in its order, each entry verified.
fn unpack<'a, 'b: 'a>(
    entries: &mut impl Iterator<Item = io::Result<Entry<'a, GzDecoder<&'b mut dyn Read>>>>,
    manifest: &Manifest,
    aside: &Path,
) -> Result<(), String> {
    for item in &manifest.files {
        let path = &item.path;
        let entry = entries.next().ok_or_else(|| format!("it ends before {path}"))?.map_err(|error| error.to_string())?;
        let there = entry.header().entry_type();
        let expected = match item.sort {
            Sort::File | Sort::Executable => EntryType::Regular,
            Sort::Folder => EntryType::Directory,
            Sort::Link => EntryType::Symlink,
        };
        if *entry.path_bytes() != *path.as_bytes() || there != expected || (expected == EntryType::Regular && entry.size() != item.size) {
            return Err(format!("where {path} should be there is {}", String::from_utf8_lossy(&entry.path_bytes())));
        }
        place(entry, item, &aside.join(path)).map_err(|error| format!("{path}: {error}"))?;
    }
    if entries.next().is_some() { Err("it holds more than its manifest names".into()) } else { Ok(()) }
}

fn place(mut entry: impl Read, item: &Item, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = match item.sort {
        Sort::Folder => return fs::create_dir(to),
        Sort::Link => return symlink(&item.target, to),
        Sort::Executable => 0o700,
        Sort::File => 0o600,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
    let (size, sha256) = pour(&mut entry, &mut file)?;
    if (size, &sha256) == (item.size, &item.sha256) { Ok(()) } else { Err(io::Error::other("its digest is another")) }
}

/// Reads to the end, where the checksum of the whole is.
fn rest(tar: Tar<'_>) -> Result<(), String> {
    io::copy(&mut tar.into_inner(), &mut io::sink()).map(drop).map_err(|error| error.to_string())
}

/// What goes into the database.
struct Record {
    rows: Vec<Row>,
    epoch: u64,
    definition: String,
    amendments: Vec<(String, Value)>,
    events: String,
}

impl Record {
    fn read(manifest: &Manifest, aside: &Path) -> Result<Self, String> {
        let text = |name: &str| fs::read_to_string(aside.join(name)).map_err(|error| format!("{name}: {error}"));
        let definition = text(DEFINITION)?;
        let sources: Value = serde_json::from_str(&definition).map_err(|error| format!("{DEFINITION}: {error}"))?;
        if hash::json(&sources).map_err(|error| error.to_string())? != manifest.definition {
            return Err(format!("{DEFINITION} has another digest than the run's"));
        }
        let amendments = match manifest.item(AMENDMENTS) {
            Some(_) => serde_json::from_str(&text(AMENDMENTS)?).map_err(|error| format!("{AMENDMENTS}: {error}"))?,
            None => Vec::new(),
        };
        let fits = |(digest, body): &(String, Value)| hash::json(body).is_ok_and(|d| d == *digest);
        if !amendments.iter().all(fits) {
            return Err(format!("{AMENDMENTS} has another digest than it says"));
        }
        let lines = text(EVENTS)?;
        let (mut rows, mut epoch) = (Vec::new(), 1);
        for (line, seq) in lines.lines().zip(1..) {
            let event: Event = serde_json::from_str(line).map_err(|error| format!("event {seq}: {error}"))?;
            if event.run != manifest.run || event.seq != seq {
                return Err(format!("event {seq} is event {} of run {}", event.seq, event.run));
            }
            match &event.kind {
                EventKind::RunStarted(facts) if facts.tree == manifest.tree && facts.definition == manifest.definition => {}
                EventKind::RunStarted(_) => return Err("its first event is of another run".into()),
                _ if seq == 1 => return Err("its first event does not start a run".into()),
                _ => {}
            }
            epoch = event.kind.epoch().unwrap_or(epoch);
            // What a foreign machine made stands for no step here.
            rows.push(Row::of(&event).map_err(|error| format!("event {seq}: {error}"))?.without_result());
        }
        if rows.is_empty() {
            return Err("it has no events".into());
        }
        Ok(Self { rows, epoch, definition, amendments, events: hash::bytes(lines.as_bytes()) })
    }

    fn write(&self, db: &Connection, manifest: &Manifest, origin: &Origin, witness: &Witness) -> Result<u64, Fault> {
        let (run, tree) = (&manifest.run.0, &manifest.tree);
        db.prepare_cached("INSERT OR IGNORE INTO definitions (digest, body) VALUES (?, ?)")?
            .execute(params![manifest.definition, self.definition])?;
        let number = number(db, tree, manifest.number as i64)?;
        let from = serde_json::to_string(origin).map_err(|error| Fault::Damaged(error.to_string()))?;
        let mut insert = db.prepare_cached(
            "INSERT INTO runs (id, tree, number, definition, created, epoch, imported) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING n",
        )?;
        let values = params![run, tree, number, manifest.definition, manifest.created, self.epoch as i64, from];
        let n: i64 = insert.query_row(values, |row| row.get(0))?;
        for (digest, body) in &self.amendments {
            db.prepare_cached("INSERT OR IGNORE INTO definitions (digest, body) VALUES (?, ?)")?
                .execute(params![digest, body.to_string()])?;
            db.prepare_cached("INSERT OR IGNORE INTO amendments (run, definition) VALUES (?, ?)")?.execute(params![n, digest])?;
        }
        for row in &self.rows {
            row.insert(db, n)?;
            row.project(db, n, run, tree)?;
        }
        let after = json!({
            "tree": tree, "number": number, "definition": manifest.definition, "status": manifest.status, "epoch": self.epoch,
            "seq": self.rows.len(), "events": self.events, "host": origin.host,
        });
        witness.record(db, Change { what: "run_imported", run: Some(run), before: Value::Null, after })?;
        Ok(number.unsigned_abs())
    }
}

/// The run's own number if it is free, else the next.
fn number(db: &Connection, tree: &str, own: i64) -> Result<i64, Fault> {
    let taken = db.prepare_cached("SELECT 1 FROM runs WHERE tree = ? AND number = ?")?.exists(params![tree, own])?;
    let last: Option<i64> = db.prepare_cached("SELECT last FROM trees WHERE name = ?")?.query_row([tree], |row| row.get(0)).optional()?;
    let number = if taken { last.unwrap_or(own) + 1 } else { own };
    db.prepare_cached("INSERT INTO trees (name, last) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET last = max(last, ?2)")?
        .execute(params![tree, number])?;
    Ok(number)
}
