//! A plan and a drift as lines: each step with what would become of it, what differs below it.

use super::said::plural;
use super::style::{columns, pad};
use super::{Line, Paint, clean};
use trees_core::event::Json;
use trees_runner::driver::{Drift, Plan, Row, Verdict};
use trees_runner::kind::Change;

/// A value is shown up to so many characters.
const VALUE: usize = 60;
/// Names are padded up to so many columns.
const NAMES: usize = 32;

/// What a row would be called in a sentence: "to be …".
pub fn word(verdict: &str) -> &str {
    match verdict {
        "run" => "run",
        "change" => "changed",
        "done" => "left as it is",
        "cached" => "taken from the cache",
        "ask" => "asked",
        "person" => "approved by a person",
        "skip" => "skipped",
        "fail" => "failing",
        _ => "unknown",
    }
}

/// All lines of a plan.
pub fn lines(name: (&str, &str), plan: &Plan, quiet: bool) -> Vec<Line> {
    let place = if name.1.is_empty() { String::new() } else { format!(" in {}", name.1) };
    let mut lines = vec![Line::default().with(Paint::Strong, name.0).with(Paint::Plain, place)];
    let shown: Vec<&Row> = plan.steps.iter().filter(|row| !quiet || matters(row)).collect();
    let names = width(shown.iter().map(|row| row.path.as_str()));
    let kinds = shown.iter().map(|row| row.kind.len()).max().unwrap_or(0);
    for row in shown {
        let (paint, mark) = mark(row);
        let text = format!("{}  {}  ", pad(row.path.as_str(), names), pad(&row.kind, kinds));
        let painted = if matters(row) { Paint::Plain } else { Paint::Faint };
        lines.extend(step(Line::default().with(paint, format!("  {mark} ")).with(painted, text), &row.reason));
        lines.extend(row.changes.iter().map(changed));
    }
    lines.push(summary(plan));
    lines
}

/// All lines of a drift.
pub fn drifts(head: &str, drifts: &[Drift], quiet: bool) -> Vec<Line> {
    let mut lines = vec![Line::default().with(Paint::Strong, clean(head))];
    let shown: Vec<&Drift> = drifts.iter().filter(|d| !quiet || d.holds != Some(true)).collect();
    let names = width(shown.iter().map(|d| d.path.as_str()));
    let kinds = shown.iter().map(|d| d.kind.len()).max().unwrap_or(0);
    for drift in shown {
        let (paint, mark) = match (drift.holds, drift.blind) {
            (Some(true), _) => (Paint::Good, "="),
            (Some(false), _) => (Paint::Bad, "~"),
            (None, true) => (Paint::Faint, "·"),
            (None, false) => (Paint::Care, "?"),
        };
        let text = format!("{}  {}  ", pad(drift.path.as_str(), names), pad(&drift.kind, kinds));
        lines.extend(step(Line::default().with(paint, format!("  {mark} ")).with(Paint::Plain, text), &drift.reason));
        lines.extend(drift.changes.iter().map(changed));
    }
    let drifted = drifts.iter().filter(|d| d.holds == Some(false)).count();
    let unknown = drifts.iter().filter(|d| d.holds.is_none() && !d.blind).count();
    let (paint, text) = match (drifted, unknown) {
        (0, 0) if drifts.iter().all(|d| d.blind) => {
            (Paint::Care, "nothing was looked at: no step of this run has a `check`, or a kind that can look at its target".to_owned())
        }
        (0, 0) => (Paint::Good, "nothing has drifted".to_owned()),
        (0, n) => (Paint::Care, format!("{} could not be told", plural(n, "step"))),
        (n, 0) => (Paint::Bad, format!("{} drifted", plural(n, "step"))),
        (n, m) => (Paint::Bad, format!("{} drifted, {m} could not be told", plural(n, "step"))),
    };
    lines.push(Line::default().with(paint, text));
    lines
}

fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(console::measure_text_width).max().unwrap_or(0).min(NAMES)
}

fn matters(row: &Row) -> bool {
    row.counts || matches!(row.verdict, Verdict::Unknown | Verdict::Fail)
}

fn mark(row: &Row) -> (Paint, &'static str) {
    match row.verdict {
        Verdict::Run if row.counts => (Paint::Good, "+"),
        Verdict::Change if row.counts => (Paint::Care, "~"),
        Verdict::Run | Verdict::Change | Verdict::Ask | Verdict::Person => (Paint::Faint, "·"),
        Verdict::Done | Verdict::Cached => (Paint::Faint, "="),
        Verdict::Skip => (Paint::Faint, "-"),
        Verdict::Unknown => (Paint::Care, "?"),
        Verdict::Fail => (Paint::Bad, "✗"),
    }
}

/// A step with its reason behind it; on a narrow terminal the reason has lines of its own.
fn step(line: Line, reason: &str) -> Vec<Line> {
    let reason = clean(reason.lines().next().unwrap_or_default());
    let Some(columns) = columns() else { return vec![line.with(Paint::Faint, reason)] };
    if line.width() + console::measure_text_width(&reason) <= columns {
        return vec![line.with(Paint::Faint, reason)];
    }
    let mut lines = vec![line.fit(columns)];
    let mut text = String::new();
    for word in reason.split(' ') {
        if !text.is_empty() && console::measure_text_width(&text) + console::measure_text_width(word) + 7 > columns {
            lines.push(Line::default().with(Paint::Faint, format!("      {text}")).fit(columns));
            text.clear();
        }
        text = if text.is_empty() { word.to_owned() } else { format!("{text} {word}") };
    }
    lines.push(Line::default().with(Paint::Faint, format!("      {text}")).fit(columns));
    lines
}

fn changed(change: &Change) -> Line {
    let line = Line::default().with(Paint::Plain, format!("      {}: ", clean(&change.field)));
    let line = line.with(Paint::Bad, value(&change.old)).with(Paint::Plain, " -> ").with(Paint::Good, value(&change.new));
    let line = match &change.owner {
        Some(owner) => line.with(Paint::Faint, format!(" (owned by {})", clean(owner))),
        None => line,
    };
    match columns() {
        Some(columns) => line.fit(columns),
        None => line,
    }
}

fn value(value: &Json) -> String {
    let text = match value {
        Json::Null => "nothing".to_owned(),
        Json::String(text) => clean(text),
        other => clean(&other.to_string()),
    };
    if text.chars().count() > VALUE { format!("{}…", text.chars().take(VALUE).collect::<String>()) } else { text }
}

fn summary(plan: &Plan) -> Line {
    let count = |test: fn(&Row) -> bool| plan.steps.iter().filter(|row| test(row)).count();
    let parts = [
        (Paint::Good, count(|r| r.counts && r.verdict == Verdict::Run), "to run"),
        (Paint::Care, count(|r| r.counts && r.verdict == Verdict::Change), "to change"),
        (Paint::Plain, count(|r| matches!(r.verdict, Verdict::Done | Verdict::Cached)), "as they should be"),
        (Paint::Care, count(|r| r.verdict == Verdict::Unknown), "unknown until then"),
        (Paint::Bad, count(|r| r.verdict == Verdict::Fail), "failing"),
    ];
    let nothing = plan.changes() == 0 && plan.unknown() == 0;
    let mut line = Line::default().with(if nothing { Paint::Good } else { Paint::Plain }, if nothing { "nothing to do" } else { "" });
    let mut first = !nothing;
    for (paint, n, text) in parts.into_iter().filter(|(_, n, _)| *n > 0) {
        line = line.with(Paint::Plain, if first { "" } else { ", " }).with(paint, format!("{n} {text}"));
        first = false;
    }
    line
}
