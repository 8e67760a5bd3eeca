//! Secrets: sealed at rest, found by scope, lost without their key.

use crate::bench::{bench, child, child_folder, open};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use trees_core::store::{Generate, Store as _};
use trees_state::{Durability, State};

const CANARY: &str = "canary-7f3a9c-\u{e9}-value";

#[test]
fn the_environments_own_comes_first() {
    let bench = bench();
    let state = &bench.state;
    let get = |environment: &str| state.secret("p", environment, "TOKEN").unwrap().map(|secret| (secret.value, secret.fingerprint));
    assert_eq!(get("staging"), None);
    assert_eq!(state.set_secret("p", "", "TOKEN", "shared").unwrap(), 1);
    assert_eq!(state.set_secret("p", "staging", "TOKEN", "own").unwrap(), 2);
    assert_eq!(get("staging"), Some(("own".into(), "store:2".into())));
    assert_eq!(get("production"), Some(("shared".into(), "store:1".into())));
    assert_eq!(state.set_secret("p", "staging", "TOKEN", "newer").unwrap(), 3);
    assert_eq!(get("staging"), Some(("newer".into(), "store:3".into())));
    assert!(state.secret("other", "staging", "TOKEN").unwrap().is_none());
    assert!(state.remove_secret("p", "staging", "TOKEN").unwrap());
    assert!(!state.remove_secret("p", "staging", "TOKEN").unwrap());
    assert_eq!(get("staging"), Some(("shared".into(), "store:1".into())));
    assert_eq!(state.set_secret("p", "staging", "TOKEN", "again").unwrap(), 4, "a version never means two values");
    let rows: Vec<_> = state.list_secrets(Some("p")).unwrap().into_iter().map(|row| (row.name, row.environment, row.version)).collect();
    assert_eq!(rows, [("TOKEN".into(), String::new(), 1), ("TOKEN".into(), "staging".into(), 4)]);
}

#[test]
fn no_value_stands_anywhere_in_the_folder() {
    let bench = bench();
    for n in 0..30 {
        bench.state.set_secret("p", "", &format!("S{n}"), CANARY).unwrap();
    }
    let made = bench.state.generated("p", "", "MADE", &Generate { length: 40, charset: "hex".into() }).unwrap();
    assert_eq!(bench.state.secret("p", "", "S3").unwrap().unwrap().value, CANARY);
    bench.state.fingerprint(CANARY).unwrap();
    let search = |when: &str| {
        let mut files = 0;
        for entry in walkdir::WalkDir::new(bench.dir.path()) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                files += 1;
                let content = fs::read(entry.path()).unwrap();
                for canary in [CANARY.as_bytes(), made.value.as_bytes()] {
                    let found = content.windows(canary.len()).any(|window| window == canary);
                    assert!(!found, "{when}: in {}", entry.path().display());
                }
            }
        }
        assert!(files >= 4, "{files}");
    };
    search("in the log");
    rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    search("in the database");
}

