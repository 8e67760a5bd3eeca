//! Ends of fan-outs, sub-trees and the run; halts that keep anything new from starting.

use super::state::{Halt, NodeId, ROOT, ScopeId, Stage};
use super::{Closing, IllegalEvent, Mode, Run, RunStatus, Why};
use crate::event::{ErrorReason, EventKind, Json, Object, StepError, StepStatus};
use crate::tree::Tolerate;
use crate::units::few;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

type Finished = Result<(), IllegalEvent>;

impl Run {
    pub(super) fn close(&mut self, closing: Closing, now: Timestamp) -> Finished {
        match closing {
            Closing::Fan(id) => self.close_fan(id, now),
            Closing::Scope(id) => self.close_scope(id, now),
        }
    }

    fn close_fan(&mut self, id: NodeId, now: Timestamp) -> Finished {
        let open = self.node(id).fan.as_ref().map_or(1, |f| f.open);
        if open == 0 && self.is_reopening(id) {
            self.confirm(id);
            return Ok(());
        }
        if open > 0 || self.node(id).status != StepStatus::Running {
            return Ok(());
        }
        let children = self.node(id).fan.as_ref().map(|f| f.children.clone()).unwrap_or_default();
        let count = |test: &dyn Fn(NodeId) -> bool| children.iter().filter(|c| test(**c)).count();
        let failures = count(&|c| self.node(c).status.is_failure() && !self.is_allowed(c));
        let skipped = count(&|c| self.node(c).status == StepStatus::Skipped);
        let cancelled = count(&|c| matches!(self.node(c).status, StepStatus::Cancelled | StepStatus::Interrupted));
        if cancelled > 0 {
            let reason = self.reason(id, "cancelled", format!("{cancelled} of {} instances were cancelled", children.len()));
            return self.emit(now, Some(id), EventKind::StepCancelled { reason });
        }
        if !children.is_empty() && skipped == children.len() {
            let reason = self.reason(id, "all_skipped", "all its instances were skipped");
            return self.emit(now, Some(id), EventKind::StepSkipped { reason });
        }
        if failures > self.tolerated(id, children.len()) {
            let error = self.fan_error(id, &children, failures);
            return self.emit(now, Some(id), EventKind::StepFailed { error });
        }
        let outputs = Json::Array(children.iter().map(|c| self.outputs_of(*c)).collect());
        self.emit(now, Some(id), EventKind::StepSucceeded { outputs, artifacts: BTreeMap::new() })
    }

