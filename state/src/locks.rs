//! Locks of the state folder by name: held over the life of a run's sitting, free again when its
//! process ends, however that ends.

use crate::error::unusable;
use crate::flock::Flock;
use crate::folder;
use crate::state::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trees_core::journal::JournalError;
use trees_core::path::RunId;
use trees_core::store::LockGuard;
use trees_points::{Point, hit};

/// What the holder wrote into the lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    run: RunId,
    pid: u32,
    since: Timestamp,
}

/// Unlocked when the file is closed.
struct Guard {
    _lock: Flock,
}

impl LockGuard for Guard {}

impl State {
    pub(crate) fn take_lock(&self, name: &str, run: &RunId) -> Result<Result<Box<dyn LockGuard>, String>, JournalError> {
        self.place.writable()?;
        let home = self.dir().join("locks");
        folder::make_private(self.dir(), &home)?;
        let mut lock = Flock::open(self.dir(), &home.join(folder::component(name)))?;
        if !lock.take()? {
            return Ok(Err(describe(&lock.signature())));
        }
        hit(Point::NameLockTaken);
        let holder = Holder { run: run.clone(), pid: std::process::id(), since: Timestamp::now() };
        let text = serde_json::to_string(&holder).map_err(|error| unusable(self.dir(), error.to_string()))?;
        lock.sign(&text)?;
        hit(Point::NameLockSigned);
        Ok(Ok(Box::new(Guard { _lock: lock })))
    }
}

/// Who holds it, for a message.
fn describe(signature: &str) -> String {
    match serde_json::from_str::<Holder>(signature) {
        Ok(holder) => format!("run {} (process {}) since {:.0}", holder.run, holder.pid, holder.since),
        Err(_) => "another process".into(),
    }
}
