//! One attempt: check, action, outputs and artifacts, or only the verify. It reports once.

use super::message::{Handle, LastWord};
use super::prepare::Dotenv;
use super::secrets::Given;
use super::surroundings::OUTPUTS;
use super::{KindSet, Options};
use crate::clock::Clock;
use crate::environment::Environment;
use crate::http::Client;
use crate::identity::{Marks, Register};
use crate::kind::Observation;
use crate::mask::Masker;
use crate::process::{Ended, Stop};
use crate::room::Room;
use crate::scratch::{self, Pool, Scratch};
use crate::{files, output, outputs};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::watch;
use trees_core::event::{ArtifactRef, ErrorReason, Json, Object, StepError};
use trees_core::journal::{Hold, JournalError};
use trees_core::run::{Input, Job, Outcome, Task, Undo};
use trees_core::store::Store;
use trees_core::tree::{Effect, OnCrash};
use trees_core::units;

/// All of one attempt.
pub(super) struct Attempt {
    pub marks: Marks,
    pub task: Task,
    pub part: Part,
    pub dotenv: Dotenv,
    pub secrets: Vec<Given>,
    pub folder: PathBuf,
    pub register: Arc<Register>,
    pub inherited: Arc<Environment>,
    pub scratch: Pool,
    pub room: Arc<Room>,
    pub clock: Clock,
    /// The right to the run; none where nothing is changed.
    pub hold: Option<Arc<dyn Hold>>,
    pub masker: Masker,
    /// Told when a version of a secret was made or taken away.
    pub turned: Arc<AtomicBool>,
    pub store: Arc<dyn Store>,
    pub kinds: Arc<dyn KindSet>,
    pub client: Arc<Client>,
    pub options: Options,
    pub control: Control,
    pub handle: Handle,
    /// What the step returned, where drift is looked for.
    pub left: Option<Arc<Json>>,
}

/// How much of it is made.
pub(super) enum Part {
    /// `check`, the action, outputs.
    Action,
    /// Only the verify.
    Verify { job: Job, timeout: Option<Duration> },
    /// Only `check` or the observation.
    Check,
    /// The way back.
    Undo(Undo),
}

/// Ends an attempt from the driver's thread, and knows when it is over.
#[derive(Clone)]
pub(super) struct Control(pub(super) Arc<watch::Sender<Option<Stop>>>);

impl Default for Control {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Control {
    pub fn stop(&self, how: Stop) {
        self.0.send_replace(Some(how));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Nobody but the driver holds it any more.
    pub fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Resolves when a stop is asked for (again).
    pub(super) async fn asked(receiver: &mut watch::Receiver<Option<Stop>>) -> Stop {
        loop {
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(stop) = *receiver.borrow_and_update() {
                return stop;
            }
        }
    }
}

/// How a part of an attempt went wrong.
pub(super) enum Trouble {
    /// It failed; the flag: trying again cannot help.
    Failed(StepError, bool),
    /// It was ended as asked.
    Stopped,
    /// The disk refused what `trees` keeps of it, which is not the step's failure.
    Disk(JournalError),
}

/// How an attempt ended without an input of its own.
enum Unmade {
    Ended(Outcome),
    Disk(JournalError),
}

/// What a part gave.
pub(super) type Made<T> = Result<T, Trouble>;

/// What a job gave.
pub(super) struct Done {
    pub outputs: Object,
    /// A kind found it done.
    pub already: bool,
}

impl Attempt {
    /// Whether it is only processes: a kind may compute, and artifacts are hashed.
    pub fn is_light(&self) -> bool {
        let script = |job: &Job| matches!(job, Job::Run { .. });
        let part = match &self.part {
            Part::Verify { job, .. } => script(job),
            Part::Undo(Undo::Job { job, .. }) => return script(job),
            Part::Undo(Undo::Records { .. }) => false,
            Part::Action | Part::Check => true,
        };
        part && self.task.job.as_ref().is_none_or(script) && self.task.check.as_ref().is_none_or(script) && self.task.artifacts.is_empty()
    }

    pub async fn make(self) {
        let (step, attempt) = (self.marks.step.clone(), self.marks.attempt);
        let mut word = LastWord::new(self.handle.clone(), Input::Ended { step: step.clone(), attempt, outcome: unsaid() });
        let made = self.placed().await;
        drop(self);
        match made {
            Ok(input) => word.say(input),
            Err(Unmade::Ended(outcome)) => word.say(Input::Ended { step, attempt, outcome }),
            Err(Unmade::Disk(error)) => word.withhold(error),
        }
    }

