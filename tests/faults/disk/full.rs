//! A file system of our own that is too small: filled but for some room, or with so many pages or
//! names and no more. Each page and each name is once the one for which there is no room.

use super::clean;
use crate::chance::{each_seed, seeds, size};
use crate::place::{Place, Told};
use crate::sample::{Sample, chain, chain_with_artifact};
use crate::verdict::{Reference, Trial, integrity};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A small file system; none where this needs a right that is missing.
struct Small(PathBuf);

impl Small {
    fn at(folder: &Path, limit: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("{limit},mode=0700"), "none"]).arg(folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    /// As large as anybody could wish.
    fn widen(&self) {
        let status = Command::new("mount").args(["-o", "remount,size=64m,nr_inodes=100000"]).arg(&self.0).status().unwrap();
        assert!(status.success(), "the file system cannot be made larger");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Whether one can be had; where not, says so.
fn is_there() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let there = Small::at(folder.path(), "size=8m").is_some();
    if !there {
        println!("disk: left out: a tmpfs cannot be mounted here (that needs root)");
    }
    there
}

/// A tree whose steps wait for the test at a named pipe and then say a lot.
fn loud() -> Sample {
    let mut sample = chain(3);
    sample.tree = sample.tree.replace("outputs: { n: integer }", "outputs: { n: integer, long: string }");
    sample.tree = sample.tree.replace("mark end'", "printf \"long=%0900000d\\n\" 1 >> \"$TREES_OUTPUT\"; mark end'");
    sample
}

#[test]
fn a_full_disk_is_survived() {
    if !is_there() {
        return;
    }
    let sample = loud();
    let reference = Reference::of(&sample);
    let mut hits = 0;
    // Kilobytes that are left for the run.
    let rooms: Vec<usize> = (0..8192).step_by(size(800, 64)).collect();
    for room in &rooms {
        let place = sample.place();
        let _disk = Small::at(&place.path(".trees"), "size=8m").unwrap();
        hits += u32::from(filled(place, &sample, &reference, *room));
    }
    assert!(hits > 0, "the disk was never full");
    println!("disk: a tmpfs of 8 MiB with {} fillings: {hits} stopped with exit 7, all resumed, 0 violations", rooms.len());
}

/// Runs with so much room, then with all of it; whether the first stopped.
fn filled(place: Place, sample: &Sample, reference: &Reference, room: usize) -> bool {
    let filler = place.path(".trees/artifacts");
    fs::create_dir(&filler).unwrap();
    let filler = filler.join("filler");
    fs::write(&filler, vec![1_u8; (8192 - 16 - room.min(8176)) * 1024]).unwrap();
    let mut trial = Trial::at(place, sample);
    let told = trial.place.run(&trial.arguments());
    let context = format!("{room} KiB\n{}", told.stderr);
    clean(&told, &context);
    fs::remove_file(&filler).unwrap();
    gone_on(&mut trial, &told, reference, &context)
}

/// Takes it down, goes on, judges; whether it had stopped.
fn gone_on(trial: &mut Trial<'_>, told: &Told, reference: &Reference, context: &str) -> bool {
    if told.code == 7 {
        trial.note_cut_off(told.clone());
    } else {
        trial.note(told.clone());
    }
    trial.finish();
    let broken = trial.broken(reference);
    assert!(broken.is_empty(), "{context}\n{}\n{}{}", broken.join("\n"), trial.place.ledger(), trial.history());
    assert_eq!(integrity(&trial.place), Vec::<String>::new(), "{context}");
    told.code == 7
}

/// Its steps print, and one keeps an artifact.
fn small() -> Sample {
    let mut sample = chain_with_artifact("s1");
    sample.tree = sample.tree.replace("mark start;", "mark start; echo said;");
    sample
}

#[test]
fn each_page_may_be_the_one_too_many() {
    // Less than a run needs in the end, and more.
    let pages: Vec<String> = (1..=110).step_by(size(11, 1)).map(|pages| format!("size={}k", pages * 4)).collect();
    each_limit("pages", ".trees", &pages);
}

#[test]
fn each_name_may_be_the_one_too_many() {
    let names: Vec<String> = (2..=40).step_by(size(4, 1)).map(|names| format!("size=8m,nr_inodes={names}")).collect();
    each_limit("names", ".trees", &names);
}

/// What is staged for steps is made in TMPDIR. A step may itself find no room there.
#[test]
fn each_name_of_what_is_staged_may_be_the_one_too_many() {
    let names: Vec<String> = (1..=8).map(|names| format!("size=8m,nr_inodes={names}")).collect();
    each_limit("staged names", "../tmp", &names);
}

/// A run in a folder with each of these limits, then without.
fn each_limit(what: &str, folder: &str, limits: &[String]) {
    if !is_there() {
        return;
    }
    let sample = small();
    let reference = Reference::of(&sample);
    let hits = AtomicU32::new(0);
    let all = u64::try_from(limits.len()).unwrap();
    each_seed(seeds(all, all), |seed| {
        let limit = &limits[usize::try_from(seed - 1).unwrap()];
        let place = sample.place();
        let disk = Small::at(&place.path(folder), limit).unwrap();
        let mut trial = Trial::at(place, &sample);
        let told = trial.place.run(&trial.arguments());
        let context = format!("{what}, {limit}\n{}\n{}", told.stdout, told.stderr);
        // What a step writes itself it fails with itself.
        if told.code != 1 || folder == ".trees" {
            clean(&told, &context);
        }
        disk.widen();
        let stopped = match told.code {
            1 => gone_on(&mut trial, &Told { code: 7, ..told }, &reference, &context),
            _ => gone_on(&mut trial, &told, &reference, &context),
        };
        hits.fetch_add(u32::from(stopped), Ordering::Relaxed);
    });
    let hits = hits.into_inner();
    assert!(hits > 0 || std::env::var_os("TREES_SEED").is_some(), "there was always room");
    println!("disk: {all} limits of {what}: {hits} stopped, all resumed, 0 violations");
}
