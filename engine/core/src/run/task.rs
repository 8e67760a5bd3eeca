//! What an attempt is made of: every template resolved, and the ingredients of its digests.

use super::Run;
use super::names::text;
use super::state::{NodeId, ROOT};
use crate::event::{ErrorReason, Json, Object, Selection, StepError, StepStatus};
use crate::expr::{Expr, Template};
use crate::hash;
use crate::path::StepPath;
use crate::tree::{Action, NeedKind, Shell, SideAction, Step, Tree};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Secret values by name, for one step: what it names, or what its `with` and `env` read.
pub type Secrets = BTreeMap<String, String>;

/// A resolved attempt. Holds secret values where `with` or `env` read them: never recorded.
#[derive(Clone)]
pub struct Task {
    /// The step or instance.
    pub step: StepPath,
    /// The action; `None` of a sub-tree, whose check and verify are attempted.
    pub job: Option<Job>,
    /// Looks whether it is done.
    pub check: Option<Job>,
    /// Asks whether it is really so; resolved later, with its `step` in scope ([`Run::verify_job`]).
    pub has_verify: bool,
    /// The environment it works for.
    pub environment: String,
    /// The project of the top tree.
    pub project: String,
    /// Files of plain environment, in order, relative to the working folder.
    pub dotenv: Vec<String>,
    /// `env` of the tree, the environment and the step, in that order, later ones win.
    pub env: Vec<(String, String)>,
    /// More variables of `trees` itself.
    pub env_pass: Vec<String>,
    /// The folder it works in (absolute).
    pub cwd: PathBuf,
    /// The folder of the run (absolute): paths of inputs and artifacts start there.
    pub dir: PathBuf,
    /// The secrets that a process is given, by name.
    pub secrets: Vec<String>,
    /// Of one attempt; the step's deadline included.
    pub timeout: Option<Duration>,
    /// Globs of input files, and whether no match is fine; `None` where none are declared.
    pub inputs: Option<(Vec<String>, bool)>,
    /// Where artifacts are expected: name, path, optional.
    pub artifacts: Vec<(String, String, bool)>,
    /// The attempt's idempotency key.
    pub idempotency_key: String,
    /// A later attempt of this run: what is found done then has succeeded.
    pub again: bool,
    /// The step as checked.
    pub tree: Arc<Tree>,
    /// Its index in `tree`.
    pub index: u32,
}

/// What the digests of an attempt are made of, as far as it is known without a look at files.
#[derive(Clone)]
pub struct Ingredients {
    /// The digest of the canonical definition.
    pub definition: String,
    /// Digests of the inputs: `env:X`, `value:TREES_V1`, `with`, `need:build`.
    pub inputs: BTreeMap<String, String>,
}

/// A script or a kind with its values.
#[derive(Clone)]
pub enum Job {
    /// A script.
    Run {
        /// With references in place of values.
        text: String,
        /// What runs it.
        shell: Shell,
        /// The variables it reads.
        bound: Vec<(String, Json)>,
    },
    /// A kind.
    Uses {
        /// `family/kind`.
        kind: String,
        /// Its inputs.
        with: Json,
    },
}

impl Task {
    /// The step as checked.
    pub fn spec(&self) -> &Step {
        &self.tree.steps[self.index as usize]
    }
}

impl Run {
    /// What the next attempt of a step is made of. `secrets` are the values.
    ///
    /// # Errors
    /// A value that cannot be computed.
    pub fn task(&self, step: &StepPath, secrets: &Secrets) -> Result<Task, StepError> {
        let id = self.find(step).ok_or_else(|| cannot(format!("no step {step}")))?;
        self.resolve_task(id, secrets).map_err(cannot)
    }

    /// What the digests of a step's next attempt are made of; `marks` stand for the values of
    /// secrets (name and version, or an HMAC).
    ///
    /// # Errors
    /// A value that cannot be computed.
    pub fn ingredients(&self, step: &StepPath, marks: &Secrets) -> Result<Ingredients, StepError> {
        let id = self.find(step).ok_or_else(|| cannot(format!("no step {step}")))?;
        let inputs = self.input_digests(id, marks).map_err(cannot)?;
        Ok(Ingredients { definition: definition_digest(self.spec(id)), inputs })
    }

