//! A timeline as one web page that loads nothing: `page.html`, filled with texts. Tera escapes each
//! of them, so that no name or message becomes markup.

use super::record::{Lane, Phase, Segment};
use super::sums::WAITS;
use super::{Time, Timeline, WORTH_TELLING, seconds, told};
use crate::failure::Failure;
use crate::report::Paint;
use crate::report::said::{plural, status_word};
use serde_json::{Value, json};
use std::fmt::Write as _;
use tera::{Context, Tera};

/// Steps of the curve; with more nobody sees the difference.
const POINTS: Time = 500;
/// Marks of the scale beside its zero.
const TICKS: Time = 6;

/// The page.
pub fn page(timeline: &Timeline) -> Result<String, Failure> {
    let mut tera = Tera::new();
    tera.autoescape_on([".html"]);
    tera.add_raw_template("page.html", include_str!("page.html")).map_err(Failure::bug)?;
    let context = Context::from_serialize(&context(timeline)).map_err(Failure::bug)?;
    tera.render("page.html", &context).map_err(Failure::bug)
}

fn context(timeline: &Timeline) -> Value {
    let run = &timeline.run;
    let (paint, word) = status_word(run.status);
    let place = if run.environment.is_empty() { String::new() } else { format!(" in {}", run.environment) };
    let tick = |n: Time| json!({ "left": n * 100 / TICKS, "text": told(timeline.end * n / TICKS) });
    json!({
        "name": format!("{} #{}", run.tree, run.number),
        "status": word,
        "tone": tone(paint),
        "facts": format!("run {} of {}{place}, started {}", run.run, run.file, run.started.strftime("%Y-%m-%d %H:%M:%SZ")),
        "cards": cards(timeline),
        "legend": legend(timeline),
        "ticks": (0..=TICKS).map(tick).collect::<Vec<_>>(),
        "sittings": timeline.sittings.iter().map(|at| place_of(timeline, *at)).collect::<Vec<_>>(),
        "lanes": timeline.lanes.iter().map(|l| lane(timeline, l)).collect::<Vec<_>>(),
        "critical": critical(timeline),
        "critical_time": told(timeline.critical_time),
        "curve": curve(timeline),
        "curve_label": format!("{:.1} steps at once on average, {} at most", timeline.totals.average, timeline.totals.peak),
        "peak": timeline.totals.peak,
        "mean": format!("{:.2}", height(timeline, timeline.totals.average)),
        "waits": waits(timeline),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// A time that is not worth a word where there is none.
fn told_if(time: Time) -> String {
    if time > 0 { told(time) } else { String::new() }
}

fn tone(paint: Paint) -> &'static str {
    match paint {
        Paint::Good => "good",
        Paint::Bad => "bad",
        Paint::Care => "care",
        Paint::Plain | Paint::Faint | Paint::Strong => "idle",
    }
}

fn place_of(timeline: &Timeline, time: Time) -> String {
    format!("{:.3}", timeline.percent(time))
}

fn cards(timeline: &Timeline) -> Value {
    let totals = &timeline.totals;
    let rest = if totals.rest > 0 { format!("of that {} at rest", told(totals.rest)) } else { "all of it driven".into() };
    let steps = plural(timeline.critical.len(), "step");
    json!([
        { "label": "Wall time", "value": told(totals.wall), "note": rest },
        { "label": "Work", "value": told(totals.work), "note": format!("of {}", plural(timeline.lanes.len(), "step")) },
        { "label": "Parallelism", "value": format!("{:.1}", totals.average), "note": format!("{} at most", totals.peak) },
        { "label": "Critical path", "value": told(timeline.critical_time), "note": steps },
    ])
}

fn legend(timeline: &Timeline) -> Value {
    let there = |phase: Phase| timeline.lanes.iter().any(|l| l.segments.iter().any(|s| s.phase == phase));
    let turn = [Phase::Places, Phase::Pool, Phase::Lock, Phase::Start].into_iter().any(there);
    let failed = timeline.lanes.iter().any(|l| l.segments.iter().any(|s| s.failed));
    let signs = [
        ("p-run good", "succeeded", true),
        ("p-run bad", "failed", failed),
        ("p-places", "waits for its turn", turn),
        ("p-people", "waits for a person", there(Phase::Person)),
        ("p-retries", "waits for its next attempt", there(Phase::Retry)),
        ("p-undo", "is taken back", there(Phase::Undo)),
    ];
    signs.into_iter().filter(|(_, _, there)| *there).map(|(class, text, _)| json!({ "class": class, "text": text })).collect()
}

fn lane(timeline: &Timeline, lane: &Lane) -> Value {
    let sum = |phases: &[Phase]| told_if(phases.iter().map(|phase| lane.spent(*phase)).sum());
    let sign = lane.sign().filter(|_| lane.spent(Phase::Run) == 0);
    json!({
        "path": lane.path,
        "critical": lane.critical,
        "tone": tone(lane.paint()),
        "label": label(lane),
        "parts": lane.segments.iter().map(|s| part(timeline, s)).collect::<Vec<_>>(),
        "sign": sign.map(String::from),
        "at": place_of(timeline, lane.ended.unwrap_or_default()),
        "status": lane.status.as_str().replace('_', " "),
        "started": lane.first().map(told),
        "took": sum(&[Phase::Run, Phase::Undo]),
        "attempts": lane.attempts,
        "needs": told_if(lane.needs),
        "turn": sum(&[Phase::Places, Phase::Pool, Phase::Lock, Phase::Start]),
        "person": sum(&[Phase::Person]),
        "retries": sum(&[Phase::Retry]),
        "why": lane.why,
    })
}

fn part(timeline: &Timeline, segment: &Segment) -> Value {
    let (from, to) = (timeline.percent(segment.from), timeline.percent(segment.to));
    json!({ "phase": segment.phase.word(), "left": format!("{from:.3}"), "width": format!("{:.3}", to - from), "failed": segment.failed })
}

/// All that is known of a lane, in one sentence.
fn label(lane: &Lane) -> String {
    let mut text = format!("{}: {}", lane.path, lane.status.as_str().replace('_', " "));
    if let Some(first) = lane.first().filter(|_| !lane.segments.is_empty()) {
        text.push_str(&format!(", began after {}", told(first)));
    }
    for phase in [Phase::Run, Phase::Undo].into_iter().chain(WAITS) {
        let time = lane.spent(phase);
        if time > 0 {
            text.push_str(&format!(", {} {}", phase.phrase(), told(time)));
        }
    }
    if lane.attempts > 1 {
        text.push_str(&format!(", {}", plural(usize::try_from(lane.attempts).unwrap_or(usize::MAX), "attempt")));
    }
    if lane.critical {
        text.push_str(", on the critical path");
    }
    match &lane.why {
        Some(why) => format!("{text}: {why}"),
        None => text,
    }
}

fn critical(timeline: &Timeline) -> Value {
    let all = seconds(timeline.critical_time).max(1e-6);
    let mut before = 0.0;
    let lanes = timeline.critical.iter().filter_map(|i| timeline.lanes.get(*i));
    let row = |lane: &Lane| {
        let own = seconds(lane.own()) / all * 100.0;
        let left = before;
        before += own;
        json!({
            "path": lane.path, "tone": tone(lane.paint()), "took": told(lane.own()),
            "left": format!("{left:.3}"), "width": format!("{own:.3}"),
        })
    };
    lanes.map(row).collect()
}

fn waits(timeline: &Timeline) -> Value {
    let totals = &timeline.totals;
    let all: Vec<(&str, &str, Time)> = [("needs", "needs", totals.needs)]
        .into_iter()
        .chain(totals.waits.iter().map(|(phase, time)| (phase.word(), phase.noun(), *time)))
        .filter(|(_, _, time)| *time >= WORTH_TELLING)
        .collect();
    let longest = all.iter().map(|(_, _, time)| *time).max().unwrap_or(1).max(1);
    let row = |(class, text, time): &(&str, &str, Time)| {
        let class = if *class == "needs" { "run idle" } else { class };
        json!({ "class": class, "text": text, "took": told(*time), "width": *time * 100 / longest })
    };
    all.iter().map(row).collect()
}

/// Where a number of steps is in the drawing, from the top.
fn height(timeline: &Timeline, steps: f64) -> f64 {
    100.0 - steps / f64::from(timeline.totals.peak.max(1)) * 96.0
}

/// The curve as a path: how many steps ran on average in each small part of the time.
fn curve(timeline: &Timeline) -> String {
    let mut text = String::from("M0,100");
    let mut from = 0;
    for part in 1..=POINTS {
        let to = timeline.end * part / POINTS;
        let (left, top) = (timeline.percent(from) * 10.0, height(timeline, average(&timeline.curve, from, to)));
        write!(text, "H{left:.1}V{top:.2}").unwrap_or_default();
        from = to;
    }
    text + "H1000V100Z"
}

/// How many ran on average in a part of the time.
fn average(curve: &[(Time, u32)], from: Time, to: Time) -> f64 {
    let ends = curve.iter().skip(1).map(|(time, _)| *time).chain([Time::MAX]);
    let first = curve.partition_point(|(time, _)| *time <= from).saturating_sub(1);
    let parts = curve.iter().zip(ends).skip(first).take_while(|((begin, _), _)| *begin < to);
    let sum: f64 = parts.map(|((begin, count), end)| seconds(end.min(to) - (*begin).max(from)).max(0.0) * f64::from(*count)).sum();
    sum / seconds(to - from).max(1e-9)
}
