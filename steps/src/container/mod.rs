//! Containers: images built and containers run by Docker or Podman, over the engine's own API.
//!
//! Read `engine` for how it is spoken to: what only looks can only send GET. What is made bears labels
//! by which later runs know it.

pub mod build;
pub mod run;

mod context;
mod engine;
mod ignored;
mod image;
mod instance;
mod place;
mod reference;
mod rollout;
mod spec;

#[cfg(test)]
mod tests;

use serde_json::json;
use trees_core::event::Json;
use trees_runner::kind::{Change, ReadCx};

/// The label that says whose an image or a container is.
const OWNER: &str = "trees.owner";
/// The label of an image with the digest of all that it was built from.
const INPUTS: &str = "trees.inputs";
/// The label of a container with the name that `container/run` was given.
const NAME: &str = "trees.name";
/// The label of a container with the step that made it, the same over attempts and resumes.
const KEY: &str = "trees.key";
/// The label of a container with the names of its variables that come from the tree.
const ENV: &str = "trees.env";
/// The label of a container with its ports as the tree says them: not every engine tells a port that it picked from a fixed one.
const PORTS: &str = "trees.ports";
/// The label of a container with its restart policy, which is taken from one that is kept stopped.
const RESTART: &str = "trees.restart";

/// Whose: `trees:<project>/<environment>`.
fn mark(cx: &ReadCx) -> String {
    let slash = if cx.environment.is_empty() { "" } else { "/" };
    format!("trees:{}{slash}{}", cx.project, cx.environment)
}

fn change(field: impl Into<String>, old: Json, new: Json) -> Change {
    Change::new(field, old, new)
}

/// A filter of the engine's lists: things that have all these labels.
fn labelled(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({ "label": labels }).to_string()
}
