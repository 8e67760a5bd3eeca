//! One check: the top file and all its sub-trees, loaded once each, with all that is wrong.
//!
//! Knows how files lead to files; what stands in one is [`super::draft`]'s.

use super::draft::Draft;
use super::keys::{Form, TREE};
use super::load::{DEPTH, load};
use super::nodes::Ref;
use super::{Checked, Loader, Source, Sources, shape};
use crate::diagnostic::{Diagnostic, Span};
use crate::tree::{Kinds, Tree};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// What is shared by all files of one check.
pub struct Session<'c> {
    loader: &'c dyn Loader,
    /// The step kinds.
    pub kinds: &'c dyn Kinds,
    files: Vec<Rc<Source>>,
    /// All that is wrong so far.
    pub found: Vec<Diagnostic>,
    trees: HashMap<String, Option<Arc<Tree>>>,
    open: Vec<(String, Span)>,
    /// The pools of the files that lead here.
    pub pools: BTreeSet<String>,
    /// The environments of the top tree.
    pub environments: BTreeSet<String>,
}

/// Checks a file and all that it names.
pub fn check(top: Source, loader: &dyn Loader, kinds: &dyn Kinds) -> Checked {
    let mut session = Session {
        loader,
        kinds,
        files: Vec::new(),
        found: Vec::new(),
        trees: HashMap::new(),
        open: Vec::new(),
        pools: BTreeSet::new(),
        environments: BTreeSet::new(),
    };
    let tree = session.file(top, Span::default(), false);
    let mut found = session.found;
    found.sort_by_key(|d| (d.span.unwrap_or_default(), d.severity));
    found.dedup();
    let wrong = found.iter().any(Diagnostic::is_error);
    let files = session.files.into_iter().map(|s| Rc::try_unwrap(s).unwrap_or_else(|s| (*s).clone())).collect();
    Checked { tree: tree.filter(|_| !wrong), sources: Sources { files }, diagnostics: found }
}

impl Session<'_> {
    /// The sub-tree that `path` names in the file `from`.
    pub fn subtree(&mut self, path: Ref<'_>, from: u32) -> Option<Arc<Tree>> {
        let (span, written) = (path.span(), path.scalar().unwrap_or_default());
        let from = Rc::clone(self.files.get(from as usize)?);
        let source = match self.loader.load(written, &from.name) {
            Ok(source) => source,
            Err(message) => {
                let help = format!("`tree:` is a path relative to `{}`", from.name);
                self.found.push(Diagnostic::error("subtree-unreadable", span, message).help(help));
                return None;
            }
        };
        if let Some(at) = self.open.iter().position(|(name, _)| *name == source.name) {
            self.found.push(self.circle(at, span));
            return None;
        }
        if let Some(known) = self.trees.get(&source.name) {
            return known.clone();
        }
        if self.open.len() >= DEPTH {
            let message = format!("sub-trees are nested deeper than {DEPTH} levels");
            self.found.push(Diagnostic::error("too-deep", span, message).help("use the steps of the inner ones directly"));
            return None;
        }
        let name = source.name.clone();
        let tree = self.file(source, span, true);
        self.trees.insert(name, tree.clone());
        tree
    }

    fn circle(&self, at: usize, span: Span) -> Diagnostic {
        let mut names: Vec<&str> = self.open[at..].iter().map(|(name, _)| name.as_str()).collect();
        names.extend(names.first().copied());
        let found = Diagnostic::error("include-cycle", span, format!("sub-trees lead back to themselves: {}", names.join(" -> ")));
        let found = self.open[at..].iter().skip(1).fold(found, |d, (name, from)| d.note(*from, format!("`{name}` is named here")));
        found.help("repeat with `foreach`, `retry` or a run of its own instead")
    }

    fn file(&mut self, mut source: Source, from: Span, sub: bool) -> Option<Arc<Tree>> {
        if let Some(text) = source.text.strip_prefix('\u{feff}') {
            source.text = text.to_owned();
        }
        let index = super::nodes::count(self.files.len());
        let source = Rc::new(source);
        self.files.push(Rc::clone(&source));
        let (doc, found) = load(&source.text, index);
        self.found.extend(found);
        let doc = doc?;
        let root = doc.at(doc.root);
        shape::walk(root, &Form::Record(&TREE), "the file", &mut self.found);
        if !root.is_map() {
            return None;
        }
        self.open.push((source.name.clone(), from));
        let pools = self.pools.clone();
        let tree = Draft::new(self, &doc, root, sub).tree(&source.name);
        self.pools = pools;
        self.open.pop();
        Some(Arc::new(tree))
    }
}
