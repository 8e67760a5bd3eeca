//! The JSON Schema (draft 2020-12) of tree files, written from the table of [`super::keys`] and the
//! kinds' own schemas, for editors.

use super::keys::{Form, Key, Names, Record, TREE};
use crate::event::{Json, Object};
use crate::tree::{KindInfo, Kinds};
use serde_json::json;

/// A value that may be an expression.
const BRACES: &str = r"\{\{";

/// The schema of tree files with the inputs of these kinds.
pub fn schema(kinds: &dyn Kinds) -> Json {
    let infos: Vec<&KindInfo> = kinds.names().into_iter().filter_map(|n| kinds.kind(n)).collect();
    let mut definitions = Object::new();
    let mut top = record(&TREE, &mut definitions);
    for info in &infos {
        definitions.insert(name(info), with(info));
    }
    for step in ["Step", "Side", "Undo"] {
        if let Some(step) = definitions.get_mut(step) {
            uses(step, &infos);
        }
    }
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    top["title"] = "trees".into();
    top["$defs"] = Json::Object(definitions);
    top
}

fn name(info: &KindInfo) -> String {
    format!("with:{}", info.name.replace('/', ":"))
}

/// `uses` names a kind, and the kind says what `with` takes.
fn uses(step: &mut Json, infos: &[&KindInfo]) {
    let described = infos.iter().map(|i| json!({ "const": i.name, "description": i.summary }));
    step["properties"]["uses"] =
        json!({ "description": step["properties"]["uses"]["description"], "anyOf": described.collect::<Vec<_>>() });
    let one = |i: &&KindInfo| {
        json!({
            "if": { "properties": { "uses": { "const": i.name } }, "required": ["uses"] },
            "then": { "properties": { "with": { "$ref": format!("#/$defs/{}", name(i)) } } },
        })
    };
    step["allOf"] = infos.iter().map(one).collect();
}

/// A kind's input with room for expressions, its own definitions beside it.
fn with(info: &KindInfo) -> Json {
    let mut schema = info.input.clone();
    let own = format!("#/$defs/{}/$defs/", name(info));
    braces(&mut schema, &own, true);
    if let Json::Object(map) = &mut schema {
        map.remove("$schema");
        map.insert("description".into(), info.summary.clone().into());
    }
    schema
}

/// Lets every value that is no text be an expression too, and moves references to `own`.
fn braces(schema: &mut Json, own: &str, top: bool) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(|i| braces(i, own, false)),
        Json::Object(map) => {
            if let Some(Json::String(target)) = map.get_mut("$ref") {
                *target = target.replacen("#/$defs/", own, 1);
            }
            for key in ["properties", "$defs", "patternProperties"] {
                if let Some(Json::Object(inner)) = map.get_mut(key) {
                    inner.values_mut().for_each(|s| braces(s, own, false));
                }
            }
            for key in ["items", "additionalProperties", "anyOf", "oneOf", "allOf", "prefixItems"] {
                if let Some(inner) = map.get_mut(key) {
                    braces(inner, own, false);
                }
            }
            let narrow = map.get("enum").is_some() || map.get("const").is_some() || map.get("pattern").is_some();
            let typed = map.get("type").is_some_and(|t| *t != "string" && *t != "null");
            if !top && (typed || narrow) {
                let inner = Json::Object(std::mem::take(map));
                let description = inner.get("description").cloned();
                *map = Object::from_iter([("anyOf".to_owned(), json!([inner, { "type": "string", "pattern": BRACES }]))]);
                map.extend(description.map(|d| ("description".to_owned(), d)));
            }
        }
        _ => {}
    }
}

pub(crate) fn record(record: &Record, definitions: &mut Object) -> Json {
    let properties = record.keys.iter().map(|k| (k.name.to_owned(), property(k, definitions))).collect::<Object>();
    let required: Vec<&str> = record.keys.iter().filter(|k| k.required).map(|k| k.name).collect();
    let rest = record.rest.map_or(Json::Bool(false), |f| form(f, definitions));
    let mut schema = json!({ "type": "object", "description": record.doc, "properties": properties, "additionalProperties": rest });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if record.extensible {
        schema["patternProperties"] = json!({ "^x-": true });
    }
    schema
}

fn property(key: &Key, definitions: &mut Object) -> Json {
    let mut schema = form(&key.form, definitions);
    schema["description"] = key.doc.into();
    schema
}

fn form(value: &Form, definitions: &mut Object) -> Json {
    match value {
        Form::Text | Form::Script => json!({ "type": "string" }),
        Form::Template => json!({ "type": ["string", "number", "boolean"] }),
        Form::Value | Form::Literal => json!({}),
        Form::Expression => json!({ "type": ["string", "boolean"] }),
        Form::Flag => json!({ "type": "boolean" }),
        Form::Whole(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Form::Number(min, max) if *min == f64::MIN && *max == f64::MAX => json!({ "type": "number" }),
        Form::Number(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
        Form::Duration => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Form::Limit => json!({ "type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h|d)$" }),
        Form::Percent => json!({ "type": "string", "pattern": "^[0-9.]+%$" }),
        Form::Choice(words) => json!({ "enum": words }),
        Form::RetryOn => json!({ "type": "string", "pattern": "^(failure|timeout|spawn|exit:[0-9]+|signal:[0-9]+)$" }),
        Form::Name(names) => json!({ "type": "string", "pattern": anchored(*names) }),
        Form::List(item) => json!({ "type": "array", "items": form(item, definitions) }),
        Form::Map(names, item) => {
            json!({ "type": "object", "propertyNames": { "pattern": anchored(*names) }, "additionalProperties": form(item, definitions) })
        }
        Form::Record(inner) => {
            if !definitions.contains_key(inner.name) {
                definitions.insert(inner.name.to_owned(), Json::Null);
                let schema = record(inner, definitions);
                definitions.insert(inner.name.to_owned(), schema);
            }
            json!({ "$ref": format!("#/$defs/{}", inner.name) })
        }
        Form::Any(forms) => json!({ "anyOf": forms.iter().map(|f| form(f, definitions)).collect::<Vec<_>>() }),
    }
}

fn anchored(names: Names) -> String {
    format!("^{}$", names.pattern())
}
