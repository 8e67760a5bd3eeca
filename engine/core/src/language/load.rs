//! From text to nodes: YAML events into the arena, iteratively, with all limits.
//!
//! What is wrong with the YAML itself is found here: syntax, tabs, tags, duplicate keys, aliases
//! that stand for too much. It knows nothing of trees. Read [`load`] first.

use super::nodes::{Doc, Form, NIL, Node, Ref, count};
use crate::diagnostic::{Diagnostic, Span};
use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span as Place, StrInput, StructureStyle};
use std::collections::HashMap;

/// Levels of nesting, aliases followed.
pub const DEPTH: usize = 64;
/// Bytes of a file.
pub const BYTES: usize = 16 << 20;
/// What aliases may stand for, in times of the file.
const EXPANSION: usize = 10;
/// Files of fewer nodes may expand to this many times [`EXPANSION`] all the same.
const SMALL: usize = 200;
/// Lines that are looked at around the place of a syntax error.
const NEAR: u32 = 8;

/// Reads one file.
///
/// # Errors
/// All that is wrong with it as YAML. The document is there beside the errors where the reader can
/// go on in spite of them (duplicate keys, tags).
pub fn load(text: &str, source: u32) -> (Option<Doc<'_>>, Vec<Diagnostic>) {
    if text.len() > BYTES {
        let help = format!("a tree file has at most {} MiB; move steps to sub-trees (`tree: ./part.yaml`)", BYTES >> 20);
        let found = Diagnostic::error("file-too-large", first(source), format!("the file has {} bytes", text.len())).help(help);
        return (None, vec![found]);
    }
    let mut loader = Loader::new(text, source);
    if let Some(found) = loader.bare_return() {
        return (None, vec![found]);
    }
    match loader.run() {
        Ok(()) => (Some(loader.doc), loader.found),
        Err(error) => {
            loader.found.push(error);
            (None, loader.found)
        }
    }
}

fn first(source: u32) -> Span {
    Span { source, line: 1, column: 1, len: 0 }
}

/// A list or mapping that is not closed yet.
struct Open {
    node: u32,
    last: u32,
    children: usize,
    size: usize,
    height: usize,
    anchor: usize,
    flow: bool,
}

/// What an anchor names.
#[derive(Clone, Copy)]
struct Anchor {
    node: u32,
    size: usize,
    height: usize,
}

struct Loader<'s> {
    doc: Doc<'s>,
    found: Vec<Diagnostic>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchor>,
    expanded: usize,
}

