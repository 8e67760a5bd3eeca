//! Two recorded runs beside each other.

use crate::cli::story::{Retold, Story};
use crate::cli::{runs, timeline, why};
use crate::failure::Failure;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use trees_core::event::{ArtifactRef, Digests, Event, EventKind, Json, Object, StepStatus};
use trees_core::journal::{Journal as _, RunSummary};
use trees_core::language::Sources;
use trees_core::tree::{Action, Tree};
use trees_state::State;

/// A step that took less longer or shorter than this is said to have taken as long.
const SECONDS: f64 = 0.5;
/// The same, as a part of the shorter time.
const RATIO: f64 = 1.25;

/// One of the two runs.
pub struct Side {
    /// The run.
    pub run: RunSummary,
    environment: String,
    version: String,
    params: Object,
    story: Story,
    digests: HashMap<String, Digests>,
    artifacts: HashMap<String, BTreeMap<String, ArtifactRef>>,
    seconds: HashMap<String, f64>,
    sources: Option<Sources>,
}

impl Side {
    /// From what is recorded of a run.
    pub fn of(state: &State, run: RunSummary) -> Result<Self, Failure> {
        let recorded = state.load(&run.run, 0)?;
        // What this version cannot read any more is compared as far as the events go.
        let definitions = runs::definitions(state, &run.run).ok();
        let tree = definitions.as_ref().map(|definitions| Arc::clone(definitions.newest()));
        let Retold { events, story, .. } = Retold::of(&run.run, &recorded, definitions);
        let facts = runs::facts(&recorded);
        let mut side = Self {
            environment: facts.map(|f| f.environment.clone()).unwrap_or_default(),
            version: facts.map(|f| f.version.clone()).unwrap_or_default(),
            params: facts.map(|f| f.params.clone()).unwrap_or_default(),
            story,
            digests: HashMap::new(),
            artifacts: HashMap::new(),
            seconds: tree.as_deref().map(|tree| timeline::ran(&events, tree)).unwrap_or_default(),
            sources: runs::sources(state, &run.run).ok(),
            run,
        };
        events.iter().for_each(|event| side.take(event));
        if let Some(tree) = tree {
            side.digests.iter_mut().for_each(|(path, digests)| name_values(&tree, path, digests));
        }
        Ok(side)
    }

    fn take(&mut self, event: &Event) {
        let Some(step) = &event.step else { return };
        if let EventKind::StepStarted { digests: Some(digests), .. } | EventKind::StepCached { digests: Some(digests), .. } = &event.kind {
            self.digests.insert(step.0.clone(), digests.clone());
        }
        if let EventKind::StepSucceeded { artifacts, .. } | EventKind::StepCached { artifacts, .. } = &event.kind {
            self.artifacts.insert(step.0.clone(), artifacts.clone());
        }
    }
}

/// A value that a script reads is named as it is written there, not by its variable.
fn name_values(tree: &Tree, path: &str, digests: &mut Digests) {
    let Some(Action::Run(run)) = tree.at(path).map(|step| &step.action) else { return };
    for binding in &run.script.bindings {
        if let Some(digest) = digests.ingredients.remove(&format!("value:{}", binding.variable)) {
            digests.ingredients.insert(format!("value:{}", binding.expr.source.trim()), digest);
        }
    }
}

/// A named value that is not the same in both; none where there is none.
pub struct Change {
    /// Its name.
    pub name: String,
    /// In the first run.
    pub before: Option<Json>,
    /// In the second.
    pub after: Option<Json>,
}

/// What differs of a step.
#[derive(Default)]
pub struct StepChange {
    /// Its path.
    pub path: String,
    /// How it stands in each run; none where the run does not have it.
    pub status: [Option<StepStatus>; 2],
    /// How long its attempts ran.
    pub seconds: [Option<f64>; 2],
    /// How many times as long it took, where that is worth telling.
    pub ratio: Option<f64>,
    /// The number of its last attempt.
    pub attempts: [u32; 2],
    /// Its definition changed.
    pub definition: bool,
    /// Its inputs by name: `changed`, `new` or `gone`.
    pub inputs: BTreeMap<String, String>,
    /// What it returned.
    pub outputs: Vec<Change>,
    /// Artifacts by name, likewise.
    pub artifacts: BTreeMap<String, String>,
}

/// What differs.
pub struct Difference {
    /// Tree, environment, status, version of `trees`.
    pub run: Vec<Change>,
    /// Params.
    pub params: Vec<Change>,
    /// Outputs of the tree.
    pub outputs: Vec<Change>,
    /// Files of the tree: `changed`, `new` or `gone`.
    pub files: BTreeMap<String, String>,
    /// Steps that differ.
    pub steps: Vec<StepChange>,
    /// How many steps do not.
    pub same: usize,
}

impl Difference {
    /// Of two runs.
    pub fn of(before: &Side, after: &Side) -> Self {
        let paths = after.story.steps.iter().chain(&before.story.steps).map(|told| told.path.as_str());
        let mut seen = BTreeSet::new();
        let all: Vec<&str> = paths.filter(|path| seen.insert(*path)).collect();
        let steps: Vec<StepChange> = all.iter().filter_map(|path| step(before, after, path)).collect();
        Self {
            run: run(before, after),
            params: values(&before.params, &after.params),
            outputs: values(&before.story.outputs, &after.story.outputs),
            files: files(before.sources.as_ref(), after.sources.as_ref()),
            same: all.len() - steps.len(),
            steps,
        }
    }

