//! A hermetic place for the binary: a fresh folder, a clean environment, a home of its own; what a
//! command printed and how it ended in one text.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A fresh folder with a home beside it.
pub struct Bench {
    root: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Bench {
    /// An empty one.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        Self { root }
    }

    /// One with a tree file.
    pub fn with(name: &str, text: impl AsRef<[u8]>) -> Self {
        let bench = Self::new();
        bench.write(name, text);
        bench
    }

    /// The folder commands run in.
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// A path in that folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The home of this place.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// All files below the folder, sorted; those of the state folder left out.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.dir()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.dir()).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if !name.starts_with(".trees/") {
                    files.push(name);
                }
            }
        }
        files.sort();
        files
    }

    /// All files of this place, the state folder and the home among them, in which one of these texts stands as it is.
    pub fn holding(&self, texts: &[&str]) -> Vec<PathBuf> {
        let holds = |path: &PathBuf| {
            let content = fs::read(path).unwrap_or_default();
            texts.iter().any(|text| content.windows(text.len()).any(|window| window == text.as_bytes()))
        };
        below(self.root.path()).into_iter().filter(holds).collect()
    }

    /// Ends what `deploy/process` left running here: supervisors first, so that nothing is started again.
    pub fn end_deployments(&self) {
        let statuses = below(&self.path(".trees")).into_iter().filter(|path| path.ends_with("status.json"));
        let all: Vec<serde_json::Value> = statuses.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect();
        for (part, signal) in [("supervisor", "-KILL"), ("child", "-TERM")] {
            for pid in all.iter().filter_map(|status| status[part]["pid"].as_u64()) {
                // Each leads a group of its own, with all that it has started.
                drop(Command::new("kill").args([signal, "--", &format!("-{pid}")]).stderr(Stdio::null()).status());
            }
        }
    }

    /// The binary with arguments, ready to be started: clean environment, no standard input.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trees"));
        command.args(arguments).current_dir(self.dir()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home()).env("USER", "tester").env("LANG", "C.UTF-8").env("TMPDIR", self.root.path());
        // The toolchain of the machine, for trees that build something.
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        for (key, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            command.env(key, std::env::var_os(key).map_or_else(|| home.join(folder), PathBuf::from));
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&self.command(arguments).output().unwrap())
    }

    /// Runs it with a text on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end without having read all of it.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        Outcome::of(&child.wait_with_output().unwrap())
    }

    /// Exit code, standard output and standard error in one text, what differs from run to run
    /// replaced.
    pub fn show(&self, arguments: &[&str]) -> String {
        self.text(&self.run(arguments))
    }

    /// An outcome as one text.
    pub fn text(&self, outcome: &Outcome) -> String {
        let mut text = format!("exit {}\n", outcome.code);
        for (name, stream) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
            if !stream.is_empty() {
                writeln!(text, "--- {name}\n{}", stream.trim_end()).unwrap();
            }
        }
        self.steady(&text)
    }

    /// Without the names of temporary folders.
    fn steady(&self, text: &str) -> String {
        let real = |path: PathBuf| path.canonicalize().unwrap_or(path).display().to_string();
        let mut text = text.to_owned();
        for (folder, name) in [(self.dir(), "[work]"), (self.home(), "[home]")] {
            text = text.replace(&real(folder.clone()), name).replace(&folder.display().to_string(), name);
        }
        text
    }
}

/// With `TREES_TEST_VERIFY` set, every run that a test left must be decided the same again.
impl Drop for Bench {
    fn drop(&mut self) {
        if std::env::var_os("TREES_TEST_VERIFY").is_none() || std::thread::panicking() || !self.path(".trees").is_dir() {
            return;
        }
        let listed = self.run(&["list", "-n", "0", "--format", "json"]);
        // A state that the test damaged on purpose is refused.
        if listed.code == 7 {
            return;
        }
        let list = listed.expect(0).json();
        for run in list["runs"].as_array().into_iter().flatten().filter_map(|r| r["run"].as_str()) {
            let verified = self.run(&["replay", run, "--verify"]);
            if verified.code == 7 && verified.stderr.contains("not as it was written") {
                continue;
            }
            let events = self.run(&["events", run, "--format", "plain"]).stdout;
            assert_eq!(verified.code, 0, "{}{}\n{events}", verified.stdout, verified.stderr);
        }
    }
}

impl Outcome {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("what is printed is UTF-8");
        Self { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Fails with all that was printed unless it ended so.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }
}

/// A named pipe.
pub fn fifo(path: &Path) {
    let done = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(done.success());
}

/// What a step says through a named pipe: waits until there is a word.
pub fn hear(path: &Path) -> String {
    fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// Runs a command with `--format json` until an event of this type of a step is told, and kills it then. Whether it was.
pub fn killed_at(command: &mut Command, kind: &str, step: &str) -> bool {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["type"] == kind && event["step"] == step {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap().code().is_none()
}

/// All files below a folder; links are not followed.
pub fn below(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found
}
