//! What a step does: its script, its kind, its sub-tree, its question; and the same for `check`,
//! `verify` and `undo`.

use super::draft::Draft;
use super::keys::{APPROVE, RUN, SIDE, SUB, UNDO, USES};
use super::near::{did_you_mean, listed};
use super::nodes::{Entry, Ref};
use super::reads::{Part, Site};
use super::spec::{self, text};
use super::{typed, with};
use crate::diagnostic::{Diagnostic, Places};
use crate::event::{Json, Object};
use crate::expr::{Template, scope_names};
use crate::shell::{self, Dialect, Script};
use crate::tree::{Action, RunAction, Shell, SideAction, Step, Tree};
use std::sync::Arc;

impl<'d> Draft<'d, '_, '_> {
    /// The action of a step. One that is wrong becomes an empty script whose outputs are unknown.
    pub fn action(&mut self, at: u32, value: Ref<'d>, kind: u8) -> Action {
        let found = match kind {
            RUN => self.run(at, value, Part::Action),
            USES => self.uses(at, value, Part::Action),
            SUB => self.sub(at, value),
            APPROVE => self.approve(at, value),
            _ => None,
        };
        found.unwrap_or_else(|| {
            self.opaque.push(at);
            Action::Run(Box::new(RunAction { script: Script::default(), shell: Shell::Sh }))
        })
    }

    fn run(&mut self, at: u32, value: Ref<'d>, part: Part) -> Option<Action> {
        let shell = spec::shell(self.field(value, "shell", RUN));
        self.script(at, value.get("run")?, shell, part)
    }

    fn script(&mut self, at: u32, run: Ref<'d>, shell: Shell, part: Part) -> Option<Action> {
        let source = text(run)?;
        if source.trim().is_empty() {
            self.wrong(
                Diagnostic::error("empty-script", run.span(), "an empty script").help("write `run: \":\"` for a step that does nothing"),
            );
        }
        if let Some(at) = source.find('\0') {
            let place = run.origin().at(source, at, at);
            self.wrong(
                Diagnostic::error("bad-value", place, "a script cannot hold a NUL byte").help("write `printf '\\000'` where one is needed"),
            );
        }
        if matches!(&shell, Shell::Custom(words) if words.is_empty()) {
            let help = "name a program, as in `shell: [python3]`; it gets the path of the script";
            self.wrong(Diagnostic::error("bad-value", run.span(), "the `shell` of this script is an empty list").help(help));
        }
        let script = if source.contains("{{") {
            let item = self.item.clone();
            let in_scope = |name: &str| scope_names().contains(&name) || item.as_deref() == Some(name);
            let (script, found) = shell::bind(source, &run.origin(), dialect(&shell), &in_scope);
            self.session.found.extend(found.into_iter().filter(|d| d.code != "unknown-name"));
            self.unbound(source, run, &in_scope);
            script
        } else {
            Script { source: source.to_owned(), text: source.to_owned(), bindings: Vec::new() }
        };
        self.reads.script(at, part, &script);
        Some(Action::Run(Box::new(RunAction { script, shell })))
    }

    /// Braces that stay text although they look like one of our expressions.
    fn unbound(&mut self, source: &str, run: Ref<'d>, in_scope: &dyn Fn(&str) -> bool) {
        let places = Places::new(run.origin(), source);
        let mut rest = 0;
        while let Some(start) = source[rest..].find("{{").map(|i| rest + i) {
            rest = start + 2;
            let inner = source[rest..].trim_start_matches([' ', '\t']);
            let name: &str = inner.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("");
            let after = inner[name.len()..].trim_start_matches([' ', '\t']);
            let reads = after.starts_with("}}") || after.starts_with('|') || inner[name.len()..].starts_with(['.', '[']);
            let word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let escaped = source[..start].ends_with('$');
            if !word || !reads || escaped || in_scope(name) || matches!(name, "end" | "else" | "break" | "continue" | "json") {
                continue;
            }
            let begin = source.len() - source[rest..].len() + (source[rest..].len() - inner.len());
            let span = places.at(begin, begin + name.len());
            let near = did_you_mean(name, scope_names().iter().copied());
            let found = Diagnostic::error("undefined-name", span, format!("`{name}` is no name here{near}"));
            self.wrong(found.help("name a value like `params.x` or `vars.x`; for braces that stay text write `{{ '{{' }}`"));
        }
    }

