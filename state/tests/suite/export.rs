//! A run as one file: whole, the same each time, and refused when anything of it is not as it was.

use crate::bench::{Bench, FAR, at, begins, bench, event, finished, new_run, open, started};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tar::{Archive, Builder, EntryType, Header};
use trees_core::event::{ArtifactRef, Event, EventKind, RunStatus};
use trees_core::hash;
use trees_core::journal::{Journal as _, JournalError, RunFilter};
use trees_core::path::{RunId, StepPath};
use trees_core::store::Store as _;
use trees_state::{Gc, Imported, State, StateError};

/// A run with a log, a file and a folder as artifacts; and its export.
fn some() -> (Bench, RunId, Vec<u8>) {
    let bench = bench();
    let run = made(&bench.state, RunStatus::Succeeded, &bench);
    let bytes = export(&bench.state, &run);
    (bench, run, bytes)
}

fn made(state: &State, status: RunStatus, bench: &Bench) -> RunId {
    let from = bench.dir.path().join("made");
    fs::create_dir_all(from.join("bin")).unwrap();
    fs::write(from.join("bin/app"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(from.join("bin/app"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(from.join("note"), "é").unwrap();
    let _ = symlink("bin/app", from.join("app"));
    let kept = |path: &str| -> ArtifactRef { state.keep(&from.join(path), path).unwrap() };
    let artifacts = [("all".to_owned(), kept("")), ("note".to_owned(), kept("note"))].into();
    let mut new = new_run("a");
    new.digest = hash::json(&new.definition).unwrap();
    let mut first = started("a");
    if let EventKind::RunStarted(facts) = &mut first {
        facts.definition = new.digest.clone();
    }
    let hold = state.create(&new).unwrap();
    let run = hold.run().clone();
    let kinds = [
        (None, first),
        (Some("s"), begins("in")),
        (Some("s"), EventKind::StepSucceeded { outputs: json!({"n": 1}), artifacts }),
        (None, finished(status)),
    ];
    let events: Vec<Event> = kinds.into_iter().zip(1..).map(|((step, kind), seq)| event(&run, seq, step, kind)).collect();
    state.append(&run, 0, 1, &events, &[]).unwrap();
    let log = state.attempt_path(&run, &StepPath("s".into()), 1).unwrap();
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("output.log"), "a line\n").unwrap();
    fs::write(log.join("output.idx"), "0").unwrap();
    run
}

fn export(state: &State, run: &RunId) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.export(run, "here", &mut bytes).unwrap();
    bytes
}

fn import(state: &State, bytes: &[u8]) -> Result<Imported, StateError> {
    state.import(&mut &*bytes, "a.tgz")
}

/// One entry of an export.
#[derive(Clone)]
struct Part {
    kind: EntryType,
    path: String,
    target: String,
    content: Vec<u8>,
}

fn parts(bytes: &[u8]) -> Vec<Part> {
    let mut tar = Archive::new(GzDecoder::new(bytes));
    let all = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let target = entry.link_name_bytes().map(|name| text(&name)).unwrap_or_default();
        Part { kind: entry.header().entry_type(), path: text(&entry.path_bytes()), target, content }
    });
    all.collect()
}

