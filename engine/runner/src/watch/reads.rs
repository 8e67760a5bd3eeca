//! The scope of a tree: the inputs of all its steps, those of sub-trees too, and the files that step
//! kinds read.
//!
//! A glob may hold `{{ … }}`. What depends on params, vars and items is computed here; what depends on
//! a step's outputs is not known before the run, and the literal prefix stands for it.

use super::course::Used;
use super::scope::Scope;
use std::path::{Path, PathBuf};
use trees_core::event::{ArtifactRef, Event, EventKind, Json, Object};
use trees_core::expr::{Part, Template, as_text};
use trees_core::language::{self, Given};
use trees_core::tree::{Action, FanOut, Kinds, Step, Tree};

impl Scope {
    /// What a tree reads when it works for an environment with these params. A `watch` of its own
    /// stands for the inputs.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn of(dir: PathBuf, tree: &Tree, environment: &str, params: &Object, kinds: &dyn Kinds) -> Result<Self, String> {
        let mut scope = Self::new(dir);
        scope.name_globs(&tree.watch)?;
        let mut reader = Reader { scope: &mut scope, kinds, project: &tree.project, inputs: tree.watch.is_empty() };
        reader.tree(tree, environment, params.clone())?;
        Ok(scope)
    }

    /// The same with what a run has shown: the files that its steps used, the artifacts that they left.
    #[must_use]
    pub fn after(&self, events: &[Event], used: &Used) -> Self {
        let mut scope = self.clone();
        let artifacts = events.iter().flat_map(|event| match &event.kind {
            EventKind::StepSucceeded { artifacts, .. } | EventKind::StepCached { artifacts, .. } => artifacts.values().collect(),
            _ => Vec::<&ArtifactRef>::new(),
        });
        artifacts.for_each(|artifact| scope.never(Path::new(&artifact.path)));
        used.paths().for_each(|path| scope.learn(path));
        scope
    }
}

struct Reader<'a> {
    scope: &'a mut Scope,
    kinds: &'a dyn Kinds,
    project: &'a str,
    /// The inputs count, not only what never does.
    inputs: bool,
}

impl Reader<'_> {
    fn tree(&mut self, tree: &Tree, environment: &str, params: Object) -> Result<(), String> {
        let place = tree.environments.get(environment);
        if self.inputs {
            let files = tree.dotenv.iter().chain(place.into_iter().flat_map(|p| &p.dotenv));
            files.for_each(|file| self.scope.add_place(Path::new(file)));
        }
        for step in &tree.steps {
            let environment = step.environment.as_deref().unwrap_or(environment);
            let names = self.names(tree, environment, &params);
            for names in items(step, names) {
                self.step(step, environment, &names)?;
            }
        }
        Ok(())
    }

    fn names(&self, tree: &Tree, environment: &str, params: &Object) -> Object {
        let mut names = Object::new();
        names.insert("params".into(), Json::Object(params.clone()));
        names.insert("environment".into(), environment.into());
        names.insert("project".into(), self.project.into());
        let mut vars = Object::new();
        for (name, template) in tree.environments.get(environment).map_or(&tree.vars, |place| &place.vars) {
            names.insert("vars".into(), Json::Object(vars.clone()));
            vars.extend(template.evaluate(&names).ok().map(|value| (name.clone(), value)));
        }
        names.insert("vars".into(), Json::Object(vars));
        names
    }

    fn step(&mut self, step: &Step, environment: &str, names: &Object) -> Result<(), String> {
        for (_, artifact) in &step.artifacts {
            if let Ok(path) = artifact.path.evaluate(names) {
                self.scope.never(Path::new(&as_text(&path)));
            }
        }
        if let (Some(inputs), true) = (&step.inputs, self.inputs) {
            let globs: Vec<String> = inputs.files.iter().filter_map(|glob| known(glob, names)).collect();
            self.scope.add_globs(&globs)?;
        }
        let sides = [&step.check, &step.verify].into_iter().flatten().map(|side| &side.action);
        for action in std::iter::once(&step.action).chain(sides) {
            match action {
                Action::Uses { kind, with, .. } if self.inputs => self.kind(kind, with, names),
                Action::Tree { tree, with } => self.tree(tree, environment, given(tree, with, names))?,
                Action::Uses { .. } | Action::Run(_) | Action::Approve { .. } => {}
            }
        }
        Ok(())
    }

    /// The files that a kind reads, where their names do not depend on outputs.
    fn kind(&mut self, kind: &str, with: &Template, names: &Object) {
        let fields = self.kinds.kind(kind).map(|info| info.file_inputs.clone()).unwrap_or_default();
        for field in fields {
            let value = match with {
                Template::Map(entries) => entries.iter().find(|(name, _)| *name == field).and_then(|(_, t)| t.evaluate(names).ok()),
                other => other.evaluate(names).ok().and_then(|with| with.get(&field).cloned()),
            };
            value.iter().flat_map(paths).for_each(|path| self.scope.add_place(Path::new(&path)));
        }
    }
}

