//! `trees shell`: a shell in the place of a step.

use super::global::Global;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::{Line, Paint, say_line};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use trees_core::event::{RunStarted, Selection};
use trees_core::journal::Journal as _;
use trees_core::path::StepPath;
use trees_core::run::Choice;
use trees_core::tree::{Shell as Interpreter, Tree};
use trees_runner::driver::Vault;
use trees_runner::driver::shell::Shell;

/// Open a shell with the environment, folder and inputs of a step.
///
/// It has what an attempt of the step would have: variables, bound values, $TREES_INPUTS, secrets,
/// dotenv, a temporary folder. Nothing of it is recorded, and what it writes to $TREES_OUTPUT goes
/// with it. The exit code is the shell's.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    run: String,
    /// The step, as `trees show` names it
    step: String,
    /// Run this instead of asking for commands
    #[arg(short, long)]
    command: Option<String>,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let state = runs::required(global)?;
    let summary = runs::find(&state, &args.run)?;
    let events = state.load(&summary.run, 0)?;
    let definitions = runs::definitions(&state, &summary.run)?;
    let tree = Arc::clone(definitions.newest());
    let step = runs::step_path(&args.step);
    let replayed = runs::replayed(&summary.run, definitions, &events)?;
    let facts = runs::facts(&events).ok_or_else(|| Failure::wrong(format!("run {} has not begun", summary.run)))?;
    let part = part(&tree, facts, &step);
    let vault = Vault::open(&tree, part.as_ref(), &facts.environment, &facts.params, facts.dir.as_ref(), &state)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Failure::failed)?;
    let shell = Shell::enter(&replayed, &tree, &step, &vault, runtime.handle().clone())
        .map_err(|e| Failure::wrong(e).hint(format!("`trees show {}` lists the steps of the run and how they are", summary.run)))?;
    let name = format!("{} of {} #{} (run {}), attempt {}", step, summary.tree, summary.number, summary.run, shell.attempt);
    say_line(&Line::default().with(Paint::Strong, format!("in the place of {name}")).with(Paint::Faint, "; nothing is recorded"));
    let ended = start(&shell, args.command.as_deref(), &runtime);
    runtime.block_on(shell.leave());
    ended
}

/// Whose secrets are looked for: of the part that ran, or of a step that had no part in the run.
fn part(tree: &Tree, facts: &RunStarted, step: &StepPath) -> Option<Selection> {
    let recorded = facts.selection.as_deref().filter(|selection| selection.is_partial())?;
    if Choice::of(tree, recorded).is_ok_and(|choice| choice.asks(step)) {
        return Some(recorded.clone());
    }
    Some(Selection { only: vec![StepPath::root(step.top())], ..Selection::default() })
}

fn start(shell: &Shell, command: Option<&str>, runtime: &tokio::runtime::Runtime) -> Result<Exit, Failure> {
    // A Ctrl-C is for what runs in the shell.
    let _guard = runtime.enter();
    let _deaf = [SignalKind::interrupt(), SignalKind::quit()].map(signal);
    let program = program(shell);
    let (name, arguments) = program.split_first().ok_or_else(|| Failure::bug("no shell"))?;
    let mut process = Command::new(name);
    process.args(arguments).current_dir(&shell.dir).env_clear().envs(shell.env.iter().map(|(k, v)| (k, v)));
    process.args(command.into_iter().flat_map(|command| ["-c", command]));
    let status = process
        .status()
        .map_err(|e| Failure::failed(format!("cannot start {} in {}: {e}", name.to_string_lossy(), shell.dir.display())))?;
    let signalled = || status.signal().map_or(Exit::FAILED, Exit::signal);
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or_else(signalled, Exit))
}

/// The step's own shell where a person can use it, else theirs.
fn program(shell: &Shell) -> Vec<OsString> {
    match &shell.interpreter {
        Some(Interpreter::Sh) => vec!["sh".into()],
        Some(Interpreter::Bash) => vec!["bash".into(), "--noprofile".into(), "--norc".into()],
        Some(Interpreter::Custom(_)) | None => vec![std::env::var_os("SHELL").unwrap_or_else(|| "sh".into())],
    }
}
