//! Walks a file by the table of [`super::keys`] and tells all that is wrong with its form at once:
//! unknown keys, missing keys, wrong types, bad durations, words that are none of the choices.
//!
//! Knows nothing of what the names in a tree mean; that is [`super::names`]'s. Read [`walk`] first.

use super::keys::{Form, Names, Record, STEP};
use super::near::{did_you_mean, listed, nearest};
use super::nodes::{Entry, Ref};
use crate::diagnostic::Diagnostic;
use crate::units;
use std::time::Duration;

/// Checks a value against a form. `name` is its key.
pub fn walk(value: Ref<'_>, form: &Form, name: &str, found: &mut Vec<Diagnostic>) {
    if let Form::Any(forms) = form {
        match forms.iter().find(|f| suits(value, f)) {
            Some(form) => walk(value, form, name, found),
            None => found.push(mistyped(value, form, name)),
        }
        return;
    }
    if !suits(value, form) {
        found.push(mistyped(value, form, name));
        return;
    }
    match form {
        Form::List(item) => value.items().for_each(|v| walk(v, item, &format!("an item of {name}"), found)),
        Form::Map(names, item) => map(value, *names, item, name, found),
        Form::Record(record) => fields(value, record, found),
        _ => scalar(value, form, name, found),
    }
}

/// Whether the value's own type is the form's.
fn suits(value: Ref<'_>, form: &Form) -> bool {
    match form {
        Form::Value | Form::Literal => true,
        Form::List(_) => value.is_list(),
        Form::Map(..) | Form::Record(_) => value.is_map(),
        Form::Any(forms) => forms.iter().any(|f| suits(value, f)),
        Form::Flag => value.is_plain() && value.json().is_boolean(),
        Form::Whole(..) => value.is_plain() && value.json().is_i64(),
        Form::Number(..) => value.is_plain() && value.json().is_number(),
        Form::Template => value.scalar().is_some() && !value.is_null(),
        Form::Expression => value.is_text() || (value.is_plain() && value.json().is_boolean()),
        Form::Script | Form::Text | Form::Duration | Form::Limit | Form::Percent | Form::Choice(_) | Form::RetryOn | Form::Name(_) => {
            value.is_text()
        }
    }
}

fn mistyped(value: Ref<'_>, form: &Form, name: &str) -> Diagnostic {
    let shown = if name.starts_with("an item") || name.starts_with("the ") { name.to_owned() } else { format!("`{name}`") };
    let found = Diagnostic::error("wrong-type", value.span(), format!("{shown} must be {}, found {}", wanted(form), value.what()));
    match (form, value.scalar()) {
        (Form::Flag, Some("yes" | "on" | "Yes" | "On")) => found.help("write `true`"),
        (Form::Flag, Some("no" | "off" | "No" | "Off")) => found.help("write `false`"),
        (Form::Duration | Form::Limit, Some(text)) if text.parse::<f64>().is_ok() => found.help(format!("write the unit: `{text}s`")),
        (Form::Whole(..) | Form::Number(..), Some(text)) if !value.is_plain() && text.parse::<f64>().is_ok() => {
            found.help(format!("write it without quotes: {text}"))
        }
        (Form::Text | Form::Script | Form::Name(_), Some(text)) if !text.is_empty() => found.help(format!("quote it: \"{text}\"")),
        _ => found,
    }
}

/// The form in words.
pub fn wanted(form: &Form) -> String {
    match form {
        Form::Text | Form::Script => "text".into(),
        Form::Template => "text, a number, true or false".into(),
        Form::Value | Form::Literal => "a value".into(),
        Form::Expression => "an expression".into(),
        Form::Flag => "true or false".into(),
        Form::Whole(..) => "a whole number".into(),
        Form::Number(..) => "a number".into(),
        Form::Duration | Form::Limit => "a duration like 30s".into(),
        Form::Percent => "a share like \"10%\"".into(),
        Form::Choice(words) => format!("one of {}", listed(words.iter().copied())),
        Form::RetryOn => "failure, timeout, spawn, exit:CODE or signal:NUMBER".into(),
        Form::Name(_) => "a name".into(),
        Form::List(item) => format!("a list of {}", plural(item)),
        Form::Map(..) | Form::Record(_) => "a mapping".into(),
        Form::Any(forms) => forms.iter().map(wanted).collect::<Vec<_>>().join(", or "),
    }
}