/// The names of each instance; one set where the items are not known.
fn items(step: &Step, names: Object) -> Vec<Object> {
    let Some(FanOut::Foreach { items, name, .. }) = step.fan_out.as_deref() else { return vec![names] };
    let Ok(Json::Array(items)) = items.evaluate(&names) else { return vec![names] };
    let with = |item: Json| {
        let mut names = names.clone();
        names.insert("item".into(), item.clone());
        names.insert(name.clone(), item);
        names
    };
    items.into_iter().map(with).collect()
}

/// The params of a sub-tree as far as they are known.
fn given(tree: &Tree, with: &[(String, Template)], names: &Object) -> Object {
    let value = |(name, template): &(String, Template)| Some((name.clone(), Given::Value(template.evaluate(names).ok()?)));
    let mut given: Vec<(String, Given)> = with.iter().filter_map(value).collect();
    language::params(tree, &given).unwrap_or_else(|_| {
        let known = |(name, given): (String, Given)| if let Given::Value(value) = given { Some((name, value)) } else { None };
        given.drain(..).filter_map(known).collect()
    })
}

/// A glob as it will be; else all below what stands before its first expression. What excludes and
/// is not known excludes nothing.
fn known(glob: &Template, names: &Object) -> Option<String> {
    if let Ok(value) = glob.evaluate(names) {
        return Some(as_text(&value));
    }
    let literal = match glob {
        Template::Text(parts) => parts.first().and_then(|part| if let Part::Literal(text) = part { Some(text.as_str()) } else { None }),
        Template::Whole(_) | Template::Value(_) | Template::List(_) | Template::Map(_) => None,
    };
    let literal = literal.unwrap_or_default();
    let folder = literal.rfind('/').map_or("", |at| &literal[..=at]);
    (!literal.starts_with('!')).then(|| format!("{folder}**"))
}

