//! YAML as nodes with places: a flat arena, first child and next sibling, text borrowed from the
//! source, an alias as a reference to what it stands for.
//!
//! Knows nothing of trees. Read [`Doc`] first; it is made by [`super::load`].

use crate::diagnostic::{Origin, Span, Style};
use crate::event::{Json, Object};
use std::borrow::Cow;
use std::collections::HashSet;

/// No node.
pub const NIL: u32 = u32::MAX;

/// How a node is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A scalar without quotes.
    Plain,
    /// A scalar in quotes, on one line and without escapes.
    Quoted,
    /// A scalar after `|`.
    Block,
    /// A scalar whose text has no simple relation to its place (folded, escaped, over many lines).
    Opaque,
    /// A plain scalar over several lines.
    Folded,
    /// A list.
    List,
    /// A mapping; its children are keys and values in turn.
    Map,
    /// A reference to the node `first`.
    Alias,
}

/// One node. Lines and columns count from 1, columns in characters.
#[derive(Debug)]
pub struct Node<'s> {
    /// How it is written.
    pub form: Form,
    /// Its text, of a scalar.
    pub text: Cow<'s, str>,
    /// The line of its first character.
    pub line: u32,
    /// The column of its first character.
    pub column: u32,
    /// Its length on that line in characters; 1 for lists and mappings.
    pub len: u32,
    /// The first child, or what an alias stands for.
    pub first: u32,
    /// The next sibling.
    pub next: u32,
}

/// One file as nodes.
#[derive(Debug)]
pub struct Doc<'s> {
    /// Its index in the sources.
    pub source: u32,
    /// Its text.
    pub text: &'s str,
    /// All nodes.
    pub nodes: Vec<Node<'s>>,
    /// The top one.
    pub root: u32,
    /// The byte at which each line begins.
    pub lines: Vec<u32>,
}

/// A node in its document: what all readers pass around.
#[derive(Clone, Copy)]
pub struct Ref<'d> {
    doc: &'d Doc<'d>,
    id: u32,
}

/// A key with its value.
#[derive(Clone, Copy)]
pub struct Entry<'d> {
    /// The key.
    pub key: Ref<'d>,
    /// The value.
    pub value: Ref<'d>,
}

impl<'d> Doc<'d> {
    /// The node of that number.
    pub fn at(&'d self, id: u32) -> Ref<'d> {
        Ref { doc: self, id }
    }

    /// The text of a line (from 1) without its end.
    pub fn line(&self, line: u32) -> &'d str {
        let start = self.lines.get(line.saturating_sub(1) as usize).map_or(self.text.len(), |b| *b as usize);
        self.text[start..].split('\n').next().unwrap_or("").trim_end_matches('\r')
    }

    /// The parser gives the first character that is no blank: its column is the indentation.
    fn block_style(node: &Node<'_>) -> Style {
        let blank = node.text.bytes().take_while(|b| *b == b'\n').count();
        Style::Block { line: node.line.saturating_sub(count(blank)), indent: node.column - 1 }
    }
}

impl<'d> Ref<'d> {
    fn written(self) -> &'d Node<'d> {
        &self.doc.nodes[self.id as usize]
    }

    /// The node itself, an alias followed.
    pub fn node(self) -> &'d Node<'d> {
        let node = self.written();
        if node.form == Form::Alias { &self.doc.nodes[node.first as usize] } else { node }
    }

    /// Where it stands (an alias: where the alias stands).
    pub fn span(self) -> Span {
        let node = self.written();
        Span { source: self.doc.source, line: node.line, column: node.column, len: node.len }
    }

    /// The place from which offsets in its text count.
    pub fn origin(self) -> Origin {
        let (node, written) = (self.node(), self.written());
        let span = Span { source: self.doc.source, line: node.line, column: node.column, len: node.len };
        let style = match node.form {
            Form::Plain | Form::List | Form::Map | Form::Alias => Style::Plain,
            Form::Quoted => Style::Quoted,
            Form::Block => Doc::block_style(node),
            Form::Opaque | Form::Folded => Style::Opaque,
        };
        if written.form == Form::Alias { Origin { span: self.span(), style: Style::Opaque } } else { Origin { span, style } }
    }

