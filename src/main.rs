//! The binary `trees`: the command line over the engine, the state folder and the step kinds.
//!
//! [`cli`] has one file a command, [`report`] turns events into a screen, [`diagnose`] draws what is
//! wrong with a text, [`failure`] gives the exit codes. Nothing here decides about a run.

mod cli;
mod diagnose;
mod failure;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::begin()
}
