//! What a rollback takes back, and after what.

use super::ends::Then;
use super::written::{containers, key_of};
use super::{Back, Halt, Judged, Reference, ensure};
use crate::facts::End;
use jiff::Timestamp;
use std::collections::BTreeSet;
use trees_core::event::{Event, RunStatus, StepStatus};

impl Reference<'_> {
    pub(super) fn begin_back(&mut self, event: &Event, by_person: bool, skip: BTreeSet<String>) -> Judged {
        let ended = self.status.is_ended();
        if by_person {
            self.sit(event);
            self.pausing = false;
        } else {
            ensure(self.rolls_back_by_itself(), "nothing asked for it")?;
        }
        self.back = Some(Back { skip, cancelled: false });
        if by_person {
            self.resume_back(ended);
        }
        self.status = RunStatus::RollingBack;
        Ok(())
    }

    pub(super) fn resume_back(&mut self, ended: bool) {
        self.late.clear();
        if let Some(back) = &mut self.back {
            back.cancelled = false;
        }
        if ended {
            self.finally_again("");
        }
        self.halt = Some(Halt::TakenBack);
        let unknown: Vec<String> = self.seen.iter().filter(|(_, s)| s.given_up).map(|(p, _)| p.clone()).collect();
        for path in unknown {
            self.seen_mut(&path).given_up = false;
        }
        self.status = RunStatus::RollingBack;
    }

    /// The tree says so, and something failed before `finally`.
    fn rolls_back_by_itself(&self) -> bool {
        let steps = self.written.steps("");
        let failed = self.halt == Some(Halt::Late) || steps.iter().any(|s| !self.written.is_finally(s) && self.has_failed(s));
        let begun = steps.iter().any(|s| self.written.is_finally(s) && self.seen(s).status != StepStatus::Pending);
        let open = steps.iter().any(|s| !self.written.is_finally(s) && !self.is_over(s));
        let late = self.halt.is_none() && self.may_be_late("");
        self.written.on_failure() == "rollback" && (failed || late) && !begun && !open && self.halt != Some(Halt::Cancelled)
    }

    /// Nothing is left to take back before the run's end.
    pub(super) fn is_taken_back(&self) -> bool {
        match &self.back {
            Some(back) => back.cancelled || self.left().is_none(),
            None => {
                let failed = self.written.steps("").iter().any(|s| !self.written.is_finally(s) && self.has_failed(s));
                let begun = self.written.steps("").iter().any(|s| self.written.is_finally(s) && self.seen(s).status != StepStatus::Pending);
                self.written.on_failure() != "rollback" || !failed || begun || self.halt == Some(Halt::Cancelled)
            }
        }
    }

    /// Something of it is in the world that it has a way to take back.
    fn has_way(&self, path: &str) -> bool {
        let seen = self.seen(path);
        let half_done = self.written.on_crash(path) == "undo_first" && seen.unsettled;
        let started = self.written.step(path)["undo"]["when"] == "started" && seen.begun > 0;
        let undo = self.written.has(path, "undo") && !self.written.is_whole(path) && !self.written.in_finally(path);
        undo && (seen.acted || half_done || started)
    }

    /// Something of it is, or may be, and there is no way.
    fn is_missing(&self, path: &str) -> bool {
        let seen = self.seen(path);
        let leaf = self.written.is_leaf(path) && !self.written.in_finally(path);
        let lost = if self.written.has(path, "undo") { seen.unsettled } else { seen.acted || seen.unsettled };
        leaf && self.written.is_external(path) && lost && !self.has_way(path)
    }

    fn is_left(&self, path: &str) -> bool {
        self.has_way(path) && self.stays(path).is_none() && self.seen(path).status != StepStatus::UndoFailed
    }

    /// The first that had to be taken back, nothing that failed keeping it.
    fn left(&self) -> Option<String> {
        let stuck: Vec<&String> = self.seen.iter().filter(|(_, s)| s.status == StepStatus::UndoFailed).map(|(p, _)| p).collect();
        let over = |s: &str, path: &str| self.rests_on(s, path) || containers(path).any(|c| c == s);
        let kept = |path: &String| stuck.iter().any(|s| self.stays(s).is_none() && over(s, path));
        self.seen.keys().find(|p| self.is_left(p) && !kept(p)).cloned()
    }

    /// By the word of a person, or behind a point of no return.
    fn stays(&self, path: &str) -> Option<&'static str> {
        if self.back.as_ref().is_some_and(|b| b.skip.contains(path)) {
            return Some("skipped");
        }
        let passed = |p: &&String| {
            let seen = self.seen(p);
            self.written.has(p, "pivot") && (seen.acted || seen.unsettled)
        };
        let behind = |p: &String| p == path || containers(p).any(|c| c == path) || self.rests_on(p, path);
        self.seen.keys().filter(passed).any(behind).then_some("behind a pivot")
    }

    /// Whether `one` needs `other`, directly or not, as a whole or by its key, or is in what does.
    pub(super) fn rests_on(&self, one: &str, other: &str) -> bool {
        let mut open: Vec<String> = std::iter::once(one).chain(containers(one)).map(str::to_owned).collect();
        let mut found: BTreeSet<String> = BTreeSet::new();
        while let Some(at) = open.pop() {
            for (need, by_key) in self.written.needs(&at) {
                let next: Vec<String> = match (by_key, key_of(&at)) {
                    (true, Some(key)) => vec![format!("{need}[{key}]")],
                    (true, None) => continue,
                    (false, _) => std::iter::once(need.clone()).chain(self.instances(&need)).collect(),
                };
                open.extend(next.into_iter().filter(|n| found.insert(n.clone())));
            }
        }
        let covers = |n: &String| n == other || containers(other).any(|c| c == n);
        found.iter().any(covers)
    }

    /// A step of the top tree has ended, or is in the hands of the rollback.
    pub(super) fn is_past(&self, path: &str) -> bool {
        self.is_over(path) || (self.back.is_some() && self.seen(path).status == StepStatus::Undoing)
    }

    pub(super) fn undo_starts(&mut self, event: &Event, path: &str) -> Judged {
        let seen = self.seen(path);
        if self.back.is_none() || self.written.in_finally(path) {
            ensure(self.written.on_crash(path) == "undo_first" && seen.unsettled && !seen.recorded, "it has nothing to take back")?;
        } else {
            ensure(self.has_way(path), "it has nothing to take back")?;
            if let Some(why) = self.stays(path) {
                return Err(format!("it stays: {why}"));
            }
            ensure(self.back.as_ref().is_some_and(|b| !b.cancelled), "the rollback was cancelled")?;
            let running = self.written.steps("").into_iter().find(|s| !self.written.is_finally(s) && !self.is_past(s));
            if let Some(running) = running {
                return Err(format!("{running} has not ended"));
            }
            if let Some(later) = self.built_on(path) {
                return Err(format!("{later} rests on it and is not taken back"));
            }
        }
        // Who asks for a rollback again does not wait.
        let due = seen.since < self.sitting || seen.retry_at.is_none_or(|at| at <= event.ts);
        ensure(due, "its next try is not due")?;
        let seen = self.seen_mut(path);
        (seen.retry_at, seen.status) = (Some(event.ts), StepStatus::Undoing);
        self.has_place(path)?;
        let seen = self.seen_mut(path);
        (seen.since, seen.retry_at, seen.undo_tries) = (event.seq, None, seen.undo_tries + 1);
        Ok(())
    }

    /// What rests on it, or contains it, and is still there.
    fn built_on(&self, path: &str) -> Option<String> {
        let there = |p: &&String| {
            let failed = self.seen(p).status == StepStatus::UndoFailed && self.has_way(p) && self.stays(p).is_none();
            *p != path && (self.is_left(p) || failed) && !self.written.in_finally(p)
        };
        let over = |p: &&String| self.rests_on(p, path) || containers(path).any(|c| c == p.as_str());
        self.seen.keys().filter(there).find(over).cloned()
    }

    pub(super) fn undone(&mut self, event: &Event, path: &str) -> Judged {
        let seen = self.seen(path);
        let back = self.back.is_some() && !self.written.in_finally(path);
        if seen.status != StepStatus::Undoing {
            // A fan-out or sub-tree that lost a part.
            let parts = if self.written.is_whole(path) { self.instances(path) } else { self.written.steps(path) };
            let lost = parts.iter().any(|p| self.seen(p).status == StepStatus::Undone);
            ensure(back && lost && self.is_kept(path), "nothing of it was taken back")?;
        } else {
            let end = self.end_of(event, path);
            ensure(matches!(end, Some(End::Good | End::Already | End::NotDone)), "nobody said that it is taken back")?;
        }
        self.is_gone(path);
        if back {
            self.seen_mut(path).status = StepStatus::Undone;
        } else {
            self.renew(path);
        }
        Ok(())
    }

    pub(super) fn is_gone(&mut self, path: &str) {
        let seen = self.seen_mut(path);
        (seen.acted, seen.unsettled, seen.recorded) = (false, false, false);
        (seen.begun, seen.undo_tries) = (0, 0);
    }

    fn has_failed_undo(&self, event: &Event, path: &str) -> Result<bool, String> {
        match self.end_of(event, path) {
            Some(End::Bad { permanent, .. }) => Ok(permanent),
            _ => Err("nobody said that it failed".into()),
        }
    }

    pub(super) fn undo_fails(&mut self, event: &Event, path: &str) -> Judged {
        let permanent = self.has_failed_undo(event, path)?;
        ensure(self.back.is_some(), "there is no rollback")?;
        let left = self.seen(path).undo_tries < self.written.undo_attempts(path);
        let quiet = self.is_interrupted(event) || self.back.as_ref().is_some_and(|b| b.cancelled);
        ensure(permanent || !left || quiet, "it had to be tried again")?;
        let seen = self.seen_mut(path);
        (seen.status, seen.undo_tries) = (StepStatus::UndoFailed, 0);
        Ok(())
    }

    pub(super) fn undo_is_tried_again(&mut self, event: &Event, path: &str, retry_at: Timestamp) -> Judged {
        let permanent = self.has_failed_undo(event, path)?;
        let left = self.seen(path).undo_tries < self.written.undo_attempts(path);
        ensure(left && !permanent, "it had no try left")?;
        self.seen_mut(path).retry_at = Some(retry_at);
        Ok(())
    }

    /// `on_crash: undo_first`: how an undo that did not succeed ends.
    pub(super) fn undo_first_end(&mut self, event: &Event, path: &str) -> Result<Vec<Then>, String> {
        ensure(self.back.is_none() || self.written.in_finally(path), "it belongs to the rollback")?;
        match self.end_of(event, path) {
            _ if self.seen(path).since < self.sitting => Ok(vec![Then::Interrupted]),
            // Between two tries nothing is under way.
            Some(End::Bad { .. }) if self.seen(path).retry_at.is_some() && (self.halted(path).is_some() || self.may_be_late(path)) => {
                if self.halted(path).is_none() {
                    self.note_late(path);
                }
                Ok(match self.halted(path) {
                    Some(halt @ (Halt::Cancelled | Halt::TakenBack)) => self.halted_end(path, halt),
                    _ => vec![Then::Failed],
                })
            }
            Some(End::Bad { .. }) if self.is_interrupted(event) => Ok(vec![Then::Interrupted]),
            Some(End::Bad { permanent, .. }) => {
                let left = self.seen(path).undo_tries < self.written.undo_attempts(path);
                ensure(!left || permanent, "it had to be tried again")?;
                Ok(vec![Then::Failed])
            }
            Some(End::Stopped) => Ok(vec![Then::Interrupted]),
            _ => Err("nobody said so".into()),
        }
    }

    /// How the run ends after it.
    pub(super) fn back_ends(&self) -> Result<RunStatus, String> {
        let skipped = |p: &String| self.back.as_ref().is_some_and(|b| b.skip.contains(p));
        let stuck = self.seen.iter().any(|(p, s)| s.status == StepStatus::UndoFailed && !skipped(p));
        let stays = |p: &String| (self.has_way(p) && self.stays(p).is_some()) || self.is_missing(p);
        if stuck {
            return Ok(RunStatus::RollbackStuck);
        }
        if let Some(left) = self.left() {
            return Err(format!("{left} is not taken back"));
        }
        Ok(if self.seen.keys().any(stays) { RunStatus::Failed } else { RunStatus::RolledBack })
    }
}
