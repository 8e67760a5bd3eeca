//! What is wrong with a text, as data: all at once, each with its place and its cure.
//!
//! Nothing here draws; the binary turns a [`Diagnostic`] into an excerpt, JSON or SARIF.

use serde::{Deserialize, Serialize};
use std::ops::Range;

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
        let message = visible(message.into());
        Self { code: code.into(), severity: Severity::Error, message, span: Some(span), notes: Vec::new(), help: None }
    }

    /// A warning at a place.
    pub fn warning(code: &str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Adds the cure.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(visible(help.into()));
        self
    }

    /// Adds a further place.
    #[must_use]
    pub fn note(mut self, span: Span, text: impl Into<String>) -> Self {
        self.notes.push((span, visible(text.into())));
        self
    }

    /// Whether it stops the tree from running.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The text with what nobody sees written out: two keys that look the same are told apart by it.
fn visible(text: String) -> String {
    if !text.contains(is_hidden) {
        return text;
    }
    text.chars().fold(String::with_capacity(text.len() + 16), |mut shown, c| {
        if is_hidden(c) {
            shown.extend(c.escape_unicode())
        } else {
            shown.push(c)
        }
        shown
    })
}

/// A control character, or one without a width of its own. Lines may be several.
fn is_hidden(c: char) -> bool {
    let formats = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c != '\n' && (c.is_control() || formats)
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
    /// The place of `text[start..end]`, as [`Places::at`] says; for one place only.
    pub fn at(&self, text: &str, start: usize, end: usize) -> Span {
        Places::new(*self, text).at(start, end)
    }
}

/// The places of a scalar's text: made once for a text, so that a thousand mistakes in it cost no
/// more than a thousand times one.
#[derive(Debug, Clone)]
pub struct Places<'t> {
    origin: Origin,
    text: &'t str,
    /// The byte at which each line begins.
    lines: Vec<usize>,
    /// How many characters stand before each [`STRIDE`] bytes.
    counts: Vec<usize>,
}

/// Bytes between two counts.
const STRIDE: usize = 256;

impl<'t> Places<'t> {
    /// Of this text, which stands there.
    pub fn new(origin: Origin, text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let mut before = 0;
        let counts = text.as_bytes().chunks(STRIDE).map(|chunk| {
            let first = before;
            before += starts(chunk);
            first
        });
        Self { origin, text, lines: std::iter::once(0).chain(breaks).collect(), counts: counts.collect() }
    }

    /// The text.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The bytes of a line of the text, from 1, without its end.
    pub fn line(&self, line: u32) -> Range<usize> {
        let row = (line as usize).saturating_sub(1);
        let start = self.lines.get(row).copied().unwrap_or(self.text.len());
        let end = self.lines.get(row + 1).map_or(self.text.len(), |next| next - 1);
        start..start + self.text.get(start..end).map_or(0, |t| t.strip_suffix('\r').unwrap_or(t).len())
    }

    /// The byte of a line's character, from 1; behind the line's end, that end.
    pub fn byte(&self, line: u32, column: u32) -> usize {
        let Range { start, end } = self.line(line);
        let wanted = self.characters(start) + (column as usize).saturating_sub(1);
        // The chunk in which that character begins, and how many of its characters are before it.
        let chunk = self.counts.partition_point(|before| *before <= wanted).saturating_sub(1);
        let skip = wanted - self.counts.get(chunk).copied().unwrap_or(0);
        let rest = self.text.as_bytes().get(chunk * STRIDE..end).unwrap_or_default();
        let begins = rest.iter().enumerate().filter(|(_, b)| **b & 0xC0 != 0x80).nth(skip);
        begins.map_or(end, |(n, _)| chunk * STRIDE + n)
    }

    /// The place of `text[start..end]`. Exact for block and one-line scalars without escapes;
    /// else the scalar's first place.
    pub fn at(&self, start: usize, end: usize) -> Span {
        let origin = &self.origin;
        let len = self.text.get(start..end).map_or(0, |t| t.lines().next().unwrap_or("").chars().count());
        let start = start.min(self.text.len());
        let row = self.lines.partition_point(|line| *line <= start) - 1;
        let column = self.characters(start) - self.characters(self.lines[row]);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match origin.style {
            Style::Block { line, indent } => {
                Span { line: line + count(row), column: indent + count(column) + 1, len: count(len), ..origin.span }
            }
            Style::Opaque => origin.span,
            Style::Plain | Style::Quoted if row > 0 => origin.span,
            Style::Plain => Span { column: origin.span.column + count(column), len: count(len), ..origin.span },
            Style::Quoted => Span { column: origin.span.column + 1 + count(column), len: count(len), ..origin.span },
        }
    }

    /// How many characters begin before this byte.
    fn characters(&self, at: usize) -> usize {
        let chunk = (at / STRIDE).min(self.counts.len().saturating_sub(1));
        self.counts.get(chunk).copied().unwrap_or(0) + self.text.as_bytes().get(chunk * STRIDE..at).map_or(0, starts)
    }
}

/// How many characters begin in these bytes.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Origin, Places, Span, Style};

    #[test]
    fn what_nobody_sees_is_written_out() {
        let said = Diagnostic::error("x", Span::default(), "ti\u{200b}me\0out\u{202e}").help("é\n\u{feff}");
        assert_eq!((said.message.as_str(), said.help.as_deref()), ("ti\\u{200b}me\\u{0}out\\u{202e}", Some("é\n\\u{feff}")));
    }

    #[test]
    fn a_place_is_the_same_however_far_it_stands_in_the_text() {
        let span = Span { source: 1, line: 7, column: 3, len: 9 };
        let text = "aé日\u{1F333} x\n".repeat(90) + "é日";
        let whole = Places::new(Origin { span, style: Style::Block { line: 1, indent: 0 } }, &text);
        for (at, found) in text.char_indices().filter(|(_, found)| *found != '\n') {
            let place = whole.at(at, at + found.len_utf8());
            assert_eq!(whole.byte(place.line, place.column), at);
        }
        assert_eq!((whole.byte(1, 99), whole.byte(999, 9)), (text.lines().next().map_or(0, str::len), text.len()));
        for style in [Style::Plain, Style::Quoted, Style::Block { line: 8, indent: 4 }, Style::Opaque] {
            let places = Places::new(Origin { span, style }, &text);
            for (at, found) in text.char_indices() {
                let before = &text[..at];
                let (row, line) = (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or(""));
                let (row, column) = (u32::try_from(row).unwrap_or(0), u32::try_from(line.chars().count()).unwrap_or(0));
                let wanted = match style {
                    Style::Block { .. } => (8 + row, 4 + column + 1),
                    Style::Opaque => (7, 3),
                    Style::Plain | Style::Quoted if row > 0 => (7, 3),
                    Style::Plain => (7, 3 + column),
                    Style::Quoted => (7, 4 + column),
                };
                let place = places.at(at, at + found.len_utf8());
                assert_eq!((place.line, place.column), wanted, "{style:?} {at}");
            }
        }
    }
}
