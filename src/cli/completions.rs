//! `trees completions`: scripts for shells.

use crate::failure::{Exit, Failure};
use crate::report::out;
use clap_complete::Shell;

/// Print a script that completes commands and options in a shell.
///
/// For bash: `trees completions bash > ~/.local/share/bash-completion/completions/trees`.
#[derive(clap::Args)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Does it.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::definition(), "trees", &mut script);
    out(&String::from_utf8(script).map_err(Failure::bug)?);
    Ok(Exit::OK)
}