    fn resolve_task(&self, id: NodeId, secrets: &Secrets) -> Result<Task, String> {
        let (spec, scope) = (self.spec(id), self.node(id).scope);
        let (environment, tree) = (self.environment_of(id), &self.scope(scope).tree);
        let place = tree.environments.get(&environment);
        let dir = PathBuf::from(self.facts.as_ref().map_or("", |f| f.dir.as_str()));
        let env = self.step_env(id, secrets)?;
        let left = self.remaining(id);
        Ok(Task {
            step: self.node(id).path.clone(),
            job: if self.is_tree(id) { None } else { Some(self.job(id, &spec.action, &with_secrets(secrets))?) },
            check: spec.check.as_ref().map(|c| self.job(id, &c.action, &with_secrets(secrets))).transpose()?,
            has_verify: spec.verify.is_some(),
            project: self.tree.project.clone(),
            dotenv: tree.dotenv.iter().chain(place.into_iter().flat_map(|p| &p.dotenv)).cloned().collect(),
            env_pass: spec.env_pass.clone(),
            cwd: self.cwd(id, &dir)?,
            dir,
            secrets: spec.secrets.clone(),
            timeout: [spec.timeout, left].into_iter().flatten().min(),
            inputs: self.inputs(id)?,
            artifacts: self.artifacts(id)?,
            idempotency_key: self.idempotency_key(id),
            again: self.node(id).attempt > 0,
            tree: Arc::clone(tree),
            index: self.node(id).step,
            environment,
            env,
        })
    }

    /// The verify of an attempt whose action has ended; `step` is in scope.
    ///
    /// # Errors
    /// A value that cannot be computed.
    pub fn verify_job(&self, step: &StepPath, outputs: &Json, secrets: &Secrets) -> Result<Option<(Job, Option<Duration>)>, StepError> {
        let id = self.find(step).ok_or_else(|| cannot(format!("no step {step}")))?;
        let Some(verify) = &self.spec(id).verify else { return Ok(None) };
        let mut extra = with_secrets(secrets);
        let seen = json!({ "outputs": outputs, "status": StepStatus::Succeeded.as_str(), "attempt": self.node(id).attempt });
        extra.insert("step".into(), seen);
        let job = self.job(id, &verify.action, &extra).map_err(|e| cannot(format!("verify: {e}")))?;
        Ok(Some((job, verify.timeout.or(self.spec(id).timeout))))
    }

    /// What is recorded of an action that has ended: where a verify is repeated.
    pub fn recorded_outputs(&self, step: &StepPath) -> Json {
        let action = self.find(step).and_then(|id| self.node(id).more.as_ref()).and_then(|m| m.action.as_ref());
        action.map_or_else(|| json!({}), |a| a.outputs.clone())
    }

    /// The secrets that a step's process is given or its values read, by name, with the index of
    /// the tree file that declares them and the environment it works for.
    pub fn secret_names(&self, step: &StepPath) -> (u32, String, Vec<String>) {
        let Some(id) = self.find(step) else { return (0, String::new(), Vec::new()) };
        let spec = self.spec(id);
        let mut names = secrets_of(spec);
        names.sort();
        names.dedup();
        (self.scope(self.node(id).scope).tree.source, self.environment_of(id), names)
    }

    pub(super) fn job(&self, id: NodeId, action: &Action, extra: &Object) -> Result<Job, String> {
        match action {
            Action::Run(run) => {
                let exprs: Vec<&Expr> = run.script.bindings.iter().map(|b| &b.expr).collect();
                let names = self.names(id, &exprs, extra)?;
                let value =
                    |b: &crate::shell::Binding| b.expr.evaluate(&names).map(|v| (b.variable.clone(), v)).map_err(|e| format!("run: {e}"));
                let bound = run.script.bindings.iter().map(value).collect::<Result<_, _>>()?;
                Ok(Job::Run { text: run.script.text.clone(), shell: run.shell.clone(), bound })
            }
            Action::Uses { kind, with, .. } => {
                let names = self.with_extra(id, with, extra)?;
                let with = with.evaluate(&names).map_err(|e| format!("with: {e}"))?;
                Ok(Job::Uses { kind: kind.clone(), with: if with.is_null() { json!({}) } else { with } })
            }
            Action::Tree { .. } | Action::Approve { .. } => Err("only a script or a kind can be attempted".into()),
        }
    }

    fn with_extra(&self, id: NodeId, template: &Template, extra: &Object) -> Result<Object, String> {
        self.names(id, &template.exprs(), extra)
    }

    fn step_env(&self, id: NodeId, secrets: &Secrets) -> Result<Vec<(String, String)>, String> {
        let surroundings = self.surroundings(self.node(id).scope, &self.environment_of(id));
        let mut env = surroundings.env.clone()?;
        let extra = with_secrets(secrets);
        for (name, template) in &self.spec(id).env {
            let names = self.with_extra(id, template, &extra)?;
            let value = template.evaluate(&names).map_err(|e| format!("env.{name}: {e}"))?;
            env.retain(|(n, _)| n != name);
            env.push((name.clone(), text(&value)));
        }
        Ok(env)
    }

