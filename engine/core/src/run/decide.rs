//! Whether a step goes, is skipped or blocked: rules over its direct needs, then its condition.

use super::state::{Halt, NodeId, Stage};
use super::words;
use super::{IllegalEvent, Run};
use crate::event::{EventKind, Item, Json, Object, Reason, StepError, StepStatus};
use crate::tree::{Action, FanOut, NeedKind, Rule};
use jiff::Timestamp;
use std::collections::HashSet;

/// What the needs say.
#[derive(Debug, PartialEq)]
enum Verdict {
    Wait,
    Go,
    Skip(Reason),
    Block(Reason),
}

/// The direct needs by how they ended.
#[derive(Default)]
struct Tally {
    open: u32,
    good: u32,
    failed: Option<NodeId>,
    failures: u32,
    skipped: Option<NodeId>,
    all: u32,
}

impl Run {
    pub(super) fn decide(&mut self, id: NodeId, now: Timestamp) -> Result<(), IllegalEvent> {
        if self.node(id).suspect {
            return self.reconsider(id, now);
        }
        if !self.is_decidable(id) {
            self.retry(id, now);
            self.wake_instances(id);
            return Ok(());
        }
        if let Some(halt) = self.halted(id).filter(|h| h.ends_all() || !self.is_in_doubt(id)) {
            return self.end_halted(id, halt, now);
        }
        let interrupted = self.node(id).status == StepStatus::Interrupted;
        match self.verdict_with_group(id) {
            Verdict::Wait => Ok(()),
            // Its needs may have been taken back or found changed since.
            Verdict::Go if interrupted => self.settle_interrupted(id, now),
            Verdict::Skip(_) | Verdict::Block(_) if self.is_in_doubt(id) => self.settle_interrupted(id, now),
            Verdict::Skip(reason) => self.emit(now, Some(id), EventKind::StepSkipped { reason }),
            Verdict::Block(reason) => self.emit(now, Some(id), EventKind::StepBlocked { reason }),
            Verdict::Go => self.go(id, now),
        }
    }

    /// The next try of a step, where its time has come. What it needs may have been reopened by a resume: then it goes once
    /// that has ended again, and whatever became of it, as the tries before did.
    pub(super) fn retry(&mut self, id: NodeId, now: Timestamp) {
        let due = self.node(id).more.as_ref().and_then(|m| m.retry_at).is_none_or(|at| at <= now);
        if due && self.is_between_tries(id) && self.verdict_with_group(id) != Verdict::Wait {
            self.enqueue(id);
        }
    }

    /// In a sub-tree that waits to go on its timers are set again when it does.
    fn is_between_tries(&self, id: NodeId) -> bool {
        self.node(id).status == StepStatus::RetryWait && self.node(id).stage == Stage::Idle && self.is_in_open_scope(id)
    }

    fn is_decidable(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let scope = self.scope(node.scope);
        let begun = node.group.is_none_or(|g| self.node(g).status == StepStatus::Running);
        let live = self.is_in_open_scope(id);
        let turn = !self.spec(id).finally || scope.closing;
        matches!(node.status, StepStatus::Pending | StepStatus::Interrupted)
            && node.stage == Stage::Idle
            && !node.counted
            && begun
            && live
            && turn
    }

