//! A timeline as lines of text, fitted to a width.

use super::record::{Lane, Phase, Segment};
use super::sums::WAITS;
use super::{Time, Timeline, WORTH_TELLING, told};
use crate::report::said::{plural, status_word};
use crate::report::style::{cut, pad};
use crate::report::{Line, Paint};
use trees_core::event::StepStatus;

/// Columns where there is no terminal.
pub const WIDTH: usize = 100;
/// Columns at least.
pub const NARROWEST: usize = 40;
/// Columns at most.
pub const WIDEST: usize = 200;
/// Columns of how long a step took.
const TOOK: usize = 7;

/// The lines.
pub fn lines(timeline: &Timeline, width: usize) -> Vec<Line> {
    let mut lines = head(timeline);
    let longest = timeline.lanes.iter().map(|lane| console::measure_text_width(&lane.path)).max().unwrap_or(0);
    let names = longest.min(width * 2 / 5);
    let room = width.saturating_sub(names + TOOK + 4).max(8);
    lines.push(axis(timeline, names, room));
    lines.extend(timeline.lanes.iter().map(|lane| row(timeline, lane, names, room)));
    lines.extend(legend(timeline, width));
    lines.push(Line::default());
    lines.extend(totals(timeline, width));
    lines.into_iter().map(|line| line.fit(width)).collect()
}

fn head(timeline: &Timeline) -> Vec<Line> {
    let run = &timeline.run;
    let (paint, word) = status_word(run.status);
    vec![
        Line::default().with(Paint::Strong, format!("{} #{} ", run.tree, run.number)).with(paint, word),
        Line::default().with(Paint::Faint, format!("  run {}, started {}", run.run, run.started.strftime("%Y-%m-%d %H:%M:%SZ"))),
    ]
}

/// The scale above the bars: as many marks as have room.
fn axis(timeline: &Timeline, names: usize, room: usize) -> Line {
    let marks = (room / 16).clamp(1, 8);
    let mut text = String::from("0");
    for mark in 1..=marks {
        let label = told(timeline.end * as_time(mark) / as_time(marks));
        let at = (room * mark / marks).saturating_sub(label.len());
        if at > text.len() {
            text = pad(&text, at) + &label;
        }
    }
    Line::default().with(Paint::Faint, format!("{}{text}", " ".repeat(names + 3)))
}

fn as_time(number: usize) -> Time {
    Time::try_from(number).unwrap_or(Time::MAX)
}

fn row(timeline: &Timeline, lane: &Lane, names: usize, room: usize) -> Line {
    let mark = if lane.critical { "◆ " } else { "  " };
    let name = pad(&cut(&lane.path, names), names);
    let weight = if lane.critical { Paint::Strong } else { Paint::Plain };
    let mut line = Line::default().with(Paint::Care, mark).with(weight, name).with(Paint::Plain, " ");
    let mut cells = vec![(' ', Paint::Plain); room];
    for segment in &lane.segments {
        fill(timeline, lane, segment, &mut cells);
    }
    if let Some((sign, at)) = lane.sign().zip(lane.ended)
        && let Some(cell) = cells.get_mut(cell(timeline, at, room))
    {
        *cell = (sign, lane.paint());
    }
    for part in cells.chunk_by(|a, b| a.1 == b.1) {
        line = line.with(part[0].1, part.iter().map(|(sign, _)| *sign).collect::<String>());
    }
    let ran = lane.spent(Phase::Run) + lane.spent(Phase::Undo);
    let time = if ran > 0 { told(ran) } else { String::new() };
    line = line.with(Paint::Faint, format!(" {time:>TOOK$}"));
    if lane.attempts > 1 { line.with(Paint::Care, format!(" ×{}", lane.attempts)) } else { line }
}

/// Paints the cells of a part; what runs hides what waits.
fn fill(timeline: &Timeline, lane: &Lane, segment: &Segment, cells: &mut [(char, Paint)]) {
    let from = cell(timeline, segment.from, cells.len());
    let to = cell(timeline, segment.to, cells.len()).max(from);
    // The last cell is the next part's, if there is one.
    let last = if to > from && segment.to < timeline.end { to - 1 } else { to };
    let runs = matches!(segment.phase, Phase::Run | Phase::Undo);
    for cell in cells.iter_mut().take(last + 1).skip(from).filter(|cell| runs || cell.0 == ' ') {
        *cell = match segment.phase {
            Phase::Run | Phase::Undo if segment.failed => ('█', Paint::Bad),
            Phase::Run | Phase::Undo => ('█', lane.paint()),
            Phase::Person => ('▒', Paint::Care),
            Phase::Retry => ('~', Paint::Care),
            Phase::Places | Phase::Pool | Phase::Lock | Phase::Start => ('░', Paint::Faint),
        };
    }
}

