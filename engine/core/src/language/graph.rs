//! Steps as a graph: what needs what, cycles with their path, the order.
//!
//! Iterative throughout; a chain of 100,000 steps is no deeper for the stack than one of two.

use super::draft::RawNeed;
use super::near::did_you_mean;
use super::nodes::count;
use crate::diagnostic::{Diagnostic, Span};
use crate::expr::Template;
use crate::tree::{Need, NeedKind, Rule, Step, Tree};
use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{HashMap, HashSet, VecDeque};

/// Proposals for unknown ids are looked for this many times a file.
const PROPOSALS: usize = 20;
/// Pairs of steps that write the same path, of which the order is looked at.
const PAIRS: usize = 200;

/// Fills in the needs of all steps and the order, and tells of cycles. `inferred` are the needs
/// that come from references: step, need.
pub fn link(tree: &mut Tree, written: &[RawNeed<'_>], inferred: &mut Vec<(u32, Need)>, found: &mut Vec<Diagnostic>) {
    explicit(tree, written, found);
    inferred.sort_by_key(|(step, need)| (*step, need.step, need.kind != NeedKind::Succeeded));
    inferred.dedup_by_key(|(step, need)| (*step, need.step));
    for (step, need) in inferred.drain(..) {
        let step = &mut tree.steps[step as usize];
        if !covered(step, &need) {
            step.needs.push(need);
        }
    }
    let edges: Vec<(u32, u32)> = tree.steps.iter().enumerate().flat_map(|(i, s)| s.needs.iter().map(move |n| (n.step, count(i)))).collect();
    match sort(tree.steps.len(), &edges) {
        Ok(order) => {
            let (last, first): (Vec<u32>, Vec<u32>) = order.into_iter().partition(|i| tree.steps[*i as usize].finally);
            tree.order = first.into_iter().chain(last).collect();
            writers(tree, &edges, found);
        }
        // Which of two steps of one id is meant is unknown.
        Err(_) if found.iter().any(|d| d.code == "duplicate-key") => {}
        Err(cycles) => found.extend(cycles.iter().map(|c| cycle(&tree.steps, c))),
    }
}

/// Whether an explicit need already waits for what the reference wants.
fn covered(step: &Step, need: &Need) -> bool {
    let explicit = step.needs.iter().any(|n| n.step == need.step && n.kind == NeedKind::Explicit);
    match need.kind {
        NeedKind::Succeeded => explicit && step.rule == Rule::AllSucceeded,
        NeedKind::Done => explicit && !matches!(step.rule, Rule::OneSucceeded | Rule::OneFailed),
        NeedKind::Explicit | NeedKind::ByKey => false,
    }
}

fn explicit(tree: &mut Tree, written: &[RawNeed<'_>], found: &mut Vec<Diagnostic>) {
    let mut proposals = 0;
    let mut seen: HashSet<(u32, u32)> = HashSet::new();
    for raw in written {
        let Some(&target) = tree.index.get(raw.id) else {
            proposals += 1;
            let near = if proposals <= PROPOSALS { did_you_mean(raw.id, tree.steps.iter().map(|s| s.id.as_str())) } else { String::new() };
            found.push(Diagnostic::error("unknown-step", raw.span, format!("no step `{}`{near}", raw.id)).help("name a step of this file"));
            continue;
        };
        let (from, to) = (&tree.steps[raw.step as usize], &tree.steps[target as usize]);
        if from.finally != to.finally {
            found.push(across(from, to, raw.span));
            continue;
        }
        if !seen.insert((raw.step, target)) {
            found.push(
                Diagnostic::warning("repeated-need", raw.span, format!("`{}` stands twice in `needs`", raw.id)).help("leave one out"),
            );
            continue;
        }
        if raw.by_key {
            found.extend(by_key(from, to, raw.span));
        }
        let kind = if raw.by_key { NeedKind::ByKey } else { NeedKind::Explicit };
        tree.steps[raw.step as usize].needs.push(Need { step: target, kind, span: raw.span });
    }
}

fn across(from: &Step, to: &Step, span: Span) -> Diagnostic {
    if from.finally {
        let message = format!("`{}` is no step of `finally`: needs there name only steps of `finally`", to.id);
        return Diagnostic::error("finally-need", span, message)
            .help("leave it out: `finally` comes after all steps anyway; `if: failed()` asks about the run");
    }
    let message = format!("`{}` is a step of `finally`, which comes after all others", to.id);
    Diagnostic::error("finally-need", span, message).help("move it to `steps`, or this step to `finally`")
}

fn by_key(from: &Step, to: &Step, span: Span) -> Option<Diagnostic> {
    let without = [from, to].into_iter().find(|s| s.fan_out.is_none())?;
    let message = format!("`by: key` joins instances, and `{}` has none", without.id);
    Some(
        Diagnostic::error("by-key", span, message)
            .note(without.span, "no `foreach` and no `matrix` here")
            .help("need the step by its id alone"),
    )
}

/// An order in which each comes after what leads to it.
///
/// # Errors
/// A shortest cycle of each knot.
pub fn sort(nodes: usize, edges: &[(u32, u32)]) -> Result<Vec<u32>, Vec<Vec<u32>>> {
    let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(nodes, edges.len());
    for _ in 0..nodes {
        graph.add_node(());
    }
    for (from, to) in edges {
        graph.add_edge(NodeIndex::new(*from as usize), NodeIndex::new(*to as usize), ());
    }
    if let Ok(order) = toposort(&graph, None) {
        return Ok(order.into_iter().map(|n| count(n.index())).collect());
    }
    let mut cycles = Vec::new();
    for knot in kosaraju_scc(&graph) {
        let members: HashSet<u32> = knot.iter().map(|n| count(n.index())).collect();
        let Some(start) = knot.iter().map(|n| count(n.index())).min() else { continue };
        let own = |n: u32| graph.neighbors(NodeIndex::new(n as usize)).map(|m| count(m.index())).filter(|m| members.contains(m)).collect();
        cycles.extend(shortest(start, own));
    }
    cycles.sort();
    Err(cycles)
}

/// The shortest way from a node back to itself.
fn shortest(start: u32, next: impl Fn(u32) -> Vec<u32>) -> Option<Vec<u32>> {
    let mut from: HashMap<u32, u32> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for to in next(at) {
            if to == start {
                let mut path = vec![at];
                while let Some(before) = path.last().filter(|n| **n != start).and_then(|n| from.get(n)) {
                    path.push(*before);
                }
                path.reverse();
                return Some(path);
            }
            if let std::collections::hash_map::Entry::Vacant(slot) = from.entry(to) {
                slot.insert(at);
                queue.push_back(to);
            }
        }
    }
    None
}

/// A cycle as people read it: each needs the next.
fn cycle(steps: &[Step], path: &[u32]) -> Diagnostic {
    let mut ring: Vec<&Step> = path.iter().rev().map(|i| &steps[*i as usize]).collect();
    ring.rotate_right(1);
    let spot = |from: &Step, to: u32| from.needs.iter().find(|n| n.step == to).map_or(from.span, |n| n.span);
    let at = |i: usize| path[(path.len() - i) % path.len()];
    let names: Vec<&str> = ring.iter().map(|s| s.id.as_str()).chain(ring.first().map(|s| s.id.as_str())).collect();
    let shown = if names.len() > 12 {
        format!("{} -> … -> {}", names[..6].join(" -> "), names[names.len() - 4..].join(" -> "))
    } else {
        names.join(" -> ")
    };
    let first = ring.first().map_or_else(Span::default, |s| spot(s, at(1)));
    if let [only] = ring.as_slice() {
        return Diagnostic::error("cycle", first, format!("`{}` needs itself", only.id)).help("leave the need out");
    }
    let found = Diagnostic::error("cycle", first, format!("steps need each other in a circle: {shown}"));
    let notes = ring.iter().enumerate().skip(1).take(16);
    let found = notes.fold(found, |d, (i, s)| d.note(spot(s, at(i + 1)), format!("`{}` needs `{}`", s.id, steps[at(i + 1) as usize].id)));
    found.help("leave one of these needs out")
}

/// Steps that may write the same artifact path without an order between them.
fn writers(tree: &Tree, edges: &[(u32, u32)], found: &mut Vec<Diagnostic>) {
    let mut paths: Vec<(Vec<&str>, u32)> = Vec::new();
    for (index, step) in tree.steps.iter().enumerate() {
        for (name, artifact) in &step.artifacts {
            let Template::Value(path) = &artifact.path else { continue };
            let parts: Vec<&str> = path.as_str().unwrap_or_default().split('/').filter(|p| !matches!(*p, "" | ".")).collect();
            if step.fan_out.is_some() && parts.iter().all(|p| !p.contains("{{")) {
                let message = format!("every instance of `{}` writes the artifact `{name}` to the same path", step.id);
                found.push(Diagnostic::warning("shared-artifact", step.span, message).help("put the item into the path: `out/{{ item }}`"));
            }
            paths.push((parts, count(index)));
        }
    }
    paths.sort();
    let mut open: Vec<usize> = Vec::new();
    let mut pairs = Vec::new();
    for (at, (parts, step)) in paths.iter().enumerate() {
        while open.last().is_some_and(|o| !parts.starts_with(&paths[*o].0)) {
            open.pop();
        }
        pairs.extend(open.iter().rev().take(4).filter(|o| paths[**o].1 != *step).map(|o| (paths[*o].1, *step, parts.join("/"))));
        open.push(at);
    }
    pairs.truncate(PAIRS);
    if pairs.is_empty() {
        return;
    }
    let mut forward: HashMap<u32, Vec<u32>> = HashMap::new();
    edges.iter().for_each(|(from, to)| forward.entry(*from).or_default().push(*to));
    for (one, two, path) in pairs {
        if !leads(&forward, one, two) && !leads(&forward, two, one) {
            let (first, second) = (&tree.steps[one.min(two) as usize], &tree.steps[one.max(two) as usize]);
            if first.finally != second.finally {
                continue;
            }
            let message = format!("`{}` and `{}` may write the artifact `{path}` at the same time", first.id, second.id);
            let warning = Diagnostic::warning("shared-artifact", second.span, message).note(first.span, "the other one");
            found.push(warning.help("give each a path of its own, or let one need the other"));
        }
    }
}

fn leads(forward: &HashMap<u32, Vec<u32>>, from: u32, to: u32) -> bool {
    let mut seen = HashSet::from([from]);
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        open.extend(forward.get(&at).into_iter().flatten().filter(|n| seen.insert(**n)));
    }
    false
}
