//! After what each step may be taken back: the edges of the graph reversed, containers around their
//! parts.
//!
//! A node has two moments: `begin`, when what needs it is taken back and its own undo may start, and
//! `end`, when that and its parts are done. An edge says that one moment comes after another.

use super::Run;
use super::rollback::Stay;
use super::state::{NodeId, distinct};
use crate::tree::NeedKind;
use std::collections::{HashMap, HashSet, VecDeque};

/// A moment of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Begin(NodeId),
    End(NodeId),
}

impl Moment {
    pub fn index(self) -> usize {
        match self {
            Self::Begin(id) => id as usize * 2,
            Self::End(id) => id as usize * 2 + 1,
        }
    }

    fn of(index: u32) -> Self {
        if index.is_multiple_of(2) { Self::Begin(index / 2) } else { Self::End(index / 2) }
    }
}

/// The moments that have not come yet.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// By moment: how many others it waits for.
    waits: Vec<u32>,
    /// By moment: those that wait for it.
    then: Vec<Vec<u32>>,
    free: VecDeque<Moment>,
    /// Nodes whose undo has its turn and has not ended.
    pub open: HashSet<NodeId>,
    /// What must not be taken back.
    pub stay: Stay,
    /// Nothing more can be taken back.
    pub done: bool,
}

impl Order {
    pub fn of(run: &Run, stay: Stay) -> Self {
        let count = run.nodes.len() * 2;
        let mut order =
            Self { waits: vec![0; count], then: vec![Vec::new(); count], free: VecDeque::new(), open: HashSet::new(), stay, done: false };
        let mut groups: HashMap<NodeId, HashMap<&str, NodeId>> = HashMap::new();
        for (id, node) in (0u32..).zip(&run.nodes) {
            order.edge(Moment::Begin(id), Moment::End(id));
            let container = node.group.or(run.scope(node.scope).parent);
            if let Some(container) = container {
                order.edge(Moment::Begin(container), Moment::Begin(id));
                order.edge(Moment::End(id), Moment::End(container));
            }
            if let (Some(group), Some(item)) = (node.group, &node.item) {
                groups.entry(group).or_default().insert(&item.key, id);
            }
        }
        for id in (0u32..).zip(&run.nodes).filter(|(_, n)| n.group.is_none()).map(|(id, _)| id) {
            order.needs(run, id, &groups);
        }
        order.free = (0u32..).zip(&order.waits).filter(|(_, waits)| **waits == 0).map(|(index, _)| Moment::of(index)).collect();
        order
    }

    /// What a step needs is taken back after it; instance after instance where it is needed by key.
    fn needs(&mut self, run: &Run, id: NodeId, groups: &HashMap<NodeId, HashMap<&str, NodeId>>) {
        let (scope, spec) = (run.scope(run.node(id).scope), run.spec(id));
        let whole = |step: u32| spec.needs.iter().any(|n| n.step == step && n.kind != NeedKind::ByKey);
        for step in distinct(spec) {
            let need = scope.nodes[step as usize];
            if whole(step) {
                self.edge(Moment::End(id), Moment::Begin(need));
                continue;
            }
            let (Some(own), Some(theirs)) = (groups.get(&id), groups.get(&need)) else { continue };
            for (key, instance) in own {
                if let Some(partner) = theirs.get(key) {
                    self.edge(Moment::End(*instance), Moment::Begin(*partner));
                }
            }
        }
    }

    fn edge(&mut self, from: Moment, to: Moment) {
        self.then[from.index()].push(super::tables::index(to.index()));
        self.waits[to.index()] += 1;
    }

    /// The moments that wait for one.
    pub fn followers(&self, moment: Moment) -> &[u32] {
        &self.then[moment.index()]
    }

    /// The next moment that has come and waits for nothing.
    pub fn next(&mut self) -> Option<Moment> {
        self.free.pop_front()
    }

    /// A moment is past: those that waited for it alone come next.
    pub fn pass(&mut self, moment: Moment) {
        for index in std::mem::take(&mut self.then[moment.index()]) {
            self.waits[index as usize] -= 1;
            if self.waits[index as usize] == 0 {
                self.free.push_back(Moment::of(index));
            }
        }
    }
}
