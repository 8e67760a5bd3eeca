//! Which step of an edited tree carries on what was known of one of the tree before.

use super::{Action, Tree};
use std::collections::HashMap;

/// By step of the tree `to`: the step of the tree `from` that it carries on. A step is the one with its
/// id; else the first of its names in `was` that nobody carries on already.
pub fn forebears(from: &Tree, to: &Tree) -> Vec<Option<u32>> {
    let mut found: Vec<Option<u32>> = to.steps.iter().map(|step| from.index.get(&step.id).copied()).collect();
    let mut free = vec![true; from.steps.len()];
    found.iter().flatten().for_each(|index| free[*index as usize] = false);
    for (place, step) in found.iter_mut().zip(&to.steps).filter(|(place, _)| place.is_none()) {
        *place = step.was.iter().filter_map(|name| from.index.get(name)).copied().find(|index| free[*index as usize]);
        place.iter().for_each(|index| free[*index as usize] = false);
    }
    found
}

/// The names of an edited tree for the steps of the tree before, those of sub-trees too.
#[derive(Debug)]
pub struct Heirs(HashMap<String, (String, Option<Heirs>)>);

impl Heirs {
    /// From one tree to the one that came after.
    pub fn of(from: &Tree, to: &Tree) -> Self {
        let pairs = forebears(from, to).into_iter().zip(&to.steps).filter_map(|(index, step)| Some((&from.steps[index? as usize], step)));
        let named = pairs.map(|(before, step)| {
            let inner = match (&before.action, &step.action) {
                (Action::Tree { tree: from, .. }, Action::Tree { tree: to, .. }) => Some(Self::of(from, to)),
                _ => None,
            };
            (before.id.clone(), (step.id.clone(), inner))
        });
        Self(named.collect())
    }

    /// The path of a step or instance in the tree that came after; `None` where it is gone.
    pub fn name(&self, path: &str) -> Option<String> {
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let (id, key) = first.split_at(first.find('[').unwrap_or(first.len()));
        let (id, inner) = self.0.get(id)?;
        Some(match rest {
            Some(rest) => format!("{id}{key}/{}", inner.as_ref()?.name(rest)?),
            None => format!("{id}{key}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::{self, Loader, Source};
    use crate::tree::NoKinds;

    struct Sub(&'static str);

    impl Loader for Sub {
        fn load(&self, path: &str, from: &str) -> Result<Source, String> {
            Ok(Source { name: language::join(from, path), text: format!("tree: sub\nsteps: {{ {} }}", self.0) })
        }
    }

    fn tree(steps: &str, sub: &'static str) -> std::sync::Arc<Tree> {
        let source = Source { name: "t.yaml".into(), text: format!("tree: t\nsteps: {{ {steps} }}") };
        language::check(source, &Sub(sub), &NoKinds).tree.unwrap()
    }

    fn check(from: &str, to: &str, expected: &[(&str, Option<&str>)]) {
        let (from, to) = (tree(from, "in: { run: x }, same: { run: x }"), tree(to, "inner: { was: in, run: x }, same: { run: x }"));
        let heirs = Heirs::of(&from, &to);
        let seen: Vec<_> = expected.iter().map(|(path, _)| (*path, heirs.name(path))).collect();
        let expected: Vec<_> = expected.iter().map(|(path, name)| (*path, name.map(str::to_owned))).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn one_carries_on_what_one_was() {
        check("x: { run: x }, y: { run: x }", "s: { was: [x, y], run: x }", &[("x", Some("s")), ("y", None), ("z", None)]);
        check(
            "x: { run: x }, y: { run: x }",
            "s: { was: [x, y], run: x }, t: { was: [x, y], run: x }",
            &[("x", Some("s")), ("y", Some("t"))],
        );
        check("a: { run: x }", "c: { was: a, run: x }, a: { run: x }", &[("a", Some("a"))]);
    }

    #[test]
    fn names_reach_into_subtrees() {
        let from = "a: { foreach: { items: [k] }, tree: ./s.yaml }, b: { tree: ./s.yaml }";
        let to = "c: { was: a, foreach: { items: [k] }, tree: ./s.yaml }, b: { run: x }";
        check(
            from,
            to,
            &[("a[k]/in", Some("c[k]/inner")), ("a[k]", Some("c[k]")), ("a[k]/gone", None), ("b/same", None), ("b", Some("b"))],
        );
    }
}
