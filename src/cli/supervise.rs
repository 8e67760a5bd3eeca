//! The hidden command that keeps a deployed process running after `trees` has ended.

use std::path::PathBuf;
use std::process::ExitCode;

/// Keep a deployed process running.
#[derive(clap::Args)]
pub struct Args {
    /// What to keep running
    spec: PathBuf,
}

/// Does it; returns when the process is not wanted any more.
pub fn run(args: &Args) -> ExitCode {
    trees_steps::deploy::supervise(&args.spec)
}
