//! Takes secrets out of what is printed, written or said: each value in the forms in which
//! programs print it, also where it is split over many writes.
//!
//! A byte is masked when any form of any secret covers it; each run of masked bytes becomes one
//! `***`. Values (and lines of a value) of fewer than [`LEAST`] bytes are not masked, as that would
//! destroy the text without hiding anything; [`Masker::new`] tells them apart.

mod forms;
mod wrapped;

use aho_corasick::{AhoCorasick, MatchKind};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use wrapped::Wrapped;

/// Bytes that a value must have to be masked.
pub const LEAST: usize = 4;

/// Bytes that a form must have to be looked for in the content of files: four bytes stand in every
/// large file by chance.
pub const LEAST_IN_FILES: usize = 12;

/// Bytes of a file that are searched at once.
const AT_ONCE: usize = 64 << 10;

/// What stands for a secret.
pub const STARS: &str = "***";

/// Knows some secrets in all their forms. A clone costs nothing.
#[derive(Clone, Default)]
pub struct Masker(Option<Arc<Forms>>);

struct Forms {
    search: AhoCorasick,
    /// Sorted.
    forms: Vec<Vec<u8>>,
    longest: usize,
    wrapped: Wrapped,
    /// The bytes with which a form begins.
    first: [bool; 256],
    /// For the content of files; made when it is first asked for.
    in_files: OnceLock<AhoCorasick>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} forms)", self.0.as_ref().map_or(0, |m| m.forms.len()))
    }
}

impl Masker {
    /// Over the values given. Empty and too short ones have no effect.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let values: Vec<&str> = values.into_iter().collect();
        let forms: BTreeSet<Vec<u8>> = values.iter().flat_map(|value| forms::of(value)).collect();
        if forms.is_empty() {
            return Self(None);
        }
        let forms: Vec<Vec<u8>> = forms.into_iter().collect();
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        let mut first = [false; 256];
        forms.iter().for_each(|form| first[usize::from(form[0])] = true);
        let search = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&forms);
        match search.and_then(|search| Ok((search, Wrapped::new(&values)?))) {
            Ok((search, wrapped)) => Self(Some(Arc::new(Forms { search, forms, longest, wrapped, first, in_files: OnceLock::new() }))),
            // Only gigabytes of forms get here; what cannot be masked must not be printed either.
            Err(e) => panic!("cannot build the search for secrets: {e}"),
        }
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a text holds a secret in one of its forms.
    pub fn finds(&self, text: &str) -> bool {
        self.finds_bytes(text.as_bytes())
    }

    /// The same for bytes.
    pub fn finds_bytes(&self, bytes: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|m| m.search.is_match(bytes) || m.wrapped.hits(bytes).next().is_some())
    }

    /// Whether the content of a file holds a secret, in a form of at least [`LEAST_IN_FILES`] bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn finds_in(&self, mut file: impl Read) -> io::Result<bool> {
        let Some(forms) = &self.0 else { return Ok(false) };
        let search = forms.in_files()?;
        if search.patterns_len() == 0 {
            return Ok(false);
        }
        let longest = forms.longest.max(forms.wrapped.longest());
        let mut part = Vec::new();
        // What begins in one part and ends in the next is wholly in the next with the end of the one.
        while file.by_ref().take(longest.max(AT_ONCE) as u64).read_to_end(&mut part)? > 0 {
            let long = |(start, end): (usize, usize)| end - start >= LEAST_IN_FILES;
            if search.is_match(&part) || forms.wrapped.hits(&part).any(long) {
                return Ok(true);
            }
            part.drain(..part.len().saturating_sub(longest));
        }
        Ok(false)
    }

    /// The text without secrets.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.finds(text) {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len());
        let mut stream = self.stream();
        stream.push(text.as_bytes(), &mut out);
        stream.finish(&mut out);
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// Every text in a JSON value without secrets, keys too.
    pub fn mask_json(&self, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => Value::String(self.mask(text).into_owned()),
            Value::Array(items) => Value::Array(items.iter().map(|v| self.mask_json(v)).collect()),
            Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (self.mask(k).into_owned(), self.mask_json(v))).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// For bytes that come in pieces.
    pub fn stream(&self) -> Stream {
        Stream { forms: self.0.clone(), held: Vec::new(), covered: 0, open: false }
    }
}

