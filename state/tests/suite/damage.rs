//! Folders that cannot be used: each is said with its cure, and nothing is made worse.

use crate::bench::{bench, ended, event, new_run, run_with, started, succeeds};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use trees_core::event::RunStatus;
use trees_core::journal::{Journal as _, RunFilter};
use trees_state::{Durability, Health, State, StateError};

#[track_caller]
fn check(folder: &Path, expected: &[&str]) {
    let error = State::open(folder, Durability::Full).unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, StateError::Unusable { .. }), "{text}");
    assert!(text.starts_with("the state in "), "{text}");
    for part in expected {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn a_fresh_folder_is_private_and_hidden_from_git() {
    let bench = bench();
    let folder = bench.dir.path().join(".trees");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(folder.join(".gitignore")).unwrap(), "*\n");
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("project");
    fs::create_dir(&folder).unwrap();
    assert!(State::open(&folder, Durability::Full).is_ok(), "empty is fine");
    assert!(State::open(&folder, Durability::Full).is_ok(), "ours is fine");
    let folder = dir.path().join("other");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Cargo.toml"), "").unwrap();
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    check(&folder, &["it holds other things; name a new or empty folder"]);
    assert!(!folder.join(".gitignore").exists() && fs::metadata(&folder).unwrap().permissions().mode() == mode);
    let folder = dir.path().join(".trees");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("tree.schema.json"), "{}").unwrap();
    assert!(State::open(&folder, Durability::Full).is_ok(), "by that name it is ours");
}

#[test]
fn reading_makes_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".trees");
    assert!(State::open_existing(&folder, Durability::Full).unwrap().is_none());
    assert!(!folder.exists());
    State::open(&folder, Durability::Full).unwrap();
    assert!(State::open_existing(&folder, Durability::Full).unwrap().is_some());
}

#[test]
fn a_schema_from_the_future_is_left_alone() {
    let bench = bench();
    ended(&bench.state, "t", RunStatus::Succeeded);
    let folder = bench.dir.path().join(".trees");
    let dir = bench.dir;
    drop(bench.state);
    let db = rusqlite::Connection::open(folder.join("trees.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(db);
    let before = fs::read(folder.join("trees.db")).unwrap();
    check(&folder, &["newer `trees` (schema 99, this one knows 4)", "--state"]);
    assert_eq!(fs::read(folder.join("trees.db")).unwrap(), before);
    assert!(!folder.join("trees.db-wal").exists());
    drop(dir);
}

#[test]
fn a_future_schema_that_is_still_in_the_log_is_seen() {
    let bench = bench();
    let folder = bench.dir.path().join(".trees");
    let db = rusqlite::Connection::open(folder.join("trees.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 7").unwrap();
    check(&folder, &["newer `trees` (schema 7, this one knows 4)"]);
}

#[test]
fn what_is_no_database_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".trees");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("trees.db"), "hello ".repeat(100)).unwrap();
    check(&folder, &["damaged", "it is no SQLite database", "move trees.db"]);
    fs::write(folder.join("trees.db"), "SQLite format 3\0").unwrap();
    check(&folder, &["damaged"]);
    fs::write(folder.join("trees.db"), "").unwrap();
    fs::create_dir_all(folder.join("runs/0123456789ab")).unwrap();
    check(&folder, &["it is empty, but there are folders of runs"]);
    fs::remove_dir_all(folder.join("runs")).unwrap();
    assert!(State::open(&folder, Durability::Full).is_ok(), "empty and unused is fresh");
}

#[test]
fn flipped_pages_are_found() {
    let bench = bench();
    for _ in 0..40 {
        ended(&bench.state, "t", RunStatus::Succeeded);
    }
    let folder = bench.dir.path().join(".trees");
    let dir = bench.dir;
    drop(bench.state);
    let file = folder.join("trees.db");
    let mut content = fs::read(&file).unwrap();
    for byte in &mut content[4096..] {
        *byte ^= 0x5A;
    }
    fs::write(&file, content).unwrap();
    let told = match State::open(&folder, Durability::Full) {
        Err(error) => error.to_string(),
        Ok(state) => state.runs(&RunFilter::default()).unwrap_err().to_string(),
    };
    assert!(told.contains("is damaged") && told.contains("put back a copy"), "{told}");
    let found = State::doctor(&folder, &|_, _, _| None);
    assert!(found.iter().any(|finding| finding.check == "database" && finding.health == Health::Bad), "{found:?}");
    drop(dir);
}

/// SQLite has no checksums in its file: a digit that turned into another one was believed.
#[test]
fn an_event_that_is_not_as_it_was_written_is_refused() {
    let bench = bench();
    let run = ended(&bench.state, "t", RunStatus::Succeeded);
    let db = rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap();
    let check = |sql: &str, expected: &str| {
        db.execute_batch(sql).unwrap();
        let error = bench.state.load(&run, 0).unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains(expected), "{error}");
    };
    check("UPDATE events SET ts = ts + 1 WHERE seq = 1", "event 1 of run");
    check("DELETE FROM events WHERE seq = 1", "is missing");
    assert!(bench.state.definition(&run).is_ok());
    db.execute_batch("UPDATE definitions SET body = replace(body, 't', 'u')").unwrap();
    let error = bench.state.definition(&run).unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains("not as it was written"), "{error}");
}

