//! What events say of a run as a whole.

use super::{Object, StepError};
use crate::path::{RunId, StepPath};
use serde::{Deserialize, Serialize};
use std::fmt;

/// All that a run is made of, with its first event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The tree's name.
    pub tree: String,
    /// The tree's project.
    pub project: String,
    /// The number of this run among the runs of its tree, from 1.
    pub number: u64,
    /// The path of the tree file as given, or `cookbook:NAME`.
    pub file: String,
    /// The folder the steps work in (absolute).
    pub dir: String,
    /// The folder of the top tree file (absolute); of a built-in cookbook, where it was put.
    pub tree_dir: String,
    /// The environment, `""` where the tree has none.
    pub environment: String,
    /// The parameters as resolved.
    pub params: Object,
    /// The digest of the recorded sources.
    pub definition: String,
    /// The sitting's epoch.
    pub epoch: u64,
    /// What started it: `run`, `watch`, `rerun`, …
    pub trigger: String,
    /// The files whose change started it (`watch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Changed>,
    /// The version of `trees`.
    pub version: String,
    /// How many steps of the top tree run at once.
    pub max_parallel: u32,
    /// Approvals given beforehand with `--approve` (`*`: all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<String>,
    /// A failure puts the run to rest, whatever the tree says (`--pause-on-failure`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause_on_failure: bool,
    /// What of the tree was asked for, and whose results stand for what was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Box<Selection>>,
}

/// A part of a tree, and the run that it goes back to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// These steps run (`--only`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<StepPath>,
    /// This step runs, and all that depends on it (`--from`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StepPath>,
    /// These count as succeeded (`--skip`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<StepPath>,
    /// Who skips them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The run whose results were taken over, or that is run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<RunId>,
}

impl Selection {
    /// Not all steps of the tree run.
    pub fn is_partial(&self) -> bool {
        !self.only.is_empty() || self.from.is_some() || !self.skip.is_empty()
    }
}

/// The options as they are given.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = self.only.iter().map(|step| ("--only", step));
        let all = only.chain(self.from.iter().map(|step| ("--from", step))).chain(self.skip.iter().map(|step| ("--skip", step)));
        for (index, (option, step)) in all.enumerate() {
            write!(f, "{}{option} {step}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

/// How effects are taken back, with the first event of that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStarted {
    /// The step to which to go back (it and its needs stay).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<StepPath>,
    /// Steps that are not taken back although they could be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<StepPath>,
    /// What made it necessary, where something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The epoch of the sitting that begins with it; absent where a sitting goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// The first failure of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step.
    pub step: StepPath,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
}

/// Files that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many.
    pub count: u64,
    /// Their names relative to the working folder; of very many the first.
    pub files: Vec<String>,
}
