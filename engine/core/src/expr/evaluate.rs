//! Evaluation: every name is looked up before Tera runs, Tera sees only the parts of the scope that
//! the expression reads, and its result comes back with its type.

use super::parser::{Chain, Parsed, parse};
use super::{Segment, library};
use crate::event::{Json, Object};
use std::cell::{Cell, RefCell};
use tera::{Context, Error, ErrorKind, Kwargs, State, Tera, TeraResult, Value};

/// How many items the comprehensions of one evaluation may go through.
const ITEMS: usize = 1_000_000;
/// How large a value may become.
const SIZE: usize = 16 * 1024 * 1024;

thread_local! {
    static TERA: Tera = instance();
    static RESULT: RefCell<Option<Value>> = const { RefCell::new(None) };
    static SEEN: Cell<usize> = const { Cell::new(0) };
}

/// Evaluates an expression that has been checked.
pub(super) fn evaluate(source: &str, names: &Object) -> Result<Json, String> {
    let parsed = parse(source).map_err(|fault| fault.message)?;
    for chain in parsed.chains.iter().filter(|c| !c.soft && !c.bound) {
        look_up(&chain.path, names)?;
    }
    let value = match parsed.chains.first() {
        Some(chain) if parsed.plain && !chain.path.contains(&Segment::Dynamic) => {
            walk(&chain.path, names).map_err(|n| missing(&chain.path, n, names))?.clone()
        }
        _ => render(source, &parsed, names)?,
    };
    if size(&value, SIZE).is_none() {
        return Err("the value is larger than 16 MiB".into());
    }
    Ok(value)
}

/// What Tera itself says against an expression that our parser accepts: asked only where Tera's own
/// limits (256 operations, lists in lists, brackets in brackets) can matter, as it takes microseconds.
pub(super) fn compile(source: &str, parsed: &Parsed) -> Result<(), String> {
    if !parsed.large {
        return Ok(());
    }
    instance().add_raw_template("e", &wrapped(source, parsed)).map_err(|e| sentence(&e))
}

/// Whether a value counts as true in a condition.
pub(super) fn truth(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(b) => *b,
        Json::Number(n) => n.as_f64() != Some(0.0),
        Json::String(s) => !s.is_empty(),
        Json::Array(list) => !list.is_empty(),
        Json::Object(map) => !map.is_empty(),
    }
}

fn wrapped(source: &str, parsed: &Parsed) -> String {
    format!("{{{{ ({}) | __take }}}}", parsed.for_tera(source))
}

fn render(source: &str, parsed: &Parsed, names: &Object) -> Result<Json, String> {
    let context = context(parsed, names);
    RESULT.with(|slot| slot.borrow_mut().take());
    SEEN.set(0);
    TERA.with(|tera| tera.render_str_to(&wrapped(source, parsed), &context, false, std::io::sink())).map_err(|e| sentence(&e))?;
    let value = RESULT.with(|slot| slot.borrow_mut().take()).unwrap_or_else(Value::undefined);
    if value.is_undefined() {
        return Err(format!("`{source}` is not defined; give it a value with `| default(value=…)`"));
    }
    if !finite(&value) {
        return Err(format!("`{source}` is no finite number"));
    }
    serde_json::to_value(&value).map_err(|_| format!("`{source}` gives a number that does not fit into 64 bits"))
}

fn finite(value: &Value) -> bool {
    value.as_f64().is_none_or(f64::is_finite)
}

/// Tera's own message, without its excerpt.
fn sentence(error: &Error) -> String {
    let text = match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => report.message().to_owned(),
        _ => error.to_string(),
    };
    let mut line = text.lines().next().unwrap_or("the expression cannot be evaluated").trim_end_matches('.').to_owned();
    if let Some(first) = line.get(..1).map(str::to_lowercase) {
        line.replace_range(..1, &first);
    }
    line
}

// ---- names -------------------------------------------------------------------------------------

/// Fails with the sentence to show if a part of the path is not there.
fn look_up(path: &[Segment], names: &Object) -> Result<(), String> {
    walk(path, names).map(|_| ()).map_err(|n| missing(path, n, names))
}

