//! What the user may not read is not taken for what is not there, and what he may only read is read.

use crate::bench::{Bench, Outcome};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

const NOBODY: &str = "65534";

/// A bench whose commands may not read what `lock` has locked: as root by another user, else by the mode alone.
struct Locked {
    bench: Bench,
    binary: Option<PathBuf>,
}

impl Locked {
    fn new() -> Result<Self, String> {
        let bench = Bench::with("t.yaml", "tree: t\nsteps: { a: { run: echo heard } }\n");
        bench.run(&["run", "t.yaml"]).expect(0);
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { bench, binary: None });
        }
        let can = Command::new("setpriv").args([&format!("--reuid={NOBODY}"), "--clear-groups", "true"]).output();
        if !can.as_ref().is_ok_and(|output| output.status.success()) {
            return Err(format!("root reads everything, and setpriv does not help: {can:?}"));
        }
        // The test's own folders are private, and so may be the one that the binary was built in.
        let root = bench.home().parent().unwrap().to_owned();
        [root.clone(), bench.dir(), bench.home()].iter().for_each(|folder| mode(folder, 0o755));
        let binary = root.join("trees");
        let built = env!("CARGO_BIN_EXE_trees");
        fs::hard_link(built, &binary).or_else(|_| fs::copy(built, &binary).map(drop)).unwrap();
        Ok(Self { bench, binary: Some(binary) })
    }

    /// Everybody may read all of the state now, and nobody but root write it.
    fn close(&self) {
        let changed = Command::new("chmod").args(["-R", "a+rX,a-w"]).arg(self.bench.path(".trees")).status().unwrap();
        assert!(changed.success());
    }

    /// Nobody but root may enter it now.
    fn lock(&self, name: &str) {
        mode(&self.bench.path(name), if self.binary.is_some() { 0o700 } else { 0o000 });
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let Some(binary) = &self.binary else { return self.bench.run(arguments) };
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), "--clear-groups"]).arg(binary).args(arguments);
        command.current_dir(self.bench.dir()).env("HOME", self.bench.home()).env_remove("TREES_STATE");
        Outcome::of(&command.output().unwrap())
    }
}

/// So that the folder can be removed.
impl Drop for Locked {
    fn drop(&mut self) {
        mode(&self.bench.path(".trees"), 0o700);
        drop(Command::new("chmod").args(["-R", "u+rwX"]).arg(self.bench.path(".trees")).status());
    }
}

fn mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_state_folder_of_another_user_is_no_empty_one() {
    let locked = match Locked::new() {
        Ok(locked) => locked,
        Err(reason) => return eprintln!("left out: {reason}"),
    };
    locked.lock(".trees");
    for command in [&["list"][..], &["show", "@last"], &["audit"], &["gc"], &["plan", "t.yaml"], &["resume"], &["run", "t.yaml"]] {
        let refused = locked.run(command).expect(7);
        assert!(refused.stderr.contains("you may not read ") && refused.stderr.contains("--state or TREES_STATE"), "{}", refused.stderr);
        assert!(refused.stdout.is_empty(), "{command:?}: {}", refused.stdout);
    }
    let doctor = locked.run(&["doctor"]).expect(1);
    assert!(doctor.stdout.contains("✗ folder       you may not read "), "{}", doctor.stdout);
}

/// SQLite makes a log and an index beside a database, also to read it.
#[test]
fn a_state_folder_that_may_only_be_read_is_read() {
    let locked = match Locked::new() {
        Ok(locked) => locked,
        Err(reason) => return eprintln!("left out: {reason}"),
    };
    locked.close();
    assert!(locked.run(&["list"]).expect(0).stdout.contains("t #1  succeeded"));
    assert!(locked.run(&["show"]).expect(0).stdout.contains("t #1 succeeded"));
    assert_eq!(locked.run(&["logs"]).expect(0).stdout, "a │ heard\n");
    assert!(locked.run(&["events"]).expect(0).stdout.contains("step_succeeded"));
    locked.run(&["audit", "--verify"]).expect(0);
    fs::create_dir(locked.bench.path("open")).unwrap();
    mode(&locked.bench.path("open"), 0o777);
    locked.run(&["export", "-o", "open/run.tgz"]).expect(0);
    let other = Bench::new();
    other.run(&["import", locked.bench.path("open/run.tgz").to_str().unwrap()]).expect(0);
    for command in [&["run", "t.yaml"][..], &["rerun", "@last"]] {
        let refused = locked.run(command).expect(7).stderr;
        assert!(refused.contains("you may not write ") && refused.contains("name another folder with --state or TREES_STATE"), "{refused}");
    }
    let told = locked.run(&["doctor"]).expect(1).stdout;
    assert!(told.contains("✗ writing      you may not write ") && told.contains("✓ events"), "{told}");
}

/// What a killed `trees` left in the log is read with it, or it is said why that cannot be.
#[test]
fn a_log_that_cannot_be_taken_in_is_read_or_said() {
    let locked = match Locked::new() {
        Ok(locked) => locked,
        Err(reason) => return eprintln!("left out: {reason}"),
    };
    let bench = &locked.bench;
    bench.write("k.yaml", "tree: k\nsteps: { a: { run: 'kill -9 $PPID' } }\n");
    bench.run(&["run", "k.yaml"]);
    assert!(fs::metadata(bench.path(".trees/trees.db-wal")).unwrap().len() > 0);
    locked.close();
    assert!(locked.run(&["list"]).expect(0).stdout.contains("k #1  interrupted"));
    fs::remove_file(bench.path(".trees/trees.db-shm"))
        .or_else(|_| {
            mode(&bench.path(".trees"), 0o700);
            fs::remove_file(bench.path(".trees/trees.db-shm")).map(|()| mode(&bench.path(".trees"), 0o555))
        })
        .unwrap();
    let refused = locked.run(&["list"]).expect(7).stderr;
    for part in ["you may not write ", "its log trees.db-wal", "copy it to where you may write (cp -r)"] {
        assert!(refused.contains(part), "no `{part}`: {refused}");
    }
}
