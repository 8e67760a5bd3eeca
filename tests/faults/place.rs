//! A hermetic place: a fresh folder, a clean environment, a home of its own.

use crate::binary;
use crate::ledger::{Ledger, MARK};
use crate::sitting::Sitting;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// One.
pub struct Place {
    root: TempDir,
    binary: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Told {
    /// The exit code; 128 and the signal where one ended it, as a shell says it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Place {
    /// An empty one, with the script that steps mark the ledger with.
    pub fn new() -> Self {
        Self::of(binary::release())
    }

    /// One for another binary.
    pub fn of(binary: &Path) -> Self {
        let root = tempfile::Builder::new().prefix("faults-").tempdir().unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        let place = Self { root, binary: binary.to_owned() };
        place.write("mark", MARK);
        place
    }

    /// The same place for another binary.
    pub fn with_binary(self, binary: PathBuf) -> Self {
        Self { binary, ..self }
    }

    /// One with a file `tree.yaml`.
    pub fn with(tree: &str) -> Self {
        let place = Self::new();
        place.write("tree.yaml", tree);
        place
    }

    /// The folder that holds all of it. No process outside this place has it in its environment.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Its folder for what is temporary.
    pub fn temporary(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    /// A path in the folder commands run in; that folder itself for "".
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A file's text; empty where there is none.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// What the steps wrote into the ledger so far.
    pub fn ledger(&self) -> Ledger {
        Ledger::read(&self.path("ledger"))
    }

    /// Waits until a step has marked a word: its process has begun, or come that far.
    #[track_caller]
    pub fn until_marked(&self, step: &str, word: &str) {
        Ledger::until(&self.path("ledger"), step, word);
    }

    /// A program in this place: clean environment, no standard input.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("")).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.root().join("home")).env("USER", "tester").env("LANG", "C.UTF-8").env("TMPDIR", self.temporary());
        command
    }

    /// `trees` with arguments, ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(&self.binary);
        command.args(arguments);
        command
    }

    /// The binary of this place.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs `trees` to its end.
    pub fn run(&self, arguments: &[&str]) -> Told {
        Told::of(&self.command(arguments).output().unwrap())
    }

    /// The run that is there though nobody was told of it, empty where there is none; else what refused to say.
    pub fn newest(&self) -> Result<String, Told> {
        if !self.path(".trees").exists() {
            return Ok(String::new());
        }
        let told = self.run(&["list", "--format", "json"]);
        if told.code != 0 {
            return Err(told);
        }
        let list: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        Ok(list["runs"][0]["run"].as_str().unwrap_or_default().to_owned())
    }

    /// Starts `trees` and does not wait.
    pub fn start(&self, arguments: &[&str]) -> Sitting {
        Sitting::of(self, self.command(arguments))
    }

    /// Kills what still runs of this place: what a step was allowed to leave.
    pub fn end(&self) {
        for line in self.processes() {
            let pid = line.split(':').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            // It may have ended by itself.
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
    }

    /// The processes that belong to this place and not to this test: those with its folder in their
    /// environment.
    pub fn processes(&self) -> Vec<String> {
        let mark = self.root().as_os_str().as_encoded_bytes();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ.windows(mark.len()).any(|part| part == mark) {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push(format!("{}: {}", entry.file_name().display(), String::from_utf8_lossy(&command).replace('\0', " ")));
            }
        }
        found
    }
}

impl Told {
    /// Of a process that has ended.
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: code(output.status), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Fails with all that was printed unless it ended so.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The events on standard output; a last line that was cut off is none.
    pub fn events(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// The exit code as a shell says it.
pub fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
