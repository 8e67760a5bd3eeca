//! What a tree file means once it is checked: typed, resolved, acyclic.
//!
//! Made by [`crate::language`] only; everything that runs reads this and never the text.

mod failing;
mod heirs;
mod kind;
mod place;

use crate::diagnostic::Span;
use crate::event::{Json, Object};
use crate::expr::{Expr, Template};
use crate::shell::Script;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use failing::{AllowFailure, ExitCodes, Retry, RetryOn, Tolerate};
pub use heirs::{Heirs, forebears};
pub use kind::{KindInfo, Kinds, NoKinds};
pub use place::{Environment, Secret, SecretSource};

/// One checked tree file.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Its name, `[a-z][a-z0-9-]*`.
    pub name: String,
    /// What secrets, releases and locks belong to.
    pub project: String,
    /// For people.
    pub description: String,
    /// Index of its file in [`crate::language::Sources`].
    pub source: u32,
    /// Its file as named, relative to the folder of the top tree.
    pub file: String,
    /// The typed inputs, as written.
    pub params: IndexMap<String, Param>,
    /// The environments, as written.
    pub environments: IndexMap<String, Environment>,
    /// The tree's own vars, in the order of their references.
    pub vars: Vec<(String, Template)>,
    /// Of every process.
    pub env: Vec<(String, Template)>,
    /// Files of plain environment, relative to the working folder.
    pub dotenv: Vec<String>,
    /// What is secret.
    pub secrets: IndexMap<String, Secret>,
    /// How many leaves run at once; `None`: the machine's cores, at least 4.
    pub max_parallel: Option<u32>,
    /// Of the run's driven time.
    pub deadline: Option<Duration>,
    /// So many steps of a pool at once (at least 1).
    pub pools: BTreeMap<String, u32>,
    /// What a failure does.
    pub on_failure: OnFailure,
    /// Where `on_failure` is written, else the file's beginning.
    pub on_failure_at: Span,
    /// What another active run of this tree does.
    pub on_busy: OnBusy,
    /// Where `on_busy` is written, else the file's beginning.
    pub on_busy_at: Span,
    /// For `trees watch`.
    pub watch: Vec<String>,
    /// All steps, those of `finally` too; [`Need::step`] indexes it.
    pub steps: Vec<Step>,
    /// Step indices, each after all that it needs; `finally` after the others.
    pub order: Vec<u32>,
    /// Indices by id.
    pub index: std::collections::HashMap<String, u32>,
    /// What a parent tree and `trees show` see.
    pub outputs: Vec<(String, Template)>,
}

/// A typed input.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its type.
    pub kind: ValueType,
    /// Its default.
    pub default: Option<Json>,
    /// Whether it must be given where there is no default.
    pub required: bool,
    /// The values allowed, if not all.
    pub allowed: Option<Vec<Json>>,
    /// The regular expression a string must match.
    pub pattern: Option<String>,
    /// The least number (or length).
    pub min: Option<f64>,
    /// The greatest number (or length).
    pub max: Option<f64>,
    /// For people.
    pub description: String,
    /// Where it stands.
    pub span: Span,
}

/// The types of params and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// Text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A JSON array.
    List,
    /// A JSON object.
    Object,
}

impl ValueType {
    /// Whether a value is of this type.
    pub fn fits(self, value: &Json) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    /// A value of this type that stands for one nobody knows; a text is its own name.
    pub fn example(self, name: &str) -> Json {
        match self {
            Self::String => name.into(),
            Self::Integer => 1.into(),
            Self::Number => Json::from(1.0),
            Self::Boolean => true.into(),
            Self::List => Json::Array(Vec::new()),
            Self::Object => Json::Object(Object::new()),
        }
    }
}

/// What a failure does to the rest of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Branches that do not depend on it go on.
    #[default]
    Continue,
    /// Start nothing new.
    Stop,
    /// End what runs.
    Cancel,
    /// Take back what was done.
    Rollback,
    /// Rest.
    Pause,
}

impl OnFailure {
    /// The word of the language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
            Self::Cancel => "cancel",
            Self::Rollback => "rollback",
            Self::Pause => "pause",
        }
    }
}

/// What happens when another run of the tree is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBusy {
    /// Nothing.
    #[default]
    Allow,
    /// Wait for it.
    Queue,
    /// Do not run.
    Skip,
    /// Cancel it.
    CancelOld,
    /// Exit 6.
    Fail,
}

