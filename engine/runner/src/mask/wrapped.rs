//! Base64 that a program broke into lines of 76 or 64 letters, wherever in them a value begins.
//!
//! A form for each place where the lines may end would be a hundred forms a value. So the text is searched a second
//! time without the line ends that stand between letters, and of what is found there counts what is broken as those
//! programs break it.

use super::forms;
use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};
use std::collections::BTreeSet;

const WIDTHS: [usize; 2] = [76, 64];

/// Knows the values in base64, to find them where it is broken into lines.
pub(super) struct Wrapped {
    search: AhoCorasick,
    /// At each of the three alignments, each sorted; the search has them in this order.
    forms: [Vec<Vec<u8>>; 3],
    /// Bytes of the longest, its line ends too.
    longest: usize,
}

impl Wrapped {
    pub(super) fn new(values: &[&str]) -> Result<Self, BuildError> {
        let mut sorted: [BTreeSet<Vec<u8>>; 3] = Default::default();
        for aligned in values.iter().filter_map(|value| forms::alignments(value)) {
            sorted.iter_mut().zip(aligned).for_each(|(forms, form)| forms.extend([form]));
        }
        let forms = sorted.map(|forms| forms.into_iter().collect::<Vec<_>>());
        // Anything else takes far more memory, and only little of a text is searched here.
        let search = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(forms.iter().flatten())?;
        let longest = forms.iter().flatten().map(|form| form.len() + form.len() / WIDTHS[1] + 2).max().unwrap_or(0);
        Ok(Self { search, forms, longest })
    }

    /// Bytes of the longest at most.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Where a value stands broken into lines: from and to.
    pub(super) fn hits<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        Runs { text, at: 0 }.flat_map(move |run| {
            let found = self.search.find_overlapping_iter(&run.letters);
            let broken = found.filter(|hit| run.is_broken(hit.start(), hit.end(), false, self.group(hit.pattern().as_usize())));
            broken.map(|hit| (run.place(hit.start()), run.place(hit.end() - 1) + 1)).collect::<Vec<_>>()
        })
    }

    /// How many of the last bytes may begin a value whose first line ends among them.
    pub(super) fn held(&self, text: &[u8]) -> usize {
        let run = Run::last(&text[text.len() - text.len().min(self.longest)..]);
        let Some(end) = run.ends.last() else { return 0 };
        let begins = |from: usize| {
            let tail = &run.letters[from..];
            let mut forms = self.forms.iter().zip(GROUPS);
            forms.any(|(forms, group)| run.is_broken(from, run.letters.len(), true, group) && super::begin(forms, tail))
        };
        let length = run.letters.len() + run.ends.len();
        (0..*end).find(|from| begins(*from)).map_or(0, |from| length - run.place(from))
    }

    /// Letters of the first group of four that are wholly of the value.
    fn group(&self, pattern: usize) -> usize {
        let first = self.forms[0].len();
        GROUPS[if pattern < first { 0 } else { 1 + usize::from(pattern >= first + self.forms[1].len()) }]
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.search.memory_usage() + self.forms.iter().flatten().map(Vec::len).sum::<usize>()
    }
}

/// By alignment. A line ends behind a group of four letters.
const GROUPS: [usize; 3] = [4, 2, 1];

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// Letters with single line ends among them, which are taken out.
#[derive(Default)]
struct Run {
    /// Where it begins in the text.
    at: usize,
    letters: Vec<u8>,
    /// How many letters stand before each line end.
    ends: Vec<usize>,
}

impl Run {
    /// The one with which a text ends, maybe with a line end; it may be empty.
    fn last(text: &[u8]) -> Self {
        let belongs = |at: usize| is_letter(text[at]) || text[at] == b'\n' && at > 0 && is_letter(text[at - 1]);
        let begin = (0..text.len()).rev().take_while(|at| belongs(*at)).last().unwrap_or(text.len());
        let mut run = Self { at: 0, ..Self::default() };
        text[begin..].iter().for_each(|byte| run.push(*byte));
        run
    }

    fn push(&mut self, byte: u8) {
        if byte == b'\n' {
            self.ends.push(self.letters.len());
        } else {
            self.letters.push(byte);
        }
    }

    /// Where a letter stands in the text.
    fn place(&self, letter: usize) -> usize {
        self.at + letter + self.ends.partition_point(|end| *end <= letter)
    }

    /// Whether line ends stand between two letters, and where a program puts them; `more` when the letters are only
    /// the beginning of a value, so that a line end may stand behind the last.
    fn is_broken(&self, from: usize, to: usize, more: bool, group: usize) -> bool {
        let ends = &self.ends[self.ends.partition_point(|end| *end <= from)..];
        let ends = &ends[..ends.partition_point(|end| *end < to + usize::from(more))];
        let (Some(first), Some(last)) = (ends.first(), ends.last()) else { return false };
        let first = first - from;
        let even = |width: usize| ends.windows(2).all(|two| two[1] - two[0] == width);
        first % 4 == group % 4 && WIDTHS.into_iter().any(|width| first < group + width && to - last <= width && even(width))
    }
}

/// Those of a text that have a line end among them, in order.
struct Runs<'a> {
    text: &'a [u8],
    at: usize,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let letter = |at: usize| self.text.get(at).copied().is_some_and(is_letter);
        let joins = |at: usize| self.text[at] == b'\n' && letter(at + 1);
        loop {
            let end = self.at + self.text[self.at..].iter().position(|byte| *byte == b'\n')?;
            let before = self.text[self.at..end].iter().rev().take_while(|byte| is_letter(**byte)).count();
            self.at = end + 1;
            if before == 0 || !joins(end) {
                continue;
            }
            let mut at = end - before;
            let mut run = Run { at, ..Run::default() };
            // Behind a line end stands a letter, so that none follows another.
            while letter(at) || at < self.text.len() && joins(at) {
                run.push(self.text[at]);
                at += 1;
            }
            self.at = at;
            return Some(run);
        }
    }
}
