//! A resume with another definition: the tables are made anew from the new tree, and what is known
//! of each step moves to the one with its id, or that names it in `was`.
//!
//! Whether it may stay there is decided by hashes, as in every resume.

use super::state::{Fan, Node, NodeId, ROOT, Scope, ScopeId, Stage};
use super::tables::index;
use super::{Count, Run};
use crate::event::{Event, EventKind};
use crate::language::{self, Given};
use crate::path::StepPath;
use crate::tree::{Action, Heirs, Tree, forebears};
use std::collections::HashMap;
use std::sync::Arc;

/// The trees that a run went through.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// The one it began with.
    pub first: Arc<Tree>,
    /// Those that resumes brought, by digest, in order.
    pub later: Vec<(String, Arc<Tree>)>,
}

impl Definitions {
    /// The one in force.
    pub fn newest(&self) -> &Arc<Tree> {
        self.later.last().map_or(&self.first, |(_, tree)| tree)
    }

    /// The events as the newest tree names their steps, to be shown: those of a step that it has under another
    /// name have that one, and those of a step that is gone are left out.
    pub fn retold(&self, events: &[Event]) -> Vec<Event> {
        let mut told: Vec<Event> = Vec::with_capacity(events.len());
        let mut in_force = &self.first;
        for event in events {
            if let EventKind::RunResumed { definition: Some(digest), .. } = &event.kind
                && let Some((_, tree)) = self.later.iter().find(|(known, _)| known == digest)
            {
                told = renamed(told, in_force, tree);
                in_force = tree;
            }
            told.push(event.clone());
        }
        if Arc::ptr_eq(in_force, self.newest()) { told } else { renamed(told, in_force, self.newest()) }
    }
}

fn renamed(events: Vec<Event>, from: &Tree, to: &Tree) -> Vec<Event> {
    let heirs = Heirs::of(from, to);
    let rename = |event: Event| {
        let step = match &event.step {
            Some(path) if !path.0.starts_with("environment:") => Some(StepPath(heirs.name(&path.0)?)),
            other => other.clone(),
        };
        Some(Event { step, ..event })
    };
    events.into_iter().filter_map(rename).collect()
}

impl From<Arc<Tree>> for Definitions {
    fn from(first: Arc<Tree>) -> Self {
        Self { first, later: Vec::new() }
    }
}

/// The tables before.
struct Old {
    scopes: Vec<Scope>,
    nodes: Vec<Option<Node>>,
    instances: HashMap<NodeId, Vec<NodeId>>,
}

impl Run {
    /// The run goes on with another tree.
    pub(super) fn adopt(&mut self, tree: Arc<Tree>) {
        let nodes: Vec<Node> = std::mem::take(&mut self.nodes);
        let mut instances: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for (id, node) in (0u32..).zip(&nodes) {
            if let Some(group) = node.group {
                instances.entry(group).or_default().push(id);
            }
        }
        let mut old = Old { scopes: std::mem::take(&mut self.scopes), nodes: nodes.into_iter().map(Some).collect(), instances };
        self.paths.clear();
        self.spend(&old);
        self.links.clear();
        self.count = Count::default();
        self.adopt_params(&tree);
        self.tree = Arc::clone(&tree);
        let environment = self.facts.as_ref().map(|f| f.environment.clone()).unwrap_or_default();
        self.open_scope(tree, None, environment);
        let mut open = vec![(ROOT, ROOT)];
        while let Some((from, to)) = open.pop() {
            self.carry_scope(&mut old, from, to, &mut open);
        }
        let left = old.nodes.iter().flatten().filter(|n| n.more.as_ref().is_some_and(|m| m.acted || !m.intents.is_empty()));
        self.lost.extend(left.map(|n| (n.path.clone(), n.status)));
        for id in 0..index(self.nodes.len()) {
            let (status, leaf) = (self.node(id).status, self.is_leaf(id));
            if let Some(counter) = self.count.of(status, leaf) {
                *counter += 1;
            }
        }
    }