    fn uses(&mut self, at: u32, value: Ref<'d>, part: Part) -> Option<Action> {
        let name = text(value.get("uses")?)?;
        let template =
            value.get("with").map_or(Template::Value(Json::Object(Object::new())), |w| spec::template(w, &mut self.session.found));
        self.reads.template(at, Site::With(part), &template);
        let kinds = self.session.kinds;
        let Some(kind) = kinds.kind(name) else {
            let known = kinds.names();
            let span = value.get("uses").map(Ref::span).unwrap_or_default();
            let near = did_you_mean(name, known.iter().copied());
            let found = Diagnostic::error("unknown-kind", span, format!("no step kind `{name}`{near}"));
            self.wrong(found.help(format!("`trees steps` lists them: {}", listed(known.iter().copied()))));
            return None;
        };
        let place = value.get("with").or_else(|| value.get("uses")).unwrap_or(value);
        let before = self.session.found.len();
        with::check(value.get("with"), place.span(), kind, &mut self.session.found);
        if let Template::Value(known) = &template
            && self.session.found.len() == before
        {
            let said = kinds.wrong(name, known).into_iter().map(|why| with::judged(value.get("with"), place.span(), name, &why));
            self.session.found.extend(said);
        }
        Some(Action::Uses { kind: name.to_owned(), revision: kind.revision, with: template })
    }

    fn sub(&mut self, at: u32, value: Ref<'d>) -> Option<Action> {
        let path = value.get("tree")?;
        text(path)?;
        let with = self.pairs_of(value.get("with"), at, Site::With(Part::Action));
        let tree = self.session.subtree(path, self.doc.source)?;
        self.sub_params(&tree, value, path);
        Some(Action::Tree { tree, with })
    }

    fn sub_params(&mut self, tree: &Arc<Tree>, value: Ref<'d>, path: Ref<'d>) {
        let given = value.get("with").map(Ref::entries).unwrap_or_default();
        for Entry { key, value } in &given {
            let Some(name) = key.scalar() else { continue };
            let Some(param) = tree.params.get(name) else {
                let near = did_you_mean(name, tree.params.keys().map(String::as_str));
                let found = Diagnostic::error("unknown-param", key.span(), format!("`{}` has no parameter `{name}`{near}", tree.name));
                let known = listed(tree.params.keys().map(String::as_str));
                self.wrong(found.help(if known.is_empty() { "it has no parameters".into() } else { format!("it has {known}") }));
                continue;
            };
            if let Err(message) = typed::written(param, *value) {
                let found = Diagnostic::error("wrong-param", value.span(), format!("`{name}` {message}"));
                self.wrong(found.note(param.span, "declared here"));
            }
        }
        for (name, param) in &tree.params {
            if param.required && param.default.is_none() && given.iter().all(|e| e.key.scalar() != Some(name)) {
                let span = value.get("with").unwrap_or(path).span();
                let found = Diagnostic::error("missing-param", span, format!("`{}` needs the parameter `{name}`", tree.name));
                self.wrong(found.note(param.span, "declared here").help(format!("add `{name}` to `with`")));
            }
        }
    }

    fn approve(&mut self, at: u32, value: Ref<'d>) -> Option<Action> {
        let approve = value.get("approve")?;
        let message = if approve.is_map() { approve.get("message")? } else { approve };
        let template = spec::template(message, &mut self.session.found);
        self.reads.template(at, Site::Plain, &template);
        Some(Action::Approve { message: template, timeout: approve.get("timeout").and_then(spec::duration) })
    }

