//! The step kind of an attempt: asked or applied, within its time and with what it may know.

use super::attempt::{Attempt, Control, Done, Made, Trouble};
use super::keys::Keys;
use super::port::AttemptPort;
use super::script::sleep;
use crate::kind::{AnyKind, Cx, Keeper, KindError, Observation, Port, ReadCx, Reader, SecretReader};
use crate::output::Log;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trees_core::event::{ErrorReason, Json, Object, StepError};
use trees_core::run::Job;

impl Attempt {
    /// Asks a kind without letting it change anything: a reading kind does its work, another
    /// observes.
    pub(super) async fn asks(&self, kind: &str, with: &Json, timeout: Option<Duration>) -> Made<Result<Object, KindError>> {
        let kind = self.kind(kind)?;
        if kind.info().reads_only {
            let (cx, port) = self.cx()?;
            let answer = self.bounded(timeout, "check", kind.apply(with, &cx)).await;
            self.closed(&port)?;
            return Ok(answer?.map(|out| out.as_object().cloned().unwrap_or_default()));
        }
        let observed = self.bounded(timeout, "check", kind.observe(with, &self.read_cx()?)).await?;
        Ok(match observed {
            Ok(Observation::Satisfied(out)) => Ok(out.as_object().cloned().unwrap_or_default()),
            Ok(Observation::Absent) => Err(KindError::new("it is not there")),
            Ok(Observation::Differs(changes)) => {
                let fields: Vec<String> = changes.iter().map(|c| format!("{}: {} instead of {}", c.field, c.old, c.new)).collect();
                Err(KindError::new(format!("it differs: {}", fields.join("; "))))
            }
            Ok(Observation::Anew(_)) => Err(KindError::new("it is done in each run anew, so nothing can be compared")),
            Ok(Observation::Unknown(why)) => Err(KindError::new(format!("could not tell: {why}"))),
            Err(error) => Err(error),
        })
    }

    /// Ends the log of a kind. One with holes fails a step only where the disk is to blame.
    fn closed(&self, port: &AttemptPort) -> Made<()> {
        match port.close().map(|error| self.unkept_output(&error)) {
            Some(Trouble::Disk(error)) => Err(Trouble::Disk(error)),
            Some(Trouble::Failed(..) | Trouble::Stopped) | None => Ok(()),
        }
    }

    pub(super) async fn apply(&self, name: &str, with: &Json, timeout: Option<Duration>) -> Made<Done> {
        let kind = self.kind(name)?;
        let (cx, port) = self.cx()?;
        let work = async {
            if kind.info().observes
                && let Observation::Satisfied(out) = kind.observe(with, &cx).await?
            {
                return Ok((out, true));
            }
            let out = kind.apply(with, &cx).await?;
            kind.verify(with, &out, &cx).await?;
            Ok((out, false))
        };
        let made = self.bounded(timeout, name, work).await;
        self.closed(&port)?;
        match made? {
            Ok((out, already)) => {
                let outputs = out.as_object().cloned().unwrap_or_default();
                Ok(Done { outputs, already })
            }
            Err(error) => Err(self.kind_failed(ErrorReason::Exit, &error)),
        }
    }

    /// A kind's work within its time; when asked to end it may finish what it cannot leave half-done.
    pub(super) async fn bounded<T>(
        &self,
        timeout: Option<Duration>,
        what: &str,
        work: impl Future<Output = Result<T, KindError>>,
    ) -> Made<Result<T, KindError>> {
        let mut stops = self.control.0.subscribe();
        if self.control.is_stopped() {
            return Err(Trouble::Stopped);
        }
        tokio::pin!(work);
        tokio::select! {
            made = &mut work => return Ok(made),
            _ = Control::asked(&mut stops) => {}
            () = sleep(timeout) => return Err(self.timed_out(what, timeout)),
        }
        match tokio::time::timeout(self.options.grace, work).await {
            Ok(Ok(made)) => Ok(Ok(made)),
            Ok(Err(_)) | Err(_) => Err(Trouble::Stopped),
        }
    }

    pub(super) fn kind(&self, name: &str) -> Made<Arc<dyn AnyKind>> {
        self.kinds.get(name).ok_or_else(|| self.fail(ErrorReason::Spawn, None, format!("no step kind `{name}`")))
    }

    pub(super) fn read_cx(&self) -> Made<ReadCx> {
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        let mut stops = self.control.0.subscribe();
        // Ends with the attempt: nobody can ask for its end any more then.
        tokio::spawn(async move {
            while stops.changed().await.is_ok() {
                if stops.borrow().is_some() {
                    break;
                }
            }
            token.cancel();
        });
        Ok(ReadCx {
            run: self.marks.run.clone(),
            step: self.marks.step.clone(),
            project: self.task.project.clone(),
            environment: self.task.environment.clone(),
            dir: self.task.cwd.clone(),
            state: self.store.folder().to_path_buf(),
            env: Arc::new(self.surroundings().layers().to_text()),
            cancel,
            http: Reader::new(Arc::clone(&self.client)),
            mask: self.masker.clone(),
            secrets: SecretReader::new(self.keeper()),
            left: self.left.clone(),
        })
    }

    fn keeper(&self) -> Arc<dyn Keeper> {
        let (project, environment) = (self.task.project.clone(), self.task.environment.clone());
        Arc::new(Keys { store: Arc::clone(&self.store), project, environment, turned: Arc::clone(&self.turned) })
    }

    pub(super) fn cx(&self) -> Made<(Cx, Arc<AttemptPort>)> {
        let log = Log::new(&self.folder, self.options.log_limit, self.clock);
        let port = Arc::new(AttemptPort {
            handle: self.handle.clone(),
            step: self.marks.step.clone(),
            attempt: self.marks.attempt,
            masker: self.masker.clone(),
            keeper: self.keeper(),
            log: Mutex::new(Some(log)),
        });
        let cx = Cx {
            read: self.read_cx()?,
            attempt: self.marks.attempt,
            idempotency_key: self.task.idempotency_key.clone(),
            with: Arc::new(self.with()),
            client: Arc::clone(&self.client),
            port: Arc::clone(&port) as Arc<dyn Port>,
            keeper: self.keeper(),
        };
        Ok((cx, port))
    }

    fn with(&self) -> Json {
        match &self.task.job {
            Some(Job::Uses { with, .. }) => with.clone(),
            Some(Job::Run { .. }) | None => Json::Null,
        }
    }

    pub(super) fn kind_failed(&self, reason: ErrorReason, error: &KindError) -> Trouble {
        let message = error.help.as_ref().map_or_else(|| error.message.clone(), |help| format!("{}\n{help}", error.message));
        Trouble::Failed(StepError { reason, code: None, message, log: self.log() }, !error.transient && reason != ErrorReason::Verify)
    }
}