    fn cwd(&self, id: NodeId, dir: &std::path::Path) -> Result<PathBuf, String> {
        let Some(cwd) = &self.spec(id).cwd else { return Ok(dir.to_path_buf()) };
        Ok(dir.join(self.plain(id, cwd, "cwd")?))
    }

    fn plain(&self, id: NodeId, template: &Template, what: &str) -> Result<String, String> {
        let names = self.names(id, &template.exprs(), &Object::new())?;
        template.evaluate(&names).map(|v| text(&v)).map_err(|e| format!("{what}: {e}"))
    }

    fn inputs(&self, id: NodeId) -> Result<Option<(Vec<String>, bool)>, String> {
        let Some(inputs) = &self.spec(id).inputs else { return Ok(None) };
        let files = inputs.files.iter().map(|f| self.plain(id, f, "inputs.files")).collect::<Result<_, _>>()?;
        Ok(Some((files, inputs.optional)))
    }

    fn artifacts(&self, id: NodeId) -> Result<Vec<(String, String, bool)>, String> {
        let artifacts = self.spec(id).artifacts.iter();
        artifacts.map(|(name, a)| Ok((name.clone(), self.plain(id, &a.path, &format!("artifacts.{name}"))?, a.optional))).collect()
    }

    fn input_digests(&self, id: NodeId, marks: &Secrets) -> Result<BTreeMap<String, String>, String> {
        let mut parts = BTreeMap::new();
        let digest = |value: &Json| hash::bytes(value.to_string().as_bytes());
        for (name, value) in &self.step_env(id, marks)? {
            parts.insert(format!("env:{name}"), hash::bytes(value.as_bytes()));
        }
        let job = if self.is_tree(id) { None } else { Some(self.job(id, &self.spec(id).action, &with_secrets(marks))?) };
        match job {
            None => {}
            Some(Job::Run { bound, .. }) => parts.extend(bound.iter().map(|(name, value)| (format!("value:{name}"), digest(value)))),
            Some(Job::Uses { with, .. }) => drop(parts.insert("with".into(), digest(&with))),
        }
        if let Some(condition) = &self.spec(id).condition {
            let names = self.names(id, &[condition], &Object::new())?;
            let read = super::names::read(condition, &names);
            parts.extend(read.into_iter().map(|(name, value)| (format!("if:{name}"), digest(&value))));
        }
        if let Some(item) = &self.node(id).item {
            parts.insert("item".into(), digest(&item.value));
        }
        for name in &self.spec(id).secrets {
            parts.insert(format!("secret:{name}"), marks.get(name).cloned().unwrap_or_default());
        }
        let compared = |step: u32| self.spec(id).cache || super::keep::declares(&self.scope(self.node(id).scope).tree.steps[step as usize]);
        // What the items alone were made of is no ingredient of an instance: its item is.
        let of_items = |kind: NeedKind| self.node(id).group.is_some() && matches!(kind, NeedKind::Succeeded | NeedKind::Done);
        for need in self.spec(id).needs.iter().filter(|n| compared(n.step) && (self.spec(id).cache || !of_items(n.kind))) {
            let whole = self.scope(self.node(id).scope).nodes[need.step as usize];
            let partner = (need.kind == NeedKind::ByKey).then(|| self.partner(id, whole)).flatten();
            let node = self.node(partner.unwrap_or(whole));
            let result = node.result.as_deref().map(|r| json!([r.outputs, r.artifacts]));
            parts.insert(format!("need:{}", node.path), digest(&result.unwrap_or(Json::Null)));
        }
        Ok(parts)
    }

    /// All secrets that those steps of a tree name which are asked for: index of the declaring tree's file,
    /// environment, name. Known before anything runs, sub-trees included; a step of the top tree that its `if` leaves out by
    /// `params` alone asks for none.
    pub fn all_secrets(
        tree: &Arc<Tree>,
        selection: Option<&Selection>,
        environment: &str,
        params: &Object,
    ) -> Vec<(Arc<Tree>, String, String)> {
        let mut found = BTreeMap::new();
        let mut asked = super::select::asked(tree, selection);
        let mut trees = vec![(Arc::clone(tree), environment.to_owned())];
        let mut seen = std::collections::BTreeSet::new();
        while let Some((tree, environment)) = trees.pop() {
            if !seen.insert((tree.source, environment.clone())) {
                continue;
            }
            // The top tree comes first.
            let asked = asked.take();
            let is_top = seen.len() == 1;
            for (_, spec) in (0u32..).zip(&tree.steps).filter(|(index, _)| asked.as_ref().is_none_or(|asked| asked.contains(index))) {
                let environment = spec.environment.clone().unwrap_or_else(|| environment.clone());
                if is_top && is_left_out(spec, params) {
                    continue;
                }
                for name in secrets_of(spec) {
                    found.insert((tree.source, environment.clone(), name.clone()), (Arc::clone(&tree), environment.clone(), name));
                }
                if let Action::Tree { tree, .. } = &spec.action {
                    trees.push((Arc::clone(tree), environment));
                }
            }
        }
        found.into_values().collect()
    }