fn plural(form: &Form) -> &'static str {
    match form {
        Form::Whole(..) | Form::Number(..) => "numbers",
        Form::Record(_) | Form::Map(..) => "mappings",
        Form::Value | Form::Literal | Form::Any(_) => "values",
        _ => "texts",
    }
}

fn map(value: Ref<'_>, names: Names, item: &Form, name: &str, found: &mut Vec<Diagnostic>) {
    for entry in value.entries() {
        let Some(key) = entry.key.scalar() else { continue };
        if !names.fits(key) {
            let what = if name == "steps" || name == "finally" { "a step's id".to_owned() } else { format!("a name in `{name}`") };
            let message = format!("`{key}` is no name: {what} looks like {}", names.pattern());
            let found_one = Diagnostic::error("bad-name", entry.key.span(), message);
            found.push(match repaired(key, names) {
                Some(better) => found_one.help(format!("write `{better}`")),
                None => found_one,
            });
        }
        value_of(entry, item, key, found);
    }
}

/// Checks a value; one that is not there is shown at its key.
fn value_of(entry: Entry<'_>, form: &Form, name: &str, found: &mut Vec<Diagnostic>) {
    let before = found.len();
    walk(entry.value, form, name, found);
    if entry.value.span().len == 0 {
        let here = found[before..].iter_mut().filter(|d| d.span == Some(entry.value.span()));
        here.for_each(|d| d.span = Some(entry.key.span()));
    }
}

/// The name with what does not fit replaced.
fn repaired(name: &str, names: Names) -> Option<String> {
    let joint = if names == Names::Variable { '_' } else { '-' };
    let lower = if names == Names::Tree { name.to_ascii_lowercase() } else { name.to_owned() };
    let better: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { joint }).collect();
    names.fits(&better).then_some(better)
}

fn fields(value: Ref<'_>, record: &'static Record, found: &mut Vec<Diagnostic>) {
    for entry in value.entries() {
        let Some(name) = entry.key.scalar() else { continue };
        if let Some(key) = record.key(name) {
            value_of(entry, &key.form, name, found);
        } else if let Some(rest) = record.rest {
            value_of(entry, rest, name, found);
        } else if !(record.extensible && name.starts_with("x-")) {
            found.push(unknown(entry.key, name, record));
        }
    }
    let meant =
        |name: &str| value.entries().iter().filter_map(|e| e.key.scalar()).any(|k| record.key(k).is_none() && nearest(k, [name]).is_some());
    for key in record.keys.iter().filter(|k| k.required && value.get(k.name).is_none() && !meant(k.name)) {
        let message = format!("{} has no `{}`", record.title, key.name);
        found.push(Diagnostic::error("missing-key", value.span(), message).help(format!("add `{}`: {}", key.name, lower_first(key.doc))));
    }
}

