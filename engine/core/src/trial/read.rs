//! From the text of a test file to its cases: all that is wrong at once, each with its place.

use super::case::{Answer, Case, Expect, Word};
use super::keys::FILE;
use super::mock;
use super::place::{self, Place};
use crate::diagnostic::{Diagnostic, Span};
use crate::event::{Json, Object, Resolution, RunStatus};
use crate::language::keys::Form;
use crate::language::load::load;
use crate::language::near::{did_you_mean, listed};
use crate::language::nodes::{Entry, Ref};
use crate::language::spec::{duration, flag, text, whole, word};
use crate::language::{self, Given, Source, shape};
use crate::path::StepPath;
use crate::tree::{Action, Effect, Kinds, Tree};
use std::collections::HashMap;
use std::time::Duration;

/// The tree file that a test file names, if it names one.
pub fn tree_named(source: &Source) -> Option<String> {
    let (doc, _) = load(&source.text, 0);
    let doc = doc?;
    doc.at(doc.root).get("tree").and_then(text).map(str::to_owned)
}

/// Reads a test file.
///
/// # Errors
/// All that is wrong with it; places are in this text.
pub fn read(source: &Source, tree: &Tree, kinds: &dyn Kinds) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let (doc, mut found) = load(&source.text, 0);
    let Some(doc) = doc else { return Err(found) };
    let root = doc.at(doc.root);
    shape::walk(root, &Form::Record(&FILE), "the file", &mut found);
    if found.iter().any(Diagnostic::is_error) {
        return Err(found);
    }
    let mut reader = Reader { tree, kinds, found, names: HashMap::new() };
    let cases: Vec<Case> = root.get("cases").into_iter().flat_map(Ref::items).map(|c| reader.case(c)).collect();
    let mut found = reader.found;
    if cases.is_empty() {
        let at = root.get("cases").map_or_else(|| root.span(), Ref::span);
        found.push(
            Diagnostic::error("no-cases", at, "there is no case").help("add one: `- { case: it works, expect: { status: succeeded } }`"),
        );
    }
    found.sort_by_key(|d| d.span.unwrap_or_default());
    if found.is_empty() { Ok(cases) } else { Err(found) }
}

/// A reading under way.
pub(super) struct Reader<'t> {
    pub tree: &'t Tree,
    pub kinds: &'t dyn Kinds,
    pub found: Vec<Diagnostic>,
    names: HashMap<String, Span>,
}

impl<'t> Reader<'t> {
    fn case(&mut self, value: Ref<'_>) -> Case {
        let name = value.get("case").and_then(text).unwrap_or_default().to_owned();
        let span = value.get("case").map_or_else(|| value.span(), Ref::span);
        if let Some(first) = self.names.insert(name.clone(), span) {
            let found = Diagnostic::error("duplicate-case", span, format!("the case `{name}` stands twice"));
            self.found.push(found.note(first, "first here").help("give it another name"));
        }
        Case {
            params: self.params(value),
            environment: self.environment(value),
            secrets: self.secrets(value),
            max_parallel: value.get("max_parallel").and_then(whole).or(self.tree.max_parallel).unwrap_or(4),
            mocks: value.get("steps").map(Ref::entries).unwrap_or_default().into_iter().filter_map(|e| mock::read(self, e)).collect(),
            answers: value.get("answers").map(Ref::entries).unwrap_or_default().into_iter().filter_map(|e| self.answer(e)).collect(),
            cancel: value.get("cancel").and_then(|c| match c.is_map() {
                true => Some((c.get("after").and_then(duration)?, flag(c, "now"))),
                false => Some((duration(c)?, false)),
            }),
            expect: self.expect(value.get("expect").unwrap_or(value), span),
            name,
            span,
        }
    }

    /// The step that a key names.
    pub fn step(&mut self, path: Ref<'_>) -> Option<(StepPath, Place<'t>)> {
        place::find(self.tree, path, &mut self.found)
    }

