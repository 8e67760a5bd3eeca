//! The tree walked over a record: when each leaf could have started, and the longest chain of work
//! along the needs, which no number of places makes shorter.

use super::Time;
use super::record::{Container, Lane};
use std::collections::HashMap;
use trees_core::tree::{Action, Kinds as _, NeedKind, Rule, Step, Tree};
use trees_steps::Catalogue;

/// What the walk finds.
pub struct Course {
    /// Indices of the lanes on the longest chain.
    pub critical: Vec<usize>,
    /// Its length.
    pub length: Time,
}

/// How far a part of the tree is.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// When it ended.
    time: Time,
    /// The longest chain up to there.
    length: Time,
    /// Its last lane.
    last: Option<usize>,
}

impl Mark {
    /// Both have ended.
    fn join(self, other: Self) -> Self {
        let longer = if other.length > self.length { other } else { self };
        Self { time: self.time.max(other.time), ..longer }
    }
}

/// Sets when each lane could have started and what it belongs to; finds the critical path.
pub fn course(tree: &Tree, environment: &str, lanes: &mut [Lane], containers: &HashMap<String, Container>, end: Time) -> Course {
    let index = lanes.iter().enumerate().map(|(i, lane)| (lane.path.clone(), i)).collect();
    let mut walk = Walk {
        top: tree,
        kinds: trees_steps::catalogue(),
        before: vec![None; lanes.len()],
        index,
        instances: instances(lanes, containers),
        lanes,
        containers,
        end,
    };
    let last = walk.scope(tree, "", environment, Mark::default());
    let before = |i: &usize| walk.before.get(*i).copied().flatten();
    let mut critical: Vec<usize> = std::iter::successors(last.last, before).collect();
    critical.reverse();
    Course { critical, length: last.length }
}

/// The instances of each fan-out, by its path.
fn instances(lanes: &[Lane], containers: &HashMap<String, Container>) -> HashMap<String, Vec<String>> {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    let inner = containers.keys().filter(|path| path.ends_with(']'));
    for path in lanes.iter().map(|lane| &lane.path).chain(inner) {
        // `report/publish[eu]` is an instance; `report/publish[eu]/upload` is in one.
        if let Some(group) = path.strip_suffix(']').and_then(|p| p.rsplit_once('[')).map(|(group, _)| group) {
            all.entry(group.into()).or_default().push(path.clone());
        }
    }
    all.values_mut().for_each(|paths| {
        paths.sort();
        paths.dedup();
    });
    all
}

struct Walk<'a> {
    top: &'a Tree,
    kinds: Catalogue,
    lanes: &'a mut [Lane],
    index: HashMap<String, usize>,
    instances: HashMap<String, Vec<String>>,
    containers: &'a HashMap<String, Container>,
    /// The lane before each on its longest chain.
    before: Vec<Option<usize>>,
    end: Time,
}

/// Where a step stands.
struct Place<'a> {
    tree: &'a Tree,
    step: &'a Step,
    path: String,
    environment: &'a str,
    /// When what it is in began.
    base: Time,
    /// The fan-out that it is an instance of.
    group: Option<&'a str>,
}

/// The ends of a scope's steps, and of the instances of those that fan out.
type Marks = HashMap<u32, (Mark, HashMap<String, Mark>)>;

impl Walk<'_> {
    fn scope(&mut self, tree: &Tree, prefix: &str, environment: &str, base: Mark) -> Mark {
        let mut marks = Marks::new();
        let (mut main, mut all) = (base, base);
        for index in &tree.order {
            let Some(step) = tree.steps.get(*index as usize) else { continue };
            let begin = if step.finally { main } else { base };
            let environment = step.environment.as_deref().unwrap_or(environment);
            let place = Place { tree, step, path: format!("{prefix}{}", step.id), environment, base: base.time, group: None };
            let (mark, each) = self.step(&place, begin, &marks);
            all = all.join(mark);
            if !step.finally {
                main = main.join(mark);
            }
            marks.insert(*index, (mark, each));
        }
        all
    }

    fn step(&mut self, place: &Place<'_>, begin: Mark, marks: &Marks) -> (Mark, HashMap<String, Mark>) {
        let ready = needs(place.step, begin, marks, None);
        if place.step.fan_out.is_none() {
            return (self.one(place, ready), HashMap::new());
        }
        let mut each = HashMap::new();
        let mut whole = Mark { time: self.ended(&place.path).unwrap_or(ready.time), ..ready };
        for path in self.instances.get(&place.path).cloned().unwrap_or_default() {
            let key = path.strip_prefix(&place.path).unwrap_or(&path).to_owned();
            let ready = needs(place.step, begin, marks, Some(&key));
            let mark = self.one(&Place { path, group: Some(&place.path), ..*place }, ready);
            whole = whole.join(mark);
            each.insert(key, mark);
        }
        if each.is_empty() { (self.one(place, ready), each) } else { (whole, each) }
    }

    fn ended(&self, path: &str) -> Option<Time> {
        self.containers.get(path).and_then(|c| c.ended)
    }

    fn one(&mut self, place: &Place<'_>, ready: Mark) -> Mark {
        if let Some(lane) = self.index.get(&place.path) {
            return self.leaf(*lane, place, ready);
        }
        let Action::Tree { tree, .. } = &place.step.action else { return ready };
        let began = self.containers.get(&place.path).and_then(|c| c.began).unwrap_or(ready.time);
        let inner = self.scope(tree, &format!("{}/", place.path), place.environment, Mark { time: began, ..ready });
        Mark { time: self.ended(&place.path).unwrap_or(inner.time), ..inner }
    }

    fn leaf(&mut self, index: usize, place: &Place<'_>, ready: Mark) -> Mark {
        let Some(lane) = self.lanes.get_mut(index) else { return ready };
        lane.eligible = ready.time;
        lane.base = place.base;
        lane.environment = format!("environment:{}", place.environment);
        lane.pool = place.step.pool.as_ref().map(|name| {
            let size = self.top.pools.get(name).or_else(|| place.tree.pools.get(name)).copied().unwrap_or(1);
            (name.clone(), size)
        });
        let deploys = |kind: &String| self.kinds.kind(kind).is_some_and(|kind| kind.deploys);
        lane.locks = place.step.lock.is_some() || matches!(&place.step.action, Action::Uses { kind, .. } if deploys(kind));
        lane.group = place.group.zip(place.step.max_parallel).map(|(group, places)| (group.to_owned(), places));
        let time = lane.ended.unwrap_or(self.end);
        if lane.own() == 0 {
            return Mark { time, ..ready };
        }
        self.before[index] = ready.last;
        Mark { time, length: ready.length + lane.own(), last: Some(index) }
    }
}

/// What a step, or its instance with this key, begins after.
fn needs(step: &Step, begin: Mark, marks: &Marks, key: Option<&str>) -> Mark {
    let of = |need: &trees_core::tree::Need| {
        let (whole, each) = marks.get(&need.step)?;
        let own = key.filter(|_| need.kind == NeedKind::ByKey).and_then(|key| each.get(key));
        Some(*own.unwrap_or(whole))
    };
    let all: Vec<Mark> = step.needs.iter().filter_map(of).collect();
    let first = all.iter().copied().min_by_key(|mark| mark.time);
    match (step.rule, first) {
        // These go on as soon as one need has ended so.
        (Rule::OneSucceeded | Rule::OneFailed, Some(first)) => begin.join(first),
        _ => all.into_iter().fold(begin, Mark::join),
    }
}
