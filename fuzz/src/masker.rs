//! The masker against a plain one: the same for any secrets, however the text is split.
//!
//! The forms are made again here, letter by letter, so that a form that the masker forgets, or has
//! wrong, shows as a difference.

use trees_runner::mask::{LEAST, Masker, STARS};

/// The bytes say which secrets, and what text in which pieces.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let secrets: Vec<String> = (0..1 + bytes.next() % 3).map(|_| bytes.secret()).collect();
    let mut forms: Vec<Vec<u8>> = secrets.iter().flat_map(|s| forms_of(s)).collect();
    forms.sort();
    forms.dedup();
    let broken: Vec<Vec<u8>> = secrets.iter().flat_map(|s| broken_of(s)).collect();
    let pieces = bytes.pieces(&forms, &broken);
    let forms = [forms, broken].concat();
    let masker = Masker::new(secrets.iter().map(String::as_str));
    let text = pieces.concat();
    let wanted = plainly(&forms, &text);

    let (mut stream, mut out) = (masker.stream(), Vec::new());
    pieces.iter().for_each(|piece| stream.push(piece, &mut out));
    stream.finish(&mut out);
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(shown(&out), shown(&wanted), "of {:?}, secrets {secrets:?}", shown(&text));
    assert_eq!(out, wanted);

    assert_eq!(masker.is_empty(), forms.is_empty(), "{secrets:?}");
    if let Ok(text) = std::str::from_utf8(&text) {
        assert_eq!(masker.mask(text), shown(&wanted), "of {text:?}, secrets {secrets:?}");
        assert_eq!(masker.finds(text), masker.mask(text) != text || text.contains(STARS) && covers(&forms, text.as_bytes()));
        let value = serde_json::json!({ text: [text, 7] });
        let masked = masker.mask(text).into_owned();
        assert_eq!(masker.mask_json(&value), serde_json::json!({ masked.clone(): [masked, 7] }));
    }
}

/// The law: a byte is masked when an occurrence of any form covers it; each run of such is one `***`.
fn plainly(forms: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let mut covered = vec![false; text.len()];
    for form in forms {
        for (at, _) in text.windows(form.len()).enumerate().filter(|(_, part)| part == form) {
            covered[at..at + form.len()].fill(true);
        }
    }
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        match (covered[at], at > 0 && covered[at - 1]) {
            (false, _) => out.push(*byte),
            (true, false) => out.extend_from_slice(STARS.as_bytes()),
            (true, true) => {}
        }
    }
    out
}

fn covers(forms: &[Vec<u8>], text: &[u8]) -> bool {
    forms.iter().any(|form| text.windows(form.len()).any(|part| part == form))
}

// ---- what the bytes say ------------------------------------------------------------------------

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Up to 79 bytes, as far as they are text.
    fn secret(&mut self) -> String {
        let length = self.next() % 80;
        String::from_utf8_lossy(self.take(length)).into_owned()
    }

    /// Bytes as they are and forms, whole or cut, also those broken into lines; each begins a new piece or not.
    fn pieces(&mut self, forms: &[Vec<u8>], broken: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut pieces = vec![Vec::new()];
        while !self.0.is_empty() {
            let order = self.next();
            if order & 1 == 1 {
                pieces.push(Vec::new());
            }
            let more = if order & 2 == 0 || forms.is_empty() {
                self.take((order >> 2) % 32).to_vec()
            } else {
                let lines = order & 24 == 24 && !broken.is_empty();
                let form = if lines { &broken[(self.next() << 8 | self.next()) % broken.len()] } else { &forms[self.next() % forms.len()] };
                let (from, left) = if order & 4 == 0 { (0, 0) } else { (self.next() % 8, self.next() % 8) };
                let to = form.len().saturating_sub(left);
                form[from.min(to)..to].to_vec()
            };
            if let Some(last) = pieces.last_mut() {
                last.extend(more);
            }
        }
        pieces
    }
}

// ---- the forms, plainly ------------------------------------------------------------------------

fn forms_of(secret: &str) -> Vec<Vec<u8>> {
    let whole = secret.trim_end_matches(['\n', '\r']);
    let mut values = vec![whole];
    if whole.contains('\n') {
        values.extend(whole.lines().map(str::trim));
    }
    let long = values.into_iter().filter(|v| v.len() >= LEAST);
    let all = long.flat_map(|v| [vec![v.to_owned()], json(v), url(v), base64(v.as_bytes()), hex(v.as_bytes()), shell(v)].concat());
    all.filter(|form| form.len() >= LEAST).map(String::into_bytes).collect()
}