    /// Begins where there is a place for it.
    async fn placed(&self) -> Result<Input, Unmade> {
        let mut stops = self.control.0.subscribe();
        let _place = tokio::select! {
            biased;
            place = self.room.enter() => place,
            _ = Control::asked(&mut stops) => return Err(Unmade::Ended(Outcome::Stopped)),
        };
        match self.is_ours() {
            Ok(()) => self.outcome().await,
            Err(error) => Err(Unmade::Ended(Outcome::Failed { error, permanent: true })),
        }
    }

    /// Nothing starts once the run was taken over. The next append would be refused, but this process
    /// may have been stopped for long since the last one.
    pub(super) fn is_ours(&self) -> Result<(), StepError> {
        if self.hold.as_ref().is_none_or(|hold| hold.is_ours()) {
            return Ok(());
        }
        let message = "another process has taken the run over".to_owned();
        Err(StepError { reason: ErrorReason::Interrupted, code: None, message, log: None })
    }

    async fn outcome(&self) -> Result<Input, Unmade> {
        let made = match &self.part {
            Part::Action => self.act().await,
            Part::Check => self.look().await,
            Part::Verify { job, timeout } => self.verify(job, *timeout).await,
            Part::Undo(undo) => self.undo(undo).await,
        };
        match made {
            Ok(input) => self.without_secrets(input).map_err(Unmade::Ended),
            Err(Trouble::Stopped) => Err(Unmade::Ended(Outcome::Stopped)),
            Err(Trouble::Failed(error, permanent)) => {
                let message = self.masker.mask(&error.message).into_owned();
                Err(Unmade::Ended(Outcome::Failed { error: StepError { message, ..error }, permanent }))
            }
            Err(Trouble::Disk(error)) => Err(Unmade::Disk(error)),
        }
    }

    /// Whatever a script, a check or an observation returned: a secret is never recorded.
    fn without_secrets(&self, input: Input) -> Result<Input, Outcome> {
        let returned = if let Input::ActionDone { outputs, .. } = &input {
            outputs
        } else if let Input::Ended { outcome: Outcome::Succeeded { outputs, .. } | Outcome::AlreadyDone { outputs, .. }, .. } = &input {
            outputs
        } else {
            return Ok(input);
        };
        if returned.is_empty() || !self.masker.finds(&Json::Object(returned.clone()).to_string()) {
            return Ok(input);
        }
        let message = "an output contains a secret".to_owned();
        let error = StepError { reason: ErrorReason::Output, code: None, message, log: self.log() };
        Err(Outcome::Failed { error, permanent: true })
    }

    pub(super) fn ended(&self, outcome: Outcome) -> Input {
        Input::Ended { step: self.marks.step.clone(), attempt: self.marks.attempt, outcome }
    }

    async fn act(&self) -> Made<Input> {
        if let Some(outcome) = self.checked().await.map_err(before_the_action)? {
            return Ok(self.ended(outcome));
        }
        let Some(job) = &self.task.job else { return Ok(self.ended(Outcome::NotDone)) };
        self.leave_trace()?;
        let done = self.job(job, self.task.timeout, "action").await?;
        let artifacts = self.artifacts()?;
        let outputs = done.outputs;
        if done.already {
            let text = "what it would change is as it should be".into();
            return Ok(self.ended(Outcome::AlreadyDone { code: "no_change", text, outputs, artifacts }));
        }
        if self.task.has_verify {
            return Ok(Input::ActionDone { step: self.marks.step.clone(), attempt: self.marks.attempt, outputs, artifacts });
        }
        Ok(self.ended(Outcome::Succeeded { outputs, artifacts }))
    }

    /// Of what must not be repeated unasked the folder of the attempt tells that it was begun, should its record be lost.
    pub(super) fn leave_trace(&self) -> Made<()> {
        let spec = self.task.spec();
        if spec.effect != Effect::External && !matches!(spec.on_crash, OnCrash::Ask | OnCrash::Fail) {
            return Ok(());
        }
        let wrong = |error| format!("the folder of the attempt, {}, cannot be made: {error}", self.folder.display());
        std::fs::create_dir_all(&self.folder).map_err(|error| self.fail(ErrorReason::Spawn, None, wrong(error)))
    }

