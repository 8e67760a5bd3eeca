//! One file on its way to a [`Tree`]: the top keys here, the steps in [`super::step`], then names,
//! graph and order.

use super::keys::DEFAULTS;
use super::nodes::{Doc, NIL, Ref, count};
use super::reads::{Reads, Site};
use super::session::Session;
use super::spec::{self, flag, texts, word, words};
use super::{graph, names, typed, vars};
use crate::diagnostic::{Diagnostic, Span};
use crate::expr::Template;
use crate::tree::{Environment, ExitCodes, Param, Retry, Step, Tree};
use indexmap::IndexMap;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Steps of a file, `finally` included.
pub const STEPS: usize = 100_000;

/// A file being read.
pub struct Draft<'d, 's, 'c> {
    /// What all files share.
    pub session: &'s mut Session<'c>,
    /// Its nodes.
    pub doc: &'d Doc<'d>,
    /// Its top mapping.
    pub root: Ref<'d>,
    /// It runs in place, as a sub-tree.
    pub sub: bool,
    /// The defaults of its steps.
    pub defaults: Option<Ref<'d>>,
    /// What its expressions read.
    pub reads: Reads,
    /// Its steps so far.
    pub steps: Vec<Step>,
    /// The needs as written, by step.
    pub needs: Vec<RawNeed<'d>>,
    /// The name that `as` gives to the item of the step being read.
    pub item: Option<String>,
    /// Steps whose outputs are unknown because something is wrong with them.
    pub opaque: Vec<u32>,
    /// What steps without their own have in common.
    pub shared: Shared,
    /// Its pools.
    pub pools: BTreeMap<String, u32>,
    /// Where each environment's name stands.
    pub places: IndexMap<String, Span>,
}

/// What most steps leave to the defaults: without them, and with them.
#[derive(Default)]
pub struct Shared {
    /// How often.
    pub retry: [Option<Arc<Retry>>; 2],
    /// What exit codes mean.
    pub exit: [Option<Arc<ExitCodes>>; 2],
}

/// A need as written.
#[derive(Clone, Copy)]
pub struct RawNeed<'d> {
    /// The step that needs.
    pub step: u32,
    /// The id that it needs.
    pub id: &'d str,
    /// Where that stands.
    pub span: Span,
    /// Instance to instance.
    pub by_key: bool,
}

impl<'d, 's, 'c> Draft<'d, 's, 'c> {
    /// Begins to read a file.
    pub fn new(session: &'s mut Session<'c>, doc: &'d Doc<'d>, root: Ref<'d>, sub: bool) -> Self {
        let defaults = root.get("defaults").filter(|d| d.is_map());
        Self {
            session,
            doc,
            root,
            sub,
            defaults,
            reads: Reads::default(),
            steps: Vec::new(),
            needs: Vec::new(),
            item: None,
            opaque: Vec::new(),
            shared: Shared::default(),
            pools: BTreeMap::new(),
            places: IndexMap::new(),
        }
    }

    /// Notes what is wrong.
    pub fn wrong(&mut self, found: Diagnostic) {
        self.session.found.push(found);
    }

    /// The whole file. Always answers a tree, so that what names it can be checked too; it is only
    /// used if nothing is wrong.
    pub fn tree(mut self, file: &str) -> Tree {
        let mut tree = self.head(file);
        self.read_pools();
        self.read_steps();
        tree.pools = std::mem::take(&mut self.pools);
        tree.outputs = self.pairs("outputs", self.root, Site::Outputs);
        tree.steps = std::mem::take(&mut self.steps);
        tree.index = tree.steps.iter().enumerate().map(|(i, s)| (s.id.clone(), count(i))).collect();
        let reads = std::mem::take(&mut self.reads);
        let found = &mut self.session.found;
        let written = names::Written { reads: &reads, needs: &self.needs, opaque: &self.opaque, sub: self.sub };
        let mut inferred = names::resolve(&tree, &written, self.session.kinds, found);
        graph::link(&mut tree, &self.needs, &mut inferred, found);
        former_names(&tree, found);
        vars::order(&mut tree, found);
        if self.sub {
            tree.environments.clear();
        }
        tree
    }

