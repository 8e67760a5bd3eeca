//! Waiting for what other processes write, woken by the system at each change of a folder's files.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use std::mem::MaybeUninit;
use std::path::Path;

/// How long it may take before the test has failed.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Waits until something that files of this folder tell is so.
#[track_caller]
pub fn until(folder: &Path, what: &str, mut so: impl FnMut() -> bool) {
    let bell = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&bell, folder, WatchFlags::CREATE | WatchFlags::MODIFY).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut rings = Reader::new(&bell, &mut buffer);
    while !so() {
        assert_eq!(poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&PATIENCE)), Ok(1), "{what} never came");
        rings.next().unwrap();
    }
}