    /// The working folder of the run (absolute).
    pub fn dir(&self) -> PathBuf {
        debug_assert!(self.scopes.len() > ROOT as usize || self.facts.is_none());
        PathBuf::from(self.facts.as_ref().map_or("", |f| f.dir.as_str()))
    }
}

pub(super) fn cannot(message: String) -> StepError {
    StepError { reason: ErrorReason::Spawn, code: None, message, log: None }
}

pub(super) fn with_secrets(secrets: &Secrets) -> Object {
    let mut names = Object::new();
    let values = secrets.iter().map(|(k, v)| (k.clone(), Json::String(v.clone()))).collect();
    names.insert("secrets".into(), Json::Object(values));
    names
}

/// Whether the params alone say that a step does not run.
fn is_left_out(spec: &Step, params: &Object) -> bool {
    let Some(condition) = spec.condition.as_deref().filter(|c| c.calls.is_empty() && c.references.iter().all(|r| r.root() == "params"))
    else {
        return false;
    };
    let names = Object::from_iter([("params".to_owned(), Json::Object(params.clone()))]);
    condition.test(&names) == Ok(false)
}

/// The secrets that a step names, and those that its `with` and `env` read.
fn secrets_of(spec: &Step) -> Vec<String> {
    let mut names = spec.secrets.clone();
    let sides: [&Option<Box<SideAction>>; 3] = [&spec.check, &spec.verify, &spec.undo];
    let actions = std::iter::once(&spec.action).chain(sides.into_iter().flatten().map(|s| &s.action));
    let withs = actions.filter_map(|a| if let Action::Uses { with, .. } = a { Some(with) } else { None });
    for expr in withs.chain(spec.env.iter().map(|(_, t)| t)).flat_map(Template::exprs) {
        for reference in &expr.references {
            if let [crate::expr::Segment::Name(root), crate::expr::Segment::Name(name), ..] = reference.path.as_slice()
                && root == "secrets"
            {
                names.push(name.clone());
            }
        }
    }
    names
}

/// The digest of [`definition`].
pub(super) fn definition_digest(spec: &Step) -> String {
    hash::bytes(definition(spec).to_string().as_bytes())
}

/// What is done, as written: action, the kind's revision, shell, cwd, declared inputs, outputs,
/// artifacts, names of env.
pub(super) fn definition(spec: &Step) -> Json {
    let action = match &spec.action {
        Action::Run(run) => json!({ "run": run.script.source, "shell": run.shell }),
        Action::Uses { kind, revision, with } => json!({ "uses": kind, "revision": revision, "with": source(with) }),
        Action::Tree { tree, .. } => json!({ "tree": tree.name }),
        Action::Approve { .. } => json!({ "approve": true }),
    };
    let env: Vec<&String> = spec.env.iter().map(|(n, _)| n).collect();
    json!({
        "action": action,
        "cwd": spec.cwd.as_deref().map(source),
        "inputs": spec.inputs.as_ref().map(|i| i.files.iter().map(source).collect::<Vec<_>>()),
        "outputs": spec.outputs,
        "artifacts": spec.artifacts.iter().map(|(n, a)| json!([n, source(&a.path)])).collect::<Vec<_>>(),
        "env": env,
    })
}

/// A template as written, for the definition.
fn source(template: &Template) -> Json {
    match template {
        Template::Value(value) => value.clone(),
        Template::Whole(expr) => json!({ "expr": expr.source }),
        Template::Text(parts) => parts
            .iter()
            .map(|p| match p {
                crate::expr::Part::Literal(text) => json!(text),
                crate::expr::Part::Expr(expr) => json!({ "expr": expr.source }),
            })
            .collect(),
        Template::List(items) => json!({ "list": items.iter().map(source).collect::<Vec<_>>() }),
        Template::Map(entries) => json!({ "map": entries.iter().map(|(k, v)| json!([k, source(v)])).collect::<Vec<_>>() }),
    }
}
