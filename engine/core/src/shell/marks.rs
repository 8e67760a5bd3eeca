//! Which `{{ … }}` of a script are ours: those that begin with a name in scope, and a text in quotes,
//! which is how braces are written. `{{.State}}` and the like belong to other programs and stay.

use crate::diagnostic::{Diagnostic, Places};
use crate::expr::{Expr, close, first_name, inside};

/// One `{{ … }}` that is not plain text.
#[derive(Debug)]
pub(super) struct Mark {
    pub start: usize,
    pub end: usize,
    pub what: What,
}

/// What it is.
#[derive(Debug)]
pub(super) enum What {
    /// To be bound.
    Expr(Expr),
    /// `{{ '{{' }}`: this text.
    Text(String),
    /// Wrong; it has been said.
    Faulty,
}

/// How many bytes are read on the mere chance that they are an expression.
const TRIES: usize = 256 * 1024;

/// All of a script, in order.
pub(super) fn find(places: &Places<'_>, in_scope: &dyn Fn(&str) -> bool) -> (Vec<Mark>, Vec<Diagnostic>) {
    let source = places.text();
    let (mut marks, mut found, mut from, mut tried) = (Vec::new(), Vec::new(), 0, 0);
    while let Some(open) = source.get(from..).and_then(|t| t.find("{{")).map(|n| from + n) {
        from = open + 1;
        let head = source.get(open + 2..).unwrap_or("");
        let name = first_name(head);
        let ours = name.is_some_and(in_scope);
        if !ours && (tried > TRIES || !may_be_ours(head, name)) {
            found.extend(name.and_then(|n| near_miss(n, places, open, in_scope)));
            continue;
        }
        let Some(end) = close(source, open) else {
            if ours {
                let place = places.at(open, open + 2);
                found.push(
                    Diagnostic::error("expression-unclosed", place, "`{{` is not closed")
                        .help("write `}}` behind it, or `{{ '{{' }}` for the braces themselves"),
                );
            }
            break;
        };
        tried += if ours { 0 } else { end - open };
        let (text, offset) = inside(source, open, end);
        let what = match Expr::parse(text, places, offset) {
            Ok(expr) => match expr.constant() {
                Some(text) => What::Text(text),
                None if ours || expr.references.iter().any(|r| in_scope(r.root())) => What::Expr(expr),
                None => continue,
            },
            Err(fault) if ours => {
                found.push(fault);
                What::Faulty
            }
            Err(_) => continue,
        };
        if ours && source[..open].ends_with('$') {
            let place = places.at(open - 1, end);
            found.push(
                Diagnostic::error("expression-dollar", place, "`${{` is not the form of an expression here")
                    .help(format!("write `{{{{ {text} }}}}`")),
            );
            marks.push(Mark { start: open, end, what: What::Faulty });
        } else {
            marks.push(Mark { start: open, end, what });
        }
        from = end;
    }
    (marks, found)
}

/// A text, a number, a map or a call at the front: what stands behind it decides.
fn may_be_ours(head: &str, name: Option<&str>) -> bool {
    let head = head.trim_start();
    let call = name.and_then(|n| head.strip_prefix(n)).is_some_and(|rest| rest.starts_with('('));
    call || head.starts_with(|c: char| matches!(c, '\'' | '"' | '`' | '{' | '[' | '(') || c.is_ascii_digit())
}

/// `{{ parms.app }}` with `params` in scope: said, not bound.
fn near_miss(name: &str, places: &Places<'_>, open: usize, in_scope: &dyn Fn(&str) -> bool) -> Option<Diagnostic> {
    if name.len() > 16 {
        return None;
    }
    let source = places.text();
    let near = crate::expr::scope_names().iter().find(|s| in_scope(s) && strsim::damerau_levenshtein(s, name) == 1)?;
    let end = open + source[open..].find("}}")? + 2;
    if source[open..end].contains('\n') {
        return None;
    }
    let (text, offset) = inside(source, open, end);
    if text.len() > 256 || !text.starts_with(name) || !text[name.len()..].starts_with('.') {
        return None;
    }
    Expr::parse(text, places, offset).ok()?;
    let place = places.at(offset, offset + name.len());
    Some(
        Diagnostic::warning("unknown-name", place, format!("`{name}` is not in scope: this stays text"))
            .help(format!("did you mean `{near}`?")),
    )
}
