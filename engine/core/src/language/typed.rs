//! Parameters: as declared, as given, as they fit together.

use super::Given;
use super::near::did_you_mean;
use super::nodes::Ref;
use super::spec::{flag, text, word, words};
use crate::diagnostic::{Diagnostic, Severity};
use crate::event::{Json, Object};
use crate::tree::{Param, Tree, ValueType};
use regex::Regex;

/// A parameter as declared: a scalar default, or a mapping.
pub fn param(name: &str, key: Ref<'_>, value: Ref<'_>, found: &mut Vec<Diagnostic>) -> Param {
    let long = value.is_map();
    let default = if long { value.get("default") } else { Some(value) };
    let json = default.map(Ref::json);
    let declared = value.get("type").and_then(word::<ValueType>);
    let kind = declared.or_else(|| json.as_ref().and_then(type_of)).unwrap_or(ValueType::String);
    let allowed = value.get("enum").filter(|e| e.is_list()).map(|e| e.items().map(Ref::json).collect());
    let number = |key: &str| value.get(key).and_then(|v| v.json().as_f64());
    let param = Param {
        kind,
        default: json.filter(|d| !d.is_null()),
        required: !value.entry("required").is_some_and(|e| e.value.json() == false),
        allowed,
        pattern: value.get("pattern").and_then(text).map(str::to_owned),
        min: number("min"),
        max: number("max"),
        description: words(value, "description"),
        span: key.span(),
    };
    declaration(name, &param, value, default, found);
    param
}