#[test]
fn a_secret_is_generated_once() {
    let bench = bench();
    let states: Vec<State> = (0..8).map(|_| open(&bench.dir)).collect();
    let how = Generate { length: 32, charset: "alphanumeric".into() };
    let mut values: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = states.iter().map(|state| scope.spawn(|| state.generated("p", "e", "DB", &how).unwrap().value)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    values.dedup();
    assert_eq!(values.len(), 1);
    assert_eq!(values[0].len(), 32);
    assert_eq!(bench.state.list_secrets(None).unwrap().len(), 1);
}

#[test]
fn a_sealed_value_is_bound_to_its_place() {
    let bench = bench();
    bench.state.set_secret("p", "", "A", "value of a").unwrap();
    bench.state.set_secret("p", "", "B", "value of b").unwrap();
    let db = rusqlite::Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap();
    db.execute("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'A') WHERE name = 'B'", []).unwrap();
    assert_eq!(bench.state.secret("p", "", "A").unwrap().unwrap().value, "value of a");
    let error = bench.state.secret("p", "", "B").err().unwrap().to_string();
    assert!(error.contains("the secret `B` cannot be opened with this master key"), "{error}");
    assert!(!error.contains("value"), "{error}");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let bench = bench();
    bench.state.set_secret("p", "", "A", "v").unwrap();
    let key = bench.dir.path().join("config/master.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = open(&bench.dir).secret("p", "", "A").err().unwrap().to_string();
    assert!(error.contains("(mode 640); chmod 600 "), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open(&bench.dir).secret("p", "", "A").unwrap().unwrap().value, "v");
}

#[test]
fn a_lost_or_wrong_key_is_said_and_never_replaced() {
    let bench = bench();
    bench.state.set_secret("p", "", "A", "v").unwrap();
    let folder = bench.dir.path().join(".trees");
    let missing = State::open(&folder, Durability::Normal).unwrap().with_key_file(bench.dir.path().join("elsewhere"));
    for error in [missing.secret("p", "", "A").err().unwrap().to_string(), missing.set_secret("p", "", "B", "w").unwrap_err().to_string()] {
        assert!(error.contains("there are sealed secrets, but not the key"), "{error}");
    }
    assert!(!bench.dir.path().join("elsewhere").exists());
    let file = bench.dir.path().join("other");
    fs::write(&file, "00".repeat(32)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let wrong = State::open(&folder, Durability::Normal).unwrap().with_key_file(&file);
    let error = wrong.secret("p", "", "A").err().unwrap().to_string();
    assert!(error.contains("use the key it was sealed with, or where that is lost remove the secret and set it again"), "{error}");
    let sealed = wrong.set_secret("p", "", "B", "w").unwrap_err().to_string();
    assert!(sealed.contains("does not open 1 of 1 (`A` of p)") && sealed.contains("trees secret remove A --project p"), "{sealed}");
    assert!(wrong.generated("p", "", "B", &Generate { length: 8, charset: "hex".into() }).is_err());
    assert!(wrong.remove_secret("p", "", "A").unwrap(), "the cure");
    wrong.set_secret("p", "", "A", "again").unwrap();
    fs::write(&file, "nonsense").unwrap();
    let broken = State::open(&folder, Durability::Normal).unwrap().with_key_file(&file);
    assert!(broken.secret("p", "", "A").err().unwrap().to_string().contains("holds no key"));
}

#[test]
fn what_cannot_be_a_secret_is_refused() {
    let bench = bench();
    let no = |name: &str, value: &str| bench.state.set_secret("p", "", name, value).unwrap_err().to_string();
    assert_eq!(no("A B", "v"), "`A B` is no name of a secret; write letters, digits and `_`, as SLACK_TOKEN");
    assert_eq!(no("", "v"), "`` is no name of a secret; write letters, digits and `_`, as SLACK_TOKEN");
    assert_eq!(no("9A", "v"), "`9A` is no name of a secret; write letters, digits and `_`, as SLACK_TOKEN");
    assert_eq!(no("A", ""), "the secret `A` would be empty; to take it away, remove it");
    assert_eq!(no("A", "a\0b"), "the secret `A` holds a NUL byte, which no environment can carry");
}

/// Sets and reads a secret with the key that its environment gives.
#[test]
fn child_seals() {
    let Some(folder) = child_folder() else { return };
    let state = State::open(folder.join(".trees"), Durability::Normal).unwrap();
    match state.set_secret("p", "", "A", "v").map(|_| state.secret("p", "", "A").map(|secret| secret.unwrap().value)) {
        Ok(Ok(value)) => println!("\nread {value}"),
        Ok(Err(error)) => println!("\nsaid {error}"),
        Err(error) => println!("\nsaid {error}"),
    }
}

#[test]
fn the_key_comes_from_the_environment_or_a_file_outside() {
    let check = |variables: &[(&str, &str)], expected: &str, file: Option<&str>| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = child("secrets::child_seals", &dir);
        command.env_remove("TREES_MASTER_KEY").env_remove("XDG_CONFIG_HOME").env("HOME", dir.path().join("home"));
        for (name, value) in variables {
            command.env(name, value.replace("DIR", dir.path().to_str().unwrap()));
        }
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(text.contains(expected), "{text}");
        for place in ["home/.config/trees/master.key", "config/trees/master.key"] {
            assert_eq!(dir.path().join(place).exists(), file == Some(place), "{place}");
        }
    };
    check(&[("TREES_MASTER_KEY", &"0f".repeat(32))], "read v", None);
    check(&[("TREES_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")], "read v", None);
    check(&[("TREES_MASTER_KEY", "short")], "TREES_MASTER_KEY is no key; give 32 bytes as 64 hexadecimal digits or as base64", None);
    check(&[], "read v", Some("home/.config/trees/master.key"));
    check(&[("XDG_CONFIG_HOME", "DIR/config")], "read v", Some("config/trees/master.key"));
    check(&[("HOME", "")], "there is no home for the master key; set HOME, XDG_CONFIG_HOME or TREES_MASTER_KEY", None);
}

/// What `secret/rotate` asks for.
fn how() -> Generate {
    Generate { length: 12, charset: "hex".into() }
}

#[test]
fn for_one_key_there_is_one_version_and_it_is_taken_back_once() {
    let bench = bench();
    let state = &bench.state;
    let in_use = || state.secret("p", "", "TOKEN").unwrap().unwrap().fingerprint;
    let rotate = |key: &str| state.rotate("p", "", "TOKEN", &how(), key).unwrap();
    let withdraw = |key: &str| state.withdraw("p", "", "TOKEN", key).unwrap();
    state.set_secret("p", "", "TOKEN", "first").unwrap();
    assert_eq!((rotate("one"), rotate("one"), rotate("two"), rotate("one")), (2, 2, 3, 2));
    assert_eq!(withdraw("one"), Err("version 3 is in use".into()));
    for _ in 0..2 {
        assert_eq!((withdraw("two"), in_use()), (Ok(()), "store:2".into()), "undone twice is undone once");
    }
    state.set_secret("p", "", "TOKEN", "by hand").unwrap();
    assert_eq!((withdraw("one"), in_use()), (Err("version 4 is in use".into()), "store:4".into()));
    assert_eq!((withdraw("never"), in_use()), (Ok(()), "store:4".into()));
    assert_eq!(rotate("three"), 5);
    assert_eq!(state.retire("p", "", "TOKEN").unwrap(), [1, 2, 4]);
    assert_eq!((withdraw("three"), in_use()), (Err("the versions before it are retired".into()), "store:5".into()));
}

#[test]
fn a_rotation_is_found_where_it_was_made_though_the_environment_got_a_value_of_its_own() {
    let bench = bench();
    let state = &bench.state;
    let in_use = |environment: &str| state.secret("p", environment, "TOKEN").unwrap().unwrap().fingerprint;
    state.set_secret("p", "", "TOKEN", "shared").unwrap();
    assert_eq!(state.rotate("p", "production", "TOKEN", &how(), "key").unwrap(), 2);
    state.set_secret("p", "production", "TOKEN", "own").unwrap();
    assert_eq!(state.rotate("p", "production", "TOKEN", &how(), "key").unwrap(), 2, "no second one for the same key");
    for _ in 0..2 {
        assert_eq!(state.withdraw("p", "production", "TOKEN", "key").unwrap(), Ok(()));
        assert_eq!((in_use("production"), in_use("staging")), ("store:3".into(), "store:1".into()));
    }
}
