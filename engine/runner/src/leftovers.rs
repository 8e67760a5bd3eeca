//! Processes of an attempt that outlive it: what called setsid while the step ran, and what a
//! crash of `trees` left.
//!
//! While `trees` lives orphans become its children, so one look at its own children finds them.
//! After a crash they are found by the recorded identity and by the marks in their environment.
//! A process whose environment has no marks is nobody's leftover.

use crate::identity::{Identity, Marks, Stat, raw, stat};
use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use trees_core::path::{RunId, StepPath};

/// A process that carries the marks of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
    /// Whose it is.
    pub marks: Marks,
}

impl Found {
    fn of(pid: u32) -> Option<Self> {
        let marks = marks_of(pid)?;
        let stat = stat(pid).filter(|s| !s.is_dead())?;
        Some(Self { pid, start_ticks: stat.start_ticks, marks })
    }

    fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.start_ticks == self.start_ticks && !s.is_dead())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = raw(self.pid).filter(|_| self.is_alive()) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Every living process with the marks of a run, by one look through all processes; this one and
/// those above it are left out.
///
/// # Errors
/// When the list of processes cannot be read.
pub fn of_run(run: &RunId) -> io::Result<Vec<Found>> {
    let own = lineage();
    let listing = match fs::read_dir("/proc") {
        Ok(listing) => listing,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let pids = listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids.filter(|pid| !own.contains(pid)).filter_map(Found::of).filter(|found| found.marks.run == *run).collect())
}

/// Whether a process of a run may still be alive, by marks or by the run's list of processes; yes where the system does not
/// list processes.
///
/// # Errors
/// When the list of processes cannot be read.
pub fn may_live(run: &RunId, register: &Path) -> io::Result<bool> {
    if !Path::new("/proc/self/environ").exists() {
        return Ok(true);
    }
    Ok(!of_run(run)?.is_empty() || !sessions_of(&Identity::all(register)).is_empty())
}

/// Ends processes that a crash left: SIGTERM, after the grace SIGKILL, until none is alive; how
/// many there were. What cannot be ended within ten seconds after SIGKILL is given up.
///
/// # Errors
/// With the pids that are still alive.
pub async fn end(found: &[Found], grace: Duration) -> io::Result<usize> {
    let mut left: Vec<&Found> = found.iter().filter(|f| f.is_alive()).collect();
    let count = left.len();
    left.iter().for_each(|f| f.signal(Signal::TERM));
    let begun = Instant::now();
    let mut pauses = Pauses::default();
    while !left.is_empty() {
        let past = begun.elapsed();
        if past > grace {
            left.iter().for_each(|f| f.signal(Signal::KILL));
        }
        if past > grace + Duration::from_secs(10) {
            let pids: Vec<String> = left.iter().map(|f| f.pid.to_string()).collect();
            return Err(io::Error::other(format!("processes {} of run {} cannot be ended", pids.join(", "), left[0].marks.run)));
        }
        pauses.next().await;
        left.iter().for_each(|f| reap(f.pid));
        left.retain(|f| f.is_alive());
    }
    Ok(count)
}

/// Ends what a crash left of some attempts of a run, all at once, by their marks and by the run's
/// list of processes; how many there were. What these start meanwhile is ended too.
///
/// # Errors
/// With the pids that are still alive.
pub async fn end_attempts(run: &RunId, attempts: &[Marks], register: &Path, grace: Duration) -> io::Result<usize> {
    let identities: Vec<Identity> = attempts.iter().flat_map(|marks| Identity::of_attempt(register, marks)).collect();
    let mut count = 0;
    let mut grace = grace;
    loop {
        let mut ours = of_run(run)?;
        ours.retain(|found| attempts.contains(&found.marks));
        let known: HashSet<u32> = ours.iter().map(|found| found.pid).collect();
        ours.extend(sessions_of(&identities).into_iter().filter(|found| !known.contains(&found.pid)));
        if ours.is_empty() {
            return Ok(count);
        }
        count += end(&ours, grace).await?;
        // What came since then had its warning.
        grace = Duration::ZERO;
    }
}

/// The living members of the sessions that these processes lead, marked or not, by one look.
fn sessions_of(identities: &[Identity]) -> Vec<Found> {
    let leaders: HashMap<u32, &Identity> = identities.iter().filter(|i| i.is_alive()).map(|i| (i.pid, i)).collect();
    if leaders.is_empty() {
        return Vec::new();
    }
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let member = |pid: u32| {
        let stat = stat(pid).filter(|s| !s.is_dead())?;
        let leader = leaders.get(&stat.session).or_else(|| leaders.get(&stat.group))?;
        Some(Found { pid, start_ticks: stat.start_ticks, marks: leader.marks.clone() })
    };
    pids.filter_map(member).collect()
}

