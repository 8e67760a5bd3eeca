//! What a resume keeps: each step that ended well is looked at again at its turn, once all that it
//! needs is settled, and stays if its hashes, its artifacts and its needs are as recorded.
//!
//! That somebody looks is not recorded; that a step starts anew is (`step_reopened`). Until it is
//! settled such a step is *suspect*: nothing that needs it starts.

use super::input::Prepared;
use super::state::{NodeId, ROOT, Scope, ScopeId, Stage};
use super::words;
use super::{Closing, Effect, IllegalEvent, Run};
use crate::event::{ArtifactRef, Digests, EventKind, Item, Reason, StepError, StepStatus};
use crate::path::StepPath;
use crate::tree::{Action, Rule, Step};
use crate::units::few;
use jiff::Timestamp;
use std::collections::BTreeMap;

type Kept = Result<(), IllegalEvent>;

impl Run {
    /// Every step that is kept so far is looked at again, but where the run had ended or is in its `finally`. One that
    /// rests before that has not been looked at to the end (a refusal for want of consent, a signal).
    pub(super) fn suspect_all(&mut self, forced: &[StepPath], ended: bool, now: Timestamp) -> Kept {
        let halted = self.scopes.first().is_none_or(|s| s.halt.is_some());
        let begun = |s: &Scope| s.nodes.iter().any(|n| self.spec(*n).finally && self.node(*n).status != StepStatus::Pending);
        let ending = self.scopes.first().is_none_or(|s| s.open_main == 0 && (ended || begun(s)));
        if halted || (ending && forced.is_empty()) {
            return Ok(());
        }
        for step in forced {
            self.force(step, now)?;
        }
        let mut scopes = vec![ROOT];
        while let Some(scope) = scopes.pop() {
            for id in self.members(scope) {
                self.suspect(id);
                if self.is_open(id) {
                    scopes.extend(self.node(id).child);
                }
            }
        }
        self.todo.clear();
        self.closing.clear();
        self.activate_all();
        Ok(())
    }

    fn suspect(&mut self, id: NodeId) {
        let reachable = self.node(id).group.is_none_or(|g| self.is_open(g)) && self.node(id).aside().is_none();
        let looks = reachable && self.node(id).status.is_final() && !self.is_final_part(id) && self.is_kept(id);
        self.node_mut(id).suspect = looks;
    }

    /// A container whose parts have their turn in this sitting.
    fn is_open(&self, id: NodeId) -> bool {
        self.node(id).suspect || matches!(self.node(id).status, StepStatus::Running | StepStatus::Pending)
    }

    /// A person wants it to run again; what contains it opens for that.
    fn force(&mut self, step: &StepPath, now: Timestamp) -> Kept {
        let Some(id) = self.find(step).filter(|id| self.node(*id).status.is_final()) else { return Ok(()) };
        let mut chain = vec![id];
        while let Some(container) = self.container(*chain.last().unwrap_or(&id)) {
            chain.push(container);
        }
        for at in chain.into_iter().rev() {
            if self.node(at).status.is_final() {
                let text = if at == id { words::FORCED.to_owned() } else { format!("{step} is forced to run again") };
                let reason = self.reason(at, "forced", text);
                self.emit(now, Some(at), EventKind::StepReopened { reason })?;
            }
        }
        self.force_parts(id, now)
    }

    /// All that is in a forced fan-out or sub-tree runs again with it.
    fn force_parts(&mut self, id: NodeId, now: Timestamp) -> Kept {
        let mut open = vec![id];
        while let Some(at) = open.pop() {
            let node = self.node(at);
            let instances = node.fan.iter().flat_map(|f| f.children.iter().copied());
            let parts: Vec<NodeId> = instances.chain(node.child.into_iter().flat_map(|c| self.scope(c).nodes.iter().copied())).collect();
            for part in parts {
                if self.node(part).status.is_final() && !self.is_final_part(part) {
                    let reason = self.reason(part, "forced", format!("{} is forced to run again", self.node(id).path));
                    self.emit(now, Some(part), EventKind::StepReopened { reason })?;
                }
                open.push(part);
            }
        }
        Ok(())
    }

    pub(super) fn container(&self, id: NodeId) -> Option<NodeId> {
        self.node(id).group.or(self.scope(self.node(id).scope).parent)
    }

