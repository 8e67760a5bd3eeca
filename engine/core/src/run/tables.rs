//! The tables of a run: scopes, nodes and their counters. Every change of a status goes through
//! [`Run::set`], so that what is ready is known without a search.

use super::state::{Fan, Links, Node, NodeId, ROOT, Scope, ScopeId, Stage};
use super::{Closing, Run};
use crate::event::{Item, StepStatus};
use crate::path::StepPath;
use crate::tree::{Action, NeedKind, Tree};
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

impl Run {
    /// Makes a scope with a node for each step of its tree.
    pub(super) fn open_scope(&mut self, tree: Arc<Tree>, parent: Option<NodeId>, environment: String) -> ScopeId {
        let id = index(self.scopes.len());
        let links = Arc::clone(self.links.entry(Arc::as_ptr(&tree) as usize).or_insert_with(|| Arc::new(Links::of(&tree))));
        let base = parent.map(|p| self.node(p).path.clone());
        let mut nodes = Vec::with_capacity(tree.steps.len());
        self.nodes.reserve(tree.steps.len());
        for (step, spec) in (0u32..).zip(&tree.steps) {
            let path = base.as_ref().map_or_else(|| StepPath::root(&spec.id), |b| b.child(&spec.id));
            nodes.push(self.add(Node::new(id, step, path)));
        }
        self.scopes.push(Scope {
            tree,
            links,
            parent,
            environment,
            nodes,
            open_main: 0,
            open_finally: 0,
            closing: false,
            halt: None,
            params: OnceCell::new(),
            surroundings: RefCell::default(),
        });
        id
    }

    pub(super) fn add(&mut self, mut node: Node) -> NodeId {
        let id = index(self.nodes.len());
        if let Some(attempt) = self.spent.get(&node.path) {
            // Another step had the path: its logs and its deeds are not this one's.
            node.attempt = *attempt;
            node.more().deed = Some(format!("{}\n{attempt}", node.path));
        }
        self.paths.insert(node.path.clone(), id);
        self.nodes.push(node);
        id
    }

    /// Counts anew what has not ended in a scope and queues what may be decided.
    pub(super) fn activate(&mut self, scope: ScopeId) {
        self.recount_fans(scope);
        let nodes = self.scope(scope).nodes.clone();
        let links = Arc::clone(&self.scope(scope).links);
        let (mut main, mut last) = (0, 0);
        for (step, id) in nodes.iter().enumerate() {
            self.node_mut(*id).counted = self.is_past(*id);
            if !self.node(*id).counted {
                let counter = if self.spec(*id).finally { &mut last } else { &mut main };
                *counter += 1;
            }
            self.node_mut(*id).open = links.needs[step];
        }
        for (step, id) in nodes.iter().enumerate() {
            if self.node(*id).is_settled() {
                for dependant in &links.dependants[step] {
                    self.node_mut(nodes[*dependant as usize]).open -= 1;
                }
            }
        }
        let at = &mut self.scopes[scope as usize];
        (at.open_main, at.open_finally) = (main, last);
        // A rollback comes before `finally`.
        at.closing = main == 0 && !(scope == ROOT && self.rollback.is_some());
        self.queue_scope(scope);
    }

    /// Queues what may be decided in a scope: at its beginning and after a resume.
    fn queue_scope(&mut self, scope: ScopeId) {
        let at = self.scope(scope);
        let (over, nodes) = (at.open_main == 0, at.nodes.clone());
        if over {
            self.closing.push_back(Closing::Scope(scope));
        }
        for id in nodes {
            if !self.spec(id).finally {
                self.todo.push_back(id);
            }
        }
    }

    /// Makes the instances; one that is known from before is taken up by its key.
    pub(super) fn expand(&mut self, id: NodeId, items: &[Item]) {
        let mut fan = Fan::default();
        for item in items {
            let child = self.instance(id, item);
            self.node_mut(child).open = self.open_partners(id, &item.key);
            fan.open += u32::from(!self.node(child).is_settled());
            fan.by_key.insert(item.key.clone(), child);
            fan.children.push(child);
        }
        self.todo.extend(fan.children.iter().copied());
        self.set(id, StepStatus::Running);
        self.node_mut(id).fan = Some(Box::new(fan));
        self.closing.push_back(Closing::Fan(id));
        self.wake_partners(id);
    }

    fn instance(&mut self, group: NodeId, item: &Item) -> NodeId {
        let (scope, step, path) = (self.node(group).scope, self.node(group).step, self.node(group).path.instance(&item.key));
        let child = match self.find(&path) {
            Some(known) => known,
            None => self.add(Node::new(scope, step, path)),
        };
        let node = self.node_mut(child);
        node.group = Some(group);
        node.item = Some(Box::new(item.clone()));
        node.counted = node.is_settled();
        child
    }

