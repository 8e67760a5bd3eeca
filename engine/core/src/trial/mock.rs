//! What a test file says of a step: how its attempts end, and what must come of it.

use super::case::{End, ExpectStep, Mock};
use super::place::Place;
use super::read::Reader;
use crate::diagnostic::Diagnostic;
use crate::event::{ErrorReason, Json, Object, StepStatus};
use crate::language::near::{did_you_mean, listed};
use crate::language::nodes::{Entry, Ref};
use crate::language::spec::{duration, flag, text, whole, word};
use crate::language::typed::article;
use crate::tree::Action;

/// Reads what becomes of a step.
pub(super) fn read(reader: &mut Reader<'_>, entry: Entry<'_>) -> Option<Mock> {
    let (path, place) = reader.step(entry.key)?;
    let value = entry.value;
    if matches!(place.step.action, Action::Approve { .. }) {
        let found = Diagnostic::error("no-effect", entry.key.span(), format!("`{path}` is a question to a person, not a thing to mock"));
        reader.found.push(found.help(format!("write it under `answers`: `{path}: approve`")));
        return None;
    }
    let ends: Vec<Ref<'_>> = value
        .entries()
        .into_iter()
        .filter(|e| matches!(e.key.scalar(), Some("exit" | "signal" | "fails" | "done")))
        .map(|e| e.key)
        .collect();
    if let [first, second, ..] = ends.as_slice() {
        let found = Diagnostic::error("two-ends", second.span(), "an attempt ends in one way only");
        reader.found.push(found.note(first.span(), "and here is another").help("keep one of exit, signal, fails, done"));
    }
    misplaced(reader, value, place);
    let end = end(value, place);
    for key in ["times", "message"] {
        if let Some(at) = value.entry(key).filter(|_| !matches!(end, End::Failed { .. })) {
            let found = Diagnostic::error("no-effect", at.key.span(), format!("`{key}` has no effect where no attempt fails"));
            reader.found.push(found.help("say how it fails: exit, signal or fails"));
        }
    }
    Some(Mock {
        path,
        span: entry.key.span(),
        end,
        times: value.get("times").and_then(whole),
        takes: value.get("takes").and_then(duration).unwrap_or_default(),
        outputs: outputs(reader, value.get("outputs"), place),
        undo_fails: value.get("undo").and_then(text) == Some("fails"),
    })
}

/// What has no effect on a step of this sort.
fn misplaced(reader: &mut Reader<'_>, value: Ref<'_>, place: Place<'_>) {
    let (step, script) = (place.step, matches!(place.step.action, Action::Run(_)));
    let inside = format!("mock the steps in it: `{}/…`", step.id);
    for entry in value.entries() {
        let wrong = match (entry.key.scalar().unwrap_or_default(), entry.value.scalar().unwrap_or_default()) {
            ("exit" | "signal", _) if place.is_tree() => Some(("a sub-tree has no process", inside.clone())),
            ("exit" | "signal", _) if !script => Some(("a kind has no exit code", "write `fails: failure`".into())),
            ("takes", _) if place.is_tree() => Some(("a sub-tree takes as long as its steps", inside.clone())),
            ("fails", "verify") if step.verify.is_none() => Some(("this step has no `verify`", "write `fails: failure`".into())),
            ("fails", "check") if step.check.is_none() => Some(("this step has no `check`", "write `fails: failure`".into())),
            ("fails", "failure" | "spawn" | "output" | "timeout") if place.is_tree() => {
                Some(("a sub-tree does nothing itself", inside.clone()))
            }
            ("fails", "timeout") if step.timeout.is_none() && step.deadline.is_none() => {
                Some(("this step has no `timeout`", "give it one, or write `fails: failure`".into()))
            }
            ("undo", _) if !place.may_be_undone(reader.kinds) => {
                Some(("nothing takes this step back: it has no `undo` and no kind that does", "leave it out".into()))
            }
            ("done", _) if !place.may_be_done(reader.kinds) => {
                Some(("nothing can call this step done: it has no `check`, no `cache`, and no kind that observes", "leave it out".into()))
            }
            _ => None,
        };
        if let Some((message, help)) = wrong {
            reader.found.push(Diagnostic::error("no-effect", entry.key.span(), message).help(help));
        }
    }
}

