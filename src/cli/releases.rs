//! The releases of an environment: what was deployed there by which run, how each differs from the
//! one before, and how to go back to one.

use super::list::stamp;
use super::rerun::{self, Again};
use super::run::Consent;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::{Line, Paint};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use trees_core::event::{DeployedStep, Json, RunStatus, Selection};
use trees_core::journal::RunSummary;
use trees_core::path::StepPath;
use trees_core::run::Choice;
use trees_core::tree::{Action, Kinds as _, Step};
use trees_state::{ReleaseRow, State};

/// So many are shown to people.
const SHOWN: usize = 10;

/// An environment of a project, as messages name it.
pub fn place(project: &str, environment: &str) -> String {
    if environment.is_empty() { project.to_owned() } else { format!("{project}/{environment}") }
}

/// The release that stands: the newest that was verified.
pub fn standing(releases: &[ReleaseRow]) -> Option<&ReleaseRow> {
    releases.iter().find(|release| release.verified)
}

/// Releases for people, the newest first.
pub fn lines(releases: &[ReleaseRow]) -> Vec<Line> {
    let standing = standing(releases).map(|release| release.number);
    let mut lines: Vec<Line> = Vec::new();
    for (at, release) in releases.iter().enumerate().take(SHOWN) {
        let before = releases[at + 1..].iter().find(|before| before.verified);
        let (paint, word) = match release.status {
            _ if Some(release.number) == standing => (Paint::Good, "verified, stands".to_owned()),
            _ if release.verified => (Paint::Plain, "verified".to_owned()),
            status => (Paint::Care, status.as_str().replace('_', " ")),
        };
        let head = Line::default().with(Paint::Plain, format!("release {}  {:.0}  ", release.number, release.at)).with(paint, word);
        let gone = if release.kept { "" } else { ", which is gone" };
        lines.push(head.with(Paint::Faint, format!("  by run {}{gone}", release.run)));
        lines.extend(differences(release, before).into_iter().map(|text| Line::default().with(Paint::Plain, format!("  {text}"))));
    }
    if releases.len() > SHOWN {
        lines.push(Line::default().with(Paint::Faint, format!("and {} before them", releases.len() - SHOWN)));
    }
    lines
}

/// Releases for programs, the newest first.
pub fn document(releases: &[ReleaseRow]) -> Vec<Value> {
    let one = |(at, release): (usize, &ReleaseRow)| {
        let before = releases[at + 1..].iter().find(|before| before.verified);
        json!({
            "number": release.number, "run": release.run, "tree": release.tree, "status": release.status, "verified": release.verified,
            "at": stamp(release.at), "kept": release.kept, "steps": release.steps, "differs": differences(release, before),
        })
    };
    releases.iter().enumerate().map(one).collect()
}

/// How a release differs from one before it, a line a field.
pub fn differences(new: &ReleaseRow, old: Option<&ReleaseRow>) -> Vec<String> {
    let by_step = |release: &ReleaseRow| -> BTreeMap<String, DeployedStep> {
        release.steps.iter().map(|step| (step.step.0.clone(), step.clone())).collect()
    };
    // What a run that failed did not come to stands as it was.
    let ended_well = matches!(new.status, RunStatus::Succeeded | RunStatus::SucceededWithWarnings);
    let (new, old) = (by_step(new), old.map(by_step).unwrap_or_default());
    let mut lines = Vec::new();
    for (path, step) in &new {
        if step.failed {
            lines.push(format!("  {path}: failed"));
            continue;
        }
        let before = old.get(path);
        let fields =
            step.what.keys().chain(before.iter().flat_map(|before| before.what.keys().filter(|key| !step.what.contains_key(*key))));
        let mut changed: Vec<String> =
            fields.filter_map(|field| changed(field, before.and_then(|b| b.what.get(field)), step.what.get(field))).collect();
        // It tells apart what has one name.
        if changed.len() > 1 {
            changed.retain(|text| !text.starts_with("digest "));
        }
        match (before, changed.is_empty()) {
            (None, true) => lines.push(format!("+ {path} ({})", step.kind)),
            (None, false) => lines.push(format!("+ {path}: {}", changed.join(", "))),
            (Some(_), true) => {}
            (Some(_), false) => lines.push(format!("  {path}: {}", changed.join(", "))),
        }
    }
    if ended_well {
        lines.extend(old.keys().filter(|path| !new.contains_key(*path)).map(|path| format!("- {path}")));
    }
    lines
}

fn changed(field: &str, old: Option<&Json>, new: Option<&Json>) -> Option<String> {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (old, new) {
        (old, new) if old == new => None,
        (None, Some(new)) => Some(format!("{field} {}", text(new))),
        (Some(old), Some(new)) => Some(format!("{field} {} -> {}", text(old), text(new))),
        (Some(old), None) => Some(format!("{field} {} -> none", text(old))),
        (None, None) => None,
    }
}

/// Deploys a release again, in a new run: its deploying steps in that environment and all that depends
/// on them, as recorded; what they need is taken over from its run.
pub fn deploy(
    state: Arc<State>,
    (project, environment): (&str, &str),
    name: &str,
    consent: Consent,
    global: &super::global::Global,
) -> Result<Exit, Failure> {
    let releases = state.releases(project, environment)?;
    let release = named(&releases, &place(project, environment), name)?;
    let run = runs::find(&state, &release.run.0)?;
    again(state, &run, environment, &[], Again { trigger: "rollback", part: None, jobs: None, consent }, global)
}