/// Ends what escaped the group of an attempt that has just ended and became our child; how many. A chain of them shows one
/// after the other, so time counts from the newest: on a busy machine a look can take long.
pub(crate) async fn end_escaped(marks: &Marks, grace: Duration) -> usize {
    /// What SIGKILL does not end in that time waits in the kernel.
    const DEAF: Duration = Duration::from_secs(5);
    /// What makes new ones for that long does it faster than they can be ended.
    const BREEDING: Duration = Duration::from_secs(60);
    let mut seen: HashSet<u32> = HashSet::new();
    let begun = Instant::now();
    let mut newest = begun;
    let mut pauses = Pauses::default();
    loop {
        let Escaped { found: escaped, ending } = escaped(marks);
        if escaped.iter().any(|found| !seen.contains(&found.pid)) {
            newest = Instant::now();
            // Where one was another may be behind it.
            pauses = Pauses::default();
        }
        if (escaped.is_empty() && !ending) || newest.elapsed() > grace + DEAF || begun.elapsed() > BREEDING {
            return seen.len();
        }
        for found in &escaped {
            if begun.elapsed() > grace {
                found.signal(Signal::KILL);
            } else if seen.insert(found.pid) {
                found.signal(Signal::TERM);
            }
            seen.insert(found.pid);
        }
        pauses.next().await;
        seen.iter().for_each(|pid| reap(*pid));
    }
}

/// The living orphans of an attempt. One that was alive when they were listed and has died since
/// may have left others: only when no more die between is nobody there.
fn escaped(marks: &Marks) -> Escaped {
    let mut gone: HashSet<u32> = HashSet::new();
    loop {
        let (escaped, dead) = look(marks);
        if !escaped.found.is_empty() || escaped.ending || dead.is_subset(&gone) {
            return escaped;
        }
        gone = dead;
    }
}

/// The orphans of an attempt.
#[derive(Default)]
struct Escaped {
    found: Vec<Found>,
    /// One is about to end, whosever it was: its children become orphans only then.
    ending: bool,
}

/// One look at the orphans: those of an attempt, and those that were listed and are dead now.
fn look(marks: &Marks) -> (Escaped, HashSet<u32>) {
    let listed: Vec<u32> = {
        let registry = registry();
        orphans().into_iter().filter(|pid| !registry.children.contains(pid)).collect()
    };
    let (mut escaped, mut dead) = (Escaped::default(), HashSet::new());
    for pid in listed {
        let alive = |stat: &Stat| !stat.is_dead();
        match stat(pid) {
            Some(stat) if alive(&stat) => match Found::of(pid) {
                Some(orphan) => escaped.found.extend((orphan.marks == *marks).then_some(orphan)),
                // It has no marks, or has lost them as it ends, or has ended just now.
                None => match self::stat(pid).filter(alive) {
                    Some(stat) => escaped.ending |= stat.exiting,
                    None => dead.extend([pid]),
                },
            },
            Some(stat) => {
                bury(pid, stat.start_ticks, stat.session);
                dead.insert(pid);
            }
            None => dead.extend([pid]),
        }
    }
    (escaped, dead)
}

/// The children that the system gave to the main thread: orphans, and what that thread started.
fn orphans() -> Vec<u32> {
    let own = std::process::id();
    static LIST: LazyLock<Option<File>> =
        LazyLock::new(|| File::open(format!("/proc/{own}/task/{own}/children", own = std::process::id())).ok());
    if let Some(list) = LIST.as_ref().and_then(|list| settled(|| whole(list).ok())) {
        return list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    // A kernel without that list, or children that come and go too fast for it.
    let listing = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = listing.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|s| s.parent == own)).collect()
}

/// The text of a file that stays open, from its beginning.
fn whole(file: &File) -> io::Result<String> {
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match file.read_at(&mut part, text.len() as u64)? {
            0 => return String::from_utf8(text).map_err(io::Error::other),
            count => text.extend_from_slice(&part[..count]),
        }
    }
}

/// What two looks one after the other have shown. The kernel goes on in its list of children by
/// position where the one it stood at has gone meanwhile, and passes over another one then; the next
/// look lacks the one that has gone.
fn settled(look: impl Fn() -> Option<String>) -> Option<String> {
    const LOOKS: usize = 16;
    let mut last = look()?;
    for _ in 0..LOOKS {
        let next = look()?;
        if next == last {
            return Some(last);
        }
        last = next;
    }
    None
}