    fn head(&mut self, file: &str) -> Tree {
        let root = self.root;
        let name = words(root, "tree");
        let project = root.get("project").and_then(spec::text).map_or_else(|| name.clone(), str::to_owned);
        let environments = self.environments();
        let params = self.params();
        let start = Span { source: self.doc.source, line: 1, column: 1, len: 0 };
        let place = |key: &str| root.get(key).map_or(start, Ref::span);
        Tree {
            project,
            name,
            description: words(root, "description"),
            source: self.doc.source,
            file: file.to_owned(),
            params,
            environments,
            vars: self.pairs("vars", root, Site::Vars(NIL)),
            env: self.pairs("env", root, Site::Env(NIL)),
            dotenv: self.paths("dotenv", root),
            secrets: spec::secrets(root.get("secrets"), &mut self.session.found),
            max_parallel: root.get("max_parallel").and_then(spec::whole),
            deadline: root.get("deadline").and_then(spec::duration),
            pools: BTreeMap::new(),
            on_failure: root.get("on_failure").and_then(word).unwrap_or_default(),
            on_failure_at: place("on_failure"),
            on_busy: root.get("on_busy").and_then(word).unwrap_or_default(),
            on_busy_at: place("on_busy"),
            watch: self.paths("watch", root),
            steps: Vec::new(),
            order: Vec::new(),
            index: HashMap::new(),
            outputs: Vec::new(),
        }
    }

    /// Names with values that may hold expressions.
    pub fn pairs(&mut self, key: &str, map: Ref<'d>, site: Site) -> Vec<(String, Template)> {
        self.pairs_of(map.get(key), NIL, site)
    }

    /// Names with values that may hold expressions, of a step.
    pub fn pairs_of(&mut self, map: Option<Ref<'d>>, step: u32, site: Site) -> Vec<(String, Template)> {
        let mut out = Vec::new();
        for entry in map.map(Ref::entries).unwrap_or_default() {
            let Some(name) = entry.key.scalar() else { continue };
            let template = spec::template(entry.value, &mut self.session.found);
            self.reads.template(step, site, &template);
            out.push((name.to_owned(), template));
        }
        out
    }

    /// Paths relative to the working folder.
    fn paths(&mut self, key: &str, map: Ref<'d>) -> Vec<String> {
        let value = map.get(key);
        for item in value.into_iter().flat_map(Ref::items).filter(|i| i.scalar() == Some("")) {
            self.wrong(Diagnostic::error("bad-value", item.span(), format!("an empty path in `{key}`")).help("leave it out"));
        }
        texts(value)
    }

    /// A path that stays in the working folder.
    pub fn inside(&mut self, path: Ref<'d>, key: &str) {
        let Some(text) = path.scalar() else { return };
        let bare = text.strip_prefix('!').unwrap_or(text);
        let message = if bare.starts_with('/') {
            format!("`{text}` is absolute: paths in `{key}` are relative to the working folder")
        } else if super::outside(bare) {
            format!("`{text}` leads out of the working folder")
        } else if bare.is_empty() {
            format!("an empty path in `{key}`")
        } else if bare.contains('\0') {
            format!("a path in `{key}` with a NUL byte")
        } else {
            return;
        };
        self.wrong(Diagnostic::error("path-outside", path.span(), message).help("name a path inside the working folder, without `..`"));
    }

    fn environments(&mut self) -> IndexMap<String, Environment> {
        let mut out = IndexMap::new();
        let mut default: Option<Span> = None;
        for (index, entry) in self.root.get("environments").map(Ref::entries).unwrap_or_default().into_iter().enumerate() {
            let Some(name) = entry.key.scalar() else { continue };
            let (value, index) = (entry.value, count(index));
            let chosen = flag(value, "default");
            if let Some(first) = default.filter(|_| chosen) {
                let found = Diagnostic::error("two-defaults", entry.key.span(), "more than one environment is the default");
                self.wrong(found.note(first, "first here").help("leave `default: true` on one"));
            }
            if chosen {
                default = default.or(Some(entry.key.span()));
            }
            self.places.insert(name.to_owned(), entry.key.span());
            let environment = Environment {
                default: chosen,
                protected: flag(value, "protected"),
                vars: self.pairs("vars", value, Site::Vars(index)),
                env: self.pairs("env", value, Site::Env(index)),
                dotenv: self.paths("dotenv", value),
                secrets: spec::secrets(value.get("secrets"), &mut self.session.found),
            };
            out.insert(name.to_owned(), environment);
        }
        if !self.sub {
            self.session.environments = out.keys().cloned().collect();
        }
        out
    }