fn end(value: Ref<'_>, place: Place<'_>) -> End {
    let message = |default: String| value.get("message").and_then(text).map_or(default, str::to_owned);
    let code = |key: &str| value.get(key).and_then(whole).and_then(|n| i32::try_from(n).ok());
    let failed = |reason, code, text| End::Failed { reason, code, message: message(text), in_check: false };
    if let Some(code) = code("exit") {
        return if place.step.exit.ok.contains(&code) {
            End::Well
        } else {
            failed(ErrorReason::Exit, Some(code), format!("exited with {code}"))
        };
    }
    if let Some(signal) = code("signal") {
        return failed(ErrorReason::Signal, Some(signal), format!("was ended by signal {signal}"));
    }
    if flag(value, "done") {
        return End::Done;
    }
    let script = matches!(place.step.action, Action::Run(_));
    match value.get("fails").and_then(text) {
        Some("timeout") => failed(ErrorReason::Timeout, None, "took longer than its timeout".into()),
        Some("spawn") => failed(ErrorReason::Spawn, None, "could not be started".into()),
        Some("check") => End::Failed { reason: ErrorReason::Verify, code: None, message: message("check failed".into()), in_check: true },
        Some("verify") => failed(ErrorReason::Verify, None, "verify failed".into()),
        Some("output") => failed(ErrorReason::Output, None, "its outputs are not as declared".into()),
        Some(_) => failed(ErrorReason::Exit, script.then_some(1), "failed".into()),
        None => End::Well,
    }
}

/// Outputs as given, each declared and of its type.
fn outputs(reader: &mut Reader<'_>, value: Option<Ref<'_>>, place: Place<'_>) -> Object {
    let declared = place.step.declared(reader.kinds);
    let mut outputs = Object::new();
    for entry in value.map(Ref::entries).unwrap_or_default() {
        let name = entry.key.scalar().unwrap_or_default();
        let json = entry.value.json();
        match declared.iter().find(|(n, _)| n == name) {
            None => {
                let known = declared.iter().map(|(n, _)| n.as_str());
                let message = format!("`{}` has no output `{name}`{}", place.step.id, did_you_mean(name, known.clone()));
                let help = if declared.is_empty() { "it declares none".into() } else { format!("it has {}", listed(known)) };
                reader.found.push(Diagnostic::error("unknown-output", entry.key.span(), message).help(help));
            }
            Some((_, Some(kind))) if !kind.fits(&json) => {
                let message = format!("`{name}` must be {}, found {}", article(*kind), entry.value.what());
                reader.found.push(Diagnostic::error("wrong-type", entry.value.span(), message));
            }
            Some(_) => drop(outputs.insert(name.to_owned(), json)),
        }
    }
    outputs
}

/// Reads what must come of a step.
pub(super) fn expected(reader: &mut Reader<'_>, entry: Entry<'_>) -> Option<ExpectStep> {
    let value = entry.value;
    let span = entry.key.span();
    if let Some(name) = entry.key.scalar().filter(|n| n.starts_with("environment:")) {
        let message = format!("`{name}` is a question, not a step");
        reader.found.push(Diagnostic::error("unknown-step", span, message).help("answer it under `answers`"));
        return None;
    }
    let (path, place) = reader.step(entry.key)?;
    let object = |key: &str| value.get(key).map(Ref::json).and_then(|o| if let Json::Object(o) = o { Some(o) } else { None });
    if let Some(with) = value.entry("with").filter(|_| !matches!(place.step.action, Action::Uses { .. })) {
        let message = format!("`{path}` is no step with a kind, so it has no `with` to look at");
        reader.found.push(Diagnostic::error("no-effect", with.key.span(), message).help("expect its status, outputs or attempts"));
    }
    let many = place.step.fan_out.is_some() && !place.instance;
    if let Some(outputs) = value.entry("outputs").filter(|_| many) {
        let message = format!("`{path}` has instances, each with its own outputs");
        reader.found.push(Diagnostic::error("no-effect", outputs.key.span(), message).help(format!("name one: `{path}[KEY]`")));
    }
    let status = if value.is_map() { value.get("status").and_then(word::<StepStatus>) } else { word(value) };
    Some(ExpectStep {
        path,
        span,
        status,
        attempts: value.get("attempts").and_then(whole),
        reason: value.get("reason").and_then(text).map(str::to_owned),
        error: value.get("error").and_then(text).map(str::to_owned),
        outputs: object("outputs").unwrap_or_default(),
        with: object("with").unwrap_or_default(),
    })
}
