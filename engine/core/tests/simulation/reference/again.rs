//! What a resume, or another try of a sub-tree, sets back.

use super::written::{container, group_of, key_of, scope_of};
use super::{Halt, Judged, Reference, Seen, ensure};
use trees_core::event::{RunStatus, StepStatus};

impl Reference<'_> {
    pub(super) fn resume(&mut self) {
        let (ended, paused) = (self.status.is_ended(), self.status == RunStatus::Paused);
        self.status = RunStatus::Running;
        self.pausing = false;
        self.late.clear();
        if self.back.is_some() {
            self.resume_back(ended);
            return;
        }
        let halt = self.halt.filter(|_| !ended);
        // How much of the time only people took is not in the journal to the last moment.
        self.leaves_out |= !ended && (halt == Some(Halt::Late) || self.may_be_late(""));
        self.halt = halt.filter(|h| matches!(h, Halt::Cancelled | Halt::Late));
        // A run that had ended well, or is in its `finally`, looks at nothing again.
        let steps = self.written.steps("");
        let open = steps.iter().any(|s| !self.written.is_finally(s) && !self.is_over(s));
        let begun = steps.iter().any(|s| self.written.is_finally(s) && self.seen(s).status != StepStatus::Pending);
        self.looks = open || !(ended || begun);
        if ended {
            self.anew = self.driven;
        }
        if self.halt.is_none() && (self.reopen("", paused) || ended) {
            self.finally_again("");
        }
    }

    /// Steps that did not end well are pending again. True where one of `steps` is.
    fn reopen(&mut self, scope: &str, paused: bool) -> bool {
        let members = self.members(scope);
        let steps = self.written.steps(scope);
        let main_over = steps.iter().all(|s| self.written.is_finally(s) || self.seen(s).status.is_final() || self.is_past(s));
        let finally_open = steps.iter().any(|s| self.written.is_finally(s) && !self.is_over(s));
        let ending = !paused && main_over && finally_open;
        let open = |p: &String| {
            let seen = self.seen(p);
            let stays = self.is_kept(p) || (seen.follows && seen.status.is_final());
            !self.written.is_finally(group_of(p)) && !stays
        };
        let again = !ending && members.iter().any(open);
        let inner: Vec<String> =
            members.iter().filter(|p| self.written.is_tree(p) && self.seen(p).status == StepStatus::Running).cloned().collect();
        for path in &members {
            if again || self.written.is_finally(group_of(path)) {
                self.reopen_step(path);
            }
        }
        for tree in inner {
            if self.reopen(&tree, paused) {
                self.finally_again(&tree);
            }
        }
        again
    }

    pub(super) fn reopen_tree(&mut self, path: &str) {
        self.reopen(path, false);
        self.finally_again(path);
    }

    fn reopen_step(&mut self, path: &str) {
        if self.is_kept(path) {
            return;
        }
        match self.seen(path).status {
            StepStatus::Failed | StepStatus::TimedOut if self.was_unknown(path) => self.doubt(path),
            StepStatus::UndoFailed if self.written.is_external(path) => self.doubt(path),
            StepStatus::Interrupted => self.seen_mut(path).given_up = false,
            status if status.is_final() => self.renew(path),
            _ => {}
        }
    }

    /// It failed, and nobody knows whether it did what it should.
    fn was_unknown(&self, path: &str) -> bool {
        let seen = self.seen(path);
        let vague = |reason| {
            use trees_core::event::ErrorReason as R;
            matches!(reason, R::Timeout | R::Signal | R::Interrupted)
        };
        matches!(self.written.on_crash(path), "fail" | "undo_first")
            && seen.attempt > 0
            && self.written.is_leaf(path)
            && self.written.is_external(path)
            && !seen.recorded
            && seen.error.is_some_and(|(reason, _)| vague(reason))
    }

    fn doubt(&mut self, path: &str) {
        let error = self.seen(path).error;
        self.renew(path);
        let seen = self.seen_mut(path);
        (seen.status, seen.error) = (StepStatus::Interrupted, error);
        (seen.doubted, seen.unsettled, seen.recorded) = (true, true, false);
    }

    pub(super) fn renew(&mut self, path: &str) {
        let was = self.seen(path);
        *self.seen_mut(path) = Seen {
            attempt: was.attempt,
            since: was.since,
            begun: was.begun,
            ended: was.ended,
            recorded: was.recorded,
            acted: was.acted,
            unsettled: was.unsettled,
            undo_tries: was.undo_tries,
            ..Seen::default()
        };
    }

    /// It ended well, or as well as it has to.
    pub(super) fn is_kept(&self, path: &str) -> bool {
        let well = |p: &str| self.seen(p).status.is_success() || self.is_allowed(p);
        well(path) || (key_of(path).is_some() && well(group_of(path)))
    }

    /// `finally` begins anew, with all that is in it.
    pub(super) fn finally_again(&mut self, scope: &str) {
        let finally: Vec<String> = self.members(scope).into_iter().filter(|p| self.written.is_finally(group_of(p))).collect();
        for path in finally {
            if self.written.is_tree(&path) {
                let inner: Vec<String> = self.all_in(&path).into_iter().filter(|p| self.seen.contains_key(p)).collect();
                inner.iter().for_each(|p| self.renew(p));
            }
            self.renew(&path);
            self.seen_mut(&path).recorded = false;
        }
    }

    /// A step that had ended well runs again only because something that it needs did.
    pub(super) fn reopens(&mut self, path: &str) -> Judged {
        // Of a fan-out that was content with what failed in it, that failure too.
        let before = key_of(path).is_some() && self.seen(path).ended < self.sitting;
        ensure((self.is_kept(path) || before) && self.seen(path).status.is_final(), "it did not end well")?;
        let cause = self.all_in_and(path).iter().any(|p| self.has_newer_need(p) || self.lacks_partner(p));
        ensure(cause, "nothing that it needs ran again")?;
        if let Some(begun) = self.begun_on(path) {
            return Err(format!("{begun} begun upon it in this sitting"));
        }
        if self.was_unknown(path) {
            self.doubt(path);
        } else {
            self.renew(path);
        }
        self.seen_mut(path).recorded = false;
        Ok(())
    }

    fn all_in_and(&self, path: &str) -> Vec<String> {
        self.seen.keys().filter(|p| self.is_below(p, path)).cloned().collect()
    }

    /// What needs a step as a whole and began in this sitting.
    fn begun_on(&self, path: &str) -> Option<String> {
        if key_of(path).is_some() {
            return None;
        }
        let needs = |p: &&String| self.written.needs(p).iter().any(|(need, by_key)| need == path && !by_key) && !self.written.is_early(p);
        let begun = |p: &&String| self.seen(p).begun > self.sitting && scope_of(group_of(p)) == scope_of(path);
        self.seen.keys().find(|p| begun(p) && needs(p)).cloned()
    }

    fn has_newer_need(&self, path: &str) -> bool {
        let begun = self.seen(path).begun;
        if begun == 0 || self.written.is_early(path) {
            return false;
        }
        let ran = |need: &str| self.seen(need).ended > begun;
        self.written.needs(path).iter().any(|(need, by_key)| match (key_of(path), by_key) {
            (Some(key), true) => ran(&format!("{need}[{key}]")),
            _ => ran(need),
        })
    }

    /// A step of a run that went to its end which had to run again and did not.
    pub(super) fn forgotten(&self) -> Option<String> {
        if self.halt.is_some() || self.back.is_some() || !self.looks {
            return None;
        }
        let top = self.written.steps("").into_iter().filter(|p| self.written.is_leaf(p) && !self.written.is_finally(p));
        // A person who says in this sitting that it is done knows what it needs.
        let before = |p: &String| self.seen(p).ended < self.sitting;
        let ran = |p: &String| before(p) && self.written.needs(p).iter().any(|(n, _)| self.seen(n).begun > self.seen(p).begun.max(1));
        top.into_iter().find(|p| container(p).is_none() && self.seen(p).status.is_success() && self.has_newer_need(p) && ran(p))
    }
}