    fn params(&mut self) -> IndexMap<String, Param> {
        let entries = self.root.get("params").map(Ref::entries).unwrap_or_default();
        let mut out = IndexMap::new();
        for entry in entries {
            if let Some(name) = entry.key.scalar() {
                let param = typed::param(name, entry.key, entry.value, &mut self.session.found);
                out.insert(name.to_owned(), param);
            }
        }
        out
    }

    fn read_pools(&mut self) {
        for entry in self.root.get("pools").map(Ref::entries).unwrap_or_default() {
            if let (Some(name), Some(size)) = (entry.key.scalar(), spec::whole(entry.value)) {
                self.pools.insert(name.to_owned(), size);
                self.session.pools.insert(name.to_owned());
            }
        }
    }

    fn read_steps(&mut self) {
        let main = self.root.get("steps").map(Ref::entries).unwrap_or_default();
        let last = self.root.get("finally").map(Ref::entries).unwrap_or_default();
        if let Some(value) = self.root.get("steps").filter(|v| v.is_map() && main.is_empty()) {
            self.wrong(
                Diagnostic::error("no-steps", value.span(), "a tree has at least one step").help("add `hello: { run: echo hello }`"),
            );
        }
        if main.len() + last.len() > STEPS {
            let message = format!("{} steps; a file has at most {STEPS}", main.len() + last.len());
            let span = self.root.entry("steps").map_or(Span::default(), |e| e.key.span());
            self.wrong(Diagnostic::error("too-many-steps", span, message).help("use `foreach`, or sub-trees"));
            return;
        }
        self.steps.reserve(main.len() + last.len());
        let known: HashMap<&str, Span> = main.iter().filter_map(|e| Some((e.key.scalar()?, e.key.span()))).collect();
        for entry in main {
            self.read_step(entry, false);
        }
        for entry in last {
            if let Some(first) = entry.key.scalar().and_then(|id| known.get(id)) {
                let found = Diagnostic::error("duplicate-key", entry.key.span(), "a step of that id stands in `steps` too");
                self.wrong(found.note(*first, "first here").help("ids are unique over `steps` and `finally`"));
                continue;
            }
            self.read_step(entry, true);
        }
    }

    /// A field of a step, or of the defaults where the step's action takes it.
    pub fn field(&self, step: Ref<'d>, name: &str, action: u8) -> Option<Ref<'d>> {
        step.get(name).or_else(|| self.default_of(name, action))
    }

    /// A field of the defaults.
    pub fn default_of(&self, name: &str, action: u8) -> Option<Ref<'d>> {
        let takes = action & (super::keys::RUN | super::keys::USES) != 0;
        let key = DEFAULTS.key(name).filter(|k| takes && k.with & action != 0)?;
        self.defaults?.get(key.name)
    }
}

/// A former name that leads nowhere: the step that has it, or the first that says it had it, carries it on.
fn former_names(tree: &Tree, found: &mut Vec<Diagnostic>) {
    let mut heirs: HashMap<&str, &Step> = HashMap::new();
    for step in &tree.steps {
        for name in &step.was {
            let heir = tree.step(name).unwrap_or_else(|| heirs.entry(name).or_insert(step));
            if heir.span != step.span {
                let message = format!("`{}` says it was `{name}`, but `{}` carries that on", step.id, heir.id);
                let warning = Diagnostic::warning("former-name", step.span, message).note(heir.span, "this one");
                found.push(warning.help("leave the name out of `was` here, or there"));
            }
        }
    }
}
