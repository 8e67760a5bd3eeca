//! What the end of a prepare or an attempt means: success, another try, failure, a question.

use super::input::{Outcome, Prepared};
use super::state::{Halt, NodeId, Stage};
use super::words;
use super::{Effect, IllegalEvent, Mode, Run, Why};
use crate::event::{ArtifactRef, ErrorReason, EventKind, Json, Object, StepError, StepStatus, WaitFor};
use crate::path::StepPath;
use crate::tree::{Action, OnCrash, Retry, RetryOn};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of all outputs of a run.
const OUTPUTS: u64 = 16 << 20;

type Settled = Result<(), IllegalEvent>;

impl Run {
    pub(super) fn prepared(&mut self, step: &StepPath, result: Result<Box<Prepared>, StepError>, now: Timestamp) -> Settled {
        let Some(id) = self.find(step).filter(|id| self.node(*id).stage == Stage::Preparing) else { return Ok(()) };
        if self.node(id).suspect {
            return self.compared(id, result, now);
        }
        if self.interrupting || self.halted(id).is_some() {
            self.release(id);
            return match self.halted(id) {
                Some(halt) if !self.interrupting => self.end_halted(id, halt, now),
                _ => {
                    self.requeue(id);
                    Ok(())
                }
            };
        }
        match result {
            Err(error) => {
                self.release(id);
                self.emit(now, Some(id), EventKind::StepFailed { error })
            }
            Ok(prepared) => self.begin_prepared(id, *prepared, now),
        }
    }

    fn begin_prepared(&mut self, id: NodeId, prepared: Prepared, now: Timestamp) -> Settled {
        if let Some(cached) = prepared.cached {
            self.release(id);
            let kind = EventKind::StepCached {
                reason: cached.reason,
                outputs: cached.outputs,
                artifacts: cached.artifacts,
                digests: Some(prepared.digests),
            };
            return self.emit(now, Some(id), kind);
        }
        if self.remaining(id) == Some(Duration::ZERO) {
            self.release(id);
            let limit = self.spec(id).deadline.map(crate::units::show).unwrap_or_default();
            let message = format!("its deadline of {limit} passed before an attempt could begin");
            return self.fail_finally(id, StepError { reason: ErrorReason::Timeout, code: None, message, log: None }, now);
        }
        let key = self.idempotency_key(id);
        self.emit(now, Some(id), EventKind::StepStarted { digests: Some(prepared.digests), idempotency_key: Some(key) })?;
        let unknown = self.node(id).more.as_ref().is_some_and(|m| m.unknown.is_some());
        self.launched(id, if unknown { Mode::Check } else { Mode::Action });
        Ok(())
    }

    /// Back to where it came from; only before anything was recorded of the attempt.
    fn requeue(&mut self, id: NodeId) {
        if self.node(id).status == StepStatus::Ready {
            self.set(id, StepStatus::Pending);
        }
    }

    pub(super) fn intended(&mut self, step: &StepPath, attempt: u32, record: Json, now: Timestamp) -> Settled {
        match self.living(step, attempt) {
            Some(id) => self.emit(now, Some(id), EventKind::IntentRecorded { record }),
            None => Ok(()),
        }
    }

    pub(super) fn action_done(
        &mut self,
        step: &StepPath,
        attempt: u32,
        outputs: Object,
        artifacts: BTreeMap<String, ArtifactRef>,
        now: Timestamp,
    ) -> Settled {
        let Some(id) = self.living(step, attempt) else { return Ok(()) };
        if let Some(error) = self.too_much(&outputs) {
            return self.ended(step, attempt, Outcome::Failed { error, permanent: true }, now);
        }
        self.emit(now, Some(id), EventKind::ActionSucceeded { outputs, artifacts })?;
        self.ask(Effect::Launch { step: step.clone(), attempt, mode: Mode::Verify });
        if self.node(id).stage == Stage::Stopping {
            self.ask(Effect::Stop { step: step.clone(), attempt, why: self.why(id) });
        }
        Ok(())
    }

