//! Tree files: any text is a tree or has errors, each at its place; what was recorded checks again.

use super::places;
use std::sync::LazyLock;
use trees_core::event::Json;
use trees_core::language::{self, Checked, Loader, Source, Sources, join};
use trees_core::tree::Tree;
use trees_steps::Catalogue;

/// The step kinds of the product.
pub static KINDS: LazyLock<Catalogue> = LazyLock::new(trees_steps::catalogue);

/// Begins the next file of a text: `%% part.yaml`.
const NEXT: &str = "\n%% ";

/// Any texts: the first is the tree, the others are files beside it.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let files = Files::of(text);
    let top = Source { name: "tree.yaml".into(), text: files.0[0].1.to_owned() };
    let checked = language::check(top.clone(), &files, &*KINDS);
    hold(&checked);
    let again = language::check(top, &checked.sources, &*KINDS);
    if let Some(tree) = &checked.tree {
        in_order(tree);
        let _ = language::params(tree, &[("n".into(), language::Given::Text(text.into()))]);
        assert!(again.tree.is_some_and(|t| t.order == tree.order), "what was recorded is no such tree: {:?}", again.diagnostics);
    } else {
        assert_eq!(again.tree.is_none(), checked.tree.is_none());
    }
}

/// The files in one text.
struct Files<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Files<'a> {
    fn of(text: &'a str) -> Self {
        let mut parts = text.split(NEXT);
        let top = parts.next().unwrap_or_default();
        let others = parts.map(|part| part.split_once('\n').unwrap_or((part, "")));
        Self(std::iter::once(("tree.yaml", top)).chain(others).collect())
    }
}

impl Loader for Files<'_> {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = join(from, path);
        let text = self.0.iter().find(|(n, _)| *n == name).ok_or_else(|| format!("no file `{name}`"))?.1;
        Ok(Source { name, text: text.into() })
    }
}

fn hold(checked: &Checked) {
    let texts: Vec<&str> = checked.sources.files.iter().map(|f| f.text.as_str()).collect();
    places::hold(&checked.diagnostics, &texts);
    let refused = checked.diagnostics.iter().any(|d| d.is_error());
    assert_eq!(checked.tree.is_none(), refused, "a tree or an error, not both, not neither: {:?}", checked.diagnostics);
    let known = language::codes();
    for diagnostic in &checked.diagnostics {
        assert!(known.iter().any(|(code, _)| *code == diagnostic.code), "`{}` is not among the codes", diagnostic.code);
    }
    let written: Option<Json> = serde_json::to_value(&checked.sources).ok();
    let read = written.and_then(|json| serde_json::from_value::<Sources>(json).ok());
    assert_eq!(read.as_ref(), Some(&checked.sources), "what is recorded is not what was read");
}

/// Each step after all that it needs.
fn in_order(tree: &Tree) {
    let mut place = vec![usize::MAX; tree.steps.len()];
    tree.order.iter().enumerate().for_each(|(at, step)| place[*step as usize] = at);
    for (index, step) in tree.steps.iter().enumerate() {
        assert!(place[index] != usize::MAX, "{} has no place", step.id);
        assert!(step.needs.iter().all(|n| place[n.step as usize] < place[index]), "{} comes before what it needs", step.id);
    }
}
