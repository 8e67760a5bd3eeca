//! The binary `trees-failpoints`: `trees` with the points where tests kill it (`trees_points`).

mod cli;
mod diagnose;
mod failure;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::begin()
}
