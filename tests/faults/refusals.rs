//! Fail closed: what cannot be done safely is refused, with the documented exit code and the cure, and
//! nothing is started. A database from the future or no database at all, a full disk and a folder that
//! cannot be made are the end-to-end tests' (`storage.rs`); clocks and owners have cases of their own.

use crate::place::{Place, Told};
use crate::strace;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

const TREE: &str = "tree: t\nsecrets: { TOKEN: { from: store } }\nsteps:\n  a: { run: \"echo ran >> ledger\" }\n  b: { secrets: [TOKEN], run: \"echo ran >> ledger\" }\n";

const PLAIN: &str = "tree: t\nsteps: { a: { run: \"echo ran >> ledger\" } }\n";

/// Refused: this exit code, these words, and no step ran.
#[track_caller]
fn refused(place: &Place, told: &Told, code: i32, words: &[&str]) {
    assert_eq!(told.code, code, "{}", told.stderr);
    for word in words {
        assert!(told.stderr.contains(word), "no `{word}` in: {}", told.stderr);
    }
    assert_eq!(told.stderr.lines().filter(|line| line.starts_with("error")).count(), 1, "one sentence says it: {}", told.stderr);
    assert!(!place.path("ledger").exists(), "a step ran");
}

/// A place with a secret in its store.
fn sealed() -> Place {
    let place = Place::with(TREE);
    set(&place, "first-value-of-it").expect(0);
    place
}

fn set(place: &Place, value: &str) -> Told {
    place.write("value", value);
    let input = fs::File::open(place.path("value")).unwrap();
    Told::of(&place.command(&["secret", "set", "TOKEN", "--project", "t"]).stdin(Stdio::from(input)).output().unwrap())
}

#[test]
fn a_key_that_others_may_read() {
    let place = sealed();
    let key = place.root().join("home/.config/trees/master.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o644, 0o640, 0o604, 0o660, 0o620, 0o601] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let cure = format!("chmod 600 {}", key.display());
        refused(&place, &place.run(&["run", "tree.yaml"]), 7, &["others may read the master key", &cure]);
        refused(&place, &set(&place, "second-value-of-it"), 7, &["others may read the master key", &cure]);
        let doctor = place.run(&["doctor"]).expect(1);
        assert!(format!("{}{}", doctor.stdout, doctor.stderr).contains(&cure));
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place.run(&["run", "tree.yaml"]).expect(0);
    println!("refusals, the key: 6 modes refused by run, secret and doctor; the cure cures");
}

#[test]
fn a_key_that_is_none_or_another() {
    let place = sealed();
    let key = place.root().join("home/.config/trees/master.key");
    let good = fs::read(&key).unwrap();
    for wrong in ["", "\n", "no key", "00", &"g".repeat(64), &"0".repeat(63)] {
        fs::write(&key, wrong).unwrap();
        refused(&place, &place.run(&["run", "tree.yaml"]), 7, &["holds no key", "put back the right file"]);
    }
    // A key as good as any, but not the one that sealed the secret.
    fs::write(&key, "0".repeat(64)).unwrap();
    let told = place.run(&["run", "tree.yaml"]);
    assert!(matches!(told.code, 2 | 7) && !place.path("ledger").exists(), "{}: {}", told.code, told.stderr);
    // No key is made in the place of one that is lost: what it sealed would be lost with it.
    fs::remove_file(&key).unwrap();
    let told = place.run(&["run", "tree.yaml"]);
    assert!(matches!(told.code, 2 | 7) && !key.exists() && !place.path("ledger").exists(), "{}: {}", told.code, told.stderr);
    let mut command = place.command(&["run", "tree.yaml"]);
    refused(
        &place,
        &Told::of(&command.env("TREES_MASTER_KEY", "short").output().unwrap()),
        7,
        &["TREES_MASTER_KEY is no key", "openssl rand"],
    );
    fs::write(&key, good).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place.run(&["run", "tree.yaml"]).expect(0);
    println!("refusals, no key: 9 ways refused, the old key put back works");
}

/// What is tried: a name, the path it holds for, the call, what is answered, what must be said.
type Answer = (&'static str, Option<&'static str>, &'static str, &'static str, &'static [&'static str]);

