//! The command line: one file a command, each with its arguments and what it does.
//!
//! Help, completions and docs/reference/cli.md are made from the doc comments here and there.
//! Read [`Command`] first.

mod answer;
mod aside;
mod attach;
mod audit;
mod busy;
mod cancel;
mod check;
mod completions;
mod cookbook;
mod detach;
mod diff;
mod docs;
mod doctor;
mod drift;
mod drive;
mod env;
mod events;
mod export;
mod finish;
mod gc;
mod given;
mod global;
mod graph;
mod import;
mod init;
mod list;
mod logs;
mod plan;
mod proposal;
mod releases;
mod replay;
mod rerun;
mod resolve;
mod resume;
mod reversal;
mod rollback;
mod run;
mod runs;
mod schema;
mod secret;
mod selection;
mod shell;
mod show;
mod signals;
mod source;
mod steps;
mod story;
mod supervise;
mod test;
mod timeline;
mod watch;
mod why;
mod witness;

use crate::failure::{Exit, Failure};
use crate::report;
use clap::{CommandFactory, Parser, Subcommand};
use global::Global;
use std::panic;
use std::process::ExitCode;

/// Run your delivery work as a checked, journaled, resumable graph.
///
/// A tree file in YAML compiles into a graph whose steps run concurrently. Every transition is
/// recorded before the next thing happens, so `trees resume` goes on after any failure or crash.
#[derive(Parser)]
#[command(name = "trees", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 succeeded, 1 failed or cancelled, 2 wrong command line, tree or params, 3 waiting for a person, \
    4 rolled back, 5 rollback stuck, 6 held by another process, 7 the state cannot be used, 10 changes found, 70 a bug, \
    129/130/143 ended by a signal.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Resume(resume::Args),
    Rerun(rerun::Args),
    Rollback(rollback::Args),
    Watch(watch::Args),
    Check(check::Args),
    Test(test::Args),
    Plan(plan::Args),
    Drift(drift::Args),
    Graph(graph::Args),
    List(list::Args),
    Show(show::Args),
    Logs(logs::Args),
    Events(events::Args),
    Replay(replay::Args),
    Timeline(timeline::Args),
    Diff(diff::Args),
    Why(why::Args),
    Shell(shell::Args),
    Cancel(cancel::Args),
    Approve(answer::ApproveArgs),
    Reject(answer::RejectArgs),
    Resolve(resolve::Args),
    Secret(secret::Args),
    Env(env::Args),
    Steps(steps::Args),
    Schema(schema::Args),
    Init(init::Args),
    Cookbook(cookbook::Args),
    Export(export::Args),
    Import(import::Args),
    Audit(audit::Args),
    Doctor(doctor::Args),
    Gc(gc::Args),
    Completions(completions::Args),
    #[command(name = "__supervise", hide = true)]
    Supervise(supervise::Args),
    #[command(name = "__docs", hide = true)]
    Docs(docs::Args),
}

/// All of the program: a bug in it is told as one.
pub fn begin() -> ExitCode {
    // The only TLS provider; a second call finds it installed, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    panic::set_hook(Box::new(report::bug));
    panic::catch_unwind(main).unwrap_or_else(|_| Exit::BUG.into())
}

/// Reads the command line and does what it says.
fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => {
            report::color(cli.global.color);
            global::log_to_stderr(cli.global.verbose);
            match cli.command {
                Command::Supervise(args) => supervise::run(&args),
                command => report::finish(dispatch(command, &cli.global)).into(),
            }
        }
        Err(error) => usage(&error).into(),
    }
}

/// Prints clap's own answer: help and version to standard output, else the mistake.
fn usage(error: &clap::Error) -> Exit {
    // A closed pipe is no error.
    drop(error.print());
    if error.use_stderr() { Exit::WRONG } else { Exit::OK }
}

/// The definition, for completions and the reference.
fn definition() -> clap::Command {
    Cli::command()
}

fn dispatch(command: Command, global: &Global) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(args, global),
        Command::Resume(args) => resume::run(args, global),
        Command::Rerun(args) => rerun::run(args, global),
        Command::Rollback(args) => rollback::run(&args, global),
        Command::Watch(args) => watch::run(args, global),
        Command::Check(args) => check::run(&args, global),
        Command::Test(args) => test::run(&args, global),
        Command::Plan(args) => plan::run(&args, global),
        Command::Drift(args) => drift::run(args, global),
        Command::Graph(args) => graph::run(&args, global),
        Command::List(args) => list::run(&args, global),
        Command::Show(args) => show::run(&args, global),
        Command::Logs(args) => logs::run(&args, global),
        Command::Events(args) => events::run(&args, global),
        Command::Replay(args) => replay::run(&args, global),
        Command::Diff(args) => diff::run(&args, global),
        Command::Timeline(args) => timeline::run(&args, global),
        Command::Why(args) => why::run(&args, global),
        Command::Shell(args) => shell::run(&args, global),
        Command::Cancel(args) => cancel::run(&args, global),
        Command::Approve(args) => answer::approve(args, global),
        Command::Reject(args) => answer::reject(args, global),
        Command::Resolve(args) => resolve::run(args, global),
        Command::Secret(args) => secret::run(args, global),
        Command::Env(args) => env::run(args, global),
        Command::Steps(args) => steps::run(&args, global),
        Command::Schema(args) => schema::run(&args),
        Command::Init(args) => init::run(&args, global),
        Command::Cookbook(args) => cookbook::run(args, global),
        Command::Export(args) => export::run(&args, global),
        Command::Import(args) => import::run(&args, global),
        Command::Audit(args) => audit::run(&args, global),
        Command::Doctor(_) => doctor::run(global),
        Command::Gc(args) => gc::run(&args, global),
        Command::Completions(args) => completions::run(&args),
        Command::Supervise(_) => Ok(Exit::OK),
        Command::Docs(args) => docs::run(&args),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_sound() {
        super::definition().debug_assert();
    }
}
