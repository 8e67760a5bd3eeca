//! Expressions and templates of tree values: found by a parser of our own (so that every
//! reference is known before the run), evaluated by Tera with typed results.

mod calls;
mod evaluate;
mod lexer;
mod library;
mod literals;
mod parser;
mod template;

pub use library::{Argument, Entry, filters, functions, scope_names, tests};
pub use template::as_text;
pub(crate) use template::{close, first_name, inside};

use crate::diagnostic::{Diagnostic, Origin, Places, Span};
use crate::event::{Json, Object};

/// One expression, `steps.build.outputs.sha | default(value="")`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// As written, without braces.
    pub source: String,
    /// Where it stands.
    pub span: Span,
    /// All names it reads.
    pub references: Vec<Reference>,
    /// Functions it calls: `failed`, `cancelled`, ….
    pub calls: Vec<String>,
}

/// One name an expression reads, with its path.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// `["steps", "build", "outputs", "sha"]`.
    pub path: Vec<Segment>,
    /// It may be undefined: `| default(…)`, `is defined`, `?.`.
    pub soft: bool,
    /// Where it stands.
    pub span: Span,
}

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// `.name` or `["name"]`.
    Name(String),
    /// `[0]`.
    Index(usize),
    /// `[expression]`.
    Dynamic,
}

/// A value of a tree file that may hold `{{ … }}` anywhere inside.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// No expression inside.
    Value(Json),
    /// Text around expressions; evaluates to a string.
    Text(Vec<Part>),
    /// One whole expression; keeps its type.
    Whole(Expr),
    /// A list with an expression somewhere inside.
    List(Vec<Template>),
    /// A mapping with an expression somewhere inside.
    Map(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// As it stands.
    Literal(String),
    /// An expression; strings as they are, other values as JSON.
    Expr(Expr),
}

impl Expr {
    /// Parses `source`, whose first byte is the one at `offset` of the text that has these places.
    ///
    /// # Errors
    /// A syntax error, an unknown filter or function, a call with positional arguments.
    pub fn parse(source: &str, places: &Places<'_>, offset: usize) -> Result<Self, Diagnostic> {
        let place = |start: usize, end: usize| places.at(offset + start, offset + end);
        let parsed = parser::parse(source).map_err(|fault| {
            let found = Diagnostic::error("expression", place(fault.start, fault.end), fault.message);
            if let Some(help) = fault.help { found.help(help) } else { found }
        })?;
        evaluate::compile(source, &parsed).map_err(|message| Diagnostic::error("expression", place(0, source.len()), message))?;
        let references = parsed.chains.iter().filter(|c| !c.bound);
        Ok(Self {
            source: source.to_owned(),
            span: place(0, source.len()),
            references: references.map(|c| Reference { path: c.path.clone(), soft: c.soft, span: place(c.start, c.end) }).collect(),
            calls: parsed.calls,
        })
    }

    /// Parses the text of a key that is an expression with or without braces: `if`, `items`, `key`.
    ///
    /// # Errors
    /// As [`Expr::parse`].
    pub fn parse_bare(text: &str, origin: &Origin) -> Result<Self, Diagnostic> {
        let lead = text.len() - text.trim_start().len();
        let trimmed = text.trim();
        let places = Places::new(*origin, text);
        if trimmed.starts_with("{{") && close(text, lead) == Some(lead + trimmed.len()) {
            let (source, offset) = inside(text, lead, lead + trimmed.len());
            return Self::parse(source, &places, offset);
        }
        Self::parse(trimmed, &places, lead)
    }

    /// The text, if the whole expression is one text in quotes.
    pub fn constant(&self) -> Option<String> {
        parser::parse(&self.source).ok().and_then(|p| p.text)
    }

    /// Evaluates with exactly these names in scope.
    ///
    /// # Errors
    /// One sentence: an undefined name, a wrong type.
    pub fn evaluate(&self, names: &Object) -> Result<Json, String> {
        evaluate::evaluate(&self.source, names)
    }

    /// Evaluates a condition: `false`, `null`, `0`, `""`, `[]` and `{}` are false.
    ///
    /// # Errors
    /// As [`Expr::evaluate`].
    pub fn test(&self, names: &Object) -> Result<bool, String> {
        self.evaluate(names).map(|value| evaluate::truth(&value))
    }
}

impl Reference {
    /// The first name of the path.
    pub fn root(&self) -> &str {
        match self.path.first() {
            Some(Segment::Name(name)) => name,
            Some(Segment::Index(_) | Segment::Dynamic) | None => "",
        }
    }

    /// As a person writes it: `steps["a-b"].outputs.sha`.
    pub fn written(&self) -> String {
        evaluate::written(&self.path)
    }
}

#[cfg(test)]
mod check;
#[cfg(test)]
mod check_template;
