//! `trees resolve`: a person settles an unknown or failed outcome.

use super::answer::told;
use super::global::Global;
use super::runs;
use super::story::{Retold, Story};
use crate::failure::{Exit, Failure};
use trees_core::event::{ErrorReason, Event, EventKind, Json, Object, Resolution, StepStatus};
use trees_core::journal::{Journal as _, RequestBody};
use trees_core::path::RunId;
use trees_core::tree::ValueType;
use trees_runner::outputs::read_value;
use trees_state::State;

/// Settle a step whose outcome is unknown or failed: it happened, do it again, or it failed.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("as").required(true).args(["done", "retry", "fail"]))]
pub struct Args {
    /// The run: its id or a prefix, @last, TREE@last, TREE#NUMBER
    run: String,
    /// The step
    step: String,
    /// It happened
    #[arg(long)]
    done: bool,
    /// Do it again
    #[arg(long)]
    retry: bool,
    /// It failed
    #[arg(long)]
    fail: bool,
    /// An output of the step, with --done, which needs each that is declared; the value as its type is written in $TREES_OUTPUT
    #[arg(long = "output", value_name = "KEY=VALUE", requires = "done")]
    outputs: Vec<String>,
    /// A word on it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let state = runs::required(global)?;
    let run = runs::find(&state, &args.run)?;
    runs::at_home(&state, &run.run)?;
    let step = runs::step_path(&args.step).0;
    let recorded = state.load(&run.run, 0)?;
    let Retold { events, story, .. } = Retold::of(&run.run, &recorded, runs::definitions(&state, &run.run).ok());
    let status = story.step(&step).and_then(|s| s.status).ok_or_else(|| {
        Failure::wrong(format!("run {} has not come to a step `{step}`", run.run)).hint(format!("see: trees show {}", run.run))
    })?;
    let open =
        matches!(status, StepStatus::Interrupted | StepStatus::Waiting | StepStatus::Failed | StepStatus::TimedOut | StepStatus::Cancelled);
    if !open {
        return Err(Failure::wrong(format!("`{step}` is {}; there is nothing to settle", status.as_str())));
    }
    let resolution = match (args.done, args.retry) {
        (true, _) => Resolution::Done,
        (_, true) => Resolution::Retry,
        _ => Resolution::Fail,
    };
    let outputs =
        if args.done { outputs(&state, &run.run, &step, &args.outputs, verified(&story, &events, &step))? } else { Object::new() };
    let run = runs::ask(&state, &run.run, &RequestBody::Resolve { step, resolution, outputs, note: args.note })?;
    told(&run, "settled");
    Ok(Exit::OK)
}

/// What the action returned, where only the verify after it failed.
fn verified(story: &Story, recorded: &[Event], step: &str) -> Object {
    let error = story.step(step).and_then(|told| told.error.as_ref());
    if !error.is_some_and(|error| error.reason == ErrorReason::Verify) {
        return Object::new();
    }
    let own = recorded.iter().rev().filter(|event| event.step.as_ref().is_some_and(|path| path.as_str() == step));
    let mut returned =
        own.filter_map(|event| if let EventKind::ActionSucceeded { outputs, .. } = &event.kind { Some(outputs) } else { None });
    returned.next().cloned().unwrap_or_default()
}

/// The outputs as the step declares them: all of them, for what reads one that is missing could never run.
fn outputs(state: &State, run: &RunId, step: &str, texts: &[String], known: Object) -> Result<Object, Failure> {
    let definitions = runs::definitions(state, run)?;
    let spec = definitions.newest().at(step);
    let declared = spec.map(|s| s.declared(&trees_steps::catalogue())).unwrap_or_default();
    let mut outputs = known;
    for text in texts {
        let (name, value) = output(step, text, &declared)?;
        outputs.insert(name, value);
    }
    // The outputs of a fan-out are those of its instances.
    let fans_out = spec.is_some_and(|s| s.fan_out.is_some()) && !step.ends_with(']');
    let missing: Vec<&str> =
        declared.iter().map(|(name, _)| name.as_str()).filter(|name| !fans_out && !outputs.contains_key(*name)).collect();
    if missing.is_empty() { Ok(outputs) } else { Err(lacking(run, step, &missing)) }
}

fn lacking(run: &RunId, step: &str, missing: &[&str]) -> Failure {
    let cure: Vec<String> = missing.iter().map(|name| format!("--output {name}=…")).collect();
    Failure::wrong(format!("`{step}` declares outputs that are not given: {}", missing.join(", ")))
        .hint(format!("say what they are: trees resolve {run} {step} --done {}", cure.join(" ")))
}

fn output(step: &str, text: &str, declared: &[(String, Option<ValueType>)]) -> Result<(String, Json), Failure> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::wrong(format!("`--output {text}` gives no value")).hint("write --output name=value"))?;
    let Some((_, kind)) = declared.iter().find(|(name, _)| name == key) else {
        let names: Vec<&str> = declared.iter().map(|(name, _)| name.as_str()).collect();
        let hint = if names.is_empty() { "it declares none".to_owned() } else { format!("it declares: {}", names.join(", ")) };
        return Err(Failure::wrong(format!("`{step}` has no output `{key}`")).hint(hint));
    };
    let value = match kind {
        Some(kind) => read_value(value, *kind).map_err(|wrong| Failure::wrong(format!("the output `{key}` {wrong}")))?,
        None => serde_json::from_str(value).unwrap_or_else(|_| value.into()),
    };
    Ok((key.into(), value))
}