    /// Ends a step that may not start any more.
    pub(super) fn end_halted(&mut self, id: NodeId, halt: Halt, now: Timestamp) -> Result<(), IllegalEvent> {
        let last = self.node(id).error.clone().filter(|_| self.node(id).status == StepStatus::RetryWait);
        let began = if self.node(id).attempt > 0 { "began again" } else { "started" };
        let kind = match (halt, last) {
            (Halt::Cancelled | Halt::RolledBack, _)
                if self.is_in_doubt(id) || (halt == Halt::RolledBack && self.node(id).status == StepStatus::Interrupted) =>
            {
                let known = self.node(id).error.clone().map(|e| *e);
                EventKind::StepInterrupted { error: known.unwrap_or_else(super::reopen::cut_off) }
            }
            (Halt::Cancelled, _) => {
                EventKind::StepCancelled { reason: self.reason(id, "cancelled", format!("the run was cancelled before it {began}")) }
            }
            (Halt::RolledBack, _) => {
                EventKind::StepCancelled { reason: self.reason(id, "cancelled", format!("the run is taken back before it {began}")) }
            }
            (Halt::Stopped | Halt::Failing | Halt::Late, _) if self.node(id).status == StepStatus::Undoing => {
                let error = self.node(id).error.clone().map_or_else(super::reopen::cut_off, |error| *error);
                EventKind::StepFailed { error: super::undo::not_taken_back(error) }
            }
            (Halt::Stopped | Halt::Failing, Some(error)) => EventKind::StepFailed { error: *error },
            (Halt::Stopped | Halt::Failing, None) => {
                let text = format!("another step failed and on_failure is {}", self.on_failure().as_str());
                EventKind::StepBlocked { reason: self.reason(id, "stopped", text) }
            }
            (Halt::Late, Some(error)) => EventKind::StepTimedOut { error: *error },
            (Halt::Late, None) => EventKind::StepBlocked { reason: self.reason(id, "deadline", words::LATE) },
        };
        self.emit(now, Some(id), kind)
    }

    /// An instance begins while what its fan-out needs stands: a resume may find that changed since.
    fn verdict_with_group(&self, id: NodeId) -> Verdict {
        match self.node(id).group.map_or(Verdict::Go, |group| self.verdict(group)) {
            Verdict::Go => self.verdict(id),
            other => other,
        }
    }

    /// What a fan-out at work needs has ended (again): its instances may go on.
    fn wake_instances(&mut self, id: NodeId) {
        let node = self.node(id);
        let Some(fan) = node.fan.as_ref().filter(|_| node.status == StepStatus::Running && node.open == 0) else { return };
        let waiting: Vec<NodeId> = fan.children.iter().copied().filter(|c| self.is_decidable(*c) || self.is_between_tries(*c)).collect();
        self.todo.extend(waiting);
    }

    fn verdict(&self, id: NodeId) -> Verdict {
        let node = self.node(id);
        let spec = self.spec(id);
        let early = matches!(spec.rule, Rule::OneSucceeded | Rule::OneFailed);
        // Asked as rarely as can be: there may be very many needs.
        let by_key = || spec.needs.iter().any(|n| n.kind == NeedKind::ByKey);
        if node.open > 0 && !early && (node.group.is_some() || spec.fan_out.is_none() || !by_key()) {
            return Verdict::Wait;
        }
        if spec.needs.is_empty() || (node.group.is_some() && !by_key()) {
            return Verdict::Go;
        }
        if node.group.is_none() && !self.partners(id).all(|p| self.has_items(p)) {
            return Verdict::Wait;
        }
        match (self.references(id), self.rule(id)) {
            (Verdict::Wait, _) | (_, Verdict::Wait) => Verdict::Wait,
            (Verdict::Block(reason), _) | (_, Verdict::Block(reason)) => Verdict::Block(reason),
            (Verdict::Skip(reason), _) | (_, Verdict::Skip(reason)) => Verdict::Skip(reason),
            (Verdict::Go, Verdict::Go) => Verdict::Go,
        }
    }

    /// The needs that come from references in expressions.
    fn references(&self, id: NodeId) -> Verdict {
        if self.node(id).group.is_some() {
            return Verdict::Go;
        }
        let mut skipped = None;
        for need in &self.spec(id).needs {
            let on = self.scope(self.node(id).scope).nodes[need.step as usize];
            let status = self.node(on).status;
            match need.kind {
                NeedKind::Explicit | NeedKind::ByKey => {}
                NeedKind::Succeeded | NeedKind::Done if !self.node(on).is_settled() => return Verdict::Wait,
                NeedKind::Done => {}
                NeedKind::Succeeded if status.is_success() || self.is_allowed(on) => {}
                NeedKind::Succeeded if status == StepStatus::Skipped => drop(skipped.get_or_insert(on)),
                NeedKind::Succeeded => return Verdict::Block(self.because(id, on, "need_failed")),
            }
        }
        skipped.map_or(Verdict::Go, |on| Verdict::Skip(self.because(id, on, "need_skipped")))
    }

