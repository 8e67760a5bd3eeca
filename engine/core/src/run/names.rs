//! What expressions see: only the names that they read are put together.

use super::Run;
use super::state::{NodeId, ROOT, ScopeId, Surroundings};
use crate::event::{Failure, Json, Object};
use crate::expr::{Expr, Reference, Segment, Template};
use crate::language::{self, Given};
use crate::tree::{Action, FanOut};
use serde_json::json;
use std::sync::Arc;

impl Run {
    /// The environment that a node works for.
    pub(super) fn environment_of(&self, id: NodeId) -> String {
        self.spec(id).environment.clone().unwrap_or_else(|| self.scope(self.node(id).scope).environment.clone())
    }

    /// The names that `exprs` of a step read; `extra` comes first.
    pub(super) fn names(&self, id: NodeId, exprs: &[&Expr], extra: &Object) -> Result<Object, String> {
        let scope = self.node(id).scope;
        let environment = self.environment_of(id);
        let mut names = Object::new();
        for reference in exprs.iter().flat_map(|e| &e.references) {
            let Some(Segment::Name(root)) = reference.path.first() else { continue };
            if let Some(value) = extra.get(root) {
                names.entry(root.clone()).or_insert_with(|| value.clone());
            } else if let Some(value) = self.item_name(id, root) {
                names.entry(root.clone()).or_insert(value);
            } else if root == "needs" {
                names.entry(root.clone()).or_insert_with(|| self.needs_of(id));
            } else if root == "failure" {
                names.entry(root.clone()).or_insert_with(|| failure_names(self.failure_of(scope).as_ref()));
            } else {
                self.add_name(&mut names, scope, &environment, root, reference)?;
            }
        }
        if exprs.iter().any(|e| !e.calls.is_empty()) {
            let (failed, cancelled) = self.ask_needs(id);
            names.insert("__failed".into(), failed.into());
            names.insert("__cancelled".into(), cancelled.into());
        }
        Ok(names)
    }

    /// The names that `exprs` of a tree (its outputs) read.
    pub(super) fn scope_names(&self, scope: ScopeId, exprs: &[&Expr]) -> Result<Object, String> {
        let environment = self.scope(scope).environment.clone();
        let mut names = Object::new();
        for reference in exprs.iter().flat_map(|e| &e.references) {
            if let Some(Segment::Name(root)) = reference.path.first() {
                self.add_name(&mut names, scope, &environment, root, reference)?;
            }
        }
        Ok(names)
    }

    fn add_name(&self, names: &mut Object, scope: ScopeId, environment: &str, root: &str, reference: &Reference) -> Result<(), String> {
        if root == "steps" {
            return self.add_step(names, scope, reference);
        }
        if names.contains_key(root) {
            return Ok(());
        }
        let value = match root {
            "params" => Json::Object(self.params_of(scope)?),
            "environment" => environment.into(),
            "vars" => Json::Object(self.surroundings(scope, environment).vars.clone()?),
            "env" => self.surroundings(scope, environment).env.clone()?.into_iter().map(|(k, v)| (k, Json::String(v))).collect(),
            "run" => self.run_names(),
            "tree" => self.tree_names(scope),
            "project" => self.tree.project.clone().into(),
            _ => return Ok(()),
        };
        names.insert(root.into(), value);
        Ok(())
    }

    fn add_step(&self, names: &mut Object, scope: ScopeId, reference: &Reference) -> Result<(), String> {
        let steps = names.entry("steps").or_insert_with(|| Json::Object(Object::new()));
        let (Some(Segment::Name(id)), Json::Object(steps)) = (reference.path.get(1), steps) else { return Ok(()) };
        let at = self.scope(scope);
        if let (Some(step), false) = (at.tree.index.get(id), steps.contains_key(id)) {
            steps.insert(id.clone(), self.step_names(at.nodes[*step as usize]));
        }
        Ok(())
    }

    fn run_names(&self) -> Json {
        let facts = self.facts.as_deref();
        let started = self.started.map(|t| format!("{t:.6}")).unwrap_or_default();
        json!({ "id": self.id.0, "number": facts.map_or(0, |f| f.number), "started": started, "dir": facts.map_or("", |f| f.dir.as_str()) })
    }

    fn tree_names(&self, scope: ScopeId) -> Json {
        let tree = &self.scope(scope).tree;
        let base = self.facts.as_ref().map_or("", |f| f.tree_dir.as_str());
        let folder = tree.file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let dir = match (folder, folder.starts_with('/')) {
            (_, true) => folder.to_owned(),
            ("", false) => base.to_owned(),
            (_, false) => language::join(&format!("{base}/x"), folder),
        };
        json!({ "name": tree.name, "file": tree.file, "dir": dir })
    }

