//! Effects, performed once their events are durable: launches and stops of attempts; what a former
//! sitting left is ended.

use super::attempt::{Attempt, Control, Part};
use super::{DriveError, LOOK, Sitting};
use crate::environment::Environment;
use crate::identity::Marks;
use crate::leftovers;
use crate::process::Stop;
use crate::scratch;
use std::sync::Arc;
use std::time::Duration;
use trees_core::event::{ErrorReason, StepError};
use trees_core::journal::JournalError;
use trees_core::path::StepPath;
use trees_core::run::{Effect, Input, Mode, Outcome, Task, Why};
use trees_core::store::undo_folder;
use trees_points::{Point, hit};

/// From SIGTERM to SIGKILL, as the command line's contract says.
pub(super) const KILL_AFTER: Duration = Duration::from_secs(5);

impl Sitting {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Launch { step, attempt, mode } => self.launch(step, attempt, mode),
            Effect::Stop { step, why, .. } => self.stop(&step, why),
            Effect::Prepare { .. } | Effect::Lock { .. } | Effect::Unlock { .. } => {}
        }
    }

    pub(super) fn lock(&mut self, name: String) -> Result<Option<Input>, JournalError> {
        self.locks.take(name, self.setup.store.as_ref(), self.hold.run()).map(Some)
    }

    fn launch(&mut self, step: StepPath, attempt: u32, mode: Mode) {
        let control = Control::default();
        self.attempts.insert(step.clone(), control.clone());
        match self.attempt(&step, attempt, mode, control) {
            Ok(attempt) if attempt.is_light() => drop(tokio::spawn(attempt.make())),
            Ok(attempt) => drop(self.workers.spawn(attempt.make())),
            Err(error) => {
                let error = StepError { message: self.masker.mask(&error.message).into_owned(), ..error };
                self.handle.input(Input::Ended { step, attempt, outcome: Outcome::Failed { error, permanent: true } });
            }
        }
    }

    fn attempt(&mut self, step: &StepPath, attempt: u32, mode: Mode, control: Control) -> Result<Attempt, StepError> {
        let task = self.task(step)?;
        let dotenv = self.dotenv_of(&task).map_err(failed)?;
        let inherited = self.inherited_by(&task);
        let (source, environment, names) = self.run.secret_names(step);
        let part = match mode {
            Mode::Action => Part::Action,
            Mode::Check => Part::Check,
            Mode::Verify => {
                let outputs = self.run.recorded_outputs(step);
                let values = self.vault.values(source, &environment, &names);
                let (job, timeout) = self.run.verify_job(step, &outputs, &values)?.ok_or_else(|| failed("no verify is declared".into()))?;
                Part::Verify { job, timeout }
            }
            Mode::Undo => {
                let values = self.vault.values(source, &environment, &names);
                Part::Undo(self.run.undo_of(step, &values)?)
            }
        };
        let folder = self.setup.store.attempt_folder(self.hold.run(), step, attempt).map_err(|e| failed(e.to_string()))?;
        // Each try of the way back has a log of its own.
        let folder = if mode == Mode::Undo { undo_folder(&folder, self.run.undo_number(step)) } else { folder };
        Ok(Attempt {
            marks: Marks { run: self.hold.run().clone(), step: step.clone(), attempt },
            secrets: self.vault.given(source, &environment, &task.secrets),
            part,
            left: None,
            dotenv,
            task,
            register: Arc::clone(&self.register),
            inherited,
            scratch: self.scratch.clone(),
            room: Arc::clone(&self.room),
            clock: self.clock,
            hold: Some(Arc::clone(&self.hold)),
            folder,
            masker: self.masker.clone(),
            turned: Arc::clone(&self.turned),
            store: Arc::clone(&self.setup.store),
            kinds: Arc::clone(&self.setup.kinds),
            client: Arc::clone(&self.client),
            options: self.setup.options.clone(),
            control,
            handle: self.handle.clone(),
        })
    }

    /// What the step gets of our own environment, looked at once a sitting.
    fn inherited_by(&mut self, task: &Task) -> Arc<Environment> {
        if let Some(known) = self.inherited.get(&task.env_pass) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(Environment::inherited(std::env::vars_os(), &task.env_pass));
        self.inherited.insert(task.env_pass.clone(), Arc::clone(&fresh));
        fresh
    }

    fn stop(&mut self, step: &StepPath, why: Why) {
        let how = match why {
            Why::Interrupt | Why::Cancel | Why::Timeout => self.gently(),
        };
        if let Some(control) = self.attempts.get(step) {
            control.stop(how);
        }
    }

    fn gently(&self) -> Stop {
        match self.signals {
            0 | 1 => Stop::Interrupt { term_after: self.setup.options.grace, kill_after: KILL_AFTER },
            2 => Stop::Terminate { kill_after: KILL_AFTER },
            _ => Stop::Kill,
        }
    }

    /// A second and third signal overtake what was asked before.
    pub(super) fn escalate(&mut self) {
        if self.signals > 1 {
            let how = self.gently();
            self.attempts.values().for_each(|c| c.stop(how));
        }
    }

    /// Ends what attempts left running when the engine died.
    pub(super) async fn end_leftovers(&mut self) -> Result<(), DriveError> {
        let running = self.run.running();
        if running.is_empty() {
            return Ok(());
        }
        hit(Point::BeforeLeftovers);
        let run = self.hold.run().clone();
        let attempts: Vec<Marks> = running.into_iter().map(|(step, attempt)| Marks { run: run.clone(), step, attempt }).collect();
        leftovers::end_attempts(&run, &attempts, self.register.path(), self.setup.options.grace.min(KILL_AFTER)).await?;
        hit(Point::AfterLeftovers);
        scratch::sweep(self.hold.run());
        Ok(())
    }

    /// The sitting is over. Where it broke off, what still runs is ended first; its outcome is
    /// found by the resume.
    pub(super) async fn abandon(mut self) {
        // Kinds that wait for their intents hear that nothing was recorded.
        self.pending.clear();
        for control in self.attempts.values() {
            control.stop(Stop::Terminate { kill_after: KILL_AFTER });
        }
        let until = std::time::Instant::now() + self.setup.options.grace + KILL_AFTER * 2;
        while !self.attempts.is_empty() && std::time::Instant::now() < until {
            self.attempts.retain(|_, control| !control.is_over());
            tokio::time::sleep(LOOK / 20).await;
        }
        self.scratch.tidied().await;
    }
}

fn failed(message: String) -> StepError {
    StepError { reason: ErrorReason::Spawn, code: None, message, log: None }
}