    fn rule(&self, id: NodeId) -> Verdict {
        let tally = self.tally(id);
        let failed = |code: &str| tally.failed.map_or(Verdict::Go, |on| Verdict::Block(self.because(id, on, code)));
        let none = |text: &str| Verdict::Skip(self.reason(id, "rule", text));
        let rule = self.spec(id).rule;
        match rule {
            Rule::OneSucceeded if tally.good > 0 => return Verdict::Go,
            Rule::OneFailed if tally.failures > 0 => return Verdict::Go,
            _ if tally.open > 0 => return Verdict::Wait,
            _ if tally.all == 0 => return Verdict::Go,
            _ => {}
        }
        match rule {
            Rule::AllDone => Verdict::Go,
            Rule::AllSucceeded | Rule::NoneFailed | Rule::NoneFailedMinOneSucceeded if tally.failed.is_some() => failed("need_failed"),
            Rule::AllSucceeded => tally.skipped.map_or(Verdict::Go, |on| Verdict::Skip(self.because(id, on, "need_skipped"))),
            Rule::NoneFailed => Verdict::Go,
            Rule::NoneFailedMinOneSucceeded if tally.good > 0 => Verdict::Go,
            Rule::NoneFailedMinOneSucceeded => none("none of its needs succeeded"),
            Rule::OneSucceeded if tally.failed.is_some() => failed("none_succeeded"),
            Rule::OneSucceeded => none("none of its needs succeeded"),
            Rule::OneFailed => none("none of its needs failed"),
            Rule::AllFailed if tally.failures == tally.all => Verdict::Go,
            Rule::AllFailed => none("not all of its needs failed"),
        }
    }

    fn tally(&self, id: NodeId) -> Tally {
        let mut tally = Tally::default();
        for on in self.explicit_needs(id) {
            let node = self.node(on);
            tally.all += 1;
            if self.is_joined(id, on) {
                // Its instances decide, each by its partner: for the whole it is as the rule wants it.
                match self.spec(id).rule {
                    Rule::OneFailed | Rule::AllFailed => tally.failures += 1,
                    Rule::AllSucceeded | Rule::NoneFailed | Rule::NoneFailedMinOneSucceeded | Rule::AllDone | Rule::OneSucceeded => {
                        tally.good += 1;
                    }
                }
            } else if !node.is_settled() {
                tally.open += 1;
            } else if node.status.is_success() || self.is_allowed(on) {
                tally.good += 1;
            } else if node.status == StepStatus::Skipped {
                tally.skipped.get_or_insert(on);
            } else {
                tally.failures += 1;
                tally.failed.get_or_insert(on);
            }
        }
        tally
    }

    /// A fan-out that waits key by key goes on when its partner has expanded.
    fn is_joined(&self, id: NodeId, on: NodeId) -> bool {
        let expanded = self.node(on).fan.is_some() && self.node(on).status != StepStatus::Pending;
        expanded && self.node(id).group.is_none() && self.partners(id).any(|p| p == on)
    }

    /// A partner has its items in this pass, or ended without any: before that no rule can be early.
    fn has_items(&self, partner: NodeId) -> bool {
        let node = self.node(partner);
        node.is_settled() || (node.fan.is_some() && node.status != StepStatus::Pending)
    }

    /// The nodes that the rule is about: for an instance, its partners by key.
    pub(super) fn explicit_needs(&self, id: NodeId) -> Vec<NodeId> {
        let node = self.node(id);
        let scope = self.scope(node.scope);
        if let (Some(group), Some(item)) = (node.group, &node.item) {
            let partner = |g: NodeId| self.node(g).fan.as_ref().and_then(|f| f.by_key.get(&item.key)).copied();
            return self.partners(group).filter_map(partner).collect();
        }
        let explicit = |kind: NeedKind| matches!(kind, NeedKind::Explicit | NeedKind::ByKey);
        self.spec(id).needs.iter().filter(|n| explicit(n.kind)).map(|n| scope.nodes[n.step as usize]).collect()
    }

