//! What is wrong with a text, drawn: an excerpt with a caret for people, JSON and SARIF for
//! programs. It knows no command and decides no exit code.

mod excerpt;
mod sarif;

pub use excerpt::Excerpts;
pub use sarif::sarif;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};
use trees_core::diagnostic::{Diagnostic, Severity, Span};
use trees_core::language::Sources;

/// Diagnostics with the texts they are about and the names people know them by.
pub struct Findings {
    /// All that is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts.
    pub sources: Sources,
    /// What stands before a text's name when it is shown (`sub/`), so that it can be opened from here.
    pub prefix: String,
}

impl Findings {
    /// A text's name as shown.
    pub fn name(&self, span: &Span) -> String {
        let name = self.sources.files.get(span.source as usize).map_or("", |s| s.name.as_str());
        if name.starts_with('/') { name.to_owned() } else { format!("{}{name}", self.prefix) }
    }

    /// How many are errors, how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.diagnostics.iter().filter(|d| d.is_error()).count();
        (errors, self.diagnostics.len() - errors)
    }

    /// One object a diagnostic, as `check --format json` prints it.
    pub fn json(&self) -> impl Iterator<Item = Value> {
        self.diagnostics.iter().map(|d| self.one(d))
    }

    fn one(&self, d: &Diagnostic) -> Value {
        let place = d.span.filter(|s| s.line > 0);
        json!({
            "code": d.code,
            "severity": severity(d.severity),
            "message": d.message,
            "file": d.span.map(|s| self.name(&s)),
            "line": place.map(|s| s.line),
            "column": place.map(|s| s.column),
            "help": d.help,
        })
    }
}

/// The document that `check --format json` prints. Written one diagnostic after the other, as a file
/// may have a hundred thousand.
pub struct Document<'a>(pub &'a [Findings]);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(Some(3))?;
        document.serialize_entry("diagnostics", &List(self.0))?;
        document.serialize_entry("schema", "trees/check")?;
        document.serialize_entry("version", &1)?;
        document.end()
    }
}

struct List<'a>(&'a [Findings]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flat_map(Findings::json))
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
