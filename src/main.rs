//! The binary `trees`: the command line over the engine, the state folder and the step kinds.
//!
//! [`cli`] has one file a command, [`report`] turns events into a screen, [`diagnose`] draws what is
//! wrong with a text, [`failure`] gives the exit codes. Nothing here decides about a run.

mod cli;
mod diagnose;
mod failure;
mod report;

use std::panic;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The only TLS provider; a second call finds it installed, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    panic::set_hook(Box::new(report::bug));
    panic::catch_unwind(cli::main).unwrap_or_else(|_| failure::Exit::BUG.into())
}
