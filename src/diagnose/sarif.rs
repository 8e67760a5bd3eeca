//! Diagnostics as SARIF 2.1.0, which code hosts show beside the changed lines.

use super::Findings;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use trees_core::diagnostic::{Diagnostic, Severity, Span};

/// One log with one run of the tool over all files.
pub fn sarif(all: &[Findings]) -> Value {
    let codes: BTreeSet<&str> = all.iter().flat_map(|f| &f.diagnostics).map(|d| d.code.as_str()).collect();
    let rules: Vec<Value> = codes.iter().map(|code| json!({ "id": code, "name": code })).collect();
    let results: Vec<Value> = all.iter().flat_map(|f| f.diagnostics.iter().map(|d| result(f, d))).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "trees", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(findings: &Findings, diagnostic: &Diagnostic) -> Value {
    let text = match &diagnostic.help {
        Some(help) => format!("{}; {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let related: Vec<Value> = diagnostic.notes.iter().map(|(span, text)| with_text(location(findings, span), text)).collect();
    let mut result = json!({
        "ruleId": diagnostic.code,
        "level": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": { "text": text },
        "locations": diagnostic.span.iter().map(|span| location(findings, span)).collect::<Vec<_>>(),
    });
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    result
}

fn with_text(mut location: Value, text: &str) -> Value {
    location["message"] = json!({ "text": text });
    location
}

fn location(findings: &Findings, span: &Span) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(&findings.name(span)) } });
    if span.line > 0 {
        physical["region"] = json!({ "startLine": span.line, "startColumn": span.column, "endColumn": span.column + span.len.max(1) });
    }
    json!({ "physicalLocation": physical })
}

/// A relative reference: what is no letter of a path is percent-encoded.
fn uri(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~' | b'/');
    let encoded = name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") });
    let path: String = encoded.collect();
    if path.starts_with('/') { format!("file://{path}") } else { path }
}
