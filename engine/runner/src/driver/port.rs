//! Where the words of a kind go: its log, the screen, the journal.

use super::message::{Handle, Message, Pending};
use crate::kind::{BoxFuture, Keeper, KindError, Port};
use crate::mask::Masker;
use crate::output::Log;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use trees_core::event::Json;
use trees_core::path::StepPath;

/// The port of one attempt.
pub(super) struct AttemptPort {
    pub handle: Handle,
    pub step: StepPath,
    pub attempt: u32,
    pub masker: Masker,
    pub keeper: Arc<dyn Keeper>,
    pub log: Mutex<Option<Log>>,
}

impl AttemptPort {
    /// Ends the log; later lines are lost. What kept it from being written.
    pub fn close(&self) -> Option<io::Error> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take()?.finish().error
    }

    /// A record as it may stand in the journal: one with a secret in it sealed, since masked it would take nothing back.
    fn recordable(&self, record: Json) -> Result<Json, KindError> {
        if self.masker.mask_json(&record) == record {
            return Ok(record);
        }
        let sealed_as = format!("what attempt {} of {} recorded", self.attempt, self.step);
        let sealed = self.keeper.seal(&sealed_as, record.to_string().as_bytes())?;
        serde_json::to_value(Sealed { sealed_as, sealed }).map_err(|e| KindError::new(e.to_string()))
    }
}

/// A record that was sealed, as it stands in the journal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    sealed_as: String,
    sealed: String,
}

/// A record of the journal as its kind made it.
///
/// # Errors
/// When it was sealed with another master key.
pub(super) fn opened(record: &Json, keeper: &dyn Keeper) -> Result<Json, KindError> {
    let Ok(Sealed { sealed_as, sealed }) = Sealed::deserialize(record) else { return Ok(record.clone()) };
    let bytes = keeper.open(&sealed_as, &sealed)?;
    serde_json::from_slice(&bytes).map_err(|e| KindError::new(format!("cannot read {sealed_as}: {e}")))
}

impl Port for AttemptPort {
    fn log(&self, line: &str) {
        let line = self.masker.mask(line);
        if let Some(log) = self.log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            log.write(line.as_bytes());
            log.write(b"\n");
        }
        self.handle.send(Message::Output { step: self.step.clone(), line: line.into_owned() });
    }

    fn progress(&self, fraction: Option<f64>, text: &str) {
        let text = self.masker.mask(text).into_owned();
        self.handle.send(Message::Progress { step: self.step.clone(), fraction, text });
    }

    fn intend(&self, record: Json) -> BoxFuture<'static, Result<(), KindError>> {
        let (sender, receiver) = oneshot::channel();
        let record = match self.recordable(record) {
            Ok(record) => record,
            Err(wrong) => return Box::pin(async move { Err(wrong) }),
        };
        let message = Message::Intend { step: self.step.clone(), attempt: self.attempt, record, pending: Pending(sender) };
        self.handle.send(message);
        Box::pin(async move { receiver.await.map_err(|_| KindError::new("the intent could not be recorded, so nothing was changed")) })
    }
}
