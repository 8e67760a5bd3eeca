//! The grammatical half of the scanner: commands, compound commands, redirections and
//! here-documents, as far as they decide where a value stands and what reads it.

use super::rules::{self, Finding};
use super::scan::{Pending, Scanner};
use super::verdict::{self as why, Place, Reason};
use super::words::Word;

/// What ends a list of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The end of the text.
    Text,
    /// A closing parenthesis.
    Parenthesis,
}

/// What has been opened in a list; the number is the first mark of its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nest {
    /// `(`
    Parenthesis(usize),
    /// `{`, `if`, `while`, `until`, `for`, `select`
    Block(usize),
    /// `case`
    Case(usize),
}

/// What the words that are being read belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Simple,
    /// `for` and `select`
    For,
    /// Between `case` and `in`.
    Subject,
    /// Before the `)` of a case.
    Pattern,
    /// After `function`.
    Function,
}

/// One list of commands while it is read.
#[derive(Debug)]
struct List {
    nest: Vec<Nest>,
    kind: Kind,
    words: Vec<Word>,
    /// The next word is a redirection's; `true` in it: of `<<<`.
    redirected: Option<bool>,
    /// The first mark of this pipeline.
    pipeline: usize,
    /// The first here-document of this pipeline.
    documents: usize,
    /// The words of its `<<<`.
    strings: Vec<Word>,
    end: End,
}