/// In base64 that is broken into lines: at each of the three places in a longer text, with each count
/// of letters before it in its first line.
fn broken_of(secret: &str) -> Vec<Vec<u8>> {
    let value = secret.trim_end_matches(['\n', '\r']);
    let mut out = Vec::new();
    if value.len() < LEAST {
        return out;
    }
    for (text, before) in base64(value.as_bytes()).iter().take(3).zip([0, 2, 3]) {
        for width in [76, 64] {
            for before in (before..width).step_by(4) {
                let ends = |at: usize| at > 0 && (before + at).is_multiple_of(width);
                let letters = text.bytes().enumerate();
                let lines: Vec<u8> = letters.flat_map(|(at, letter)| ends(at).then_some(b'\n').into_iter().chain([letter])).collect();
                out.extend((lines.len() > text.len()).then_some(lines));
            }
        }
    }
    out
}

/// Each letter by itself.
fn each(text: &str, letter: impl Fn(char) -> String) -> String {
    text.chars().map(letter).collect()
}

fn json(text: &str) -> Vec<String> {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\u{8}' => "\\b".into(),
        '\u{c}' => "\\f".into(),
        c if (c as u32) < 0x20 => format!("\\u{:04x}", c as u32),
        c => c.into(),
    };
    let units = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    vec![
        each(text, escaped),
        each(text, |c| if c == '/' { "\\/".into() } else { escaped(c) }),
        each(text, |c| if c.is_ascii() { escaped(c) } else { units(c) }),
    ]
}

fn url(text: &str) -> Vec<String> {
    const KEPT: [&str; 5] = ["-._~", "-._~!'()*", "-._~!'()*;,/?:@&=+$#", "-._~/", "-._*"];
    let mut out = Vec::new();
    for kept in KEPT {
        for (lower, plus) in [(false, false), (false, true), (true, false), (true, true)] {
            let byte = |b: u8| match b {
                b' ' if plus => "+".into(),
                b if b.is_ascii_alphanumeric() || kept.as_bytes().contains(&b) => char::from(b).to_string(),
                b if lower => format!("%{b:02x}"),
                b => format!("%{b:02X}"),
            };
            out.push(text.bytes().map(byte).collect());
        }
    }
    out
}

/// The letters of six bits that are wholly of the value, at three places in a longer text; and the
/// lines of one that stands alone.
fn base64(value: &[u8]) -> Vec<String> {
    let letter = |six: usize, last: [char; 2]| match six {
        0..26 => char::from(b'A' + six as u8),
        26..52 => char::from(b'a' + (six - 26) as u8),
        52..62 => char::from(b'0' + (six - 52) as u8),
        62 => last[0],
        _ => last[1],
    };
    let bits: Vec<bool> = value.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1)).collect();
    let text = |bits: &[bool], last| {
        let six = |part: &[bool]| (0..6).fold(0, |n, i| n << 1 | usize::from(part.get(i).copied().unwrap_or(false)));
        bits.chunks(6).map(|part| letter(six(part), last)).collect::<String>()
    };
    let mut out = Vec::new();
    for last in [['+', '/'], ['-', '_']] {
        for skipped in [0, 4, 2] {
            let inner = bits.get(skipped..).unwrap_or_default();
            out.push(text(&inner[..inner.len() / 6 * 6], last));
        }
    }
    let alone = text(&bits, ['+', '/']);
    out.extend([lines(&alone, 76), lines(&alone, 64)].concat());
    out
}

/// The lines of a text broken at a width, but a short last one.
fn lines(text: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let lines: Vec<String> = letters.chunks(width).map(|line| line.iter().collect()).collect();
    if lines.len() < 2 { Vec::new() } else { lines.into_iter().filter(|line| line.len() >= 2 * LEAST).collect() }
}

fn hex(value: &[u8]) -> Vec<String> {
    let pairs: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let joined: Vec<String> = ["", ":", " "].iter().map(|sign| pairs.join(sign)).collect();
    let upper = joined.iter().map(|text| text.to_uppercase());
    joined.iter().cloned().chain(upper).chain(lines(&joined[0], 60)).collect()
}

fn shell(text: &str) -> Vec<String> {
    let quote = |by: &str| each(text, |c| if c == '\'' { by.into() } else { c.into() });
    let behind = |kept: &str| {
        each(text, |c| if c.is_ascii_alphanumeric() || !c.is_ascii() || kept.contains(c) { c.into() } else { format!("\\{c}") })
    };
    let dollar = |c: char| match c {
        '\\' | '\'' => format!("\\{c}"),
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        '\r' => "\\r".into(),
        c => c.into(),
    };
    vec![
        quote(r"'\''"),
        quote(r#"'"'"'"#),
        quote(r"\'"),
        each(text, |c| if "\"$`\\".contains(c) { format!("\\{c}") } else { c.into() }),
        behind("_-./@:+%"),
        behind("_-./@:+%="),
        behind("_"),
        each(text, dollar),
    ]
}