/// An emptied database was taken for a fresh one and its log thrown away.
#[test]
fn a_log_without_its_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".trees");
    fs::create_dir_all(folder.join("runs/0123456789ab")).unwrap();
    fs::write(folder.join("trees.db-wal"), "log").unwrap();
    check(&folder, &["it is missing, but its log is there", "move trees.db"]);
    assert!(State::open_existing(&folder, Durability::Full).is_err());
    fs::write(folder.join("trees.db"), "").unwrap();
    check(&folder, &["it is empty, but there are folders of runs"]);
    assert_eq!(fs::read_to_string(folder.join("trees.db-wal")).unwrap(), "log");
    fs::remove_file(folder.join("trees.db-wal")).unwrap();
    fs::remove_file(folder.join("trees.db")).unwrap();
    check(&folder, &["trees.db is missing, but the folder of a run is there", "move runs/ away"]);
    fs::remove_dir_all(folder.join("runs")).unwrap();
    assert!(State::open(&folder, Durability::Full).is_ok(), "the cure: all of it moved aside");
}

#[test]
fn a_folder_that_is_a_file_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    check(&file.join(".trees"), &["file is no folder; move it away, or name another folder"]);
    check(&file, &["file is no folder; move it away, or name another folder"]);
}

/// Root may write everywhere, so there is nothing to be refused.
#[test]
fn a_folder_of_others_is_said() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    check(&dir.path().join(".trees"), &["--state"]);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

/// A small file system of our own needs root; without it the test has nothing to stand on.
#[test]
fn a_full_disk_is_said_and_survived() {
    let Some(disk) = Disk::mount() else { return };
    let folder = disk.0.path().join(".trees");
    let state = State::open(&folder, Durability::Full).unwrap();
    let hold = run_with(&state, "t", vec![(None, started("t"))]);
    let run = hold.run().clone();
    let filler = disk.0.path().join("filler");
    // Its last write fails: then nothing is left.
    let _ = fs::write(&filler, vec![1_u8; 16 << 20]);
    let more = |seq| event(&run, seq, Some("a"), succeeds("y".repeat(1 << 20).into()));
    let error = state.append(&run, 1, 1, &[more(2)], &[]).unwrap_err();
    assert!(error.to_string().contains("the disk is full; free some space"), "{error}");
    assert_eq!(state.load(&run, 0).unwrap().len(), 1);
    fs::remove_file(&filler).unwrap();
    state.append(&run, 1, 1, &[more(2)], &[]).unwrap();
    assert_eq!(state.load(&run, 0).unwrap().len(), 2);
    // A definition that is larger than the disk.
    let mut large = new_run("large");
    large.digest = "large".into();
    large.definition = serde_json::Value::String("x".repeat(16 << 20));
    let error = state.create(&large).err().unwrap();
    assert!(error.to_string().contains("the disk is full; free some space"), "{error}");
    assert_eq!(state.load(&run, 0).unwrap().len(), 2);
    drop((hold, state));
}

struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(dir.path()).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn the_journal_may_lie_below_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    let state = State::open(dir.path().join("link/.trees"), Durability::Full).unwrap();
    let run = ended(&state, "t", RunStatus::Succeeded);
    let other = State::open(dir.path().join("real/.trees"), Durability::Full).unwrap();
    assert_eq!(other.run(&run).unwrap().status, RunStatus::Succeeded);
}

#[test]
fn a_form_from_before_the_first_release_is_refused_clearly() {
    let refused = |harm: &str| {
        let bench = bench();
        ended(&bench.state, "t", RunStatus::Succeeded);
        let folder = bench.dir.path().join(".trees");
        drop(bench.state);
        rusqlite::Connection::open(folder.join("trees.db")).unwrap().execute_batch(harm).unwrap();
        check(&folder, &["from before the first release", "--state"]);
    };
    refused("PRAGMA user_version = 1");
    refused("DROP TABLE audit_head");
    refused("ALTER TABLE runs DROP COLUMN imported");
    refused("ALTER TABLE events DROP COLUMN sum");
}

#[test]
fn a_database_whose_sums_came_by_a_migration_opens_and_every_row_needs_its_own() {
    let bench = bench();
    let db = rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap();
    for table in ["events", "results"] {
        db.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN sum; ALTER TABLE {table} ADD COLUMN sum BLOB")).unwrap();
    }
    let state = crate::bench::open(&bench.dir);
    let run = ended(&state, "t", RunStatus::Succeeded);
    assert_eq!(state.load(&run, 0).unwrap().len(), 2);
    db.execute_batch("UPDATE events SET sum = NULL WHERE seq = 2").unwrap();
    let error = state.load(&run, 0).unwrap_err().to_string();
    assert!(error.contains("event 2 of run") && error.contains("is not as it was written"), "{error}");
}

#[test]
fn a_database_that_was_half_made_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".trees");
    fs::create_dir(&folder).unwrap();
    for name in ["trees.db-new", "trees.db-new-journal", "trees.db-new-wal", "trees.db-journal"] {
        fs::write(folder.join(name), "half").unwrap();
    }
    let state = State::open(&folder, Durability::Full).unwrap();
    ended(&state, "t", RunStatus::Succeeded);
    assert!(!folder.join("trees.db-new").exists() && !folder.join("trees.db-new-wal").exists());
}
