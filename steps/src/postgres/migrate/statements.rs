//! Where the statements of a file end: quotes, dollar quotes, comments and the bodies of functions are
//! gone over, nothing more is understood.

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, without what stands before it.
    pub text: String,
    /// The line of the file in which it begins, from 1.
    pub line: usize,
    /// Its words in capitals, up to a few.
    pub words: Vec<String>,
}

/// So many words tell what a statement is.
const TOLD: usize = 64;

/// The statements of a file, without empty ones.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut reading = Reading { text, at: 0, begun: None, words: Vec::new(), depth: 0, found: Vec::new() };
    while reading.at < text.len() {
        reading.step();
    }
    reading.end();
    reading.found
}

struct Reading<'a> {
    text: &'a str,
    at: usize,
    begun: Option<usize>,
    words: Vec<String>,
    /// Within `BEGIN ATOMIC … END` of a function.
    depth: u32,
    found: Vec<Statement>,
}

impl Reading<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn step(&mut self) {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return };
        if rest.starts_with("--") {
            self.at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            self.at += comment(rest);
        } else if first == ';' && self.depth == 0 {
            self.end();
            self.at += 1;
        } else if first.is_whitespace() {
            self.at += first.len_utf8();
        } else {
            self.begun.get_or_insert(self.at);
            self.part(first);
        }
    }

    fn part(&mut self, first: char) {
        let rest = self.rest();
        let taken = match first {
            '\'' => quoted(rest, '\'', false),
            '"' => quoted(rest, '"', false),
            '$' => dollar_quoted(rest).unwrap_or(1),
            c if c.is_alphabetic() || c == '_' => {
                let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$')).collect();
                let escapes = word.eq_ignore_ascii_case("e") && rest[word.len()..].starts_with('\'');
                let length = if escapes { 1 + quoted(&rest[1..], '\'', true) } else { word.len() };
                if !escapes {
                    self.word(word.to_uppercase());
                }
                length
            }
            other => other.len_utf8(),
        };
        self.at += taken;
    }

    fn word(&mut self, word: String) {
        let function =
            self.words.first().is_some_and(|w| w == "CREATE") && self.words.iter().take(4).any(|w| w == "FUNCTION" || w == "PROCEDURE");
        match word.as_str() {
            "BEGIN" if function => self.depth += 1,
            "CASE" if self.depth > 0 => self.depth += 1,
            "END" if self.depth > 0 => self.depth -= 1,
            _ => {}
        }
        if self.words.len() < TOLD {
            self.words.push(word);
        }
    }

    fn end(&mut self) {
        let words = std::mem::take(&mut self.words);
        self.depth = 0;
        let Some(begun) = self.begun.take() else { return };
        let text = self.text[begun..self.at].trim_end().to_owned();
        let line = self.text[..begun].matches('\n').count() + 1;
        self.found.push(Statement { text, line, words });
    }
}

/// Bytes of a text in quotes; a doubled one does not end it.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            if letters.peek().is_none_or(|(_, next)| *next != quote) {
                return at + 1;
            }
            letters.next();
        }
    }
    text.len()
}

/// Bytes of `$tag$ … $tag$`; `None`: no dollar quote begins here.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag = &text[1..1 + text[1..].find('$')?];
    let named = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    let opening = 2 + tag.len();
    named.then(|| text[opening..].find(&text[..opening]).map_or(text.len(), |end| end + 2 * opening))
}

/// Bytes of a comment; comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::statements;

    fn check(text: &str, expected: &[(usize, &str)]) {
        let found = statements(text);
        assert_eq!(found.iter().map(|s| (s.line, s.text.as_str())).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn a_statement_ends_where_the_server_ends_it() {
        check("", &[]);
        check(" ;; -- nothing\n/* here; /* nor */ ; */;", &[]);
        check("SELECT 1;\n\nSELECT 2", &[(1, "SELECT 1"), (3, "SELECT 2")]);
        check(
            "SELECT 'a;''b;', \"c;\"\"d\", E'\\';', e'x\\\\';SELECT 2",
            &[(1, "SELECT 'a;''b;', \"c;\"\"d\", E'\\';', e'x\\\\'"), (1, "SELECT 2")],
        );
        check("DO $$ a; $x$ b; $x$ $$; SELECT $1;", &[(1, "DO $$ a; $x$ b; $x$ $$"), (1, "SELECT $1")]);
        check("DO $ä$ ; $$ ; $ä$;SELECT a$b;", &[(1, "DO $ä$ ; $$ ; $ä$"), (1, "SELECT a$b")]);
        check("SELECT 1 /* ; */ + 2; -- é;\nX", &[(1, "SELECT 1 /* ; */ + 2"), (2, "X")]);
        check("SELECT 'open; /* -- $$", &[(1, "SELECT 'open; /* -- $$")]);
        check("/* open; SELECT 1", &[]);
        let body = "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
        check(&format!("{body}; BEGIN; END;"), &[(1, body), (1, "BEGIN"), (1, "END")]);
    }

    #[test]
    fn words_tell_what_it_is() {
        let found = statements("copy \"from\" from 'stdin' /* x */ ; CREATE unique INDEX concurrently a1 ON t (c)");
        assert_eq!(found[0].words, ["COPY", "FROM"]);
        assert_eq!(found[1].words[..5], ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", "A1"]);
    }
}