/// One checked step. What few steps have stands in boxes: a tree may have 100,000.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id.
    pub id: String,
    /// Where its id stands.
    pub span: Span,
    /// It stands in `finally`.
    pub finally: bool,
    /// For people.
    pub description: String,
    /// Former ids.
    pub was: Vec<String>,
    /// What it does.
    pub action: Action,
    /// What it needs, explicit ones first.
    pub needs: Vec<Need>,
    /// How the explicit needs decide.
    pub rule: Rule,
    /// Whether it runs. Asked once before the items unless `condition_per_item`.
    pub condition: Option<Box<Expr>>,
    /// The condition names the item.
    pub condition_per_item: bool,
    /// Its instances.
    pub fan_out: Option<Box<FanOut>>,
    /// Instances at once.
    pub max_parallel: Option<u32>,
    /// Failed instances that count as success.
    pub tolerate: Option<Tolerate>,
    /// The environment it works for, whatever -e says.
    pub environment: Option<String>,
    /// Its own environment variables.
    pub env: Vec<(String, Template)>,
    /// More variables of `trees` itself, `AWS_*`.
    pub env_pass: Vec<String>,
    /// Relative to the working folder.
    pub cwd: Option<Box<Template>>,
    /// Of one attempt: the action and the verify each.
    pub timeout: Option<Duration>,
    /// Of all attempts with the waits.
    pub deadline: Option<Duration>,
    /// How often; shared by the steps that leave it to the defaults.
    pub retry: Arc<Retry>,
    /// What exit codes mean; shared likewise.
    pub exit: Arc<ExitCodes>,
    /// The pool it belongs to.
    pub pool: Option<String>,
    /// The lock it holds while it runs.
    pub lock: Option<Box<Template>>,
    /// Failures that count as success.
    pub allow_failure: AllowFailure,
    /// Files its result depends on.
    pub inputs: Option<Box<Inputs>>,
    /// Equal definition and inputs: not run.
    pub cache: bool,
    /// What it leaves.
    pub artifacts: Vec<(String, Artifact)>,
    /// What it returns, where declared (kinds and sub-trees declare their own).
    pub outputs: Option<Box<IndexMap<String, ValueType>>>,
    /// The secrets it is given.
    pub secrets: Vec<String>,
    /// Whether it is done already.
    pub check: Option<Box<SideAction>>,
    /// Whether it is really so.
    pub verify: Option<Box<SideAction>>,
    /// How it is taken back.
    pub undo: Option<Box<SideAction>>,
    /// The point of no return.
    pub pivot: bool,
    /// What it changes, the default resolved.
    pub effect: Effect,
    /// What an unknown outcome does, the default resolved.
    pub on_crash: OnCrash,
    /// What it left in the background stays.
    pub leave_running: bool,
}

impl Step {
    /// The leaves of one instance of it.
    pub fn leaves(&self) -> u64 {
        match &self.action {
            Action::Tree { tree, .. } => tree.leaves(),
            Action::Run(_) | Action::Uses { .. } | Action::Approve { .. } => 1,
        }
    }

    /// The outputs that it declares, with their types; a sub-tree's have none.
    pub fn declared(&self, kinds: &dyn Kinds) -> Vec<(String, Option<ValueType>)> {
        match &self.action {
            Action::Run(_) => self.outputs.iter().flat_map(|o| o.iter()).map(|(n, t)| (n.clone(), Some(*t))).collect(),
            Action::Uses { kind, .. } => {
                kinds.kind(kind).map(|k| k.outputs.iter().map(|(n, t, _)| (n.clone(), Some(*t))).collect()).unwrap_or_default()
            }
            Action::Tree { tree, .. } => tree.outputs.iter().map(|(n, _)| (n.clone(), None)).collect(),
            Action::Approve { .. } => Vec::new(),
        }
    }

    /// A value for each output that it declares: of its type, where nobody knows the real one.
    pub fn examples(&self, kinds: &dyn Kinds) -> Object {
        let declared = self.declared(kinds).into_iter();
        declared.map(|(name, kind)| (name.clone(), kind.unwrap_or(ValueType::String).example(&name))).collect()
    }
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// A script.
    Run(Box<RunAction>),
    /// A step kind.
    Uses {
        /// `family/kind`.
        kind: String,
        /// The kind's revision, part of the definition's digest.
        revision: u32,
        /// Its inputs.
        with: Template,
    },
    /// A sub-tree, in place.
    Tree {
        /// The tree.
        tree: Arc<Tree>,
        /// Its params.
        with: Vec<(String, Template)>,
    },
    /// A person's yes.
    Approve {
        /// The question.
        message: Template,
        /// Until when.
        timeout: Option<Duration>,
    },
}

