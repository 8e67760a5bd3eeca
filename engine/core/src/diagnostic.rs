//! What is wrong with a text, as data: all at once, each with its place and its cure.
//!
//! Nothing here draws; the binary turns a [`Diagnostic`] into an excerpt, JSON or SARIF.

use serde::{Deserialize, Serialize};

/// A place in a source text. `source` indexes [`crate::language::Sources`]; lines and columns count
/// from 1, columns in characters; `len` is in characters and 0 where only the point is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Span {
    /// Which of the loaded files.
    pub source: u32,
    /// Line, from 1; 0 where there is no place.
    pub line: u32,
    /// Column in characters, from 1; 0 where there is no place.
    pub column: u32,
    /// Length in characters on that line; 0 where only the point is known.
    pub len: u32,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The tree is not run.
    Error,
    /// The tree is run; `check --strict` counts it as an error.
    Warning,
}

/// One thing that is wrong, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable kebab-case code, `unknown-key`.
    pub code: String,
    /// Error or warning.
    pub severity: Severity,
    /// One lower-case sentence without a full stop.
    pub message: String,
    /// Where; `None` where no place exists (a missing file).
    pub span: Option<Span>,
    /// Further places with a word each ("first here").
    pub notes: Vec<(Span, String)>,
    /// The cure, one sentence.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &str, span: Span, message: impl Into<String>) -> Self {
        Self { code: code.into(), severity: Severity::Error, message: message.into(), span: Some(span), notes: Vec::new(), help: None }
    }

    /// A warning at a place.
    pub fn warning(code: &str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Adds the cure.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a further place.
    #[must_use]
    pub fn note(mut self, span: Span, text: impl Into<String>) -> Self {
        self.notes.push((span, text.into()));
        self
    }

    /// Whether it stops the tree from running.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Where a scalar's text stands in its file, so that an offset in the text gives a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// Of the scalar as written, its quotes or its `|` included.
    pub span: Span,
    /// How it is written.
    pub style: Style,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Style {
    /// Without quotes, on one line.
    #[default]
    Plain,
    /// In single or double quotes: the text begins one column later.
    Quoted,
    /// After `|` or `>`: the text's first line is `line`, each line indented by `indent`.
    Block {
        /// Line of the first line of text, from 1.
        line: u32,
        /// Columns taken off each line.
        indent: u32,
    },
    /// Its text has no simple relation to its place (folded, with escapes, over several lines).
    Opaque,
}

impl Origin {
    /// The place of `text[start..end]`. Exact for block and one-line scalars without escapes;
    /// else the scalar's first place.
    pub fn at(&self, text: &str, start: usize, end: usize) -> Span {
        let before = text.get(..start).unwrap_or(text);
        let len = text.get(start..end).map_or(0, |t| t.lines().next().unwrap_or("").chars().count());
        let row = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match self.style {
            Style::Block { line, indent } => {
                Span { line: line + count(row), column: indent + count(column) + 1, len: count(len), ..self.span }
            }
            Style::Opaque => self.span,
            Style::Plain | Style::Quoted if row > 0 => self.span,
            Style::Plain => Span { column: self.span.column + count(column), len: count(len), ..self.span },
            Style::Quoted => Span { column: self.span.column + 1 + count(column), len: count(len), ..self.span },
        }
    }
}