    /// A suspect step has its turn.
    pub(super) fn reconsider(&mut self, id: NodeId, now: Timestamp) -> Kept {
        if self.halted(id).is_some() {
            self.keep(id);
            return Ok(());
        }
        let node = self.node(id);
        let live = node.group.is_none_or(|g| self.node(g).status == StepStatus::Running || self.is_reopening(g));
        if node.stage != Stage::Idle || node.open > 0 || !live || !self.is_in_open_scope(id) {
            return Ok(());
        }
        if let Some(need) = self.newer_need(id) {
            let text = format!("{} ran again, and declares no outputs or artifacts to compare", self.node(need).path);
            let reason = self.reason(id, "need_ran", text);
            return self.start_anew(id, reason, now);
        }
        if self.node(id).fan.is_some() {
            return self.reconsider_fan(id, now);
        }
        match &self.spec(id).action {
            Action::Tree { .. } => self.reconsider_tree(id, now),
            Action::Approve { .. } => self.reconsider_approval(id, now),
            Action::Run(_) | Action::Uses { .. } if self.digests(id).is_some() => {
                self.stage(id, Stage::Preparing);
                let step = self.node(id).path.clone();
                self.ask(Effect::Prepare { step });
                Ok(())
            }
            Action::Run(_) | Action::Uses { .. } => {
                self.confirm(id);
                Ok(())
            }
        }
    }

    /// A container whose parts are being looked at.
    pub(super) fn is_reopening(&self, id: NodeId) -> bool {
        self.node(id).suspect && self.node(id).stage == Stage::Inside
    }

    fn digests(&self, id: NodeId) -> Option<&Digests> {
        self.node(id).more.as_ref()?.digests.as_ref()
    }

    fn reconsider_fan(&mut self, id: NodeId, now: Timestamp) -> Kept {
        let fan = self.node(id).fan.as_ref();
        let children = fan.map(|f| f.children.clone()).unwrap_or_default();
        let recorded: Vec<&Item> = children.iter().filter_map(|c| self.node(*c).item.as_deref()).collect();
        match self.items(id) {
            Ok(items) if items.iter().eq(recorded) => {
                self.stage(id, Stage::Inside);
                self.todo.extend(children);
                self.closing.push_back(Closing::Fan(id));
                Ok(())
            }
            Ok(_) => {
                let reason = self.reason(id, "items", "its items are others than before");
                self.start_anew(id, reason, now)
            }
            Err(message) => {
                let reason = self.reason(id, "items", message);
                self.start_anew(id, reason, now)
            }
        }
    }

    fn reconsider_tree(&mut self, id: NodeId, now: Timestamp) -> Kept {
        let untouched = |child: ScopeId| self.scope(child).nodes.iter().any(|n| !self.spec(*n).finally && !self.node(*n).status.is_final());
        let Some(child) = self.node(id).child.filter(|child| !untouched(*child)) else {
            // Its check said that it is done.
            self.confirm(id);
            return Ok(());
        };
        self.forget_names(child);
        if let Err(message) = self.given_params(id) {
            let reason = self.reason(id, "inputs", message);
            return self.start_anew(id, reason, now);
        }
        self.stage(id, Stage::Inside);
        let members = self.members(child);
        self.todo.extend(members);
        self.closing.push_back(Closing::Scope(child));
        Ok(())
    }

    fn forget_names(&mut self, scope: ScopeId) {
        self.scopes[scope as usize].params.take();
        self.scopes[scope as usize].surroundings.take();
    }

    fn reconsider_approval(&mut self, id: NodeId, now: Timestamp) -> Kept {
        let before = self.node(id).more.as_ref().map(|m| m.shown.clone()).unwrap_or_default();
        match self.question(id) {
            Ok((_, shown)) if shown != before && !before.is_empty() => {
                let reason = self.reason(id, "shown", "what it shows has changed, so its approval lapsed");
                self.start_anew(id, reason, now)
            }
            _ => {
                self.confirm(id);
                Ok(())
            }
        }
    }

    /// All parts of a suspect sub-tree are as they were.
    pub(super) fn confirm_tree(&mut self, id: NodeId, child: ScopeId, now: Timestamp) -> Kept {
        let (outputs, _) = self.tree_outputs(child);
        let recorded = self.node(id).result.as_ref().and_then(|r| r.outputs.as_object()).cloned().unwrap_or_default();
        if outputs == recorded || !self.node(id).status.is_success() || self.halted(id).is_some() {
            self.confirm(id);
            return Ok(());
        }
        let reason = self.reason(id, "outputs", "its outputs are computed anew");
        self.start_anew(id, reason, now)
    }

    /// What a suspect step would be made of now.
    pub(super) fn compared(&mut self, id: NodeId, result: Result<Box<Prepared>, StepError>, now: Timestamp) -> Kept {
        self.stage(id, Stage::Idle);
        if self.halted(id).is_some() {
            self.keep(id);
            return Ok(());
        }
        if self.is_quiet() {
            return Ok(());
        }
        let reason = match result {
            Err(error) => Some(self.reason(id, "inputs", error.message)),
            Ok(prepared) => self.difference(id, &prepared),
        };
        match reason {
            Some(reason) => self.start_anew(id, reason, now),
            None => {
                self.confirm(id);
                Ok(())
            }
        }
    }