/// The value at a path as far as it is known; else the number of the first missing segment.
fn walk<'a>(path: &[Segment], names: &'a Object) -> Result<&'a Json, usize> {
    let Some(Segment::Name(root)) = path.first() else { return Err(0) };
    let mut value = names.get(root).ok_or(0usize)?;
    for (n, segment) in path.iter().enumerate().skip(1) {
        value = match segment {
            Segment::Name(name) => value.get(name),
            Segment::Index(index) => value.get(index),
            Segment::Dynamic => return Ok(value),
        }
        .ok_or(n)?;
    }
    Ok(value)
}

/// "`a.b.c` is not defined; `b` has: d, e". Never names a value, nor what `secrets` holds.
fn missing(path: &[Segment], at: usize, names: &Object) -> String {
    let whole = written(path);
    if at == 0 {
        let near = library::nearest(&whole, names.keys().map(String::as_str).filter(|k| !k.starts_with("__")));
        return match near {
            Some(near) if path.len() == 1 => format!("`{whole}` is not defined; did you mean `{near}`?"),
            _ => format!("`{whole}` is not defined: there is no `{}` here", written(&path[..1])),
        };
    }
    let owner = written(&path[..at]);
    let secret = path.first() == Some(&Segment::Name("secrets".into()));
    match walk(&path[..at], names) {
        Ok(Json::Object(_)) if secret => format!("`{whole}` is not defined: no such secret is declared here"),
        Ok(Json::Object(map)) if map.is_empty() => format!("`{whole}` is not defined; `{owner}` is empty"),
        Ok(Json::Object(map)) => {
            let near = match &path[at] {
                Segment::Name(name) => library::nearest(name, map.keys().map(String::as_str)),
                Segment::Index(_) | Segment::Dynamic => None,
            };
            match near {
                Some(near) => format!("`{whole}` is not defined; did you mean `{near}`?"),
                None => format!("`{whole}` is not defined; `{owner}` has: {}", listed(map)),
            }
        }
        Ok(Json::Array(list)) => format!("`{whole}` is not defined; `{owner}` is a list of {} items", list.len()),
        Ok(Json::Null) => format!("`{whole}` is not defined; `{owner}` is null"),
        Ok(_) => format!("`{whole}` is not defined; `{owner}` is a plain value"),
        Err(_) => format!("`{whole}` is not defined"),
    }
}

fn listed(map: &Object) -> String {
    let mut keys: Vec<&str> = map.keys().map(String::as_str).take(9).collect();
    if keys.len() == 9 {
        keys[8] = "…";
    }
    keys.join(", ")
}

/// A path as a person writes it.
pub(super) fn written(path: &[Segment]) -> String {
    let mut out = String::new();
    for (n, segment) in path.iter().enumerate() {
        match segment {
            Segment::Name(name) if n == 0 => out.push_str(name),
            Segment::Name(name) if plain(name) => out.push_str(&format!(".{name}")),
            Segment::Name(name) => out.push_str(&format!("[\"{name}\"]")),
            Segment::Index(index) => out.push_str(&format!("[{index}]")),
            Segment::Dynamic => out.push_str("[…]"),
        }
    }
    out
}

fn plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

// ---- what Tera sees ----------------------------------------------------------------------------

/// The parts of the scope that the expression reads, and nothing else.
fn context(parsed: &Parsed, names: &Object) -> Context {
    let mut scope = Object::new();
    for chain in &parsed.chains {
        copy(chain, names, &mut scope);
    }
    let mut context = Context::new();
    for (name, value) in &scope {
        context.insert(name.clone(), value);
    }
    for hidden in ["__failed", "__cancelled"] {
        if let Some(value) = names.get(hidden) {
            context.insert(hidden, value);
        }
    }
    context
}

/// Copies what a chain reads: the maps on its way hold only what some chain reads of them.
fn copy(chain: &Chain, names: &Object, scope: &mut Object) {
    let (mut from, mut to) = (names, scope);
    let keys: Vec<&String> = chain.path.iter().map_while(|s| if let Segment::Name(n) = s { Some(n) } else { None }).collect();
    for (n, key) in keys.iter().enumerate() {
        let Some(value) = from.get(*key) else { return };
        let last = n + 1 == keys.len();
        match value {
            Json::Object(inner) if !last => {
                let slot = to.entry((*key).clone()).or_insert_with(|| Json::Object(Object::new()));
                let Json::Object(map) = slot else { return };
                (from, to) = (inner, map);
            }
            _ => {
                to.insert((*key).clone(), value.clone());
                return;
            }
        }
    }
}

