//! `trees schema`: the JSON Schema of tree files.

use crate::failure::{Exit, Failure};
use crate::report::out_json;

/// Print the JSON Schema of tree files, for editors.
///
/// A tree file names it in a comment of its first line:
/// `# yaml-language-server: $schema=.trees/tree.schema.json`.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
#[expect(clippy::unnecessary_wraps, reason = "every command answers alike")]
pub fn run() -> Result<Exit, Failure> {
    out_json(&trees_core::language::schema(&trees_steps::catalogue()));
    Ok(Exit::OK)
}