    fn difference(&self, id: NodeId, now: &Prepared) -> Option<Reason> {
        let before = self.digests(id)?;
        if before.definition != now.digests.definition {
            return Some(self.reason(id, "definition", "its definition has changed"));
        }
        let changed = changed(&before.ingredients, &now.digests.ingredients);
        if !changed.is_empty() {
            let mut reason = self.reason(id, "inputs", format!("{} changed", few(changed.keys().map(|n| shown(n)), 3)));
            reason.values = changed;
            return Some(reason);
        }
        let lost = now.lost.as_ref()?;
        Some(self.reason(id, "artifacts", format!("its artifact {lost} is not there as recorded")))
    }

    /// A need that ran again after this step began, without anything to compare.
    fn newer_need(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id);
        let scope = self.scope(node.scope);
        let begun = node.more.as_ref().map_or(0, |m| m.begun_at);
        // Under these rules a need may end after the step that it let begin.
        let early = matches!(self.spec(id).rule, Rule::OneSucceeded | Rule::OneFailed);
        if begun == 0 || early {
            return None;
        }
        let whole = |step: u32| {
            node.group.is_none() || self.spec(id).needs.iter().any(|n| n.step == step && n.kind != crate::tree::NeedKind::ByKey)
        };
        let needs = super::state::distinct(self.spec(id)).into_iter().filter(|s| whole(*s)).map(|s| scope.nodes[s as usize]);
        let partners = if node.group.is_some() { self.explicit_needs(id) } else { Vec::new() };
        let ran = |need: &NodeId| self.node(*need).more.as_ref().is_some_and(|m| m.ended_at > begun);
        needs.chain(partners).find(|need| ran(need) && !declares(self.spec(*need)))
    }

    /// Nothing starts any more: it stays without another look.
    pub(super) fn keep(&mut self, id: NodeId) {
        if self.node(id).stage != Stage::Preparing {
            self.confirm(id);
        }
    }

    /// It stays as recorded: those that wait for it may go on.
    pub(super) fn confirm(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.suspect = false;
        node.counted = true;
        self.stage(id, Stage::Idle);
        match self.node(id).group {
            Some(group) => self.count_instance(group, id),
            None => self.count_step(id),
        }
    }

    /// It runs again. What contains it must be at work for that; an external step only with
    /// somebody's consent.
    fn start_anew(&mut self, id: NodeId, reason: Reason, now: Timestamp) -> Kept {
        if self.is_external(id) && self.is_leaf(id) && !self.accepts_changes {
            self.refused.push((self.node(id).path.clone(), reason.text));
            return Ok(());
        }
        let mut outermost = None;
        let mut at = id;
        while let Some(container) = self.container(at) {
            if self.node(container).suspect {
                // It is looked at again when what contains it is at work.
                self.stage(container, Stage::Idle);
                outermost = Some(container);
            }
            at = container;
        }
        if let Some(container) = outermost {
            let text = words::in_it(&self.node(id).path, &reason.text);
            let outer = self.reason(container, &reason.code, text);
            return self.reopen_step(container, outer, now);
        }
        self.reopen_step(id, reason, now)
    }

    fn reopen_step(&mut self, id: NodeId, reason: Reason, now: Timestamp) -> Kept {
        self.stage(id, Stage::Idle);
        self.emit(now, Some(id), EventKind::StepReopened { reason })?;
        self.node_mut(id).suspect = false;
        Ok(())
    }

    /// The recorded artifacts of a step that is looked at again.
    pub fn recorded_artifacts(&self, step: &StepPath) -> Vec<ArtifactRef> {
        let node = self.find(step).map(|id| self.node(id)).filter(|n| n.suspect);
        node.and_then(|n| n.result.as_ref()).map(|r| r.artifacts.values().cloned().collect()).unwrap_or_default()
    }

    /// Why the run cannot go on without consent.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refused.first()?;
        let list = few(self.refused.iter().map(|(step, why)| words::again(step, why)), 5);
        Some(words::refusal(list, &self.id))
    }
}

/// Whether what needs it can tell that it came out the same.
pub(super) fn declares(spec: &Step) -> bool {
    match &spec.action {
        Action::Tree { tree, .. } => !tree.outputs.is_empty(),
        Action::Uses { .. } => true,
        Action::Run(_) | Action::Approve { .. } => spec.outputs.as_ref().is_some_and(|o| !o.is_empty()) || !spec.artifacts.is_empty(),
    }
}

/// The ingredients that differ, each with how.
fn changed(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut changed = BTreeMap::new();
    for (name, digest) in before {
        match now.get(name) {
            Some(new) if new == digest => {}
            Some(_) => drop(changed.insert(name.clone(), "changed".to_owned())),
            None => drop(changed.insert(name.clone(), "removed".to_owned())),
        }
    }
    changed.extend(now.keys().filter(|n| !before.contains_key(*n)).map(|n| (n.clone(), "added".to_owned())));
    changed
}

/// `file:src/main.rs` is told as `src/main.rs`.
fn shown(ingredient: &str) -> &str {
    ingredient.strip_prefix("file:").unwrap_or(ingredient)
}