/// Runs a tree with a system call answered otherwise.
fn with_calls(place: &Place, only: Option<&str>, call: &str, answer: &str) -> Told {
    let path = only.map(|path| place.path("").canonicalize().unwrap().join(path));
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{answer}"));
    let mut options = vec!["-e", &trace, "-e", &inject];
    options.extend(path.iter().flat_map(|path| ["-P", path.to_str().unwrap()]));
    let told = strace::end(place, &options, &["run", "tree.yaml"]);
    assert!(!told.stderr.contains("strace:"), "strace cannot do it: {}", told.stderr);
    told
}

#[test]
fn a_file_system_that_cannot_hold_the_state() {
    let cases: &[Answer] = &[
        ("NFS", None, "statfs", "poke_exit=@arg2=6969000000000000", &["network file system (nfs)", "--state", "TREES_STATE"]),
        ("CIFS", None, "statfs", "poke_exit=@arg2=424d53ff00000000", &["network file system (cifs)", "--state", "TREES_STATE"]),
        ("9p", None, "statfs", "poke_exit=@arg2=9719020100000000", &["network file system (9p)", "--state", "TREES_STATE"]),
        ("no flock", None, "flock", "error=ENOLCK", &["locking", "No locks available", "--state"]),
        ("no flock at all", None, "flock", "error=ENOSYS", &["locking", "--state"]),
        ("a folder that cannot be synced", Some(".trees"), "fsync", "error=EINVAL", &["syncing", ".trees", "--state"]),
        ("a folder whose sync fails", Some(".trees"), "fsync", "error=EIO", &["syncing", ".trees", "see to the disk"]),
        ("no sync at all", None, "fsync", "error=EINVAL", &[".trees", "disk"]),
    ];
    if !strace::is_there("refusals, file systems") {
        return;
    }
    let mut tried = 0;
    for (what, only, call, answer, words) in cases {
        let place = Place::with(PLAIN);
        if only.is_some() {
            fs::create_dir(place.path(".trees")).unwrap();
            fs::set_permissions(place.path(".trees"), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let told = with_calls(&place, *only, call, answer);
        assert_eq!(told.code, 7, "{what}: {}", told.stderr);
        refused(&place, &told, 7, words);
        // The file system is a good one again: nothing of the refusal is in the way.
        place.run(&["run", "tree.yaml"]).expect(0);
        tried += 1;
    }
    println!("refusals, file systems: {tried} refused with exit 7 and their cure, none started a step");
}

#[test]
fn a_folder_that_is_not_ours_to_write() {
    // A file in the way, a link that leads nowhere, a folder of a file.
    let place = Place::with(PLAIN);
    place.write("file", "");
    std::os::unix::fs::symlink("nothing/there", place.path("dangling")).unwrap();
    for state in ["file", "file/state", "dangling", "/proc/trees", "/dev/null"] {
        let told = place.run(&["run", "tree.yaml", "--state", state]);
        refused(&place, &told, 7, &["the state in", state.split('/').next().unwrap()]);
    }
    assert_eq!(place.read("file"), "");
    println!("refusals, folders: 5 refused with exit 7");
}

#[test]
fn a_run_that_somebody_holds() {
    let place = Place::with("tree: t\nsteps: { a: { run: \"cat gate\" } }\n");
    assert!(place.program("mkfifo").arg("gate").status().unwrap().success());
    let mut first = place.start(&["run", "tree.yaml", "--format", "json"]);
    let run = first.until("step_started", "a")["run"].as_str().unwrap().to_owned();
    for arguments in [&["resume", &run][..], &["rollback", &run]] {
        let told = place.run(arguments);
        assert_eq!(told.code, 6, "{arguments:?}: {}", told.stderr);
        assert!(told.stderr.contains(&first.pid().to_string()) && told.stderr.contains("show"), "{}", told.stderr);
    }
    fs::write(place.path("gate"), "").unwrap();
    first.end().expect(0);
    println!("refusals, a held run: resume and rollback refused with exit 6, the holder and the way to watch it named");
}
