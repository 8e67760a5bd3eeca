//! The order of `vars`: each after those that it reads, for the tree and for each environment.

use super::graph;
use super::nodes::count;
use crate::diagnostic::{Diagnostic, Span};
use crate::expr::{Expr, Segment, Template};
use crate::tree::Tree;
use std::collections::{BTreeSet, HashMap};

/// Orders the vars of the tree and of each environment (its own over the tree's).
pub fn order(tree: &mut Tree, found: &mut Vec<Diagnostic>) {
    let mut told = BTreeSet::new();
    let own = std::mem::take(&mut tree.vars);
    for environment in tree.environments.values_mut() {
        let mine = std::mem::take(&mut environment.vars);
        let kept = own.iter().filter(|(name, _)| mine.iter().all(|(n, _)| n != name)).cloned();
        let all = kept.chain(mine.iter().cloned()).collect();
        environment.vars = sorted(all, &mut told, found);
    }
    tree.vars = sorted(own, &mut told, found);
}

/// The vars in the order of their references; as they were where they lead back to themselves.
fn sorted(vars: Vec<(String, Template)>, told: &mut BTreeSet<Vec<String>>, found: &mut Vec<Diagnostic>) -> Vec<(String, Template)> {
    let index: HashMap<&str, u32> = vars.iter().enumerate().map(|(i, (n, _))| (n.as_str(), count(i))).collect();
    let mut edges = Vec::new();
    for (at, (_, template)) in vars.iter().enumerate() {
        for expr in template.exprs() {
            edges.extend(read_by(expr).filter_map(|(name, _)| Some((*index.get(name)?, count(at)))));
        }
    }
    match graph::sort(vars.len(), &edges) {
        Ok(order) => {
            let mut slots: Vec<Option<(String, Template)>> = vars.into_iter().map(Some).collect();
            order.into_iter().filter_map(|i| slots[i as usize].take()).collect()
        }
        Err(cycles) => {
            for cycle in cycles {
                let mut names: Vec<String> = cycle.iter().rev().map(|i| vars[*i as usize].0.clone()).collect();
                names.rotate_right(1);
                if told.insert(names.clone()) {
                    found.push(circle(&vars, &names));
                }
            }
            vars
        }
    }
}

fn read_by(expr: &Expr) -> impl Iterator<Item = (&str, Span)> {
    expr.references.iter().filter_map(|r| match r.path.as_slice() {
        [Segment::Name(root), Segment::Name(name), ..] if root == "vars" => Some((name.as_str(), r.span)),
        _ => None,
    })
}

fn circle(vars: &[(String, Template)], names: &[String]) -> Diagnostic {
    let index: HashMap<&str, &Template> = vars.iter().map(|(n, template)| (n.as_str(), template)).collect();
    let place = |from: &str, to: &str| {
        // Of one that stands twice the last counts, here as in the index.
        let template = index.get(from)?;
        template.exprs().into_iter().flat_map(read_by).find(|(n, _)| *n == to).map(|(_, span)| span)
    };
    let next = |i: usize| names[(i + 1) % names.len()].as_str();
    let ring: Vec<&str> = names.iter().map(String::as_str).chain(names.first().map(String::as_str)).collect();
    let spans: Vec<Span> = names.iter().enumerate().filter_map(|(i, n)| place(n, next(i))).collect();
    let first = spans.first().copied().unwrap_or_default();
    let found = Diagnostic::error("var-cycle", first, format!("vars lead back to themselves: {}", ring.join(" -> ")));
    let found = spans.iter().enumerate().skip(1).fold(found, |d, (i, s)| d.note(*s, format!("`{}` reads `{}`", names[i], next(i))));
    found.help("give one of them a value of its own")
}
