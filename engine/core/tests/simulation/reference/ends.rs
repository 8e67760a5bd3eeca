//! How steps end: attempts by what the world said of them, fan-outs and sub-trees by their parts, the run by all.

use super::verdict::Verdict;
use super::written::containers;
use super::{Halt, Judged, Reference, ensure};
use crate::facts::{End, Word};
use trees_core::event::{ErrorReason, Event, EventKind, RunStatus, StepStatus};

/// What must follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Then {
    Succeeded,
    Cached,
    Skipped,
    Failed,
    TimedOut,
    Cancelled,
    Interrupted,
    Again,
    Acted,
    Blocked,
}

fn then(kind: &EventKind) -> Option<Then> {
    Some(match kind {
        EventKind::StepSucceeded { .. } => Then::Succeeded,
        EventKind::StepCached { .. } => Then::Cached,
        EventKind::StepSkipped { .. } => Then::Skipped,
        EventKind::StepFailed { .. } => Then::Failed,
        EventKind::StepTimedOut { .. } => Then::TimedOut,
        EventKind::StepCancelled { .. } => Then::Cancelled,
        EventKind::StepInterrupted { .. } => Then::Interrupted,
        EventKind::AttemptFailed { .. } => Then::Again,
        EventKind::ActionSucceeded { .. } => Then::Acted,
        EventKind::StepBlocked { .. } => Then::Blocked,
        _ => return None,
    })
}

