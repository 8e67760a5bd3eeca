//! Artifacts: what goes in comes out, and what is damaged does not.

use crate::bench::{Bench, bench, event, run_with};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use trees_core::event::{ArtifactRef, EventKind};
use trees_core::journal::Journal as _;
use trees_core::store::Store as _;

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn folder(bench: &Bench) -> PathBuf {
    let home = bench.dir.path().join("out");
    write(&home.join("a.txt"), "one", 0o644);
    write(&home.join("bin/run"), "#!/bin/sh\n", 0o755);
    fs::create_dir(home.join("empty")).unwrap();
    symlink("../a.txt", home.join("bin/link")).unwrap();
    home
}

#[test]
fn a_file_comes_back_with_its_mode() {
    let bench = bench();
    let file = bench.dir.path().join("chat");
    write(&file, "binary", 0o755);
    let kept = bench.state.keep(&file, "target/chat").unwrap();
    let sha256 = "9a3a45d01531a20e89ac6ae10b0b0beb0492acd7216a368aa062d1a5fecaf9cd";
    assert_eq!(kept, ArtifactRef { path: "target/chat".into(), sha256: sha256.into(), size: 6 });
    let to = bench.dir.path().join("new/folder/chat");
    assert!(bench.state.restore(&kept, &to).unwrap());
    assert_eq!((fs::read_to_string(&to).unwrap().as_str(), mode(&to)), ("binary", 0o755));
    assert_eq!(fs::read_to_string(bench.state.content(sha256).unwrap()).unwrap(), "binary");
}

