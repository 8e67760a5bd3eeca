//! What a plan cannot know: outputs of steps that would run first, and all that reads them. Told
//! from the references of expressions, which are known before anything runs.

use std::collections::BTreeSet;
use trees_core::expr::{Expr, Reference, Segment, Template};
use trees_core::path::StepPath;
use trees_core::tree::{Action, FanOut, Step, Tree};

/// Steps whose results nobody knows yet.
#[derive(Debug, Default)]
pub(super) struct Unknowns(BTreeSet<String>);

/// A step with all that is above it, the top tree first.
pub(super) struct Lineage<'t> {
    levels: Vec<Level<'t>>,
}

struct Level<'t> {
    tree: &'t Tree,
    step: &'t Step,
    /// What stands before the ids of this tree in paths.
    prefix: String,
}

impl<'t> Lineage<'t> {
    /// Of a path; `None` where it names no step.
    pub fn of(tree: &'t Tree, path: &StepPath) -> Option<Self> {
        let mut levels: Vec<Level<'t>> = Vec::new();
        let (mut at, mut prefix) = (Some(tree), String::new());
        for part in path.as_str().split('/') {
            let tree = at?;
            let step = tree.step(part.split('[').next().unwrap_or(part))?;
            at = if let Action::Tree { tree, .. } = &step.action { Some(tree) } else { None };
            levels.push(Level { tree, step, prefix: prefix.clone() });
            prefix = format!("{prefix}{part}/");
        }
        Some(Self { levels })
    }

    /// The step itself.
    pub fn step(&self) -> Option<&'t Step> {
        self.levels.last().map(|l| l.step)
    }

    /// The first of the steps that come before it, directly or not, of which `test` holds.
    pub fn before(&self, test: impl Fn(&str) -> bool) -> Option<String> {
        self.levels.iter().find_map(|level| {
            let (mut seen, mut todo) = (BTreeSet::new(), vec![level.step]);
            while let Some(step) = todo.pop() {
                for need in step.needs.iter().filter_map(|n| level.tree.steps.get(n.step as usize)) {
                    let path = format!("{}{}", level.prefix, need.id);
                    if test(&path) {
                        return Some(path);
                    }
                    if seen.insert(need.id.as_str()) {
                        todo.push(need);
                    }
                }
            }
            None
        })
    }

    /// Its tree.
    pub fn tree(&self) -> Option<&'t Tree> {
        self.levels.last().map(|l| l.tree)
    }
}

impl Unknowns {
    /// Nobody knows what this step returns.
    pub fn add(&mut self, path: &StepPath) {
        self.0.insert(path.0.clone());
    }

    /// What the step's own values read and nobody knows yet.
    pub fn read_by(&self, lineage: &Lineage<'_>) -> Option<String> {
        let at = lineage.levels.len().checked_sub(1)?;
        let level = lineage.levels.get(at)?;
        let own = own(level.step).into_iter().chain(level.tree.env.iter().flat_map(|(_, t)| t.exprs()));
        self.any(lineage, at, own)
    }

    /// A direct need whose result nobody knows yet.
    pub fn needed_by(&self, lineage: &Lineage<'_>) -> Option<String> {
        let level = lineage.levels.last()?;
        let needs = level.step.needs.iter().filter_map(|n| level.tree.steps.get(n.step as usize));
        needs.map(|s| format!("{}{}", level.prefix, s.id)).find(|path| self.knows_not(path))
    }

    /// What decides whether the step runs at all, or over which items, and nobody knows yet.
    pub fn course_of(&self, lineage: &Lineage<'_>) -> Option<String> {
        lineage.levels.iter().enumerate().find_map(|(at, level)| {
            let condition = level.step.condition.as_deref().into_iter();
            let by_if = self.any(lineage, at, condition).map(|what| format!("its `if` reads {what}"));
            by_if.or_else(|| self.any(lineage, at, items(level.step).into_iter()).map(|what| format!("its items read {what}")))
        })
    }

    /// What a sub-tree returns and nobody knows yet.
    pub fn outputs_of(&self, path: &StepPath, lineage: &Lineage<'_>) -> Option<String> {
        let Some(Action::Tree { tree, .. }) = lineage.step().map(|s| &s.action) else { return None };
        let first = tree.steps.first()?;
        let inner = Level { tree, step: first, prefix: format!("{path}/") };
        let levels = lineage.levels.iter().map(|l| Level { tree: l.tree, step: l.step, prefix: l.prefix.clone() }).chain([inner]).collect();
        let inside = Lineage { levels };
        let at = inside.levels.len() - 1;
        self.any(&inside, at, tree.outputs.iter().flat_map(|(_, t)| t.exprs()))
    }

