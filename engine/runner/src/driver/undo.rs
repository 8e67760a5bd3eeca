//! Taking back what an attempt did: by the step's `undo`, or by its kind from what it recorded.

use super::attempt::{Attempt, Made, code_of, ended};
use super::port::opened;
use crate::kind::undo_all;
use crate::process::Ended;
use std::collections::BTreeMap;
use std::time::Duration;
use trees_core::event::{ErrorReason, Json, Object};
use trees_core::run::{Input, Job, Outcome, Undo};

impl Attempt {
    /// Takes back what the action did; what is returned is not kept.
    pub(super) async fn undo(&self, undo: &Undo) -> Made<Input> {
        self.leave_trace()?;
        match undo {
            Undo::Job { job: job @ Job::Run { .. }, timeout } => {
                let (code, _) = self.script(job, *timeout, "undo").await?;
                match code {
                    Ended::Code(0) => {}
                    Ended::Code(_) => return Err(self.fail(ErrorReason::Exit, code_of(code), format!("undo {}", ended(code)))),
                    Ended::Signal(_) => return Err(self.fail(ErrorReason::Signal, code_of(code), format!("undo {}", ended(code)))),
                }
            }
            Undo::Job { job: Job::Uses { kind, with }, timeout } => drop(self.apply(kind, with, *timeout).await?),
            Undo::Records { kind, records, timeout } => self.undo_records(kind, records, *timeout).await?,
        }
        Ok(self.ended(Outcome::Succeeded { outputs: Object::new(), artifacts: BTreeMap::new() }))
    }

    pub(super) async fn undo_records(&self, name: &str, records: &[Json], timeout: Option<Duration>) -> Made<()> {
        let kind = self.kind(name)?;
        let (cx, port) = self.cx()?;
        let work = async {
            let opened: Result<Vec<Json>, _> = records.iter().map(|record| opened(record, &*cx.keeper)).collect();
            undo_all(&*kind, &opened?, &cx).await
        };
        let made = self.bounded(timeout, "undo", work).await;
        port.close();
        made?.map_err(|error| self.kind_failed(ErrorReason::Exit, &error))
    }
}
