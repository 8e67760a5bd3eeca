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

/// The kept files with some bytes changed: a little of what the fuzzer does, for toolchains without it.
/// `TREES_FUZZ_COUNT` changes each so often, from `TREES_FUZZ_SEED` on, `TREES_FUZZ_TARGET` names one.
#[test]
fn what_is_near_to_that_holds_too() {
    let (count, first) = (number("TREES_FUZZ_COUNT").unwrap_or(4), number("TREES_FUZZ_SEED").unwrap_or(1));
    let one = std::env::var("TREES_FUZZ_TARGET").ok();
    let mut broken = Vec::new();
    for (name, target) in targets::TARGETS.into_iter().filter(|(name, _)| one.as_ref().is_none_or(|one| one == name)) {
        let folder = home().join("corpus").join(name);
        let kept: Vec<Vec<u8>> = names(&folder).iter().map(|file| fs::read(folder.join(file)).unwrap()).collect();
        for seed in first..first + count * kept.len() as u64 {
            let data = changed(&kept, seed);
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                broken.push(format!("{name}, seed {seed}: {:?}", String::from_utf8_lossy(&data)));
            }
        }
    }
    assert!(broken.is_empty(), "these do not hold:\n{}", broken.join("\n"));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// One of the files, with a few parts taken out, doubled, moved, or brought in from another.
fn changed(kept: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound.max(1)
    };
    let mut data = kept[below(kept.len())].clone();
    for _ in 0..1 + below(4) {
        let from = below(data.len() + 1);
        let to = (from + below(16)).min(data.len());
        let new = match below(4) {
            0 => Vec::new(),
            1 => vec![u8::try_from(below(256)).unwrap()],
            2 => data[from..to].repeat(1 + below(8)),
            _ => {
                let other = &kept[below(kept.len())];
                let start = below(other.len() + 1);
                other[start..(start + below(24)).min(other.len())].to_vec()
            }
        };
        data.splice(from..to, new);
    }
    data
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
    let bound = (0..20_000).filter(|_| targets::script::of_one(&generator.script()).is_some()).count();
    assert!(bound > 1_000, "only {bound} scripts were bound");
}