    /// What is known of a step: `status outputs artifacts attempts exit_code by_key`.
    pub(super) fn step_names(&self, id: NodeId) -> Json {
        let node = self.node(id);
        let mut names = Object::new();
        names.insert("status".into(), node.status.as_str().into());
        names.insert("attempts".into(), node.attempt.into());
        if let Some(code) = self.exit_code(id) {
            names.insert("exit_code".into(), code.into());
        }
        if let Some(result) = &node.result {
            let outputs = if result.outputs.is_null() { json!({}) } else { result.outputs.clone() };
            names.insert("outputs".into(), outputs);
            names.insert("artifacts".into(), self.artifact_names(&result.artifacts));
        } else if node.status.is_success() {
            names.insert("outputs".into(), if node.fan.is_some() { json!([]) } else { json!({}) });
        }
        if let Some(fan) = &node.fan {
            let by_key = fan.children.iter().filter_map(|c| self.node(*c).item.as_ref().map(|i| (i.key.clone(), self.outputs_of(*c))));
            names.insert("by_key".into(), Json::Object(by_key.collect()));
        }
        Json::Object(names)
    }

    fn artifact_names(&self, artifacts: &std::collections::BTreeMap<String, crate::event::ArtifactRef>) -> Json {
        artifacts.iter().map(|(name, a)| (name.clone(), json!({ "path": a.path, "sha256": a.sha256 }))).collect()
    }

    fn exit_code(&self, id: NodeId) -> Option<i32> {
        let node = self.node(id);
        match (&node.error, node.status.is_success()) {
            (Some(error), false) => error.code,
            (_, true) => Some(0),
            (None, false) => None,
        }
    }

    /// The outputs of an instance for its fan-out: null unless it succeeded.
    pub(super) fn outputs_of(&self, id: NodeId) -> Json {
        let node = self.node(id);
        match (&node.result, node.status.is_success()) {
            (Some(result), true) if !result.outputs.is_null() => result.outputs.clone(),
            (_, true) => json!({}),
            (_, false) => Json::Null,
        }
    }

    /// The direct needs by id; of an instance, its partners by key.
    fn needs_of(&self, id: NodeId) -> Json {
        let mut needs = Object::new();
        let scope = self.scope(self.node(id).scope);
        for need in &self.spec(id).needs {
            let node = scope.nodes[need.step as usize];
            needs.insert(self.spec(node).id.clone(), self.step_names(node));
        }
        for partner in self.explicit_needs(id) {
            needs.insert(self.spec(partner).id.clone(), self.step_names(partner));
        }
        Json::Object(needs)
    }

    /// What `failed()` and `cancelled()` answer: of the direct needs, in `finally` of the tree.
    fn ask_needs(&self, id: NodeId) -> (bool, bool) {
        let scope = self.scope(self.node(id).scope);
        let asked: Vec<NodeId> = if self.spec(id).finally {
            scope.nodes.iter().copied().filter(|n| !self.spec(*n).finally).collect()
        } else {
            self.spec(id).needs.iter().map(|n| scope.nodes[n.step as usize]).collect()
        };
        let failed = |n: &NodeId| self.node(*n).status.is_failure() && !self.is_allowed(*n);
        let cancelled = |n: &NodeId| self.node(*n).status == crate::event::StepStatus::Cancelled;
        let of_run = self.spec(id).finally && scope.halt == Some(super::state::Halt::Cancelled);
        (asked.iter().any(failed), of_run || asked.iter().any(cancelled))
    }

    /// `item`, the name given by `as`, `matrix`.
    fn item_name(&self, id: NodeId, root: &str) -> Option<Json> {
        let item = self.node(id).item.as_ref()?;
        let mine = match self.spec(id).fan_out.as_deref()? {
            FanOut::Foreach { name, .. } => root == name || root == "item",
            FanOut::Matrix { .. } => root == "matrix" || root == "item",
        };
        mine.then(|| item.value.clone())
    }

    /// The params of a tree at work: of the top one as recorded, of a sub-tree from its step's `with`.
    pub(super) fn params_of(&self, scope: ScopeId) -> Result<Object, String> {
        if scope == ROOT {
            return Ok(self.facts.as_ref().map(|f| f.params.clone()).unwrap_or_default());
        }
        self.scope(scope).params.get_or_init(|| self.compute_params(scope)).clone()
    }

    fn compute_params(&self, scope: ScopeId) -> Result<Object, String> {
        let Some(parent) = self.scope(scope).parent else { return Ok(Object::new()) };
        self.given_params(parent)
    }

