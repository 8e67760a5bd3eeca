//! The tables of a run: scopes (a tree at work) and nodes (a step, or an instance of one).

use crate::event::{ArtifactRef, Digests, Item, Json, Object, StepError, StepStatus};
use crate::path::StepPath;
use crate::tree::{Step, Tree};
use jiff::Timestamp;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Index into the table of nodes.
pub(super) type NodeId = u32;
/// Index into the table of scopes.
pub(super) type ScopeId = u32;
/// The scope of the top tree.
pub(super) const ROOT: ScopeId = 0;

/// A tree at work: the top one, or a sub-tree in place.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub tree: Arc<Tree>,
    pub links: Arc<Links>,
    /// The node whose action it is.
    pub parent: Option<NodeId>,
    /// The environment it works for.
    pub environment: String,
    /// The node of each step, by the step's index.
    pub nodes: Vec<NodeId>,
    /// Steps that have not ended.
    pub open_main: u32,
    /// Steps of `finally` that have not ended.
    pub open_finally: u32,
    /// `finally` has begun.
    pub closing: bool,
    /// Nothing in `steps` starts any more.
    pub halt: Option<Halt>,
    pub params: OnceCell<Result<Object, String>>,
    /// Vars and env by environment, computed when first asked for.
    pub surroundings: RefCell<BTreeMap<String, Arc<Surroundings>>>,
}

/// The computed vars and environment variables of a tree in one environment.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub vars: Result<Object, String>,
    pub env: Result<Vec<(String, String)>, String>,
}

/// Why nothing starts any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// `on_failure: stop`.
    Stopped,
    /// `on_failure: cancel`: what runs is ended too.
    Failing,
    /// `trees cancel`.
    Cancelled,
    /// `trees rollback` of a run that had not ended.
    RolledBack,
    /// A `timeout` or `deadline` passed.
    Late,
}

impl Halt {
    /// Nothing goes on, not even what is in doubt.
    pub fn ends_all(self) -> bool {
        matches!(self, Self::Cancelled | Self::RolledBack)
    }
}

/// Who needs whom, turned around; the same for all scopes of a tree.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By step: the steps that need it, each once.
    pub dependants: Vec<Vec<u32>>,
    /// By step: how many different steps it needs.
    pub needs: Vec<u32>,
}

impl Links {
    pub fn of(tree: &Tree) -> Self {
        let mut links = Self { dependants: vec![Vec::new(); tree.steps.len()], needs: vec![0; tree.steps.len()] };
        for (index, step) in (0u32..).zip(&tree.steps) {
            for need in distinct(step) {
                links.dependants[need as usize].push(index);
                links.needs[index as usize] += 1;
            }
        }
        links
    }
}

/// The different steps that a step needs.
pub(super) fn distinct(step: &Step) -> Vec<u32> {
    if step.needs.len() < 2 {
        return step.needs.iter().map(|n| n.step).collect();
    }
    let set: BTreeSet<u32> = step.needs.iter().map(|n| n.step).collect();
    set.into_iter().collect()
}

/// A step at work, or one instance of it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub scope: ScopeId,
    pub step: u32,
    pub path: StepPath,
    /// The fan-out it is an instance of.
    pub group: Option<NodeId>,
    pub status: StepStatus,
    pub stage: Stage,
    /// It was skipped or blocked because of what others did: the same again while they stay so.
    pub follows: bool,
    /// It ended well before this sitting, and whether it stays so is not settled yet.
    pub suspect: bool,
    /// Those that count it know that it ended (an attempt that a cancel interrupted ends so).
    pub counted: bool,
    /// The number of the last attempt.
    pub attempt: u32,
    /// Attempts that count, since it was last pending.
    pub tries: u32,
    /// Needs that have not ended.
    pub open: u32,
    /// The sub-tree at work.
    pub child: Option<ScopeId>,
    pub fan: Option<Box<Fan>>,
    pub item: Option<Box<Item>>,
    pub result: Option<Box<Product>>,
    pub error: Option<Box<StepError>>,
    pub more: Option<Box<More>>,
}

/// What came of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Product {
    pub outputs: Json,
    pub artifacts: BTreeMap<String, ArtifactRef>,
}

