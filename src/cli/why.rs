//! `trees why`: why a step ran, was reused, skipped or blocked, down to where it is written.

use super::global::Global;
use super::reversal::Reversal;
use super::runs;
use super::story::{Retold, Story, Told};
use crate::failure::{Exit, Failure};
use crate::report::{clean, out_json, out_line, said};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use trees_core::event::{Digests, Event, EventKind, Reason, RunStatus, StepStatus};
use trees_core::journal::{Journal as _, RunFilter, RunSummary};
use trees_core::path::StepPath;
use trees_core::run::Run;
use trees_state::State;

/// Tell why a step ran, was cached, skipped or blocked.
///
/// Down to the rule, the line of the tree file, the values, files and variables that decided.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    run: String,
    /// The step: build, smoke:general, report/upload
    step: String,
}

/// One finding: a step, what it is, and the reason.
struct Because {
    path: String,
    status: StepStatus,
    reason: Reason,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let state = runs::required(global)?;
    let run = runs::find(&state, &args.run)?;
    let recorded = state.load(&run.run, 0)?;
    let definitions = runs::definitions(&state, &run.run).ok();
    let Retold { events, story, mut replayed } = Retold::of(&run.run, &recorded, definitions);
    let step = runs::step_path(&args.step);
    let told = story.step(step.as_str()).ok_or_else(|| {
        let names: Vec<&str> = story.steps.iter().take(12).map(|s| s.path.as_str()).collect();
        Failure::wrong(format!("run {} has no step `{step}`", run.run)).hint(format!("steps it has: {}", names.join(", ")))
    })?;
    let mut because = chain(&story, told, &events, &state, &run)?;
    because.extend(replayed.as_mut().and_then(|replayed| stayed(told, &recorded, replayed)));
    if json {
        let rows: Vec<Value> = because.iter().map(row).collect();
        let status = told.status.map(StepStatus::as_str);
        out_json(&json!({ "schema": "trees/why", "version": 1, "run": run.run, "step": step, "status": status, "because": rows }));
    } else {
        because.iter().for_each(print);
    }
    Ok(Exit::OK)
}

fn row(because: &Because) -> Value {
    let Reason { code, text, file, line, values } = &because.reason;
    json!({ "path": because.path, "status": because.status.as_str(), "code": code, "text": text, "file": file, "line": line, "values": values })
}

fn print(because: &Because) {
    let reason = &because.reason;
    let place = match (&reason.file, reason.line) {
        (Some(file), Some(line)) => format!(" ({file}:{line})"),
        (Some(file), None) => format!(" ({file})"),
        (None, _) => String::new(),
    };
    out_line(&format!("{} {}: {}{place}", because.path, because.status.phrase(), clean(&reason.text)));
    for (name, value) in reason.values.iter().filter(|_| !is_need(&reason.code)) {
        out_line(&format!("    {name} = {}", clean(value)));
    }
}

/// The step's own reason, then that of the step it goes back to, and so on.
fn chain(story: &Story, told: &Told, recorded: &[Event], state: &State, run: &RunSummary) -> Result<Vec<Because>, Failure> {
    let mut chain = Vec::new();
    let mut seen = HashSet::new();
    let mut at = Some(told);
    while let Some(told) = at.filter(|t| seen.insert(t.path.clone())) {
        let reason = reason(told, recorded, state, run)?;
        let cause = reason.values.first_key_value().filter(|_| is_need(&reason.code)).and_then(|(path, _)| story.step(path));
        chain.push(Because { path: told.path.clone(), status: told.status.unwrap_or(StepStatus::Pending), reason });
        at = cause;
    }
    Ok(chain)
}

/// Why a step was not taken back in a rollback.
fn stayed(told: &Told, recorded: &[Event], replayed: &mut Run) -> Option<Because> {
    let reason = Reversal::of(recorded)?.kept(told, replayed)?;
    Some(Because { path: told.path.clone(), status: told.status?, reason })
}

fn is_need(code: &str) -> bool {
    matches!(code, "need_failed" | "need_skipped" | "none_succeeded" | "undone")
}

