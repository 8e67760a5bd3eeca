//! Values as written, read by type. What is ill-formed is `None` here: [`super::shape`] told.

use super::nodes::Ref;
use super::shape;
use crate::diagnostic::Diagnostic;
use crate::event::{Json, Object};
use crate::expr::{Expr, Template};
use crate::tree::{AllowFailure, ExitCodes, Retry, RetryOn, Secret, Shell, Tolerate, ValueType};
use crate::units;
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Text.
pub fn text(value: Ref<'_>) -> Option<&str> {
    value.scalar().filter(|_| value.is_text())
}

/// Owned text of a key, empty where it is absent.
pub fn words(map: Ref<'_>, key: &str) -> String {
    map.get(key).and_then(text).unwrap_or_default().to_owned()
}

/// True or false; false where it is absent.
pub fn flag(map: Ref<'_>, key: &str) -> bool {
    map.get(key).is_some_and(|v| v.is_plain() && v.json() == Json::Bool(true))
}

/// A count.
pub fn whole(value: Ref<'_>) -> Option<u32> {
    if !value.is_plain() {
        return None;
    }
    u32::try_from(value.json().as_u64()?).ok()
}

/// A duration.
pub fn duration(value: Ref<'_>) -> Option<Duration> {
    units::duration(value.scalar()?).ok()
}

/// One of an enum's words.
pub fn word<T: DeserializeOwned>(value: Ref<'_>) -> Option<T> {
    serde_json::from_value(Json::String(value.scalar()?.to_owned())).ok()
}

/// A list of texts, or one.
pub fn texts(value: Option<Ref<'_>>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    if value.is_list() {
        return value.items().filter_map(text).map(str::to_owned).collect();
    }
    text(value).map(str::to_owned).into_iter().collect()
}

/// A list of exit codes.
fn codes(value: Option<Ref<'_>>) -> Option<Vec<i32>> {
    Some(value?.items().filter_map(|v| v.json().as_i64().and_then(|n| i32::try_from(n).ok())).collect())
}

/// The fields of `retry` over those of the defaults.
pub fn retry(own: Option<Ref<'_>>, defaults: Option<Ref<'_>>) -> Retry {
    let plain = Retry::default();
    if own.is_none() && defaults.is_none() {
        return plain;
    }
    let field = |key: &str| own.and_then(|m| m.get(key)).or_else(|| defaults.and_then(|m| m.get(key)));
    let number = |key: &str| field(key).and_then(|v| v.json().as_f64());
    Retry {
        attempts: field("attempts").and_then(whole).unwrap_or(plain.attempts),
        delay: field("delay").and_then(duration).unwrap_or(plain.delay),
        factor: number("factor").unwrap_or(plain.factor),
        max_delay: field("max_delay").and_then(duration),
        jitter: number("jitter").unwrap_or(plain.jitter),
        on: field("on").map_or(plain.on, retry_on),
        on_explicit: own.is_some_and(|m| m.get("on").is_some()),
    }
}

fn retry_on(value: Ref<'_>) -> Vec<RetryOn> {
    texts(Some(value)).iter().filter_map(|t| shape::retry_on(t)).collect()
}

/// What exit codes mean, fields over those of the defaults.
pub fn exit(own: Option<Ref<'_>>, defaults: Option<Ref<'_>>) -> ExitCodes {
    let plain = ExitCodes::default();
    let field = |key: &str| codes(own.and_then(|m| m.get(key)).or_else(|| defaults.and_then(|m| m.get(key))));
    ExitCodes {
        ok: field("ok").unwrap_or(plain.ok),
        skip: field("skip").unwrap_or(plain.skip),
        retry: field("retry").unwrap_or(plain.retry),
    }
}

/// Failures that count as success.
pub fn allow_failure(value: Option<Ref<'_>>) -> AllowFailure {
    match value {
        Some(v) if v.is_list() => AllowFailure::Codes(codes(Some(v)).unwrap_or_default()),
        Some(v) if v.json() == Json::Bool(true) => AllowFailure::Any,
        Some(_) | None => AllowFailure::No,
    }
}

