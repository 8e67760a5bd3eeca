//! `trees` under strace: system calls counted, written down, killed at, or made to fail.

use crate::place::{Place, Told};
use crate::sitting::Sitting;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

/// The calls that change what is on the disk.
pub const CALLS: [&str; 16] = [
    "fsync",
    "fdatasync",
    "pwrite64",
    "pwritev",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
];

/// Whether processes can be traced here; where not, says so and what is left out for it.
pub fn is_there(case: &str) -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-qq", "-o", "/dev/null", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
    let there = probe.status().is_ok_and(|status| status.success());
    if !there {
        println!("{case}: left out: strace is missing or may not trace processes here");
    }
    there
}

/// `trees` with these arguments under strace with those.
pub fn around(place: &Place, options: &[&str], arguments: &[&str]) -> Command {
    let mut command = place.program("strace");
    command.args(["-f", "-qq"]).args(options).arg(place.binary()).args(arguments);
    command
}

/// The same, without a word of strace's own, to its end.
pub fn end(place: &Place, options: &[&str], arguments: &[&str]) -> Told {
    let options = [&["-o", "/dev/null"], options].concat();
    Sitting::of(place, around(place, &options, arguments)).end()
}

/// How often each call is made at most by one thread: strace counts by thread what it injects at.
pub fn count(place: &Place, options: &[&str], arguments: &[&str]) -> BTreeMap<&'static str, u32> {
    count_of(&CALLS, place, options, arguments)
}

/// The same of these calls.
pub fn count_of(calls: &[&'static str], place: &Place, options: &[&str], arguments: &[&str]) -> BTreeMap<&'static str, u32> {
    let log = place.root().join("strace.count");
    let trace = format!("trace={}", calls.join(","));
    let options = [&["-o", log.to_str().unwrap(), "-e", &trace], options].concat();
    let told = Sitting::of(place, around(place, &options, arguments)).end();
    assert_eq!(told.code, 0, "{}", told.stderr);
    let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    let (mut each, mut most) = (BTreeMap::<(&str, &str), u32>::new(), BTreeMap::new());
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let word = rest.trim_start().split('(').next().unwrap_or_default();
        let Some(call) = calls.iter().copied().find(|call| *call == word) else { continue };
        let n = each.entry((thread, call)).or_default();
        *n += 1;
        let best = most.entry(call).or_insert(0);
        *best = (*best).max(*n);
    }
    most
}