    /// How many instances of other fan-outs (needs `by: key`) an instance waits for.
    fn open_partners(&self, group: NodeId, key: &str) -> u32 {
        let partners = self.partners(group).filter_map(|g| self.node(g).fan.as_ref().and_then(|f| f.by_key.get(key)));
        index(partners.filter(|p| !self.node(**p).is_settled()).count())
    }

    /// The fan-outs that a fan-out needs key by key.
    pub(super) fn partners(&self, group: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let scope = self.scope(self.node(group).scope);
        self.spec(group).needs.iter().filter(|n| n.kind == NeedKind::ByKey).map(|n| scope.nodes[n.step as usize])
    }

    /// Fan-outs that need this one key by key may expand now.
    fn wake_partners(&mut self, id: NodeId) {
        let scope = self.scope(self.node(id).scope);
        let dependants: Vec<NodeId> =
            scope.links.dependants[self.node(id).step as usize].iter().map(|d| scope.nodes[*d as usize]).collect();
        self.todo.extend(dependants);
    }

    pub(super) fn count_instance(&mut self, group: NodeId, id: NodeId) {
        if let Some(fan) = &mut self.node_mut(group).fan {
            fan.open = fan.open.saturating_sub(1);
        }
        self.closing.push_back(Closing::Fan(group));
        let key = self.node(id).item.as_ref().map(|i| i.key.clone()).unwrap_or_default();
        let scope = self.scope(self.node(id).scope);
        let dependants: Vec<NodeId> =
            scope.links.dependants[self.node(id).step as usize].iter().map(|d| scope.nodes[*d as usize]).collect();
        for dependant in dependants {
            let partner = self.node(dependant).fan.as_ref().and_then(|f| f.by_key.get(&key)).copied();
            let Some(partner) = partner.filter(|_| self.partners(dependant).any(|p| p == group)) else { continue };
            let node = self.node_mut(partner);
            node.open = node.open.saturating_sub(1);
            self.todo.push_back(partner);
        }
    }

    pub(super) fn count_step(&mut self, id: NodeId) {
        let scope_id = self.node(id).scope;
        let step = self.node(id).step as usize;
        let finally = self.spec(id).finally;
        let scope = &mut self.scopes[scope_id as usize];
        if finally {
            scope.open_finally = scope.open_finally.saturating_sub(1);
        } else {
            scope.open_main = scope.open_main.saturating_sub(1);
        }
        if scope.open_main == 0 && (!finally || scope.open_finally == 0) {
            self.closing.push_back(Closing::Scope(scope_id));
        }
        let links = Arc::clone(&self.scope(scope_id).links);
        for dependant in &links.dependants[step] {
            let dependant = self.scope(scope_id).nodes[*dependant as usize];
            let node = self.node_mut(dependant);
            node.open = node.open.saturating_sub(1);
            self.todo.push_back(dependant);
        }
    }

    pub(super) fn drop_timer(&mut self, id: NodeId) {
        let Some(more) = &mut self.node_mut(id).more else { return };
        let (retry_at, expires_at) = (more.retry_at.take(), more.expires_at.take());
        retry_at.map(|at| self.retries.remove(&(at, id)));
        expires_at.map(|at| self.limits.remove(&(at, id)));
    }

    /// The status of a node changed; the counters follow.
    pub(super) fn set(&mut self, id: NodeId, status: StepStatus) {
        let was = std::mem::replace(&mut self.node_mut(id).status, status);
        if was == status {
            return;
        }
        let leaf = self.is_leaf(id);
        if let Some(counter) = self.count.of(was, leaf) {
            *counter -= 1;
        }
        if let Some(counter) = self.count.of(status, leaf) {
            *counter += 1;
        }
    }

    /// Forgets how a node ended and starts counting anew.
    pub(super) fn renew(&mut self, id: NodeId) {
        self.drop_timer(id);
        self.set(id, StepStatus::Pending);
        self.node_mut(id).counted = false;
        self.node_mut(id).forget();
    }

    /// The stage of a node changed; the counters follow.
    pub(super) fn stage(&mut self, id: NodeId, stage: Stage) {
        let leaf = !matches!(self.spec(id).action, Action::Tree { .. });
        let was = self.node(id).is_busy();
        self.node_mut(id).stage = stage;
        let is = self.node(id).is_busy();
        match (was, is) {
            (false, true) => {
                self.count.outstanding += 1;
                self.count.busy += u32::from(leaf);
            }
            (true, false) => {
                self.count.outstanding -= 1;
                self.count.busy -= u32::from(leaf);
            }
            (true, true) | (false, false) => {}
        }
    }
}

/// Tables are far smaller than 2^32: a tree has at most 100,000 steps.
pub(super) fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