    /// What `check` says: an outcome where it is done.
    pub(super) async fn checked(&self) -> Made<Option<Outcome>> {
        let Some(check) = &self.task.check else { return Ok(None) };
        let outputs = match check {
            Job::Run { .. } => {
                let (code, written) = self.script(check, self.task.timeout, "check").await?;
                match code {
                    Ended::Code(0) => self.outputs(&written)?,
                    Ended::Code(1) => return Ok(None),
                    other => {
                        let message = format!("check {}; 0 means done, 1 not done", ended(other));
                        return Err(self.says_no("check", other, message));
                    }
                }
            }
            Job::Uses { kind, with } => match self.asks(kind, with, self.task.timeout).await? {
                Ok(outputs) => outputs,
                Err(_) => return Ok(None),
            },
        };
        let text = "its check says that it is done".into();
        Ok(Some(Outcome::AlreadyDone { code: "check", text, outputs, artifacts: self.artifacts()? }))
    }

    /// Only looks: for an unknown outcome, or before a sub-tree.
    async fn look(&self) -> Made<Input> {
        if self.task.check.is_some() {
            return Ok(self.ended(self.checked().await.map_err(before_the_action)?.unwrap_or(Outcome::NotDone)));
        }
        let Some(Job::Uses { kind, with }) = &self.task.job else { return Ok(self.ended(Outcome::NotDone)) };
        let kind = self.kind(kind)?;
        let observed = self.bounded(self.task.timeout, "observation", kind.observe(with, &self.read_cx()?)).await?;
        let outcome = match observed {
            Ok(Observation::Satisfied(outputs)) => {
                let outputs = outputs.as_object().cloned().unwrap_or_default();
                Outcome::AlreadyDone { code: "no_change", text: "it is as it should be".into(), outputs, artifacts: self.artifacts()? }
            }
            Ok(Observation::Differs(_) | Observation::Absent | Observation::Anew(_) | Observation::Unknown(_)) => Outcome::NotDone,
            Err(error) => return Err(self.kind_failed(ErrorReason::Exit, &error)),
        };
        Ok(self.ended(outcome))
    }

    async fn verify(&self, job: &Job, timeout: Option<Duration>) -> Made<Input> {
        match job {
            Job::Run { .. } => {
                let (code, _) = self.script(job, timeout, "verify").await?;
                if code != Ended::Code(0) {
                    return Err(self.says_no("verify", code, format!("verify {}", ended(code))));
                }
            }
            Job::Uses { kind, with } => {
                if let Err(error) = self.asks(kind, with, timeout).await? {
                    let Trouble::Failed(error, permanent) = self.kind_failed(ErrorReason::Verify, &error) else {
                        return Err(Trouble::Stopped);
                    };
                    return Err(Trouble::Failed(StepError { message: format!("verify: {}", error.message), ..error }, permanent));
                }
            }
        }
        Ok(self.ended(Outcome::Succeeded { outputs: Object::new(), artifacts: BTreeMap::new() }))
    }

    pub(super) async fn job(&self, job: &Job, timeout: Option<Duration>, what: &str) -> Made<Done> {
        match job {
            Job::Run { .. } => {
                let (code, written) = self.script(job, timeout, what).await?;
                self.judge(code)?;
                Ok(Done { outputs: self.outputs(&written)?, already: false })
            }
            Job::Uses { kind, with } => self.apply(kind, with, timeout).await,
        }
    }

    fn judge(&self, code: Ended) -> Made<()> {
        match code {
            Ended::Code(code) if self.task.spec().exit.ok.contains(&code) => Ok(()),
            Ended::Code(_) => Err(self.fail(ErrorReason::Exit, code_of(code), ended(code))),
            Ended::Signal(_) => Err(self.fail(ErrorReason::Signal, code_of(code), ended(code))),
        }
    }

    pub(super) fn outputs(&self, written: &Scratch) -> Made<Object> {
        let declared = self.task.spec().outputs.as_deref();
        let path = written.path(OUTPUTS);
        let wrong = |e: String| self.fail(ErrorReason::Output, None, e);
        // What stands there the step has made, a link to a device too: that it cannot be read is its failure.
        let unread = |e: io::Error| wrong(format!("cannot read {}: {e}", path.display()));
        outputs::parse(&outputs::content(&path).map_err(unread)?, declared, &self.masker).map_err(|e| wrong(e.to_string()))
    }