    fn tolerated(&self, id: NodeId, all: usize) -> usize {
        match self.spec(id).tolerate {
            None => 0,
            Some(Tolerate::Count(count)) => count as usize,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "at most 100,000 instances, a share of 0 to 100"
            )]
            Some(Tolerate::Percent(percent)) => (all as f64 * percent / 100.0).floor() as usize,
        }
    }

    fn fan_error(&self, id: NodeId, children: &[NodeId], failures: usize) -> StepError {
        let failed = children.iter().filter(|c| self.node(**c).status.is_failure() && !self.is_allowed(**c));
        let names = few(failed.map(|c| &self.node(*c).path), 5);
        let tolerated = match self.tolerated(id, children.len()) {
            0 => String::new(),
            n => format!(" ({n} tolerated)"),
        };
        let message = format!("{failures} of {} instances failed{tolerated}: {names}", children.len());
        StepError { reason: ErrorReason::Exit, code: None, message, log: None }
    }

    fn close_scope(&mut self, id: ScopeId, now: Timestamp) -> Finished {
        let scope = self.scope(id);
        let live = match scope.parent {
            Some(parent) => self.is_inside(parent),
            None => self.is_driven(),
        };
        if scope.open_main > 0 || !live || self.pausing {
            return Ok(());
        }
        if scope.parent.is_none() && !self.is_taken_back(now)? {
            return Ok(());
        }
        let scope = self.scope(id);
        if let Some(parent) = scope.parent.filter(|p| self.node(*p).suspect) {
            return self.confirm_tree(parent, id, now);
        }
        if scope.open_finally > 0 {
            let finally: Vec<NodeId> = scope.nodes.iter().copied().filter(|n| self.spec(*n).finally).collect();
            self.scopes[id as usize].closing = true;
            let instances = finally.iter().flat_map(|n| self.node(*n).fan.iter().flat_map(|f| f.children.iter().copied()));
            let instances: Vec<NodeId> = instances.collect();
            self.todo.extend(finally.into_iter().chain(instances));
            return Ok(());
        }
        match scope.parent {
            Some(parent) => self.finish_tree(parent, id, now),
            None => self.finish_run(now),
        }
    }

    /// The steps of a scope whose failure is its failure.
    fn failures(&self, id: ScopeId) -> Vec<NodeId> {
        let bad = |n: &NodeId| self.node(*n).status.is_failure() && !self.is_allowed(*n);
        self.scope(id).nodes.iter().copied().filter(bad).collect()
    }

    fn finish_tree(&mut self, parent: NodeId, child: ScopeId, now: Timestamp) -> Finished {
        let halt = self.scope(child).halt;
        let failures = self.failures(child);
        if self.halted(parent).is_some_and(Halt::ends_all) && !self.scope_done(child) {
            let reason = self.reason(parent, "cancelled", "its sub-tree was cancelled");
            self.emit(now, Some(parent), EventKind::StepCancelled { reason })?;
        } else if halt == Some(Halt::Late) && !failures.is_empty() {
            let error = StepError {
                reason: ErrorReason::Timeout,
                code: None,
                message: "the sub-tree took longer than its timeout".into(),
                log: None,
            };
            self.failed(parent, error, false, now)?;
        } else if failures.is_empty() {
            return self.finish_tree_well(parent, child, now);
        } else {
            let error = self.scope_error(&failures);
            self.failed(parent, error, false, now)?;
        }
        self.release(parent);
        Ok(())
    }

    fn scope_done(&self, id: ScopeId) -> bool {
        self.scope(id)
            .nodes
            .iter()
            .all(|n| self.node(*n).status.is_success() || self.node(*n).status == StepStatus::Skipped || self.is_allowed(*n))
    }

    fn finish_tree_well(&mut self, parent: NodeId, child: ScopeId, now: Timestamp) -> Finished {
        match self.tree_outputs(child) {
            (_, Some(message)) => {
                let error = StepError { reason: ErrorReason::Output, code: None, message, log: None };
                self.failed(parent, error, true, now)?;
            }
            (outputs, None) if self.spec(parent).verify.is_some() => {
                self.drop_timer(parent);
                self.emit(now, Some(parent), EventKind::ActionSucceeded { outputs, artifacts: BTreeMap::new() })?;
                self.launched(parent, Mode::Verify);
                return Ok(());
            }
            (outputs, None) => {
                let outputs = if outputs.is_empty() { Json::Null } else { Json::Object(outputs) };
                self.emit(now, Some(parent), EventKind::StepSucceeded { outputs, artifacts: BTreeMap::new() })?;
            }
        }
        self.release(parent);
        Ok(())
    }

    fn scope_error(&self, failures: &[NodeId]) -> StepError {
        let names = few(failures.iter().map(|n| format!("{} ({})", self.node(*n).path, self.node(*n).status.as_str())), 5);
        StepError { reason: ErrorReason::Exit, code: None, message: format!("steps of the sub-tree failed: {names}"), log: None }
    }

    /// The outputs of a tree: null where one cannot be computed, with the first such message.
    pub(super) fn tree_outputs(&self, id: ScopeId) -> (Object, Option<String>) {
        let tree = Arc::clone(&self.scope(id).tree);
        let mut outputs = Object::new();
        let mut wrong = None;
        for (name, template) in &tree.outputs {
            let value = self.scope_names(id, &template.exprs()).and_then(|names| template.evaluate(&names));
            outputs.insert(name.clone(), value.as_ref().ok().cloned().unwrap_or(Json::Null));
            if let Err(message) = value {
                wrong.get_or_insert(format!("outputs.{name}: {message}"));
            }
        }
        (outputs, wrong)
    }

    fn finish_run(&mut self, now: Timestamp) -> Finished {
        let failures = self.failures(ROOT);
        let halt = self.scope(ROOT).halt;
        let (outputs, wrong) = self.tree_outputs(ROOT);
        let (status, error) = match halt {
            _ if self.rollback.is_some() => self.rollback_result(),
            Some(Halt::Cancelled) => (RunStatus::Cancelled, None),
            Some(Halt::Late) => {
                (RunStatus::Failed, self.tree.deadline.map(|d| format!("its deadline of {} passed", crate::units::show(d))))
            }
            _ if !failures.is_empty() => (RunStatus::Failed, None),
            _ if wrong.is_some() && !self.is_part() => (RunStatus::Failed, wrong),
            _ if self.has_warnings() => (RunStatus::SucceededWithWarnings, None),
            _ => (RunStatus::Succeeded, None),
        };
        self.emit(
            now,
            None,
            EventKind::RunFinished { status, outputs, error, progress: Some(self.progress()), deployed: self.deployed() },
        )?;
        self.unlock_all();
        Ok(())
    }

    /// Whether a failure was allowed or tolerated.
    fn has_warnings(&self) -> bool {
        (0..super::tables::index(self.nodes.len())).any(|id| self.node(id).status.is_failure() && self.is_kept(id) && self.has_part(id))
    }

    /// Whether what contains a node came out well in this pass, with it among its parts: a fan-out or sub-tree that was
    /// skipped in the end keeps what a former pass left in it.
    fn has_part(&self, id: NodeId) -> bool {
        let mut at = id;
        while let Some(container) = self.container(at) {
            let (node, fan) = (self.node(at), self.node(container).fan.as_ref());
            let listed = node.group.is_none() || fan.is_some_and(|f| node.item.as_ref().is_some_and(|i| f.by_key.get(&i.key) == Some(&at)));
            if !listed || !self.is_kept(container) {
                return false;
            }
            at = container;
        }
        true
    }

    /// Whether the run has used up its deadline.
    pub(super) fn is_over(&self) -> bool {
        self.tree.deadline.is_some_and(|d| self.clock.worked >= d)
    }

    /// Halts the run when its time is over.
    pub(super) fn check_deadline(&mut self) {
        let main = self.scopes.first().is_some_and(|s| s.open_main > 0);
        if self.rollback.is_none() && self.is_over() && main && matches!(self.scope(ROOT).halt, None | Some(Halt::Stopped | Halt::Failing))
        {
            self.scopes[ROOT as usize].halt = Some(Halt::Late);
        }
    }

    /// When the run's deadline passes if it goes on being driven.
    pub(super) fn deadline_at(&self) -> Option<Timestamp> {
        let (deadline, last) = (self.tree.deadline?, self.clock.last?);
        if self.only_people()
            || self.rollback.is_some()
            || self.scopes.first().is_none_or(|s| s.open_main == 0 || matches!(s.halt, Some(Halt::Cancelled | Halt::Late)))
        {
            return None;
        }
        let left = SignedDuration::try_from(deadline.saturating_sub(self.clock.worked)).ok()?;
        last.checked_add(left).ok()
    }

    /// Acts once on a halt of the run.
    pub(super) fn sweep_halted(&mut self, now: Timestamp) -> Finished {
        let halt = self.scopes.first().and_then(|s| s.halt);
        if halt.is_none() || halt == self.swept {
            return Ok(());
        }
        self.swept = halt;
        self.sweep(ROOT, now)
    }

    /// Ends what has not started in a halted scope, and asks for the end of what runs there.
    pub(super) fn sweep(&mut self, scope: ScopeId, now: Timestamp) -> Finished {
        let mut scopes = vec![scope];
        while let Some(scope) = scopes.pop() {
            let mut nodes = self.scope(scope).nodes.clone();
            nodes.reverse();
            while let Some(id) = nodes.pop() {
                if self.spec(id).finally {
                    continue;
                }
                if self.node(id).status == StepStatus::Running || self.is_reopening(id) {
                    nodes.extend(self.node(id).fan.iter().flat_map(|f| f.children.iter().rev()));
                    scopes.extend(self.node(id).child);
                }
                self.sweep_node(id, now)?;
            }
        }
        Ok(())
    }

    fn sweep_node(&mut self, id: NodeId, now: Timestamp) -> Finished {
        let Some(halt) = self.halted(id) else { return Ok(()) };
        let node = self.node(id);
        match (node.status, node.stage) {
            _ if node.counted => Ok(()),
            // It stays once the looks at its parts that are under way have ended.
            _ if self.is_reopening(id) => Ok(()),
            _ if node.suspect => {
                self.keep(id);
                Ok(())
            }
            // What happened is a person's to say, whatever else ends; only a cancel does not wait for it.
            (StepStatus::Waiting, _) if self.is_in_doubt(id) && !halt.ends_all() => Ok(()),
            (StepStatus::Interrupted, _) if self.is_in_doubt(id) && !halt.ends_all() => self.settle_interrupted(id, now),
            (_, Stage::Preparing | Stage::Stopping) => Ok(()),
            (_, Stage::Active) => {
                match halt {
                    Halt::Late => self.stop(id, Why::Timeout),
                    Halt::Cancelled | Halt::Failing if (self.cancel_now && halt == Halt::Cancelled) || !self.is_external(id) => {
                        self.stop(id, Why::Cancel);
                    }
                    Halt::Cancelled | Halt::Failing | Halt::RolledBack | Halt::Stopped => {}
                }
                Ok(())
            }
            (StepStatus::Running, _) => Ok(()),
            (_, _) => {
                self.leave_queue(id);
                self.end_halted(id, halt, now)
            }
        }
    }
}
