//! What the leaves waited for, and the sums of a run.

use super::Time;
use super::record::{Lane, Phase, Segment};
use super::spans::{Span, Spans, counts, full};
use std::collections::HashMap;

/// A place that is free for less than this was handed on.
const HANDED_ON: Time = 50_000;
/// To be made ready takes this long at most before it is told as waiting.
const READY: Time = 1_000;

/// When places were all taken.
pub struct Loads {
    running: Vec<(Time, u32)>,
    places: Spans,
    pools: HashMap<String, Spans>,
    groups: HashMap<String, Spans>,
    /// When the approval of an environment was waited for.
    gates: HashMap<String, Spans>,
}

impl Loads {
    /// From all that ran; `limit` at once.
    pub fn of(lanes: &[Lane], limit: u32) -> Self {
        let running = counts(lanes.iter().filter(|lane| lane.kind != "approve").flat_map(runs));
        let gates = lanes.iter().filter(|lane| lane.is_gate());
        Self {
            places: full(&running, limit, HANDED_ON),
            pools: taken(lanes, |lane| lane.pool.as_ref()),
            groups: taken(lanes, |lane| lane.group.as_ref()),
            gates: gates.map(|lane| (lane.path.clone(), Spans::of(phases(lane, Phase::Person), 0))).collect(),
            running,
        }
    }

    /// How many run from a time on.
    pub fn curve(self) -> Vec<(Time, u32)> {
        self.running
    }
}

fn phases(lane: &Lane, phase: Phase) -> impl Iterator<Item = Span> {
    lane.segments.iter().filter(move |s| s.phase == phase).map(|s| (s.from, s.to))
}

fn runs(lane: &Lane) -> impl Iterator<Item = Span> {
    phases(lane, Phase::Run).chain(phases(lane, Phase::Undo))
}

/// When all places of each name were taken.
fn taken<'a>(lanes: &'a [Lane], of: impl Fn(&'a Lane) -> Option<&'a (String, u32)>) -> HashMap<String, Spans> {
    let mut by_name: HashMap<&str, (u32, Vec<Span>)> = HashMap::new();
    for lane in lanes {
        if let Some((name, size)) = of(lane) {
            by_name.entry(name).or_insert((*size, Vec::new())).1.extend(runs(lane));
        }
    }
    by_name.into_iter().map(|(name, (size, spans))| (name.to_owned(), full(&counts(spans), size, HANDED_ON))).collect()
}

/// Finds what each leaf waited for between what it needs and its beginning.
pub fn split(lanes: &mut [Lane], loads: &Loads, sittings: &[Time]) {
    for lane in lanes {
        let begins = if lane.begins.is_empty() { lane.ended.into_iter().collect() } else { lane.begins.clone() };
        let mut waits = Vec::new();
        for begin in begins {
            let sitting = sittings.iter().rev().find(|at| **at <= begin).copied().unwrap_or(0);
            let base = lane.base.max(sitting).min(begin);
            // A need that ended later was done once more; when it had ended before is not known any more.
            let from = lane.eligible.clamp(base, begin);
            lane.needs += from - base;
            if !lane.begins.is_empty() && begin > from {
                waits.extend(causes(lane, loads, (from, begin)));
            }
        }
        lane.segments.extend(waits);
        lane.segments.sort_by_key(|s| s.from);
    }
}

/// What a leaf waited for that could have begun.
fn causes(lane: &Lane, loads: &Loads, wait: Span) -> Vec<Segment> {
    let by_cause = [
        (Phase::Person, loads.gates.get(&lane.environment)),
        (Phase::Pool, lane.pool.as_ref().and_then(|(name, _)| loads.pools.get(name))),
        (Phase::Places, lane.group.as_ref().and_then(|(name, _)| loads.groups.get(name))),
        (Phase::Places, Some(&loads.places)),
    ];
    let mut left = vec![wait];
    let mut found = Vec::new();
    // An approval takes no place.
    for (phase, spans) in by_cause.into_iter().filter(|(phase, _)| lane.kind != "approve" || *phase == Phase::Person) {
        let Some(spans) = spans else { continue };
        let mut rest = Vec::new();
        for part in left {
            let (inside, outside) = spans.split(part);
            found.extend(inside.into_iter().map(|(from, to)| Segment { phase, from, to, failed: false }));
            rest.extend(outside);
        }
        left = rest;
    }
    let rest = |(from, to): Span| {
        // Whether a lock was free is not recorded where the run itself had it.
        let phase = if lane.locks && to - from > HANDED_ON { Phase::Lock } else { Phase::Start };
        Segment { phase, from, to, failed: false }
    };
    found.extend(left.into_iter().filter(|(from, to)| to - from > READY).map(rest));
    found
}

/// What a run took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// From the first event to the last.
    pub wall: Time,
    /// Of that: nobody drove it.
    pub rest: Time,
    /// The attempts of all leaves together.
    pub work: Time,
    /// Leaves at once, on average.
    pub average: f64,
    /// Leaves at once, at most.
    pub peak: u32,
    /// Waiting for needs.
    pub needs: Time,
    /// Waiting by what for.
    pub waits: Vec<(Phase, Time)>,
}

/// What can be waited for beside needs, as it is told.
pub const WAITS: [Phase; 6] = [Phase::Places, Phase::Pool, Phase::Lock, Phase::Person, Phase::Retry, Phase::Start];

impl Totals {
    /// Of all lanes.
    pub fn of(lanes: &[Lane], sittings: &[Time], end: Time, rest: Time) -> Self {
        // Those who wait for the approval of an environment have it among their own, but for the rest.
        let spent_by = |lane: &Lane, phase| if lane.is_gate() && phase == Phase::Person { lane.at_rest } else { lane.spent(phase) };
        let spent = |phase: Phase| lanes.iter().map(|lane| spent_by(lane, phase)).sum::<Time>();
        let work = spent(Phase::Run) + spent(Phase::Undo);
        let driven = end - sittings.first().copied().unwrap_or(0);
        Self {
            wall: end + rest,
            rest,
            work,
            average: if driven > 0 { super::seconds(work) / super::seconds(driven) } else { 0.0 },
            peak: counts(lanes.iter().flat_map(runs)).iter().map(|(_, count)| *count).max().unwrap_or(0),
            needs: lanes.iter().map(|lane| lane.needs).sum(),
            waits: WAITS.into_iter().map(|phase| (phase, spent(phase))).collect(),
        }
    }
}

impl Phase {
    /// Its word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Places => "places",
            Self::Pool => "pools",
            Self::Lock => "locks",
            Self::Person => "people",
            Self::Retry => "retries",
            Self::Start => "start",
            Self::Run => "run",
            Self::Undo => "undo",
        }
    }

    /// What is waited for.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Places => "places of max_parallel",
            Self::Pool => "pools",
            Self::Lock => "locks",
            Self::Person => "people",
            Self::Retry => "next attempts",
            Self::Start => "being made ready",
            Self::Run => "runs",
            Self::Undo => "is taken back",
        }
    }

    /// What a leaf did then.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Places => "waited for a place",
            Self::Pool => "waited for its pool",
            Self::Lock => "waited for a lock",
            Self::Person => "waited for a person",
            Self::Retry => "waited for its next attempt",
            Self::Start => "was made ready for",
            Self::Run => "ran",
            Self::Undo => "was taken back in",
        }
    }
}
