//! What a point does in a build that has them.

use crate::Point;
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the environment asks for.
struct Shot {
    name: String,
    hit: u64,
    engine: bool,
    child: bool,
}

static SHOT: LazyLock<Option<Shot>> = LazyLock::new(|| Some(Shot::of(&std::env::var("TREES_FAILPOINT").ok()?)));
static COUNT: AtomicU64 = AtomicU64::new(0);

impl Shot {
    fn of(text: &str) -> Self {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().to_owned();
        assert!(Point::ALL.iter().any(|point| point.name() == name), "TREES_FAILPOINT: there is no point `{name}`");
        let (mut hit, mut who) = (1, "engine");
        for part in parts {
            match part.parse() {
                Ok(number) => hit = number,
                Err(_) => who = part,
            }
        }
        assert!(["engine", "child", "both"].contains(&who), "TREES_FAILPOINT: nobody is called `{who}`");
        Self { name, hit, engine: who != "child", child: who != "engine" }
    }
}

pub(crate) fn hit(point: Point) {
    note(point.name());
    let Some(shot) = SHOT.as_ref().filter(|shot| shot.name == point.name()) else { return };
    if COUNT.fetch_add(1, Ordering::AcqRel) + 1 != shot.hit {
        return;
    }
    let children = if shot.child { children() } else { Vec::new() };
    note(&format!("killed {} {}", shot.name, children.len()));
    for child in children {
        // It leads a group of its own, unless it has ended by now.
        let _ = kill_process_group(child, Signal::KILL);
    }
    if shot.engine {
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// A line, by one write.
fn note(line: &str) {
    let Some(path) = std::env::var_os("TREES_FAILPOINT_LOG") else { return };
    let log = OpenOptions::new().append(true).create(true).open(path);
    let written = log.and_then(|mut log| log.write_all(format!("{line}\n").as_bytes()));
    assert!(written.is_ok(), "TREES_FAILPOINT_LOG cannot be written");
}

/// The children of all threads.
fn children() -> Vec<Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<i32> = lists.flat_map(|list| list.split_ascii_whitespace().map(str::parse).collect::<Vec<_>>()).flatten().collect();
    pids.into_iter().filter_map(Pid::from_raw).collect()
}