/// Runs what a run deployed in an environment again, these steps too, and all that depends on any of it; what they need is
/// taken over, so that nothing newer comes there.
pub fn again(
    state: Arc<State>,
    run: &RunSummary,
    environment: &str,
    more: &[StepPath],
    how: Again,
    global: &super::global::Global,
) -> Result<Exit, Failure> {
    let tree = runs::tree(&state, &run.run)?;
    let deploying = tree.steps.iter().filter(|step| deploys_to(step, &run.environment, environment));
    let steps: Vec<StepPath> = deploying.map(|step| StepPath::root(&step.id)).chain(more.iter().map(|p| StepPath::root(p.top()))).collect();
    let part = Selection { only: Choice::dependants(&tree, &steps), of: Some(run.run.clone()), ..Selection::default() };
    rerun::again(state, run, Again { part: Some(part), ..how }, global)
}

/// Whether something in a step deploys to an environment, be it left out by its `if` in a run; `above` is that of what
/// contains it.
fn deploys_to(step: &Step, above: &str, environment: &str) -> bool {
    let own = step.environment.as_deref().unwrap_or(above);
    match &step.action {
        Action::Uses { kind, .. } => own == environment && trees_steps::catalogue().kind(kind).is_some_and(|kind| kind.deploys),
        Action::Tree { tree, .. } => tree.steps.iter().any(|inner| deploys_to(inner, own, environment)),
        Action::Run(_) | Action::Approve { .. } => false,
    }
}

/// The release that a person names, by its number or its run; one that was verified and is kept.
fn named<'a>(releases: &'a [ReleaseRow], place: &str, name: &str) -> Result<&'a ReleaseRow, Failure> {
    let is_meant = |release: &&ReleaseRow| release.number.to_string() == name || (name.len() > 3 && release.run.0.starts_with(name));
    let Some(release) = releases.iter().find(is_meant) else {
        return Err(Failure::wrong(format!("{place} has no release {name}")).hint(choice(releases)));
    };
    if !release.verified {
        let status = release.status.as_str().replace('_', " ");
        let failure =
            Failure::wrong(format!("release {} of {place} was never verified: its run {} ended {status}", release.number, release.run));
        return Err(failure.hint(choice(releases)));
    }
    if !release.kept {
        let failure = Failure::wrong(format!(
            "the run {} of release {} of {place} is gone, and with it what was deployed",
            release.run, release.number
        ));
        return Err(failure.hint(choice(releases)));
    }
    Ok(release)
}

/// Which there are to go back to.
fn choice(releases: &[ReleaseRow]) -> String {
    let good: Vec<String> = releases.iter().filter(|r| r.verified && r.kept).take(SHOWN).map(|r| r.number.to_string()).collect();
    if good.is_empty() { "no verified release is kept".into() } else { format!("verified and kept: {}", good.join(", ")) }
}

/// The newest verified release whose run is kept, of one project or of the only one that has such.
pub fn newest(state: &State, project: Option<&str>, environment: &str) -> Result<Option<ReleaseRow>, Failure> {
    let projects = match project {
        Some(project) => vec![project.to_owned()],
        None => state.projects(environment)?,
    };
    let mut found = Vec::new();
    for project in projects {
        let release = state.releases(&project, environment)?.into_iter().find(|r| r.verified && r.kept);
        found.extend(release.map(|release| (project, release)));
    }
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(|(project, _)| project.clone()).collect();
        let failure = Failure::wrong(format!("several projects have releases in {environment}: {}", names.join(", ")));
        return Err(failure.hint("name a tree file of the one that is meant"));
    }
    Ok(found.pop().map(|(_, release)| release))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use trees_core::path::RunId;

    fn release(number: u64, status: RunStatus, steps: &[(&str, Value)]) -> ReleaseRow {
        let one = |(path, what): &(&str, Value)| DeployedStep::new(StepPath((*path).into()), "deploy/process".into(), what);
        let verified = status == RunStatus::Succeeded;
        let (run, at) = (RunId(format!("run{number}")), Timestamp::UNIX_EPOCH);
        ReleaseRow { number, run, tree: "t".into(), status, verified, at, steps: steps.iter().map(one).collect(), kept: number != 2 }
    }

    #[test]
    fn how_releases_differ() {
        let one = release(1, RunStatus::Succeeded, &[("api", json!({ "release": "v1", "pid": 1 })), ("old", json!({}))]);
        let two =
            release(2, RunStatus::Succeeded, &[("api", json!({ "release": "v2", "pid": 2 })), ("new", json!({ "image": "a@sha256:1" }))]);
        assert_eq!(differences(&two, Some(&one)), ["  api: release v1 -> v2", "+ new: image a@sha256:1", "- old"]);
        assert_eq!(differences(&one, None), ["+ api: release v1", "+ old (deploy/process)"]);
        assert_eq!(differences(&one, Some(&one)), [""; 0]);
    }

    #[test]
    fn only_a_verified_release_that_is_kept_can_be_named() {
        let all = [release(4, RunStatus::Succeeded, &[]), release(3, RunStatus::RolledBack, &[]), release(2, RunStatus::Succeeded, &[])];
        let check = |name: &str, expected: Result<u64, &str>| match (named(&all, "p/e", name), expected) {
            (Ok(release), Ok(number)) => assert_eq!(release.number, number),
            (Err(failure), Err(part)) => assert!(failure.to_string().contains(part), "{failure}"),
            (got, expected) => panic!("{name}: {:?}, {expected:?}", got.map(|r| r.number).map_err(|e| e.to_string())),
        };
        check("4", Ok(4));
        check("run4", Ok(4));
        check("3", Err("release 3 of p/e was never verified: its run run3 ended rolled back"));
        check("2", Err("the run run2 of release 2 of p/e is gone"));
        check("9", Err("p/e has no release 9"));
        assert_eq!(choice(&all), "verified and kept: 4");
        assert_eq!(standing(&all).map(|r| r.number), Some(4));
    }
}
