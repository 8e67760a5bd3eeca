//! The lexical half of the scanner: quotes, expansions, substitutions and words of the POSIX shell
//! family. It walks the text once, meets each mark (`{{ … }}`) where it stands and gives it a
//! [`Verdict`]. What it cannot read with certainty it gives up on, and the rest is refused.

use super::grammar::End;
use super::verdict::{self as why, Place, Reason, Verdict};
use std::collections::HashSet;
use std::ops::Range;

/// How deep substitutions may nest.
const DEPTH: usize = 60;

/// How far a closing bracket is looked for.
pub(super) const NEAR: usize = 4096;

/// The quotes around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    Bare,
    Double,
    Here,
}

/// A here-document whose body begins after the next newline.
#[derive(Debug)]
pub(super) struct Pending {
    pub delimiter: Vec<u8>,
    pub quoted: bool,
    pub tabs: bool,
    /// What reads it takes it as code.
    pub refused: Option<&'static Reason>,
    pub foreign: Option<&'static Reason>,
}

/// The state of one walk.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    pub text: &'a [u8],
    pub at: usize,
    pub end: usize,
    pub marks: &'a [(usize, usize)],
    /// The first mark that has not been met.
    pub next: usize,
    pub verdicts: Vec<Verdict>,
    pub pending: Vec<Pending>,
    /// Every mark is refused for this reason.
    pub forbid: Option<&'static Reason>,
    /// Gave up.
    pub broken: bool,
    depth: usize,
    /// Variables declared with `-i`.
    pub integers: Vec<Vec<u8>>,
    /// Variables that take a value, and which.
    pub assigned: Vec<(Vec<u8>, Range<usize>)>,
    /// The texts that a shell evaluates as arithmetic.
    pub evaluated: Vec<Range<usize>>,
}

/// Where each mark stands.
pub(super) fn places(text: &str, marks: &[(usize, usize)]) -> Vec<Verdict> {
    let unread = Verdict { place: Place::Bare, refused: Some(why::UNREADABLE), foreign: None };
    let mut scanner = Scanner {
        text: text.as_bytes(),
        at: 0,
        end: text.len(),
        marks,
        next: 0,
        verdicts: vec![unread; marks.len()],
        pending: Vec::new(),
        forbid: None,
        broken: false,
        depth: 0,
        integers: Vec::new(),
        assigned: Vec::new(),
        evaluated: Vec::new(),
    };
    scanner.list(End::Text);
    scanner.warn_of_variables();
    scanner.verdicts
}

