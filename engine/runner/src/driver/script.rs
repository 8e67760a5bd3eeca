//! The script of an attempt: started in its surroundings, watched, ended at its time or when asked.

use super::attempt::{Attempt, Control, Made, Trouble};
use super::surroundings::{OUTPUTS, Surroundings, Unset};
use crate::output;
use crate::process::{Ended, Exit, Launch, Program, Running, SpawnError, Stop};
use crate::scratch::{Scratch, SecretFiles};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use trees_core::event::{ErrorReason, Json, StepError};
use trees_core::run::Job;

impl Attempt {
    /// Runs a script to its end: how it ended, and the folder with the file behind its `$TREES_OUTPUT`.
    pub(super) async fn script(&self, job: &Job, timeout: Option<Duration>, what: &str) -> Made<(Ended, Scratch)> {
        let Job::Run { text, shell, bound } = job else { return Err(self.fail(ErrorReason::Spawn, None, "no script".into())) };
        let folder = if matches!(what, "action" | "undo") { self.folder.clone() } else { self.folder.join(what) };
        let mut scratch = self.scratch.take().map_err(|e| self.cannot_stage(&std::env::temp_dir(), &e))?;
        let secrets = self.secret_files()?;
        let output = scratch.file(OUTPUTS);
        let env = self.env(bound, &mut scratch, &output, secrets.as_ref())?;
        let launch = Launch {
            dir: self.task.cwd.clone(),
            program: Program::Script(shell.clone(), text.clone()),
            env,
            mask: self.masker.clone(),
            log_limit: self.options.log_limit,
            clock: self.clock,
            leave_running: self.task.spec().leave_running,
            marks: self.marks.clone(),
            on_line: Some(self.on_line()),
            register: Arc::clone(&self.register),
            folder,
        };
        let running = self.start(&launch).await?;
        let _running = self.room.running();
        let exit = self.watch(running, timeout, what).await?;
        if let Some(error) = exit.output.error {
            return Err(self.unkept_output(&error));
        }
        Ok((exit.ended, scratch))
    }

    /// Starts a process; where the system gives none now, once another step has ended.
    async fn start(&self, launch: &Launch) -> Made<Running> {
        let mut stops = self.control.0.subscribe();
        loop {
            self.is_ours().map_err(|error| Trouble::Failed(error, true))?;
            let error = match launch.start() {
                Ok(running) => return Ok(running),
                Err(error) => error,
            };
            if let Some(note) = self.room.refused(&error) {
                self.handle.send(super::message::Message::Note(note));
            }
            let again = error.is_transient()
                && tokio::select! {
                    again = self.room.after_another() => again,
                    _ = Control::asked(&mut stops) => return Err(Trouble::Stopped),
                };
            if !again {
                return Err(self.cannot_start(&error));
            }
        }
    }

    /// Waits for a process; ends it at its time or when asked.
    pub(super) async fn watch(&self, running: Running, timeout: Option<Duration>, what: &str) -> Made<Exit> {
        let stopper = running.stopper();
        let mut stops = self.control.0.subscribe();
        if let Some(stop) = *stops.borrow_and_update() {
            stopper.stop(stop);
        }
        let mut late = false;
        let mut asked = self.control.is_stopped();
        let wait = running.wait();
        let timer = sleep(timeout);
        tokio::pin!(wait, timer);
        let exit = loop {
            tokio::select! {
                exit = &mut wait => break exit.map_err(|e| self.fail(ErrorReason::Spawn, None, format!("its end was not told: {e}")))?,
                stop = Control::asked(&mut stops) => {
                    asked = true;
                    stopper.stop(stop);
                }
                () = &mut timer, if !late => {
                    late = true;
                    stopper.stop(Stop::Interrupt { term_after: self.options.grace, kill_after: super::perform::KILL_AFTER });
                }
            }
        };
        match (late, asked && !matches!(exit.ended, Ended::Code(0))) {
            (_, true) => Err(Trouble::Stopped),
            (true, _) => Err(self.timed_out(what, timeout)),
            (false, false) => Ok(exit),
        }
    }

    pub(super) fn env(
        &self,
        bound: &[(String, Json)],
        scratch: &mut Scratch,
        output: &Path,
        secrets: Option<&SecretFiles>,
    ) -> Made<Vec<(OsString, OsString)>> {
        self.surroundings().variables(bound, scratch, output, secrets).map_err(|e| self.unset(&e))
    }

    pub(super) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { inherited: &self.inherited, dotenv: &self.dotenv, task: &self.task, secrets: &self.secrets, marks: &self.marks }
    }

    pub(super) fn secret_files(&self) -> Made<Option<SecretFiles>> {
        self.surroundings().secret_files(&self.folder).map_err(|e| self.unset(&e))
    }

    fn unset(&self, unset: &Unset) -> Trouble {
        match unset {
            Unset::Value(message) => self.fail(ErrorReason::Spawn, None, message.clone()),
            Unset::File { path, source } => self.cannot_stage(path, source),
        }
    }

    /// The log of an attempt has holes.
    pub(super) fn unkept_output(&self, error: &io::Error) -> Trouble {
        let failed = self.fail(ErrorReason::Spawn, None, format!("its output could not be kept: {error}"));
        self.or_disk(failed, &self.folder.join(output::FILE), error)
    }

    pub(super) fn on_line(&self) -> output::OnLine {
        let (handle, step) = (self.handle.clone(), self.marks.step.clone());
        Arc::new(move |line: &str| handle.send(super::message::Message::Output { step: step.clone(), line: line.to_owned() }))
    }

    pub(super) fn cannot_start(&self, error: &SpawnError) -> Trouble {
        let failed = Trouble::Failed(StepError { reason: ErrorReason::Spawn, code: None, message: error.to_string(), log: None }, false);
        if let SpawnError::Attempt { path, source } = error { self.or_disk(failed, path, source) } else { failed }
    }
}

pub(super) async fn sleep(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}
