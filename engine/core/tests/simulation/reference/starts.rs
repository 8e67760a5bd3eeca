//! What may begin: attempts, instances, questions.

use super::verdict::Verdict;
use super::written::{containers, group_of, key_of};
use super::{Judged, Reference, ensure};
use jiff::Timestamp;
use trees_core::event::{Event, StepStatus};

impl Reference<'_> {
    pub(super) fn starts(&mut self, event: &Event, path: &str) -> Judged {
        let seen = self.seen(path);
        ensure(event.attempt == Some(seen.attempt + 1), "its attempts do not count on")?;
        ensure(!self.written.is_whole(path) && !self.written.is_approval(path), "it has no attempts")?;
        match seen.status {
            StepStatus::Pending => self.may_begin(path)?,
            StepStatus::Interrupted => {
                let known = seen.recorded || self.written.is_tree(path);
                let again = matches!(self.written.on_crash(path), "rerun" | "check") || known;
                ensure(again, "its outcome is unknown")?;
                self.may_begin(path)?;
            }
            StepStatus::RetryWait => {
                ensure(self.is_live(path) && self.halted(path).is_none(), "nothing starts any more")?;
                ensure(seen.retry_at.is_none_or(|at| at <= event.ts), "its next try is not due")?;
            }
            other => return Err(format!("it is {}", other.as_str())),
        }
        ensure(self.passes_gate(path), "its environment is not approved")?;
        self.has_place(path)?;
        let (driven, is_tree) = (self.driven, self.written.is_tree(path));
        let keeps = seen.recorded && (self.written.is_external(path) || is_tree);
        let seen = self.seen_mut(path);
        (seen.status, seen.attempt, seen.tries) = (StepStatus::Running, seen.attempt + 1, seen.tries + 1);
        (seen.since, seen.begun, seen.last) = (event.seq, event.seq, driven);
        if seen.first < 0.0 {
            seen.first = driven;
        }
        (seen.unsettled, seen.recorded, seen.retry_at) = (false, keeps, None);
        if is_tree && !keeps {
            self.late.remove(path);
            self.reopen_tree(path);
        }
        Ok(())
    }

    fn passes_gate(&self, path: &str) -> bool {
        let only_contains = self.written.is_tree(path) && !self.written.has(path, "check") && !self.written.has(path, "verify");
        only_contains || self.written.environment(path) != "live" || self.gates.get("live") == Some(&Some(true))
    }

    /// Leaves that run now.
    fn running(&self) -> Vec<&String> {
        let runs = |status: StepStatus| matches!(status, StepStatus::Running | StepStatus::Undoing);
        let all =
            self.seen.iter().filter(|(p, s)| runs(s.status) && s.since > self.sitting && s.retry_at.is_none() && self.written.is_leaf(p));
        all.map(|(path, _)| path).collect()
    }

    /// Places of the run, of its pool, of its lock, of its fan-out.
    pub(super) fn has_place(&self, path: &str) -> Judged {
        let running = self.running();
        if self.written.is_leaf(path) {
            ensure(running.len() < self.places, "there is no place for it")?;
            let pool = self.written.text(path, "pool");
            let size = self.written.tree("")["pools"][pool].as_u64().unwrap_or(1);
            let beside = running.iter().filter(|p| self.written.text(p, "pool") == pool).count() as u64;
            ensure(pool.is_empty() || beside < size, "its pool is full")?;
            let lock = self.written.text(path, "lock");
            ensure(lock.is_empty() || running.iter().all(|p| self.written.text(p, "lock") != lock), "its lock is taken")?;
        }
        let most = self.written.step(path)["max_parallel"].as_u64();
        let group = group_of(path);
        let undoing = self.seen(path).status == StepStatus::Undoing || self.back.is_some();
        let beside = self.instances(group).iter().filter(|i| self.seen(i).status == StepStatus::Running).count() as u64;
        ensure(key_of(path).is_none() || undoing || most.is_none_or(|most| beside < most), "its fan-out has no place for it")
    }

    pub(super) fn expands(&mut self, path: &str, items: &[String]) -> Judged {
        ensure(self.written.is_whole(path), "it is no fan-out")?;
        ensure(self.seen(path).status == StepStatus::Pending, "it is not pending")?;
        self.may_begin(path)?;
        ensure(items == self.written.items(path), "it has other items")?;
        self.fans.insert(path.to_owned(), items.to_vec());
        self.seen_mut(path).status = StepStatus::Running;
        Ok(())
    }

    pub(super) fn asks(&mut self, event: &Event, path: &str, expires_at: Option<Timestamp>) -> Judged {
        ensure(self.written.is_approval(path) && self.seen(path).status == StepStatus::Pending, "it has nothing to ask")?;
        self.may_begin(path)?;
        ensure(self.passes_gate(path), "its environment is not approved")?;
        let limit = self.written.step(path)["approve"]["timeout"].as_str().is_some();
        ensure(limit == expires_at.is_some(), "its time is another")?;
        let seen = self.seen_mut(path);
        (seen.status, seen.since, seen.begun, seen.expires_at) = (StepStatus::Waiting, event.seq, event.seq, expires_at);
        Ok(())
    }

    /// What a run at rest could have begun and has not.
    pub(super) fn could_begin(&self) -> Option<String> {
        let holds = |path: &String| {
            let waits = !self.passes_gate(path);
            let tree = self.written.is_tree(path) && self.written.has(path, "lock");
            let full = key_of(path).is_some() && self.written.has(path, "max_parallel");
            waits || tree || full
        };
        let pending = |path: &String| matches!(self.seen(path).status, StepStatus::Pending);
        let ready = |p: &String| self.has_turn(p) && self.verdict(p) != Verdict::Wait && self.is_settled_below(p);
        self.live().into_iter().find(|p| pending(p) && ready(p) && !holds(p))
    }

    /// All that it needs, directly or not, has ended: what was kept is looked at again only then.
    fn is_settled_below(&self, path: &str) -> bool {
        self.written.needs(path).iter().all(|(need, _)| self.is_over(need) && self.is_settled_below(need))
    }

    /// Which part of the run it belongs to is at work.
    pub(super) fn is_below(&self, path: &str, of: &str) -> bool {
        path == of || containers(path).any(|c| c == of)
    }
}
