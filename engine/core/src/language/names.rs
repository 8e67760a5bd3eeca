//! Judges every name that an expression of a file reads: defined, in scope, sure to be there. From
//! references to steps come the inferred needs.
//!
//! Read [`resolve`] first; [`Scope`] is what it knows of the place.

mod results;

use super::draft::RawNeed;
use super::near::{did_you_mean, listed};
use super::reads::{Part, Read, Reads, Site};
use crate::diagnostic::{Diagnostic, Span};
use crate::expr::{Reference, Segment};
use crate::tree::{FanOut, Kinds, Need, Step, Tree, ValueType};
use std::collections::HashSet;

/// What is known of a file where names are judged.
pub struct Scope<'t> {
    tree: &'t Tree,
    kinds: &'t dyn Kinds,
    /// The names of the tree's vars.
    vars: HashSet<&'t str>,
    /// The names of its env.
    env: HashSet<&'t str>,
    opaque: HashSet<u32>,
    /// Steps with the steps in their `needs`.
    written: HashSet<(u32, u32)>,
    /// Those that are joined by key.
    written_by_key: HashSet<(u32, u32)>,
    sub: bool,
    found: Vec<Diagnostic>,
    needs: Vec<(u32, Need)>,
}

/// What was written in a file, beside its tree.
pub struct Written<'w> {
    /// The names that expressions read.
    pub reads: &'w Reads,
    /// The needs.
    pub needs: &'w [RawNeed<'w>],
    /// Steps whose outputs are unknown.
    pub opaque: &'w [u32],
    /// It runs in place, as a sub-tree.
    pub sub: bool,
}

/// Judges all names of a file; answers the needs that follow from them.
pub fn resolve(tree: &Tree, file: &Written<'_>, kinds: &dyn Kinds, found: &mut Vec<Diagnostic>) -> Vec<(u32, Need)> {
    let reads = file.reads;
    let asks = reads.all.iter().any(|r| r.reference.root() == "needs");
    let pair = |n: &RawNeed<'_>| Some((n.step, *tree.index.get(n.id)?));
    let pairs = |by_key: bool| file.needs.iter().filter(|n| asks && (n.by_key || !by_key)).filter_map(pair).collect();
    let opaque = file.opaque.iter().copied().collect();
    let (written, written_by_key) = (pairs(false), pairs(true));
    let vars = tree.vars.iter().map(|(n, _)| n.as_str()).collect();
    let env = tree.env.iter().map(|(n, _)| n.as_str()).collect();
    let mut scope = Scope { tree, kinds, vars, env, opaque, written, written_by_key, sub: file.sub, found: Vec::new(), needs: Vec::new() };
    reads.all.iter().for_each(|read| scope.read(read));
    for (span, name) in &reads.calls {
        let message = format!("`{name}()` asks about needs, which only `if` can");
        scope.wrong("undefined-name", *span, message, "move it to `if`, or read `steps.ID.status`");
    }
    found.append(&mut scope.found);
    scope.needs
}

/// The path after its root.
fn rest(reference: &Reference) -> &[Segment] {
    reference.path.get(1..).unwrap_or_default()
}

impl<'t> Scope<'t> {
    fn wrong(&mut self, code: &str, span: Span, message: String, help: impl Into<String>) {
        self.found.push(Diagnostic::error(code, span, message).help(help));
    }