pub(super) fn instance() -> Tera {
    let mut tera = Tera::new();
    tera.autoescape_on(Vec::<&str>::new());
    tera.register_filter("__take", |value: Value, _: Kwargs, _: &State| {
        RESULT.with(|slot| *slot.borrow_mut() = Some(value));
        Value::from("")
    });
    tera.register_filter("__need", |value: Value, _: Kwargs, _: &State| -> TeraResult<Value> {
        if value.is_undefined() { Err(Error::message("an item that is not defined is read")) } else { Ok(value) }
    });
    tera.register_filter("__count", count);
    tera.register_filter("replace", replace);
    tera.register_filter("indent", indent);
    tera.register_filter("join", join);
    tera.register_function("failed", |_: Kwargs, state: &State| flag(state, "__failed", "failed()"));
    tera.register_function("cancelled", |_: Kwargs, state: &State| flag(state, "__cancelled", "cancelled()"));
    tera
}

fn flag(state: &State, name: &str, call: &str) -> TeraResult<bool> {
    state.get::<bool>(name)?.ok_or_else(|| Error::message(format!("`{call}` can only be asked in the `if` of a step")))
}

/// Passes what a comprehension goes through, and ends one that goes on for too long.
fn count(value: Value, _: Kwargs, _: &State) -> TeraResult<Value> {
    if value.is_undefined() {
        return Err(Error::message("an item that is not defined is read"));
    }
    let seen = SEEN.get().saturating_add(value.len().unwrap_or(0));
    SEEN.set(seen);
    if seen > ITEMS { Err(Error::message(format!("the expression goes through more than {ITEMS} items"))) } else { Ok(value) }
}

fn within(length: usize) -> TeraResult<()> {
    if length > SIZE { Err(Error::message("the value is larger than 16 MiB")) } else { Ok(()) }
}

fn replace(text: &str, arguments: Kwargs, _: &State) -> TeraResult<String> {
    let (from, to) = (arguments.must_get::<&str>("from")?, arguments.must_get::<&str>("to")?);
    let hits = if from.is_empty() { text.chars().count() + 1 } else { text.matches(from).count() };
    within(text.len().saturating_add(hits.saturating_mul(to.len())))?;
    Ok(text.replace(from, to))
}

fn join(list: &[Value], arguments: Kwargs, _: &State) -> TeraResult<String> {
    let separator = arguments.get::<&str>("sep")?.unwrap_or("");
    let mut out = String::new();
    for (n, item) in list.iter().enumerate() {
        if n > 0 {
            out.push_str(separator);
        }
        out.push_str(&item.to_string());
        within(out.len())?;
    }
    Ok(out)
}

fn indent(text: &str, arguments: Kwargs, _: &State) -> TeraResult<String> {
    let width = arguments.get::<usize>("width")?.unwrap_or(4).min(1000);
    let sign = arguments.get::<&str>("indentation")?.unwrap_or(" ");
    if sign.chars().count() != 1 {
        return Err(Error::message("`indentation` is one character"));
    }
    let first = arguments.get::<bool>("first")?.unwrap_or(false);
    let blank = arguments.get::<bool>("blank")?.unwrap_or(false);
    let margin = sign.repeat(width);
    within(text.len().saturating_add((text.matches('\n').count() + 1).saturating_mul(margin.len())))?;
    let mut out = String::with_capacity(text.len() * 2);
    for (n, line) in text.split_inclusive('\n').enumerate() {
        if (n > 0 || first) && (blank || !line.trim_end_matches(['\n', '\r']).is_empty()) {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Roughly the bytes of a value as JSON, or `None` if there are more than `limit`.
fn size(value: &Json, limit: usize) -> Option<usize> {
    let used = match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 4,
        Json::String(s) => s.len() + 2,
        Json::Array(list) => list.iter().try_fold(2usize, |sum, v| Some(sum + 1 + size(v, limit.checked_sub(sum)?)?))?,
        Json::Object(map) => map.iter().try_fold(2usize, |sum, (k, v)| Some(sum + k.len() + 4 + size(v, limit.checked_sub(sum)?)?))?,
    };
    (used <= limit).then_some(used)
}
