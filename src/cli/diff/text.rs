//! A difference in words.

use super::compare::{Change, Difference, Side, StepChange};
use crate::report::said::{plural, status_word, took};
use crate::report::style::{cut, pad};
use crate::report::{Line, Paint, clean};
use std::time::Duration;
use trees_core::event::{Json, StepStatus};

/// Columns of a value.
const VALUE: usize = 60;

/// What is said.
pub fn lines(before: &Side, after: &Side, difference: &Difference) -> Vec<Line> {
    let mut lines = vec![side("from", before), side("to", after)];
    if difference.is_none() {
        lines.push(Line::default().with(Paint::Good, format!("the two are alike in all {}", plural(difference.same, "step"))));
        return lines;
    }
    let facts = difference.run.iter().filter(|c| c.name != "status").map(|c| (c.name.clone(), change(c)));
    let params = difference.params.iter().map(|c| (format!("param {}", c.name), change(c)));
    let files = difference.files.iter().map(|(name, word)| (format!("file {}", clean(name)), word.clone()));
    let outputs = difference.outputs.iter().map(|c| (format!("output {}", c.name), change(c)));
    let all: Vec<(String, String)> = facts.chain(params).chain(files).chain(outputs).collect();
    let width = all.iter().map(|(name, _)| console::measure_text_width(name)).max().unwrap_or(0);
    lines.extend(
        all.into_iter()
            .map(|(name, text)| Line::default().with(Paint::Strong, format!("  {}  ", pad(&name, width))).with(Paint::Plain, text)),
    );
    let width = difference.steps.iter().map(|s| console::measure_text_width(&s.path)).max().unwrap_or(0).min(40);
    lines.extend(difference.steps.iter().flat_map(|s| step(s, width)));
    let (count, same) = (difference.steps.len(), difference.same);
    lines.push(
        Line::default()
            .with(Paint::Faint, format!("{} {}, {same} alike", plural(count, "step"), if count == 1 { "differs" } else { "differ" })),
    );
    lines
}

fn side(word: &str, side: &Side) -> Line {
    let run = &side.run;
    let (paint, status) = status_word(run.status);
    let time = run.finished.map(|end| took(Duration::try_from(end.duration_since(run.started)).unwrap_or_default()));
    let time = time.map(|t| format!(" after {t}")).unwrap_or_default();
    Line::default()
        .with(Paint::Faint, format!("{word:<5}"))
        .with(Paint::Strong, format!("{} #{} ", run.tree, run.number))
        .with(paint, status)
        .with(Paint::Faint, format!("{time} (run {}, {})", run.run, run.started.strftime("%Y-%m-%d %H:%M:%SZ")))
}

fn change(change: &Change) -> String {
    format!("{} → {}", value(change.before.as_ref()), value(change.after.as_ref()))
}

fn value(value: Option<&Json>) -> String {
    match value {
        None => "nothing".into(),
        Some(Json::String(text)) if text.is_empty() => "nothing".into(),
        Some(Json::String(text)) => cut(&clean(text), VALUE),
        Some(other) => cut(&clean(&other.to_string()), VALUE),
    }
}

/// The lines of a step; its name stands before the first.
fn step(step: &StepChange, width: usize) -> Vec<Line> {
    let mut facts: Vec<(Paint, String)> = status(step).into_iter().collect();
    if let (Some(ratio), [Some(a), Some(b)]) = (step.ratio, step.seconds) {
        let paint = if ratio > 1.0 { Paint::Care } else { Paint::Good };
        let time = |seconds: f64| took(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        facts.push((paint, format!("took {} → {} (× {ratio:.1})", time(a), time(b))));
    }
    if step.attempts[0] != step.attempts[1] && step.attempts[0] > 0 && step.attempts[1] > 0 {
        facts.push((Paint::Plain, format!("attempts {} → {}", step.attempts[0], step.attempts[1])));
    }
    if step.definition {
        facts.push((Paint::Plain, "definition changed".into()));
    }
    facts.extend(step.inputs.iter().map(|(name, word)| (Paint::Plain, format!("input {} {word}", clean(name)))));
    facts.extend(
        step.outputs.iter().map(|c| (Paint::Plain, format!("output {}: {}", clean(&c.name), change(c)).replace("output : ", "outputs: "))),
    );
    facts.extend(step.artifacts.iter().map(|(name, word)| (Paint::Plain, format!("artifact {} {word}", clean(name)))));
    let first = pad(&cut(&step.path, width), width);
    let names = std::iter::once(first).chain(std::iter::repeat(" ".repeat(width)));
    names.zip(facts).map(|(name, (paint, text))| Line::default().with(Paint::Strong, format!("  {name}  ")).with(paint, text)).collect()
}

fn status(step: &StepChange) -> Option<(Paint, String)> {
    let word = |status: StepStatus| status.as_str().replace('_', " ");
    match step.status {
        [Some(a), Some(b)] if a == b => None,
        [Some(a), Some(b)] => {
            let paint = if b.is_failure() {
                Paint::Bad
            } else if a.is_failure() {
                Paint::Good
            } else {
                Paint::Plain
            };
            Some((paint, format!("{} → {}", word(a), word(b))))
        }
        [Some(a), None] => Some((Paint::Care, format!("only in the first ({})", word(a)))),
        [None, Some(b)] => Some((Paint::Care, format!("only in the second ({})", word(b)))),
        [None, None] => None,
    }
}
