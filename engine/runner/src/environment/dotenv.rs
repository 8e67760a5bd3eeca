//! Reads a dotenv file: `NAME=value` lines, strictly, without touching any environment.
//!
//! `export` before a name and `#` comments are fine. In single quotes everything is literal; in
//! double quotes `\n \r \t \\ \" \$ \'` are escapes; both may go over lines. Without quotes the
//! value ends at ` #`, blanks around it are dropped. `$` means nothing: nothing is substituted.

/// What is wrong with a dotenv file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotenvError {
    /// From 1.
    pub line: usize,
    /// One lower-case sentence.
    pub message: String,
}

/// Reads a dotenv file's text; a name may come twice, the last one counts.
///
/// # Errors
/// At the first line that is no assignment, comment or blank.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
    let mut pairs = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (row, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = row.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let wrong = |message: String| DotenvError { line, message };
        let assignment = trimmed.strip_prefix("export ").unwrap_or(trimmed).trim_start();
        let Some((name, _)) = assignment.split_once('=') else {
            return Err(wrong(format!("`{}` is no assignment: write NAME=value", short(trimmed))));
        };
        let name = name.trim_end();
        if !is_name(name) {
            return Err(wrong(format!("`{}` is no name of a variable: use letters, digits and _", short(name))));
        }
        let start = rest.find('=').map_or(rest.len(), |i| i + 1);
        let (value, used) = value(&rest[start..]).map_err(wrong)?;
        let end = start + used;
        line += rest[..end].matches('\n').count();
        let (left, after) = rest[end..].split_once('\n').unwrap_or((&rest[end..], ""));
        if !(left.trim().is_empty() || left.trim_start().starts_with('#')) {
            return Err(DotenvError {
                line,
                message: format!("`{}` follows the closing quote: put the whole value in quotes", short(left.trim())),
            });
        }
        pairs.push((name.to_owned(), value));
        (rest, line) = (after, line + 1);
    }
    Ok(pairs)
}

/// A value at the start of a text, and how many bytes it takes.
fn value(text: &str) -> Result<(String, usize), String> {
    let start = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[start..];
    match body.chars().next() {
        Some('\'') => match body[1..].find('\'') {
            Some(end) => Ok((body[1..=end].to_owned(), start + end + 2)),
            None => Err("a single quote is not closed".into()),
        },
        Some('"') => double(&body[1..]).map(|(value, used)| (value, start + 1 + used)),
        _ => {
            let row = body.split('\n').next().unwrap_or_default();
            let end = [" #", "\t#"].iter().filter_map(|c| row.find(c)).min().unwrap_or(row.len());
            let value = if row.starts_with('#') { "" } else { row[..end].trim() };
            Ok((value.to_owned(), start + row.len()))
        }
    }
}

/// What stands before the closing double quote, and how many bytes with it.
fn double(text: &str) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, at + 1)),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(c @ ('\\' | '"' | '$' | '\'' | '`')) => value.push(c),
                Some('\n') => {}
                Some(other) => return Err(format!("`\\{other}` is no escape: write `\\\\` for a backslash, or use single quotes")),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("a double quote is not closed".into())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Only the start, as a value may be secret.
fn short(text: &str) -> String {
    text.chars().take(24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, &str)], (usize, &str)>) {
        let found = parse(text);
        let found = found.as_ref().map(|p| p.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text:?}"),
            (Err(found), Err((line, message))) => assert_eq!((found.line, found.message.as_str()), (line, message), "{text:?}"),
            (found, expected) => panic!("{text:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn values() {
        check("", Ok(&[]));
        check("\n# c\n  # d\n", Ok(&[]));
        check("A=1", Ok(&[("A", "1")]));
        check("A=1\r\nB=2\r\n", Ok(&[("A", "1"), ("B", "2")]));
        check("\u{feff}export A = b c \n", Ok(&[("A", "b c")]));
        check("A=\nB=# c\nC=x#y\nD=x # y\n", Ok(&[("A", ""), ("B", ""), ("C", "x#y"), ("D", "x")]));
        check("A=$HOME/${B}\n", Ok(&[("A", "$HOME/${B}")]));
        check("A='a \\n \"$b\"' # c\n", Ok(&[("A", "a \\n \"$b\"")]));
        check("A=\"a\\n\\t\\\\\\\"\\$\"\nB=2", Ok(&[("A", "a\n\t\\\"$"), ("B", "2")]));
        check("A=\"one\ntwo\"\nB='x\ny'\nC=3\n", Ok(&[("A", "one\ntwo"), ("B", "x\ny"), ("C", "3")]));
        check("A=b=c==\n", Ok(&[("A", "b=c==")]));
        check("URL=postgres://u:p@h/d?x=1&y='2'\n", Ok(&[("URL", "postgres://u:p@h/d?x=1&y='2'")]));
    }

    #[test]
    fn mistakes() {
        check("A=1\nwrong\n", Err((2, "`wrong` is no assignment: write NAME=value")));
        check("1A=1\n", Err((1, "`1A` is no name of a variable: use letters, digits and _")));
        check("A-B=1\n", Err((1, "`A-B` is no name of a variable: use letters, digits and _")));
        check("=1\n", Err((1, "`` is no name of a variable: use letters, digits and _")));
        check("\nA='b\n", Err((2, "a single quote is not closed")));
        check("A=\"b\n", Err((1, "a double quote is not closed")));
        check("A=\"\\x\"\n", Err((1, "`\\x` is no escape: write `\\\\` for a backslash, or use single quotes")));
        check("A='x\ny'z\n", Err((2, "`z` follows the closing quote: put the whole value in quotes")));
    }
}
