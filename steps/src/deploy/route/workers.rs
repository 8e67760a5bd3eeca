//! nginx's processes, as the system lists them: a reload is done when new workers serve and the old
//! ones take nothing new.

use crate::deploy::record::Identity;
use std::fs;
use std::path::{Path, PathBuf};

/// The master of a running nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master(pub Identity);

/// One of its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its process.
    pub process: Identity,
    /// It takes no new connection and ends with its last one.
    pub leaving: bool,
}

impl Master {
    /// The one whose pid the file has, if it lives.
    pub fn find(pid_file: &Path) -> Option<Self> {
        let pid: u32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
        let process = Identity::of(pid);
        // A pid that was left by one that died may be another's by now.
        let is_nginx = title(pid).is_none_or(|title| title.contains("nginx"));
        (process.is_alive() && is_nginx).then_some(Self(process))
    }

    /// Its workers; empty where the system does not list processes.
    pub fn workers(&self) -> Vec<Worker> {
        let pids = processes().filter(|pid| parent(*pid) == Some(self.0.pid));
        pids.filter_map(|pid| {
            let title = title(pid)?;
            let leaving = title.contains("shutting down");
            title.contains("worker process").then(|| Worker { process: Identity::of(pid), leaving })
        })
        .collect()
    }
}

/// Whether the system lists processes as Linux does.
pub fn listed() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    let text = String::from_utf8_lossy(&fs::read(process(pid).join("stat")).ok()?).into_owned();
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// How a process calls itself.
fn title(pid: u32) -> Option<String> {
    fs::read(process(pid).join("cmdline")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}
