//! Everything that was ever given to the fuzz targets and is kept in `fuzz/corpus/`, given to them
//! again; and scripts at random. `fuzz/README.md` says how to look for more.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A target's kept files are few and small: all of them run with every test.
const MOST: usize = 80;
const BYTES: u64 = 16 << 10;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_found_once_holds() {
    let mut broken = Vec::new();
    for (name, target) in targets::TARGETS {
        let folder = home().join("corpus").join(name);
        let files = names(&folder);
        assert!((1..=MOST).contains(&files.len()), "corpus/{name} has {} files", files.len());
        for file in files {
            let path = folder.join(file);
            let data = fs::read(&path).unwrap();
            assert!(data.len() as u64 <= BYTES, "{} is large", path.display());
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "these do not hold: {broken:#?}");
}

/// Each target has its program and its corpus, and there is nothing else.
#[test]
fn the_targets_are_those_of_the_folders() {
    let known: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&home().join("corpus")), known);
    let programs = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&home().join("fuzz_targets")), programs);
    let manifest = fs::read_to_string(home().join("Cargo.toml")).unwrap();
    assert!(known.iter().all(|name| manifest.contains(&format!("name = \"{name}\""))), "{manifest}");
}

#[test]
fn bound_scripts_keep_their_text() {
    let mut generator = targets::pieces::Generator::new(7);
    let bound = (0..20_000).filter(|_| targets::script::hold(&generator.script()).is_some()).count();
    assert!(bound > 1_000, "only {bound} scripts were bound");
}