impl Reference<'_> {
    pub(super) fn ends(&mut self, event: &Event, path: &str) -> Judged {
        let Some(now) = then(&event.kind) else { return Err("it has no place here".into()) };
        let status = self.seen(path).status;
        let begins = event.seq > self.sitting && self.seen(path).since < self.sitting;
        let expected = match status {
            _ if now == Then::Interrupted && begins && !self.written.is_whole(path) && self.seen(path).since > 0 => {
                vec![Then::Interrupted]
            }
            StepStatus::Running if self.written.is_whole(path) => vec![self.fan_end(path)?],
            StepStatus::Running if self.written.is_tree(path) && self.end_of(event, path).is_none_or(|e| e == End::NotDone) => {
                self.tree_end(event, path)?
            }
            StepStatus::Running => self.attempt_end(event, path, now)?,
            StepStatus::Undoing => self.undo_first_end(event, path)?,
            StepStatus::Waiting if self.written.is_approval(path) => self.question_end(event, path),
            StepStatus::Pending | StepStatus::Interrupted | StepStatus::RetryWait | StepStatus::Waiting => {
                self.early_end(path, now, event)?
            }
            other => return Err(format!("it is {}", other.as_str())),
        };
        ensure(expected.contains(&now), &format!("it had to be {expected:?}"))?;
        self.take_end(event, path, now)
    }

    fn take_end(&mut self, event: &Event, path: &str, now: Then) -> Judged {
        let was = self.seen(path);
        match &event.kind {
            EventKind::StepFailed { error } | EventKind::StepTimedOut { error } | EventKind::StepInterrupted { error } => {
                self.seen_mut(path).error = Some((error.reason, error.code));
            }
            EventKind::AttemptFailed { error, retry_at } => {
                self.is_due(event, path, *retry_at)?;
                let looks = self.written.is_external(path) && was.tries >= self.written.attempts(path);
                let unknown = self.is_unknown(path, error.reason);
                let seen = self.seen_mut(path);
                (seen.error, seen.status, seen.retry_at) = (Some((error.reason, error.code)), StepStatus::RetryWait, Some(*retry_at));
                seen.looks = if looks { Some(error.reason) } else { seen.looks };
                seen.unsettled |= unknown;
            }
            _ => {}
        }
        let status = match now {
            Then::Succeeded => StepStatus::Succeeded,
            Then::Cached => StepStatus::Cached,
            Then::Skipped => StepStatus::Skipped,
            Then::Failed => StepStatus::Failed,
            Then::TimedOut => StepStatus::TimedOut,
            Then::Cancelled => StepStatus::Cancelled,
            Then::Blocked => StepStatus::Blocked,
            Then::Acted => {
                let seen = self.seen_mut(path);
                (seen.recorded, seen.acted) = (true, true);
                return Ok(());
            }
            Then::Again => return Ok(()),
            Then::Interrupted => {
                let ends_all = matches!(self.halted(path), Some(Halt::Cancelled | Halt::TakenBack));
                let seen = self.seen_mut(path);
                seen.tries = seen.tries.saturating_sub(u64::from(seen.status == StepStatus::Running));
                (seen.status, seen.unsettled, seen.given_up) = (StepStatus::Interrupted, true, ends_all);
                return Ok(());
            }
        };
        let error = self.seen(path).error;
        if matches!(now, Then::Failed | Then::TimedOut) && error.is_some_and(|(reason, _)| self.is_unknown(path, reason)) {
            self.seen_mut(path).unsettled = true;
        }
        let seen = self.seen_mut(path);
        seen.acted |= now == Then::Succeeded && seen.attempt > 0;
        seen.recorded &= !matches!(now, Then::Succeeded | Then::Cached);
        seen.follows = matches!(&event.kind, EventKind::StepSkipped { .. })
            || matches!(&event.kind, EventKind::StepBlocked { reason } if matches!(reason.code.as_str(), "need_failed" | "none_succeeded"));
        self.end(event, path, status);
        Ok(())
    }

    /// An attempt that is under way: by what the world said.
    fn attempt_end(&mut self, event: &Event, path: &str, now: Then) -> Result<Vec<Then>, String> {
        let seen = self.seen(path);
        if now == Then::Acted {
            let since = seen.since;
            let said = |f: &crate::facts::Fact| {
                f.at as u64 >= since
                    && (f.at as u64) < event.seq
                    && matches!(&f.word, Word::Acted { step, attempt } if step == path && Some(*attempt) == event.attempt)
            };
            ensure(self.facts.iter().any(said) && self.written.has(path, "verify"), "its action has not ended well")?;
            return Ok(vec![Then::Acted]);
        }
        let Some(end) = self.end_of(event, path) else { return Err("nobody said that it ended".into()) };
        let again = self.may_try_again(event, path);
        Ok(match end {
            End::Good if self.written.has(path, "verify") && !seen.recorded => return Err("it is not verified".into()),
            End::Good => vec![Then::Succeeded],
            End::Already if seen.attempt == 1 => vec![Then::Cached],
            End::Already => vec![Then::Succeeded],
            End::NotDone => vec![match seen.looks {
                Some(ErrorReason::Timeout) => Then::TimedOut,
                _ => Then::Failed,
            }],
            End::Stopped => self.stopped_end(event, path, now),
            End::Bad { reason, .. } if self.is_interrupted(event) && reason != ErrorReason::Verify && now == Then::Interrupted => {
                vec![Then::Interrupted]
            }
            End::Bad { reason, code, permanent } => self.bad_end(path, (reason, code), permanent, again),
        })
    }

    fn stopped_end(&mut self, event: &Event, path: &str, now: Then) -> Vec<Then> {
        if self.is_interrupted(event) {
            return vec![Then::Interrupted];
        }
        // When the time of what it is in is over, nothing looks at it any more either.
        let asks = self.is_unknown(path, ErrorReason::Timeout) && self.written.on_crash(path) == "ask";
        let late = if asks { Then::Interrupted } else { Then::TimedOut };
        let mut all = match self.halted(path) {
            Some(Halt::Late) => vec![late],
            None if self.back.as_ref().is_none_or(|b| !b.cancelled) => vec![],
            _ if self.written.is_external(path) => vec![Then::Interrupted],
            _ => vec![Then::Cancelled],
        };
        let otherwise = all.contains(&now);
        // A limit of what it is in shows by what happens.
        if self.may_be_late(path) {
            all.push(late);
        }
        if self.halted(path).is_none() && !all.is_empty() && !otherwise {
            self.note_late(path);
        }
        all
    }

    /// Whether another try is left: how many there are, and nothing that ends them.
    fn may_try_again(&self, event: &Event, path: &str) -> Option<bool> {
        let left = self.seen(path).tries < self.written.attempts(path);
        let over = self.halted(path).is_some();
        // A limit that passed shows by what happens.
        let perhaps = left && !over && (self.may_be_late(path) || self.is_short(path) || self.is_interrupted(event));
        if perhaps { None } else { Some(left && !over) }
    }

    /// Its deadline may leave no time for another try.
    fn is_short(&self, path: &str) -> bool {
        let seen = self.seen(path);
        self.written.seconds(path, "deadline").is_some_and(|d| self.driven + 10.0 >= seen.first + d)
    }

    fn bad_end(&self, path: &str, (reason, code): (ErrorReason, Option<i32>), permanent: bool, again: Option<bool>) -> Vec<Then> {
        let last = if reason == ErrorReason::Timeout { Then::TimedOut } else { Then::Failed };
        let tried = |wanted: bool| match again {
            Some(again) if again && wanted => vec![Then::Again],
            None if wanted => vec![Then::Again, last, Then::TimedOut],
            _ => vec![last],
        };
        if (reason, code) == (ErrorReason::Exit, Some(77)) {
            return vec![Then::Skipped];
        }
        if self.is_unknown(path, reason) {
            let looks_once = self.seen(path).looks.is_none() && self.halted(path).is_none();
            return match self.written.on_crash(path) {
                "ask" => vec![Then::Interrupted],
                "undo_first" if again == Some(true) => vec![Then::Interrupted],
                "undo_first" if again.is_none() => vec![Then::Interrupted, last],
                "check" if looks_once && again == Some(false) => vec![Then::Again],
                "rerun" | "check" => tried(true),
                _ => vec![last],
            };
        }
        let exit = reason == ErrorReason::Exit;
        let retried = (exit && code == Some(75)) || !matches!(reason, ErrorReason::Timeout | ErrorReason::Spawn | ErrorReason::Interrupted);
        tried(retried && !permanent)
    }

    /// On an external step these say nothing about what it did.
    fn is_unknown(&self, path: &str, reason: ErrorReason) -> bool {
        let vague = matches!(reason, ErrorReason::Timeout | ErrorReason::Signal | ErrorReason::Interrupted);
        vague && self.written.is_external(path) && !self.seen(path).recorded && !self.written.is_tree(path)
    }

    /// The next try comes after the delay as written, a tenth more or less.
    fn is_due(&self, event: &Event, path: &str, retry_at: jiff::Timestamp) -> Judged {
        let tries = i32::try_from(self.seen(path).tries).unwrap_or(1).max(1);
        let only_looks = self.seen(path).tries >= self.written.attempts(path);
        let delay = if self.written.has(path, "retry") { 2.0 * 2f64.powi(tries - 1) } else { 0.0 };
        let wait = retry_at.duration_since(event.ts).as_secs_f64();
        ensure(only_looks || (wait >= delay * 0.9 - 0.001 && wait <= delay * 1.1 + 0.001), &format!("it had to wait {delay} s"))
    }

    fn fan_end(&self, path: &str) -> Result<Then, String> {
        let parts = self.instances(path);
        if let Some(open) = parts.iter().find(|p| !self.is_past(p)) {
            return Err(format!("{open} has not ended"));
        }
        let count = |test: &dyn Fn(&String) -> bool| parts.iter().filter(|p| test(p)).count();
        let tolerated = self.written.step(path)["tolerate"].as_u64().unwrap_or(0);
        let cancelled = count(&|p| matches!(self.seen(p).status, StepStatus::Cancelled | StepStatus::Interrupted));
        let skipped = count(&|p| self.seen(p).status == StepStatus::Skipped);
        let failed = count(&|p| self.has_failed(p)) as u64;
        Ok(match () {
            () if cancelled > 0 => Then::Cancelled,
            () if !parts.is_empty() && skipped == parts.len() => Then::Skipped,
            () if failed > tolerated => Then::Failed,
            () => Then::Succeeded,
        })
    }

    /// A sub-tree whose steps have all ended.
    fn tree_end(&mut self, event: &Event, path: &str) -> Result<Vec<Then>, String> {
        let steps = self.written.steps(path);
        if let Some(open) = steps.iter().find(|s| !self.is_past(s)) {
            return Err(format!("{open} in it has not ended"));
        }
        let well = |s: &String| {
            let status = self.seen(s).status;
            status.is_success() || status == StepStatus::Skipped || self.is_allowed(s)
        };
        let again = self.may_try_again(event, path);
        let failed = steps.iter().any(|s| self.has_failed(s));
        if matches!(self.halted(path), Some(Halt::Cancelled | Halt::TakenBack)) && !steps.iter().all(well) {
            // Its time may have passed at the same moment.
            let late = self.may_be_late(path);
            return Ok(if late { vec![Then::Cancelled, Then::Failed, Then::TimedOut] } else { vec![Then::Cancelled] });
        }
        Ok(match failed {
            true if self.late.contains(path) => vec![Then::TimedOut],
            true if self.may_be_late_itself(path) => {
                let mut all = self.bad_end(path, (ErrorReason::Exit, None), false, again);
                all.push(Then::TimedOut);
                all
            }
            true => self.bad_end(path, (ErrorReason::Exit, None), false, again),
            false if self.written.has(path, "verify") => vec![Then::Acted],
            false => vec![Then::Succeeded],
        })
    }

    fn may_be_late_itself(&self, path: &str) -> bool {
        (self.written.has(path, "timeout") || self.written.has(path, "deadline")) && self.may_be_late(path)
    }

    fn question_end(&self, event: &Event, path: &str) -> Vec<Then> {
        let seen = self.seen(path);
        match (seen.answered, self.halted(path)) {
            (Some(true), _) => vec![Then::Succeeded],
            _ if seen.expires_at.is_some_and(|at| at <= event.ts) && matches!(event.kind, EventKind::StepTimedOut { .. }) => {
                vec![Then::TimedOut]
            }
            (_, Some(halt)) => self.halted_end(path, halt),
            (_, None) if self.may_be_late(path) => vec![Then::Blocked],
            (_, None) => vec![],
        }
    }

    /// Before an attempt, or between two.
    fn early_end(&mut self, path: &str, now: Then, event: &Event) -> Result<Vec<Then>, String> {
        let code = match &event.kind {
            EventKind::StepBlocked { reason } | EventKind::StepSkipped { reason } => reason.code.as_str(),
            _ => "",
        };
        if code == "deadline" || (now == Then::TimedOut && self.seen(path).status == StepStatus::RetryWait) {
            if self.is_short(path) && code.is_empty() {
                return Ok(vec![Then::TimedOut]);
            }
            ensure(self.may_be_late(path), "its time is not over")?;
            self.note_late(path);
        }
        if let Some(halt) = self.halted(path) {
            return Ok(self.halted_end(path, halt));
        }
        ensure(self.is_live(path), "what it is in is not at work")?;
        ensure(self.has_turn(path), "`finally` has not its turn")?;
        if code == "environment_rejected" {
            ensure(self.gates.get("live") == Some(&Some(false)) && self.written.environment(path) == "live", "nobody said no")?;
            return Ok(vec![Then::Blocked]);
        }
        let seen = self.seen(path);
        let doubtful = seen.status == StepStatus::Interrupted && self.written.on_crash(path) == "fail";
        Ok(match self.verdict(path) {
            _ if doubtful && !seen.recorded && !seen.doubted => vec![Then::Failed],
            Verdict::Skip => vec![Then::Skipped],
            Verdict::Block => vec![Then::Blocked],
            Verdict::Go if !self.condition(path) => vec![Then::Skipped],
            Verdict::Go if self.lacks_partner(path) => vec![Then::Failed],
            Verdict::Go if self.is_short(path) => vec![Then::TimedOut],
            verdict => return Err(format!("its needs say {verdict:?}")),
        })
    }

    /// A fan-out that joins another which has no instances.
    pub(super) fn lacks_partner(&self, path: &str) -> bool {
        let alone = |(need, by_key): &(String, bool)| *by_key && !self.fans.contains_key(need);
        self.written.is_whole(path) && !self.written.items(path).is_empty() && self.written.needs(path).iter().any(alone)
    }

    pub(super) fn halted_end(&self, path: &str, halt: Halt) -> Vec<Then> {
        let seen = self.seen(path);
        let doubtful = matches!(self.written.on_crash(path), "ask" | "fail") && !seen.recorded && !self.written.is_tree(path);
        let unknown = seen.status == StepStatus::Interrupted || (seen.status == StepStatus::Waiting && seen.asked);
        let waits = seen.status == StepStatus::RetryWait;
        match halt {
            Halt::Cancelled | Halt::TakenBack if unknown && doubtful => vec![Then::Interrupted],
            Halt::TakenBack if seen.status == StepStatus::Interrupted => vec![Then::Interrupted],
            Halt::Cancelled | Halt::TakenBack => vec![Then::Cancelled],
            Halt::Stopped | Halt::Failing | Halt::Late if seen.status == StepStatus::Interrupted && doubtful => vec![Then::Failed],
            Halt::Stopped | Halt::Failing if waits => vec![Then::Failed],
            Halt::Late if waits => vec![Then::TimedOut],
            Halt::Stopped | Halt::Failing | Halt::Late => vec![Then::Blocked],
        }
    }

    /// All had to have ended, and how the run had to.
    pub(super) fn finishes(&self, status: RunStatus, error: Option<&str>) -> Judged {
        let steps = self.written.steps("");
        if let Some(open) = steps.iter().find(|s| !self.is_past(s)) {
            return Err(format!("{open} has not ended"));
        }
        ensure(self.is_taken_back(), "what was done had to be taken back")?;
        if let Some(forgotten) = self.forgotten() {
            return Err(format!("{forgotten} had to run again"));
        }
        let failed = steps.iter().any(|s| self.has_failed(s));
        let late = error.is_some_and(|e| e.contains("deadline")) && self.may_be_late("");
        let expected = match self.halt {
            _ if self.back.is_some() => self.back_ends()?,
            Some(Halt::Cancelled) => RunStatus::Cancelled,
            Some(Halt::Late) => RunStatus::Failed,
            _ if failed || late => RunStatus::Failed,
            _ if self.has_warnings() => RunStatus::SucceededWithWarnings,
            _ => RunStatus::Succeeded,
        };
        ensure(status == expected, &format!("it had to be {}", expected.as_str()))
    }

    fn has_warnings(&self) -> bool {
        let counts = |p: &String| self.is_kept(p) && containers(p).all(|c| self.is_kept(c));
        self.all_in("").iter().any(|p| self.seen(p).status.is_failure() && counts(p))
    }

    /// Why a run may rest.
    pub(super) fn rests(&self, event: &Event, status: RunStatus, reason: &str) -> Judged {
        if let Some(path) = self.seen.iter().find(|(p, s)| s.status == StepStatus::Running && self.written.is_leaf(p)).map(|(p, _)| p) {
            return Err(format!("{path} still runs"));
        }
        match status {
            RunStatus::Interrupted => {
                let cancelled = self.back.as_ref().is_some_and(|b| b.cancelled);
                ensure(cancelled || self.is_interrupted(event), "nothing interrupted it")
            }
            RunStatus::Paused => ensure(self.pausing && self.written.on_failure() == "pause", "nothing paused it"),
            RunStatus::Waiting if reason.starts_with("external steps would run again") => Ok(()),
            RunStatus::Waiting => {
                let gate = self.gates.get("live") == Some(&None);
                let asked = self.live().iter().any(|p| self.seen(p).status == StepStatus::Waiting);
                ensure(gate || asked, "nobody is asked anything")?;
                match self.could_begin() {
                    Some(path) => Err(format!("{path} had to go on: {:?}", self.verdict(&path))),
                    None => Ok(()),
                }
            }
            other => Err(format!("{} is no rest", other.as_str())),
        }
    }
}