    fn params(&mut self, case: Ref<'_>) -> Object {
        let entries = case.get("params").map(Ref::entries).unwrap_or_default();
        let given: Vec<(String, Given)> =
            entries.iter().filter_map(|e| Some((e.key.scalar()?.to_owned(), Given::Value(e.value.json())))).collect();
        let place = |d: &Diagnostic| {
            let named = entries.iter().find(|e| e.key.scalar().is_some_and(|k| d.message.contains(&format!("`{k}`"))));
            named.map_or_else(|| case.get("case").unwrap_or(case).span(), |e| e.key.span())
        };
        language::params(self.tree, &given).unwrap_or_else(|wrong| {
            self.found.extend(wrong.into_iter().map(|d| {
                let help = if d.code == "missing-param" { Some("add it under `params`".to_owned()) } else { d.help.clone() };
                Diagnostic { span: Some(place(&d)), notes: Vec::new(), help, ..d }
            }));
            Object::new()
        })
    }

    fn environment(&mut self, case: Ref<'_>) -> String {
        let tree = self.tree;
        let names = || tree.environments.keys().map(String::as_str);
        let Some(value) = case.get("environment") else {
            let default = tree.environments.iter().find(|(_, e)| e.default).map(|(n, _)| n.clone());
            if default.is_none() && !tree.environments.is_empty() {
                let at = case.get("case").unwrap_or(case).span();
                let message = format!("the tree `{}` has environments and none is the default", tree.name);
                let help = format!("add `environment:` with one of {}", listed(names()));
                self.found.push(Diagnostic::error("no-environment", at, message).help(help));
            }
            return default.unwrap_or_default();
        };
        let name = value.scalar().unwrap_or_default();
        if !tree.environments.contains_key(name) {
            let message = format!("the tree `{}` has no environment `{name}`{}", tree.name, did_you_mean(name, names()));
            let help =
                if tree.environments.is_empty() { "it has none: leave it out".into() } else { format!("it has {}", listed(names())) };
            self.found.push(Diagnostic::error("unknown-environment", value.span(), message).help(help));
        }
        name.to_owned()
    }

    fn secrets(&mut self, case: Ref<'_>) -> std::collections::BTreeMap<String, String> {
        let mut secrets = std::collections::BTreeMap::new();
        for entry in case.get("secrets").map(Ref::entries).unwrap_or_default() {
            let (Some(name), Some(value)) = (entry.key.scalar(), entry.value.scalar()) else { continue };
            let mut known = Vec::new();
            secret_names(self.tree, &mut known);
            if !known.iter().any(|k| k == name) {
                let near = did_you_mean(name, known.iter().map(String::as_str));
                let message = format!("no tree in use declares the secret `{name}`{near}");
                self.found.push(Diagnostic::error("unknown-secret", entry.key.span(), message));
            }
            secrets.insert(name.to_owned(), value.to_owned());
        }
        secrets
    }

    fn answer(&mut self, entry: Entry<'_>) -> Option<Answer> {
        let value = entry.value;
        let said = if value.is_map() { value.get("answer")? } else { value };
        let outputs = value.get("outputs").map(Ref::json).and_then(|o| o.as_object().cloned()).unwrap_or_default();
        let word = match said.scalar()? {
            "approve" => Word::Approve(true),
            "reject" => Word::Approve(false),
            "expire" => Word::Expire,
            "done" => Word::Resolve(Resolution::Done, outputs),
            "retry" => Word::Resolve(Resolution::Retry, outputs),
            _ => Word::Resolve(Resolution::Fail, outputs),
        };
        Some(Answer {
            name: self.asked(entry.key, &word)?,
            span: entry.key.span(),
            word,
            after: value.get("after").and_then(duration).unwrap_or_default(),
            note: value.get("note").and_then(text).map(str::to_owned),
        })
    }

