//! As much JSON as a chat needs: objects of strings in, text out.

use std::iter::Peekable;
use std::str::Chars;

/// Writes a string with its quotes.
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes an object whose values are strings.
pub fn object(fields: &[(&str, &str)]) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in fields.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        quote(name, &mut out);
        out.push(':');
        quote(value, &mut out);
    }
    out.push('}');
    out
}

/// Reads an object whose values are strings; anything else is an error.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut chars = text.chars().peekable();
    let mut fields = Vec::new();
    expect(&mut chars, '{')?;
    skip_space(&mut chars);
    if chars.peek() == Some(&'}') {
        chars.next();
        return end(&mut chars, fields);
    }
    loop {
        let name = string(&mut chars)?;
        expect(&mut chars, ':')?;
        let value = string(&mut chars)?;
        if fields.iter().any(|(known, _)| *known == name) {
            return Err(format!("`{name}` stands there twice"));
        }
        fields.push((name, value));
        skip_space(&mut chars);
        match chars.next() {
            Some(',') => {}
            Some('}') => return end(&mut chars, fields),
            _ => return Err("expected `,` or `}`".into()),
        }
    }
}

fn end(chars: &mut Peekable<Chars<'_>>, fields: Vec<(String, String)>) -> Result<Vec<(String, String)>, String> {
    skip_space(chars);
    if chars.peek().is_some() { Err("text after the object".into()) } else { Ok(fields) }
}

fn skip_space(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' ' | '\t' | '\r' | '\n')).is_some() {}
}

fn expect(chars: &mut Peekable<Chars<'_>>, wanted: char) -> Result<(), String> {
    skip_space(chars);
    if chars.next() == Some(wanted) { Ok(()) } else { Err(format!("expected `{wanted}`")) }
}

fn string(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    expect(chars, '"')?;
    let mut out = String::new();
    loop {
        match chars.next() {
            None => return Err("a string does not end".into()),
            Some('"') => return Ok(out),
            Some('\\') => out.push(escaped(chars)?),
            Some(c) if u32::from(c) < 0x20 => return Err("a control character in a string".into()),
            Some(c) => out.push(c),
        }
    }
}

fn escaped(chars: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    Ok(match chars.next() {
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some(c @ ('"' | '\\' | '/')) => c,
        Some('u') => unicode(chars)?,
        _ => return Err("an unknown escape".into()),
    })
}

fn unicode(chars: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    let first = hex(chars)?;
    let code = if (0xD800..0xDC00).contains(&first) {
        if chars.next() != Some('\\') || chars.next() != Some('u') {
            return Err("half a surrogate pair".into());
        }
        let second = hex(chars)?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err("half a surrogate pair".into());
        }
        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
    } else {
        first
    };
    char::from_u32(code).ok_or_else(|| "no such character".into())
}

fn hex(chars: &mut Peekable<Chars<'_>>) -> Result<u32, String> {
    let mut code = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or("expected four hexadecimal digits")?;
        code = code * 16 + digit;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let hostile = "quote \" slash \\ line\n tab\t bell\u{7} é 🌳 </script>";
        assert_eq!(parse(&object(&[("text", hostile)])), Ok(vec![("text".to_owned(), hostile.to_owned())]));
    }

    #[test]
    fn reads_escapes_and_space() {
        let read = parse(" { \"a\" : \"\\u00e9\\ud83c\\udf33\\/\" , \"b\":\"\" } ");
        assert_eq!(read, Ok(vec![("a".into(), "é🌳/".into()), ("b".into(), String::new())]));
    }

    #[test]
    fn refuses_what_is_no_object_of_strings() {
        for text in ["", "{", "[]", "{\"a\":1}", "{\"a\":\"b\"", "{\"a\":\"b\"} x", "{\"a\":\"\\ud83c\"}", "{\"a\":\"b\",\"a\":\"c\"}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