    /// The node of an attempt that is under way; late words about others are not heard.
    fn living(&self, step: &StepPath, attempt: u32) -> Option<NodeId> {
        let active = |id: &NodeId| {
            let node = self.node(*id);
            node.attempt == attempt && matches!(node.stage, Stage::Active | Stage::Stopping)
        };
        self.find(step).filter(active)
    }

    pub(super) fn ended(&mut self, step: &StepPath, attempt: u32, outcome: Outcome, now: Timestamp) -> Settled {
        let Some(id) = self.living(step, attempt) else { return Ok(()) };
        let stopped = self.node(id).stage == Stage::Stopping;
        if self.node(id).status == StepStatus::Undoing {
            return self.undo_ended(id, outcome, now);
        }
        match outcome {
            Outcome::NotDone if self.is_tree(id) => {
                self.stage(id, Stage::Inside);
                if let Some(child) = self.node(id).child {
                    self.activate(child);
                }
                self.time_tree(id, now);
                return Ok(());
            }
            Outcome::Stopped => self.stopped(id, now),
            Outcome::Succeeded { outputs, artifacts } => self.succeeded(id, outputs, artifacts, now),
            Outcome::AlreadyDone { code, text, outputs, artifacts } => self.already_done(id, code, text, outputs, artifacts, now),
            Outcome::NotDone => self.not_done(id, now),
            Outcome::Failed { error, .. } if stopped && self.interrupting && error.reason != ErrorReason::Verify => {
                self.interrupted(id, error, now)
            }
            Outcome::Failed { error, permanent } => self.failed(id, error, permanent, now),
        }?;
        self.release(id);
        Ok(())
    }

    fn succeeded(&mut self, id: NodeId, outputs: Object, artifacts: BTreeMap<String, ArtifactRef>, now: Timestamp) -> Settled {
        let recorded = self.node(id).more.as_ref().and_then(|m| m.action.clone());
        let (outputs, artifacts) = match recorded {
            Some(product) => (product.outputs, product.artifacts),
            None => match self.too_much(&outputs) {
                Some(error) => return self.failed(id, error, true, now),
                None => (Json::Object(outputs), artifacts),
            },
        };
        let outputs = if outputs.as_object().is_some_and(Object::is_empty) { Json::Null } else { outputs };
        self.emit(now, Some(id), EventKind::StepSucceeded { outputs, artifacts })
    }

    /// The error where all outputs of the run would be more than it may keep.
    fn too_much(&self, outputs: &Object) -> Option<StepError> {
        let more: u64 = outputs.iter().map(|(name, value)| name.len() as u64 + super::apply::volume(value)).sum();
        let message = "the outputs of the run would be more than 16 MiB in all: keep large results as `artifacts`".to_owned();
        (self.volume + more > OUTPUTS).then_some(StepError { reason: ErrorReason::Output, code: None, message, log: None })
    }

    fn already_done(
        &mut self,
        id: NodeId,
        code: &str,
        text: String,
        outputs: Object,
        artifacts: BTreeMap<String, ArtifactRef>,
        now: Timestamp,
    ) -> Settled {
        if self.node(id).attempt > 1 {
            return self.succeeded(id, outputs, artifacts, now);
        }
        let reason = self.reason(id, code, text);
        let outputs = if outputs.is_empty() { Json::Null } else { Json::Object(outputs) };
        self.emit(now, Some(id), EventKind::StepCached { reason, outputs, artifacts, digests: None })
    }

    /// An unknown outcome was looked at: it is not done, so what was known of it stands.
    fn not_done(&mut self, id: NodeId, now: Timestamp) -> Settled {
        let unknown = self.node(id).more.as_ref().and_then(|m| m.unknown.clone());
        let error =
            unknown.unwrap_or_else(|| StepError { reason: ErrorReason::Verify, code: None, message: "it is not done".into(), log: None });
        self.fail_finally(id, error, now)
    }

