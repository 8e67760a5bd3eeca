//! Words: what the scanner keeps of one, and how it reads it.

use super::scan::{NEAR, Quote, Scanner};
use super::verdict::{self as why, Place};
use std::ops::Range;

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Its text without quotes; a mark is `\x01`, an expansion `\x02`.
    pub literal: Vec<u8>,
    /// How much of it stands before the first quote, mark or expansion.
    bare: usize,
    quoted: bool,
    /// It holds `"$@"` or its like, which may be no word at all.
    list: bool,
    start: usize,
    end: usize,
    /// The marks in it, those in its substitutions included.
    pub marks: Range<usize>,
}

pub(super) const MARK: u8 = 1;
const EXPANSION: u8 = 2;

impl Word {
    pub fn begin(start: usize, mark: usize) -> Self {
        Self { literal: Vec::new(), bare: 0, quoted: false, list: false, start, end: start, marks: mark..mark }
    }

    pub fn end(&mut self, at: usize, mark: usize) {
        self.end = at;
        self.marks.end = mark;
    }

    /// Its bytes in the script.
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.bare == self.literal.len() && !self.quoted {
            self.bare += bytes.len();
        }
        self.literal.extend_from_slice(bytes);
    }

    pub fn quoted(&mut self, bytes: &[u8]) {
        self.quoted = true;
        self.literal.extend_from_slice(bytes);
    }

    pub fn mark(&mut self) {
        self.literal.push(MARK);
    }

    pub fn expansion(&mut self) {
        self.literal.push(EXPANSION);
    }

    /// It holds an expansion to any number of words, in spite of its quotes.
    pub fn list(&mut self) {
        self.list = true;
    }

    /// It may turn out to be no word at all.
    pub fn may_vanish(&self) -> bool {
        (self.list || !self.quoted) && !self.literal.is_empty() && self.literal.iter().all(|b| *b == EXPANSION)
    }

    pub fn is_empty(&self) -> bool {
        self.literal.is_empty() && !self.quoted
    }

    fn bare(&self) -> &[u8] {
        &self.literal[..self.bare]
    }

    fn is_all_bare(&self) -> bool {
        !self.quoted && self.bare == self.literal.len()
    }

    /// A name so far, without quotes.
    pub fn is_name(&self) -> bool {
        self.is_all_bare() && is_name(&self.literal)
    }

    /// `name=` or `name+=` so far, without quotes.
    pub fn is_assignment_head(&self) -> bool {
        self.is_all_bare() && assigned(&self.literal) == Some(self.literal.len())
    }

    /// Ends with what begins a pattern group.
    pub fn ends_with_glob(&self) -> bool {
        self.is_all_bare() && matches!(self.literal.last(), Some(b'?' | b'*' | b'+' | b'@' | b'!'))
    }

    pub fn is_bang(&self) -> bool {
        self.literal == b"!"
    }

    /// `2` or `{fd}` directly before a redirection.
    pub fn is_descriptor(&self) -> bool {
        let bytes = &self.literal;
        self.is_all_bare()
            && !bytes.is_empty()
            && (bytes.iter().all(u8::is_ascii_digit)
                || bytes.len() > 2 && bytes[0] == b'{' && bytes.ends_with(b"}") && is_name(&bytes[1..bytes.len() - 1]))
    }

    /// Its text, if nothing of it is replaced.
    pub fn text(&self) -> Option<&str> {
        if self.literal.iter().any(|b| matches!(*b, MARK | EXPANSION)) {
            return None;
        }
        std::str::from_utf8(&self.literal).ok()
    }

    /// Its text, if it may be a keyword.
    pub fn reserved(&self) -> Option<&str> {
        if self.is_all_bare() && self.marks.is_empty() { self.text() } else { None }
    }

    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    pub fn begins_with_mark(&self) -> bool {
        self.literal.first() == Some(&MARK)
    }

    /// The variable it assigns, as a prefix of a command.
    pub fn assigns(&self) -> Option<&[u8]> {
        let end = assigned(self.bare())?;
        Some(name_of(&self.literal[..end]))
    }

    pub fn is_option(&self) -> bool {
        self.literal.len() > 1 && matches!(self.literal[0], b'-')
    }

    /// The command it names, without its folder.
    pub fn command(&self) -> Option<&str> {
        self.text().map(|t| t.rsplit('/').next().unwrap_or(t))
    }

    /// A short option or a cluster of them with this letter in it.
    pub fn has_flag(&self, letter: u8) -> bool {
        self.is_option() && self.literal[1] != b'-' && self.literal[1..].contains(&letter)
    }
}

