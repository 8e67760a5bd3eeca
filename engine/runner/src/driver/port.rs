//! Where the words of a kind go: its log, the screen, the journal.

use super::message::{Handle, Message, Pending};
use crate::kind::{BoxFuture, KindError, Port};
use crate::mask::Masker;
use crate::output::Log;
use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;
use trees_core::event::Json;
use trees_core::path::StepPath;

/// The port of one attempt.
pub(super) struct AttemptPort {
    pub handle: Handle,
    pub step: StepPath,
    pub attempt: u32,
    pub masker: Masker,
    pub log: Mutex<Option<Log>>,
}

impl AttemptPort {
    /// Ends the log; later lines are lost. What kept it from being written.
    pub fn close(&self) -> Option<io::Error> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take()?.finish().error
    }
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
        let record = self.masker.mask_json(&record);
        let message = Message::Intend { step: self.step.clone(), attempt: self.attempt, record, pending: Pending(sender) };
        self.handle.send(message);
        Box::pin(async move { receiver.await.map_err(|_| KindError::new("the intent could not be recorded, so nothing was changed")) })
    }
}
