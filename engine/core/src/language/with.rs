//! The `with` of a step kind against the kind's JSON Schema: all that is wrong, each in its place.
//!
//! Understands what typed structs derive (`$ref`, `properties`, `required`, `items`, `enum`,
//! `anyOf`, bounds, patterns); what else a schema may say is left to the kind itself. A value that
//! is one whole `{{ … }}` may be anything until it is computed. Read [`check`] first.

use super::near::{did_you_mean, listed, nearest};
use super::nodes::Ref;
use crate::diagnostic::{Diagnostic, Span};
use crate::event::Json;
use crate::tree::KindInfo;
use regex::Regex;

/// How often one schema may lead to the next by `$ref`.
const HOPS: usize = 32;

/// Checks `with`; `place` is where to point if something is missing.
pub fn check(with: Option<Ref<'_>>, place: Span, kind: &KindInfo, found: &mut Vec<Diagnostic>) {
    let reader = Reader { kind: &kind.name, root: &kind.input };
    match with {
        Some(value) if value.is_map() => reader.value(value, &kind.input, "with", found),
        Some(_) => {}
        None => reader.missing(&[], reader.follow(&kind.input), place, found),
    }
}

/// What a kind says itself of a `with`: `field: why`, shown where that field stands.
pub fn judged(with: Option<Ref<'_>>, place: Span, kind: &str, why: &str) -> Diagnostic {
    let path = why.split_once(": ").map_or("", |(field, _)| field.trim_start_matches("with."));
    let mut at = with;
    for word in path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        at = at.and_then(|value| value.get(word)).or(at);
    }
    Diagnostic::error("bad-value", at.map_or(place, Ref::span), format!("`{kind}`: {why}"))
}

struct Reader<'k> {
    kind: &'k str,
    root: &'k Json,
}

impl<'k> Reader<'k> {
    fn follow(&self, mut schema: &'k Json) -> &'k Json {
        for _ in 0..HOPS {
            let Some(pointer) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) else { return schema };
            let Some(target) = self.root.pointer(pointer) else { return schema };
            schema = target;
        }
        schema
    }

    fn value(&self, value: Ref<'_>, schema: &'k Json, name: &str, found: &mut Vec<Diagnostic>) {
        let schema = self.follow(schema);
        if whole(value) || schema.is_boolean() {
            return;
        }
        if let Some(choices) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
            self.one_of(value, choices, name, found);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.value(value, part, name, found);
        }
        if let Some(problem) = self.mistyped(value, schema, name) {
            found.push(problem);
            return;
        }
        if value.is_map() {
            self.object(value, schema, found);
        } else if value.is_list() {
            let items = &schema["items"];
            value.items().filter(|_| items.is_object()).for_each(|v| self.value(v, items, &format!("an item of {name}"), found));
            found.extend(bounds(value, value.items().count() as f64, schema, ["minItems", "maxItems"], name, " items"));
        } else {
            found.extend(scalar(value, schema, name));
        }
    }

    /// The alternative with the fewest problems speaks.
    fn one_of(&self, value: Ref<'_>, choices: &'k [Json], name: &str, found: &mut Vec<Diagnostic>) {
        let mut best: Option<Vec<Diagnostic>> = None;
        for choice in choices {
            let mut problems = Vec::new();
            self.value(value, choice, name, &mut problems);
            if problems.is_empty() {
                return;
            }
            let typed = |ds: &[Diagnostic]| ds.first().is_some_and(|d| d.code == "wrong-type" && d.span == Some(value.span()));
            let rank = |ds: &[Diagnostic]| (typed(ds), ds.len());
            if best.as_ref().is_none_or(|b| rank(&problems) < rank(b)) {
                best = Some(problems);
            }
        }
        let consts: Vec<String> = choices.iter().filter_map(|c| self.follow(c).get("const")).map(shown).collect();
        if consts.len() == choices.len() && value.scalar().is_some() {
            found.push(choice(value, &consts, name));
            return;
        }
        found.extend(best.unwrap_or_default());
    }

    fn mistyped(&self, value: Ref<'_>, schema: &'k Json, name: &str) -> Option<Diagnostic> {
        let types: Vec<&str> = match &schema["type"] {
            Json::String(one) => vec![one],
            Json::Array(many) => many.iter().filter_map(Json::as_str).collect(),
            _ => return None,
        };
        let json = if value.is_map() || value.is_list() { Json::Null } else { value.json() };
        let text = value.scalar().is_some();
        let is = |kind: &str| match kind {
            "object" => value.is_map(),
            "array" => value.is_list(),
            "string" => text && json.is_string(),
            "integer" => text && (json.is_i64() || json.is_u64()),
            "number" => text && json.is_number(),
            "boolean" => text && json.is_boolean(),
            "null" => text && json.is_null(),
            _ => true,
        };
        if types.iter().any(|t| is(t)) {
            return None;
        }
        let wanted: Vec<&str> = types.iter().filter(|t| **t != "null").map(|t| article(t)).collect();
        let wanted_words = schema["title"].as_str().map_or_else(|| wanted.join(" or "), str::to_owned);
        let message = format!("`{name}` of `{}` must be {wanted_words}, found {}", self.kind, value.what());
        let message = message.replace("`an item of ", "an item of `");
        let problem = Diagnostic::error("wrong-type", value.span(), message);
        if let Some(example) = example(schema) {
            return Some(problem.help(format!("write it like {example}")));
        }
        Some(match (wanted.first(), value.scalar()) {
            (Some(&"text"), Some(scalar)) if !scalar.is_empty() => problem.help(format!("quote it: \"{scalar}\"")),
            (Some(&("a whole number" | "a number")), Some(scalar)) if scalar.contains("{{") => {
                problem.help("a text around an expression is text; write the expression alone: \"{{ … }}\"")
            }
            (Some(&("a whole number" | "a number")), Some(scalar)) if scalar.parse::<f64>().is_ok() => {
                problem.help(format!("write it without quotes: {scalar}"))
            }
            _ => problem,
        })
    }

    fn object(&self, value: Ref<'_>, schema: &'k Json, found: &mut Vec<Diagnostic>) {
        let properties = schema["properties"].as_object();
        let extra = &schema["additionalProperties"];
        let entries = value.entries();
        for entry in &entries {
            let Some(name) = entry.key.scalar() else { continue };
            if let Some(property) = properties.and_then(|p| p.get(name)) {
                self.value(entry.value, property, name, found);
            } else if extra.is_object() {
                self.value(entry.value, extra, name, found);
            } else if *extra == Json::Bool(false) {
                let known: Vec<&str> = properties.into_iter().flat_map(|p| p.keys()).map(String::as_str).collect();
                let near = did_you_mean(name, known.iter().copied());
                let problem = Diagnostic::error("unknown-key", entry.key.span(), format!("unknown key `{name}` for `{}`{near}", self.kind));
                found.push(problem.help(format!("it takes {}", listed(known))));
            }
        }
        let there: Vec<&str> = entries.iter().filter_map(|e| e.key.scalar()).collect();
        self.missing(&there, schema, value.span(), found);
    }

    fn missing(&self, there: &[&str], schema: &'k Json, place: Span, found: &mut Vec<Diagnostic>) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).filter(|n| !there.contains(n)) {
            if there.iter().any(|t| schema["properties"].get(t).is_none() && nearest(t, [name]).is_some()) {
                continue;
            }
            let doc = self.follow(&schema["properties"][name])["description"]
                .as_str()
                .or_else(|| schema["properties"][name]["description"].as_str());
            let first = doc.and_then(|d| d.lines().next()).unwrap_or("").trim_end_matches('.');
            let help = if first.is_empty() { format!("add `{name}`") } else { format!("add `{name}`: {first}") };
            found.push(Diagnostic::error("missing-key", place, format!("`{}` needs `{name}`", self.kind)).help(help));
        }
    }
}

