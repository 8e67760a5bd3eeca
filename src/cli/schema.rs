//! `trees schema`: the JSON Schema of tree files.

use crate::failure::{Exit, Failure};
use crate::report::out_json;

/// Print the JSON Schema of tree files, for editors.
///
/// A tree file names it in a comment of its first line:
/// `# yaml-language-server: $schema=.trees/tree.schema.json`.
#[derive(clap::Args)]
pub struct Args {
    /// That of test files, NAME.test.yaml
    #[arg(long)]
    tests: bool,
}

/// Does it.
#[expect(clippy::unnecessary_wraps, reason = "every command answers alike")]
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let schema = if args.tests { trees_core::trial::schema() } else { trees_core::language::schema(&trees_steps::catalogue()) };
    out_json(&schema);
    Ok(Exit::OK)
}
