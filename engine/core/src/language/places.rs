//! From a [`Span`] back to the text it is about: names of files, their lines.

use super::{Source, Sources};
use crate::diagnostic::Span;

impl Sources {
    /// The file that a span is about.
    pub fn file(&self, span: Span) -> Option<&Source> {
        self.files.get(span.source as usize)
    }

    /// The name of that file; empty where there is none.
    pub fn name(&self, span: Span) -> &str {
        self.file(span).map_or("", |f| &f.name)
    }

    /// The line that a span begins on, without its end; `None` where there is no place.
    pub fn line(&self, span: Span) -> Option<&str> {
        self.file(span)?.text.lines().nth((span.line as usize).checked_sub(1)?)
    }

    /// `tree.yaml:3:5`, as compilers write it; the name alone where there is no place.
    pub fn place(&self, span: Span) -> String {
        match (self.name(span), span.line) {
            (name, 0) => name.to_owned(),
            (name, line) => format!("{name}:{line}:{}", span.column),
        }
    }

    /// The index of a file by its name, as [`Span::source`] has it.
    pub fn index(&self, name: &str) -> Option<u32> {
        self.files.iter().position(|f| f.name == name).and_then(|i| u32::try_from(i).ok())
    }

    /// The bytes of the text that a span covers, of an excerpt's source.
    pub fn range(&self, span: Span) -> Option<std::ops::Range<usize>> {
        let text = &self.file(span)?.text;
        let line = self.line(span)?;
        let start = line.as_ptr() as usize - text.as_ptr() as usize;
        let at = |n: u32| line.char_indices().map(|(i, _)| i).nth(n as usize).unwrap_or(line.len());
        let column = span.column.checked_sub(1)?;
        Some(start + at(column)..start + at(column.saturating_add(span.len)))
    }
}
