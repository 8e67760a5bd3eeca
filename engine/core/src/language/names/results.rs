//! What expressions read of steps: whether it can be read from there, and whether the step returns it.

use super::Scope;
use crate::diagnostic::Diagnostic;
use crate::expr::{Reference, Segment};
use crate::language::near::{did_you_mean, listed};
use crate::language::reads::{Part, Read, Site};
use crate::language::typed::article;
use crate::tree::{Action, Need, NeedKind, Step, ValueType};

/// What a step is known to return.
enum Outputs<'t> {
    /// These.
    Known(Vec<(&'t str, Option<ValueType>)>),
    /// Something is wrong with the step; nothing more is said.
    Unknown,
}

impl<'t> Scope<'t> {
    /// `step`, in `verify` and `undo`.
    pub(super) fn own(&mut self, read: &Read, path: &[Segment]) {
        let part = read.site.part();
        if !matches!(part, Part::Verify | Part::Undo) {
            return self.out_of_scope(read, "`step` is the step itself when it is done: only `verify` and `undo` see it");
        }
        let known = ["outputs", "status", "attempt", "artifacts"];
        self.member(&read.reference, path, &known, "member");
        if let (Some(Segment::Name(member)), Some(output)) = (path.first(), path.get(1))
            && member == "outputs"
        {
            self.output(&read.reference, read.step, output, path.get(2).is_some());
        }
    }

    pub(super) fn steps(&mut self, read: &Read, path: &[Segment]) {
        if !read.site.in_step() && read.site != Site::Outputs {
            return self.out_of_scope(read, "`steps` are not known here: this is computed before they run");
        }
        let Some(id) = self.literal(&read.reference, path) else { return };
        let Some(&target) = self.tree.index.get(id) else {
            let near = did_you_mean(id, self.tree.steps.iter().map(|s| s.id.as_str()));
            return self.wrong("unknown-step", read.reference.span, format!("no step `{id}`{near}"), "name a step of this file");
        };
        self.attribute(read, target, path.get(1..).unwrap_or_default());
        if read.site == Site::Outputs {
            return;
        }
        let (from, to) = (self.step(read), &self.tree.steps[target as usize]);
        let Some(from) = from else { return };
        if from.finally && !to.finally {
            return self.read_in_finally(read, to, path);
        }
        if to.finally && !from.finally {
            let message = format!("`{id}` is a step of `finally`, which comes after all others");
            return self.wrong("finally-need", read.reference.span, message, "move what reads it to `finally`");
        }
        let only_status = matches!(path.get(1), Some(Segment::Name(n)) if n == "status");
        let kind = if read.reference.soft || only_status { NeedKind::Done } else { NeedKind::Succeeded };
        self.needs.push((read.step, Need { step: target, kind, span: read.reference.span }));
        if kind == NeedKind::Succeeded {
            self.skippable(read, to, path);
        }
    }

    /// Reading what may be skipped needs a default.
    fn skippable(&mut self, read: &Read, to: &Step, path: &[Segment]) {
        let outputs = matches!(path.get(1), Some(Segment::Name(n)) if matches!(n.as_str(), "outputs" | "artifacts" | "by_key"));
        if outputs && to.condition.is_some() && !to.condition_per_item {
            let message = format!("`{}` may be skipped (it has an `if`), and then has no outputs", to.id);
            let written = read.reference.written();
            let found = Diagnostic::error("may-be-skipped", read.reference.span, message).note(to.span, "it may be skipped");
            self.found.push(found.help(format!("write `{written} | default(value=\"\")`")));
        }
    }

    fn read_in_finally(&mut self, read: &Read, to: &Step, path: &[Segment]) {
        let status = matches!(path.get(1), Some(Segment::Name(n)) if n == "status" || n == "attempts");
        if !read.reference.soft && !status {
            let message = format!("`finally` also runs when `{}` did not succeed, and then this is undefined", to.id);
            let written = read.reference.written();
            let found = Diagnostic::warning("may-be-undefined", read.reference.span, message);
            self.found.push(found.help(format!("write `{written} | default(value=\"\")`")));
        }
    }

    pub(super) fn needs(&mut self, read: &Read, path: &[Segment]) {
        if !read.site.in_step() {
            return self.out_of_scope(read, "`needs` has a meaning only in a step");
        }
        let Some(id) = self.literal(&read.reference, path) else { return };
        let target = self.tree.index.get(id).copied();
        match target.filter(|t| self.written.contains(&(read.step, *t))) {
            Some(target) => self.attribute(read, target, path.get(1..).unwrap_or_default()),
            None => {
                let message = format!("`{id}` is not among the `needs` of this step");
                self.wrong("undefined-name", read.reference.span, message, format!("add it to `needs`, or write `steps.{id}`"));
            }
        }
    }

    /// What is read of a step.
    fn attribute(&mut self, read: &Read, target: u32, path: &[Segment]) {
        let reference = &read.reference;
        let to = &self.tree.steps[target as usize];
        let known = ["status", "outputs", "artifacts", "attempts", "exit_code", "by_key"];
        let Some(first) = path.first() else { return };
        let Segment::Name(member) = first else {
            return self.wrong(
                "undefined-name",
                reference.span,
                format!("`{}` is no list", to.id),
                format!("write `steps.{}.outputs`", to.id),
            );
        };
        let per_instance = reference.root() == "needs" && self.written_by_key.contains(&(read.step, target));
        let fans = to.fan_out.is_some() && !per_instance;
        match (member.as_str(), path.get(1)) {
            ("outputs", Some(Segment::Name(name))) if fans => {
                let message = format!("`{}` has instances: its outputs are a list", to.id);
                let help = format!("write `steps.{}.by_key.KEY.{name}`, or `steps.{}.outputs | map(attribute=\"{name}\")`", to.id, to.id);
                self.wrong("undefined-name", reference.span, message, help);
            }
            ("outputs", Some(_)) if fans => {
                if let Some(output) = path.get(2) {
                    self.output(reference, target, output, path.get(3).is_some());
                }
            }
            ("outputs", Some(output)) => self.output(reference, target, output, path.get(2).is_some()),
            ("by_key", _) if !fans => {
                let message = format!("`{}` has no instances", to.id);
                self.wrong("undefined-name", reference.span, message, format!("write `steps.{}.outputs`", to.id));
            }
            ("by_key", Some(_)) => {
                if let Some(output) = path.get(2) {
                    self.output(reference, target, output, path.get(3).is_some());
                }
            }
            ("artifacts", Some(Segment::Name(name))) => self.artifact(reference, to, name, path.get(2)),
            ("status" | "attempts" | "exit_code", Some(_)) => {
                let message = format!("`{}` reads into a plain value", reference.written());
                self.wrong("undefined-name", reference.span, message, format!("write `steps.{}.{member}`", to.id));
            }
            (name, _) if known.contains(&name) => {}
            (name, _) => {
                let near = did_you_mean(name, known);
                let help = match self.outputs(target) {
                    Outputs::Known(outputs) if outputs.iter().any(|(n, _)| *n == name) => format!("write `steps.{}.outputs.{name}`", to.id),
                    Outputs::Known(_) | Outputs::Unknown => format!("a step has {}", listed(known)),
                };
                self.wrong("undefined-name", reference.span, format!("a step has no `{name}`{near}"), help);
            }
        }
    }

    fn artifact(&mut self, reference: &Reference, to: &Step, name: &str, member: Option<&Segment>) {
        let known: Vec<&str> = to.artifacts.iter().map(|(n, _)| n.as_str()).collect();
        if !known.contains(&name) {
            let near = did_you_mean(name, known.iter().copied());
            let help = if known.is_empty() {
                format!("declare it: `artifacts: {{ {name}: PATH }}` in `{}`", to.id)
            } else {
                format!("it has {}", listed(known))
            };
            return self.wrong("undefined-name", reference.span, format!("`{}` has no artifact `{name}`{near}", to.id), help);
        }
        if let Some(Segment::Name(member)) = member.filter(|m| !matches!(m, Segment::Name(n) if n == "path" || n == "sha256")) {
            let near = did_you_mean(member, ["path", "sha256"]);
            self.wrong("undefined-name", reference.span, format!("an artifact has no `{member}`{near}"), "it has `path` and `sha256`");
        }
    }

    /// What a step returns.
    fn outputs(&self, step: u32) -> Outputs<'t> {
        let to = &self.tree.steps[step as usize];
        if self.opaque.contains(&step) {
            return Outputs::Unknown;
        }
        match &to.action {
            Action::Run(_) => Outputs::Known(to.outputs.as_deref().into_iter().flatten().map(|(n, t)| (n.as_str(), Some(*t))).collect()),
            Action::Uses { kind, .. } => self.kind_outputs(kind),
            Action::Tree { tree, .. } => Outputs::Known(tree.outputs.iter().map(|(n, _)| (n.as_str(), None)).collect()),
            Action::Approve { .. } => Outputs::Known(Vec::new()),
        }
    }

    fn kind_outputs(&self, kind: &str) -> Outputs<'t> {
        let Some(kind) = self.kinds.kind(kind) else { return Outputs::Unknown };
        Outputs::Known(kind.outputs.iter().map(|(n, t, _)| (n.as_str(), Some(*t))).collect())
    }

    fn output(&mut self, reference: &Reference, step: u32, output: &Segment, deeper: bool) {
        let (Segment::Name(name), Outputs::Known(known)) = (output, self.outputs(step)) else { return };
        let to = &self.tree.steps[step as usize];
        match known.iter().find(|(n, _)| n == name) {
            None => {
                let near = did_you_mean(name, known.iter().map(|(n, _)| *n));
                let message = format!("`{}` has no output `{name}`{near}", to.id);
                let help = self.declare(to, name, &known);
                self.found.push(Diagnostic::error("unknown-output", reference.span, message).note(to.span, "the step").help(help));
            }
            Some((_, Some(kind))) if deeper && !matches!(kind, ValueType::List | ValueType::Object) => {
                let message = format!("`{}` reads into {}", reference.written(), article(*kind));
                self.wrong("undefined-name", reference.span, message, format!("end it at `{name}`"));
            }
            Some(_) => {}
        }
    }

    fn declare(&self, to: &Step, name: &str, known: &[(&str, Option<ValueType>)]) -> String {
        match &to.action {
            Action::Run(_) => format!("declare it in `{}`: `outputs: {{ {name}: string }}`", to.id),
            Action::Uses { kind, .. } => format!("`{kind}` returns {}", listed(known.iter().map(|(n, _)| *n))),
            Action::Tree { tree, .. } => format!("declare it in `{}`: `outputs: {{ {name}: … }}`", tree.file),
            Action::Approve { .. } => "an approval has no outputs".into(),
        }
    }
}
