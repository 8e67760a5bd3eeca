//! What the direct needs of a step say.

use super::written::{group_of, key_of, scope_of};
use super::{Judged, Reference, ensure};
use trees_core::event::StepStatus;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Wait,
    Go,
    Skip,
    Block,
}

impl Reference<'_> {
    /// An instance begins while what its fan-out needs stands.
    pub(super) fn verdict(&self, path: &str) -> Verdict {
        let group = if key_of(path).is_some() { self.own_verdict(group_of(path)) } else { Verdict::Go };
        if group == Verdict::Go { self.own_verdict(path) } else { group }
    }

    fn own_verdict(&self, path: &str) -> Verdict {
        let needs = self.written.needs(path);
        if key_of(path).is_none() && needs.iter().any(|(need, by_key)| *by_key && !self.has_items(need) && !self.is_over(need)) {
            return Verdict::Wait;
        }
        let asked = self.asked(path);
        let joined = |need: &str| key_of(path).is_none() && self.has_items(need) && needs.iter().any(|(n, k)| *k && n == need);
        let wants_failure = matches!(self.written.rule(path), "one_failed" | "all_failed");
        let (mut good, mut bad, mut skipped, mut open) = (0, 0, 0, 0);
        for need in &asked {
            match self.seen(need).status {
                _ if joined(need) && wants_failure => bad += 1,
                _ if joined(need) => good += 1,
                _ if !self.seen(need).status.is_final() => open += 1,
                StepStatus::Succeeded | StepStatus::Cached => good += 1,
                _ if self.is_allowed(need) => good += 1,
                StepStatus::Skipped => skipped += 1,
                _ => bad += 1,
            }
        }
        match self.written.rule(path) {
            "one_succeeded" if good > 0 => Verdict::Go,
            "one_failed" if bad > 0 => Verdict::Go,
            _ if open > 0 => Verdict::Wait,
            _ if asked.is_empty() => Verdict::Go,
            "all_done" => Verdict::Go,
            "all_failed" if bad == asked.len() => Verdict::Go,
            "all_failed" | "one_failed" => Verdict::Skip,
            _ if bad > 0 => Verdict::Block,
            "one_succeeded" => Verdict::Skip,
            "all_succeeded" if skipped > 0 => Verdict::Skip,
            "none_failed_min_one_succeeded" if good == 0 => Verdict::Skip,
            _ => Verdict::Go,
        }
    }

    /// Those that the rule is about: for an instance, its partners.
    fn asked(&self, path: &str) -> Vec<String> {
        let needs = self.written.needs(path);
        match key_of(path) {
            None => needs.into_iter().map(|(need, _)| need).collect(),
            Some(key) => {
                let partners = needs.into_iter().filter(|(_, by_key)| *by_key).map(|(need, _)| need);
                partners.filter(|p| self.fans.get(p).is_some_and(|f| f.iter().any(|k| k == key))).map(|p| format!("{p}[{key}]")).collect()
            }
        }
    }

    /// It knows its instances in this pass.
    fn has_items(&self, path: &str) -> bool {
        self.fans.contains_key(path) && self.seen(path).status != StepStatus::Pending
    }

    /// What its `if` says; asked of a fan-out as a whole.
    pub(super) fn condition(&self, path: &str) -> bool {
        if key_of(path).is_some() {
            return true;
        }
        match self.written.text(path, "if") {
            "failed()" => self.asks_failed(path),
            "not failed()" => !self.asks_failed(path),
            "environment == 'lab'" => self.written.environment(path) == "lab",
            "environment == 'x'" => false,
            _ => true,
        }
    }

    fn asks_failed(&self, path: &str) -> bool {
        if self.written.is_finally(path) {
            let main = self.written.steps(scope_of(path)).into_iter().filter(|s| !self.written.is_finally(s));
            return main.into_iter().any(|s| self.has_failed(&s));
        }
        self.written.needs(path).iter().any(|(need, _)| self.has_failed(need))
    }

    /// Whether a pending step may begin now: its turn, its needs, its condition, no halt.
    pub(super) fn may_begin(&self, path: &str) -> Judged {
        ensure(self.is_live(path), "what it is in is not at work")?;
        let open = self.written.steps(scope_of(group_of(path))).into_iter().find(|s| !self.written.is_finally(s) && !self.is_past(s));
        ensure(self.has_turn(path), &format!("`finally` has not its turn: {open:?}"))?;
        ensure(self.halted(path).is_none(), "nothing starts any more")?;
        let verdict = self.verdict(path);
        ensure(verdict == Verdict::Go, &format!("its needs say {verdict:?}"))?;
        // Under an early rule it may have been asked before all needs had ended; of what had begun it is not asked again.
        let asked = self.written.is_early(path) || self.seen(path).status == StepStatus::Interrupted;
        ensure(asked || self.condition(path), "its `if` is false")
    }

    /// A step of `finally`: all steps have ended, and what was to be taken back is.
    pub(super) fn has_turn(&self, path: &str) -> bool {
        let group = group_of(path);
        if !self.written.is_finally(group) {
            return true;
        }
        let scope = scope_of(group);
        let main_over = self.written.steps(scope).iter().all(|s| self.written.is_finally(s) || self.is_past(s));
        main_over && (!scope.is_empty() || self.is_taken_back())
    }
}