    /// The names that steps get with a definition that a resume brings.
    pub fn heirs(&self, digest: &str) -> Option<Heirs> {
        self.later.iter().find(|(known, _)| known == digest).map(|(_, tree)| Heirs::of(&self.tree, tree))
    }

    /// What was begun under a path stays its own, whoever has the path from here on.
    fn spend(&mut self, old: &Old) {
        for node in old.nodes.iter().flatten().filter(|node| node.attempt > 0) {
            let spent = self.spent.entry(node.path.clone()).or_default();
            *spent = node.attempt.max(*spent);
        }
    }

    /// Parameters that the new tree adds have their defaults.
    fn adopt_params(&mut self, tree: &Arc<Tree>) {
        let Some(facts) = &mut self.facts else { return };
        let given: Vec<(String, Given)> = facts.params.iter().map(|(name, value)| (name.clone(), Given::Value(value.clone()))).collect();
        if let Ok(params) = language::params(tree, &given) {
            facts.params = params;
        }
    }

    fn carry_scope(&mut self, old: &mut Old, from: ScopeId, to: ScopeId, open: &mut Vec<(ScopeId, ScopeId)>) {
        let known = &old.scopes[from as usize];
        let forebears = forebears(&known.tree, &self.scope(to).tree);
        let pairs = forebears.into_iter().zip(&self.scope(to).nodes).filter_map(|(was, id)| Some((known.nodes[was? as usize], *id)));
        for (was, id) in pairs.collect::<Vec<_>>() {
            self.carry(old, was, id, open);
        }
    }

    fn carry(&mut self, old: &mut Old, was: NodeId, id: NodeId, open: &mut Vec<(ScopeId, ScopeId)>) {
        let Some(node) = old.nodes[was as usize].take() else { return };
        let instances = old.instances.remove(&was).unwrap_or_default();
        let many = node.fan.is_some() || !instances.is_empty();
        if many != self.spec(id).fan_out.is_some() {
            // It was one and is many now, or the other way round: it begins anew.
            return;
        }
        let (child, shown) = (node.child, node.fan.as_ref().map(|f| f.children.clone()));
        self.take_over(id, node);
        if let Some(child) = child {
            self.carry_child(id, child, open);
        }
        let mut fan = Fan::default();
        for instance in instances {
            let Some(node) = old.nodes[instance as usize].take() else { continue };
            let key = node.item.as_ref().map(|i| i.key.clone()).unwrap_or_default();
            let path = self.node(id).path.instance(&key);
            let fresh = self.add(Node::new(self.node(id).scope, self.node(id).step, path));
            let (child, item) = (node.child, node.item.clone());
            self.take_over(fresh, node);
            let new = self.node_mut(fresh);
            (new.group, new.item) = (Some(id), item);
            if let Some(child) = child {
                self.carry_child(fresh, child, open);
            }
            if shown.as_ref().is_some_and(|s| s.contains(&instance)) {
                fan.by_key.insert(key, fresh);
                fan.children.push(fresh);
            }
        }
        if shown.is_some() {
            self.node_mut(id).fan = Some(Box::new(fan));
        }
    }

    fn carry_child(&mut self, id: NodeId, child: ScopeId, open: &mut Vec<(ScopeId, ScopeId)>) {
        let Action::Tree { tree, .. } = &self.spec(id).action else { return };
        let (tree, environment) = (Arc::clone(tree), self.environment_of(id));
        let fresh = self.open_scope(tree, Some(id), environment);
        self.node_mut(id).child = Some(fresh);
        open.push((child, fresh));
    }

    /// What is known of a step, under its new name.
    fn take_over(&mut self, id: NodeId, old: Node) {
        let node = self.node_mut(id);
        let moved = node.path != old.path;
        (node.status, node.stage, node.follows) = (old.status, Stage::Idle, old.follows);
        (node.attempt, node.tries) = (if moved { node.attempt.max(old.attempt) } else { old.attempt }, old.tries);
        (node.result, node.error, node.more) = (old.result, old.error, old.more);
        if moved && node.attempt > 0 {
            node.more().deed.get_or_insert(old.path.0);
        }
    }
}