    fn any<'e>(&self, lineage: &Lineage<'_>, at: usize, mut exprs: impl Iterator<Item = &'e Expr>) -> Option<String> {
        exprs.find_map(|e| e.references.iter().find_map(|r| self.reference(lineage, at, r)))
    }

    fn reference(&self, lineage: &Lineage<'_>, at: usize, reference: &Reference) -> Option<String> {
        let level = lineage.levels.get(at)?;
        let name = match reference.path.get(1) {
            Some(Segment::Name(name)) => Some(name.as_str()),
            Some(Segment::Index(_) | Segment::Dynamic) | None => None,
        };
        match reference.root() {
            "steps" => {
                let status = matches!(reference.path.get(2), Some(Segment::Name(part)) if part == "status");
                let unknown = !status && self.knows_not(&format!("{}{}", level.prefix, name?));
                unknown.then(|| reference.written())
            }
            // The run's id is told by its value: where nothing depends on it nothing is unknown.
            "run" => matches!(name, Some("number" | "started")).then(|| reference.written()),
            "needs" => {
                let needs = level.step.needs.iter().filter_map(|n| level.tree.steps.get(n.step as usize));
                needs.map(|s| format!("{}{}", level.prefix, s.id)).find(|path| self.knows_not(path))
            }
            "params" => {
                let parent = at.checked_sub(1)?;
                let Action::Tree { with, .. } = &lineage.levels.get(parent)?.step.action else { return None };
                let given = with.iter().filter(|(n, _)| name.is_none_or(|name| n == name));
                self.any(lineage, parent, given.flat_map(|(_, t)| t.exprs()))
            }
            "vars" => {
                let places = level.tree.environments.values().flat_map(|e| &e.vars);
                self.named(lineage, at, name, level.tree.vars.iter().chain(places))
            }
            "env" => {
                let places = level.tree.environments.values().flat_map(|e| &e.env);
                self.named(lineage, at, name, level.tree.env.iter().chain(places))
            }
            _ => None,
        }
    }

    fn named<'t>(
        &self,
        lineage: &Lineage<'_>,
        at: usize,
        name: Option<&str>,
        all: impl Iterator<Item = &'t (String, Template)>,
    ) -> Option<String> {
        let meant = all.filter(|(n, _)| name.is_none_or(|name| n == name));
        self.any(lineage, at, meant.flat_map(|(_, t)| t.exprs()))
    }

    /// Of a fan-out: of one of its instances.
    fn knows_not(&self, path: &str) -> bool {
        let instances = format!("{path}[");
        let one = self.0.range(instances.clone()..).take_while(|p| p.starts_with(&instances)).any(|p| !p.contains("]/"));
        self.0.contains(path) || one
    }
}

/// The expressions of what a step does, its condition and items left out.
fn own(step: &Step) -> Vec<&Expr> {
    let mut exprs: Vec<&Expr> = action(&step.action);
    exprs.extend(step.check.iter().flat_map(|c| action(&c.action)));
    exprs.extend(step.env.iter().flat_map(|(_, t)| t.exprs()));
    exprs.extend(step.cwd.iter().flat_map(|t| t.exprs()));
    exprs.extend(step.inputs.iter().flat_map(|i| &i.files).flat_map(Template::exprs));
    exprs.extend(step.artifacts.iter().flat_map(|(_, a)| a.path.exprs()));
    exprs
}

fn action(action: &Action) -> Vec<&Expr> {
    match action {
        Action::Run(run) => run.script.bindings.iter().map(|b| &b.expr).collect(),
        Action::Uses { with, .. } => with.exprs(),
        Action::Tree { with, .. } => with.iter().flat_map(|(_, t)| t.exprs()).collect(),
        Action::Approve { message, .. } => message.exprs(),
    }
}

fn items(step: &Step) -> Vec<&Expr> {
    match step.fan_out.as_deref() {
        Some(FanOut::Foreach { items, key, .. }) => items.exprs().into_iter().chain(key).collect(),
        Some(FanOut::Matrix { axes, .. }) => axes.iter().flat_map(|(_, t)| t.exprs()).collect(),
        None => Vec::new(),
    }
}
