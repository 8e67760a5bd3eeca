//! How much this system gives to one sitting. Where it gives little, steps wait for one another
//! instead of failing: fewer run at once.
//!
//! Open files are counted beforehand, as everything fails once there are none. How many processes
//! there may be nobody knows, others of the same user count too: who gets none waits for a step of
//! this sitting to end and tries again.

use crate::process::SpawnError;
use rustix::process::{Resource, getrlimit};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Files that are open whatever runs: the database with its readers, the runtimes, locks.
const BASE: u64 = 40;
/// Files of one step: the pipe, the process, the log, its tail and its times.
const EACH: u64 = 5;
/// Below this nothing works.
const LEAST: u64 = 64;
/// Threads that a sitting has, and some to spare.
const THREADS: usize = 8;

/// The room of a sitting.
#[derive(Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    /// Steps that have a process now.
    running: AtomicUsize,
    left: Notify,
    /// It was said that the system gives no more.
    said: AtomicBool,
}

/// A step has a process.
pub(crate) struct Running<'a>(&'a Room);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_waiters();
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new(places())
    }
}

impl Room {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), running: AtomicUsize::new(0), left: Notify::new(), said: AtomicBool::new(false) }
    }

    /// Waits for a place; it is free again when what this gives is dropped.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// A step has got a process.
    pub(crate) fn running(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(self)
    }

    /// What is to be said, once a sitting, where the system gave no process and fewer steps run at once for it.
    pub(crate) fn refused(&self, error: &SpawnError) -> Option<String> {
        let SpawnError::Limit { what, source } = error else { return None };
        let first = self.running.load(Ordering::Acquire) > 0 && !self.said.swap(true, Ordering::AcqRel);
        first.then(|| format!("this system gives no more {what} now ({source}): steps wait for one another (raise it: ulimit -a)"))
    }

    /// The system gave no process: waits until a step has ended. False where none runs: nothing
    /// will become better by waiting.
    pub(crate) async fn after_another(&self) -> bool {
        let left = self.left.notified();
        tokio::pin!(left);
        left.as_mut().enable();
        if self.running.load(Ordering::Acquire) == 0 {
            return false;
        }
        left.await;
        true
    }
}

/// The limit of open files; none where there is none.
fn files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many steps can run at once.
fn places() -> usize {
    let places = files().map_or(usize::MAX, |files| usize::try_from(files.saturating_sub(BASE) / EACH).unwrap_or(usize::MAX));
    places.clamp(1, Semaphore::MAX_PERMITS)
}

/// What is to be said where fewer steps can run at once than were asked for.
pub fn narrow(wanted: u32) -> Option<String> {
    let places = places();
    let files = files().filter(|_| usize::try_from(wanted).is_ok_and(|wanted| wanted > places))?;
    Some(format!("this system allows {files} open files: at most {places} steps run at once (raise it: ulimit -n)"))
}

/// Looks whether there is room for a sitting at all.
///
/// # Errors
/// With what is missing and the cure.
pub fn look() -> Result<(), String> {
    if let Some(files) = files().filter(|files| *files < LEAST) {
        return Err(format!("this system allows {files} open files, and {LEAST} are the least that a run needs; raise it: ulimit -n 1024"));
    }
    // All of them at once, each until the last was tried.
    let gate = Mutex::new(());
    let missing = thread::scope(|scope| {
        let shut = gate.lock();
        let start = |_| thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, || drop(gate.lock())).err();
        let missing = (0..THREADS).map(start).find_map(|error| error);
        drop(shut);
        missing
    });
    missing.map_or(Ok(()), |error| {
        Err(format!("this system gives no more processes now ({error}); end some of this user's, or raise the limit: ulimit -u"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_gets_no_process_waits_for_another_step_and_for_nothing_else() {
        let room = Room::new(1);
        assert!(!room.after_another().await, "nobody runs");
        let running = room.running();
        let (waited, ()) = tokio::join!(room.after_another(), async { drop(running) });
        assert!(waited);
    }

    #[test]
    fn that_there_are_no_more_is_said_once_and_only_of_limits() {
        let room = Room::new(2);
        let full = SpawnError::Limit { what: "processes", source: std::io::ErrorKind::WouldBlock.into() };
        assert_eq!(room.refused(&full), None, "nobody runs: the step itself fails with it");
        let _running = room.running();
        let said = room.refused(&full).unwrap();
        assert!(said.contains("no more processes") && said.contains("ulimit"), "{said}");
        assert_eq!(room.refused(&full), None);
    }

    #[tokio::test]
    async fn a_place_is_given_once_at_a_time() {
        let room = Room::new(1);
        let first = room.enter().await;
        let (second, ()) = tokio::join!(room.enter(), async { drop(first) });
        assert!(second.is_some());
    }

    #[test]
    fn there_is_room_here() {
        assert_eq!(look(), Ok(()));
        assert!(narrow(1).is_none());
    }
}