/// The cell of a time.
fn cell(timeline: &Timeline, time: Time, room: usize) -> usize {
    let place = i128::from(time) * room as i128 / i128::from(timeline.end.max(1));
    usize::try_from(place).unwrap_or(0).min(room.saturating_sub(1))
}

/// The signs that occur, broken into lines.
fn legend(timeline: &Timeline, width: usize) -> Vec<Line> {
    let phase = |wanted: &[Phase]| timeline.lanes.iter().any(|l| l.segments.iter().any(|s| wanted.contains(&s.phase)));
    let status = |wanted: StepStatus| timeline.lanes.iter().any(|l| l.status == wanted);
    let signs = [
        ("█ runs", phase(&[Phase::Run, Phase::Undo])),
        ("░ waits for its turn", phase(&[Phase::Places, Phase::Pool, Phase::Lock, Phase::Start])),
        ("▒ waits for a person", phase(&[Phase::Person])),
        ("~ waits for its next attempt", phase(&[Phase::Retry])),
        ("= cached", status(StepStatus::Cached)),
        ("- skipped", status(StepStatus::Skipped)),
        ("⊘ blocked", status(StepStatus::Blocked)),
        ("◆ on the critical path", !timeline.critical.is_empty()),
    ];
    let words = signs.into_iter().filter(|(_, there)| *there).map(|(text, _)| text.to_owned());
    wrapped("", words, "   ", width).into_iter().map(|text| Line::default().with(Paint::Faint, format!("  {text}"))).collect()
}

/// Words joined to lines that are not too long; further lines are indented like the first.
fn wrapped(first: &str, words: impl IntoIterator<Item = String>, between: &str, width: usize) -> Vec<String> {
    let indent = console::measure_text_width(first);
    let mut lines = vec![first.to_owned()];
    let mut begun = false;
    for word in words {
        let Some(line) = lines.last_mut() else { break };
        let needs = console::measure_text_width(line) + console::measure_text_width(&word) + between.len() + 2;
        if !begun {
            line.push_str(&word);
        } else if needs <= width {
            line.push_str(between);
            line.push_str(&word);
        } else {
            lines.push(format!("{}{word}", " ".repeat(indent)));
        }
        begun = true;
    }
    lines
}

fn totals(timeline: &Timeline, width: usize) -> Vec<Line> {
    let totals = &timeline.totals;
    let rest = if totals.rest > 0 { vec![format!("of that at rest {}", told(totals.rest))] } else { Vec::new() };
    let wall = [told(totals.wall)].into_iter().chain(rest).collect::<Vec<_>>();
    let work = vec![told(totals.work), format!("{:.1} steps at once on average", totals.average), format!("{} at most", totals.peak)];
    let waits =
        totals.waits.iter().filter(|(_, time)| *time >= WORTH_TELLING).map(|(phase, time)| format!("{} {}", phase.word(), told(*time)));
    let waits: Vec<String> = [format!("needs {}", told(totals.needs))].into_iter().chain(waits).collect();
    debug_assert_eq!(totals.waits.len(), WAITS.len());
    let path = timeline.critical.iter().filter_map(|i| timeline.lanes.get(*i)).map(|lane| lane.path.clone());
    let length = format!("{}, {}:", told(timeline.critical_time), plural(timeline.critical.len(), "step"));
    let mut lines = wrapped("wall time      ", wall, ", ", width);
    lines.extend(wrapped("work           ", work, ", ", width));
    lines.extend(wrapped("waited for     ", waits, ", ", width));
    if !timeline.critical.is_empty() {
        lines.extend(wrapped("critical path  ", [length].into_iter().chain(path), " ", width));
    }
    lines.into_iter().map(labelled).collect()
}

fn labelled(text: String) -> Line {
    match text.split_at_checked(15) {
        Some((label, rest)) => Line::default().with(Paint::Strong, label).with(Paint::Plain, rest),
        None => Line::default().with(Paint::Plain, text),
    }
}
