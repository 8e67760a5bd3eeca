//! One run of a command: time, processor time of it and all below it, peak memory, bytes written.

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Looking costs time on the cores that are measured.
const LOOK: Duration = Duration::from_millis(50);

/// What was measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// From the start to the end.
    pub time: Duration,
    /// User and system, of all processes of it that ended before it.
    pub cpu: Duration,
    /// KiB, of the first process at its largest.
    pub memory: u64,
    /// Handed to the disk, of all processes.
    pub written: u64,
}

/// Runs it to its end, which must be a good one.
pub fn measure(command: &mut Command) -> Sample {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().expect("the command starts");
    let pid = child.id();
    let (end, ended) = channel::<()>();
    let looks = std::thread::spawn(move || {
        let mut peak = memory(pid);
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            peak = peak.max(memory(pid));
        }
        peak
    });
    // It stays as it is until it is waited for: its numbers can still be read.
    let id = Pid::from_raw(i32::try_from(pid).expect("a process number")).expect("not 0");
    waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("a child");
    let time = begun.elapsed();
    let (cpu, written) = (cpu(pid), written(pid));
    let status = child.wait().expect("a child");
    drop(end);
    assert!(status.success(), "{command:?} ended with {status}");
    Sample { time, cpu, memory: looks.join().expect("a number"), written }
}

/// The peak resident memory of a living process; 0 where the system does not tell.
fn memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// utime, stime, cutime, cstime: fields 14 to 17 of proc_pid_stat(5), in ticks of 10 ms.
fn cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

fn written(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}
