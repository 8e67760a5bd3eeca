//! One diagnostic for a person: message, place, the source line with a caret, further places, cure.

use super::Findings;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;
use trees_core::diagnostic::{Diagnostic, Severity, Span};

/// As text, with colour if that was decided.
pub fn excerpt(findings: &Findings, diagnostic: &Diagnostic, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let title = level(diagnostic.severity).primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
    let place = diagnostic.span.filter(|s| s.line > 0);
    let placed = diagnostic.span.is_some();
    let mut group = match (place, diagnostic.span) {
        (Some(span), _) => {
            with_places(findings, diagnostic, span, title.elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new()))
        }
        (None, Some(span)) => title.element(annotate_snippets::Origin::path(findings.name(&span))),
        (None, None) => Group::with_title(title),
    };
    // Without a place there is no margin to hang the cure on.
    let help = diagnostic.help.as_deref();
    if let Some(help) = help.filter(|_| placed) {
        group = group.element(Level::HELP.message(help));
    }
    let text = renderer.render(&[group]);
    match help.filter(|_| !placed) {
        Some(help) => format!("{text}\n  = help: {help}"),
        None => text,
    }
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    }
}

/// The primary place and the notes: those of the same text within reach in one snippet.
fn with_places<'a>(findings: &'a Findings, diagnostic: &'a Diagnostic, primary: Span, mut group: Group<'a>) -> Group<'a> {
    let near = |span: &Span| span.line > 0 && span.source == primary.source && span.line.abs_diff(primary.line) <= 40;
    let (close, far): (Vec<_>, Vec<_>) = diagnostic.notes.iter().filter(|(s, _)| s.line > 0).partition(|(s, _)| near(s));
    let lines = close.iter().map(|(s, _)| s.line).chain([primary.line]);
    let window = Window::around(findings.text(&primary), lines);
    let mut snippet = window.snippet(findings.name(&primary));
    snippet = snippet.annotation(AnnotationKind::Primary.span(window.range(&primary)));
    for (span, text) in close {
        snippet = snippet.annotation(AnnotationKind::Context.span(window.range(span)).label(text.as_str()));
    }
    group = group.element(snippet);
    for (span, text) in far {
        let window = Window::around(findings.text(span), [span.line].into_iter());
        let annotation = AnnotationKind::Context.span(window.range(span)).label(text.as_str());
        group = group.element(window.snippet(findings.name(span)).annotation(annotation));
    }
    group
}

/// The lines of a text that are shown; a text may have a million.
struct Window {
    first: u32,
    text: String,
}

impl Window {
    fn around(text: &str, lines: impl Iterator<Item = u32> + Clone) -> Self {
        let first = lines.clone().min().unwrap_or(1).max(1);
        let last = lines.max().unwrap_or(first);
        let count = (last - first + 1) as usize;
        let shown: Vec<&str> = text.lines().skip(first as usize - 1).take(count).collect();
        Self { first, text: shown.join("\n").trim_start_matches('\u{feff}').to_owned() }
    }

    fn snippet<'a>(&self, name: String) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        Snippet::source(self.text.clone()).line_start(self.first as usize).path(name).fold(true)
    }

    /// The bytes of a place in the window.
    fn range(&self, span: &Span) -> Range<usize> {
        let before = (span.line - self.first) as usize;
        let start: usize = self.text.split('\n').take(before).map(|l| l.len() + 1).sum();
        let line = self.text.split('\n').nth(before).unwrap_or("");
        let at = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(i, _)| i);
        let column = (span.column as usize).saturating_sub(1);
        let from = (start + at(column)).min(self.text.len());
        let to = (start + at(column + span.len as usize)).min(self.text.len());
        from..to.max(from)
    }
}