impl<'s> Loader<'s> {
    fn new(text: &'s str, source: u32) -> Self {
        let lines = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| count(i + 1)));
        let doc = Doc { source, text, nodes: Vec::with_capacity(text.len() / 16), root: NIL, lines: lines.collect() };
        Self { doc, found: Vec::new(), open: Vec::new(), anchors: HashMap::new(), expanded: 0 }
    }

    fn run(&mut self) -> Result<(), Diagnostic> {
        let options = granit_parser::options! {
            emit_comments: false, flow_nesting_limit: DEPTH + 1, block_nesting_limit: DEPTH + 1, disallow_directives: true
        };
        let mut parser: Parser<'s, StrInput<'s>> = Parser::new_from_str_with_options(self.doc.text, options);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, place) = event.map_err(|e| self.syntax(&e))?;
            if let Some(tag) = place.tag_start() {
                let span = self.span(&tag, 0);
                self.found.push(
                    Diagnostic::error("tag", span, "a tag has no meaning in a tree file")
                        .help("leave it out; the keys say what type a value has"),
                );
            }
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    let help = "one file is one tree: put the second into a file of its own and name it with `tree:`";
                    return Err(
                        Diagnostic::error("second-document", self.span(&place.start, 3), "a second document begins here").help(help)
                    );
                }
            }
            self.event(event, &place)?;
        }
        if self.doc.root == NIL || (self.doc.nodes.len() == 1 && self.doc.at(self.doc.root).is_null()) {
            let help = "the smallest tree is `tree: NAME` and `steps: { hello: { run: echo hello } }`; `trees init` writes one";
            return Err(Diagnostic::error("empty-file", first(self.doc.source), "the file is empty").help(help));
        }
        if self.expanded > EXPANSION * self.doc.nodes.len().max(SMALL) {
            return Err(self.bomb(first(self.doc.source)));
        }
        Ok(())
    }

    /// YAML takes a carriage return alone for the end of a line, which no editor shows and no script
    /// expects: texts would change, and all places behind it be wrong.
    fn bare_return(&self) -> Option<Diagnostic> {
        let text = self.doc.text;
        let at = text.match_indices('\r').map(|(at, _)| at).find(|at| text.as_bytes().get(at + 1) != Some(&b'\n'))?;
        let before = &text[..at];
        let line = count(before.matches('\n').count()) + 1;
        let column = count(before.rsplit('\n').next().unwrap_or_default().chars().count()) + 1;
        let span = Span { source: self.doc.source, line, column, len: 1 };
        let found = Diagnostic::error("yaml-syntax", span, "a carriage return without a line feed stands here");
        Some(found.help("end lines with LF or CRLF; in a text write it as `\\r` between double quotes"))
    }

    fn event(&mut self, event: Event<'s>, place: &Place) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, anchor, _) => self.scalar(text, style, anchor, place),
            Event::SequenceStart(style, anchor, _) => self.start(Form::List, style, anchor, place),
            Event::MappingStart(style, anchor, _) => self.start(Form::Map, style, anchor, place),
            Event::SequenceEnd | Event::MappingEnd => {
                self.end();
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: std::borrow::Cow<'s, str>, style: ScalarStyle, anchor: usize, place: &Place) -> Result<(), Diagnostic> {
        let one_line = place.start.line() == place.end.line();
        let written = if one_line { place.end.col().saturating_sub(place.start.col()) } else { 0 };
        let form = match style {
            ScalarStyle::Plain if one_line => Form::Plain,
            ScalarStyle::Plain => Form::Folded,
            ScalarStyle::Literal => Form::Block,
            ScalarStyle::Folded => Form::Opaque,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if one_line && written == text.chars().count() + 2 => Form::Quoted,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Form::Opaque,
        };
        let node = Node { form, text, first: NIL, ..self.blank(form, place) };
        let id = self.push(node, 1, 0)?;
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor { node: id, size: 1, height: 0 });
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: &Place) -> Result<(), Diagnostic> {
        let Some(target) = self.anchors.get(&anchor).copied() else {
            let help = "an alias stands for a value that ended before it";
            return Err(
                Diagnostic::error("open-alias", self.span(&place.start, 1), "the alias stands inside the value that it names").help(help)
            );
        };
        let span = self.span(&place.start, place.end.col().saturating_sub(place.start.col()));
        self.expanded = self.expanded.saturating_add(target.size);
        if self.expanded > EXPANSION * self.doc.text.len().max(SMALL) {
            return Err(self.bomb(span));
        }
        if self.open.len() + target.height > DEPTH {
            return Err(deep(span));
        }
        let node = Node { form: Form::Alias, first: target.node, ..self.blank(Form::Alias, place) };
        self.push(node, target.size, target.height).map(drop)
    }

    fn start(&mut self, form: Form, style: StructureStyle, anchor: usize, place: &Place) -> Result<(), Diagnostic> {
        let flow = style == StructureStyle::Flow;
        if form == Form::Map && flow {
            self.braces(place)?;
        }
        let id = self.push(self.blank(form, place), 0, 0)?;
        if self.open.len() >= DEPTH {
            return Err(deep(self.doc.at(id).span()));
        }
        self.open.push(Open { node: id, last: NIL, children: 0, size: 1, height: 1, anchor, flow });
        Ok(())
    }

    /// `{{` outside quotes is a mapping in a mapping for YAML; nobody ever means that.
    fn braces(&self, place: &Place) -> Result<(), Diagnostic> {
        let Some(top) = self.open.last() else { return Ok(()) };
        let outer = &self.doc.nodes[top.node as usize];
        let (line, column) = (count(place.start.line()), count(place.start.col()) + 1);
        let adjacent = top.flow && outer.form == Form::Map && top.children == 0 && outer.line == line && outer.column + 1 == column;
        if adjacent { Err(self.unquoted(outer.line, outer.column)) } else { Ok(()) }
    }

    fn unquoted(&self, line: u32, column: u32) -> Diagnostic {
        let text: String = self.doc.line(line).chars().skip(column as usize - 1).collect();
        let inside = self.open.iter().filter(|o| o.flow).count() > 1;
        let close = text.find("}}").map_or(text.len(), |i| i + 2);
        let written = if inside { &text[..close] } else { text.split(" #").next().unwrap_or(&text).trim_end() };
        let span = Span { source: self.doc.source, line, column, len: count(written.chars().count()) };
        let quote = if written.contains('"') { '\'' } else { '"' };
        Diagnostic::error("unquoted-braces", span, "a value that begins with `{{` must be quoted, else YAML reads it as a mapping")
            .help(format!("quote it: {quote}{written}{quote}"))
    }

    fn end(&mut self) {
        let Some(done) = self.open.pop() else { return };
        if done.anchor != 0 {
            self.anchors.insert(done.anchor, Anchor { node: done.node, size: done.size, height: done.height });
        }
        if let Some(parent) = self.open.last_mut() {
            parent.size = parent.size.saturating_add(done.size);
            parent.height = parent.height.max(done.height + 1);
        }
        if self.doc.nodes[done.node as usize].form == Form::Map {
            self.keys(done.node);
        }
    }

    /// Keys are scalars and stand once.
    fn keys(&mut self, map: u32) {
        let doc = &self.doc;
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut few: Vec<(&str, Span)> = Vec::new();
        let mut key = doc.nodes[map as usize].first;
        while key != NIL {
            let node = doc.at(key);
            match node.scalar() {
                None => self.found.push(Diagnostic::error("key-not-text", node.span(), "a key must be text")),
                Some(text) => {
                    let old = few.iter().find(|(t, _)| *t == text).map(|(_, s)| *s).or_else(|| seen.get(text).copied());
                    if let Some(old) = old {
                        let found = Diagnostic::error("duplicate-key", node.span(), format!("the key `{text}` stands twice"));
                        self.found.push(found.note(old, "first here").help("keep one of them"));
                    } else if few.len() < 16 {
                        few.push((text, node.span()));
                    } else {
                        seen.insert(text, node.span());
                    }
                }
            }
            let value = doc.nodes[key as usize].next;
            if value != NIL && node.is_plain() && node.scalar() == Some("<<") && !merges(doc.at(value)) {
                let found = Diagnostic::error("wrong-type", doc.at(value).span(), "`<<` takes a mapping, or a list of mappings");
                self.found.push(found.help("write an alias of a mapping: `<<: *name`"));
            }
            key = if value == NIL { NIL } else { doc.nodes[value as usize].next };
        }
    }

    fn push(&mut self, node: Node<'s>, size: usize, height: usize) -> Result<u32, Diagnostic> {
        let id = count(self.doc.nodes.len());
        self.doc.nodes.push(node);
        let Some(parent) = self.open.last_mut() else {
            self.doc.root = id;
            return Ok(id);
        };
        parent.size = parent.size.saturating_add(size);
        parent.height = parent.height.max(height + 1);
        parent.children += 1;
        let before = parent.last;
        parent.last = id;
        let parent = parent.node;
        if before == NIL {
            self.doc.nodes[parent as usize].first = id;
        } else {
            self.doc.nodes[before as usize].next = id;
        }
        Ok(id)
    }

    fn blank(&self, form: Form, place: &Place) -> Node<'s> {
        let one_line = place.start.line() == place.end.line();
        let len = match form {
            Form::List | Form::Map => 1,
            _ if one_line => place.end.col().saturating_sub(place.start.col()),
            _ => self.doc.line(count(place.start.line())).chars().count().saturating_sub(place.start.col()),
        };
        Node {
            form,
            text: "".into(),
            line: count(place.start.line()),
            column: count(place.start.col()) + 1,
            len: count(len),
            first: NIL,
            next: NIL,
        }
    }

    fn span(&self, at: &Marker, len: usize) -> Span {
        Span { source: self.doc.source, line: count(at.line()).max(1), column: count(at.col()) + 1, len: count(len) }
    }

    fn bomb(&self, span: Span) -> Diagnostic {
        let message = format!("the aliases of this file stand for more than {EXPANSION} times what it holds");
        Diagnostic::error("alias-expansion", span, message).help("write the values out, or use `foreach` or `matrix` for steps that repeat")
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let span = self.span(error.marker(), 0);
        if *error.kind() == ErrorKind::RecursionLimitExceeded {
            return deep(span);
        }
        if let Some(found) = self.braces_near(span) {
            return found;
        }
        let (code, message, help) = explain(error);
        let open_quote = matches!(
            error.kind(),
            ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent | ErrorKind::DocumentIndicatorInQuotedScalar
        );
        if let Some(opener) = self.quote(span).filter(|_| open_quote) {
            let found = Diagnostic::error(code, opener, "this quote is not closed");
            return found.note(span, "noticed here").help("close it, or double it inside single quotes");
        }
        if let Some(found) = self.keyless(error, span).or_else(|| self.unclosed(span)) {
            return found;
        }
        let found = Diagnostic::error(code, if code == "tab" { self.tab(span) } else { span }, message);
        let found = match help {
            Some(help) => found.help(help),
            None => found,
        };
        match self.open.iter().rev().find(|o| o.flow).map(|o| self.doc.at(o.node)) {
            Some(open) if open.is_list() => found.note(open.span(), "`[` is opened here").help("close it with `]`"),
            Some(open) => found.note(open.span(), "`{` is opened here").help("close it with `}`"),
            None => found,
        }
    }

    /// The quote that opens the value after the last node.
    fn quote(&self, noticed: Span) -> Option<Span> {
        let last = self.doc.nodes.last()?;
        (last.line..=noticed.line).find_map(|line| {
            let after = if line == last.line { last.column + last.len - 1 } else { 0 };
            let at = self.doc.line(line).chars().skip(after as usize).position(|c| matches!(c, '"' | '\''))?;
            Some(Span { source: self.doc.source, line, column: after + count(at) + 1, len: 1 })
        })
    }

    /// The first tab that indents the line of a place or one soon after it (a value begun there
    /// swallows lines), else that place.
    fn tab(&self, span: Span) -> Span {
        let at = |line: u32| {
            let text = self.doc.line(line);
            let blank = text.len() - text.trim_start().len();
            text[..blank].find('\t').map(|i| Span { line, column: count(i) + 1, len: 1, ..span })
        };
        (span.line..span.line + NEAR).find_map(at).unwrap_or(span)
    }

    /// A line without a `key: ` above the line where that is noticed: YAML takes both for one text.
    fn keyless(&self, error: &ScanError, noticed: Span) -> Option<Diagnostic> {
        if !matches!(error.kind(), ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidSimpleKey | ErrorKind::SimpleKeyExpected) {
            return None;
        }
        let line = (1..noticed.line).rev().take(NEAR as usize).find(|l| !self.doc.line(*l).trim().is_empty())?;
        let text = self.doc.line(line);
        let bare = text.trim();
        let is_key = bare.contains(": ") || bare.ends_with(':') || bare.starts_with(['-', '#', '"', '\'']);
        if is_key || indent(text) != indent(self.doc.line(noticed.line)) {
            return None;
        }
        let (word, rest) = bare.split_once([':', ' ']).unwrap_or((bare, ""));
        let span = Span { source: self.doc.source, line, column: indent(text) + 1, len: count(word.chars().count()) };
        let found = Diagnostic::error("yaml-syntax", span, "this line has no `: ` behind its key").note(noticed, "noticed here");
        let value = if rest.trim().is_empty() { "…" } else { rest.trim() };
        Some(found.help(format!("write `{word}: {value}`")))
    }

    /// A bracket that is still open where a line begins that is indented no further than its own.
    fn unclosed(&self, noticed: Span) -> Option<Diagnostic> {
        let open = self.doc.at(self.open.iter().rev().find(|o| o.flow)?.node);
        let (at, text) = (open.span(), self.doc.line(noticed.line));
        if at.line >= noticed.line || indent(text) > indent(self.doc.line(at.line)) || text.trim_start().starts_with([']', '}']) {
            return None;
        }
        let (begin, end) = if open.is_list() { ('[', ']') } else { ('{', '}') };
        let found = Diagnostic::error("yaml-syntax", at, format!("`{begin}` is not closed"));
        Some(found.note(noticed, "noticed here").help(format!("close it with `{end}`")))
    }

    /// A syntax error on, or right after, a line with an unquoted `{{`.
    fn braces_near(&self, span: Span) -> Option<Diagnostic> {
        (span.line.saturating_sub(1).max(1)..=span.line).rev().find_map(|line| {
            let text = self.doc.line(line);
            let at = [": {{", "- {{", "[{{", ", {{"].iter().filter_map(|p| text.find(p).map(|i| i + p.len() - 2)).min()?;
            let quoted = text[..at].matches('"').count() % 2 == 1 || text[..at].matches('\'').count() % 2 == 1;
            let started = self.doc.nodes.iter().rev().take(8).any(|n| n.line == line);
            (!quoted && started).then(|| self.unquoted(line, count(text[..at].chars().count()) + 1))
        })
    }
}