    fn stopped(&mut self, id: NodeId, now: Timestamp) -> Settled {
        let error = |reason: ErrorReason, message: &str| StepError { reason, code: None, message: message.into(), log: None };
        if self.interrupting {
            return self.interrupted(id, error(ErrorReason::Interrupted, "ended by a signal to trees; its outcome is unknown"), now);
        }
        match self.halted(id) {
            Some(Halt::Late) => self.failed(id, error(ErrorReason::Timeout, words::LATE), true, now),
            _ if self.is_external(id) => {
                self.interrupted(id, error(ErrorReason::Interrupted, "ended by a cancel; its outcome is unknown"), now)
            }
            _ => {
                let reason = self.reason(id, "cancelled", "ended by a cancel");
                self.emit(now, Some(id), EventKind::StepCancelled { reason })
            }
        }
    }

    fn interrupted(&mut self, id: NodeId, error: StepError, now: Timestamp) -> Settled {
        let error = StepError { reason: ErrorReason::Interrupted, ..error };
        self.emit(now, Some(id), EventKind::StepInterrupted { error })
    }

    pub(super) fn is_external(&self, id: NodeId) -> bool {
        self.spec(id).effect == crate::tree::Effect::External
    }

    /// A failed attempt: a skip, an unknown outcome, another try, or the end.
    pub(super) fn failed(&mut self, id: NodeId, error: StepError, permanent: bool, now: Timestamp) -> Settled {
        let code = error.code.filter(|_| error.reason == ErrorReason::Exit);
        if code.is_some_and(|c| self.spec(id).exit.skip.contains(&c)) {
            let reason = self.reason(id, "exit", words::skips(code.unwrap_or_default()));
            return self.emit(now, Some(id), EventKind::StepSkipped { reason });
        }
        if self.is_unknown(id, &error) {
            return self.unknown(id, error, now);
        }
        if !permanent && self.may_retry(id, &error) {
            return self.try_again(id, error, now);
        }
        self.fail_finally(id, error, now)
    }

    pub(super) fn fail_finally(&mut self, id: NodeId, error: StepError, now: Timestamp) -> Settled {
        let kind = match error.reason {
            ErrorReason::Timeout => EventKind::StepTimedOut { error },
            ErrorReason::Exit
            | ErrorReason::Signal
            | ErrorReason::Spawn
            | ErrorReason::Verify
            | ErrorReason::Output
            | ErrorReason::Interrupted => EventKind::StepFailed { error },
        };
        self.emit(now, Some(id), kind)
    }

    /// On an external step a timeout or signal is an unknown outcome, unless the step lists it.
    pub(super) fn is_unknown(&self, id: NodeId, error: &StepError) -> bool {
        let spec = self.spec(id);
        let verified = self.node(id).more.as_ref().is_some_and(|m| m.action.is_some());
        let vague = matches!(error.reason, ErrorReason::Timeout | ErrorReason::Signal | ErrorReason::Interrupted);
        let named = |on: &RetryOn| *on != RetryOn::Failure && matches(*on, error);
        let listed = spec.retry.on_explicit && spec.retry.on.iter().any(named);
        vague && self.is_external(id) && !verified && !listed && !self.is_tree(id)
    }

