//! Good trees, spoilt by chance: cut off, bits turned, lines moved, hostile pieces put in.

use super::{Case, judge};
use crate::chance::{Chance, size};
use crate::sample;
use std::fs;
use std::path::Path;

/// What is put in somewhere.
const PIECES: &[&str] = &[
    "\0",
    "\t",
    "\r",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "{{",
    "}}",
    "{%",
    "${{",
    "&a ",
    "*a ",
    "<<: ",
    "!!binary ",
    "!x ",
    "? ",
    "- ",
    ": ",
    "|\n",
    ">\n",
    "---\n",
    "...\n",
    "%YAML 9.9\n",
    "#",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    "@",
    "`",
    "\\x",
    "\u{1F333}",
    "\u{202e}",
    "\u{0}\u{1}\u{2}",
    "9e999",
    "-0",
    "~",
    "null",
    "yes",
    "\n\n\n",
    "        ",
    "\u{e000}",
    "=",
    "!!map {",
    "&a [*a]",
    "needs: ",
    "steps:\n",
    "tree: ",
];

#[test]
fn good_trees_spoilt_by_chance() {
    let seeds = seeds();
    let mut chance = Chance(4);
    let count = size(620, 12_000);
    let cases: Vec<Case> = (0..count).map(|n| spoil(n, &seeds[n % seeds.len()], &mut chance)).collect();
    let (wrong, sound) = judge("mutations", &cases);
    println!(
        "malformed, mutations: {count} files from {} trees: {wrong} exit 2 with a place, {sound} sound by chance, 0 else",
        seeds.len()
    );
    assert!(wrong > count / 2, "they hardly spoil anything");
}

/// The trees of the repository and those of the suite.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = fs::read_dir(root.join("cookbooks")).unwrap().flat_map(|e| fs::read_dir(e.unwrap().path()).unwrap()).collect();
    paths.sort_by_key(|e| e.as_ref().unwrap().path());
    let mut seeds = vec![sample::shapes().tree.into_bytes(), sample::chain(6).tree.into_bytes()];
    seeds.push(fs::read(root.join("engine/core/tests/language/example.yaml")).unwrap());
    for path in paths.into_iter().map(|e| e.unwrap().path()) {
        if path.extension().is_some_and(|e| e == "yaml") && !path.to_string_lossy().ends_with(".test.yaml") {
            seeds.push(fs::read(path).unwrap());
        }
    }
    assert!(seeds.len() > 6, "where are the cookbooks?");
    seeds
}

fn spoil(n: usize, seed: &[u8], chance: &mut Chance) -> Case {
    let at = |chance: &mut Chance, len: usize| usize::try_from(chance.below(u64::try_from(len.max(1)).unwrap())).unwrap();
    let mut bytes = seed.to_vec();
    let name = match n % 6 {
        0 => {
            bytes.truncate(at(chance, seed.len()));
            "cut off"
        }
        1 | 2 => {
            for _ in 0..=chance.below(if n % 6 == 1 { 1 } else { 30 }) {
                let place = at(chance, bytes.len());
                bytes[place] ^= 1 << chance.below(8);
            }
            "bits turned"
        }
        3 => {
            for _ in 0..=chance.below(3) {
                let (place, piece) = (at(chance, bytes.len()), chance.pick(PIECES));
                drop(bytes.splice(place..place, piece.bytes()));
            }
            "pieces put in"
        }
        4 => {
            bytes = lines(seed, chance);
            "lines moved"
        }
        _ => {
            let (from, to) = (at(chance, bytes.len()), at(chance, bytes.len()));
            let part: Vec<u8> = bytes[from.min(to)..from.max(to)].to_vec();
            let place = at(chance, bytes.len());
            drop(bytes.splice(place..place, part));
            "a part twice"
        }
    };
    Case::either(format!("{name}, number {n}"), bytes)
}

/// Lines taken out, doubled, exchanged, moved to the right or left.
fn lines(seed: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = seed.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..=chance.below(3) {
        let count = u64::try_from(lines.len()).unwrap();
        let [one, two] = [chance.below(count), chance.below(count)].map(|n| usize::try_from(n).unwrap());
        match chance.below(5) {
            0 if lines.len() > 2 => drop(lines.remove(one)),
            1 => lines.insert(two, lines[one].clone()),
            2 => lines.swap(one, two),
            3 => lines[one].insert(0, b' '),
            _ => drop(lines[one].iter().position(|b| *b != b' ').map(|indent| lines[one].drain(..indent.min(1)))),
        }
    }
    lines.join(&b'\n')
}
