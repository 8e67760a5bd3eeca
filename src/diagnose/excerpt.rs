//! One diagnostic for a person: message, place, the source line with a caret, further places, cure.
//!
//! A file may have a hundred thousand mistakes, and a line a million characters: the places of a
//! text are counted once, and of a long line only what is near is drawn.

use super::Findings;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::ops::Range;
use trees_core::diagnostic::{self, Diagnostic, Places, Severity, Span, Style};

/// Bytes of a line, or of the lines between two places, that are drawn as they are.
const LONG: usize = 8 << 10;
/// Characters that are taken of a longer line, before and behind the place.
const AROUND: u32 = 200;

/// All of some findings.
pub struct Excerpts<'a> {
    findings: &'a Findings,
    places: Vec<Places<'a>>,
    renderer: Renderer,
}

impl<'a> Excerpts<'a> {
    /// As text, with colour if that was decided.
    pub fn of(findings: &'a Findings, color: bool) -> Self {
        let whole = diagnostic::Origin { style: Style::Block { line: 1, indent: 0 }, ..diagnostic::Origin::default() };
        let places = findings.sources.files.iter().map(|file| Places::new(whole, &file.text)).collect();
        Self { findings, places, renderer: if color { Renderer::styled() } else { Renderer::plain() } }
    }

    /// One of them.
    pub fn draw(&self, diagnostic: &Diagnostic) -> String {
        let title = level(diagnostic.severity).primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
        let place = diagnostic.span.filter(|s| s.line > 0);
        let placed = diagnostic.span.is_some();
        let mut shifts = Vec::new();
        let mut group = match (place, diagnostic.span) {
            (Some(span), _) => {
                let nothing: [Snippet<'_, Annotation<'_>>; 0] = [];
                self.with_places(diagnostic, span, title.elements(nothing), &mut shifts)
            }
            (None, Some(span)) => title.element(Origin::path(self.findings.name(&span))),
            (None, None) => Group::with_title(title),
        };
        // Without a place there is no margin to hang the cure on.
        let help = diagnostic.help.as_deref();
        if let Some(help) = help.filter(|_| placed) {
            group = group.element(Level::HELP.message(help));
        }
        let text = self.renderer.render(&[group]);
        let text = shifts.iter().fold(text, |text, shift| text.replacen(&shift.drawn, &shift.right, 1));
        match help.filter(|_| !placed) {
            Some(help) => format!("{text}\n  = help: {help}"),
            None => text,
        }
    }

    /// The primary place and the notes: those of the same text within reach in one snippet.
    fn with_places<'d>(&self, diagnostic: &'d Diagnostic, primary: Span, mut group: Group<'d>, shifts: &mut Vec<Shift>) -> Group<'d> {
        let notes = diagnostic.notes.iter().filter(|(s, _)| s.line > 0);
        let (close, far): (Vec<_>, Vec<_>) = notes.partition(|(s, _)| self.near(s, &primary));
        if self.is_long(&primary) {
            group = group.element(self.crop(&primary, AnnotationKind::Primary, None, shifts));
        } else {
            let lines = close.iter().map(|(s, _)| s.line).chain([primary.line]);
            let window = self.window(&primary, lines);
            let mut snippet = window.snippet(self.findings.name(&primary));
            snippet = snippet.annotation(AnnotationKind::Primary.span(self.range(&window, &primary)));
            for (span, text) in close {
                snippet = snippet.annotation(AnnotationKind::Context.span(self.range(&window, span)).label(text.as_str()));
            }
            group = group.element(snippet);
        }
        for (span, text) in far {
            if self.is_long(span) {
                group = group.element(self.crop(span, AnnotationKind::Context, Some(text), shifts));
                continue;
            }
            let window = self.window(span, [span.line].into_iter());
            let annotation = AnnotationKind::Context.span(self.range(&window, span)).label(text.as_str());
            group = group.element(window.snippet(self.findings.name(span)).annotation(annotation));
        }
        group
    }

    fn line(&self, span: &Span, line: u32) -> Range<usize> {
        self.places.get(span.source as usize).map_or(0..0, |places| places.line(line))
    }

    fn is_long(&self, span: &Span) -> bool {
        self.line(span, span.line).len() > LONG
    }

    /// Whether both can stand in one window.
    fn near(&self, span: &Span, primary: &Span) -> bool {
        let (first, last) = (span.line.min(primary.line), span.line.max(primary.line));
        span.source == primary.source
            && last - first <= 40
            && self.line(span, last).end.saturating_sub(self.line(span, first).start) <= LONG
    }

    fn window(&self, span: &Span, lines: impl Iterator<Item = u32> + Clone) -> Window<'a> {
        let first = lines.clone().min().unwrap_or(1).max(1);
        let last = lines.max().unwrap_or(first);
        let bytes = self.line(span, first).start..self.line(span, last).end;
        let text = self.places.get(span.source as usize).and_then(|places| places.text().get(bytes.clone()));
        Window { first, start: bytes.start, text: text.unwrap_or("") }
    }

    /// The bytes of a place in the window.
    fn range(&self, window: &Window<'_>, span: &Span) -> Range<usize> {
        let Some(places) = self.places.get(span.source as usize) else { return 0..0 };
        let at = |column| places.byte(span.line, column).saturating_sub(window.start).min(window.text.len());
        let from = at(span.column);
        from..at(span.column.saturating_add(span.len)).max(from)
    }

    /// A place in a long line: what stands near it, under the column that it has there; [`Shift`] says
    /// the right one.
    fn crop<'d>(
        &self,
        span: &Span,
        kind: AnnotationKind,
        label: Option<&'d String>,
        shifts: &mut Vec<Shift>,
    ) -> Snippet<'d, Annotation<'d>> {
        let window = self.cut(span);
        let mut annotation = kind.span(self.range(&window, span));
        if let Some(label) = label {
            annotation = annotation.label(label.as_str());
        }
        let name = self.findings.name(span);
        let column = AROUND.min(span.column.saturating_sub(1)) + 1;
        let place = |column: u32| format!("{name}:{}:{column}", span.line);
        shifts.push(Shift { drawn: place(column), right: place(span.column) });
        window.snippet(name).annotation(annotation)
    }

    /// What stands near a place on its line.
    fn cut(&self, span: &Span) -> Window<'a> {
        let Some(places) = self.places.get(span.source as usize) else { return Window { first: span.line, start: 0, text: "" } };
        let start = places.byte(span.line, span.column.saturating_sub(AROUND).max(1));
        let end = places.byte(span.line, span.column.saturating_add(AROUND));
        Window { first: span.line, start, text: places.text().get(start..end).unwrap_or("") }
    }
}

/// The place of a long line as it was drawn, and as it is.
struct Shift {
    drawn: String,
    right: String,
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    }
}

/// The lines of a text that are shown.
struct Window<'a> {
    first: u32,
    /// The byte at which they begin.
    start: usize,
    text: &'a str,
}

impl Window<'_> {
    fn snippet<'d>(&self, name: String) -> Snippet<'d, Annotation<'d>> {
        Snippet::source(self.text.to_owned()).line_start(self.first as usize).path(name).fold(true)
    }
}
