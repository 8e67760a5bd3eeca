//! What every diagnostic must be: a sentence with a code, at a place that is in its text.

use trees_core::diagnostic::{Diagnostic, Origin, Span, Style};

/// Where a text begins that is a file of its own.
pub fn top() -> Origin {
    Origin { span: Span { source: 0, line: 1, column: 1, len: 0 }, style: Style::Block { line: 1, indent: 0 } }
}

/// Each is said, and each that has a place has one in its text.
pub fn hold(found: &[Diagnostic], texts: &[&str]) {
    for diagnostic in found {
        assert!(!diagnostic.code.is_empty() && !diagnostic.message.is_empty(), "{diagnostic:?} says nothing");
        let notes = diagnostic.notes.iter().map(|(span, _)| span);
        for span in diagnostic.span.iter().chain(notes) {
            assert!(is_in(span, texts), "{diagnostic:?} is outside of its text");
        }
    }
}

/// As [`hold`], where a place can always be known.
pub fn hold_with_place(found: &[Diagnostic], texts: &[&str]) {
    hold(found, texts);
    for diagnostic in found {
        assert!(diagnostic.span.is_some(), "{diagnostic:?} names no place");
    }
}

/// A line of the text, or the one behind its last; on it, or right behind its end.
fn is_in(span: &Span, texts: &[&str]) -> bool {
    let Some(text) = texts.get(span.source as usize) else { return false };
    let line = (span.line as usize).checked_sub(1).and_then(|at| text.split('\n').nth(at));
    line.is_some_and(|line| (1..=line.chars().count() + 1).contains(&(span.column as usize)))
}