    fn unknown(&mut self, id: NodeId, error: StepError, now: Timestamp) -> Settled {
        let spec = self.spec(id);
        let more_tries = self.node(id).tries < spec.retry.attempts && self.halted(id).is_none();
        let looked = self.node(id).more.as_ref().is_some_and(|m| m.unknown.is_some());
        match spec.on_crash {
            OnCrash::Rerun | OnCrash::Check if more_tries => self.try_again(id, error, now),
            OnCrash::Check if !looked && self.halted(id).is_none() => {
                self.emit(now, Some(id), EventKind::AttemptFailed { error, retry_at: now })
            }
            OnCrash::Rerun | OnCrash::Check | OnCrash::Fail => self.fail_finally(id, error, now),
            OnCrash::Ask => {
                self.emit(now, Some(id), EventKind::StepInterrupted { error })?;
                if self.node(id).counted { Ok(()) } else { self.ask_decision(id, now) }
            }
            // Once it is taken back it is tried again; where no try is left it has failed.
            OnCrash::UndoFirst if more_tries => {
                self.emit(now, Some(id), EventKind::StepInterrupted { error })?;
                self.todo.push_back(id);
                Ok(())
            }
            OnCrash::UndoFirst => self.fail_finally(id, error, now),
        }
    }

    /// Whether only a person (or `on_crash: fail`) can say what became of an attempt.
    pub(super) fn is_in_doubt(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let (undecided, recorded) = node.more.as_ref().map_or((false, false), |m| (m.undecided, m.action.is_some()));
        let unknown = node.status == StepStatus::Interrupted || (node.status == StepStatus::Waiting && undecided);
        let settled = match self.spec(id).on_crash {
            OnCrash::Rerun | OnCrash::Check | OnCrash::UndoFirst => true,
            OnCrash::Ask | OnCrash::Fail => recorded || self.is_tree(id),
        };
        unknown && !settled
    }

    pub(super) fn ask_decision(&mut self, id: NodeId, now: Timestamp) -> Settled {
        let on = format!("whether {} happened: trees resolve {} {} --done|--retry|--fail", self.node(id).path, self.id, self.node(id).path);
        self.emit(now, Some(id), EventKind::StepWaiting { what: WaitFor::Decision, on })
    }

    fn may_retry(&self, id: NodeId, error: &StepError) -> bool {
        let spec = self.spec(id);
        if self.node(id).tries >= spec.retry.attempts || self.halted(id).is_some() || self.interrupting {
            return false;
        }
        let code = error.code.filter(|_| error.reason == ErrorReason::Exit);
        if code.is_some_and(|c| spec.exit.retry.contains(&c)) {
            return true;
        }
        let never = code.is_some_and(|c| c == 126 || c == 127);
        spec.retry.on.iter().any(|on| matches(*on, error) && (!never || matches!(on, RetryOn::Exit(_))))
    }

    fn try_again(&mut self, id: NodeId, error: StepError, now: Timestamp) -> Settled {
        let delay = self.delay(id);
        if self.remaining(id).is_some_and(|left| left <= delay) {
            let message = format!("{}; its deadline leaves no time for another try", error.message);
            return self.emit(now, Some(id), EventKind::StepTimedOut { error: StepError { message, ..error } });
        }
        let retry_at = now.checked_add(delay).unwrap_or(now);
        self.emit(now, Some(id), EventKind::AttemptFailed { error, retry_at })
    }

    /// What is left of the step's deadline, in driven time.
    pub(super) fn remaining(&self, id: NodeId) -> Option<Duration> {
        let begun = self.node(id).more.as_ref().and_then(|m| m.begun).unwrap_or(self.clock.driven);
        self.spec(id).deadline.map(|d| (begun + d).saturating_sub(self.clock.driven))
    }

    /// min(max_delay, delay·factor^(k-1)) · uniform(1-jitter, 1+jitter); the draw comes from the
    /// run, the step and the attempt, so that it is the same in every replay.
    fn delay(&self, id: NodeId) -> Duration {
        self.delay_after(id, &self.spec(id).retry, self.node(id).tries)
    }