fn lower_first(doc: &str) -> String {
    let mut chars = doc.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

fn unknown(key: Ref<'_>, name: &str, record: &'static Record) -> Diagnostic {
    let known = record.keys.iter().map(|k| k.name);
    let found = Diagnostic::error("unknown-key", key.span(), format!("unknown key `{name}`{}", did_you_mean(name, known.clone())));
    if let Some(near) = nearest(name, known.clone()) {
        return found.help(format!("write `{near}`"));
    }
    if record.name != STEP.name && STEP.key(name).is_some() {
        return found.help(format!("`{name}` is a key of a step; {} has {}", record.title, listed(known)));
    }
    found.help(format!("{} has {}", record.title, listed(known)))
}

fn scalar(value: Ref<'_>, form: &Form, name: &str, found: &mut Vec<Diagnostic>) {
    let text = value.scalar().unwrap_or_default();
    let wrong = |message: String| Some(Diagnostic::error("bad-value", value.span(), message));
    let problem = match form {
        Form::Whole(min, max) => {
            value.json().as_i64().filter(|n| n < min || n > max).and_then(|n| wrong(range(name, n as f64, *min as f64, *max as f64)))
        }
        Form::Number(min, max) => value.json().as_f64().filter(|n| n < min || n > max).and_then(|n| wrong(range(name, n, *min, *max))),
        Form::Duration | Form::Limit => match units::duration(text) {
            Err(e) => Some(Diagnostic::error("bad-duration", value.span(), format!("`{name}`: {e}"))),
            Ok(Duration::ZERO) if matches!(form, Form::Limit) => wrong(format!("`{name}: {text}` can never be met"))
                .map(|d| d.help("write a duration above zero, or leave it out: no limit")),
            Ok(_) => None,
        },
        Form::Percent => {
            percent(text).is_none().then(|| wrong(format!("`{name}` is a count or a share like \"10%\", found `{text}`"))).flatten()
        }
        Form::Choice(words) => (!words.contains(&text)).then(|| choice(value, text, name, words)),
        Form::RetryOn => retry_on(text).is_none().then(|| wrong(format!("`{text}` is nothing that a retry answers"))).flatten().map(|d| {
            d.help(format!(
                "write failure, timeout, spawn, exit:CODE or signal:NUMBER{}",
                did_you_mean(text, ["failure", "timeout", "spawn"])
            ))
        }),
        Form::Name(names) if !names.fits(text) => {
            let found =
                Diagnostic::error("bad-name", value.span(), format!("`{text}` is no name: `{name}` looks like {}", names.pattern()));
            Some(match repaired(text, *names) {
                Some(better) => found.help(format!("write `{better}`")),
                None => found,
            })
        }
        Form::Text if text.contains("{{") && !matches!(name, "description" | "pattern" | "command") => {
            let span = text.find("{{").map_or(value.span(), |i| value.origin().at(text, i, text.len()));
            Some(Diagnostic::error("no-expression-here", span, format!("`{name}` takes no `{{{{ }}}}`: it must be known before the run")))
        }
        _ => None,
    };
    found.extend(problem);
}

fn range(name: &str, n: f64, min: f64, max: f64) -> String {
    let top = f64::from(u32::MAX);
    if max >= top { format!("`{name}` is at least {min}, found {n}") } else { format!("`{name}` is between {min} and {max}, found {n}") }
}

fn choice(value: Ref<'_>, text: &str, name: &str, words: &[&str]) -> Diagnostic {
    let message = format!("`{text}` is no `{name}`{}", did_you_mean(text, words.iter().copied()));
    let other = if name == "shell" { ", or a list like [python3] that gets the script's path" } else { "" };
    Diagnostic::error("bad-choice", value.span(), message).help(format!("write one of {}{other}", listed(words.iter().copied())))
}

/// `10%` as 10.
pub fn percent(text: &str) -> Option<f64> {
    text.strip_suffix('%')?.trim().parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p))
}

/// What a retry answers.
pub fn retry_on(text: &str) -> Option<crate::tree::RetryOn> {
    use crate::tree::RetryOn;
    match text {
        "failure" => Some(RetryOn::Failure),
        "timeout" => Some(RetryOn::Timeout),
        "spawn" => Some(RetryOn::Spawn),
        _ => {
            let (what, number) = text.split_once(':')?;
            let number: i32 = number.trim().parse().ok()?;
            match what {
                "exit" if (1..=255).contains(&number) => Some(RetryOn::Exit(number)),
                "signal" if (1..=64).contains(&number) => Some(RetryOn::Signal(number)),
                _ => None,
            }
        }
    }
}