impl Scanner<'_> {
    /// The byte `n` after this one; 0 behind the end.
    pub fn byte(&self, n: usize) -> u8 {
        if self.at + n < self.end { self.text[self.at + n] } else { 0 }
    }

    pub fn done(&self) -> bool {
        self.broken || self.at >= self.end
    }

    /// Gives up: all marks from here on are refused.
    pub fn give_up(&mut self) {
        self.broken = true;
        for verdict in &mut self.verdicts[self.next..] {
            verdict.refused = Some(why::UNREADABLE);
        }
    }

    /// Whether a mark begins here.
    pub fn on_mark(&self) -> bool {
        self.marks.get(self.next).is_some_and(|m| m.0 == self.at)
    }

    /// Passes a mark if one begins here.
    pub fn mark(&mut self, place: Place) -> bool {
        if !self.on_mark() {
            return false;
        }
        let end = self.marks[self.next].1;
        if end > self.end {
            self.give_up();
            return true;
        }
        self.verdicts[self.next] = Verdict { place, refused: self.forbid, foreign: None };
        self.next += 1;
        self.at = end;
        true
    }

    fn refuse_mark(&mut self, reason: &'static Reason) -> bool {
        let found = self.next;
        let passed = self.mark(Place::Bare);
        if passed && !self.broken {
            self.verdicts[found].refused = Some(self.forbid.unwrap_or(reason));
        }
        passed
    }

    /// Walks to `to`, refusing every mark on the way.
    pub fn skip(&mut self, to: usize, reason: &'static Reason) {
        while !self.broken && self.at < to {
            if !self.refuse_mark(reason) {
                self.at += 1;
            }
        }
    }

    /// Does `walk` with every mark refused, unless a reason stands already.
    pub fn forbidding(&mut self, reason: &'static Reason, walk: impl FnOnce(&mut Self)) {
        let before = self.forbid;
        self.forbid = before.or(Some(reason));
        walk(self);
        self.forbid = before;
    }

    /// Does `walk` one level deeper, or gives up.
    pub fn deeper(&mut self, walk: impl FnOnce(&mut Self)) {
        if self.depth >= DEPTH {
            return self.give_up();
        }
        self.depth += 1;
        walk(self);
        self.depth -= 1;
    }

    /// `x={{ value }}; echo $((x))`: bash evaluates what is in the variable.
    fn warn_of_variables(&mut self) {
        let mut read: HashSet<&[u8]> = HashSet::new();
        for range in &self.evaluated {
            read.extend(self.text[range.clone()].split(|b| !b.is_ascii_alphanumeric() && *b != b'_'));
        }
        for (name, marks) in &self.assigned {
            if read.contains(&name[..]) {
                for verdict in &mut self.verdicts[marks.clone()] {
                    verdict.foreign = verdict.foreign.or(Some(why::VARIABLE));
                }
            }
        }
    }

    // ---- quotes --------------------------------------------------------------------------------

    /// On a backslash: it and what it escapes.
    pub fn escape(&mut self) {
        self.at += 1;
        if !self.refuse_mark(why::ESCAPED) && self.at < self.end {
            self.at += 1;
        }
    }

    /// On `'`.
    pub fn single(&mut self) {
        self.at += 1;
        while !self.done() {
            if self.mark(Place::Single) {
                continue;
            }
            self.at += 1;
            if self.text[self.at - 1] == b'\'' {
                return;
            }
        }
        self.give_up();
    }

    /// On `"`.
    pub fn double(&mut self) {
        self.at += 1;
        while !self.done() {
            if self.mark(Place::Double) {
                continue;
            }
            match self.byte(0) {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'\\' => self.escape(),
                b'$' => self.dollar(Quote::Double),
                b'`' => self.backquote(),
                _ => self.at += 1,
            }
        }
        self.give_up();
    }

    /// The body of a here-document that is expanded, up to the end.
    pub fn body(&mut self) {
        while !self.done() {
            if self.mark(Place::Double) {
                continue;
            }
            match self.byte(0) {
                b'\\' => self.escape(),
                b'$' => self.dollar(Quote::Here),
                b'`' => self.backquote(),
                _ => self.at += 1,
            }
        }
    }

    /// On the quote of `$'…'`.
    fn ansi(&mut self) {
        self.at += 1;
        while !self.done() {
            if self.refuse_mark(why::ANSI) {
                continue;
            }
            match self.byte(0) {
                b'\'' => {
                    self.at += 1;
                    return;
                }
                b'\\' => self.escape(),
                _ => self.at += 1,
            }
        }
        self.give_up();
    }

    // ---- expansions ----------------------------------------------------------------------------

    /// On `$`.
    pub fn dollar(&mut self, quote: Quote) {
        self.at += 1;
        if self.refuse_mark(why::ESCAPED) {
            return;
        }
        match (self.byte(0), self.byte(1)) {
            (b'(', b'(') => {
                self.at += 2;
                self.deeper(|s| s.forbidding(why::ARITHMETIC, Self::arithmetic));
            }
            (b'(', _) => {
                self.at += 1;
                self.nested_list();
            }
            (b'{', _) => {
                self.at += 1;
                self.deeper(|s| s.braces(quote));
            }
            (b'[', _) => self.bracket(why::ARITHMETIC),
            (b'\'', _) if quote == Quote::Bare => self.ansi(),
            (c, _) if c.is_ascii_alphabetic() || c == b'_' => {
                while self.byte(0).is_ascii_alphanumeric() || self.byte(0) == b'_' {
                    self.at += 1;
                }
                if self.byte(0) == b'[' {
                    self.bracket(why::SUBSCRIPT);
                }
            }
            (b'0'..=b'9' | b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!', _) => self.at += 1,
            _ => {}
        }
    }

    /// On `[` behind `$` or a name: some shells evaluate it, others take it as text. Marks up to its
    /// `]` on this line are refused; nothing else is decided.
    fn bracket(&mut self, reason: &'static Reason) {
        let reach = self.end.min(self.at + NEAR);
        let line = self.text[self.at..reach].iter().position(|b| *b == b'\n').map_or(reach, |n| self.at + n);
        let close = self.text[self.at..line].iter().position(|b| *b == b']').map_or(line, |n| self.at + n);
        if self.marks.get(self.next).is_some_and(|m| m.0 < close) {
            self.next_refused(close, reason);
        }
    }

    /// Walks to `to` where everything in between is refused; gives up if quotes stand in between.
    fn next_refused(&mut self, to: usize, reason: &'static Reason) {
        while !self.done() && self.at < to {
            if self.refuse_mark(reason) {
                continue;
            }
            if matches!(self.byte(0), b'\'' | b'"' | b'`' | b'\\') {
                return self.give_up();
            }
            self.at += 1;
        }
    }

    /// After `((`, up to and with its `))`.
    pub fn arithmetic(&mut self) {
        let (start, mut open) = (self.at, 0usize);
        while !self.done() {
            if self.mark(Place::Bare) {
                continue;
            }
            match self.byte(0) {
                b'(' => open += 1,
                b')' if open > 0 => open -= 1,
                b')' if self.byte(1) == b')' => {
                    self.evaluated.push(start..self.at);
                    self.at += 2;
                    return;
                }
                b')' | b'\'' => return self.give_up(),
                b'"' => {
                    self.double();
                    continue;
                }
                b'\\' => {
                    self.escape();
                    continue;
                }
                b'$' => {
                    self.dollar(Quote::Double);
                    continue;
                }
                b'`' => {
                    self.backquote();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.give_up();
    }

    /// After `${`, up to and with its `}`.
    fn braces(&mut self, quote: Quote) {
        if matches!(self.byte(0), b'#' | b'!') && self.byte(1) != b'}' {
            self.at += 1;
        }
        let start = self.at;
        while self.byte(0).is_ascii_alphanumeric() || self.byte(0) == b'_' {
            self.at += 1;
        }
        if self.at == start && matches!(self.byte(0), b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!') {
            self.at += 1;
        }
        if self.byte(0) == b'[' && !self.on_mark() {
            self.forbidding(why::SUBSCRIPT, Self::subscript);
        }
        let op = if self.byte(0) == b':' { self.byte(1) } else { self.byte(0) };
        let colon = self.byte(0) == b':';
        if self.on_mark() {
            return self.forbidding(why::SUBSTRING, |s| s.operand(quote, false));
        }
        match op {
            b'-' | b'=' | b'+' | b'?' => self.operand(quote, false),
            b'#' | b'%' | b'/' | b'^' | b',' if !colon && quote == Quote::Here => {
                self.forbidding(why::HERE_PATTERN, |s| s.operand(quote, true))
            }
            b'#' | b'%' | b'/' | b'^' | b',' if !colon => self.operand(quote, true),
            _ => self.forbidding(why::SUBSTRING, |s| s.operand(quote, false)),
        }
    }

    /// On `[`, up to and with its `]`.
    pub(super) fn subscript(&mut self) {
        let mut open = 0usize;
        while !self.done() {
            if self.mark(Place::Bare) {
                continue;
            }
            match self.byte(0) {
                b'[' => open += 1,
                b']' => open -= 1,
                b'\'' => {
                    self.single();
                    continue;
                }
                b'"' => {
                    self.double();
                    continue;
                }
                b'\\' => {
                    self.escape();
                    continue;
                }
                b'$' => {
                    self.dollar(Quote::Double);
                    continue;
                }
                b'`' => {
                    self.backquote();
                    continue;
                }
                b'\n' => return self.give_up(),
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return;
            }
        }
        self.give_up();
    }

    /// The operator and word of `${name…}`, up to and with the `}`. In a pattern a value is quoted
    /// even inside double quotes, so that nothing in it is a wildcard.
    fn operand(&mut self, quote: Quote, pattern: bool) {
        let place = if quote == Quote::Bare || pattern { Place::Bare } else { Place::Double };
        while !self.done() {
            if self.mark(place) {
                continue;
            }
            match self.byte(0) {
                b'}' => {
                    self.at += 1;
                    return;
                }
                b'\\' => self.escape(),
                b'\'' if quote == Quote::Bare => self.single(),
                b'\'' if pattern => self.forbidding(why::NESTED, Self::single),
                b'"' if quote == Quote::Here => self.forbidding(why::NESTED, Self::double),
                b'"' => self.double(),
                b'$' if pattern => self.forbidding(why::NESTED, |s| s.dollar(quote)),
                b'$' => self.dollar(quote),
                b'`' => self.backquote(),
                b'\n' if pattern => return self.give_up(),
                _ => self.at += 1,
            }
        }
        self.give_up();
    }

    /// On a backquote.
    pub fn backquote(&mut self) {
        self.at += 1;
        let (mut stop, mut mark, mut hidden) = (self.at, self.next, false);
        while stop < self.end && self.text[stop] != b'`' {
            if let Some(m) = self.marks.get(mark).filter(|m| m.0 == stop) {
                stop = m.1;
                mark += 1;
                continue;
            }
            if self.text[stop] == b'\\' {
                hidden = true;
                stop += 1;
            }
            stop += 1;
        }
        if stop >= self.end {
            return self.give_up();
        }
        if hidden {
            self.skip(stop, why::BACKTICK);
        } else {
            self.deeper(|s| s.within(stop, |s| s.list(End::Text)));
        }
        if self.at != stop {
            return self.give_up();
        }
        self.at += 1;
    }

    /// Does `walk` as if the text ended at `stop`, with here-documents of its own.
    pub fn within(&mut self, stop: usize, walk: impl FnOnce(&mut Self)) {
        let (end, outer) = (std::mem::replace(&mut self.end, stop), std::mem::take(&mut self.pending));
        walk(self);
        self.end = end;
        if !self.pending.is_empty() {
            self.give_up();
        }
        self.pending = outer;
    }

    /// Where the line of `from` ends: its newline, or the end.
    pub fn line_end(&self, from: usize) -> usize {
        self.text[from..self.end].iter().position(|b| *b == b'\n').map_or(self.end, |n| from + n)
    }

    /// After an opening parenthesis: commands, up to and with the closing one.
    pub(super) fn nested_list(&mut self) {
        self.deeper(|s| {
            let outer = std::mem::take(&mut s.pending);
            s.list(End::Parenthesis);
            if !s.pending.is_empty() {
                s.give_up();
            }
            s.pending = outer;
        });
    }
}