/// Masks bytes that come in pieces. Holds back only what may be the beginning of a secret.
pub struct Stream {
    forms: Option<Arc<Forms>>,
    /// The end of what came, as long as it may begin a secret.
    held: Vec<u8>,
    /// How many of the held bytes an earlier match covers; their stars are out already.
    covered: usize,
    /// The last that went out were stars.
    open: bool,
}

impl Stream {
    /// Takes the next piece and appends what is certain to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(forms) = self.forms.clone() else {
            out.extend_from_slice(piece);
            return;
        };
        if self.held.is_empty() {
            self.advance(&forms, piece, forms.held(piece), out);
        } else {
            let mut all = std::mem::take(&mut self.held);
            all.extend_from_slice(piece);
            self.advance(&forms, &all, forms.held(&all), out);
        }
    }

    /// Appends what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(forms) = self.forms.clone() {
            let all = std::mem::take(&mut self.held);
            self.advance(&forms, &all, 0, out);
        }
    }

    /// Writes all but the last `hold` bytes and keeps those.
    fn advance(&mut self, forms: &Forms, all: &[u8], hold: usize, out: &mut Vec<u8>) {
        let until = all.len() - hold;
        if until == 0 {
            self.held = all.to_vec();
            return;
        }
        let mut at = 0;
        let mut covered = 0;
        for (start, end) in forms.runs(all, self.covered) {
            if start >= until {
                break;
            }
            covered = end.saturating_sub(until);
            self.plain(&all[at..start], out);
            if !self.open {
                out.extend_from_slice(STARS.as_bytes());
                self.open = true;
            }
            at = end.min(until);
        }
        self.plain(&all[at..until], out);
        self.covered = covered;
        self.held = all[until..].to_vec();
    }

    fn plain(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !bytes.is_empty() {
            out.extend_from_slice(bytes);
            self.open = false;
        }
    }
}

impl Forms {
    /// Maximal runs of covered bytes, in order.
    fn runs(&self, text: &[u8], covered: usize) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        if covered > 0 {
            runs.push((0, covered));
        }
        let plain = self.search.find_overlapping_iter(text).map(|found| (found.start(), found.end()));
        let mut found: Vec<(usize, usize)> = plain.chain(self.wrapped.hits(text)).collect();
        // By their ends; a later one may begin earlier and swallow several.
        found.sort_by_key(|(_, end)| *end);
        for (mut start, mut end) in found {
            while let Some((s, e)) = runs.pop_if(|(_, e)| *e >= start) {
                start = start.min(s);
                end = end.max(e);
            }
            runs.push((start, end));
        }
        runs
    }

    /// For the content of files.
    fn in_files(&self) -> io::Result<&AhoCorasick> {
        if let Some(search) = self.in_files.get() {
            return Ok(search);
        }
        let made = AhoCorasick::new(self.forms.iter().filter(|form| form.len() >= LEAST_IN_FILES)).map_err(io::Error::other)?;
        Ok(self.in_files.get_or_init(|| made))
    }

    /// How many of the last bytes may begin a secret: the longest end of `text` that begins a form.
    fn held(&self, text: &[u8]) -> usize {
        let most = text.len().min(self.longest.saturating_sub(1));
        let tails = (text.len() - most..text.len()).map(|at| &text[at..]);
        let plain = tails.filter(|tail| self.first[usize::from(tail[0])]).find(|tail| begin(&self.forms, tail)).map_or(0, <[u8]>::len);
        plain.max(self.wrapped.held(text))
    }
}

/// Whether one of the forms, which are sorted, goes on from `tail`.
fn begin(forms: &[Vec<u8>], tail: &[u8]) -> bool {
    // It stands right behind it.
    let next = forms.partition_point(|form| form.as_slice() <= tail);
    forms.get(next).is_some_and(|form| form.starts_with(tail))
}

#[cfg(test)]
mod tests;