/// One whole expression, whose type is known only when it is computed.
fn whole(value: Ref<'_>) -> bool {
    value.scalar().map(str::trim).is_some_and(|t| t.starts_with("{{") && t.ends_with("}}") && t.matches("{{").count() == 1)
}

fn article(kind: &str) -> &'static str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "a value",
    }
}

fn shown(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn choice(value: Ref<'_>, words: &[String], name: &str) -> Diagnostic {
    let text = value.scalar().unwrap_or_default();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let near = did_you_mean(text, words.iter().copied());
    Diagnostic::error("bad-choice", value.span(), format!("`{text}` is no `{name}`{near}")).help(format!("write one of {}", listed(words)))
}

fn scalar(value: Ref<'_>, schema: &Json, name: &str) -> Option<Diagnostic> {
    let (text, json) = (value.scalar()?, value.json());
    if text.contains("{{") {
        return None;
    }
    if let Some(words) = schema["enum"].as_array() {
        return (!words.contains(&json)).then(|| choice(value, &words.iter().map(shown).collect::<Vec<_>>(), name));
    }
    if let Some(only) = schema.get("const") {
        return (*only != json).then(|| choice(value, &[shown(only)], name));
    }
    if let Some(number) = json.as_f64() {
        return bounds(value, number, schema, ["minimum", "maximum"], name, "");
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && Regex::new(pattern).is_ok_and(|r| !r.is_match(text))
    {
        let form = schema["title"].as_str().map_or_else(|| format!("match {pattern}"), |title| format!("be {title}"));
        let problem = Diagnostic::error("bad-value", value.span(), format!("`{name}` must {form}, found `{text}`"));
        return Some(example(schema).into_iter().fold(problem, |problem, example| problem.help(format!("write it like {example}"))));
    }
    bounds(value, text.chars().count() as f64, schema, ["minLength", "maxLength"], name, " characters")
}

/// How a value of a schema is written, where that says it.
fn example(schema: &Json) -> Option<String> {
    schema["examples"].as_array()?.first().map(shown)
}

fn bounds(value: Ref<'_>, measure: f64, schema: &Json, keys: [&str; 2], name: &str, of: &str) -> Option<Diagnostic> {
    let (min, max) = (schema[keys[0]].as_f64(), schema[keys[1]].as_f64());
    let limit = match (min.filter(|m| measure < *m), max.filter(|m| measure > *m)) {
        (Some(min), _) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => return None,
    };
    let verb = if of.is_empty() { "be" } else { "have" };
    let of = if limit.ends_with(" 1") { of.trim_end_matches('s') } else { of };
    Some(Diagnostic::error("bad-value", value.span(), format!("`{name}` must {verb} {limit}{of}, found {measure}")))
}