    /// `check`, `verify` or `undo`.
    pub fn side(&mut self, at: u32, step: Ref<'d>, name: &str, action: u8) -> Option<SideAction> {
        let entry = step.entry(name)?;
        let value = entry.value;
        let (record, part) = match name {
            "check" => (&SIDE, Part::Check),
            "verify" => (&SIDE, Part::Verify),
            _ => (&UNDO, Part::Undo),
        };
        let shell = |own: Option<Ref<'d>>, draft: &Self| spec::shell(own.or_else(|| draft.field(step, "shell", action | RUN)));
        let own = if value.is_map() {
            let kind = self.action_of(entry, value, record);
            self.effects(value, kind, record, &format!("`{name}`"));
            match kind {
                RUN => value.get("run").and_then(|run| self.script(at, run, shell(value.get("shell"), self), part)),
                USES => self.uses(at, value, part),
                _ => None,
            }
        } else {
            self.script(at, value, shell(None, self), part)
        };
        Some(SideAction {
            action: own?,
            retry: value.get("retry").map(|r| spec::retry(Some(r), None)),
            timeout: value.get("timeout").and_then(spec::duration),
            when_started: value.get("when").and_then(text) == Some("started"),
        })
    }

    /// The secrets that a step names.
    pub fn check_secrets(&mut self, step: &Step, value: Ref<'d>, kind: u8) {
        let Some(written) = self.field(value, "secrets", kind).filter(|_| !step.secrets.is_empty()) else { return };
        let mut known: Vec<&str> =
            self.root.get("secrets").map(Ref::entries).unwrap_or_default().iter().filter_map(|e| e.key.scalar()).collect();
        for environment in self.root.get("environments").map(Ref::entries).unwrap_or_default() {
            let own = environment.value.get("secrets").map(Ref::entries).unwrap_or_default();
            known.extend(own.iter().filter_map(|e| e.key.scalar()).filter(|_| !self.sub));
        }
        for name in written.items() {
            let Some(text) = text(name).filter(|t| !known.contains(t)) else { continue };
            let near = did_you_mean(text, known.iter().copied());
            let found = Diagnostic::error("unknown-secret", name.span(), format!("no secret `{text}`{near}"));
            self.wrong(found.help(format!("declare it: `secrets: {{ {text}: {{}} }}` at the top")));
        }
    }

    /// The environment that a step names.
    pub fn check_environment(&mut self, step: &Step, value: Ref<'d>) {
        let (Some(name), Some(written)) = (&step.environment, value.get("environment")) else { return };
        let known = &self.session.environments;
        if known.contains(name) {
            return;
        }
        let near = did_you_mean(name, known.iter().map(String::as_str));
        let whose = if self.sub { "the top tree has" } else { "the tree has" };
        let found = Diagnostic::error("unknown-environment", written.span(), format!("no environment `{name}`{near}"));
        let help = if known.is_empty() {
            "define it under `environments`".into()
        } else {
            format!("{whose} {}", listed(known.iter().map(String::as_str)))
        };
        self.wrong(found.help(help));
    }
}

/// Which grammar a script has: the shells of POSIX by their names.
fn dialect(shell: &Shell) -> Dialect {
    match shell {
        Shell::Sh | Shell::Bash => Dialect::Posix,
        Shell::Custom(words) => {
            let name = |word: &String| word.rsplit('/').next().unwrap_or("").to_owned();
            let mut names = words.iter().map(name);
            let mut first = names.next().unwrap_or_default();
            if first == "env" {
                first = names.find(|w| !w.starts_with('-') && !w.contains('=')).unwrap_or_default();
            }
            let posix = matches!(first.as_str(), "sh" | "dash" | "bash" | "ksh" | "mksh" | "zsh" | "ash");
            if posix { Dialect::Posix } else { Dialect::Other }
        }
    }
}
