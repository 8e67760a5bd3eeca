//! The grammar of Tera 2 expressions, read without evaluating: which names, functions and filters an
//! expression uses, where they stand, and what must be added so that Tera is strict about names.
//!
//! Nothing is nested deeper than [`DEPTH`], so no input overflows the stack here or in Tera.

use super::Segment;
use super::lexer::{Lexeme, Token, lex};

/// How deep an expression may nest; Tera's own limit is 40.
const DEPTH: usize = 32;
/// How high the tree of an expression may grow; Tera walks it recursively.
const HEIGHT: usize = 64;
/// How long an expression may be.
const LENGTH: usize = 64 * 1024;
/// Words that are never names.
pub(super) const RESERVED: [&str; 15] =
    ["true", "True", "false", "False", "none", "None", "null", "and", "or", "not", "is", "in", "if", "else", "for"];

/// A mistake, with its place in bytes of the expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub start: usize,
    pub end: usize,
    pub message: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(start: usize, end: usize, message: impl Into<String>) -> Self {
        Self { start, end, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A name with its path, as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chain {
    pub path: Vec<Segment>,
    pub start: usize,
    pub end: usize,
    /// May be undefined.
    pub soft: bool,
    /// Its first name is bound by a comprehension.
    pub bound: bool,
    /// Asked for by `is defined` or `is undefined`.
    pub asked: bool,
    /// Where its `.` and `[` without `?` stand.
    joints: Vec<usize>,
}

/// What an expression uses.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Parsed {
    pub chains: Vec<Chain>,
    pub calls: Vec<String>,
    /// The whole expression is one name with its path.
    pub plain: bool,
    /// Tera's own limits may refuse it.
    pub large: bool,
    /// The whole expression is one text.
    pub text: Option<String>,
    /// Text to insert before evaluation: place and what.
    pub edits: Vec<(usize, &'static str)>,
}

/// What a part of an expression is, as far as its surroundings care.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// Chain number so-and-so, alone.
    Chain(usize),
    /// A unary operator stands at its front.
    Unary,
    /// A value with `[…]` behind; the number is that of the edit that makes it strict.
    Item(usize),
    Other,
}

/// Reads an expression.
pub(super) fn parse(source: &str) -> Result<Parsed, Fault> {
    if source.len() > LENGTH {
        return Err(Fault::new(0, 0, "the expression is longer than 64 KiB"));
    }
    let lexemes = lex(source)?;
    let mut parser = Parser { lexemes: &lexemes, at: 0, depth: 0, height: 0, len: source.len(), out: Parsed::default() };
    if lexemes.is_empty() {
        return Err(Fault::new(0, source.len(), "there is no expression between the braces"));
    }
    let shape = parser.expression(0)?;
    if let Some(rest) = parser.peek() {
        return Err(parser.leftover(rest));
    }
    let mut out = parser.out;
    out.plain =
        matches!(shape, Shape::Chain(_)) && out.chains.len() == 1 && lexemes.first().is_some_and(|l| matches!(l.token, Token::Name(_)));
    if let [Lexeme { token: Token::Text(text), .. }] = &lexemes[..] {
        out.text = Some(text.clone());
    }
    out.large = lexemes.len() > 128 || lexemes.iter().filter(|l| matches!(l.token, Token::Sign("[" | "?["))).count() > 1;
    out.guard();
    out.tighten(&lexemes);
    Ok(out)
}

impl Parsed {
    /// `x is defined and x.y == 1`: what is asked for may be undefined elsewhere too.
    fn guard(&mut self) {
        let asked: Vec<Vec<Segment>> = self.chains.iter().filter(|c| c.asked).map(|c| c.path.clone()).collect();
        for chain in &mut self.chains {
            chain.soft |= asked.iter().any(|path| chain.path.starts_with(path));
        }
    }

    /// Notes what makes Tera strict: a soft path gives nothing instead of an error on its way; a
    /// path that cannot be checked beforehand is checked when it is read.
    fn tighten(&mut self, lexemes: &[Lexeme]) {
        for chain in &self.chains {
            if chain.soft {
                self.edits.extend(chain.joints.iter().map(|at| (*at, "?")));
            } else if chain.path.contains(&Segment::Dynamic) || chain.bound && chain.path.len() > 1 {
                self.edits.push((chain.start, "("));
                self.edits.push((chain.end, " | __need)"));
            }
        }
        for pair in lexemes.windows(2) {
            if pair[0].token == Token::Sign("}") && pair[1].token == Token::Sign("}") && pair[0].end == pair[1].start {
                self.edits.push((pair[0].end, " "));
            }
        }
    }

    /// The expression as Tera gets it.
    pub fn for_tera(&self, source: &str) -> String {
        let mut edits = self.edits.clone();
        edits.sort_by_key(|e| e.0);
        let (mut out, mut from) = (String::with_capacity(source.len() + 32), 0);
        for (at, text) in edits {
            out.push_str(&source[from..at]);
            out.push_str(text);
            from = at;
        }
        out.push_str(&source[from..]);
        out
    }
}

pub(super) struct Parser<'a> {
    pub lexemes: &'a [Lexeme],
    pub at: usize,
    depth: usize,
    /// Of what has been read at this level.
    height: usize,
    pub len: usize,
    pub out: Parsed,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<&'a Lexeme> {
        self.lexemes.get(self.at)
    }

    pub(super) fn ahead(&self, n: usize) -> Option<&'a Token> {
        self.lexemes.get(self.at + n).map(|l| &l.token)
    }

    pub(super) fn is(&self, sign: &str) -> bool {
        matches!(self.ahead(0), Some(Token::Sign(s)) if *s == sign)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.word_ahead(0) == Some(word)
    }

    pub(super) fn word_ahead(&self, n: usize) -> Option<&'a str> {
        match self.ahead(n) {
            Some(Token::Name(name)) => Some(name),
            Some(Token::Text(_) | Token::Integer(_) | Token::Float | Token::Sign(_)) | None => None,
        }
    }

    pub(super) fn next(&mut self, wanted: &str) -> Result<&'a Lexeme, Fault> {
        let lexeme =
            self.peek().ok_or_else(|| Fault::new(self.len, self.len, format!("the expression ends where {wanted} should stand")))?;
        self.at += 1;
        Ok(lexeme)
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<&'a Lexeme, Fault> {
        if self.is(sign) {
            return self.next(sign);
        }
        match self.peek() {
            Some(rest) => Err(self.leftover(rest).or(format!("`{sign}` should stand here"))),
            None => Err(Fault::new(self.len, self.len, format!("`{sign}` is missing at the end"))),
        }
    }

    pub(super) fn name(&mut self, what: &str) -> Result<(&'a str, &'a Lexeme), Fault> {
        let lexeme = self.next(what)?;
        match &lexeme.token {
            Token::Name(name) => Ok((name, lexeme)),
            Token::Text(_) | Token::Integer(_) | Token::Float | Token::Sign(_) => {
                Err(Fault::new(lexeme.start, lexeme.end, format!("{what} should stand here")))
            }
        }
    }

    /// What to say of a token that cannot stand where it does.
    fn leftover(&self, lexeme: &Lexeme) -> Fault {
        let fault = |message: &str, help: &str| Fault::new(lexeme.start, lexeme.end, message).help(help);
        match &lexeme.token {
            Token::Sign("&&") => fault("`&&` is no operator", "write `and` for `&&`"),
            Token::Sign("||") => fault("`||` is no operator", "write `or` for `||`"),
            Token::Sign("!") => fault("`!` is no operator", "write `not` for `!`"),
            Token::Sign("=") => fault("`=` does not compare", "write `==` for `=`"),
            Token::Sign("?") => fault("`? :` is no operator", "write `a if condition else b`"),
            Token::Sign("(") => fault(
                "only functions are called, by their plain name",
                "a value is read without `()`; a filter is written `value | filter`",
            ),
            Token::Sign("&") => fault("`&` is no operator", "write `and`, or `~` to join texts"),
            Token::Sign(".") => fault("a `.` cannot stand here", "only a name has `.parts`; write `[…]` after other values"),
            Token::Sign(s) => Fault::new(lexeme.start, lexeme.end, format!("`{s}` cannot stand here")),
            Token::Name(name) if name == "AND" || name == "OR" || name == "NOT" => {
                fault(&format!("`{name}` is no operator"), &format!("write `{}`", name.to_lowercase()))
            }
            Token::Name(name) => Fault::new(lexeme.start, lexeme.end, format!("`{name}` cannot stand here")),
            Token::Text(_) => fault("a text cannot stand here", "join texts with `~`"),
            Token::Integer(_) | Token::Float => Fault::new(lexeme.start, lexeme.end, "a number cannot stand here"),
        }
    }

    /// An expression whose operators bind at least as tight as `least`.
    pub(super) fn expression(&mut self, least: u8) -> Result<Shape, Fault> {
        self.depth += 1;
        if self.depth > DEPTH {
            let at = self.peek().map_or(self.len, |l| l.start);
            return Err(Fault::new(at, at, format!("the expression is nested more than {DEPTH} levels deep")));
        }
        let start = self.peek().map_or(self.len, |l| l.start);
        let outer = std::mem::replace(&mut self.height, 1);
        let first = self.operand()?;
        let shape = self.operators(first, start, least)?;
        if self.height > HEIGHT {
            return Err(Fault::new(start, start, format!("the expression has more than {HEIGHT} operations in a row"))
                .help("split it over several `vars`"));
        }
        self.height = outer.max(self.height + 1);
        self.depth -= 1;
        Ok(shape)
    }

    fn operand(&mut self) -> Result<Shape, Fault> {
        let lexeme = self.next("a value")?;
        match &lexeme.token {
            Token::Integer(_) | Token::Float | Token::Text(_) => Ok(Shape::Other),
            Token::Sign("(") => {
                let shape = self.expression(0)?;
                self.expect(")")?;
                Ok(shape)
            }
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.map(),
            Token::Sign("-") => self.unary(20),
            Token::Name(name) => match name.as_str() {
                "not" => self.unary(5),
                "true" | "True" | "false" | "False" | "none" | "None" | "null" => Ok(Shape::Other),
                _ if self.is("(") => self.call(name, lexeme),
                _ => self.chain(name, lexeme),
            },
            Token::Sign(_) => Err(self.leftover(lexeme)),
        }
    }

    fn unary(&mut self, binding: u8) -> Result<Shape, Fault> {
        if let Some(next) = self.peek().filter(|l| l.token == Token::Sign("-") || l.token == Token::Name("not".into())) {
            return Err(Fault::new(next.start, next.end, "`-` and `not` cannot follow each other").help("use parentheses"));
        }
        self.expression(binding)?;
        Ok(Shape::Unary)
    }

    fn operators(&mut self, mut left: Shape, start: usize, least: u8) -> Result<Shape, Fault> {
        loop {
            let Some(lexeme) = self.peek() else { return Ok(left) };
            if self.is("[") {
                self.at += 1;
                self.subscript()?;
                self.height += 1;
                let end = self.lexemes[self.at - 1].end;
                left = Shape::Item(self.out.edits.len());
                self.out.edits.push((start, "("));
                self.out.edits.push((end, " | __need)"));
                continue;
            }
            if self.is_word("if") {
                if least > 0 {
                    return Ok(left);
                }
                self.ternary()?;
                return Ok(Shape::Other);
            }
            let Some((binding, right)) = binding(&lexeme.token, self.word_ahead(1)) else { return Ok(left) };
            if binding < least {
                return Ok(left);
            }
            self.at += 1;
            match &lexeme.token {
                Token::Sign("|") => self.filter(left)?,
                Token::Name(word) if word == "is" => self.test(left)?,
                Token::Name(word) if word == "not" => {
                    self.at += 1;
                    self.expression(right)?;
                }
                token => {
                    let next = self.peek();
                    let shape = self.expression(right)?;
                    if *token == Token::Sign("~") && shape == Shape::Unary {
                        let at = next.map_or(self.len, |l| l.start);
                        return Err(Fault::new(at, at, "`-` and `not` cannot follow `~`").help("use parentheses and `| str`"));
                    }
                }
            }
            self.height += 1;
            left = Shape::Other;
        }
    }

    fn ternary(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.expression(0)?;
        if !self.is_word("else") {
            let at = self.peek().map_or(self.len, |l| l.start);
            return Err(Fault::new(at, at, "`else` is missing").help("write `a if condition else b`"));
        }
        self.at += 1;
        self.expression(0)?;
        Ok(())
    }

    fn chain(&mut self, name: &str, lexeme: &Lexeme) -> Result<Shape, Fault> {
        if RESERVED.contains(&name) {
            return Err(Fault::new(lexeme.start, lexeme.end, format!("`{name}` cannot stand here")));
        }
        if name.starts_with("__") {
            return Err(Fault::new(lexeme.start, lexeme.end, format!("`{name}` is no name of a tree file")));
        }
        let number = self.out.chains.len();
        self.out.chains.push(Chain {
            path: vec![Segment::Name(name.to_owned())],
            start: lexeme.start,
            end: lexeme.end,
            soft: false,
            bound: false,
            asked: false,
            joints: Vec::new(),
        });
        while let Some(Lexeme { token: Token::Sign(sign @ ("." | "?." | "[" | "?[")), start, .. }) = self.peek() {
            self.at += 1;
            let segment = if sign.ends_with('.') { self.attribute()? } else { self.subscript()? };
            let end = self.lexemes[self.at - 1].end;
            self.height += 1;
            let chain = &mut self.out.chains[number];
            if sign.starts_with('?') {
                chain.soft = true;
            } else {
                chain.joints.push(*start);
            }
            chain.path.push(segment);
            chain.end = end;
        }
        match self.peek() {
            Some(open) if open.token == Token::Sign("(") => Err(self.leftover(open)),
            _ => Ok(Shape::Chain(number)),
        }
    }

    fn attribute(&mut self) -> Result<Segment, Fault> {
        let lexeme = self.next("a name")?;
        match &lexeme.token {
            Token::Name(name) => Ok(Segment::Name(name.clone())),
            Token::Integer(n) => {
                Err(Fault::new(lexeme.start, lexeme.end, "an item is taken by `[…]`").help(format!("write `[{n}]` for `.{n}`")))
            }
            Token::Text(_) | Token::Float | Token::Sign(_) => {
                Err(Fault::new(lexeme.start, lexeme.end, "a name should stand after the `.`"))
            }
        }
    }

    /// After `[`: an index, a key or a slice.
    fn subscript(&mut self) -> Result<Segment, Fault> {
        let segment = match (self.ahead(0), self.ahead(1)) {
            (Some(Token::Text(text)), Some(Token::Sign("]"))) => Segment::Name(text.clone()),
            (Some(Token::Integer(n)), Some(Token::Sign("]"))) => usize::try_from(*n).map_or(Segment::Dynamic, Segment::Index),
            _ => Segment::Dynamic,
        };
        if !self.is(":") {
            self.expression(0)?;
        }
        if self.is(":") {
            self.at += 1;
            if !self.is(":") && !self.is("]") {
                self.expression(0)?;
            }
            if self.is(":") {
                self.at += 1;
                self.expression(0)?;
            }
        }
        self.expect("]")?;
        Ok(segment)
    }
}

impl Fault {
    /// Keeps a cure that is already known, else says `message`.
    fn or(self, message: String) -> Self {
        if self.help.is_some() { self } else { Self { message, ..self } }
    }
}

/// How tight an infix operator binds to its left and right; `None` for what is none.
fn binding(token: &Token, next: Option<&str>) -> Option<(u8, u8)> {
    Some(match token {
        Token::Sign(sign) => match *sign {
            "==" | "!=" | "<" | "<=" | ">" | ">=" => (7, 8),
            "+" | "-" => (11, 12),
            "*" | "/" | "%" | "~" | "//" => (13, 14),
            "**" => (16, 15),
            "|" => (17, 18),
            _ => return None,
        },
        Token::Name(word) => match word.as_str() {
            "or" => (1, 2),
            "and" => (3, 4),
            "in" | "is" => (5, 6),
            "not" if next == Some("in") => (5, 6),
            _ => return None,
        },
        Token::Text(_) | Token::Integer(_) | Token::Float => return None,
    })
}
