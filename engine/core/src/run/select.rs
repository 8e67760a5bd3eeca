//! A part of a tree: which steps run, whose results of another run stand for what they need, and
//! what is left out.
//!
//! [`Choice`] says what each step is to a selection; with the run that results come from it makes a
//! [`Course`], the events that settle all other steps before anything starts. Read [`Choice::of`] first.

use super::state::{Aside, NodeId, ROOT};
use super::{IllegalEvent, Run};
use crate::event::{EventKind, Item, Json, Object, Reason, Resolution, Selection, StepStatus};
use crate::language::near;
use crate::path::StepPath;
use crate::tree::{Action, NeedKind, Rule, Step, Tree};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a step of the top tree is to a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It runs.
    Asked,
    /// It does not run; its result is needed.
    Needed,
    /// It counts as succeeded.
    Skipped,
    /// It has no part in the run.
    Left,
}

/// Why a selection does not fit a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unfit {
    /// One sentence.
    pub message: String,
    /// The way out, where there is one.
    pub help: Option<String>,
}

/// What each step of a tree is to a selection.
#[derive(Debug)]
pub struct Choice<'a> {
    tree: &'a Tree,
    selection: &'a Selection,
    parts: Vec<Part>,
}

/// How the steps that do not run are settled, in order.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// What is recorded of them.
    pub events: Vec<(StepPath, EventKind)>,
    /// Steps whose definition is another than in the run that their result comes from.
    pub changed: Vec<String>,
}

impl<'a> Choice<'a> {
    /// What the steps of a tree are to a selection.
    ///
    /// # Errors
    /// A step that the tree does not have or that cannot be named alone; outputs that nobody makes.
    pub fn of(tree: &'a Tree, selection: &'a Selection) -> Result<Self, Unfit> {
        let mut asked = BTreeSet::new();
        for path in &selection.only {
            asked.insert(main_step(tree, path, "--only")?);
        }
        if let Some(path) = &selection.from {
            add_dependants(tree, main_step(tree, path, "--from")?, &mut asked);
        }
        let all = asked.is_empty();
        let mut parts: Vec<Part> =
            (0u32..).zip(&tree.steps).map(|(i, s)| if all || s.finally || asked.contains(&i) { Part::Asked } else { Part::Left }).collect();
        for path in &selection.skip {
            let step = named(tree, path, "--skip")?;
            if selection.only.contains(path) || selection.from.as_ref() == Some(path) {
                return Err(Unfit { message: format!("`{path}` is both asked for and skipped"), help: None });
            }
            if !is_instance(path) {
                parts[step as usize] = Part::Skipped;
            }
        }
        let mut choice = Self { tree, selection, parts };
        choice.add_needs();
        choice.reads()?;
        Ok(choice)
    }

    /// Steps of the top tree and all that depends on them, in their order, `finally` apart. Unknown ones are left out.
    pub fn dependants(tree: &Tree, steps: &[StepPath]) -> Vec<StepPath> {
        let mut found = BTreeSet::new();
        for index in steps.iter().filter_map(|path| tree.index.get(path.as_str())) {
            add_dependants(tree, *index, &mut found);
        }
        let main = found.into_iter().map(|index| &tree.steps[index as usize]).filter(|step| !step.finally);
        main.map(|step| StepPath::root(&step.id)).collect()
    }

    /// What the steps that run need is taken over; a person's yes is not, it is asked for again.
    fn add_needs(&mut self) {
        let mut open: Vec<u32> = (0u32..).zip(&self.parts).filter(|(_, p)| **p == Part::Asked).map(|(i, _)| i).collect();
        while let Some(at) = open.pop() {
            let step = &self.tree.steps[at as usize];
            for need in step.needs.iter().filter(|_| !step.finally) {
                let part = &mut self.parts[need.step as usize];
                if *part == Part::Left && matches!(self.tree.steps[need.step as usize].action, Action::Approve { .. }) {
                    *part = Part::Asked;
                    open.push(need.step);
                } else if *part == Part::Left {
                    *part = Part::Needed;
                }
            }
        }
    }