fn reason(told: &Told, recorded: &[Event], state: &State, run: &RunSummary) -> Result<Reason, Failure> {
    let simple = |code: &str, text: String| Reason { code: code.into(), text, file: None, line: None, values: Default::default() };
    if let Some(undone) = Reversal::of(recorded).and_then(|r| r.undone(told, recorded)) {
        return Ok(undone);
    }
    if let Some(reason) = &told.reason {
        return Ok(reason.clone());
    }
    if let Some(error) = &told.error {
        let mut reason = simple("failed", said::message(error));
        if let Some(log) = &error.log {
            reason.values.insert("log".into(), runs::folder(state).join(log).display().to_string());
        }
        return Ok(reason);
    }
    if let Some(resolved) = resolution(told, recorded) {
        return Ok(simple("resolved", resolved));
    }
    match told.status {
        Some(StepStatus::Succeeded | StepStatus::Running | StepStatus::RetryWait) if reopened(told, recorded).is_some() => {
            Ok(reopened(told, recorded).cloned().unwrap_or_else(|| simple("changed", "it was run again".into())))
        }
        Some(StepStatus::Succeeded | StepStatus::Running | StepStatus::RetryWait) => ran(told, recorded, state, run),
        Some(StepStatus::Waiting) => Ok(simple("waiting", waiting(told, recorded))),
        Some(StepStatus::Rejected) => Ok(simple("rejected", "a person said no".into())),
        _ if run.status == RunStatus::Running => Ok(simple("pending", "what it needs has not ended".into())),
        _ => Ok(simple("pending", "the run came to rest before its turn".into())),
    }
}

fn of<'a>(told: &'a Told, recorded: &'a [Event]) -> impl DoubleEndedIterator<Item = &'a Event> {
    recorded.iter().filter(|e| e.step.as_ref().is_some_and(|s| s.as_str() == told.path))
}

/// Why a resume ran it again, where its last attempt came of that.
fn reopened<'a>(told: &'a Told, recorded: &'a [Event]) -> Option<&'a Reason> {
    let mut starts = 0;
    of(told, recorded).rev().find_map(|e| match &e.kind {
        EventKind::StepReopened { reason } if starts < 2 => Some(reason),
        EventKind::StepStarted { .. } => {
            starts += 1;
            None
        }
        _ => None,
    })
}

fn resolution(told: &Told, recorded: &[Event]) -> Option<String> {
    let event = of(told, recorded).rev().find(|e| matches!(e.kind, EventKind::StepResolved { .. }))?;
    let line = said::say(event, None, false)?.line.plain();
    Some(line.trim_start_matches("! ").trim_start_matches(&told.path).trim().to_owned())
}

fn waiting(told: &Told, recorded: &[Event]) -> String {
    let last = of(told, recorded).rev().find_map(|e| said::say(e, None, false));
    last.map_or_else(|| "it waits".into(), |s| s.line.plain())
}

fn digests<'a>(path: &str, recorded: &'a [Event]) -> Option<&'a Digests> {
    let of = recorded.iter().rev().filter(|e| e.step.as_ref().is_some_and(|s| s.as_str() == path));
    of.filter_map(|e| match &e.kind {
        EventKind::StepStarted { digests, .. } | EventKind::StepCached { digests, .. } => digests.as_ref(),
        _ => None,
    })
    .next()
}

/// Why it ran and was not reused: what differs from the newest earlier run that had it.
fn ran(told: &Told, recorded: &[Event], state: &State, run: &RunSummary) -> Result<Reason, Failure> {
    let mut reason = Reason {
        code: "ran".into(),
        text: "what it needs had ended as its rule asks, and no earlier result stood for it".into(),
        file: None,
        line: None,
        values: Default::default(),
    };
    let Some(now) = digests(&told.path, recorded) else { return Ok(reason) };
    let filter = RunFilter { tree: Some(run.tree.clone()), limit: 20, ..RunFilter::default() };
    let step = StepPath(told.path.clone());
    for earlier in runs::list(state, &filter)?.into_iter().filter(|r| r.number < run.number) {
        let events = state.load(&earlier.run, 0)?;
        let Some(before) = digests(step.as_str(), &events) else { continue };
        reason.values = words(&before.ingredients, &now.ingredients);
        reason.text = match (before.definition == now.definition, reason.values.is_empty()) {
            (true, true) => format!("nothing changed since run {}, but {}", earlier.run, unused(now, &told.kind)),
            (false, _) => format!("its definition changed since run {}", earlier.run),
            (true, false) => format!("changed since run {}", earlier.run),
        };
        reason.code = "changed".into();
        return Ok(reason);
    }
    Ok(reason)
}

/// Why the result of an earlier run did not stand for a step of which nothing changed.
fn unused(now: &Digests, kind: &str) -> &'static str {
    match (now.reusable, kind) {
        (true, _) => "its result could not be used again",
        (false, "run") => "its results are not kept for later runs (`cache: true` keeps them)",
        (false, _) => "a step of its kind looks at what is there each time",
    }
}

/// What became of each name: `changed`, `new` or `gone`; nothing where it is the same.
pub fn words(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let names: HashSet<&String> = before.keys().chain(now.keys()).collect();
    let word = |name: &String| match (before.get(name), now.get(name)) {
        (Some(a), Some(b)) if a == b => None,
        (Some(_), Some(_)) => Some("changed"),
        (None, Some(_)) => Some("new"),
        (Some(_), None) => Some("gone"),
        (None, None) => None,
    };
    names.into_iter().filter_map(|name| Some((name.clone(), word(name)?.to_owned()))).collect()
}