/// A path, a list of paths, or the paths of a mapping.
pub(crate) fn paths(value: &Json) -> Vec<String> {
    match value {
        Json::String(path) => vec![path.clone()],
        Json::Array(items) => items.iter().flat_map(paths).collect(),
        Json::Object(entries) => entries.values().flat_map(paths).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trees_core::event::{ArtifactRef, Digests};
    use trees_core::language::{Source, Sources};
    use trees_core::path::{RunId, StepPath};
    use trees_core::tree::{Effect, KindInfo, ValueType};

    struct Reads(KindInfo);

    impl Kinds for Reads {
        fn kind(&self, name: &str) -> Option<&KindInfo> {
            (name == self.0.name).then_some(&self.0)
        }

        fn names(&self) -> Vec<&str> {
            vec![&self.0.name]
        }
    }

    /// A kind that reads `from`.
    fn kinds() -> Reads {
        let from = serde_json::json!({ "from": { "description": "x" }, "to": { "description": "x" } });
        Reads(KindInfo {
            name: "x/read".into(),
            summary: String::new(),
            doc: String::new(),
            input: serde_json::json!({ "type": "object", "properties": from, "additionalProperties": false }),
            outputs: vec![("n".into(), ValueType::String, String::new())],
            effect: Effect::Local,
            observes: false,
            undoes: false,
            reads_only: false,
            repeats: false,
            deploys: false,
            file_inputs: vec!["from".into()],
            revision: 1,
            example: String::new(),
        })
    }

    fn scope(files: &[(&str, &str)]) -> Scope {
        let source = |(name, text): &(&str, &str)| Source { name: (*name).into(), text: (*text).into() };
        let sources = Sources { files: files.iter().map(source).collect() };
        let checked = language::check(sources.files[0].clone(), &sources, &kinds());
        let tree = checked.tree.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
        let params = language::params(&tree, &[]).unwrap();
        Scope::of("/tree".into(), &tree, "", &params, &kinds()).unwrap()
    }

    #[track_caller]
    fn check(scope: &Scope, yes: &[&str], no: &[&str]) {
        let taken = |names: &[&str]| names.iter().map(|n| scope.takes(&Path::new("/tree").join(n))).collect::<Vec<_>>();
        assert_eq!((taken(yes), taken(no)), (vec![true; yes.len()], vec![false; no.len()]));
    }

    const TOP: &str = r#"tree: t
params: { kind: rs }
vars: { below: "deep/{{ params.kind }}" }
dotenv: [.env]
steps:
  a: { inputs: { files: ["src/{{ vars.below }}/*.{{ params.kind }}", "!src/deep/rs/no.rs"] }, run: x, artifacts: { bin: "src/deep/rs/made.{{ params.kind }}" } }
  each: { foreach: { items: [one, two], as: part }, inputs: { files: ["parts/{{ part }}/*"] }, run: x }
  name: { run: x, outputs: { dir: string } }
  later: { inputs: { files: ["late/x-{{ steps.name.outputs.dir }}/*"] }, run: x }
  kind: { uses: x/read, with: { from: ["templates/{{ params.kind }}", one.txt], to: "{{ steps.name.outputs.dir }}" } }
  sub: { tree: ./sub.yaml, with: { folder: given } }
"#;
    const SUB: &str = "tree: sub\nparams: { folder: default }\nsteps: { a: { inputs: { files: [\"{{ params.folder }}/*\"] }, run: x } }\n";

    #[test]
    fn what_a_tree_reads() {
        let scope = scope(&[("t.yaml", TOP), ("sub.yaml", SUB)]);
        let yes = [
            "src/deep/rs/a.rs",
            ".env",
            "parts/one/x",
            "parts/two/x",
            "late/x-1/y",
            "late/other",
            "templates/rs/deep/x",
            "one.txt",
            "given/x",
        ];
        check(&scope, &yes, &["src/deep/rs/a.txt", "src/deep/rs/no.rs", "src/deep/rs/made.rs", "parts/three/x", "default/x", "two.txt"]);
    }

    #[test]
    fn a_watch_of_its_own_stands_for_the_inputs() {
        let scope = scope(&[("t.yaml", &TOP.replace("dotenv", "watch: [\"docs/**\", \"src/**\"]\ndotenv")), ("sub.yaml", SUB)]);
        check(&scope, &["docs/x", "src/y"], &[".env", "parts/one/x", "given/x", "templates/rs/x", "src/deep/rs/made.rs"]);
    }

    #[test]
    fn a_run_shows_what_it_used_and_what_it_left() {
        let inputs = scope(&[("t.yaml", "tree: t\nsteps: { a: { inputs: { files: [\"out/**\"] }, run: x } }\n")]);
        let named = scope(&[("t.yaml", "tree: t\nwatch: [\"out/**\"]\nsteps: { a: { run: x } }\n")]);
        let digests = |name: &str| Digests {
            definition: String::new(),
            input: String::new(),
            ingredients: [(format!("file:{name}"), "1".to_owned())].into(),
            reusable: false,
        };
        let event = |kind: EventKind| Event {
            v: 1,
            run: RunId("r".into()),
            seq: 1,
            ts: Default::default(),
            step: Some(StepPath::root("a")),
            attempt: Some(1),
            actor: None,
            kind,
        };
        let artifact = ArtifactRef { path: "out/made".into(), sha256: String::new(), size: 0 };
        let events = [
            event(EventKind::StepStarted { digests: Some(digests("./computed/x")), idempotency_key: None }),
            event(EventKind::StepSucceeded { outputs: Json::Null, artifacts: [("made".to_owned(), artifact)].into() }),
        ];
        let used = Used::of(&events, Path::new("/tree"));
        check(&inputs, &["out/made"], &["computed/x"]);
        check(&inputs.after(&events, &used), &["out/other", "computed/x"], &["out/made", "out/made/deep"]);
        // What the tree names in `watch` stands for all that its steps read.
        check(&named.after(&events, &used), &["out/other"], &["out/made", "out/made/deep", "computed/x"]);
    }
}