    /// The question that an answer is to.
    fn asked(&mut self, key: Ref<'_>, word: &Word) -> Option<StepPath> {
        let name = key.scalar()?;
        if let Some(environment) = name.strip_prefix("environment:") {
            let protected = || self.tree.environments.iter().filter(|(_, e)| e.protected).map(|(n, _)| n.as_str());
            if !protected().any(|n| n == environment) || matches!(word, Word::Resolve(..) | Word::Expire) {
                let message = format!("nobody is asked so: `{name}` takes approve and reject, for a protected environment");
                let help = format!("protected environments: {}", listed(protected()));
                self.found.push(Diagnostic::error("nobody-asks", key.span(), message).help(help));
            }
            return Some(StepPath(name.into()));
        }
        let (path, place) = self.step(key)?;
        let approval = matches!(place.step.action, Action::Approve { .. });
        let fine = match word {
            Word::Approve(_) => approval,
            Word::Expire => matches!(place.step.action, Action::Approve { timeout: Some(_), .. }),
            Word::Resolve(..) => place.step.effect == Effect::External,
        };
        if !fine {
            let message = match (approval, word) {
                (true, Word::Expire) => format!("the question of `{path}` never expires: it has no `timeout`"),
                (true, _) => format!("`{path}` asks for approve or reject"),
                (false, Word::Resolve(..)) => format!("nobody is asked what became of `{path}`: it is not external"),
                (false, _) => format!("`{path}` is no approval step; it may be asked for done, retry or fail"),
            };
            self.found.push(Diagnostic::error("nobody-asks", key.span(), message));
        }
        Some(path)
    }

    fn expect(&mut self, value: Ref<'_>, case: Span) -> Expect {
        let status = value.get("status");
        Expect {
            status: (status.and_then(word::<RunStatus>).unwrap_or(RunStatus::Succeeded), status.map_or(case, Ref::span)),
            reason: value.get("reason").and_then(|r| Some((text(r)?.to_owned(), r.span()))),
            steps: value.get("steps").map(Ref::entries).unwrap_or_default().into_iter().filter_map(|e| mock::expected(self, e)).collect(),
            order: value.get("order").into_iter().flat_map(Ref::items).map(|list| self.order(list)).collect(),
            outputs: self.tree_outputs(value.get("outputs")),
            took: value.get("took").map(took),
        }
    }

    fn order(&mut self, list: Ref<'_>) -> (Vec<StepPath>, Span) {
        let items: Vec<Ref<'_>> = list.items().collect();
        if items.len() < 2 {
            let found = Diagnostic::error("bad-value", list.span(), "an order has two steps or more");
            self.found.push(found.help("write [first, then]"));
        }
        (items.into_iter().filter_map(|i| self.step(i)).map(|(path, _)| path).collect(), list.span())
    }

    fn tree_outputs(&mut self, value: Option<Ref<'_>>) -> Vec<(String, Json, Span)> {
        let mut outputs = Vec::new();
        for entry in value.map(Ref::entries).unwrap_or_default() {
            let name = entry.key.scalar().unwrap_or_default();
            let known = self.tree.outputs.iter().map(|(n, _)| n.as_str());
            if !known.clone().any(|k| k == name) {
                let message = format!("the tree `{}` has no output `{name}`{}", self.tree.name, did_you_mean(name, known.clone()));
                self.found.push(Diagnostic::error("unknown-output", entry.key.span(), message).help(format!("it has {}", listed(known))));
            }
            outputs.push((name.to_owned(), entry.value.json(), entry.key.span()));
        }
        outputs
    }
}

fn took(value: Ref<'_>) -> (Duration, Option<Duration>, Span) {
    let exact = duration(value).filter(|_| !value.is_map());
    let min = exact.or_else(|| value.get("min").and_then(duration)).unwrap_or_default();
    (min, exact.or_else(|| value.get("max").and_then(duration)), value.span())
}

fn secret_names(tree: &Tree, names: &mut Vec<String>) {
    names.extend(tree.secrets.keys().cloned());
    names.extend(tree.environments.values().flat_map(|e| e.secrets.keys().cloned()));
    for step in &tree.steps {
        if let Action::Tree { tree, .. } = &step.action {
            secret_names(tree, names);
        }
    }
}