/// Writes names as they are, also those that no honest writer takes.
fn packed(parts: &[Part]) -> Vec<u8> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for part in parts {
        let mut header = Header::new_gnu();
        let old = header.as_gnu_mut().unwrap();
        old.name[..part.path.len()].copy_from_slice(part.path.as_bytes());
        old.linkname[..part.target.len()].copy_from_slice(part.target.as_bytes());
        header.set_entry_type(part.kind);
        header.set_size(part.content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, part.content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// The export with something done to its entries and its manifest, which fit each other.
fn bent(bytes: &[u8], bend: impl FnOnce(&mut Vec<Part>, &mut Value)) -> Vec<u8> {
    let mut parts = parts(bytes);
    let mut manifest: Value = serde_json::from_slice(&parts[0].content).unwrap();
    bend(&mut parts, &mut manifest);
    parts[0].content = serde_json::to_vec(&manifest).unwrap();
    packed(&parts)
}

fn add(parts: &mut Vec<Part>, manifest: &mut Value, kind: EntryType, path: &str, target: &str, content: &str) {
    let sort = match kind {
        EntryType::Directory => "folder",
        EntryType::Symlink => "link",
        _ => "file",
    };
    let sha256 = if kind == EntryType::Regular { hash::bytes(content.as_bytes()) } else { String::new() };
    let item = json!({ "path": path, "sort": sort, "size": content.len(), "sha256": sha256, "target": target });
    manifest["files"].as_array_mut().unwrap().push(item);
    parts.push(Part { kind, path: path.into(), target: target.into(), content: content.as_bytes().to_vec() });
}

/// That it is refused with these words, and leaves nothing.
#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let bench = bench();
    let error = import(&bench.state, bytes).unwrap_err();
    assert!(matches!(error, StateError::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains(expected), "`{expected}` is not in: {error}");
    assert!(bench.state.runs(&RunFilter::default()).unwrap().is_empty());
    let left = |name: &str| fs::read_dir(bench.dir.path().join(".trees").join(name)).map_or(0, Iterator::count);
    assert_eq!(left("runs"), 0, "{error}");
    let aside = walk(&bench).into_iter().find(|path| path.contains("/.trees-"));
    assert_eq!(aside, None, "{error}");
    assert!(!walk(&bench).iter().any(|path| path.ends_with("evil")), "{error}");
}

fn walk(bench: &Bench) -> Vec<String> {
    let all = walkdir::WalkDir::new(bench.dir.path()).into_iter().filter_map(Result::ok);
    all.map(|entry| entry.path().display().to_string()).collect()
}

#[test]
fn a_run_comes_back_whole() {
    let (first, run, bytes) = some();
    assert_eq!(export(&first.state, &run), bytes, "the same run, the same bytes");
    let second = bench();
    let Imported::New { manifest, number } = import(&second.state, &bytes).unwrap() else { panic!("it was not there") };
    assert_eq!((&manifest.run, number, manifest.logs(), manifest.artifacts().len()), (&run, 1, 1, 2));
    assert_eq!(second.state.load(&run, 0).unwrap(), first.state.load(&run, 0).unwrap());
    assert_eq!(second.state.definition(&run).unwrap(), first.state.definition(&run).unwrap());
    let there = second.state.run(&run).unwrap();
    assert_eq!((there.status, there.number, there.started, there.progress), (RunStatus::Succeeded, 1, at(1), Some(FAR)));
    let log = second.state.attempt_path(&run, &StepPath("s".into()), 1).unwrap().join("output.log");
    assert_eq!(fs::read_to_string(log).unwrap(), "a line\n");
    for sha256 in manifest.artifacts() {
        assert!(second.state.content(sha256).is_some(), "{sha256}");
    }
    let folder = manifest.artifacts().into_iter().filter_map(|sha| second.state.content(sha)).find(|path| path.is_dir()).unwrap();
    assert_eq!(fs::read_link(folder.join("app")).unwrap(), std::path::Path::new("bin/app"));
    assert!(folder.join("bin/app").metadata().unwrap().permissions().mode() & 0o100 != 0);
    let origin = second.state.origins().unwrap().remove(&run).unwrap();
    assert_eq!((origin.file.as_str(), origin.host.as_str()), ("a.tgz", "here"));
    let mut again = Vec::new();
    second.state.export(&run, "there", &mut again).unwrap();
    assert!(again == bytes, "an import exports as what it came from");
    assert_eq!(second.state.verify_audit().unwrap().broken, None);
    assert!(!walk(&second).iter().any(|path| path.contains("/.trees-")));
}

#[test]
fn the_same_twice_changes_nothing_and_another_with_its_id_is_refused() {
    let (first, run, bytes) = some();
    assert_eq!(import(&first.state, &bytes).unwrap(), Imported::Already(run.clone()));
    let second = bench();
    import(&second.state, &bytes).unwrap();
    assert_eq!(import(&second.state, &bytes).unwrap(), Imported::Already(run.clone()));
    assert_eq!(second.state.audit(&trees_state::AuditFilter::default()).unwrap().len(), 1);
    // The run goes on where it came from.
    let hold = first.state.hold(&run).unwrap();
    let more = event(&run, 5, None, EventKind::RunResumed { epoch: hold.epoch(), definition: None });
    first.state.append(&run, 4, hold.epoch(), &[more], &[]).unwrap();
    drop(hold);
    let error = import(&second.state, &export(&first.state, &run)).unwrap_err().to_string();
    assert!(error.contains(&format!("run {run} is here already, and what is recorded of it differs")), "{error}");
    assert_eq!(second.state.load(&run, 0).unwrap().len(), 4);
}

#[test]
fn a_number_that_is_taken_becomes_the_next() {
    let (_first, run, bytes) = some();
    let second = bench();
    let own = made(&second.state, RunStatus::Failed, &second);
    let Imported::New { number, .. } = import(&second.state, &bytes).unwrap() else { panic!("it was not there") };
    assert_eq!((number, second.state.run(&run).unwrap().number, second.state.run(&own).unwrap().number), (2, 2, 1));
    let next = second.state.create(&new_run("a")).unwrap();
    assert_eq!(next.number(), 3);
}

#[test]
fn what_a_foreign_machine_made_stands_for_no_step_here() {
    let (first, _, bytes) = some();
    assert!(first.state.cached("a", "def", "in").unwrap().is_some());
    let second = bench();
    import(&second.state, &bytes).unwrap();
    assert!(second.state.cached("a", "def", "in").unwrap().is_none());
    second.state.rebuild().unwrap();
    assert!(second.state.cached("a", "def", "in").unwrap().is_none());
}

#[test]
fn a_run_that_is_driven_is_not_exported() {
    let (bench, run, _) = some();
    let hold = bench.state.hold(&run).unwrap();
    let error = open(&bench.dir).export(&run, "here", std::io::sink()).unwrap_err();
    assert!(matches!(error, StateError::Journal(JournalError::Held { .. })), "{error:?}");
    drop(hold);
    assert!(bench.state.export(&RunId("aaaaaaaaaaaa".into()), "here", std::io::sink()).is_err());
}

#[test]
fn a_run_from_elsewhere_is_cleared_away_though_it_has_not_ended() {
    let bench = bench();
    let run = made(&bench.state, RunStatus::Failed, &bench);
    let bytes = bent(&export(&bench.state, &run), |parts, manifest| {
        // Without its last event.
        let text = String::from_utf8(parts[1].content.clone()).unwrap();
        let kept: String = text.split_inclusive('\n').take(3).collect();
        (manifest["files"][0]["size"], manifest["files"][0]["sha256"]) = (kept.len().into(), hash::bytes(kept.as_bytes()).into());
        parts[1].content = kept.into_bytes();
    });
    let second = crate::bench::bench();
    import(&second.state, &bytes).unwrap();
    assert_eq!(second.state.run(&run).unwrap().status, RunStatus::Interrupted);
    let removed = second.state.gc(&Gc { keep: Some(0), ..Gc::default() }).unwrap();
    assert_eq!(removed.runs, [run]);
}

#[test]
fn an_artifact_that_was_cleared_away_is_told() {
    let (bench, run, _) = some();
    let gone = bench.state.export(&run, "here", std::io::sink()).unwrap().artifacts().into_iter().next().unwrap().to_owned();
    let object = bench.state.content(&gone).unwrap();
    if object.is_dir() {
        fs::remove_dir_all(object).unwrap()
    } else {
        fs::remove_file(object).unwrap()
    }
    let mut bytes = Vec::new();
    assert_eq!(bench.state.export(&run, "here", &mut bytes).unwrap().missing, [gone]);
    import(&crate::bench::bench().state, &bytes).unwrap();
}

#[test]
fn a_damaged_file_changes_nothing() {
    let (_bench, _, bytes) = some();
    for length in [bytes.len() - 1, bytes.len() - 8, bytes.len() / 2, 40] {
        refused(&bytes[..length], "a.tgz is ");
    }
    for at in (10..bytes.len()).step_by(bytes.len() / 23) {
        let mut harmed = bytes.clone();
        harmed[at] ^= 0x40;
        refused(&harmed, "a.tgz is ");
    }
    for path in ["events.jsonl", "definition.json", "steps/", "artifacts/"] {
        refused(&changed(&bytes, path), "its digest is another");
    }
    refused(&bent(&bytes, |parts, _| drop(parts.pop())), "it ends before");
    refused(&bent(&bytes, |parts, _| parts.push(parts[1].clone())), "more than its manifest names");
    refused(&bent(&bytes, |parts, _| parts.swap(1, 2)), "where events.jsonl should be");
    refused(&bent(&bytes, |_, manifest| manifest["definition"] = "ff".into()), "another digest than the run's");
    refused(&bent(&bytes, |_, manifest| manifest["run"] = "aaaaaaaaaaaa".into()), "event 1 is event 1 of run");
    refused(&bent(&bytes, |_, manifest| manifest["tree"] = "other".into()), "of another run");
}

/// The export with a bit of the first file below a path changed.
fn changed(bytes: &[u8], path: &str) -> Vec<u8> {
    let mut parts = parts(bytes);
    let part = parts.iter_mut().find(|part| part.path.starts_with(path) && part.kind == EntryType::Regular).unwrap();
    part.content[0] ^= 1;
    packed(&parts)
}

#[test]
fn a_foreign_or_newer_file_is_said_to_be_one() {
    let (_bench, _, bytes) = some();
    refused(b"", "is no exported run");
    refused(b"hello", "is no exported run");
    let mut text = GzEncoder::new(Vec::new(), Compression::fast());
    text.write_all(&[b'x'; 2000]).unwrap();
    refused(&text.finish().unwrap(), "is no exported run");
    refused(&packed(&parts(&bytes)[1..]), "is no exported run");
    refused(&bent(&bytes, |_, manifest| manifest["schema"] = "other".into()), "is no exported run");
    refused(&bent(&bytes, |_, manifest| manifest["version"] = 2.into()), "was written by a newer trees (0.1.0): its form is 2");
}

#[test]
fn no_path_leaves_the_folder() {
    let (_bench, _, bytes) = some();
    let outside = "leads out of the folder it is unpacked in";
    for path in ["../evil", "steps/../../../evil", "/tmp/evil", "steps//evil", "steps/./evil", "./evil"] {
        refused(&bent(&bytes, |parts, manifest| add(parts, manifest, EntryType::Regular, path, "", "x")), outside);
    }
    for path in ["evil", "lock", "trees.db", "artifacts/evil", "artifacts/../evil2/x"] {
        refused(&bent(&bytes, |parts, manifest| add(parts, manifest, EntryType::Regular, path, "", "x")), "is refused: its entry");
    }
    let home = format!("artifacts/{}", "a".repeat(64));
    let link = |path: &str, target: &str| {
        bent(&bytes, |parts, manifest| {
            add(parts, manifest, EntryType::Directory, &home, "", "");
            add(parts, manifest, EntryType::Symlink, path, target, "");
        })
    };
    for target in ["/tmp", "..", "../../evil", "x/../..", ""] {
        refused(&link(&format!("{home}/l"), target), "leads out of its folder");
    }
    refused(&link(&format!("artifacts/{}", "b".repeat(64)), "/tmp"), "leads out of its folder");
    refused(&link("steps/l", "/tmp"), "leads out of its folder");
    // Through a link that stays inside by its text.
    let through = bent(&bytes, |parts, manifest| {
        add(parts, manifest, EntryType::Directory, &home, "", "");
        add(parts, manifest, EntryType::Symlink, &format!("{home}/l"), ".", "");
        add(parts, manifest, EntryType::Regular, &format!("{home}/l/evil"), "", "x");
    });
    refused(&through, "belongs to no run");
    // The archive says something else than its manifest.
    let other = bent(&bytes, |parts, _| parts[1].path = "../evil".into());
    refused(&other, "where events.jsonl should be there is ../evil");
    let linked = bent(&bytes, |parts, _| {
        (parts[1].kind, parts[1].target) = (EntryType::Symlink, "/tmp/evil".into());
        parts[1].content.clear();
    });
    refused(&linked, "where events.jsonl should be");
}

#[test]
fn an_artifact_is_what_its_digest_says() {
    let (_bench, _, bytes) = some();
    let sha = "a".repeat(64);
    let bytes = bent(&bytes, |parts, manifest| add(parts, manifest, EntryType::Regular, &format!("artifacts/{sha}"), "", "x"));
    refused(&bytes, "has another digest");
}

#[test]
fn the_epoch_of_a_rollback_is_taken_over_too() {
    let bench = bench();
    let run = made(&bench.state, RunStatus::Failed, &bench);
    let epoch = bench.state.hold(&run).unwrap().epoch();
    let how = trees_core::event::RollbackStarted { epoch: Some(epoch), ..Default::default() };
    let kinds = [EventKind::RollbackStarted(Box::new(how)), finished(RunStatus::RolledBack)];
    let events: Vec<Event> = kinds.into_iter().zip(5..).map(|(kind, seq)| event(&run, seq, None, kind)).collect();
    bench.state.append(&run, 4, epoch, &events, &[]).unwrap();
    let bytes = export(&bench.state, &run);
    let dir = tempfile::tempdir().unwrap();
    let there = open(&dir);
    there.import(&mut bytes.as_slice(), "a.trees").unwrap();
    assert_eq!(there.hold(&run).unwrap().epoch(), epoch + 1);
}