/// Whether a value can stand behind `<<`.
fn merges(value: Ref<'_>) -> bool {
    value.is_map() || value.is_list() && value.items().all(Ref::is_map)
}

/// By how many blanks a line is indented.
fn indent(line: &str) -> u32 {
    count(line.chars().take_while(|c| *c == ' ').count())
}

fn deep(span: Span) -> Diagnostic {
    Diagnostic::error("too-deep", span, format!("nested deeper than {DEPTH} levels"))
        .help("move the inner part to a sub-tree, or pass it as a file")
}

/// A syntax error in our words.
fn explain(error: &ScanError) -> (&'static str, String, Option<&'static str>) {
    use ErrorKind as K;
    let text = |t: &str| t.to_owned();
    match error.kind() {
        K::TabNotAllowed | K::TabInBlockIndentation | K::TabInIndentation | K::TabInPlainScalar | K::TabAtBlockScalarStart => {
            ("tab", text("a tab cannot indent in YAML"), Some("indent with spaces"))
        }
        K::UnknownAnchor => {
            ("unknown-alias", text("the alias names no anchor before it"), Some("write `&name` at the value that it stands for"))
        }
        K::UnclosedQuotedScalar | K::DocumentIndicatorInQuotedScalar | K::InvalidQuotedScalarIndent => {
            ("yaml-syntax", text("a quote is not closed"), Some("close it on the same line, or double it inside single quotes"))
        }
        K::UnclosedFlowCollection { open } => ("yaml-syntax", format!("`{open}` is not closed"), None),
        K::MismatchedFlowCollectionEnd { open, close } => ("yaml-syntax", format!("`{open}` is closed by `{close}`"), None),
        K::DirectiveDisallowed => ("yaml-syntax", text("a directive (`%…`) has no meaning in a tree file"), Some("leave it out")),
        K::MultipleDocumentsUnsupported => ("second-document", text("a second document begins here"), None),
        K::InvalidSimpleKey | K::SimpleKeyExpected => {
            ("yaml-syntax", error.info(), Some("a key ends with `:` and a space; a text with `: ` in it must be quoted"))
        }
        K::MappingValueNotAllowed => {
            ("yaml-syntax", text("a `: ` where no key can stand"), Some("quote the value, or write it as a block after `|`"))
        }
        K::ExpectedBlockMappingKey => {
            ("yaml-syntax", text("this line fits no indentation before it"), Some("indent it as far as its neighbours"))
        }
        K::UnexpectedCharacter { character } => {
            ("yaml-syntax", format!("a value cannot begin with `{character}`"), Some("quote the value"))
        }
        _ => ("yaml-syntax", error.info(), None),
    }
}
