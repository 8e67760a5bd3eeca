//! Sets of spans of time.

use super::Time;

/// From a time to another.
pub type Span = (Time, Time);

/// Spans in order that do not touch each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Of spans in the order of their beginnings; gaps of less than `slack` are closed.
    pub fn of(spans: impl IntoIterator<Item = Span>, slack: Time) -> Self {
        let mut kept: Vec<Span> = Vec::new();
        for (from, to) in spans {
            match kept.last_mut() {
                Some((_, end)) if from <= *end + slack => *end = to.max(*end),
                _ => kept.push((from, to)),
            }
        }
        Self(kept)
    }

    /// The parts of a span that lie in the set, and those that do not.
    pub fn split(&self, (from, to): Span) -> (Vec<Span>, Vec<Span>) {
        let (mut inside, mut outside, mut at) = (Vec::new(), Vec::new(), from);
        let first = self.0.partition_point(|(_, end)| *end <= from);
        for (begin, end) in self.0.iter().skip(first).take_while(|(begin, _)| *begin < to) {
            if *begin > at {
                outside.push((at, *begin));
            }
            inside.push(((*begin).max(at), (*end).min(to)));
            at = (*end).min(to);
        }
        if at < to {
            outside.push((at, to));
        }
        (inside, outside)
    }
}

/// How many of some spans hold from a time on, in order; equal times are one.
pub fn counts(spans: impl IntoIterator<Item = Span>) -> Vec<(Time, u32)> {
    let mut changes: Vec<(Time, i32)> = spans.into_iter().flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    changes.sort_unstable();
    let (mut counts, mut now): (Vec<(Time, u32)>, i32) = (Vec::new(), 0);
    for (time, change) in changes {
        now += change;
        let count = u32::try_from(now).unwrap_or_default();
        match counts.last_mut() {
            Some((last, value)) if *last == time => *value = count,
            _ => counts.push((time, count)),
        }
    }
    counts
}

/// The spans in which a count is at least so high.
pub fn full(counts: &[(Time, u32)], limit: u32, slack: Time) -> Spans {
    let ends = counts.iter().skip(1).map(|(time, _)| *time);
    let spans = counts.iter().zip(ends).filter(|((_, count), _)| *count >= limit.max(1));
    Spans::of(spans.map(|((from, _), to)| (*from, to)), slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_falls_into_what_is_inside_and_what_is_not() {
        let set = Spans::of([(10, 20), (21, 30), (50, 60)], 2);
        assert_eq!(set, Spans(vec![(10, 30), (50, 60)]));
        assert_eq!(set.split((0, 100)), (vec![(10, 30), (50, 60)], vec![(0, 10), (30, 50), (60, 100)]));
        assert_eq!(set.split((15, 18)), (vec![(15, 18)], vec![]));
        assert_eq!(set.split((30, 50)), (vec![], vec![(30, 50)]));
        assert_eq!(Spans::default().split((1, 2)), (vec![], vec![(1, 2)]));
    }

    #[test]
    fn counts_and_where_they_are_full() {
        let counts = counts([(0, 10), (5, 10), (10, 12)]);
        assert_eq!(counts, [(0, 1), (5, 2), (10, 1), (12, 0)]);
        assert_eq!(full(&counts, 2, 0), Spans(vec![(5, 10)]));
    }
}
