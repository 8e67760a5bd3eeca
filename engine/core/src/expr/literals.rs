//! Lists, comprehensions and maps in an expression.

use super::Segment;
use super::lexer::Token;
use super::parser::{Fault, Parser, RESERVED, Shape};

impl<'a> Parser<'a> {
    pub(super) fn list(&mut self) -> Result<Shape, Fault> {
        let chains = self.out.chains.len();
        let mut items = 0;
        while !self.is("]") {
            if items > 0 {
                self.expect(",")?;
                if self.is("]") {
                    break;
                }
            }
            if self.is("...") {
                self.at += 1;
            }
            self.expression(0)?;
            items += 1;
            if items == 1 && self.is_word("for") {
                self.comprehension(chains)?;
                break;
            }
        }
        self.expect("]")?;
        Ok(Shape::Other)
    }

    /// `for x in list if condition`; the chains from number `first` on stand before it.
    fn comprehension(&mut self, first: usize) -> Result<(), Fault> {
        self.at += 1;
        let mut names = vec![self.variable()?];
        if self.is(",") {
            self.at += 1;
            names.push(self.variable()?);
        }
        if !self.is_word("in") {
            let at = self.peek().map_or(self.len, |l| l.start);
            return Err(Fault::new(at, at, "`in` is missing").help("write `[x for x in list]`"));
        }
        self.at += 1;
        let before = self.out.chains.len();
        let start = self.peek().map_or(self.len, |l| l.start);
        self.expression(1)?;
        self.out.edits.push((start, "("));
        self.out.edits.push((self.lexemes[self.at - 1].end, " | __count)"));
        let after = self.out.chains.len();
        if self.is_word("if") {
            self.at += 1;
            self.expression(1)?;
        }
        if self.is_word("for") {
            let at = self.peek().map_or(self.len, |l| l.start);
            return Err(Fault::new(at, at + 3, "a comprehension has a single `for`"));
        }
        let chains = &mut self.out.chains;
        for number in (first..before).chain(after..chains.len()) {
            if matches!(chains[number].path.first(), Some(Segment::Name(name)) if names.contains(&name.as_str())) {
                chains[number].bound = true;
            }
        }
        Ok(())
    }

    fn variable(&mut self) -> Result<&'a str, Fault> {
        let (name, lexeme) = self.name("a name")?;
        if RESERVED.contains(&name) || matches!(name, "loop" | "self" | "continue" | "break") || name.starts_with("__") {
            return Err(Fault::new(lexeme.start, lexeme.end, format!("`{name}` cannot be a name")));
        }
        Ok(name)
    }

    pub(super) fn map(&mut self) -> Result<Shape, Fault> {
        let mut entries = 0;
        while !self.is("}") {
            if entries > 0 {
                self.expect(",")?;
                if self.is("}") {
                    break;
                }
            }
            entries += 1;
            if self.is("...") {
                self.at += 1;
                self.expression(0)?;
                continue;
            }
            let key = self.next("a key")?;
            let literal = match &key.token {
                Token::Text(_) | Token::Integer(_) => true,
                Token::Name(name) => matches!(name.as_str(), "true" | "True" | "false" | "False"),
                Token::Float | Token::Sign(_) => false,
            };
            if !literal {
                return Err(Fault::new(key.start, key.end, "a key of a map is a text in quotes").help("write `{'key': value}`"));
            }
            self.expect(":")?;
            self.expression(0)?;
        }
        self.expect("}")?;
        Ok(Shape::Other)
    }
}