    /// What a sub-tree's step gives to its tree.
    pub(super) fn given_params(&self, parent: NodeId) -> Result<Object, String> {
        let Action::Tree { with, tree } = &self.spec(parent).action else { return Ok(Object::new()) };
        let mut given = Vec::with_capacity(with.len());
        for (name, template) in with {
            let names = self.names(parent, &template.exprs(), &Object::new())?;
            let value = template.evaluate(&names).map_err(|e| format!("with.{name}: {e}"))?;
            given.push((name.clone(), Given::Value(value)));
        }
        language::params(tree, &given).map_err(|wrong| wrong.into_iter().map(|d| d.message).collect::<Vec<_>>().join("; "))
    }

    /// The vars and environment variables of a tree in an environment, computed once.
    pub(super) fn surroundings(&self, scope: ScopeId, environment: &str) -> Arc<Surroundings> {
        if let Some(known) = self.scope(scope).surroundings.borrow().get(environment) {
            return Arc::clone(known);
        }
        let computed = Arc::new(self.compute_surroundings(scope, environment));
        self.scope(scope).surroundings.borrow_mut().insert(environment.to_owned(), Arc::clone(&computed));
        computed
    }

    fn compute_surroundings(&self, scope: ScopeId, environment: &str) -> Surroundings {
        let tree = &self.scope(scope).tree;
        let place = tree.environments.get(environment);
        let vars = self.compute_vars(scope, environment, place.map_or(&tree.vars, |p| &p.vars));
        let env = match &vars {
            Ok(vars) => self.compute_env(scope, environment, vars, tree.env.iter().chain(place.into_iter().flat_map(|p| &p.env))),
            Err(message) => Err(message.clone()),
        };
        Surroundings { vars, env }
    }

    fn compute_vars(&self, scope: ScopeId, environment: &str, templates: &[(String, Template)]) -> Result<Object, String> {
        let mut vars = Object::new();
        for (name, template) in templates {
            let names = self.early_names(scope, environment, &template.exprs(), &vars)?;
            vars.insert(name.clone(), template.evaluate(&names).map_err(|e| format!("vars.{name}: {e}"))?);
        }
        Ok(vars)
    }

    fn compute_env<'a>(
        &self,
        scope: ScopeId,
        environment: &str,
        vars: &Object,
        templates: impl Iterator<Item = &'a (String, Template)>,
    ) -> Result<Vec<(String, String)>, String> {
        let mut env: Vec<(String, String)> = Vec::new();
        for (name, template) in templates {
            let names = self.early_names(scope, environment, &template.exprs(), vars)?;
            let value = template.evaluate(&names).map_err(|e| format!("env.{name}: {e}"))?;
            env.retain(|(n, _)| n != name);
            env.push((name.clone(), text(&value)));
        }
        Ok(env)
    }

    /// Names for vars and env themselves: the vars so far, never steps.
    fn early_names(&self, scope: ScopeId, environment: &str, exprs: &[&Expr], vars: &Object) -> Result<Object, String> {
        let mut names = Object::new();
        for reference in exprs.iter().flat_map(|e| &e.references) {
            match reference.path.first() {
                Some(Segment::Name(root)) if root == "vars" => drop(names.entry("vars").or_insert_with(|| Json::Object(vars.clone()))),
                Some(Segment::Name(root)) if root != "env" && root != "steps" => {
                    self.add_name(&mut names, scope, environment, root, reference)?
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

/// `failure`: its step and its error; empty where nothing failed.
pub(super) fn failure_names(failure: Option<&Failure>) -> Json {
    let step = failure.map_or("", |f| f.step.as_str());
    let error = failure.and_then(|f| f.error.as_ref()).map_or("", |e| e.message.as_str());
    json!({ "step": step, "error": error })
}

/// A value as a process sees it: strings as they are, others as JSON.
pub(super) fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What an expression read, by the text of each reference.
pub(super) fn read(expr: &Expr, names: &Object) -> std::collections::BTreeMap<String, Json> {
    let value = |r: &Reference| follow(r, names);
    expr.references.iter().map(value).map(|(text, v)| (text, v.cloned().unwrap_or(Json::Null))).collect()
}

/// The text of a reference and the value it leads to.
pub(super) fn follow<'a>(reference: &Reference, names: &'a Object) -> (String, Option<&'a Json>) {
    let mut label = String::new();
    let mut value: Option<&Json> = None;
    for (at, segment) in reference.path.iter().enumerate() {
        match segment {
            Segment::Name(name) => {
                label.push_str(if at == 0 { "" } else { "." });
                label.push_str(name);
                value = if at == 0 { names.get(name) } else { value.and_then(|v| v.get(name)) };
            }
            Segment::Index(index) => {
                label.push_str(&format!("[{index}]"));
                value = value.and_then(|v| v.get(index));
            }
            Segment::Dynamic => {
                label.push_str("[…]");
                value = None;
            }
        }
    }
    (label, value)
}
