//! A timeline as one JSON document; times are seconds on the axis without the time at rest.

use super::record::Lane;
use super::sums::WAITS;
use super::{Timeline, seconds};
use crate::cli::list::row;
use serde_json::{Map, Value, json};

/// The document.
pub fn document(timeline: &Timeline) -> Value {
    let totals = &timeline.totals;
    let mut document = row(&timeline.run);
    document["schema"] = "trees/timeline".into();
    document["version"] = 1.into();
    let waits = totals.waits.iter().map(|(phase, time)| (phase.word(), *time));
    let waits = [("needs", totals.needs)].into_iter().chain(waits);
    document["totals"] = json!({
        "wall": seconds(totals.wall), "rest": seconds(totals.rest), "work": seconds(totals.work),
        "parallelism": { "average": totals.average, "peak": totals.peak },
        "waiting": waits.map(|(word, time)| (word.to_owned(), seconds(time).into())).collect::<Map<String, Value>>(),
    });
    let path = timeline.critical.iter().filter_map(|i| timeline.lanes.get(*i)).map(|lane| &lane.path);
    document["critical_path"] = json!({ "seconds": seconds(timeline.critical_time), "steps": path.collect::<Vec<_>>() });
    document["sittings"] = timeline.sittings.iter().map(|time| Value::from(seconds(*time))).collect();
    document["parallelism"] = timeline.curve.iter().map(|(time, count)| json!({ "at": seconds(*time), "steps": count })).collect();
    document["steps"] = timeline.lanes.iter().map(step).collect();
    document
}

fn step(lane: &Lane) -> Value {
    let waiting = WAITS.into_iter().map(|phase| (phase.word(), lane.spent(phase))).filter(|(_, time)| *time > 0);
    let waiting = [("needs", lane.needs)].into_iter().chain(waiting);
    let segment =
        |s: &super::record::Segment| json!({ "phase": s.phase.word(), "from": seconds(s.from), "to": seconds(s.to), "failed": s.failed });
    json!({
        "path": lane.path, "kind": lane.kind, "status": lane.status, "why": lane.why, "attempts": lane.attempts, "critical": lane.critical,
        "ended": lane.ended.map(seconds), "ran": seconds(lane.spent(super::record::Phase::Run)),
        "waiting": waiting.map(|(word, time)| (word.to_owned(), seconds(time).into())).collect::<Map<String, Value>>(),
        "segments": lane.segments.iter().map(segment).collect::<Vec<_>>(),
    })
}