/// Failed instances that count as success.
pub fn tolerate(value: Ref<'_>) -> Option<Tolerate> {
    whole(value).map(Tolerate::Count).or_else(|| shape::percent(value.scalar()?).map(Tolerate::Percent))
}

/// What runs a script.
pub fn shell(value: Option<Ref<'_>>) -> Shell {
    match value {
        Some(v) if v.is_list() => Shell::Custom(texts(Some(v))),
        Some(v) if v.scalar() == Some("bash") => Shell::Bash,
        Some(_) | None => Shell::Sh,
    }
}

/// Names with types.
pub fn types(value: Ref<'_>) -> IndexMap<String, ValueType> {
    value.entries().into_iter().filter_map(|e| Some((e.key.scalar()?.to_owned(), word(e.value)?))).collect()
}

/// What is secret.
pub fn secrets(map: Option<Ref<'_>>, found: &mut Vec<Diagnostic>) -> IndexMap<String, Secret> {
    let entries = map.map(Ref::entries).unwrap_or_default();
    entries.into_iter().filter_map(|e| Some((e.key.scalar()?.to_owned(), secret(e.key, e.value, found)))).collect()
}

fn secret(key: Ref<'_>, map: Ref<'_>, found: &mut Vec<Diagnostic>) -> Secret {
    let from: Option<crate::tree::SecretSource> = map.get("from").and_then(word);
    let source = map.get("from").and_then(text).unwrap_or("no source");
    let beside: &[(&str, &[&str])] =
        &[("path", &["file", "vault"]), ("command", &["command"]), ("length", &["generate"]), ("charset", &["generate"])];
    for (name, sources) in beside {
        if let Some(entry) = map.entry(name).filter(|_| !sources.contains(&source)) {
            let message =
                format!("`{name}` has no effect with {}", if from.is_some() { format!("`from: {source}`") } else { "no `from`".into() });
            found.push(
                Diagnostic::error("no-effect", entry.key.span(), message).help(format!("write `from: {}`, or leave it out", sources[0])),
            );
        }
    }
    for (name, sources) in &beside[..2] {
        if sources.contains(&source) && map.get(name).is_none() {
            let message = format!("a secret `from: {source}` has no `{name}`");
            found.push(Diagnostic::error("missing-key", key.span(), message).help(format!("add `{name}: …`")));
        }
    }
    Secret {
        from,
        path: map.get("path").and_then(text).map(str::to_owned),
        command: map.get("command").and_then(text).map(str::to_owned),
        as_file: map.get("as").and_then(text) == Some("file"),
        optional: flag(map, "optional"),
        length: map.get("length").and_then(whole),
        charset: map.get("charset").and_then(text).map(str::to_owned),
        span: key.span(),
    }
}

/// A value with expressions anywhere inside.
pub fn template(value: Ref<'_>, found: &mut Vec<Diagnostic>) -> Template {
    if value.is_list() {
        let items: Vec<Template> = value.items().map(|v| template(v, found)).collect();
        return Template::list(items);
    }
    if value.is_map() {
        let entries = value.entries().into_iter().filter_map(|e| Some((e.key.scalar()?.to_owned(), template(e.value, found))));
        return Template::map(entries.collect());
    }
    match value.json() {
        Json::String(text) if text.contains("{{") => match Template::parse(&text, &value.origin()) {
            Ok(template) => template,
            Err(wrong) => {
                found.extend(wrong);
                Template::Value(Json::Null)
            }
        },
        plain => Template::Value(plain),
    }
}

/// A key that is an expression, with or without braces.
pub fn expression(value: Ref<'_>, found: &mut Vec<Diagnostic>) -> Option<Expr> {
    let text = value.scalar()?;
    match Expr::parse_bare(text, &value.origin()) {
        Ok(expr) => Some(expr),
        Err(wrong) => {
            found.push(wrong);
            None
        }
    }
}

/// A mapping of literal values.
pub fn object(value: Ref<'_>) -> Object {
    match value.json() {
        Json::Object(map) => map,
        _ => Object::new(),
    }
}
