//! What people decide: approvals, unknown outcomes, the end of a run.

use super::state::NodeId;
use super::{IllegalEvent, Run, Why};
use crate::event::{EventKind, Json, Object, Resolution, StepStatus};
use crate::hash;
use crate::path::StepPath;
use crate::tree::Action;
use jiff::Timestamp;
use std::collections::BTreeMap;

type Answered = Result<(), IllegalEvent>;

impl Run {
    /// An approval step has its turn.
    pub(super) fn ask_person(&mut self, id: NodeId, now: Timestamp) -> Answered {
        let (message, shown) = match self.question(id) {
            Ok(question) => question,
            Err(message) => return self.fail_early(id, message, now),
        };
        let Action::Approve { timeout, .. } = self.spec(id).action else { return Ok(()) };
        let expires_at = timeout.and_then(|t| now.checked_add(t).ok());
        self.emit(now, Some(id), EventKind::ApprovalRequested { message, shown, expires_at })?;
        let name = self.node(id).path.0.clone();
        if self.is_approved_beforehand(&name) { self.answer(&name, true, "--approve", None, now) } else { Ok(()) }
    }

    /// The question and the digest of what it shows.
    pub(super) fn question(&self, id: NodeId) -> Result<(String, String), String> {
        let Action::Approve { message, .. } = &self.spec(id).action else { return Ok(Default::default()) };
        let names = self.names(id, &message.exprs(), &Object::new())?;
        let value = message.evaluate(&names).map_err(|e| format!("approve.message: {e}"))?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = hash::bytes(text.as_bytes());
        Ok((text, shown))
    }

    /// A question that waits is asked again where what it shows has changed.
    pub(super) fn ask_again(&mut self, id: NodeId, now: Timestamp) -> Answered {
        let old = self.node(id).more.as_ref().map(|m| m.shown.clone()).unwrap_or_default();
        match self.question(id) {
            Ok((_, shown)) if shown == old && !self.is_approved_beforehand(self.node(id).path.as_str()) => Ok(()),
            Ok(_) => {
                self.drop_timer(id);
                self.ask_person(id, now)
            }
            Err(message) => self.fail_early(id, message, now),
        }
    }

    pub(super) fn is_approved_beforehand(&self, name: &str) -> bool {
        self.approved.iter().any(|a| a == "*" || a == name || Some(a.as_str()) == name.split('[').next() || same(a, name))
    }

    /// A yes or no; one to what is not asked is not heard.
    pub(super) fn answer(&mut self, name: &str, yes: bool, actor: &str, note: Option<String>, now: Timestamp) -> Answered {
        let kind = if yes { EventKind::ApprovalGiven { note } } else { EventKind::ApprovalRejected { note } };
        let actor = Some(actor.to_owned());
        if let Some(environment) = name.strip_prefix("environment:") {
            let asked = self.gates.get(environment).is_some_and(|g| g.asked && g.answer.is_none());
            if asked && self.is_driven() {
                self.record(now, Some(StepPath(name.into())), None, actor, kind)?;
                let queue = self.gates.get_mut(environment).map(|g| std::mem::take(&mut g.queue)).unwrap_or_default();
                self.ready.extend(queue);
            }
            return Ok(());
        }
        let Some(id) = self.named(name).filter(|id| self.is_asked(*id)) else { return Ok(()) };
        let path = self.node(id).path.clone();
        self.record(now, Some(path), None, actor, kind)?;
        if yes { self.emit(now, Some(id), EventKind::StepSucceeded { outputs: Json::Null, artifacts: BTreeMap::new() }) } else { Ok(()) }
    }

    fn is_asked(&self, id: NodeId) -> bool {
        self.is_approval(id) && self.node(id).status == StepStatus::Waiting
    }

    /// A step by its path, or by the form of the command line, `smoke:general`.
    pub(super) fn named(&self, name: &str) -> Option<NodeId> {
        let exact = self.find(&StepPath(name.into()));
        exact.or_else(|| name.split_once(':').and_then(|(step, key)| self.find(&StepPath::root(step).instance(key))))
    }

    /// Settles an unknown outcome, or one that a resume would settle by itself.
    pub(super) fn resolve(
        &mut self,
        name: &str,
        resolution: Resolution,
        outputs: Object,
        actor: &str,
        note: Option<String>,
        now: Timestamp,
    ) -> Answered {
        let open = |id: &NodeId| {
            matches!(self.node(*id).status, StepStatus::Pending | StepStatus::Waiting | StepStatus::Interrupted | StepStatus::RetryWait)
        };
        let settles = |id: &NodeId| !self.is_approval(*id) && !self.node(*id).is_busy();
        let Some(id) = self.named(name).filter(open).filter(settles) else { return Ok(()) };
        self.leave_queue(id);
        let node = self.node(id);
        let (path, attempt) = (node.path.clone(), (node.attempt > 0).then_some(node.attempt));
        self.record(now, Some(path), attempt, Some(actor.into()), EventKind::StepResolved { resolution, note, outputs })
    }

    /// `trees cancel`: from now on nothing in `steps` starts.
    pub(super) fn cancel(&mut self, actor: &str, at_once: bool, now: Timestamp) -> Answered {
        if !self.is_driven() {
            return Ok(());
        }
        self.record(now, None, None, Some(actor.into()), EventKind::CancelRequested { now: at_once })?;
        self.swept = None;
        if self.rollback.is_some() && at_once {
            self.stop_all(Why::Cancel);
        }
        Ok(())
    }
}

/// `smoke:general` names `smoke[general]`.
fn same(short: &str, path: &str) -> bool {
    short.split_once(':').is_some_and(|(step, key)| StepPath::root(step).instance(key).as_str() == path)
}
