//! The journal in memory: for tests and for runs that are only thought through. It keeps the same
//! laws as the one on disk; the same suite is run over both.

use super::{Hold, Journal, JournalError, NewRun, Request, RequestBody};
use crate::event::{Event, Json};
use crate::path::RunId;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A journal that ends with the value. Ids count up: no randomness here.
#[derive(Debug, Default, Clone)]
pub struct MemoryJournal {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    runs: BTreeMap<RunId, Kept>,
    requests: Vec<(Request, bool)>,
}

#[derive(Debug)]
struct Kept {
    tree: String,
    number: u64,
    definition: Json,
    epoch: u64,
    held: bool,
    events: Vec<Event>,
}

#[derive(Debug)]
struct MemoryHold {
    shelf: Arc<Mutex<Shelf>>,
    run: RunId,
    epoch: u64,
    number: u64,
}

impl Hold for MemoryHold {
    fn run(&self) -> &RunId {
        &self.run
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn is_ours(&self) -> bool {
        locked(&self.shelf).runs.get(&self.run).is_some_and(|kept| kept.epoch == self.epoch)
    }
}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        if let Some(kept) = locked(&self.shelf).runs.get_mut(&self.run) {
            kept.held = false;
        }
    }
}

fn locked(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    fn kept(&mut self, run: &RunId) -> Result<&mut Kept, JournalError> {
        self.runs.get_mut(run).ok_or_else(|| JournalError::Unknown(run.0.clone()))
    }
}

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks something of a run from elsewhere.
    ///
    /// # Errors
    /// When there is no such run, or another word on the same step waits.
    pub fn ask(&self, run: &RunId, actor: &str, body: &RequestBody, ts: Timestamp) -> Result<u64, JournalError> {
        let mut shelf = locked(&self.shelf);
        shelf.kept(run)?;
        body.alone(shelf.requests.iter().filter(|(request, taken)| !taken && request.run == *run).map(|(request, _)| request))?;
        let id = shelf.requests.len() as u64 + 1;
        shelf.requests.push((Request { id, run: run.clone(), ts, actor: actor.into(), body: body.clone() }, false));
        Ok(id)
    }
}

impl Journal for MemoryJournal {
    fn create(&self, new: &NewRun) -> Result<Box<dyn Hold>, JournalError> {
        let mut shelf = locked(&self.shelf);
        let run = RunId(format!("{:012}", shelf.runs.len() + 1));
        let number = shelf.runs.values().filter(|kept| kept.tree == new.tree).count() as u64 + 1;
        let definition = new.definition.clone();
        shelf.runs.insert(run.clone(), Kept { tree: new.tree.clone(), number, definition, epoch: 1, held: true, events: Vec::new() });
        Ok(Box::new(MemoryHold { shelf: Arc::clone(&self.shelf), run, epoch: 1, number }))
    }

    fn hold(&self, run: &RunId) -> Result<Box<dyn Hold>, JournalError> {
        let mut shelf = locked(&self.shelf);
        let kept = shelf.kept(run)?;
        if kept.held {
            return Err(JournalError::Held { run: run.clone(), pid: 0 });
        }
        kept.held = true;
        kept.epoch += 1;
        let (epoch, number) = (kept.epoch, kept.number);
        Ok(Box::new(MemoryHold { shelf: Arc::clone(&self.shelf), run: run.clone(), epoch, number }))
    }

    fn append(&self, run: &RunId, expected_seq: u64, epoch: u64, events: &[Event], taken: &[u64]) -> Result<(), JournalError> {
        let mut shelf = locked(&self.shelf);
        let kept = shelf.kept(run)?;
        if kept.epoch != epoch {
            return Err(JournalError::Fenced { expected: epoch, found: kept.epoch });
        }
        let found = kept.events.len() as u64;
        if found != expected_seq {
            return Err(JournalError::Fenced { expected: expected_seq, found });
        }
        for (event, seq) in events.iter().zip(expected_seq + 1..) {
            if event.seq != seq || event.run != *run {
                return Err(JournalError::Fenced { expected: event.seq, found: seq });
            }
        }
        kept.events.extend_from_slice(events);
        for (request, done) in &mut shelf.requests {
            *done |= request.run == *run && taken.contains(&request.id);
        }
        Ok(())
    }

    fn load(&self, run: &RunId, after: u64) -> Result<Vec<Event>, JournalError> {
        let mut shelf = locked(&self.shelf);
        let kept = shelf.kept(run)?;
        Ok(kept.events.iter().filter(|event| event.seq > after).cloned().collect())
    }

    fn definition(&self, run: &RunId) -> Result<Json, JournalError> {
        Ok(locked(&self.shelf).kept(run)?.definition.clone())
    }

    fn requests(&self, run: &RunId) -> Result<Vec<Request>, JournalError> {
        let shelf = locked(&self.shelf);
        Ok(shelf.requests.iter().filter(|(request, done)| request.run == *run && !done).map(|(request, _)| request.clone()).collect())
    }
}