/// The instances of a fan-out.
#[derive(Debug, Default, Clone)]
pub(super) struct Fan {
    pub children: Vec<NodeId>,
    pub by_key: BTreeMap<String, NodeId>,
    /// Instances that have not ended.
    pub open: u32,
    /// Instances that hold a place of its `max_parallel`.
    pub active: u32,
    /// Instances that wait for such a place.
    pub queue: VecDeque<NodeId>,
}

/// What few nodes have.
#[derive(Debug, Default, Clone)]
pub(super) struct More {
    pub retry_at: Option<Timestamp>,
    /// The run's driven time when it first started since it was last pending.
    pub begun: Option<Duration>,
    pub expires_at: Option<Timestamp>,
    /// The action is recorded as ended.
    pub action: Option<Product>,
    pub digests: Option<Digests>,
    /// An unknown outcome is being looked at; what it was.
    pub unknown: Option<StepError>,
    /// Its success was thrown away so often; part of the idempotency key.
    pub generation: u32,
    /// The digest of what an approval shows.
    pub shown: String,
    /// It waits for a person's decision.
    pub undecided: bool,
    /// It failed without a known outcome (`on_crash: fail`): a person says whether it runs again.
    pub doubted: bool,
    /// Intents, in order.
    pub intents: Vec<Json>,
    /// Its action succeeded in this run and is not taken back.
    pub acted: bool,
    /// The outcome of its last attempt is unknown.
    pub unsettled: bool,
    /// The event with which its last attempt, or its question, began; 0 where there was none or it is
    /// taken back.
    pub begun_at: u64,
    /// The event with which it last ended.
    pub ended_at: u64,
    /// Tries of its undo in this rollback.
    pub undo_tries: u32,
    /// Tries of its undo in all.
    pub undos: u32,
    /// What its idempotency key is made of, where that is not its path.
    pub deed: Option<String>,
    /// It ended with the run's beginning, by what was asked for.
    pub aside: Option<Aside>,
}

/// Why a step was settled before anything ran (`--only`, `--from`, `--skip`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    /// Another run's result stands for it.
    TakenOver,
    /// Nobody asked for it.
    NotAsked,
    /// A person skips it.
    Skipped,
}

/// Where a node is in this sitting; never recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was asked for it.
    Idle,
    /// It waits for a place, a pool, a lock or an approval of its environment.
    Queued,
    /// A prepare is under way.
    Preparing,
    /// Its sub-tree is at work.
    Inside,
    /// An attempt is under way.
    Active,
    /// An attempt is being ended.
    Stopping,
}

impl Node {
    pub fn new(scope: ScopeId, step: u32, path: StepPath) -> Self {
        Self {
            scope,
            step,
            path,
            group: None,
            status: StepStatus::Pending,
            stage: Stage::Idle,
            follows: false,
            suspect: false,
            counted: false,
            attempt: 0,
            tries: 0,
            open: 0,
            child: None,
            fan: None,
            item: None,
            result: None,
            error: None,
            more: None,
        }
    }

    pub fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Why it has no part in the run, if so.
    pub fn aside(&self) -> Option<Aside> {
        self.more.as_ref().and_then(|m| m.aside)
    }

    /// It has ended, and that stays.
    pub fn is_settled(&self) -> bool {
        self.status.is_final() && !self.suspect
    }

    /// Nothing of it is left in the world.
    pub fn taken_back(&mut self) {
        let more = self.more.get_or_insert_default();
        (more.acted, more.unsettled) = (false, false);
        (more.begun_at, more.undo_tries) = (0, 0);
        more.generation += 1;
        more.action = None;
        more.intents.clear();
    }

    pub fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Preparing | Stage::Active | Stage::Stopping)
    }

    /// Forgets how it ended.
    pub fn forget(&mut self) {
        self.tries = 0;
        self.follows = false;
        self.error = None;
        if let Some(more) = &mut self.more {
            more.begun = None;
            more.unknown = None;
            more.undecided = false;
            more.doubted = false;
        }
    }
}

/// A lock of the state folder that the run asked for.
#[derive(Debug, Default, Clone)]
pub(super) struct Lock {
    pub held: bool,
    /// The run keeps it until it ends.
    pub of_run: bool,
    /// Who has it, in this run.
    pub owner: Option<NodeId>,
    pub queue: VecDeque<NodeId>,
}

/// The approval of a protected environment.
#[derive(Debug, Default, Clone)]
pub(super) struct Gate {
    pub answer: Option<bool>,
    pub asked: bool,
    pub queue: VecDeque<NodeId>,
}