fn declaration(name: &str, param: &Param, value: Ref<'_>, default: Option<Ref<'_>>, found: &mut Vec<Diagnostic>) {
    let mut wrong = |at: Ref<'_>, message: String, help: &str| found.push(Diagnostic::error("bad-param", at.span(), message).help(help));
    if let Some(default) = default {
        let braces = default.scalar().is_some_and(|t| t.contains("{{"));
        match &param.default {
            _ if braces => wrong(
                default,
                format!("the default of `{name}` is an expression"),
                "write a plain value; what is computed belongs in `vars`",
            ),
            Some(json) => {
                if let Err(message) = fits(param, json) {
                    wrong(default, format!("the default of `{name}` {message}"), "make it fit, or change the declaration");
                }
            }
            None => {
                wrong(default, format!("the default of `{name}` is nothing"), "write `required: false` for a parameter that may be missing")
            }
        }
        if flag(value, "required") {
            let at = value.get("required").unwrap_or(default);
            wrong(at, format!("`{name}` has a default and is required"), "leave one of them out");
        }
    }
    for item in value.get("enum").into_iter().flat_map(Ref::items) {
        if !param.kind.fits(&item.json()) {
            wrong(item, format!("`{}` is not {}", show(&item.json()), article(param.kind)), "list values of the parameter's type");
        }
    }
    if let (Some(at), Some(pattern)) = (value.get("pattern"), &param.pattern) {
        if param.kind != ValueType::String {
            wrong(at, format!("`pattern` has no effect on {}", article(param.kind)), "leave it out, or say `type: string`");
        } else if let Err(error) = Regex::new(pattern) {
            wrong(
                at,
                format!("the pattern is no regular expression: {}", last_line(&error.to_string())),
                "see docs.rs/regex for the syntax",
            );
        }
    }
    for key in ["min", "max"] {
        if let Some(at) = value.get(key).filter(|_| matches!(param.kind, ValueType::Boolean | ValueType::Object)) {
            wrong(at, format!("`{key}` has no effect on {}", article(param.kind)), "leave it out");
        }
    }
    if let (Some(min), Some(max), Some(at)) = (param.min, param.max, value.get("max"))
        && min > max
    {
        wrong(at, format!("`max` {max} is less than `min` {min}"), "swap them");
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

/// The type of a value.
pub fn type_of(value: &Json) -> Option<ValueType> {
    match value {
        Json::Null => None,
        Json::Bool(_) => Some(ValueType::Boolean),
        Json::Number(n) if n.is_f64() => Some(ValueType::Number),
        Json::Number(_) => Some(ValueType::Integer),
        Json::String(_) => Some(ValueType::String),
        Json::Array(_) => Some(ValueType::List),
        Json::Object(_) => Some(ValueType::Object),
    }
}

/// The type with its article.
pub fn article(kind: ValueType) -> &'static str {
    match kind {
        ValueType::String => "a string",
        ValueType::Integer => "an integer",
        ValueType::Number => "a number",
        ValueType::Boolean => "a boolean",
        ValueType::List => "a list",
        ValueType::Object => "an object",
    }
}

fn show(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a value is one that the parameter allows.
fn fits(param: &Param, value: &Json) -> Result<(), String> {
    if !param.kind.fits(value) {
        let found = type_of(value).map_or("nothing", article);
        return Err(format!("must be {}, found {found} `{}`", article(param.kind), show(value)));
    }
    if let Some(allowed) = param.allowed.as_ref().filter(|a| !a.contains(value)) {
        let words: Vec<String> = allowed.iter().map(show).collect();
        let near = did_you_mean(&show(value), words.iter().map(String::as_str));
        return Err(format!("must be one of {}, found `{}`{near}", super::near::listed(words.iter().map(String::as_str)), show(value)));
    }
    if let (Some(pattern), Some(text)) = (&param.pattern, value.as_str())
        && Regex::new(pattern).is_ok_and(|r| !r.is_match(text))
    {
        return Err(format!("must match {pattern}, found `{text}`"));
    }
    size(param, value)
}

fn size(param: &Param, value: &Json) -> Result<(), String> {
    let (measure, of) = match value {
        Json::Number(n) => (n.as_f64(), ""),
        Json::String(text) => (Some(text.chars().count() as f64), " characters"),
        Json::Array(items) => (Some(items.len() as f64), " items"),
        Json::Null | Json::Bool(_) | Json::Object(_) => (None, ""),
    };
    let Some(measure) = measure else { return Ok(()) };
    if let Some(min) = param.min.filter(|min| measure < *min) {
        return Err(format!("must be at least {min}{of}, found {measure}"));
    }
    match param.max.filter(|max| measure > *max) {
        Some(max) => Err(format!("must be at most {max}{of}, found {measure}")),
        None => Ok(()),
    }
}

/// Whether a value written in `with` can be the parameter's; an expression may be anything.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn written(param: &Param, value: Ref<'_>) -> Result<(), String> {
    let Some(text) = value.scalar().filter(|t| t.contains("{{")) else {
        let inside = !value.is_plain() && value.scalar().is_none();
        return if inside { shallow(param, value) } else { fits(param, &value.json()) };
    };
    let trimmed = text.trim();
    let whole = trimmed.starts_with("{{") && trimmed.ends_with("}}") && trimmed.matches("{{").count() == 1;
    if whole || param.kind == ValueType::String {
        Ok(())
    } else {
        Err(format!("must be {}, and a text around an expression is a string", article(param.kind)))
    }
}

/// A list or mapping may hold expressions: only its own type is known.
fn shallow(param: &Param, value: Ref<'_>) -> Result<(), String> {
    let kind = if value.is_list() { ValueType::List } else { ValueType::Object };
    if kind == param.kind { Ok(()) } else { Err(format!("must be {}, found {}", article(param.kind), article(kind))) }
}

/// Checks given parameters against the tree's; see [`super::params`].
pub fn params(tree: &Tree, given: &[(String, Given)]) -> Result<Object, Vec<Diagnostic>> {
    let mut out = Object::new();
    let mut wrong = Vec::new();
    for (name, value) in given {
        match tree.params.get(name) {
            None => wrong.push(unknown(tree, name)),
            Some(param) => match one(param, value) {
                Ok(json) => drop(out.insert(name.clone(), json)),
                Err(message) => wrong.push(Diagnostic::error("wrong-param", param.span, format!("the parameter `{name}` {message}"))),
            },
        }
    }
    for (name, param) in &tree.params {
        if out.contains_key(name) || given.iter().any(|(n, _)| n == name) {
            continue;
        }
        if let Some(default) = &param.default {
            out.insert(name.clone(), default.clone());
        } else if param.required {
            let what = if param.description.is_empty() { String::new() } else { format!(" ({})", param.description.trim_end_matches('.')) };
            let found = Diagnostic::error("missing-param", param.span, format!("the parameter `{name}` is missing{what}"));
            wrong.push(found.help(format!("give it with `-p {name}=…`, in a file by `--params`, or as TREES_PARAM_{name}")));
        }
    }
    if wrong.is_empty() { Ok(out) } else { Err(wrong) }
}

fn unknown(tree: &Tree, name: &str) -> Diagnostic {
    let near = did_you_mean(name, tree.params.keys().map(String::as_str));
    let known = super::near::listed(tree.params.keys().map(String::as_str));
    Diagnostic {
        code: "unknown-param".into(),
        severity: Severity::Error,
        message: format!("`{}` has no parameter `{name}`{near}", tree.name),
        span: None,
        notes: Vec::new(),
        help: Some(if known.is_empty() { "it has no parameters".into() } else { format!("it has {known}") }),
    }
}

fn one(param: &Param, given: &Given) -> Result<Json, String> {
    let value = match given {
        Given::Value(Json::Number(n)) if param.kind == ValueType::Integer => whole(n),
        Given::Value(value) => value.clone(),
        Given::Text(text) => parse(param.kind, text)?,
    };
    fits(param, &value).map(|()| value)
}

/// `3.0` from a computation is the integer 3.
fn whole(number: &serde_json::Number) -> Json {
    match number.as_f64() {
        Some(f) if number.is_f64() && f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0 => Json::from(f as i64),
        _ => Json::Number(number.clone()),
    }
}

/// Text as the type that is declared.
fn parse(kind: ValueType, text: &str) -> Result<Json, String> {
    let bad = || format!("must be {}, found `{text}`", article(kind));
    match kind {
        ValueType::String => Ok(Json::String(text.to_owned())),
        ValueType::Integer => text.trim().parse::<i64>().map(Json::from).map_err(|_| bad()),
        ValueType::Number => {
            let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
            let whole = text.trim().parse::<i64>().map(Json::from);
            whole.or_else(|_| number.and_then(serde_json::Number::from_f64).map(Json::Number).ok_or_else(bad))
        }
        ValueType::Boolean => match text.trim() {
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            _ => Err(format!("{}; write true or false", bad())),
        },
        ValueType::List | ValueType::Object => {
            let example = if kind == ValueType::List { r#"["a", "b"]"# } else { r#"{"a": 1}"# };
            serde_json::from_str(text).map_err(|e| format!("{}: it is read as JSON, like {example} ({e})", bad()))
        }
    }
}