    /// The instance of another fan-out with the key of this one.
    pub(super) fn partner(&self, id: NodeId, group: NodeId) -> Option<NodeId> {
        let item = self.node(id).item.as_ref()?;
        self.node(group).fan.as_ref()?.by_key.get(&item.key).copied()
    }

    fn because(&self, id: NodeId, on: NodeId, code: &str) -> Reason {
        let need = self.node(on);
        let mut reason = self.reason(id, code, format!("it needs {}, which {}", need.path, need.status.phrase()));
        reason.values.insert(need.path.0.clone(), need.status.as_str().into());
        reason
    }

    /// The needs are content: the condition, then the action.
    fn go(&mut self, id: NodeId, now: Timestamp) -> Result<(), IllegalEvent> {
        match self.condition(id) {
            Ok(None) => {}
            Ok(Some(reason)) => return self.emit(now, Some(id), EventKind::StepSkipped { reason }),
            Err(message) => return self.fail_early(id, message, now),
        }
        if self.node(id).group.is_none() && self.spec(id).fan_out.is_some() {
            return match self.items(id) {
                Ok(items) => self.expand_part(id, items, now),
                Err(message) => self.fail_early(id, message, now),
            };
        }
        self.enqueue(id);
        Ok(())
    }

    /// A failure before any attempt.
    pub(super) fn fail_early(&mut self, id: NodeId, message: String, now: Timestamp) -> Result<(), IllegalEvent> {
        let error = StepError { reason: crate::event::ErrorReason::Spawn, code: None, message, log: None };
        self.emit(now, Some(id), EventKind::StepFailed { error })
    }

