//! The forms in which programs print a value: as it is, by line, escaped, encoded.

use super::LEAST;
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All forms of a value, some more than once; those that span lines of base64 are made of [`alignments`].
pub(super) fn of(value: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let whole = value.trim_end_matches(['\n', '\r']);
    one(whole, &mut forms);
    if whole.contains('\n') {
        for line in whole.lines() {
            one(line.trim(), &mut forms);
        }
    }
    forms
}

fn one(value: &str, forms: &mut Vec<Vec<u8>>) {
    if value.len() < LEAST {
        return;
    }
    let mut add = |form: String| {
        if form.len() >= LEAST {
            forms.push(form.into_bytes());
        }
    };
    add(value.into());
    json(value).into_iter().for_each(&mut add);
    url(value).into_iter().for_each(&mut add);
    base64(value.as_bytes()).into_iter().for_each(&mut add);
    hex(value.as_bytes()).into_iter().for_each(&mut add);
    shell(value).into_iter().for_each(&mut add);
}

/// As a string in JSON, and as one in JSON that is itself a string in JSON.
fn json(value: &str) -> Vec<String> {
    let once = escaped(value);
    let twice: Vec<String> = once.iter().flat_map(|once| escaped(once)).collect();
    once.into_iter().chain(twice).collect()
}

/// As a JSON string: plain, with everything beyond ASCII as `\u…` in both cases, with `\/` (PHP: both), with `&<>` as `\u…` (Go).
fn escaped(value: &str) -> Vec<String> {
    let inner = quoted(value);
    let lower = beyond_ascii(&inner, |unit| format!("\\u{unit:04x}"));
    let upper = beyond_ascii(&inner, |unit| format!("\\u{unit:04X}"));
    let slashes = |text: &str| text.replace('/', "\\/");
    let web = inner.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    vec![slashes(&inner), slashes(&lower), inner, lower, upper, web]
}

fn beyond_ascii(text: &str, unit: impl Fn(u16) -> String) -> String {
    let one = |c: char| if c.is_ascii() { c.to_string() } else { c.encode_utf16(&mut [0; 2]).iter().map(|u| unit(*u)).collect() };
    text.chars().map(one).collect()
}

/// What stands between the quotes of a JSON string.
fn quoted(value: &str) -> String {
    let quoted = serde_json::Value::String(value.into()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Percent-encoded as RFC 3986, as browsers and as forms do it, both cases of the digits.
fn url(value: &str) -> Vec<String> {
    const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    const COMPONENT: &AsciiSet = &STRICT.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');
    const WHOLE: &AsciiSet = &COMPONENT
        .remove(b';')
        .remove(b',')
        .remove(b'/')
        .remove(b'?')
        .remove(b':')
        .remove(b'@')
        .remove(b'&')
        .remove(b'=')
        .remove(b'+')
        .remove(b'$')
        .remove(b'#');
    const PATH: &AsciiSet = &STRICT.remove(b'/');
    const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');
    let mut out = Vec::new();
    for set in [STRICT, COMPONENT, WHOLE, PATH, FORM] {
        let upper = utf8_percent_encode(value, set).to_string();
        for text in [lower_digits(&upper), upper] {
            out.push(text.replace("%20", "+"));
            out.push(text);
        }
    }
    out
}

/// `%2F` as `%2f`.
fn lower_digits(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut digits = 0;
    for c in text.chars() {
        if digits > 0 {
            out.push(c.to_ascii_lowercase());
            digits -= 1;
        } else {
            out.push(c);
            digits = if c == '%' { 2 } else { 0 };
        }
    }
    out
}

/// In both alphabets at each of the three alignments, without the letters that the neighbours
/// change; lines of 76 or 64 that begin with the value also alone.
fn base64(value: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    for alphabet in [&STANDARD, &URL_SAFE] {
        for offset in 0..3 {
            out.push(aligned(value, alphabet, offset));
        }
    }
    let whole = GeneralPurpose::new(&STANDARD, NO_PAD).encode(value);
    for width in [76, 64] {
        out.extend(pieces(&whole, width));
    }
    out
}

/// A value in base64 at each of the three alignments; none for one that is too short to be masked.
pub(super) fn alignments(value: &str) -> Option<[Vec<u8>; 3]> {
    let whole = value.trim_end_matches(['\n', '\r']);
    (whole.len() >= LEAST).then(|| [0, 1, 2].map(|offset| aligned(whole.as_bytes(), &STANDARD, offset).into_bytes()))
}

fn aligned(value: &[u8], alphabet: &Alphabet, offset: usize) -> String {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(value);
    let text = GeneralPurpose::new(alphabet, NO_PAD).encode(&padded);
    let front = [0, 2, 3][offset];
    let back = usize::from(!padded.len().is_multiple_of(3));
    text.get(front..text.len() - back).unwrap_or_default().to_owned()
}

/// The lines of a text that a program broke at a width; none where it fits on one. A last line of
/// a few letters stays visible rather than masking such letters everywhere.
fn pieces(text: &str, width: usize) -> Vec<String> {
    if text.len() <= width {
        return Vec::new();
    }
    text.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line).into_owned()).filter(|line| line.len() >= 2 * LEAST).collect()
}

/// Both cases; also in lines of 60 as `xxd -p` writes them, and with colons or blanks between bytes.
fn hex(value: &[u8]) -> Vec<String> {
    let lower = trees_core::hash::hex(value);
    let mut out = pieces(&lower, 60);
    for separator in [":", " "] {
        let pairs: Vec<&str> = (0..lower.len()).step_by(2).map(|i| &lower[i..i + 2]).collect();
        let text = pairs.join(separator);
        out.push(text.to_uppercase());
        out.push(text);
    }
    out.push(lower.to_uppercase());
    out.push(lower);
    out
}

/// As shells quote it: in single quotes in three ways, in double quotes, by backslashes, in `$'…'`.
fn shell(value: &str) -> Vec<String> {
    let escaped = |special: &dyn Fn(char) -> bool| -> String {
        value.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
    };
    vec![
        value.replace('\'', r"'\''"),
        value.replace('\'', r#"'"'"'"#),
        value.replace('\'', r"\'"),
        escaped(&|c| matches!(c, '"' | '$' | '`' | '\\')),
        escaped(&|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.' | '/' | '@' | ':' | '+' | '%')),
        escaped(&|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.' | '/' | '@' | ':' | '+' | '%' | '=')),
        escaped(&|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '_')),
        value.replace('\\', r"\\").replace('\'', r"\'").replace('\n', r"\n").replace('\t', r"\t").replace('\r', r"\r"),
    ]
}