    fn step(&self, read: &Read) -> Option<&'t Step> {
        self.tree.steps.get(read.step as usize)
    }

    fn read(&mut self, read: &Read) {
        let (reference, path) = (&read.reference, rest(&read.reference));
        match reference.root() {
            "params" => self.param(reference, path),
            "vars" => self.var(read, path),
            "env" => self.env(read, path),
            "secrets" => self.secret(read, path),
            "environment" | "project" => self.members(reference, path, &[]),
            "run" => self.members(reference, path, &["id", "number", "started", "dir"]),
            "tree" => self.members(reference, path, &["name", "file", "dir"]),
            "steps" => self.steps(read, path),
            "needs" => self.needs(read, path),
            "step" => self.own(read, path),
            "failure" if self.knows_failure(read) => self.members(reference, path, &["step", "error"]),
            "failure" => self.out_of_scope(read, "`failure` is known when all has ended: only `undo` and `finally` see it"),
            root => self.item(read, root, path),
        }
    }

    fn out_of_scope(&mut self, read: &Read, message: &str) {
        let names = listed(self.in_scope(read));
        self.wrong("undefined-name", read.reference.span, message.to_owned(), format!("in scope here: {names}"));
    }

    /// In an `undo`, and in the steps of `finally`.
    fn knows_failure(&self, read: &Read) -> bool {
        read.site.part() == Part::Undo || (read.site.in_step() && self.step(read).is_some_and(|step| step.finally))
    }

    /// The names in scope at a place.
    fn in_scope(&self, read: &Read) -> Vec<&'t str> {
        let mut names = vec!["params", "environment", "vars", "run", "tree", "project"];
        let fan_out = self.step(read).and_then(|s| s.fan_out.as_deref());
        if read.site.in_step() || read.site == Site::Outputs {
            names.extend(["env", "steps"]);
        }
        if read.site.in_step() {
            names.push("needs");
        }
        if read.site.in_step() && read.site != Site::Items {
            match fan_out {
                Some(FanOut::Foreach { name, .. }) => names.push(name),
                Some(FanOut::Matrix { .. }) => names.push("matrix"),
                None => {}
            }
        }
        if matches!(read.site, Site::With(_) | Site::StepEnv) {
            names.push("secrets");
        }
        match read.site.part() {
            Part::Verify => names.push("step"),
            Part::Undo => names.push("step"),
            Part::Action | Part::Check => {}
        }
        if self.knows_failure(read) {
            names.push("failure");
        }
        names
    }

    fn item(&mut self, read: &Read, root: &str, path: &[Segment]) {
        let fan_out = self.step(read).and_then(|s| s.fan_out.as_deref()).filter(|_| read.site != Site::Items);
        match fan_out {
            Some(FanOut::Foreach { name, items, .. }) if root == name || root == "item" => {
                let scalars =
                    items.as_value().and_then(|v| v.as_array()).is_some_and(|v| v.iter().all(|i| !i.is_object() && !i.is_array()));
                if scalars && !path.is_empty() && !read.reference.soft {
                    let message = format!("`{}` reads into `{root}`, whose items are plain values", read.reference.written());
                    self.wrong("undefined-name", read.reference.span, message, format!("write `{root}`"));
                }
            }
            Some(FanOut::Matrix { axes, .. }) if root == "matrix" || root == "item" => {
                let names: Vec<&str> = axes.iter().map(|(n, _)| n.as_str()).collect();
                self.member(&read.reference, path, &names, "axis");
            }
            _ if matches!(root, "item" | "matrix") => {
                let why = if read.site == Site::Items { "is known only when the items are" } else { "has a meaning only in a fan-out" };
                self.out_of_scope(read, &format!("`{root}` {why}"));
            }
            _ => {
                let near = did_you_mean(root, self.in_scope(read));
                self.out_of_scope(read, &format!("`{root}` is not defined{near}"));
            }
        }
    }

    /// One of a few known members, then nothing more.
    fn members(&mut self, reference: &Reference, path: &[Segment], known: &[&str]) {
        let deeper = if known.is_empty() { path.first() } else { path.get(1) };
        if deeper.is_some() {
            let message = format!("`{}` reads into a plain value", reference.written());
            return self.wrong("undefined-name", reference.span, message, "end it earlier");
        }
        if !known.is_empty() && !path.is_empty() {
            self.member(reference, path, known, "member");
        }
    }

    fn member(&mut self, reference: &Reference, path: &[Segment], known: &[&str], what: &str) {
        let Some(Segment::Name(name)) = path.first() else { return };
        if !known.contains(&name.as_str()) {
            let near = did_you_mean(name, known.iter().copied());
            let message = format!("`{}` has no {what} `{name}`{near}", reference.root());
            self.wrong("undefined-name", reference.span, message, format!("it has {}", listed(known.iter().copied())));
        }
    }

    /// The literal name after `params`, `secrets`, `steps`, `needs`.
    fn literal<'r>(&mut self, reference: &Reference, path: &'r [Segment]) -> Option<&'r str> {
        if let Some(Segment::Name(name)) = path.first() {
            return Some(name);
        }
        let root = reference.root();
        let what = if path.is_empty() { "as a whole" } else { "with a computed subscript" };
        let message = format!("`{root}` cannot be read {what}: what is read must be known before the run");
        self.wrong("computed-name", reference.span, message, format!("write `{root}.NAME` or `{root}[\"NAME\"]`"));
        None
    }

    fn param(&mut self, reference: &Reference, path: &[Segment]) {
        let Some(name) = self.literal(reference, path) else { return };
        let Some(param) = self.tree.params.get(name) else {
            let known: Vec<&str> = self.tree.params.keys().map(String::as_str).collect();
            let near = did_you_mean(name, known.iter().copied());
            let help = if known.is_empty() {
                format!("declare it: `params: {{ {name}: … }}`")
            } else {
                format!("the tree has {}", listed(known))
            };
            return self.wrong("undefined-name", reference.span, format!("no parameter `{name}`{near}"), help);
        };
        if !param.required && param.default.is_none() && !reference.soft {
            let message = format!("the parameter `{name}` may be missing");
            self.wrong(
                "may-be-undefined",
                reference.span,
                message,
                format!("write `params.{name} | default(value=\"\")`, or give it a default"),
            );
        } else if path.len() > 1 && !matches!(param.kind, ValueType::List | ValueType::Object) {
            let message = format!("`{}` reads into {}", reference.written(), super::typed::article(param.kind));
            self.wrong("undefined-name", reference.span, message, format!("write `params.{name}`"));
        }
    }

    /// The environments in which an expression may be evaluated; `None`: outside of all.
    fn environments(&self, read: &Read) -> Vec<Option<&'t str>> {
        let names = self.tree.environments.keys().map(String::as_str);
        if self.sub || self.tree.environments.is_empty() {
            return vec![None];
        }
        if let Some(index) = read.site.environment() {
            return vec![names.clone().nth(index as usize)];
        }
        match self.step(read).and_then(|s| s.environment.as_deref()) {
            Some(own) if self.tree.environments.contains_key(own) => vec![Some(own)],
            Some(_) | None => names.map(Some).collect(),
        }
    }

    fn var(&mut self, read: &Read, path: &[Segment]) {
        let Some(Segment::Name(name)) = path.first() else { return };
        let tree = self.tree;
        let own = self.vars.contains(name.as_str());
        let there = |e: &str| tree.environments.get(e).is_some_and(|e| e.vars.iter().any(|(n, _)| n == name));
        let known = || tree.vars.iter().chain(tree.environments.values().flat_map(|e| &e.vars)).map(|(n, _)| n.as_str()).collect();
        self.defined(read, "vars", "var", name, own, &there, &known);
    }

    fn env(&mut self, read: &Read, path: &[Segment]) {
        if matches!(read.site, Site::Vars(_) | Site::Env(_)) {
            return self.out_of_scope(read, "`env` is made of vars, not the other way round");
        }
        let Some(Segment::Name(name)) = path.first() else { return };
        let tree = self.tree;
        let own = self.env.contains(name.as_str());
        let there = |e: &str| tree.environments.get(e).is_some_and(|e| e.env.iter().any(|(n, _)| n == name));
        let known = || tree.env.iter().chain(tree.environments.values().flat_map(|e| &e.env)).map(|(n, _)| n.as_str()).collect();
        self.defined(read, "env", "env variable", name, own, &there, &known);
    }

    #[expect(clippy::too_many_arguments, reason = "one question about one name; a struct would only repeat the names")]
    fn defined(
        &mut self,
        read: &Read,
        root: &str,
        what: &str,
        name: &str,
        own: bool,
        there: &dyn Fn(&str) -> bool,
        known: &dyn Fn() -> Vec<&'t str>,
    ) {
        let missing: Vec<Option<&str>> = self.environments(read).into_iter().filter(|e| !own && !e.is_some_and(there)).collect();
        if missing.is_empty() {
            return;
        }
        let somewhere = self.tree.environments.keys().any(|e| there(e));
        if !somewhere {
            let known = known();
            let near = did_you_mean(name, known.iter().copied());
            let help = if known.is_empty() {
                format!("define it: `{root}: {{ {name}: … }}`")
            } else {
                format!("the tree has {}", listed(known))
            };
            return self.wrong("undefined-name", read.reference.span, format!("no {what} `{name}`{near}"), help);
        }
        if read.reference.soft {
            return;
        }
        if self.sub {
            let message = format!("`{root}.{name}` is defined only by `environments`, which hold only when this file is run by itself");
            return self.wrong(
                "environment-only",
                read.reference.span,
                message,
                format!("make it a parameter and pass it by `with: {{ {name}: … }}`"),
            );
        }
        let missing = listed(missing.into_iter().flatten());
        let message = format!("`{root}.{name}` is not defined in the environment {missing}");
        self.wrong("undefined-name", read.reference.span, message, format!("define it there, or under `{root}` of the tree"));
    }

    fn secret(&mut self, read: &Read, path: &[Segment]) {
        let reference = &read.reference;
        let name = match path.first() {
            Some(Segment::Name(name)) => name.clone(),
            _ => "NAME".into(),
        };
        match read.site {
            Site::With(_) | Site::StepEnv => {}
            _ => {
                let message = format!("`secrets.{name}` can stand only in `with` and in a step's `env`");
                return self.wrong(
                    "secret-place",
                    reference.span,
                    message,
                    format!("write `secrets: [{name}]` and read `\"${name}\"` in the script"),
                );
            }
        }
        let Some(name) = self.literal(reference, path) else { return };
        let tree = self.tree;
        let own = tree.secrets.contains_key(name);
        let there = |e: &str| tree.environments.get(e).is_some_and(|e| e.secrets.contains_key(name));
        let known = || tree.secrets.keys().chain(tree.environments.values().flat_map(|e| e.secrets.keys())).map(String::as_str).collect();
        self.defined(read, "secrets", "secret", name, own, &there, &known);
    }
}