    pub(super) fn timed_out(&self, what: &str, timeout: Option<Duration>) -> Trouble {
        let spec = self.task.spec();
        let message = match spec.deadline {
            Some(deadline) if timeout == self.task.timeout && timeout != spec.timeout => {
                format!("the step's deadline of {} passed while the {what} ran", units::show(deadline))
            }
            Some(_) | None => format!("{what} took longer than {}", timeout.map(units::show).unwrap_or_default()),
        };
        self.fail(ErrorReason::Timeout, None, message)
    }

    /// Keeps the declared artifacts by content.
    fn artifacts(&self) -> Made<BTreeMap<String, ArtifactRef>> {
        let mut kept = BTreeMap::new();
        for (name, path, optional) in &self.task.artifacts {
            let wrong = |e: String| self.fail(ErrorReason::Output, None, format!("artifact `{name}`: {e}"));
            let from = files::artifact(&self.task.dir, path).map_err(wrong)?;
            if !from.exists() {
                if *optional {
                    continue;
                }
                return Err(wrong(format!("{path} is not there; write it, or say `optional: true`")));
            }
            let betrayed = files::betrayed(&from, &self.masker).map_err(|e| wrong(format!("cannot read {path}: {e}")))?;
            if let Some(file) = betrayed {
                let file = Path::new(path).join(file);
                return Err(wrong(format!("{} holds a secret, in its name or in it: artifacts are kept unsealed", file.display())));
            }
            let unkept = |e: JournalError| if e.ends_the_sitting() { Trouble::Disk(e) } else { wrong(e.to_string()) };
            kept.insert(name.clone(), self.store.keep(&from, path).map_err(unkept)?);
        }
        Ok(kept)
    }

    pub(super) fn fail(&self, reason: ErrorReason, code: Option<i32>, message: String) -> Trouble {
        Trouble::Failed(StepError { reason, code, message, log: self.log() }, reason == ErrorReason::Output)
    }

    /// What a script that looks says, with what it wrote.
    fn says_no(&self, what: &str, code: Ended, message: String) -> Trouble {
        let error = StepError { reason: ErrorReason::Verify, code: code_of(code), message, log: self.log_in(&self.folder.join(what)) };
        Trouble::Failed(error, false)
    }

    /// What is staged for the step cannot be.
    pub(super) fn cannot_stage(&self, path: &Path, error: &io::Error) -> Trouble {
        let failed = self.fail(ErrorReason::Spawn, None, format!("cannot write {}: {error}", path.display()));
        match self.or_disk(failed, path, error) {
            failed @ Trouble::Failed(..) => scratch::refused(path, error).map_or(failed, Trouble::Disk),
            other @ (Trouble::Disk(_) | Trouble::Stopped) => other,
        }
    }

    /// What went wrong as a file was written, unless the disk of the state is to blame for it.
    pub(super) fn or_disk(&self, failed: Trouble, path: &Path, error: &io::Error) -> Trouble {
        let disk = JournalError::of_disk(self.store.folder(), path, &format!("writing {} failed", path.display()), error);
        disk.map_or(failed, Trouble::Disk)
    }

    /// The log, relative to the state folder, where there is one.
    pub(super) fn log(&self) -> Option<String> {
        self.log_in(&self.folder)
    }

    fn log_in(&self, folder: &Path) -> Option<String> {
        let log = folder.join(output::FILE);
        let inside = log.strip_prefix(self.store.folder()).unwrap_or(&log);
        log.exists().then(|| inside.to_string_lossy().into_owned())
    }
}

/// An attempt that never said how it ended: nobody knows what it did.
fn unsaid() -> Outcome {
    let message = "a bug in trees broke the attempt off; its outcome is unknown".to_owned();
    Outcome::Failed { error: StepError { reason: ErrorReason::Interrupted, code: None, message, log: None }, permanent: true }
}

/// A check that took too long or was killed says nothing of the action, which has not begun.
fn before_the_action(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Failed(error, permanent) if matches!(error.reason, ErrorReason::Timeout | ErrorReason::Signal | ErrorReason::Output) => {
            Trouble::Failed(StepError { reason: ErrorReason::Verify, ..error }, permanent)
        }
        other @ (Trouble::Failed(..) | Trouble::Stopped | Trouble::Disk(_)) => other,
    }
}

pub(super) fn code_of(ended: Ended) -> Option<i32> {
    match ended {
        Ended::Code(code) | Ended::Signal(code) => Some(code),
    }
}

pub(super) fn ended(ended: Ended) -> String {
    match ended {
        Ended::Code(code) => format!("exited with {code}"),
        Ended::Signal(signal) => format!("was ended by signal {signal}"),
    }
}