/// Processes that a supervisor started and will reap, and dead orphans that nobody may.
#[derive(Default)]
struct Registry {
    children: HashSet<u32>,
    dead: HashMap<u32, (u64, Instant)>,
}

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that has a supervisor.
pub(crate) struct Known(u32);

impl Known {
    pub fn new(pid: u32) -> Self {
        registry().children.insert(pid);
        Self(pid)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        registry().children.remove(&self.0);
    }
}

/// Reaps a dead orphan. A child that other code started and will reap looks the same at first:
/// only what has been dead for a while, in a session that is not ours, is nobody's.
fn bury(pid: u32, start_ticks: u64, session: u32) {
    const WHILE: Duration = Duration::from_secs(5);
    let own = stat(std::process::id()).map(|s| s.session);
    if own == Some(session) {
        return;
    }
    let mut registry = registry();
    let now = Instant::now();
    let (ticks, since) = *registry.dead.entry(pid).or_insert((start_ticks, now));
    if ticks != start_ticks {
        registry.dead.insert(pid, (start_ticks, now));
    } else if now.duration_since(since) > WHILE {
        registry.dead.remove(&pid);
        drop(registry);
        reap(pid);
    }
}

/// Reaps a process if it is our child, has ended and has no supervisor.
fn reap(pid: u32) {
    if registry().children.contains(&pid) {
        return;
    }
    if let Some(pid) = raw(pid) {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// The marks in the environment of a process; `None` where it has none or is not ours to read.
fn marks_of(pid: u32) -> Option<Marks> {
    const MOST: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    let mut settled = 0;
    loop {
        let environ = environ(pid).ok()?;
        if !environ.is_empty() || settled == 3 || begun.elapsed() > MOST {
            return parse_marks(&environ);
        }
        // It may have finished between the two looks: only what stays empty is empty.
        settled = if is_loading(pid) { 0 } else { settled + 1 };
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// The environment of a process, by one read where it is of a usual size: a second one after the
/// process has loaded another program would find nothing more of the first.
fn environ(pid: u32) -> io::Result<Vec<u8>> {
    const USUAL: usize = 256 << 10;
    let mut text = Vec::with_capacity(USUAL);
    File::open(format!("/proc/{pid}/environ"))?.read_to_end(&mut text)?;
    Ok(text)
}

/// Whether a process is inside `execve`: the old program's memory is gone, and the kernel has not
/// yet noted where the new one's arguments and environment lie, so that both read as empty.
fn is_loading(pid: u32) -> bool {
    let no_arguments = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty());
    // Threads of the kernel never have any; they are in no group.
    no_arguments && stat(pid).is_some_and(|s| !s.is_dead() && s.group != 0)
}

fn parse_marks(environ: &[u8]) -> Option<Marks> {
    let value = |name: &str| {
        let mut all = environ.split(|b| *b == 0);
        let found = all.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(found).into_owned())
    };
    let (run, step) = (RunId(value("TREES_RUN_ID")?), StepPath(value("TREES_STEP")?));
    Some(Marks { run, step, attempt: value("TREES_ATTEMPT")?.parse().ok()? })
}

/// This process and all above it.
fn lineage() -> HashSet<u32> {
    let mut own = HashSet::new();
    let mut pid = std::process::id();
    while pid > 0 && own.insert(pid) {
        pid = stat(pid).map_or(0, |s| s.parent);
    }
    own
}

/// Growing pauses while processes end.
#[derive(Default)]
struct Pauses(u32);

impl Pauses {
    async fn next(&mut self) {
        tokio::time::sleep(Duration::from_millis(1 << self.0.min(5))).await;
        self.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::process::Command;

    #[test]
    fn a_list_that_changes_while_it_is_read_is_read_again() {
        let looks = RefCell::new(vec!["2", "2", "1 3", "1 2 3"]);
        assert_eq!(settled(|| looks.borrow_mut().pop().map(str::to_owned)).as_deref(), Some("2"));
        let count = Cell::new(0);
        let restless = || {
            count.set(count.get() + 1);
            Some(count.get().to_string())
        };
        assert_eq!(settled(restless), None);
        assert_eq!(settled(|| None), None);
    }

    #[test]
    fn a_process_that_loads_a_program_keeps_its_marks() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("again");
        fs::write(&script, "exec sh \"$0\"").unwrap();
        let mut child =
            Command::new("sh").arg(&script).envs([("TREES_RUN_ID", "r"), ("TREES_STEP", "a"), ("TREES_ATTEMPT", "1")]).spawn().unwrap();
        let marks = Marks { run: RunId("r".into()), step: StepPath("a".into()), attempt: 1 };
        let seen = (0..5_000).filter(|_| marks_of(child.id()).as_ref() == Some(&marks)).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, 5_000);
    }
}
