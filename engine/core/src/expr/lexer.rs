//! The words of an expression, each with its place in bytes. Knows no grammar.

use super::parser::Fault;

/// A word of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Name(String),
    /// A text without its quotes, its escapes resolved.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a point.
    Float,
    /// An operator or a bracket.
    Sign(&'static str),
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lexeme {
    /// What it is.
    pub token: Token,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// Longest first.
const SIGNS: [&str; 34] = [
    "...", "//", "**", "==", "!=", ">=", "<=", "?.", "?[", "&&", "||", "+", "-", "*", "/", "%", "!", ".", ",", ":", "~", "|", "=", ">",
    "<", "(", ")", "[", "]", "{", "}", "&", "?", "@",
];

/// Splits an expression into its words.
pub(super) fn lex(source: &str) -> Result<Vec<Lexeme>, Fault> {
    let bytes = source.as_bytes();
    let (mut at, mut out) = (0, Vec::new());
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (token, end) = match byte {
            b'"' | b'\'' | b'`' => text(source, at)?,
            b'0'..=b'9' => number(source, at)?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let end = run(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'_');
                (Token::Name(source[at..end].to_owned()), end)
            }
            _ => sign(source, at)?,
        };
        out.push(Lexeme { token, start: at, end });
        at = end;
    }
    Ok(out)
}

fn run(bytes: &[u8], from: usize, keep: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|b| !keep(*b)).map_or(bytes.len(), |n| from + n)
}

fn sign(source: &str, at: usize) -> Result<(Token, usize), Fault> {
    if let Some(sign) = SIGNS.iter().find(|s| source[at..].starts_with(**s)) {
        return Ok((Token::Sign(sign), at + sign.len()));
    }
    let found = source[at..].chars().next().unwrap_or(' ');
    let fault = Fault::new(at, at + found.len_utf8(), format!("`{found}` has no meaning in an expression"));
    Err(match found {
        '$' => fault.help("names stand without `$`"),
        '“' | '”' | '‘' | '’' => fault.help("use straight quotes"),
        _ => fault.help("a name has letters, digits and `_`; write `a[\"other name\"]` for others"),
    })
}

fn number(source: &str, at: usize) -> Result<(Token, usize), Fault> {
    let bytes = source.as_bytes();
    let mut end = run(bytes, at, |b| b.is_ascii_digit());
    let mut float = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1) != Some(&b'.') {
        float = true;
        end = run(bytes, end + 1, |b| b.is_ascii_digit());
    }
    let written = &source[at..end];
    if float {
        return match written.parse::<f64>() {
            Ok(n) if n.is_finite() => Ok((Token::Float, end)),
            _ => Err(Fault::new(at, end, format!("`{written}` is too large a number"))),
        };
    }
    let value = written.parse().map_err(|_| {
        Fault::new(at, end, format!("`{written}` is too large a whole number")).help("whole numbers go up to 9223372036854775807")
    })?;
    Ok((Token::Integer(value), end))
}

fn text(source: &str, at: usize) -> Result<(Token, usize), Fault> {
    let quote = char::from(source.as_bytes()[at]);
    let mut out = String::new();
    let mut chars = source[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        let here = at + 1 + offset;
        if c == quote {
            return Ok((Token::Text(out), here + 1));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some((_, e @ ('"' | '\'' | '/' | '\\'))) => out.push(e),
            Some((_, 'n')) => out.push('\n'),
            Some((_, 't')) => out.push('\t'),
            Some((_, 'r')) => out.push('\r'),
            Some((_, other)) => {
                let fault = Fault::new(here, here + 1 + other.len_utf8(), format!("`\\{other}` is no escape"));
                return Err(fault.help("known are \\\\ \\\" \\' \\/ \\n \\t \\r"));
            }
            None => break,
        }
    }
    Err(Fault::new(at, at + 1, format!("the text opened by {quote} is not closed")))
}
