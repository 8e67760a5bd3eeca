//! Filters, tests and functions in an expression: known ones only, with arguments by name.

use super::lexer::{Lexeme, Token};
use super::library::{self, Entry};
use super::parser::{Fault, Parser, Shape};

impl<'a> Parser<'a> {
    pub(super) fn filter(&mut self, input: Shape) -> Result<(), Fault> {
        let (name, lexeme) = self.name("a filter's name")?;
        let entry = find(library::filters(), "filter", name, lexeme)?;
        if name == "default" {
            self.soften(input, false);
        }
        self.arguments(entry, lexeme, "filter")
    }

    pub(super) fn test(&mut self, input: Shape) -> Result<(), Fault> {
        if self.is_word("not") {
            self.at += 1;
        }
        let (name, lexeme) = self.name("a test's name")?;
        let entry = find(library::tests(), "test", name, lexeme)?;
        if matches!(name, "defined" | "undefined") {
            self.soften(input, true);
        }
        self.arguments(entry, lexeme, "test")
    }

    /// What stands before may be undefined.
    fn soften(&mut self, input: Shape, asked: bool) {
        match input {
            Shape::Chain(n) => {
                self.out.chains[n].soft = true;
                self.out.chains[n].asked |= asked;
            }
            Shape::Item(n) => self.out.edits[n..n + 2].iter_mut().for_each(|e| e.1 = ""),
            Shape::Unary | Shape::Other => {}
        }
    }

    pub(super) fn call(&mut self, name: &str, lexeme: &Lexeme) -> Result<Shape, Fault> {
        let entry = match find(library::functions(), "function", name, lexeme) {
            Ok(entry) => entry,
            Err(fault) if library::filters().iter().any(|f| f.name == name) => {
                return Err(fault.help(format!("`{name}` is a filter: write `value | {name}`")));
            }
            Err(fault) => return Err(fault),
        };
        self.arguments(entry, lexeme, "function")?;
        if !self.out.calls.iter().any(|c| c == name) {
            self.out.calls.push(name.to_owned());
        }
        Ok(Shape::Other)
    }

    /// `(a=1, b=2)` if it is there; all required ones must be.
    fn arguments(&mut self, entry: &Entry, head: &Lexeme, what: &str) -> Result<(), Fault> {
        let mut given: Vec<&str> = Vec::new();
        if self.is("(") {
            self.at += 1;
            while !self.is(")") {
                if !given.is_empty() {
                    self.expect(",")?;
                    if self.is(")") {
                        break;
                    }
                }
                given.push(self.argument(entry, &given, what)?);
            }
            self.expect(")")?;
        }
        match entry.arguments.iter().find(|a| a.required && !given.contains(&a.name)) {
            Some(missing) => {
                Err(Fault::new(head.start, head.end, format!("{what} `{}` needs the argument `{}`", entry.name, missing.name))
                    .help(format!("write `{}({}=…)`", entry.name, missing.name)))
            }
            None => Ok(()),
        }
    }

    fn argument(&mut self, entry: &Entry, given: &[&str], what: &str) -> Result<&'a str, Fault> {
        if self.word_ahead(0).is_none() || self.ahead(1) != Some(&Token::Sign("=")) {
            return Err(self.positional(entry, given, what));
        }
        let (name, lexeme) = self.name("an argument's name")?;
        if given.contains(&name) {
            return Err(Fault::new(lexeme.start, lexeme.end, format!("the argument `{name}` is given twice")));
        }
        if !entry.arguments.iter().any(|a| a.name == name) {
            let fault = Fault::new(lexeme.start, lexeme.end, format!("{what} `{}` has no argument `{name}`", entry.name));
            let names: Vec<&str> = entry.arguments.iter().map(|a| a.name).collect();
            return Err(match library::nearest(name, names.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None if names.is_empty() => fault.help("it takes none"),
                None => fault.help(format!("it takes {}", names.join(", "))),
            });
        }
        self.at += 1;
        self.expression(0)?;
        Ok(name)
    }

    fn positional(&self, entry: &Entry, given: &[&str], what: &str) -> Fault {
        let (start, end) = self.peek().map_or((self.len, self.len), |l| (l.start, l.end));
        let fault = Fault::new(start, end, format!("{what} `{}` takes its arguments by name", entry.name));
        match entry.arguments.iter().filter(|a| !given.contains(&a.name)).min_by_key(|a| !a.required) {
            Some(argument) => fault.help(format!("write `{}({}=…)`", entry.name, argument.name)),
            None => Fault::new(
                start,
                end,
                format!("{what} `{}` takes no {}argument", entry.name, if given.is_empty() { "" } else { "further " }),
            ),
        }
    }
}

fn find(list: &'static [Entry], what: &str, name: &str, lexeme: &Lexeme) -> Result<&'static Entry, Fault> {
    list.iter().find(|e| e.name == name).ok_or_else(|| {
        let fault = Fault::new(lexeme.start, lexeme.end, format!("unknown {what} `{name}`"));
        match library::nearest(name, list.iter().map(|e| e.name)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault,
        }
    })
}