fn is_name(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_') && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// Behind the `=` of `name=`, `name+=` or `name[]=`.
pub(super) fn assigned(bytes: &[u8]) -> Option<usize> {
    let equals = bytes.iter().position(|b| *b == b'=')?;
    is_name(name_of(&bytes[..=equals])).then_some(equals + 1)
}

/// The name in `name=`, `name+=`, `name[]=`.
pub(super) fn name_of(head: &[u8]) -> &[u8] {
    let head = head.strip_suffix(b"=").unwrap_or(head);
    let head = head.strip_suffix(b"+").unwrap_or(head);
    head.strip_suffix(b"[]").unwrap_or(head)
}

impl Scanner<'_> {
    /// One word. `assigns`: `name=(…)` and `name[…]=` can stand here.
    pub fn word(&mut self, assigns: bool) -> Word {
        let mut word = Word::begin(self.at, self.next);
        while !self.done() {
            let before = self.at;
            if self.mark(Place::Bare) {
                word.mark();
                continue;
            }
            match self.byte(0) {
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b')' => break,
                b'<' | b'>' if self.byte(1) == b'(' && word.is_empty() => {
                    self.at += 2;
                    self.nested_list();
                    word.expansion();
                }
                b'<' | b'>' => break,
                b'(' if assigns && word.is_assignment_head() => {
                    self.at += 1;
                    self.array();
                    word.expansion();
                }
                b'(' if word.ends_with_glob() && !word.is_bang() => {
                    self.group();
                    word.expansion();
                }
                b'(' => break,
                b'[' if assigns && word.is_name() && self.assigned_subscript() => {
                    self.forbidding(why::SUBSCRIPT, Self::subscript);
                    word.push(b"[]");
                }
                b'\\' if self.byte(1) == b'\n' => self.at += 2,
                b'\\' => {
                    self.escape();
                    word.quoted(&self.text[(before + 1).min(self.at)..self.at]);
                }
                b'\'' | b'"' => self.quoted(&mut word),
                b'$' if self.byte(1) == b'"' => self.at += 1,
                b'$' => {
                    self.dollar(Quote::Bare);
                    word.expansion();
                }
                b'`' => {
                    self.backquote();
                    word.expansion();
                }
                other => {
                    word.push(&[other]);
                    self.at += 1;
                }
            }
        }
        word.end(self.at, self.next);
        word
    }

    /// On a quote inside a word: keeps what is plain in it.
    fn quoted(&mut self, word: &mut Word) {
        let (start, first) = (self.at + 1, self.next);
        if self.byte(0) == b'"' {
            self.double()
        } else {
            self.single()
        }
        let inner = &self.text[start..self.at.saturating_sub(1).max(start)];
        if self.next > first {
            // A mark directly inside, or one in a substitution: told apart by what stands before it.
            word.quoted(&self.text[start..self.marks[first].0]);
            word.mark();
        } else if self.text[start - 1] == b'"' && inner.iter().any(|b| matches!(b, b'$' | b'`')) {
            let plain = inner.iter().position(|b| matches!(b, b'$' | b'`')).unwrap_or(0);
            word.quoted(&inner[..plain]);
            word.expansion();
            if inner.contains(&b'@') {
                word.list();
            }
        } else {
            word.quoted(inner);
        }
    }

    /// Whether the `[` here is closed on this line with a `=` behind.
    fn assigned_subscript(&self) -> bool {
        let reach = &self.text[self.at..self.end.min(self.at + NEAR)];
        let line = reach.split(|b| *b == b'\n').next().unwrap_or(reach);
        line.windows(2).any(|w| w == b"]=") || line.windows(3).any(|w| w == b"]+=")
    }

    /// After `name=(`: words up to and with the `)`.
    fn array(&mut self) {
        while !self.done() {
            match self.byte(0) {
                b' ' | b'\t' | b'\n' => self.at += 1,
                b'\\' if self.byte(1) == b'\n' => self.at += 2,
                b'#' => self.skip(self.line_end(self.at), why::COMMENT),
                b')' => {
                    self.at += 1;
                    return;
                }
                b'[' if !self.on_mark() => {
                    let (start, first) = (self.at, self.next);
                    let word = self.word(false);
                    let key = self.text[start..self.at].windows(2).position(|w| w == b"]=").map_or(self.at, |n| start + n);
                    for n in first..word.marks.end {
                        if self.marks[n].0 < key {
                            self.verdicts[n].refused = Some(why::SUBSCRIPT);
                        }
                    }
                }
                _ => {
                    let before = self.at;
                    self.word(false);
                    if self.at == before {
                        return self.give_up();
                    }
                }
            }
        }
        self.give_up();
    }

    /// On the `(` of a pattern like `@(a|b)`.
    fn group(&mut self) {
        let mut open = 0usize;
        while !self.done() {
            if self.mark(Place::Bare) {
                continue;
            }
            match self.byte(0) {
                b'\'' => self.single(),
                b'"' => self.double(),
                b'\\' => self.escape(),
                b'$' => self.dollar(Quote::Bare),
                b'`' => self.backquote(),
                b'\n' => return self.give_up(),
                other => {
                    self.at += 1;
                    match other {
                        b'(' => open += 1,
                        b')' => open -= 1,
                        _ => {}
                    }
                    if open == 0 {
                        return;
                    }
                }
            }
        }
        self.give_up();
    }
}
