//! Locks of the state folder that the run holds or asks for.

use std::collections::HashMap;
use trees_core::journal::JournalError;
use trees_core::path::RunId;
use trees_core::run::Input;
use trees_core::store::{LockGuard, Store};

/// By name.
#[derive(Default)]
pub(super) struct Locks(HashMap<String, State>);

enum State {
    Held(#[expect(dead_code, reason = "held until dropped")] Box<dyn LockGuard>),
    /// Who had it when it was last looked at.
    Wanted(String),
}

impl Locks {
    /// Asks for a lock; what came of it.
    pub fn take(&mut self, name: String, store: &dyn Store, run: &RunId) -> Result<Input, JournalError> {
        Ok(match store.lock(&name, run)? {
            Ok(guard) => {
                self.0.insert(name.clone(), State::Held(guard));
                Input::Locked { name }
            }
            Err(holder) => {
                self.0.insert(name.clone(), State::Wanted(holder.clone()));
                Input::LockBusy { name, holder }
            }
        })
    }

    /// Gives a lock back, or stops asking for it.
    pub fn release(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Asks again for those that others had; says so where that has changed.
    pub fn look(&mut self, store: &dyn Store, run: &RunId) -> Result<Vec<Input>, JournalError> {
        let wanted = |(name, state): (&String, &State)| match state {
            State::Wanted(holder) => Some((name.clone(), holder.clone())),
            State::Held(_) => None,
        };
        let asked: Vec<(String, String)> = self.0.iter().filter_map(wanted).collect();
        let mut inputs = Vec::new();
        for (name, before) in asked {
            match self.take(name, store, run)? {
                Input::LockBusy { holder, .. } if holder == before => {}
                other => inputs.push(other),
            }
        }
        Ok(inputs)
    }
}