    /// Nobody makes the outputs of what is skipped.
    fn reads(&self) -> Result<(), Unfit> {
        for (step, _) in self.tree.steps.iter().zip(&self.parts).filter(|(_, p)| **p == Part::Asked) {
            let lost = |n: &&crate::tree::Need| n.kind == NeedKind::Succeeded && self.parts[n.step as usize] == Part::Skipped;
            if let Some(need) = step.needs.iter().find(lost) {
                let skipped = &self.tree.steps[need.step as usize].id;
                let message = format!(
                    "`{}` reads the outputs of `{skipped}`, which --skip leaves out ({}:{})",
                    step.id, self.tree.file, need.span.line
                );
                return Err(Unfit { message, help: Some(format!("skip `{}` too, or do not skip `{skipped}`", step.id)) });
            }
        }
        Ok(())
    }

    /// The steps whose results of another run are needed.
    pub fn needed(&self) -> Vec<&'a str> {
        self.steps(Part::Needed).map(|(_, s)| s.id.as_str()).collect()
    }

    /// Whether a step runs, or the step of the top tree that it is in.
    pub fn asks(&self, step: &StepPath) -> bool {
        self.tree.index.get(step.top()).is_some_and(|index| self.parts[*index as usize] == Part::Asked)
    }

    fn steps(&self, part: Part) -> impl Iterator<Item = (u32, &'a Step)> {
        let all = self.tree.order.iter().map(|i| (*i, &self.tree.steps[*i as usize]));
        all.filter(move |(i, _)| self.parts[*i as usize] == part)
    }

    /// The course where no result is needed.
    pub fn alone(&self) -> Course {
        self.course(|_| None)
    }

    /// The course with the results of a run.
    ///
    /// # Errors
    /// The steps whose results that run cannot give, each with why.
    pub fn with(&self, source: &Run) -> Result<Course, Vec<String>> {
        let mut taken: BTreeMap<u32, Vec<(StepPath, EventKind)>> = BTreeMap::new();
        let (mut lacking, mut changed) = (Vec::new(), Vec::new());
        for (index, step) in self.steps(Part::Needed) {
            match self.take(index, source) {
                Ok((events, same)) => {
                    taken.insert(index, events);
                    changed.extend((!same).then(|| step.id.clone()));
                }
                Err(why) => lacking.push(format!("{} {why}", step.id)),
            }
        }
        match lacking.is_empty() {
            true => Ok(Course { changed, ..self.course(|index| taken.remove(&index)) }),
            false => Err(lacking),
        }
    }

    fn course(&self, mut taken: impl FnMut(u32) -> Option<Vec<(StepPath, EventKind)>>) -> Course {
        let mut events = Vec::new();
        for index in &self.tree.order {
            let step = &self.tree.steps[*index as usize];
            let path = StepPath::root(&step.id);
            match self.parts[*index as usize] {
                Part::Asked => {}
                Part::Needed => events.extend(taken(*index).unwrap_or_default()),
                Part::Skipped => events.push((path, skipped())),
                Part::Left => events.push((path, EventKind::StepSkipped { reason: not_asked(self.tree, step, self.selection) })),
            }
        }
        Course { events, changed: Vec::new() }
    }

    /// What is recorded of a step whose result is taken over, and whether its definition is the same.
    fn take(&self, index: u32, source: &Run) -> Result<(Vec<(StepPath, EventKind)>, bool), String> {
        let step = &self.tree.steps[index as usize];
        let path = StepPath::root(&step.id);
        let id = source.find(&path).ok_or("is no step of it")?;
        let (node, spec) = (source.node(id), source.spec(id));
        if !node.status.is_final() {
            return Err(format!("has not ended in it ({})", node.status.phrase()));
        }
        let same = is_same(step, spec);
        let reason = |path: &StepPath, also: &str| self.taken_over(step, path, source, same, also);
        if node.status == StepStatus::Skipped && node.aside() != Some(Aside::NotAsked) && self.bears_skip(index) {
            return Ok((vec![(path.clone(), EventKind::StepSkipped { reason: reason(&path, "; it was skipped there") })], same));
        }
        if node.aside() == Some(Aside::Skipped) {
            return Err("was left out of it by --skip".into());
        }
        if !source.came_out_well(id) {
            return Err(format!("{} in it", node.status.phrase()));
        }
        if node.status.is_success() && node.fan.is_some() != step.fan_out.is_some() {
            return Err("has instances only in one of both".into());
        }
        let mut events = Vec::new();
        if let Some(fan) = &node.fan {
            let instances: Vec<NodeId> = fan.children.clone();
            if instances.iter().any(|c| matches!(source.node(*c).aside(), Some(Aside::NotAsked | Aside::Skipped))) {
                return Err("ran only in part in it".into());
            }
            let items: Vec<Item> = instances.iter().filter_map(|c| source.node(*c).item.as_deref().cloned()).collect();
            events.push((path.clone(), EventKind::StepExpanded { items }));
            events.extend(instances.iter().map(|c| source.handed_on(*c, &reason)));
        }
        events.push(source.handed_on(id, &reason));
        Ok((events, same))
    }

    /// All that run and need it would run also where it was skipped.
    fn bears_skip(&self, index: u32) -> bool {
        let bears = |step: &Step, kind: NeedKind| match kind {
            NeedKind::Done => true,
            NeedKind::Succeeded => false,
            NeedKind::Explicit | NeedKind::ByKey => step.rule != Rule::AllSucceeded,
        };
        self.steps(Part::Asked).all(|(_, step)| step.finally || step.needs.iter().filter(|n| n.step == index).all(|n| bears(step, n.kind)))
    }

    fn taken_over(&self, step: &Step, path: &StepPath, source: &Run, same: bool, also: &str) -> Reason {
        let number = source.facts().map(|f| format!(" ({} #{})", f.tree, f.number)).unwrap_or_default();
        let other = if same { "" } else { ", where its definition was another" };
        Reason {
            code: "taken_over".into(),
            text: format!("taken over from {path} in run {}{number}{other}{also}", source.id()),
            file: Some(self.tree.file.clone()),
            line: Some(step.span.line),
            values: BTreeMap::from([("run".into(), source.id().0.clone()), ("step".into(), path.0.clone())]),
        }
    }
}

