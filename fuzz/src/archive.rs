//! Exported runs taken in: whatever the file, nothing is written outside of the state folder, a
//! refused one leaves no run, and one that is taken in is exported and taken in again the same.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use trees_core::hash;
use trees_core::journal::{Journal as _, RunFilter};
use trees_core::path::RunId;
use trees_state::{Durability, Imported, State, StateError};

/// The run of the recipes.
const RUN: &str = "0123456789ab";

/// A gzipped file as it stands, else a recipe for one.
pub fn run(data: &[u8]) {
    let file = if data.starts_with(&[0x1f, 0x8b]) {
        data.to_vec()
    } else {
        match std::str::from_utf8(data).ok().and_then(packed) {
            Some(file) => file,
            None => return,
        }
    };
    thread_local!(static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) });
    PLACE.with_borrow_mut(|kept| {
        let place = kept.take().unwrap_or_else(Place::new);
        // One with a run in it is no longer as new.
        *kept = (!place.take_in(&file)).then_some(place);
    });
}

/// A state folder with nothing beside it.
struct Place {
    state: State,
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let root = root.unwrap_or_else(|e| panic!("no folder: {e}"));
        let state = State::open(root.path().join("state"), Durability::Normal);
        Self { state: state.unwrap_or_else(|e| panic!("no state: {e}")), root }
    }

    /// Whether there is a run in it now.
    fn take_in(&self, file: &[u8]) -> bool {
        let before = self.names();
        let taken = import(&self.state, file);
        assert_eq!(entries(self.root.path()), ["state".to_owned()].into(), "something is outside of the state folder");
        match taken {
            Ok(Imported::New { manifest, .. }) => {
                self.same_again(&manifest.run);
                true
            }
            Ok(Imported::Already(run)) => panic!("run {run} was here before"),
            Err(error) => {
                assert!(matches!(error, StateError::Invalid(_)), "{error}");
                assert!(self.state.runs(&RunFilter::default()).is_ok_and(|runs| runs.is_empty()), "{error}, and there is a run");
                assert_eq!(self.names(), before, "{error}, and something is left");
                false
            }
        }
    }

    /// What is in the folder, but for the database and for artifacts: what is verified may stay until
    /// they are cleared.
    fn names(&self) -> BTreeSet<String> {
        let folder = self.root.path().join("state");
        let mut names = entries(&folder);
        names.retain(|name| !name.starts_with("trees.db"));
        for inner in ["artifacts", "runs"] {
            names.remove(inner);
            let known = entries(&folder.join(inner)).into_iter().filter(|name| name.len() != 2);
            names.extend(known.map(|name| format!("{inner}/{name}")));
        }
        names
    }

    fn same_again(&self, run: &RunId) {
        let events = self.state.load(run, 0).unwrap_or_else(|e| panic!("{e}"));
        assert!((1..).zip(&events).all(|(seq, event)| event.seq == seq && event.run == *run));
        let mut file = Vec::new();
        self.state.export(run, "here", &mut file).unwrap_or_else(|e| panic!("{e}"));
        assert!(matches!(import(&self.state, &file), Ok(Imported::Already(_))), "the same run is another");
        let other = Self::new();
        let again = import(&other.state, &file);
        assert!(matches!(again, Ok(Imported::New { .. })), "{again:?}");
        assert_eq!(other.state.load(run, 0).ok(), Some(events));
    }
}

fn import(state: &State, file: &[u8]) -> Result<Imported, StateError> {
    state.import(&mut &*file, "a.tgz")
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

// ---- recipes -----------------------------------------------------------------------------------

/// An entry to be written, and what the manifest says of it.
struct Part {
    kind: EntryType,
    path: String,
    target: String,
    content: String,
}

/// `file PATH`, `exec PATH`, `folder PATH`, `link PATH TARGET` begin an entry, `|` a line of its
/// content (`@definition` and `@run` stand for those), `manifest KEY JSON` changes the manifest, which
/// else fits.
fn packed(text: &str) -> Option<Vec<u8>> {
    let (mut parts, mut changes) = (Vec::<Part>::new(), Vec::new());
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let kind = match word {
            "file" | "exec" => EntryType::Regular,
            "folder" => EntryType::Directory,
            "link" => EntryType::Symlink,
            "manifest" => {
                changes.push(rest.split_once(' ')?);
                continue;
            }
            _ => {
                let content = &mut parts.last_mut()?.content;
                content.push_str(line.strip_prefix('|')?);
                content.push('\n');
                continue;
            }
        };
        let (path, target) = if kind == EntryType::Symlink { rest.split_once(' ')? } else { (rest, "") };
        let sort = if word == "exec" { "executable" } else { word };
        parts.push(Part { kind, path: path.into(), target: target.into(), content: String::new() });
        changes.push((sort, ""));
    }
    let (sorts, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, value)| value.is_empty());
    let definition = parts.iter().find(|p| p.path == "definition.json").and_then(|p| serde_json::from_str(&p.content).ok());
    let digest = definition.and_then(|json: Value| hash::json(&json).ok()).unwrap_or_default();
    for part in &mut parts {
        part.content = part.content.replace("@definition", &digest).replace("@run", RUN);
    }
    let files: Vec<Value> = parts.iter().zip(&sorts).map(|(part, (sort, _))| item(part, sort)).collect();
    let mut manifest = json!({
        "schema": "trees/export", "version": 1, "made_by": "0", "host": "h", "run": RUN, "tree": "t", "number": 1,
        "status": "succeeded", "created": 0, "definition": digest, "files": files,
    });
    for (key, value) in changes {
        manifest[key] = serde_json::from_str(value).ok()?;
    }
    let cover = Part { kind: EntryType::Regular, path: "manifest.json".into(), target: String::new(), content: manifest.to_string() };
    parts.insert(0, cover);
    written(&parts)
}

fn item(part: &Part, sort: &str) -> Value {
    match part.kind {
        EntryType::Regular => json!({
            "path": part.path, "sort": sort, "size": part.content.len(), "sha256": hash::bytes(part.content.as_bytes()),
        }),
        _ => json!({ "path": part.path, "sort": sort, "target": part.target }),
    }
}

/// The names as they are, also those that no honest writer takes.
fn written(parts: &[Part]) -> Option<Vec<u8>> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for part in parts {
        let mut header = Header::new_gnu();
        let old = header.as_gnu_mut()?;
        old.name.get_mut(..part.path.len())?.copy_from_slice(part.path.as_bytes());
        old.linkname.get_mut(..part.target.len())?.copy_from_slice(part.target.as_bytes());
        header.set_entry_type(part.kind);
        header.set_size(part.content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, part.content.as_bytes()).ok()?;
    }
    let mut gz = tar.into_inner().ok()?;
    gz.flush().ok()?;
    gz.finish().ok()
}