    /// Whether nothing does.
    pub fn is_none(&self) -> bool {
        self.run.is_empty() && self.params.is_empty() && self.outputs.is_empty() && self.files.is_empty() && self.steps.is_empty()
    }
}

fn run(before: &Side, after: &Side) -> Vec<Change> {
    let facts = |side: &Side| {
        [
            ("tree", side.run.tree.clone()),
            ("status", side.run.status.as_str().to_owned()),
            ("environment", side.environment.clone()),
            ("trees", side.version.clone()),
        ]
    };
    let changed = facts(before).into_iter().zip(facts(after)).filter(|(a, b)| a != b);
    changed.map(|((name, a), (_, b))| Change { name: name.into(), before: Some(a.into()), after: Some(b.into()) }).collect()
}

fn values(before: &Object, after: &Object) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| Change { name: name.clone(), before: before.get(name).cloned(), after: after.get(name).cloned() };
    names.into_iter().map(change).filter(|c| c.before != c.after).collect()
}

/// Outputs of a step: by name where both have names, else as a whole.
fn outputs(before: &Json, after: &Json) -> Vec<Change> {
    let empty = Object::new();
    match (before, after) {
        (Json::Object(a), Json::Object(b)) => values(a, b),
        (Json::Null, Json::Object(b)) => values(&empty, b),
        (Json::Object(a), Json::Null) => values(a, &empty),
        _ if before == after => Vec::new(),
        _ => vec![Change { name: String::new(), before: Some(before.clone()), after: Some(after.clone()) }],
    }
}

fn files(before: Option<&Sources>, after: Option<&Sources>) -> BTreeMap<String, String> {
    let texts = |sources: Option<&Sources>| -> BTreeMap<String, String> {
        sources.map(|s| s.files.iter().map(|f| (f.name.clone(), f.text.clone())).collect()).unwrap_or_default()
    };
    why::words(&texts(before), &texts(after))
}

fn step(before: &Side, after: &Side, path: &str) -> Option<StepChange> {
    let told = [before.story.step(path), after.story.step(path)];
    let seconds = [before, after].map(|side| side.seconds.get(path).copied());
    let empty = BTreeMap::new();
    let mut change = StepChange {
        path: path.into(),
        status: told.map(|t| t.map(|t| t.status.unwrap_or(StepStatus::Pending))),
        ratio: ratio(seconds),
        seconds,
        attempts: told.map(|t| t.map_or(0, |t| t.attempts)),
        ..StepChange::default()
    };
    if let [Some(a), Some(b)] = told {
        // What a step that did not get so far would have returned is not known.
        if a.status.is_some_and(StepStatus::is_success) && b.status.is_some_and(StepStatus::is_success) {
            change.outputs = outputs(&a.outputs, &b.outputs);
            // The instances of a fan-out tell theirs.
            change.outputs.retain(|c| !c.name.is_empty() || !is_fan_out(after, path));
            let hashes = |side: &Side| -> BTreeMap<String, String> {
                side.artifacts.get(path).into_iter().flatten().map(|(name, kept)| (name.clone(), kept.sha256.clone())).collect()
            };
            change.artifacts = why::words(&hashes(before), &hashes(after));
        }
    }
    if let (Some(a), Some(b)) = (before.digests.get(path), after.digests.get(path)) {
        change.definition = a.definition != b.definition;
        change.inputs = why::words(&a.ingredients, &b.ingredients);
    }
    let [a, b] = change.status;
    let differs = a != b
        || change.ratio.is_some()
        || change.attempts[0] != change.attempts[1]
        || change.definition
        || change.inputs != empty
        || !change.outputs.is_empty()
        || change.artifacts != empty;
    differs.then_some(change)
}

fn is_fan_out(side: &Side, path: &str) -> bool {
    let instance = format!("{path}[");
    side.story.steps.iter().any(|told| told.path.starts_with(&instance))
}

/// How many times as long the second took, where both ran and the difference is worth telling.
fn ratio(seconds: [Option<f64>; 2]) -> Option<f64> {
    let [Some(a), Some(b)] = seconds else { return None };
    let (less, more) = (a.min(b), a.max(b));
    let told = less > 0.0 && more - less >= SECONDS && more >= less * RATIO;
    told.then(|| b / a)
}

#[cfg(test)]
mod tests {
    use super::{outputs, ratio};
    use serde_json::json;

    #[test]
    fn times_that_are_worth_telling() {
        let check = |a, b, expected: Option<f64>| assert_eq!(ratio([Some(a), Some(b)]), expected, "{a} {b}");
        check(1.0, 2.0, Some(2.0));
        check(2.0, 1.0, Some(0.5));
        check(0.01, 0.4, None);
        check(100.0, 110.0, None);
        check(0.0, 5.0, None);
        assert_eq!(ratio([None, Some(3.0)]), None);
    }

    #[test]
    fn outputs_are_compared_by_name() {
        let names = |a, b| outputs(&a, &b).into_iter().map(|c| c.name).collect::<Vec<_>>();
        assert_eq!(names(json!({ "a": 1, "b": 2 }), json!({ "a": 1, "b": 3, "c": 4 })), ["b", "c"]);
        assert_eq!(names(json!([1]), json!([2])), [""]);
        assert_eq!(names(json!(null), json!({ "a": 1 })), ["a"]);
        assert!(names(json!(null), json!(null)).is_empty());
    }
}