impl Run {
    /// Settles the steps that have no part in the run, before anything starts.
    pub(super) fn take_course(&mut self, course: Course, now: Timestamp) -> Result<(), IllegalEvent> {
        let by = self.selection().and_then(|s| s.by.clone());
        for (step, kind) in course.events {
            let actor = by.clone().filter(|_| matches!(kind, EventKind::StepResolved { .. }));
            self.record(now, Some(step), None, actor, kind)?;
        }
        Ok(())
    }

    /// Makes the instances of a fan-out; those that are not asked for are settled at once.
    pub(super) fn expand_part(&mut self, id: NodeId, items: Vec<Item>, now: Timestamp) -> Result<(), IllegalEvent> {
        let Some(selection) = self.selection().filter(|s| self.node(id).scope == ROOT && s.is_partial()).cloned() else {
            return self.emit(now, Some(id), EventKind::StepExpanded { items });
        };
        let group = self.node(id).path.clone();
        let paths: Vec<StepPath> = items.iter().map(|i| group.instance(&i.key)).collect();
        let own = |p: &&StepPath| is_instance(p) && step_id(p) == group.as_str();
        let only: Vec<&StepPath> = selection.only.iter().chain(&selection.from).filter(own).collect();
        let skip: Vec<&StepPath> = selection.skip.iter().filter(own).collect();
        if let Some(unknown) = only.iter().chain(&skip).find(|p| !paths.contains(p)) {
            let known = near::listed(paths.iter().map(StepPath::as_str));
            return self.fail_early(id, format!("there is no instance {unknown}; there are {known}"), now);
        }
        let whole = only.is_empty() || selection.only.contains(&group);
        let reason = not_asked(&self.tree, self.spec(id), &selection);
        self.emit(now, Some(id), EventKind::StepExpanded { items })?;
        for path in &paths {
            if self.step(path).is_none_or(|s| s.status.is_final()) {
                continue;
            }
            if skip.contains(&path) {
                self.record(now, Some(path.clone()), None, selection.by.clone(), skipped())?;
            } else if !whole && !only.contains(&path) {
                self.record(now, Some(path.clone()), None, None, EventKind::StepSkipped { reason: reason.clone() })?;
            }
        }
        Ok(())
    }

    fn selection(&self) -> Option<&Selection> {
        self.facts()?.selection.as_deref()
    }

    /// Not all steps of its tree run.
    pub(super) fn is_part(&self) -> bool {
        self.selection().is_some_and(Selection::is_partial)
    }

    /// Notes why a step has no part in the run, if so.
    pub(super) fn set_aside(&mut self, id: NodeId, code: &str) {
        let aside = match code {
            "taken_over" => Aside::TakenOver,
            "not_asked" => Aside::NotAsked,
            _ => return,
        };
        self.node_mut(id).more().aside = Some(aside);
    }

    /// What rules count as a success.
    fn came_out_well(&self, id: NodeId) -> bool {
        self.node(id).status.is_success() || self.is_allowed(id)
    }

