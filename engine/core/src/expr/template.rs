//! Values of a tree file with `{{ … }}` inside: found, built, evaluated.

use super::{Expr, Part, Template};
use crate::diagnostic::{Diagnostic, Origin, Places};
use crate::event::{Json, Object};

/// Where the `{{` at `open` ends: the byte after its `}}`. Quotes and braces inside are respected
/// where they match; else the first `}}` ends it. `None`: it is not closed.
pub(crate) fn close(text: &str, open: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let first = open + 2 + text.get(open + 2..)?.find("}}")?;
    let (mut at, mut quote, mut depth) = (open + 2, None, 0usize);
    let end = bytes.len().min(open + 2 + 64 * 1024);
    while at < end {
        match (bytes[at], quote) {
            (b'\\', Some(_)) => at += 1,
            (c, Some(q)) if c == q => quote = None,
            (_, Some(_)) => {}
            (c @ (b'"' | b'\'' | b'`'), None) => quote = Some(c),
            (b'{', None) => depth += 1,
            (b'}', None) if depth > 0 => depth -= 1,
            (b'}', None) if bytes.get(at + 1) == Some(&b'}') => return Some(at + 2),
            _ => {}
        }
        at += 1;
    }
    Some(first + 2)
}

/// The expression between braces, with the place of its first byte.
pub(crate) fn inside(text: &str, open: usize, end: usize) -> (&str, usize) {
    let inner = text.get(open + 2..end - 2).unwrap_or("");
    let lead = inner.len() - inner.trim_start().len();
    (inner.trim(), open + 2 + lead)
}

/// The first name of an expression, whatever stands before it: brackets, a sign, `not`, a text. `None`
/// if it begins otherwise, as `{{.State}}` does.
pub(crate) fn first_name(expression: &str) -> Option<&str> {
    let mut rest = expression;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '(' | '[' | '-'));
        let first = rest.chars().next()?;
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            if &rest[..end] != "not" {
                return Some(&rest[..end]);
            }
            rest = &rest[end..];
            continue;
        }
        return None;
    }
}

impl Template {
    /// Parses a scalar's text.
    ///
    /// # Errors
    /// All that is wrong in it.
    pub fn parse(text: &str, origin: &Origin) -> Result<Self, Vec<Diagnostic>> {
        let places = Places::new(*origin, text);
        let (mut parts, mut faults, mut from) = (Vec::new(), Vec::new(), 0);
        while let Some(open) = text[from..].find("{{").map(|n| from + n) {
            let literal = &text[from..open];
            let Some(end) = close(text, open) else {
                let span = places.at(open, open + 2);
                faults.push(
                    Diagnostic::error("expression-unclosed", span, "`{{` is not closed")
                        .help("write `}}` behind it, or `{{ '{{' }}` for the braces themselves"),
                );
                break;
            };
            let (source, offset) = inside(text, open, end);
            if literal.ends_with('$') {
                let span = places.at(open - 1, end);
                faults.push(
                    Diagnostic::error("expression-dollar", span, "`${{` is not the form of an expression here")
                        .help(format!("write `{{{{ {source} }}}}`")),
                );
            }
            parts.push(Part::Literal(literal.to_owned()));
            match Expr::parse(source, &places, offset) {
                Ok(expr) => parts.push(constant(expr)),
                Err(fault) => faults.push(fault),
            }
            from = end;
        }
        parts.push(Part::Literal(text.get(from..).unwrap_or("").to_owned()));
        if faults.is_empty() { Ok(Self::text(parts)) } else { Err(faults) }
    }

    /// A text of parts: neighbouring literals become one, a single expression stays whole.
    pub fn text(parts: Vec<Part>) -> Self {
        let mut out: Vec<Part> = Vec::new();
        for part in parts {
            match (part, out.last_mut()) {
                (Part::Literal(text), _) if text.is_empty() => {}
                (Part::Literal(text), Some(Part::Literal(last))) => last.push_str(&text),
                (part, _) => out.push(part),
            }
        }
        match (out.pop(), out.is_empty()) {
            (None, _) => Self::Value(Json::String(String::new())),
            (Some(Part::Literal(text)), true) => Self::Value(Json::String(text)),
            (Some(Part::Expr(expr)), true) => Self::Whole(expr),
            (Some(last), false) => {
                out.push(last);
                Self::Text(out)
            }
        }
    }

    /// A list; a plain value where nothing inside has an expression.
    pub fn list(items: Vec<Self>) -> Self {
        if items.iter().any(|i| !matches!(i, Self::Value(_))) {
            return Self::List(items);
        }
        Self::Value(Json::Array(items.into_iter().filter_map(Self::into_value).collect()))
    }

    /// A mapping; a plain value where nothing inside has an expression.
    pub fn map(entries: Vec<(String, Self)>) -> Self {
        if entries.iter().any(|(_, v)| !matches!(v, Self::Value(_))) {
            return Self::Map(entries);
        }
        Self::Value(Json::Object(entries.into_iter().filter_map(|(k, v)| Some((k, v.into_value()?))).collect()))
    }

    /// The value, if no expression is inside.
    pub fn as_value(&self) -> Option<&Json> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }

    fn into_value(self) -> Option<Json> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }

    /// All expressions inside, in order.
    pub fn exprs(&self) -> Vec<&Expr> {
        let mut out = Vec::new();
        self.collect(&mut out);
        out
    }

    fn collect<'a>(&'a self, out: &mut Vec<&'a Expr>) {
        match self {
            Self::Value(_) => {}
            Self::Text(parts) => out.extend(parts.iter().filter_map(|p| if let Part::Expr(e) = p { Some(e) } else { None })),
            Self::Whole(expr) => out.push(expr),
            Self::List(items) => items.iter().for_each(|i| i.collect(out)),
            Self::Map(entries) => entries.iter().for_each(|(_, v)| v.collect(out)),
        }
    }

    /// Evaluates with exactly these names in scope.
    ///
    /// # Errors
    /// One sentence.
    pub fn evaluate(&self, names: &Object) -> Result<Json, String> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Whole(expr) => expr.evaluate(names),
            Self::List(items) => items.iter().map(|i| i.evaluate(names)).collect::<Result<_, _>>().map(Json::Array),
            Self::Map(entries) => {
                entries.iter().map(|(k, v)| Ok((k.clone(), v.evaluate(names)?))).collect::<Result<Object, String>>().map(Json::Object)
            }
            Self::Text(parts) => {
                let mut out = String::new();
                for part in parts {
                    match part {
                        Part::Literal(text) => out.push_str(text),
                        Part::Expr(expr) => out.push_str(&as_text(&expr.evaluate(names)?)),
                    }
                }
                Ok(Json::String(out))
            }
        }
    }
}

/// A value as it stands in a text: strings as they are, others as JSON.
pub fn as_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}

/// `{{ '{{' }}` is plain text.
fn constant(expr: Expr) -> Part {
    match expr.constant() {
        Some(text) => Part::Literal(text),
        None => Part::Expr(expr),
    }
}