    pub(super) fn delay_after(&self, id: NodeId, retry: &Retry, tries: u32) -> Duration {
        let node = self.node(id);
        let k = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = retry.delay.as_secs_f64() * retry.factor.max(1.0).powi(k);
        let capped = retry.max_delay.map_or(grown, |max| grown.min(max.as_secs_f64()));
        let digest = crate::hash::bytes(format!("{}\n{}\n{}", self.id, node.path, node.attempt).as_bytes());
        let draw = f64::from(u32::from_str_radix(&digest[..8], 16).unwrap_or(0)) / f64::from(u32::MAX);
        let seconds = capped * (1.0 + retry.jitter * (2.0 * draw - 1.0));
        Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).unwrap_or_default()
    }

    /// Retries, expiries and limits whose time has come.
    pub(super) fn wake(&mut self, now: Timestamp) -> Settled {
        while let Some((at, id)) = self.retries.first().copied().filter(|(at, _)| *at <= now) {
            self.retries.remove(&(at, id));
            let idle = self.node(id).stage == Stage::Idle;
            match self.node(id).status {
                StepStatus::RetryWait => self.retry(id, now),
                StepStatus::Undoing if idle => self.queue_undo(id),
                _ => {}
            }
        }
        while let Some((at, id)) = self.limits.first().copied().filter(|(at, _)| *at <= now) {
            self.limits.remove(&(at, id));
            if self.node(id).status == StepStatus::Waiting {
                self.expire(id, now)?;
            } else if self.is_inside(id) {
                self.time_out_tree(id, now)?;
            }
        }
        Ok(())
    }

    fn expire(&mut self, id: NodeId, now: Timestamp) -> Settled {
        self.emit(now, Some(id), EventKind::ApprovalExpired)?;
        let error = StepError { reason: ErrorReason::Timeout, code: None, message: "nobody answered in time".into(), log: None };
        self.emit(now, Some(id), EventKind::StepTimedOut { error })
    }

    fn time_out_tree(&mut self, id: NodeId, now: Timestamp) -> Settled {
        if let Some(child) = self.node(id).child {
            self.scopes[child as usize].halt.get_or_insert(Halt::Late);
            self.sweep(child, now)?;
        }
        Ok(())
    }

    /// Asks for the end of an attempt, once.
    pub(super) fn stop(&mut self, id: NodeId, why: Why) {
        if self.node(id).stage != Stage::Active {
            return;
        }
        self.stage(id, Stage::Stopping);
        let (step, attempt) = (self.node(id).path.clone(), self.node(id).attempt);
        self.ask(Effect::Stop { step, attempt, why });
    }

    fn why(&self, id: NodeId) -> Why {
        match self.halted(id) {
            _ if self.interrupting => Why::Interrupt,
            Some(Halt::Late) => Why::Timeout,
            Some(Halt::Stopped | Halt::Failing | Halt::Cancelled | Halt::RolledBack) | None => Why::Cancel,
        }
    }

    pub(super) fn stop_all(&mut self, why: Why) {
        let active: Vec<NodeId> = (0..super::tables::index(self.nodes.len())).filter(|id| self.node(*id).stage == Stage::Active).collect();
        for id in active {
            self.stop(id, why);
        }
    }

    /// Whether the action of a step is a process or a kind (a leaf that holds a place).
    pub(super) fn is_leaf(&self, id: NodeId) -> bool {
        let instance_or_single = self.node(id).group.is_some() || self.spec(id).fan_out.is_none();
        instance_or_single && matches!(self.spec(id).action, Action::Run(_) | Action::Uses { .. })
    }
}

fn matches(on: RetryOn, error: &StepError) -> bool {
    let exit = error.code.filter(|_| error.reason == ErrorReason::Exit);
    match on {
        RetryOn::Failure => !matches!(error.reason, ErrorReason::Timeout | ErrorReason::Spawn | ErrorReason::Interrupted),
        RetryOn::Timeout => error.reason == ErrorReason::Timeout,
        RetryOn::Spawn => error.reason == ErrorReason::Spawn,
        RetryOn::Exit(code) => exit == Some(code),
        RetryOn::Signal(signal) => (error.reason == ErrorReason::Signal && error.code == Some(signal)) || exit == Some(128 + signal),
    }
}
