//! The words of an nginx configuration, as far as one must know them to follow `include` and to
//! compare two texts without their white space and comments.

use std::ops::Range;

/// One directive, or the head of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name and its arguments, without quotes.
    pub words: Vec<String>,
    /// The names of the blocks around it, the outermost first.
    pub within: Vec<String>,
    /// Where it stands in the text, with its `;`.
    pub span: Range<usize>,
}

impl Directive {
    /// Its name.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}

/// All directives of a text in their order. What nginx would refuse is read as far as it goes.
pub fn directives(text: &str) -> Vec<Directive> {
    let mut reader = Reader { text, at: 0 };
    let mut all = Vec::new();
    let mut within: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut begun = 0;
    while let Some((token, at)) = reader.next() {
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    begun = at;
                }
                words.push(word);
            }
            Token::End | Token::Open => {
                let name = words.first().cloned().unwrap_or_default();
                if !words.is_empty() {
                    all.push(Directive { words: std::mem::take(&mut words), within: within.clone(), span: begun..reader.at });
                }
                if token == Token::Open {
                    within.push(name);
                }
            }
            Token::Close => {
                words.clear();
                within.pop();
            }
        }
    }
    all
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// The next token and where it begins.
    fn next(&mut self) -> Option<(Token, usize)> {
        self.skip();
        let begun = self.at;
        let token = match self.peek()? {
            ';' => self.single(Token::End),
            '{' => self.single(Token::Open),
            '}' => self.single(Token::Close),
            quote @ ('"' | '\'') => {
                self.at += 1;
                Token::Word(self.until(|c| c == quote, true))
            }
            _ => Token::Word(self.until(|c| c.is_ascii_whitespace() || matches!(c, ';' | '{'), false)),
        };
        Some((token, begun))
    }

    fn single(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn skip(&mut self) {
        while let Some(next) = self.peek() {
            if next == '#' {
                self.at = self.text[self.at..].find('\n').map_or(self.text.len(), |end| self.at + end);
            } else if next.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    /// What stands before the end, of which a quote is taken too. `${name}` is no block.
    fn until(&mut self, end: impl Fn(char) -> bool, quoted: bool) -> String {
        let mut word = String::new();
        while let Some(next) = self.peek() {
            if end(next) && !(next == '{' && word.ends_with('$')) {
                if quoted {
                    self.at += 1;
                }
                break;
            }
            self.at += next.len_utf8();
            match (next, self.peek()) {
                ('\\', Some('"' | '\'' | '\\')) => word.extend(self.take()),
                ('\\', Some(after)) => {
                    word.push('\\');
                    word.push(after);
                    self.at += after.len_utf8();
                }
                _ => word.push(next),
            }
        }
        word
    }
}

/// A word as nginx reads it back, whatever is in it (but for `$`, which begins a variable).
pub fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::{directives, quoted};

    fn check(text: &str, expected: &[(&str, &[&str])]) {
        let found: Vec<(String, Vec<String>)> = directives(text).into_iter().map(|d| (d.within.join("/"), d.words)).collect();
        let expected: Vec<(String, Vec<String>)> =
            expected.iter().map(|(within, words)| ((*within).to_owned(), words.iter().map(|w| (*w).to_owned()).collect())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn words_quotes_comments_and_blocks() {
        check("a b;c;", &[("", &["a", "b"]), ("", &["c"])]);
        check(
            "# a;\nhttp { server { listen 80; } # }\n x y;}z;",
            &[("", &["http"]), ("http", &["server"]), ("http/server", &["listen", "80"]), ("http", &["x", "y"]), ("", &["z"])],
        );
        check(r#"a "b c;" 'd"' e\ f "g\"h" "i\n";"#, &[("", &["a", "b c;", "d\"", "e\\ f", "g\"h", "i\\n"])]);
        check("map $a ${b}c { '' x; }", &[("", &["map", "$a", "${b}c"]), ("map", &["", "x"])]);
        check("a b", &[]);
        check("} a;", &[("", &["a"])]);
        check("log ü#x;", &[("", &["log", "ü#x"])]);
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        for word in ["", "a b", "a\"b\\c", "\\", "; }"] {
            assert_eq!(directives(&format!("x {};", quoted(word)))[0].words[1], word);
        }
    }

    #[test]
    fn a_directive_knows_where_it_stands() {
        let text = "http {\n  include a.conf ; }";
        assert_eq!(&text[directives(text)[1].span.clone()], "include a.conf ;");
    }
}