    /// The text of a scalar.
    pub fn scalar(self) -> Option<&'d str> {
        let node = self.node();
        match node.form {
            Form::Plain | Form::Quoted | Form::Block | Form::Opaque | Form::Folded => Some(&node.text),
            Form::List | Form::Map | Form::Alias => None,
        }
    }

    /// Whether it is a scalar without quotes, whose text may be a number or the like.
    pub fn is_plain(self) -> bool {
        matches!(self.node().form, Form::Plain | Form::Folded)
    }

    /// Whether it is a list.
    pub fn is_list(self) -> bool {
        self.node().form == Form::List
    }

    /// Whether it is a mapping.
    pub fn is_map(self) -> bool {
        self.node().form == Form::Map
    }

    /// Whether it is a scalar that is text: in quotes, or nothing else by the core schema.
    pub fn is_text(self) -> bool {
        let node = self.node();
        match node.form {
            Form::Plain | Form::Folded => {
                let sure = node
                    .text
                    .bytes()
                    .next()
                    .is_some_and(|b| b.is_ascii_alphabetic() && !matches!(b, b't' | b'T' | b'f' | b'F' | b'n' | b'N'));
                sure || matches!(plain(&node.text), Json::String(_))
            }
            Form::Quoted | Form::Block | Form::Opaque => true,
            Form::List | Form::Map | Form::Alias => false,
        }
    }

    /// Whether it is nothing: `null`, `~` or no value at all.
    pub fn is_null(self) -> bool {
        self.is_plain() && matches!(self.node().text.as_ref(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The items of a list; none of anything else.
    pub fn items(self) -> Children<'d> {
        let node = self.node();
        Children { doc: self.doc, next: if node.form == Form::List { node.first } else { NIL } }
    }

    /// The entries of a mapping with those that `<<` brings in; none of anything else.
    pub fn entries(self) -> Vec<Entry<'d>> {
        let mut out = Vec::new();
        let mut merged = Vec::new();
        self.own_entries(&mut out, &mut merged);
        if merged.is_empty() {
            return out;
        }
        let mut seen: HashSet<&str> = out.iter().filter_map(|e| e.key.scalar()).collect();
        merged.reverse();
        while let Some(from) = merged.pop() {
            let (mut own, mut more) = (Vec::new(), Vec::new());
            from.own_entries(&mut own, &mut more);
            out.extend(own.into_iter().filter(|e| e.key.scalar().is_some_and(|k| seen.insert(k))));
            more.reverse();
            merged.append(&mut more);
        }
        out
    }

    fn own_entries(self, out: &mut Vec<Entry<'d>>, merged: &mut Vec<Ref<'d>>) {
        let node = self.node();
        let mut key = if node.form == Form::Map { node.first } else { NIL };
        while key != NIL {
            let value = self.doc.nodes[key as usize].next;
            if value == NIL {
                return;
            }
            let entry = Entry { key: self.doc.at(key), value: self.doc.at(value) };
            if entry.is_merge() {
                if entry.value.is_list() { merged.extend(entry.value.items()) } else { merged.push(entry.value) }
            } else {
                out.push(entry);
            }
            key = self.doc.nodes[value as usize].next;
        }
    }

    /// The value of a key; `None` where it is absent or this is no mapping.
    pub fn get(self, name: &str) -> Option<Ref<'d>> {
        self.entry(name).map(|e| e.value)
    }

    /// A key with its value.
    pub fn entry(self, name: &str) -> Option<Entry<'d>> {
        let node = self.node();
        let mut key = if node.form == Form::Map { node.first } else { NIL };
        let mut merges = false;
        while key != NIL {
            let value = self.doc.nodes[key as usize].next;
            if value == NIL {
                break;
            }
            let entry = Entry { key: self.doc.at(key), value: self.doc.at(value) };
            if entry.is_merge() {
                merges = true;
            } else if entry.key.scalar() == Some(name) {
                return Some(entry);
            }
            key = self.doc.nodes[value as usize].next;
        }
        if merges { self.entries().into_iter().find(|e| e.key.scalar() == Some(name)) } else { None }
    }

    /// As JSON: plain scalars by the YAML core schema, the others as text.
    pub fn json(self) -> Json {
        let node = self.node();
        match node.form {
            Form::Plain | Form::Folded => plain(&node.text),
            Form::Quoted | Form::Block | Form::Opaque => Json::String(node.text.clone().into_owned()),
            Form::List => Json::Array(self.items().map(Ref::json).collect()),
            Form::Map => {
                let pairs = self.entries().into_iter().filter_map(|e| Some((e.key.scalar()?.to_owned(), e.value.json())));
                Json::Object(pairs.collect::<Object>())
            }
            Form::Alias => Json::Null,
        }
    }

    /// What it is, with an article: "a list".
    pub fn what(self) -> &'static str {
        if self.is_list() {
            "a list"
        } else if self.is_map() {
            "a mapping"
        } else {
            match self.json() {
                Json::Null => "nothing",
                Json::Bool(_) => "true or false",
                Json::Number(_) => "a number",
                _ => "text",
            }
        }
    }
}

impl Entry<'_> {
    fn is_merge(&self) -> bool {
        let key = self.key.node();
        key.form == Form::Plain && key.text == "<<"
    }
}

/// The items of a list, one after the other.
pub struct Children<'d> {
    doc: &'d Doc<'d>,
    next: u32,
}

impl<'d> Iterator for Children<'d> {
    type Item = Ref<'d>;

    fn next(&mut self) -> Option<Ref<'d>> {
        if self.next == NIL {
            return None;
        }
        let item = self.doc.at(self.next);
        self.next = self.doc.nodes[self.next as usize].next;
        Some(item)
    }
}

/// A plain scalar by the YAML core schema.
fn plain(text: &str) -> Json {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Json::Null,
        "true" | "True" | "TRUE" => return Json::Bool(true),
        "false" | "False" | "FALSE" => return Json::Bool(false),
        _ => {}
    }
    number(text).unwrap_or_else(|| Json::String(text.to_owned()))
}

fn number(text: &str) -> Option<Json> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Json::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok().map(Json::from);
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let whole = text.strip_prefix('+').unwrap_or(text);
        return whole.parse::<i64>().map(Json::from).or_else(|_| whole.parse::<u64>().map(Json::from)).ok();
    }
    let float = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let value = if float { text.parse::<f64>().ok()? } else { return None };
    serde_json::Number::from_f64(value).map(Json::Number)
}

/// A count as it stands in spans.
pub fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