/// A script and what runs it.
#[derive(Debug, Clone)]
pub struct RunAction {
    /// The script with its values bound.
    pub script: Script,
    /// What runs it.
    pub shell: Shell,
}

/// What runs a script.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Shell {
    /// `sh -e`.
    #[default]
    Sh,
    /// `bash --noprofile --norc -e -o pipefail`.
    Bash,
    /// An argument vector that gets the script's path.
    Custom(Vec<String>),
}

/// A step that comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its index in [`Tree::steps`].
    pub step: u32,
    /// How.
    pub kind: NeedKind,
    /// Where it stands.
    pub span: Span,
}

/// How a step is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeedKind {
    /// Named in `needs`; the step's rule decides.
    Explicit,
    /// Named in `needs` with `by: key`: instance to instance.
    ByKey,
    /// A reference to its outputs: must have succeeded.
    Succeeded,
    /// A reference with a default, or to its status: must be done.
    Done,
}

/// How explicit needs decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A skipped need skips, a failed one blocks.
    #[default]
    AllSucceeded,
    /// Skipped ones are fine.
    NoneFailed,
    /// Skipped ones are fine, but one must have succeeded.
    NoneFailedMinOneSucceeded,
    /// However they ended.
    AllDone,
    /// At least one succeeded, as soon as one has.
    OneSucceeded,
    /// At least one failed, as soon as one has.
    OneFailed,
    /// All failed.
    AllFailed,
}

/// Instances of a step.
#[derive(Debug, Clone)]
pub enum FanOut {
    /// Over a list.
    Foreach {
        /// A list of templates, or an expression that gives a list.
        items: Template,
        /// The item's name in expressions.
        name: String,
        /// The item's key.
        key: Option<Expr>,
    },
    /// Over the product of axes.
    Matrix {
        /// Each a list, in the order written.
        axes: Vec<(String, Template)>,
        /// Combinations left out; a missing axis matches all.
        exclude: Vec<Object>,
    },
}

/// Files a result depends on.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Globs relative to the working folder; `!` excludes.
    pub files: Vec<Template>,
    /// No match is fine.
    pub optional: bool,
}

/// A file or folder a step leaves.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Relative to the working folder, never escaping it.
    pub path: Template,
    /// It may be missing.
    pub optional: bool,
}

/// `check`, `verify` or `undo` of a step.
#[derive(Debug, Clone)]
pub struct SideAction {
    /// `Run` or `Uses`.
    pub action: Action,
    /// Of an undo.
    pub retry: Option<Retry>,
    /// Of one attempt of it.
    pub timeout: Option<Duration>,
    /// Of an undo: also a step whose action only started.
    pub when_started: bool,
}

/// What a step changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing that matters.
    None,
    /// Files of this machine's working folder.
    #[default]
    Local,
    /// The outside world.
    External,
}

/// What an unknown outcome does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCrash {
    /// Run it again.
    #[default]
    Rerun,
    /// Look whether it is done, else run it again.
    Check,
    /// Ask a person (`trees resolve`).
    Ask,
    /// Count it as failed.
    Fail,
    /// Take it back, then run it again.
    UndoFirst,
}

impl Tree {
    /// Its steps without steps below them, those of sub-trees too; a fan-out counts as one instance.
    pub fn leaves(&self) -> u64 {
        self.steps.iter().map(Step::leaves).sum()
    }

    /// A step by its id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.index.get(id).and_then(|i| self.steps.get(*i as usize))
    }

    /// A step by its path, inside sub-trees too; an instance is the step it is one of.
    pub fn at(&self, path: &str) -> Option<&Step> {
        let mut tree: &Self = self;
        let mut parts = path.split('/').map(|part| part.split('[').next().unwrap_or_default()).peekable();
        while let Some(id) = parts.next() {
            let found = tree.step(id)?;
            match (&found.action, parts.peek()) {
                (_, None) => return Some(found),
                (Action::Tree { tree: inner, .. }, Some(_)) => tree = inner,
                (Action::Run(_) | Action::Uses { .. } | Action::Approve { .. }, Some(_)) => return None,
            }
        }
        None
    }
}