impl Scanner<'_> {
    /// Commands up to the end of the text, or up to and with the closing parenthesis.
    pub(super) fn list(&mut self, end: End) {
        let mut list = List {
            nest: Vec::new(),
            kind: Kind::Simple,
            words: Vec::new(),
            redirected: None,
            pipeline: self.next,
            documents: self.pending.len(),
            strings: Vec::new(),
            end,
        };
        while !self.done() {
            if self.step(&mut list) {
                return;
            }
        }
        self.finish(&mut list);
        if !self.pending.is_empty() && end == End::Text && !self.broken {
            self.give_up();
        }
        if end == End::Parenthesis {
            self.give_up();
        }
    }

    /// One token; `true` at the end of the list.
    fn step(&mut self, list: &mut List) -> bool {
        if self.on_mark() {
            self.take_word(list);
            return false;
        }
        match self.byte(0) {
            b' ' | b'\t' => self.at += 1,
            b'\\' if self.byte(1) == b'\n' => self.at += 2,
            b'#' => self.skip(self.line_end(self.at), why::COMMENT),
            b'\n' => self.newline(list),
            b';' => self.semicolon(list),
            b'&' if self.byte(1) == b'>' => {
                self.at += if self.byte(2) == b'>' { 3 } else { 2 };
                list.redirected = Some(false);
            }
            b'&' => {
                self.at += if self.byte(1) == b'&' { 2 } else { 1 };
                self.separate(list);
            }
            b'|' => self.bar(list),
            b'(' => self.open(list),
            b')' => return self.close(list),
            b'<' | b'>' if self.byte(1) != b'(' => self.redirection(list),
            _ => self.take_word(list),
        }
        false
    }

    // ---- separators ----------------------------------------------------------------------------

    /// The command and its pipeline end.
    fn separate(&mut self, list: &mut List) {
        self.finish(list);
        list.pipeline = self.next;
        list.documents = self.pending.len();
    }

    fn newline(&mut self, list: &mut List) {
        self.at += 1;
        match list.kind {
            Kind::Subject => {}
            Kind::Pattern if list.words.is_empty() => {}
            Kind::Pattern => return self.give_up(),
            Kind::Simple if list.words.is_empty() && list.redirected.is_none() => self.finish(list),
            Kind::Simple | Kind::For | Kind::Function => self.separate(list),
        }
        self.documents();
        list.documents = 0;
    }

    fn semicolon(&mut self, list: &mut List) {
        let ends_case = matches!(self.byte(1), b';' | b'&');
        self.at += 1;
        self.separate(list);
        if !ends_case {
            return;
        }
        while matches!(self.byte(0), b';' | b'&') {
            self.at += 1;
        }
        match list.nest.last() {
            Some(Nest::Case(_)) => list.kind = Kind::Pattern,
            Some(Nest::Parenthesis(_) | Nest::Block(_)) | None => self.give_up(),
        }
    }

    fn bar(&mut self, list: &mut List) {
        if self.byte(1) == b'|' {
            self.at += 2;
            return self.separate(list);
        }
        self.at += if self.byte(1) == b'&' { 2 } else { 1 };
        if list.kind != Kind::Pattern {
            self.finish(list);
        }
    }

    // ---- parentheses ---------------------------------------------------------------------------

    fn open(&mut self, list: &mut List) {
        let double = self.byte(1) == b'(';
        match list.kind {
            Kind::Pattern if list.words.is_empty() => self.at += 1,
            Kind::For if list.words.is_empty() && double => {
                self.at += 2;
                self.deeper(|s| s.forbidding(why::ARITHMETIC, Scanner::arithmetic));
                list.kind = Kind::Simple;
            }
            Kind::Simple if list.words.is_empty() && list.redirected.is_none() && self.empty_parentheses().is_some() => {
                self.at = self.empty_parentheses().unwrap_or(self.at + 1);
            }
            Kind::Simple if list.words.is_empty() && list.redirected.is_none() && double => {
                self.at += 2;
                self.deeper(|s| s.forbidding(why::ARITHMETIC, Scanner::arithmetic));
            }
            Kind::Simple if list.words.is_empty() && list.redirected.is_none() => {
                list.nest.push(Nest::Parenthesis(list.pipeline));
                self.at += 1;
            }
            Kind::Simple if list.words.len() == 1 => match self.empty_parentheses() {
                Some(after) => {
                    self.refuse(list.words[0].marks.clone(), why::NAME);
                    list.words.clear();
                    self.at = after;
                }
                None => self.give_up(),
            },
            Kind::Function if list.words.len() == 1 && self.empty_parentheses().is_some() => {
                self.at = self.empty_parentheses().unwrap_or(self.at + 1);
                self.finish(list);
            }
            Kind::Simple | Kind::For | Kind::Subject | Kind::Pattern | Kind::Function => self.give_up(),
        }
    }

    /// Behind `( )`, if nothing stands in it.
    fn empty_parentheses(&self) -> Option<usize> {
        let rest = self.text.get(self.at + 1..self.end)?;
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        (rest.get(blanks) == Some(&b')')).then_some(self.at + 2 + blanks)
    }

    /// `true` at the end of the list.
    fn close(&mut self, list: &mut List) -> bool {
        self.at += 1;
        if list.kind == Kind::Pattern {
            list.words.clear();
            list.kind = Kind::Simple;
            list.pipeline = self.next;
            return false;
        }
        self.finish(list);
        match list.nest.pop() {
            Some(Nest::Parenthesis(pipeline)) => list.pipeline = pipeline,
            None if list.end == End::Parenthesis => return true,
            Some(Nest::Block(_) | Nest::Case(_)) | None => self.give_up(),
        }
        false
    }

    // ---- words ---------------------------------------------------------------------------------

    fn take_word(&mut self, list: &mut List) {
        let assigns = list.kind == Kind::Simple && list.redirected.is_none() && rules::can_assign(&list.words);
        let before = self.at;
        let word = self.word(assigns);
        if self.at == before {
            return self.give_up();
        }
        if matches!(self.byte(0), b'<' | b'>') && word.is_descriptor() {
            return;
        }
        if let Some(here) = list.redirected.take() {
            if here {
                list.strings.push(word);
            }
            return;
        }
        match list.kind {
            Kind::Subject if !list.words.is_empty() && word.reserved() == Some("in") => {
                list.words.clear();
                list.kind = Kind::Pattern;
            }
            Kind::Pattern if list.words.is_empty() && word.reserved() == Some("esac") => self.end_block(list),
            Kind::For if list.words.len() == 1 && word.reserved() == Some("do") => self.finish(list),
            Kind::Function => {
                self.refuse(word.marks.clone(), why::NAME);
                list.words.push(word);
                if self.empty_after_blanks().is_none() {
                    list.words.clear();
                    list.kind = Kind::Simple;
                }
            }
            Kind::Simple if list.words.is_empty() => self.first_word(list, word),
            Kind::Simple | Kind::For | Kind::Subject | Kind::Pattern => list.words.push(word),
        }
    }

    /// Whether `()` follows behind blanks.
    fn empty_after_blanks(&self) -> Option<()> {
        let rest = self.text.get(self.at..self.end)?;
        (rest.iter().find(|b| !matches!(b, b' ' | b'\t')) == Some(&b'(')).then_some(())
    }

    /// The word where a command begins: a keyword, or the command itself.
    fn first_word(&mut self, list: &mut List, word: Word) {
        match word.reserved() {
            Some("if" | "while" | "until" | "{") => list.nest.push(Nest::Block(list.pipeline)),
            Some("then" | "else" | "elif" | "do" | "!" | "time" | "coproc") => list.pipeline = self.next,
            Some("for" | "select") => {
                list.nest.push(Nest::Block(list.pipeline));
                list.kind = Kind::For;
            }
            Some("case") => {
                list.nest.push(Nest::Case(list.pipeline));
                list.kind = Kind::Subject;
            }
            Some("function") => list.kind = Kind::Function,
            Some("fi" | "done" | "}" | "esac") => self.end_block(list),
            Some("[[") => self.forbidding(why::CONDITIONAL, Scanner::conditional),
            Some(_) | None => list.words.push(word),
        }
    }

    fn end_block(&mut self, list: &mut List) {
        list.kind = Kind::Simple;
        list.words.clear();
        match list.nest.pop() {
            Some(Nest::Block(pipeline) | Nest::Case(pipeline)) => list.pipeline = pipeline,
            Some(Nest::Parenthesis(_)) | None => self.give_up(),
        }
    }

    /// After `[[`, up to and with `]]`.
    fn conditional(&mut self) {
        let start = self.at;
        while !self.done() {
            if self.on_mark() {
                self.mark(Place::Bare);
                continue;
            }
            match self.byte(0) {
                b'#' => return self.give_up(),
                b' ' | b'\t' | b'\n' | b'(' | b')' | b'<' | b'>' | b'&' | b'|' => self.at += 1,
                b';' => return self.give_up(),
                _ => {
                    if self.word(false).reserved() == Some("]]") {
                        let text = &self.text[start..self.at];
                        if [&b"-eq"[..], b"-ne", b"-lt", b"-le", b"-gt", b"-ge"].iter().any(|op| text.windows(3).any(|w| w == *op)) {
                            self.evaluated.push(start..self.at);
                        }
                        return;
                    }
                }
            }
        }
        self.give_up();
    }

    // ---- redirections --------------------------------------------------------------------------

    fn redirection(&mut self, list: &mut List) {
        let here = self.byte(0) == b'<' && self.byte(1) == b'<';
        if here && self.byte(2) == b'<' {
            self.at += 3;
            list.redirected = Some(true);
        } else if here {
            self.at += 2;
            self.delimiter();
        } else {
            self.at += 1;
            if matches!(self.byte(0), b'<' | b'>' | b'&' | b'|') && !self.on_mark() {
                self.at += 1;
            }
            list.redirected = Some(false);
        }
    }

    /// After `<<`: its delimiter.
    fn delimiter(&mut self) {
        let tabs = self.byte(0) == b'-';
        self.at += usize::from(tabs);
        while matches!(self.byte(0), b' ' | b'\t') {
            self.at += 1;
        }
        let (mut delimiter, mut quoted) = (Vec::new(), false);
        while !self.done() {
            if self.on_mark() {
                return self.forbidding(why::DELIMITER, |s| {
                    s.mark(Place::Bare);
                    s.give_up();
                });
            }
            match self.byte(0) {
                quote @ (b'\'' | b'"') => {
                    quoted = true;
                    let rest = &self.text[self.at + 1..self.line_end(self.at)];
                    let Some(length) = rest.iter().position(|b| *b == quote) else { return self.give_up() };
                    delimiter.extend_from_slice(&rest[..length]);
                    self.at += length + 2;
                }
                b'\\' => {
                    quoted = true;
                    delimiter.push(self.byte(1));
                    self.at += 2;
                }
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' => break,
                b'$' | b'`' => return self.give_up(),
                other => {
                    delimiter.push(other);
                    self.at += 1;
                }
            }
        }
        if delimiter.is_empty() && !quoted || delimiter.contains(&b'\n') {
            return self.give_up();
        }
        self.pending.push(Pending { delimiter, quoted, tabs, refused: None, foreign: None });
    }

    /// At the line where the bodies of the here-documents begin.
    fn documents(&mut self) {
        for document in std::mem::take(&mut self.pending) {
            let Some((stop, after)) = self.document_end(&document) else {
                self.forbidding(why::UNREADABLE, |s| s.skip(s.end, why::UNREADABLE));
                return self.give_up();
            };
            let first = self.next;
            if document.quoted {
                self.skip(stop, document.refused.unwrap_or(why::QUOTED_HERE));
            } else {
                let outer = self.forbid;
                self.forbid = outer.or(document.refused);
                self.within(stop, Scanner::body);
                self.forbid = outer;
            }
            if let Some(reason) = document.foreign {
                self.foreign(first..self.next, reason);
            }
            if self.at != stop {
                return self.give_up();
            }
            self.at = after;
        }
    }

    /// Where the line of the delimiter begins and ends.
    fn document_end(&self, document: &Pending) -> Option<(usize, usize)> {
        let (mut line, mut joined) = (self.at, false);
        while line < self.end {
            let end = self.line_end(line);
            let mut content = &self.text[line..end];
            if document.tabs {
                content = &content[content.iter().take_while(|b| **b == b'\t').count()..];
            }
            if content == document.delimiter {
                // Shells disagree on a delimiter behind a line that is continued.
                return (!joined).then_some((line, (end + 1).min(self.end)));
            }
            joined = !document.quoted && content.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
            line = end + 1;
        }
        None
    }

    // ---- commands ------------------------------------------------------------------------------

    /// The command that has been read ends: what its words mean for the values in them.
    fn finish(&mut self, list: &mut List) {
        let words = std::mem::take(&mut list.words);
        let strings = std::mem::take(&mut list.strings);
        let kind = std::mem::replace(&mut list.kind, Kind::Simple);
        list.redirected = None;
        match kind {
            Kind::Simple => {
                let mut findings = Vec::new();
                rules::judge(&words, &self.integers, &mut findings);
                rules::declared_integers(&words, &mut self.integers);
                self.assigned.extend(rules::assigned_variables(&words));
                if let Some(range) = rules::counted(&words) {
                    self.evaluated.push(range);
                }
                for finding in findings {
                    match finding {
                        Finding::Refused(marks, reason) => self.refuse(marks, reason),
                        Finding::Foreign(marks, reason) => self.foreign(marks, reason),
                    }
                }
                self.read_by(list, &words, &strings);
            }
            Kind::For => {
                if let Some(name) = words.first() {
                    self.refuse(name.marks.clone(), why::NAME);
                    let values = words.iter().skip(1).map(|w| w.marks.clone());
                    self.assigned.extend(values.map(|marks| (name.literal.clone(), marks)));
                }
            }
            Kind::Subject | Kind::Pattern | Kind::Function => {}
        }
    }

    /// Standard input of a shell or interpreter is code: what comes by the pipe, by `<<` and `<<<`.
    fn read_by(&mut self, list: &List, words: &[Word], strings: &[Word]) {
        let Some(reader) = rules::reads_code(words) else { return };
        let own = words.first().map_or(self.next, |w| w.marks.start);
        match reader {
            rules::Reader::Shell => {
                self.refuse(list.pipeline..own, why::CODE_INPUT);
                strings.iter().for_each(|w| self.refuse(w.marks.clone(), why::CODE_INPUT));
            }
            rules::Reader::Other(reason) => {
                self.foreign(list.pipeline..own, reason);
                strings.iter().for_each(|w| self.foreign(w.marks.clone(), reason));
            }
        }
        for document in self.pending.iter_mut().skip(list.documents) {
            match reader {
                rules::Reader::Shell => document.refused = Some(why::CODE_INPUT),
                rules::Reader::Other(reason) => document.foreign = Some(reason),
            }
        }
    }

    fn refuse(&mut self, marks: std::ops::Range<usize>, reason: &'static Reason) {
        for verdict in self.verdicts.iter_mut().take(marks.end).skip(marks.start) {
            verdict.refused = verdict.refused.or(Some(reason));
        }
    }

    fn foreign(&mut self, marks: std::ops::Range<usize>, reason: &'static Reason) {
        for verdict in self.verdicts.iter_mut().take(marks.end).skip(marks.start) {
            verdict.foreign = verdict.foreign.or(Some(reason));
        }
    }
}