    /// What another run records of this step's result.
    fn handed_on(&self, id: NodeId, reason: &dyn Fn(&StepPath, &str) -> Reason) -> (StepPath, EventKind) {
        let node = self.node(id);
        let told = |also: &str| reason(&node.path, also);
        if !self.came_out_well(id) {
            let also = format!("; it {} there", node.status.phrase());
            return (node.path.clone(), EventKind::StepSkipped { reason: told(&also) });
        }
        let reason = told(if node.status.is_success() { "" } else { "; its failure there was allowed" });
        let result = node.result.as_deref().filter(|_| node.status.is_success()).cloned().unwrap_or_default();
        let kind = EventKind::StepCached { reason, outputs: result.outputs, artifacts: result.artifacts, digests: None };
        (node.path.clone(), kind)
    }
}

/// The steps of the top tree that run; none where all do.
pub(super) fn asked(tree: &Tree, selection: Option<&Selection>) -> Option<BTreeSet<u32>> {
    let choice = selection.filter(|s| s.is_partial()).and_then(|s| Choice::of(tree, s).ok())?;
    Some(choice.steps(Part::Asked).map(|(index, _)| index).collect())
}

/// A person's word that a step counts as succeeded.
pub(super) fn skipped() -> EventKind {
    EventKind::StepResolved { resolution: Resolution::Skip, note: None, outputs: Object::new() }
}

fn not_asked(tree: &Tree, step: &Step, selection: &Selection) -> Reason {
    Reason {
        code: "not_asked".into(),
        text: format!("not asked for ({selection})"),
        file: Some(tree.file.clone()),
        line: Some(step.span.line),
        values: BTreeMap::new(),
    }
}

/// The id in the path of a step of the top tree, or of one of its instances.
fn step_id(path: &StepPath) -> &str {
    path.as_str().split('[').next().unwrap_or_default()
}

fn is_instance(path: &StepPath) -> bool {
    path.as_str().contains('[')
}

fn named(tree: &Tree, path: &StepPath, option: &str) -> Result<u32, Unfit> {
    if let Some((outer, _)) = path.as_str().split_once('/') {
        let message = format!("{option} {path}: a step inside a sub-tree cannot be selected");
        return Err(Unfit { message, help: Some(format!("name the step of the top tree that it is in: {option} {outer}")) });
    }
    let id = step_id(path);
    let Some(index) = tree.index.get(id) else {
        let known = || tree.steps.iter().map(|s| s.id.as_str());
        let message = format!("{option}: the tree {} has no step `{id}`{}", tree.name, near::did_you_mean(id, known()));
        return Err(Unfit { message, help: Some(format!("its steps: {}", near::listed(known()))) });
    };
    if is_instance(path) && tree.steps[*index as usize].fan_out.is_none() {
        let message = format!("{option} {path}: `{id}` has no instances");
        return Err(Unfit { message, help: Some(format!("name the step itself: {option} {id}")) });
    }
    Ok(*index)
}

/// A step that can be asked for.
fn main_step(tree: &Tree, path: &StepPath, option: &str) -> Result<u32, Unfit> {
    let index = named(tree, path, option)?;
    if tree.steps[index as usize].finally {
        let message = format!("{option} {path}: it stands in `finally`, which runs whatever is asked for");
        return Err(Unfit { message, help: None });
    }
    Ok(index)
}

/// Adds a step and all in `steps` that depends on it.
fn add_dependants(tree: &Tree, step: u32, asked: &mut BTreeSet<u32>) {
    let mut found = BTreeSet::from([step]);
    // Each step stands after all that it needs.
    for index in &tree.order {
        let spec = &tree.steps[*index as usize];
        if !spec.finally && spec.needs.iter().any(|n| found.contains(&n.step)) {
            found.insert(*index);
        }
    }
    asked.extend(found);
}

/// Whether two steps do the same, sub-trees step by step.
fn is_same(one: &Step, other: &Step) -> bool {
    let inside = match (&one.action, &other.action) {
        (Action::Tree { tree: a, .. }, Action::Tree { tree: b, .. }) => {
            a.steps.len() == b.steps.len() && a.steps.iter().all(|s| b.step(&s.id).is_some_and(|o| is_same(s, o)))
        }
        _ => true,
    };
    let told = |step: &Step| -> Json { super::task::definition(step) };
    inside && told(one) == told(other)
}
