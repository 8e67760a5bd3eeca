//! `trees resolve`: a person settles an unknown or failed outcome.

use super::answer::told;
use super::global::Global;
use super::runs;
use super::story::Story;
use crate::failure::{Exit, Failure};
use trees_core::event::{Json, Object, Resolution, StepStatus};
use trees_core::journal::{Journal as _, RequestBody};

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
    /// An output of the step, with --done; the value is JSON where it can be read as such
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
    let story = Story::of(&state.load(&run.run, 0)?, None);
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
    let outputs = args.outputs.iter().map(|text| output(text)).collect::<Result<Object, Failure>>()?;
    let run = runs::ask(&state, &run.run, &RequestBody::Resolve { step, resolution, outputs, note: args.note })?;
    told(&run, "settled");
    Ok(Exit::OK)
}

fn output(text: &str) -> Result<(String, Json), Failure> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::wrong(format!("`--output {text}` gives no value")).hint("write --output name=value"))?;
    Ok((key.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}