#[test]
fn a_folder_comes_back_whole() {
    let bench = bench();
    let home = folder(&bench);
    let kept = bench.state.keep(&home, "out").unwrap();
    let to = bench.dir.path().join("back");
    write(&to.join("stale"), "old", 0o644);
    assert!(bench.state.restore(&kept, &to).unwrap());
    assert_eq!(fs::read_to_string(to.join("bin/link")).unwrap(), "one");
    assert_eq!(fs::read_link(to.join("bin/link")).unwrap(), Path::new("../a.txt"));
    assert_eq!((mode(&to.join("bin/run")), mode(&to.join("a.txt"))), (0o755, 0o644));
    assert!(to.join("empty").is_dir() && !to.join("stale").exists());
    assert_eq!(bench.state.keep(&to, "out").unwrap(), kept, "the same again");
    let left: Vec<_> = fs::read_dir(bench.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing is left aside: {left:?}");
}

#[test]
fn every_difference_gives_another_digest() {
    let bench = bench();
    let home = folder(&bench);
    let mut seen = vec![bench.state.keep(&home, "out").unwrap().sha256];
    let mut differs = |change: &dyn Fn()| {
        change();
        let sha256 = bench.state.keep(&home, "out").unwrap().sha256;
        assert!(!seen.contains(&sha256));
        seen.push(sha256);
    };
    differs(&|| write(&home.join("a.txt"), "two", 0o644));
    differs(&|| write(&home.join("a.txt"), "two", 0o700));
    differs(&|| fs::rename(home.join("a.txt"), home.join("b.txt")).unwrap());
    differs(&|| fs::remove_dir(home.join("empty")).unwrap());
    differs(&|| {
        fs::remove_file(home.join("bin/link")).unwrap();
        symlink("../b.txt", home.join("bin/link")).unwrap();
    });
}

#[test]
fn equal_content_is_kept_once() {
    let bench = bench();
    let file = bench.dir.path().join("a");
    write(&file, "same", 0o644);
    let one = bench.state.keep(&file, "a").unwrap();
    let two = bench.state.keep(&file, "b").unwrap();
    assert_eq!(one.sha256, two.sha256);
    let shelf = bench.dir.path().join(".trees/artifacts");
    let files = walkdir::WalkDir::new(shelf).into_iter().filter(|entry| entry.as_ref().unwrap().file_type().is_file());
    assert_eq!(files.count(), 1);
}

#[test]
fn damaged_content_is_missing_and_can_be_kept_anew() {
    let bench = bench();
    let (file, home) = (bench.dir.path().join("file"), folder(&bench));
    write(&file, "good", 0o644);
    for from in [&file, &home] {
        let kept = bench.state.keep(from, "x").unwrap();
        let object = bench.state.content(&kept.sha256).unwrap();
        let inner = if object.is_dir() { object.join("a.txt") } else { object };
        fs::write(inner, "evil").unwrap();
        let to = bench.dir.path().join("restored");
        assert!(!bench.state.restore(&kept, &to).unwrap());
        assert!(!to.exists() && bench.state.content(&kept.sha256).is_none());
        assert_eq!(bench.state.keep(from, "x").unwrap(), kept);
        assert!(bench.state.restore(&kept, &to).unwrap());
        fs::write(bench.state.content(&kept.sha256).unwrap().join("a.txt"), "evil").ok();
        assert_eq!(bench.state.keep(from, "x").unwrap(), kept, "keeping heals");
        if to.is_dir() {
            fs::remove_dir_all(&to).unwrap()
        } else {
            fs::remove_file(&to).unwrap()
        }
        assert!(bench.state.restore(&kept, &to).unwrap());
        if to.is_dir() { fs::remove_dir_all(&to).unwrap() } else { fs::remove_file(&to).unwrap() }
    }
}

#[test]
fn what_is_there_already_is_not_touched() {
    let bench = bench();
    let file = bench.dir.path().join("file");
    write(&file, "good", 0o644);
    let kept = bench.state.keep(&file, "x").unwrap();
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    assert!(bench.state.restore(&kept, &file).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    write(&file, "changed", 0o644);
    assert!(bench.state.restore(&kept, &file).unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), "good");
}

#[test]
fn what_leads_out_is_refused() {
    let bench = bench();
    let check = |name: &str, target: &str, fine: bool| {
        let home = bench.dir.path().join(name);
        fs::create_dir_all(home.join("in")).unwrap();
        symlink(target, home.join("in/link")).unwrap();
        let kept = bench.state.keep(&home, name);
        assert_eq!(kept.is_ok(), fine, "{target}");
        if let Err(error) = kept {
            assert!(error.to_string().contains("is a link that leads out of the folder"), "{error}");
        }
    };
    check("a", "/etc/passwd", false);
    check("b", "../../../x", false);
    check("c", "../..", false);
    check("d", "../in/../x", true);
    check("e", "nowhere", true);
    check("f", "x/../../../y", false);
    let missing = bench.state.keep(&bench.dir.path().join("missing"), "missing").unwrap_err();
    assert!(missing.to_string().contains("keeping the artifact missing failed"), "{missing}");
    assert!(bench.state.content("../../../../etc/passwd").is_none());
    assert!(!bench.state.restore(&ArtifactRef { path: "x".into(), sha256: "../x".into(), size: 1 }, Path::new("/nowhere")).unwrap());
    let aside = fs::read_dir(bench.dir.path().join(".trees/artifacts")).unwrap();
    assert!(aside.filter_map(Result::ok).all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn a_result_without_its_artifacts_is_none() {
    let bench = bench();
    let file = bench.dir.path().join("file");
    write(&file, "good", 0o644);
    let kept = bench.state.keep(&file, "x").unwrap();
    let hold = run_with(&bench.state, "t", vec![(Some("a"), crate::bench::begins("i"))]);
    let kind = EventKind::StepSucceeded { outputs: serde_json::Value::Null, artifacts: [("x".to_owned(), kept.clone())].into() };
    bench.state.append(hold.run(), 1, 1, &[event(hold.run(), 2, Some("a"), kind)], &[]).unwrap();
    assert_eq!(bench.state.cached("t", "def", "i").unwrap().unwrap().artifacts["x"], kept);
    fs::remove_file(bench.state.content(&kept.sha256).unwrap()).unwrap();
    assert_eq!(bench.state.cached("t", "def", "i").unwrap(), None);
}

#[test]
fn a_result_that_is_not_as_it_was_written_is_none() {
    let bench = bench();
    let db = rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap();
    db.execute_batch("ALTER TABLE results DROP COLUMN sum; ALTER TABLE results ADD COLUMN sum BLOB").unwrap();
    let hold = run_with(&bench.state, "t", vec![(Some("a"), crate::bench::begins("i"))]);
    let kind = EventKind::StepSucceeded { outputs: serde_json::json!({ "n": 1 }), artifacts: BTreeMap::new() };
    bench.state.append(hold.run(), 1, 1, &[event(hold.run(), 2, Some("a"), kind)], &[]).unwrap();
    assert!(bench.state.cached("t", "def", "i").unwrap().is_some());
    for harm in ["sum = NULL", "sum = x'00'", "sum = zeroblob(16)", "outputs = '{\"n\":2}'"] {
        db.execute_batch(&format!("UPDATE results SET {harm}")).unwrap();
        assert_eq!(bench.state.cached("t", "def", "i").unwrap(), None, "{harm}");
    }
}
