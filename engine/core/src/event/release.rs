//! What a run left deployed: the releases of an environment are read from it.

use super::{Json, Object};
use crate::path::StepPath;
use serde::{Deserialize, Serialize};

/// What a run deployed in one environment of a project, as it stood when the run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// The project.
    pub project: String,
    /// The environment, `""` where the tree has none.
    pub environment: String,
    /// Every deploying step that came out well and was not taken back, and those that failed.
    pub steps: Vec<DeployedStep>,
}

/// What one step deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployedStep {
    /// The step or instance.
    pub step: StepPath,
    /// Its kind.
    pub kind: String,
    /// What of its outputs tells one release from another ([`IDENTITY`]).
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub what: Object,
    /// It failed, which the tree allows: what stands there was not verified.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// Outputs of deploying kinds that name what was deployed: by these names two releases are compared.
/// Where it serves, and by which process, says nothing of what it is.
pub const IDENTITY: [&str; 7] = ["release", "version", "image", "digest", "commit", "to", "active"];

impl DeployedStep {
    /// What a step deployed that has these outputs.
    #[must_use]
    pub fn new(step: StepPath, kind: String, outputs: &Json) -> Self {
        let named = IDENTITY.iter().filter_map(|name| Some(((*name).to_owned(), outputs.get(name)?.clone())));
        Self { step, kind, what: named.filter(|(_, value)| !value.is_null()).collect(), failed: false }
    }
}
