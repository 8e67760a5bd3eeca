//! `trees steps`: the catalogue of step kinds.

use super::global::Global;
use crate::failure::{Exit, Failure};
use crate::report::{out, out_json, style};
use serde_json::{Value, json};
use std::fmt::Write as _;
use trees_core::tree::{Effect, KindInfo, Kinds as _};

/// List the step kinds, or document one with its inputs, outputs and an example.
#[derive(clap::Args)]
pub struct Args {
    /// A kind, `family/kind`
    kind: Option<String>,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let catalogue = trees_steps::catalogue();
    let kinds: Vec<&KindInfo> = match &args.kind {
        Some(name) => vec![catalogue.kind(name).ok_or_else(|| unknown(name, &catalogue.names()))?],
        None => catalogue.names().into_iter().filter_map(|name| catalogue.kind(name)).collect(),
    };
    if json {
        let steps: Vec<Value> = kinds.into_iter().map(document).collect();
        out_json(&json!({ "schema": "trees/steps", "version": 1, "steps": steps }));
    } else if args.kind.is_some() {
        out(&kinds.into_iter().map(page).collect::<String>());
    } else {
        out(&list(&kinds));
    }
    Ok(Exit::OK)
}

fn unknown(name: &str, names: &[&str]) -> Failure {
    Failure::wrong(format!("there is no step kind `{name}`")).hint(format!("kinds there are: {}", names.join(", ")))
}

fn list(kinds: &[&KindInfo]) -> String {
    let width = kinds.iter().map(|k| k.name.len()).max().unwrap_or(0);
    kinds.iter().map(|k| format!("{}  {}\n", style::pad(&k.name, width), k.summary)).collect()
}

fn document(kind: &KindInfo) -> Value {
    let outputs: Vec<Value> =
        kind.outputs.iter().map(|(name, kind, text)| json!({ "name": name, "type": kind, "description": text })).collect();
    json!({
        "kind": kind.name,
        "summary": kind.summary,
        "doc": kind.doc,
        "effect": kind.effect,
        "observes": kind.observes,
        "undoes": kind.undoes,
        "reads_only": kind.reads_only,
        "repeats": kind.repeats,
        "deploys": kind.deploys,
        "revision": kind.revision,
        "input": kind.input,
        "outputs": outputs,
        "example": kind.example,
    })
}

/// One kind as Markdown: the same text on the terminal and in the book.
pub fn page(kind: &KindInfo) -> String {
    let mut page = format!("# {}\n\n{}.\n\n{}\n\n", kind.name, kind.summary, kind.doc.trim());
    page.push_str(&traits(kind));
    page.push_str("\n## Inputs (`with`)\n\n");
    let mut rows = Vec::new();
    properties(&kind.input, &kind.input, &mut rows);
    page.push_str(if rows.is_empty() { "None.\n" } else { "| name | type | | |\n| --- | --- | --- | --- |\n" });
    rows.iter().for_each(|row| page.push_str(row));
    page.push_str("\n## Outputs\n\n");
    page.push_str(if kind.outputs.is_empty() { "None.\n" } else { "| name | type | |\n| --- | --- | --- |\n" });
    for (name, kind, text) in &kind.outputs {
        let kind = serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        writeln!(page, "| `{name}` | {kind} | {} |", cell(text)).unwrap_or_default();
    }
    write!(page, "\n## Example\n\n```yaml\n{}\n```\n", kind.example.trim()).unwrap_or_default();
    page
}

fn traits(kind: &KindInfo) -> String {
    let effect = match kind.effect {
        Effect::None => "changes nothing that matters",
        Effect::Local => "changes files of this machine (effect `local`)",
        Effect::External => "changes the outside world (effect `external`)",
    };
    let mut words = vec![if kind.reads_only { "only reads" } else { effect }];
    if kind.observes {
        words.push("looks first and does nothing where all is as wanted");
    }
    if kind.repeats {
        words.push("is made again after a crash, under the same key");
    }
    if kind.undoes {
        words.push("records how to take its change back");
    }
    if kind.deploys {
        words.push("takes the lock of project and environment for the run");
    }
    format!("It {}.\n", words.join("; "))
}

/// The rows of an object's properties: name, type, need, text.
pub fn properties(root: &Value, schema: &Value, rows: &mut Vec<String>) {
    nested(root, schema, "", 0, rows);
}

/// Nested objects stand under their dotted names, unless they have a section of their own.
fn nested(root: &Value, schema: &Value, prefix: &str, depth: usize, rows: &mut Vec<String>) {
    let Some(map) = schema["properties"].as_object() else { return };
    let required = |name: &str| schema["required"].as_array().is_some_and(|r| r.iter().any(|v| v == name));
    for (name, property) in map {
        let resolved = resolve(root, property);
        let default = if property["default"].is_null() { &resolved["default"] } else { &property["default"] };
        let need = match default {
            _ if required(name) => "required".to_owned(),
            Value::Null => String::new(),
            default => format!("default `{default}`"),
        };
        let text = property["description"].as_str().or(resolved["description"].as_str()).unwrap_or_default();
        rows.push(format!("| `{prefix}{name}` | {} | {need} | {} |\n", type_name(root, property), cell(text)));
        if depth < 3 && section(property).is_none() {
            nested(root, resolved, &format!("{prefix}{name}."), depth + 1, rows);
            nested(root, resolve(root, &resolved["items"]), &format!("{prefix}{name}[]."), depth + 1, rows);
        }
    }
}

/// The section of a referenced record of the language.
fn section(schema: &Value) -> Option<&str> {
    let name = schema["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    (name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(':')).then_some(name)
}

/// A schema behind its reference, or behind "this or null".
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(path) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) {
        return root.pointer(path).unwrap_or(schema);
    }
    let some = schema["anyOf"].as_array().and_then(|any| {
        let real: Vec<&Value> = any.iter().filter(|v| v["type"] != "null").collect();
        (real.len() == 1).then(|| real[0])
    });
    some.map_or(schema, |inner| resolve(root, inner))
}

fn type_name(root: &Value, schema: &Value) -> String {
    if let Some(name) = section(schema).filter(|_| root["$defs"]["Step"].is_object()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let schema = resolve(root, schema);
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|v| format!("`{}`", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(", ");
    }
    if let Some(any) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let mut names: Vec<String> = any.iter().map(|s| type_name(root, s)).collect();
        names.dedup();
        return names.join(" or ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", schema["const"].as_str().unwrap_or_default());
    }
    let name = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or("any"),
        Value::String(name) => name,
        _ => "any",
    };
    match name {
        "array" if schema["items"].is_object() => format!("list of {}", type_name(root, &schema["items"])),
        "array" => "list".into(),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", type_name(root, &schema["additionalProperties"]))
        }
        other => other.into(),
    }
}

/// A text that stands in a cell of a table.
pub fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
