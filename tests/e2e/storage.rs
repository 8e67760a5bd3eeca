//! The state folder's bad days: a full disk, a place that cannot be written, a database from the
//! future or damaged; and steps that print a lot.

use crate::bench::{Bench, Outcome, fifo};
use crate::laws;
use crate::live::Live;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const TREE: &str = "
tree: t
steps:
  a: { run: \"echo a >> ledger\" }
  wait: { needs: a, run: \"echo up > said; echo on > gone_on\" }
  b: { matrix: { n: [1, 2, 3] }, needs: wait, run: \"echo b >> ledger\" }
";

fn bench() -> Bench {
    let bench = Bench::with("tree.yaml", TREE);
    fifo(&bench.path("said"));
    fifo(&bench.path("gone_on"));
    bench
}

/// The step that waits is there, and goes on after this.
fn meet(bench: &Bench, between: impl FnOnce()) {
    assert_eq!(bench.read("said"), "up\n");
    between();
    assert_eq!(bench.read("gone_on"), "on\n");
}

/// A file system of its own size, gone with the test. Only root can make one.
pub struct Small(PathBuf);

impl Small {
    /// Mounts one; `None` where that cannot be done.
    pub fn mount(bench: &Bench, size: &str) -> Option<Self> {
        let place = bench.path("small");
        fs::create_dir(&place).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&place).output().ok()?;
        mounted.status.success().then_some(Self(place))
    }

    /// Writes until nothing more fits.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// Makes a little room again.
    pub fn free_some(&self, bytes: u64) {
        let filler = fs::OpenOptions::new().write(true).open(self.0.join("filler")).unwrap();
        filler.set_len(filler.metadata().unwrap().len() - bytes).unwrap();
    }

    /// Nothing can be written there any more, or can again.
    pub fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room() {
    let bench = bench();
    let Some(disk) = Small::mount(&bench, "8m") else {
        println!("a small file system cannot be mounted here (only root can): not tried");
        return;
    };
    let mut live = Live::start(&bench, &["run", "tree.yaml", "--state", "small/state", "--format", "json"]);
    live.until("step_succeeded", "a");
    meet(&bench, || disk.fill());
    let outcome = live.end().expect(7);
    let run = live.run();
    for part in ["small/state", "full", &format!("trees resume {run}")] {
        assert!(outcome.stderr.contains(part), "no `{part}`: {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("run the command again"), "a run is resumed: {}", outcome.stderr);
    disk.free();
    let mut resumed = Live::start(&bench, &["resume", "--state", "small/state", "--format", "json"]);
    if resumed.until("step_started", "")["step"] == "wait" {
        meet(&bench, || ());
    }
    let events = resumed.finish();
    assert!(!events.iter().any(|e| e["step"] == "a"), "it was recorded before");
    let printed = bench.run(&["events", &run, "--state", "small/state"]).expect(0).stdout;
    laws::of_events(&printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>(), "succeeded");
}

#[test]
fn a_state_folder_that_cannot_be_made_is_named() {
    let bench = bench();
    bench.write("file", "");
    let outcome = bench.run(&["run", "tree.yaml", "--state", "file/state"]).expect(7);
    assert!(outcome.stderr.contains("file/state"), "{}", outcome.stderr);
    assert!(!bench.path("ledger").exists());
}

/// It fails, and says nothing of the state, which has nothing to do with it.
#[track_caller]
fn fails_itself(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    words.iter().for_each(|word| assert!(outcome.stderr.contains(word), "no `{word}`: {}", outcome.stderr));
    ["the state in", "--state", "see to the disk"].iter().for_each(|word| assert!(!outcome.stderr.contains(word), "{}", outcome.stderr));
}

#[test]
fn what_a_step_made_and_nobody_can_read_is_its_failure() {
    let wait = "wait: { run: \"echo up > said; echo on > gone_on\" }";
    for (link, declared, words) in [
        ("out", "artifacts: { f: out }", ["artifact `f`", "/out: "]),
        ("$TREES_OUTPUT", "outputs: { n: string }", ["cannot read ", "/outputs: "]),
    ] {
        let step = format!("a: {{ run: 'ln -sf /proc/self/mem \"{link}\"', {declared} }}");
        let bench = Bench::with("tree.yaml", format!("tree: t\non_failure: continue\nsteps:\n  {step}\n  {wait}\n"));
        fifo(&bench.path("said"));
        fifo(&bench.path("gone_on"));
        let mut live = Live::start(&bench, &["run", "tree.yaml", "--format", "json"]);
        live.until("step_failed", "a");
        meet(&bench, || ());
        live.until("step_succeeded", "wait");
        live.end().expect(1);
        let shown = bench.run(&["show"]).expect(0).stdout;
        words.iter().for_each(|word| assert!(shown.contains(word), "no `{word}`: {shown}"));
    }
}

#[test]
fn a_work_folder_that_cannot_be_written_is_no_broken_state() {
    let tree = "tree: t\nsteps:\n  a: { cache: true, inputs: [tree.yaml], run: \"echo made > small/f\", artifacts: { f: small/f } }\n";
    let bench = Bench::with("tree.yaml", tree);
    let Some(disk) = Small::mount(&bench, "8m") else {
        println!("a small file system cannot be mounted here (only root can): not tried");
        return;
    };
    bench.run(&["run", "tree.yaml"]).expect(0);
    fs::remove_file(bench.path("small/f")).unwrap();
    disk.remount("ro");
    fails_itself(&bench.run(&["run", "tree.yaml"]), &["small/f", "Read-only file system"]);
    disk.remount("rw");
    // What was kept is kept: it was the place that refused.
    let events = bench.run(&["run", "tree.yaml", "--format", "json"]).expect(0).stdout;
    assert!(events.contains("\"step_cached\"") && bench.read("small/f") == "made\n", "{events}");
}

#[test]
fn a_temporary_folder_that_cannot_be_written_is_named_with_its_cure() {
    let bench = Bench::with("tree.yaml", SIMPLE);
    let Some(disk) = Small::mount(&bench, "8m") else {
        println!("a small file system cannot be mounted here (only root can): not tried");
        return;
    };
    let staged = |arguments: &[&str]| Outcome::of(&bench.command(arguments).env("TMPDIR", bench.path("small")).output().unwrap());
    let refused = |arguments: &[&str], words: &[&str]| {
        let outcome = staged(arguments).expect(7);
        let place = format!("the temporary folder {} cannot be used", bench.path("small").display());
        words.iter().chain(&[place.as_str()]).for_each(|word| assert!(outcome.stderr.contains(word), "no `{word}`: {}", outcome.stderr));
        assert!(!outcome.stderr.contains("--state") && !outcome.stderr.contains("the state in"), "{}", outcome.stderr);
    };
    disk.remount("ro");
    refused(&["run", "tree.yaml"], &["Read-only file system", "make it writable, or set TMPDIR to another folder", "trees resume"]);
    disk.remount("rw");
    disk.fill();
    refused(&["resume"], &["free some space there, or set TMPDIR to another folder"]);
    disk.free();
    staged(&["resume"]).expect(0);
}

/// Its steps print so much that their logs take room.
const LOUD: &str = "tree: t\nsteps:\n  a: { run: \"head -c 500000 /dev/zero | tr '\\\\0' x\" }\n";

#[test]
fn old_runs_are_removed_from_a_full_disk() {
    for room in [0, 48 << 10, 256 << 10] {
        let bench = Bench::with("tree.yaml", LOUD);
        let Some(disk) = Small::mount(&bench, "8m") else {
            println!("a small file system cannot be mounted here (only root can): not tried");
            return;
        };
        let trees = |arguments: &[&str]| bench.run(&[arguments, &["--state", "small/state"]].concat());
        (0..4).for_each(|_| drop(trees(&["run", "tree.yaml"]).expect(0)));
        disk.fill();
        disk.free_some(room);
        assert!(trees(&["doctor"]).stdout.contains("0 MiB free"));
        // There is nothing to be written where nothing goes.
        assert!(trees(&["gc"]).expect(0).stdout.contains("removed 0 runs"));
        let removed = trees(&["gc", "--keep", "1"]).expect(0).stdout;
        assert_eq!(removed, "removed 3 runs, 0 artifacts, 1 MiB\n");
        assert_eq!(trees(&["list"]).expect(0).stdout.lines().count(), 1);
        assert!(trees(&["logs"]).expect(0).stdout.contains("xxx"));
        trees(&["audit", "--verify"]).expect(0);
        trees(&["doctor"]).expect(0);
    }
}

#[test]
fn content_goes_from_a_full_disk_and_its_results_with_it() {
    let step = "a: { cache: true, inputs: [in], run: \"head -c 500000 /dev/zero > out; cat in >> out\", artifacts: { f: out } }";
    let bench = Bench::with("tree.yaml", format!("tree: t\nsteps:\n  {step}\n"));
    let Some(disk) = Small::mount(&bench, "8m") else {
        println!("a small file system cannot be mounted here (only root can): not tried");
        return;
    };
    let trees = |arguments: &[&str]| bench.run(&[arguments, &["--state", "small/state"]].concat());
    for n in 0..3 {
        bench.write("in", format!("{n}"));
        trees(&["run", "tree.yaml"]).expect(0);
    }
    // What nobody names and is old enough.
    let stray = bench.path("small/state/artifacts/ab").join("ab".repeat(32));
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    fs::write(&stray, vec![0; 500_000]).unwrap();
    fs::File::options().write(true).open(&stray).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    disk.fill();
    let removed = trees(&["gc", "--keep", "1"]).expect(0).stdout;
    assert!(removed.contains("removed 2 runs, 1 artifact") && !stray.exists(), "{removed}");
    let entries = trees(&["audit", "--format", "json"]).expect(0).stdout;
    assert!(entries.contains("artifacts_removed") && entries.contains("runs_removed"), "{entries}");
    trees(&["doctor"]).expect(0);
}

#[test]
fn where_nothing_makes_room_gc_says_so() {
    let bench = Bench::with("tree.yaml", SIMPLE);
    let Some(disk) = Small::mount(&bench, "8m") else {
        println!("a small file system cannot be mounted here (only root can): not tried");
        return;
    };
    bench.run(&["run", "tree.yaml", "--state", "small/state"]).expect(0);
    disk.fill();
    let refused = bench.run(&["gc", "--keep", "0", "--state", "small/state"]).expect(7).stderr;
    assert!(refused.contains("is full; free some space"), "{refused}");
    // And what is there can be taken elsewhere.
    let run = bench.run(&["export", "-o", "run.tgz", "--state", "small/state"]).expect(0).stderr;
    assert!(run.contains("exported run "), "{run}");
    let other = Bench::new();
    other.run(&["import", bench.path("run.tgz").to_str().unwrap()]).expect(0);
    assert!(other.run(&["list"]).expect(0).stdout.contains("t #1  succeeded"));
}

const SIMPLE: &str = "tree: t\nsteps:\n  a: { run: \":\" }\n";

/// A state folder with one run, its database at rest.
fn rested() -> (Bench, PathBuf) {
    let bench = Bench::with("tree.yaml", SIMPLE);
    bench.run(&["run", "tree.yaml"]).expect(0);
    let mut databases: Vec<PathBuf> = fs::read_dir(bench.path(".trees")).unwrap().map(|e| e.unwrap().path()).collect();
    databases.retain(|path| path.extension().is_some_and(|e| e == "db" || e == "sqlite"));
    assert_eq!(databases.len(), 1, "{databases:?}");
    (bench, databases.remove(0))
}

/// Every command that reads or writes the state says so with exit 7, and touches nothing.
#[track_caller]
fn refused(bench: &Bench, database: &Path, words: &[&str]) {
    let before = fs::read(database).unwrap();
    for arguments in [&["run", "tree.yaml"][..], &["resume", "@last"], &["list"], &["show"]] {
        let outcome = bench.run(arguments).expect(7);
        for word in words.iter().chain(&[".trees"]) {
            assert!(outcome.stderr.contains(word), "{arguments:?}: no `{word}`: {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
    assert!(fs::read(database).unwrap() == before, "the database was changed");
}

#[test]
fn a_schema_from_the_future_is_refused_untouched() {
    let (bench, database) = rested();
    let mut bytes = fs::read(&database).unwrap();
    // The user version stands at byte 60 of the first page, big-endian.
    bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    fs::write(&database, bytes).unwrap();
    refused(&bench, &database, &["newer"]);
}

#[test]
fn what_is_no_database_is_refused_untouched() {
    let (bench, database) = rested();
    fs::write(&database, "this was a database once\n".repeat(1000)).unwrap();
    refused(&bench, &database, &[]);
}

#[test]
fn a_damaged_database_is_never_taken_for_a_good_one() {
    let (bench, database) = rested();
    let mut bytes = fs::read(&database).unwrap();
    for byte in bytes.iter_mut().skip(100) {
        *byte = 0xA5;
    }
    fs::write(&database, bytes).unwrap();
    for arguments in [&["run", "tree.yaml"][..], &["resume", "@last"], &["list"]] {
        let outcome = bench.run(arguments).expect(7);
        assert!(outcome.stderr.contains("damaged"), "{}", outcome.stderr);
    }
}

/// Bytes printed by one step here.
const FLOOD: u64 = 200 << 20;
/// Bytes of memory that it may cost.
const COST: u64 = 50 << 20;

/// The greatest memory that a process has had, in bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_step_that_prints_a_lot_costs_little_memory() {
    let tree = format!(
        "tree: t\nsteps:\n  calm: {{ run: \"echo up > said\" }}\n  flood: {{ needs: calm, run: \"yes 'a line of output, and another' | head -c {FLOOD}\" }}\n  \
         line: {{ needs: flood, run: \"head -c 20000000 /dev/zero | tr '\\\\0' x\" }}\n  after: {{ needs: line, run: \"echo up > said\" }}\n"
    );
    let bench = Bench::with("tree.yaml", tree);
    fifo(&bench.path("said"));
    let mut live = Live::start(&bench, &["run", "tree.yaml", "--format", "json"]);
    live.until("step_started", "calm");
    let before = peak(live.pid());
    fs::read_to_string(bench.path("said")).unwrap();
    live.until("step_started", "after");
    let cost = peak(live.pid()) - before;
    fs::read_to_string(bench.path("said")).unwrap();
    live.finish();
    assert!(cost < COST, "{} MB", cost >> 20);
    let kept: u64 = fs::metadata(log(&bench, "flood")).unwrap().len();
    assert!(kept < FLOOD / 2, "{kept} bytes kept of {FLOOD}");
}

/// The log file of a step.
fn log(bench: &Bench, step: &str) -> PathBuf {
    let mut folders = vec![bench.path(".trees")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("output.log") && path.display().to_string().contains(&format!("/{step}")) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn doctor_looks_at_the_master_key() {
    let bench = Bench::new();
    let key = bench.home().join(".config/trees/master.key");
    let look = |code: i32, expected: &[&str]| {
        let doctor = bench.run(&["doctor"]).expect(code);
        expected.iter().for_each(|part| assert!(doctor.stdout.contains(part), "`{part}` is not in: {}", doctor.stdout));
    };
    bench.run_with_input(&["secret", "set", "S", "--project", "p"], "canary").expect(0);
    look(0, &["✓ master key"]);
    fs::write(&key, "nonsense\n").unwrap();
    look(1, &["✗ master key", "master.key holds no key", "put back the right file"]);
    fs::remove_file(&key).unwrap();
    look(1, &["✗ master key", "sealed secrets, but not the key", "put back ", "or set TREES_MASTER_KEY"]);
    assert!(!key.exists(), "none is made");
    fs::DirBuilder::new().mode(0o700).create(&key).unwrap();
    look(1, &["✗ master key", "master.key cannot be read", "see to its owner and mode"]);
    let given = Outcome::of(&bench.command(&["doctor"]).env("TREES_MASTER_KEY", "short").output().unwrap()).expect(1);
    assert!(given.stdout.contains("✗ master key   TREES_MASTER_KEY is no key"), "{}", given.stdout);
    fs::remove_dir(&key).unwrap();
    bench.run(&["secret", "remove", "S", "--project", "p"]).expect(0);
    assert!(!bench.run(&["doctor"]).expect(0).stdout.contains("✗"), "nothing is sealed");
}