    pub(super) fn enqueue(&mut self, id: NodeId) {
        if self.node(id).status == StepStatus::Pending {
            self.set(id, StepStatus::Ready);
        }
        self.node_mut(id).stage = Stage::Queued;
        if self.is_tree(id) || self.is_approval(id) {
            // They hold no place: they do not stand behind those that wait for one, but behind sub-trees that were
            // at work before and take what they had again.
            let first = self.ready.iter().take_while(|other| self.node(**other).status == StepStatus::Running).count();
            self.ready.insert(first, id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// The reason to skip, where the step's `if` is not content.
    fn condition(&self, id: NodeId) -> Result<Option<Reason>, String> {
        let spec = self.spec(id);
        let Some(condition) = &spec.condition else { return Ok(None) };
        let fan = spec.fan_out.is_some();
        if fan && spec.condition_per_item != self.node(id).group.is_some() {
            return Ok(None);
        }
        let names = self.names(id, &[condition], &Object::new())?;
        if condition.test(&names).map_err(|e| format!("if: {e}"))? {
            return Ok(None);
        }
        let mut reason = self.reason(id, "condition", format!("its `if` is false: {}", condition.source));
        reason.values = shown(condition, &names);
        Ok(Some(reason))
    }

    pub(super) fn items(&self, id: NodeId) -> Result<Vec<Item>, String> {
        let items = match self.spec(id).fan_out.as_deref() {
            Some(FanOut::Foreach { items, name, key }) => self.foreach(id, items, name, key.as_ref())?,
            Some(FanOut::Matrix { axes, exclude }) => self.matrix(id, axes, exclude)?,
            None => Vec::new(),
        };
        self.check_keys(id, &items)?;
        Ok(items)
    }

    fn foreach(&self, id: NodeId, items: &crate::expr::Template, name: &str, key: Option<&crate::expr::Expr>) -> Result<Vec<Item>, String> {
        let names = self.names(id, &items.exprs(), &Object::new())?;
        let value = items.evaluate(&names).map_err(|e| format!("foreach.items: {e}"))?;
        let Json::Array(values) = value else { return Err(format!("foreach.items must give a list, not {}", kind(&value))) };
        let mut out = Vec::with_capacity(values.len());
        for value in values {
            let key = match key {
                Some(key) => {
                    let mut item = Object::new();
                    item.insert(name.into(), value.clone());
                    item.insert("item".into(), value.clone());
                    let names = self.names(id, &[key], &item)?;
                    key_of(&key.evaluate(&names).map_err(|e| format!("foreach.key: {e}"))?)
                }
                None => key_of(&value),
            };
            let key = key.ok_or_else(|| format!("an item is {}: give `key:` an expression that names it", kind(&value)))?;
            out.push(Item { key, value });
        }
        Ok(out)
    }

    fn matrix(&self, id: NodeId, axes: &[(String, crate::expr::Template)], exclude: &[Object]) -> Result<Vec<Item>, String> {
        let mut rows: Vec<Object> = vec![Object::new()];
        for (axis, values) in axes {
            let names = self.names(id, &values.exprs(), &Object::new())?;
            let value = values.evaluate(&names).map_err(|e| format!("matrix.{axis}: {e}"))?;
            let Json::Array(values) = value else { return Err(format!("matrix.{axis} must be a list, not {}", kind(&value))) };
            if rows.len().saturating_mul(values.len()) > 100_000 {
                return Err("the matrix has more than 100000 combinations".into());
            }
            rows = rows.iter().flat_map(|row| values.iter().map(move |v| with(row, axis, v))).collect();
        }
        let excluded = |row: &Object| exclude.iter().any(|e| e.iter().all(|(axis, v)| row.get(axis) == Some(v)));
        rows.retain(|row| !excluded(row));
        let key = |row: &Object| axes.iter().map(|(a, _)| row.get(a).and_then(key_of).unwrap_or_default()).collect::<Vec<_>>().join(",");
        Ok(rows.into_iter().map(|row| Item { key: key(&row), value: Json::Object(row) }).collect())
    }

    fn check_keys(&self, id: NodeId, items: &[Item]) -> Result<(), String> {
        let mut seen = HashSet::with_capacity(items.len());
        for item in items {
            if item.key.is_empty() || item.key.len() > 200 {
                return Err(format!(
                    "the key `{}` is {} bytes long; 1 to 200 are allowed: give `key:`",
                    item.key.chars().take(40).collect::<String>(),
                    item.key.len()
                ));
            }
            if !seen.insert(crate::path::encode(&item.key)) {
                return Err(format!("the key `{}` comes twice; keys are unique: give `key:`", item.key));
            }
        }
        let own: HashSet<&str> = items.iter().map(|i| i.key.as_str()).collect();
        for partner in self.partners(id) {
            let theirs = self.node(partner).fan.as_ref();
            let missing = items.iter().find(|i| theirs.is_none_or(|f| !f.by_key.contains_key(&i.key)));
            if let Some(item) = missing {
                return Err(format!("the key `{}` has no partner in {}", item.key, self.node(partner).path));
            }
            let extra = theirs.and_then(|f| f.by_key.keys().filter(|k| !own.contains(k.as_str())).min());
            if let Some(key) = extra {
                return Err(format!("the key `{key}` of {} has no partner here", self.node(partner).path));
            }
        }
        Ok(())
    }

    /// Whether the tree of a step is the top one, or a sub-tree at work.
    pub(super) fn is_in_open_scope(&self, id: NodeId) -> bool {
        self.scope(self.node(id).scope).parent.is_none_or(|p| self.is_inside(p))
    }

    /// Whether a sub-tree's step holds what it needs and its steps are at work.
    pub(super) fn is_inside(&self, id: NodeId) -> bool {
        (self.node(id).status == StepStatus::Running || self.node(id).suspect) && self.node(id).stage == Stage::Inside
    }

    /// Whether this step's action makes a child scope.
    pub(super) fn is_tree(&self, id: NodeId) -> bool {
        matches!(self.spec(id).action, Action::Tree { .. })
    }
}

fn with(row: &Object, axis: &str, value: &Json) -> Object {
    let mut row = row.clone();
    row.insert(axis.into(), value.clone());
    row
}

/// The key of a scalar.
fn key_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// The values that a condition read, for `trees why`.
fn shown(condition: &crate::expr::Expr, names: &Object) -> std::collections::BTreeMap<String, String> {
    let mut values = std::collections::BTreeMap::new();
    for reference in &condition.references {
        let (text, value) = super::names::follow(reference, names);
        let value = value.map_or_else(|| "undefined".to_owned(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        values.insert(text, value.chars().take(200).collect());
    }
    values
}
