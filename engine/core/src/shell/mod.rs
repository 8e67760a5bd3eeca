//! Values never become code: each `{{ … }}` of a script is bound to an environment variable and
//! the script reads that variable, quoted for the place where it stands.

mod grammar;
mod marks;
mod rules;
mod scan;
mod verdict;
mod words;

use crate::diagnostic::{Diagnostic, Origin, Places, Span};
use crate::expr::{Expr, Reference, Segment};
use marks::What;
use std::collections::{HashMap, HashSet};

/// A script with its values bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// As written (this is what the definition's digest takes).
    pub source: String,
    /// As it runs: the references in place of the values.
    pub text: String,
    /// The variables it reads.
    pub bindings: Vec<Binding>,
}

/// A value bound to a variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// `TREES_V1`, `TREES_V2`, …; equal expressions share one.
    pub variable: String,
    /// The value: strings as they are, others as JSON.
    pub expr: Expr,
}

/// What the names of variables begin with.
const PREFIX: &str = "TREES_V";
/// Digits of a number that is looked for in a script.
const LONGEST: usize = 12;

/// Which grammar a script has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// sh, dash, bash, ksh, zsh.
    Posix,
    /// Anything else: a value cannot stand in it (read `$TREES_INPUTS` or `env`).
    Other,
}

/// Binds the values of a script. `in_scope` says whether a first name is known here: others stay text.
///
/// The script is whole only if no diagnostic is an error.
pub fn bind(source: &str, origin: &Origin, dialect: Dialect, in_scope: &dyn Fn(&str) -> bool) -> (Script, Vec<Diagnostic>) {
    let places = Places::new(*origin, source);
    let (marks, mut found) = marks::find(&places, in_scope);
    let ranges: Vec<(usize, usize)> = marks.iter().map(|m| (m.start, m.end)).collect();
    let mut script = Script { source: source.to_owned(), ..Script::default() };
    let mut variables = Variables::of(source);
    let verdicts = match dialect {
        Dialect::Posix => scan::places(source, &ranges),
        Dialect::Other => Vec::new(),
    };
    let mut from = 0;
    for (number, mark) in marks.into_iter().enumerate() {
        let place = places.at(mark.start, mark.end);
        script.text.push_str(&source[from..mark.start]);
        from = mark.end;
        let expr = match mark.what {
            What::Text(text) => {
                script.text.push_str(&text);
                continue;
            }
            What::Expr(expr) => expr,
            What::Faulty => continue,
        };
        if let Some(secret) = expr.references.iter().find(|r| r.root() == "secrets") {
            found.push(secret_refused(secret, place));
            continue;
        }
        let Some(verdict) = verdicts.get(number) else {
            let cure = "read the JSON file $TREES_INPUTS, or give it by `env:` and read that variable";
            found.push(Diagnostic::error("value-in-other-language", place, "a value cannot stand in a script of this language").help(cure));
            continue;
        };
        if let Some(reason) = verdict.refused.or(verdict.foreign.filter(|_| !is_number(&expr))) {
            found.push(Diagnostic::error(reason.code, place, reason.message).help(reason.help));
            continue;
        }
        let variable = variables.of_expression(expr, &mut script.bindings);
        script.text.push_str(&verdict.place.written(&variable));
    }
    script.text.push_str(&source[from..]);
    found.sort_by_key(|d| d.span);
    (script, found)
}

/// Whether an expression is a number whatever it reads: `a.b | int`, `a | length`. More is not asked of
/// it, as in `a ~ b | int` the filter takes but a part.
fn is_number(expr: &Expr) -> bool {
    let Some((value, filter)) = expr.source.rsplit_once('|') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '"' | '-');
    matches!(filter.trim(), "int" | "length")
        && value.trim().starts_with(|c: char| c.is_ascii_alphabetic())
        && value.trim().chars().all(plain)
}

fn secret_refused(secret: &Reference, place: Span) -> Diagnostic {
    let cure = match secret.path.get(1) {
        Some(Segment::Name(name)) => format!("write `secrets: [{name}]` at the step and \"${name}\" in the script"),
        Some(Segment::Index(_) | Segment::Dynamic) | None => "name it in the step's `secrets` and read it as a variable".to_owned(),
    };
    Diagnostic::error("secret-in-script", place, "a secret does not stand in a script").help(cure)
}

/// The names of the variables that a script's values get.
struct Variables {
    /// What the script itself writes behind `TREES_V`, with each beginning of it.
    taken: HashSet<String>,
    /// By the text of the expression.
    known: HashMap<String, String>,
    last: usize,
}

impl Variables {
    fn of(source: &str) -> Self {
        let written = source.match_indices(PREFIX).map(|(at, _)| &source[at + PREFIX.len()..]);
        let numbers = written.map(|rest| &rest[..rest.bytes().take(LONGEST).take_while(u8::is_ascii_digit).count()]);
        let taken = numbers.flat_map(|number| (1..=number.len()).map(|n| number[..n].to_owned())).collect();
        Self { taken, known: HashMap::new(), last: 0 }
    }

    /// The variable of an expression; equal ones share one, and none is taken that the script names.
    fn of_expression(&mut self, expr: Expr, bindings: &mut Vec<Binding>) -> String {
        if let Some(known) = self.known.get(&expr.source) {
            return known.clone();
        }
        self.last += 1;
        while self.taken.contains(&self.last.to_string()) {
            self.last += 1;
        }
        let variable = format!("{PREFIX}{}", self.last);
        self.known.insert(expr.source.clone(), variable.clone());
        bindings.push(Binding { variable: variable.clone(), expr });
        variable
    }
}
