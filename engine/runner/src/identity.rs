//! Which process it was: a pid alone is given to others later, so start time and boot go with it.

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use trees_core::path::{RunId, StepPath};

/// The list of the processes of a run's attempts, a line each: the file `processes` in its folder.
#[derive(Debug)]
pub struct Register {
    path: PathBuf,
    file: OnceLock<File>,
}

impl Register {
    /// The list of the run with this folder. Nothing is made yet.
    pub fn new(run_folder: PathBuf) -> Self {
        Self { path: run_folder.join("processes"), file: OnceLock::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a process, in one write.
    pub(crate) fn add(&self, identity: &Identity) -> io::Result<()> {
        let mut line = serde_json::to_vec(identity).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut file = match self.file.get() {
            Some(file) => file,
            None => {
                let opened = File::options().append(true).create(true).open(&self.path)?;
                self.file.get_or_init(|| opened)
            }
        };
        file.write_all(&line)
    }
}

/// When a process is being started: later it is told from another with the same pid by this,
/// without a look into `/proc` for each.
pub(crate) struct Ticks(u64);

impl Ticks {
    /// Before the start.
    pub fn start() -> Self {
        Self(ticks())
    }
}

/// Now, in clock ticks since the boot, as `/proc/PID/stat` counts them (field 22 of proc(5)); 0
/// where the system has no such file.
fn ticks() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let a_second = rustix::param::clock_ticks_per_second();
        let part = u64::try_from(now.tv_nsec).unwrap_or(0) * a_second / 1_000_000_000;
        u64::try_from(now.tv_sec).unwrap_or(0) * a_second + part
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// Whose attempt a process is; it stands in its environment too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Marks {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepPath,
    /// The attempt.
    pub attempt: u32,
}

impl Marks {
    /// The variables that carry them, by which leftovers are found.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [("TREES_RUN_ID", self.run.0.clone()), ("TREES_STEP", self.step.0.clone()), ("TREES_ATTEMPT", self.attempt.to_string())]
    }
}

/// One process, and no other that gets the same pid later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its pid; it leads the session and group of the same number.
    pub pid: u32,
    /// It was started after this, in clock ticks since the boot; 0 where the system does not tell.
    pub started_after: u64,
    /// And before this.
    pub started_before: u64,
    /// The boot it belongs to; empty where the system does not tell.
    pub boot_id: String,
    /// Whose it is.
    #[serde(flatten)]
    pub marks: Marks,
}

impl Identity {
    /// Of a child that has been started and is not reaped yet.
    pub(crate) fn of_child(pid: u32, begun: &Ticks, marks: Marks) -> Self {
        Self { pid, started_after: begun.0, started_before: ticks(), boot_id: boot_id().into(), marks }
    }

    /// The processes of an attempt in a run's list; a line that a crash tore is passed over.
    pub fn of_attempt(register: &Path, marks: &Marks) -> Vec<Self> {
        Self::all(register).into_iter().filter(|identity| identity.marks == *marks).collect()
    }

    /// All that stand in a run's list.
    pub fn all(register: &Path) -> Vec<Self> {
        let text = fs::read(register).unwrap_or_default();
        text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Whether that very process is alive (a zombie is not).
    pub fn is_alive(&self) -> bool {
        let started = self.started_after..=self.started_before;
        self.started_after != 0
            && self.boot_id == boot_id()
            && stat(self.pid).is_some_and(|s| started.contains(&s.start_ticks) && !s.is_dead())
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub state: u8,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    pub start_ticks: u64,
    /// It is about to end: its environment may be gone already, and its children are still its own.
    pub exiting: bool,
}

/// Of the flags in field 9 of proc_pid_stat(5): `PF_EXITING` of <linux/sched.h>.
const EXITING: u64 = 4;

impl Stat {
    /// Ended, whether reaped or not.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Reads `/proc/PID/stat`; `None` where the process is gone or the system has no such file.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name in parentheses may hold spaces and parentheses itself: the last one closes it.
    let end = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    let number = |i: usize| fields.get(i)?.parse().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        start_ticks: fields.get(19)?.parse().ok()?,
        exiting: fields.get(6)?.parse::<u64>().ok()? & EXITING != 0,
    })
}

/// The boot of this machine; empty where the system does not tell.
pub fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|t| t.trim().to_owned()).unwrap_or_default())
}

/// A pid as the system calls want it.
pub(crate) fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = b"12 (a) b (c)) S 3 4 5 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        assert_eq!(parse_stat(line), Some(Stat { state: b'S', parent: 3, group: 4, session: 5, start_ticks: 777, exiting: false }));
        let ending = String::from_utf8_lossy(line).replace("4194560", "4194564");
        assert!(parse_stat(ending.as_bytes()).is_some_and(|stat| stat.exiting));
        assert_eq!(parse_stat(b"12 (cut"), None);
        assert_eq!(parse_stat(b"12 (short) S 1 2"), None);
    }

    #[test]
    fn an_identity_is_that_process_and_no_other() {
        let marks = Marks { run: RunId("r".into()), step: StepPath::root("s"), attempt: 1 };
        let begun = Ticks::start();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = Identity::of_child(child.id(), &begun, marks);
        assert_eq!(own.is_alive(), cfg!(target_os = "linux"));
        assert!(!Identity { started_after: own.started_before + 1, started_before: own.started_before + 2, ..own.clone() }.is_alive());
        assert!(!Identity { started_after: 1, started_before: own.started_after - 1, ..own.clone() }.is_alive());
        assert!(!Identity { boot_id: "another boot".into(), ..own.clone() }.is_alive());
        let folder = tempfile::tempdir().unwrap();
        let register = Register::new(folder.path().into());
        register.add(&own).unwrap();
        register.add(&Identity { marks: Marks { attempt: 2, ..own.marks.clone() }, ..own.clone() }).unwrap();
        let mut file = File::options().append(true).open(register.path()).unwrap();
        file.write_all(b"{\"pid\":1").unwrap();
        assert_eq!(Identity::of_attempt(register.path(), &own.marks), std::slice::from_ref(&own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!own.is_alive());
    }
}
