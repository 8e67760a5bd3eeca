//! What every test here needs: a few step kinds, a loader over texts, and short forms.

use serde_json::json;
use std::collections::BTreeMap;
use trees_core::diagnostic::Diagnostic;
use trees_core::language::{self, Checked, Loader, Source, join};
use trees_core::tree::{Effect, KindInfo, Kinds, ValueType};

/// Step kinds for tests.
pub struct Catalogue(Vec<KindInfo>);

impl Kinds for Catalogue {
    fn kind(&self, name: &str) -> Option<&KindInfo> {
        self.0.iter().find(|k| k.name == name)
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|k| k.name.as_str()).collect()
    }
}

fn kind(name: &str, input: serde_json::Value, outputs: &[(&str, ValueType)], effect: Effect) -> KindInfo {
    KindInfo {
        name: name.into(),
        summary: format!("does {name}"),
        doc: String::new(),
        input,
        outputs: outputs.iter().map(|(n, t)| ((*n).to_owned(), *t, String::new())).collect(),
        effect,
        observes: true,
        undoes: effect == Effect::External,
        reads_only: effect == Effect::None,
        repeats: false,
        deploys: name.starts_with("deploy/"),
        file_inputs: Vec::new(),
        revision: 1,
        example: String::new(),
    }
}

/// `deploy/process` and `http/check`.
pub fn kinds() -> Catalogue {
    let process = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "command"],
        "properties": {
            "name": { "type": "string", "description": "The process's name." },
            "release": { "type": ["string", "null"] },
            "command": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            "files": { "type": "object", "additionalProperties": { "type": "string" } },
            "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
            "health": { "type": "string", "pattern": "^/" },
            "keep": { "$ref": "#/$defs/Keep" },
            "limits": { "anyOf": [{ "$ref": "#/$defs/Limits" }, { "type": "null" }] },
        },
        "$defs": {
            "Keep": { "enum": ["all", "last", "none"] },
            "Limits": {
                "type": "object",
                "additionalProperties": false,
                "properties": { "memory": { "type": "string" }, "cpus": { "type": "number", "minimum": 0 } },
            },
        },
    });
    let check = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["url"],
        "properties": {
            "url": { "type": "string" },
            "contains": { "type": "string" },
            "status": { "type": "integer" },
            "follow": { "type": "boolean" },
        },
    });
    let outputs = [("url", ValueType::String), ("pid", ValueType::Integer)];
    Catalogue(vec![
        kind("deploy/process", process, &outputs, Effect::External),
        kind("http/check", check, &[("status", ValueType::Integer), ("headers", ValueType::Object)], Effect::None),
    ])
}

/// Files by name.
#[derive(Default)]
pub struct Folder(pub BTreeMap<String, String>);

impl Loader for Folder {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = join(from, path);
        let text = self.0.get(&name).cloned().ok_or_else(|| format!("no file `{name}`"))?;
        Ok(Source { name, text })
    }
}

/// Checks a text as `tree.yaml` beside these files.
pub fn check(text: &str, files: &[(&str, &str)]) -> Checked {
    let folder = Folder(files.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect());
    language::check(Source { name: "tree.yaml".into(), text: text.into() }, &folder, &kinds())
}

/// `code line:column`, one a line.
pub fn shown(found: &[Diagnostic]) -> String {
    let one = |d: &Diagnostic| {
        assert!(language::codes().iter().any(|(code, _)| *code == d.code), "`{}` is not among the codes", d.code);
        let span = d.span.unwrap_or_default();
        let source = if span.source == 0 { String::new() } else { format!("{}:", span.source) };
        format!("{} {source}{}:{}", d.code, span.line, span.column)
    };
    found.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A text that must check.
pub fn good(text: &str) -> std::sync::Arc<trees_core::tree::Tree> {
    let checked = check(text, &[]);
    assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
    checked.tree.unwrap_or_else(|| panic!("no tree and no diagnostic"))
}
