//! Whether what came of a case is what it expects; each difference with its place.

use super::case::{Case, ExpectStep};
use super::world::Course;
use crate::diagnostic::Span;
use crate::event::{Event, EventKind, Json, Object, StepStatus};
use crate::path::StepPath;
use crate::units;
use serde_json::json;
use std::time::Duration;

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// What was looked at: `status`, `steps.build.attempts`.
    pub what: String,
    /// What the case expects.
    pub expected: Json,
    /// What was.
    pub actual: Json,
    /// Where the case says it.
    pub span: Span,
}

/// A case that was tried.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// All differences; none: it passed.
    pub mismatches: Vec<Mismatch>,
    /// The virtual time of the run.
    pub took: Duration,
    /// The run's status.
    pub status: String,
    /// The steps and instances with their statuses and errors or reasons, in the order they came to be.
    pub steps: Vec<(String, StepStatus, Option<String>)>,
}

/// Compares.
pub(super) fn judge(case: &Case, course: &Course) -> Verdict {
    let mut judge = Judge { course, found: Vec::new() };
    judge.run(case);
    case.expect.steps.iter().for_each(|step| judge.step(step));
    for (list, span) in &case.expect.order {
        list.windows(2).for_each(|pair| {
            if let [first, then] = pair {
                judge.order(first, then, *span);
            }
        });
    }
    judge.unknown_instances(case);
    let why = |path: &StepPath| error(course, path).or_else(|| reason(course, path).map(|(_, text)| text));
    Verdict {
        took: took(&course.events),
        status: course.status.as_str().into(),
        steps: course.run.steps().map(|s| (s.path.0.clone(), s.status, why(&s.path))).collect(),
        mismatches: judge.found,
    }
}

struct Judge<'a> {
    course: &'a Course,
    found: Vec<Mismatch>,
}

impl Judge<'_> {
    fn differ(&mut self, what: impl Into<String>, expected: impl Into<Json>, actual: impl Into<Json>, span: Span) {
        self.found.push(Mismatch { what: what.into(), expected: expected.into(), actual: actual.into(), span });
    }

    fn run(&mut self, case: &Case) {
        let expect = &case.expect;
        let (status, span) = expect.status;
        if self.course.status != status {
            self.differ("status", status.as_str(), self.course.status.as_str(), span);
        }
        if let Some((part, span)) = &expect.reason {
            let said = run_reason(&self.course.events);
            if !said.as_deref().is_some_and(|s| s.contains(part.as_str())) {
                self.differ("reason", part.as_str(), said, *span);
            }
        }
        let outputs = tree_outputs(&self.course.events);
        for (name, value, span) in &expect.outputs {
            let actual = outputs.get(name).cloned().unwrap_or(Json::Null);
            if actual != *value {
                self.differ(format!("outputs.{name}"), value.clone(), actual, *span);
            }
        }
        if let Some((min, max, span)) = expect.took {
            let took = took(&self.course.events);
            if took < min || max.is_some_and(|max| took > max) {
                self.differ("took", bounds(min, max), units::show(took), span);
            }
        }
    }

    fn step(&mut self, expect: &ExpectStep) {
        let (path, at) = (&expect.path, format!("steps.{}", expect.path));
        let Some(view) = self.course.run.step(path) else {
            let known: Vec<String> = self
                .course
                .run
                .steps()
                .map(|s| s.path.0)
                .filter(|p| super::case::fits(&stem(path), &StepPath(p.clone())).is_some())
                .collect();
            let actual = if known.is_empty() { "it never came to be".to_owned() } else { format!("there are {}", known.join(", ")) };
            return self.differ(at, "to be there", actual, expect.span);
        };
        if let Some(status) = expect.status.filter(|s| *s != resting(view.status)) {
            self.differ(format!("{at}.status"), status.as_str(), resting(view.status).as_str(), expect.span);
        }
        let attempts = self.course.attempts.get(path).copied().unwrap_or(0);
        if let Some(wanted) = expect.attempts.filter(|n| *n != attempts) {
            self.differ(format!("{at}.attempts"), wanted, attempts, expect.span);
        }
        if let Some(wanted) = &expect.reason {
            let said = reason(self.course, path);
            if !said.as_ref().is_some_and(|(code, text)| code == wanted || text.contains(wanted.as_str())) {
                let actual = said.map_or(Json::Null, |(code, text)| format!("{code}: {text}").into());
                self.differ(format!("{at}.reason"), wanted.as_str(), actual, expect.span);
            }
        }
        if let Some(wanted) = &expect.error {
            let said = error(self.course, path);
            if !said.as_deref().is_some_and(|s| s.contains(wanted.as_str())) {
                self.differ(format!("{at}.error"), wanted.as_str(), said, expect.span);
            }
        }
        self.parts(&format!("{at}.outputs"), &expect.outputs, &outputs(&self.course.events, path), expect.span);
        let with = self.course.with.get(path).cloned().unwrap_or(Json::Null);
        self.parts(&format!("{at}.with"), &expect.with, &with, expect.span);
    }

    fn parts(&mut self, what: &str, expected: &Object, actual: &Json, span: Span) {
        for (name, value) in expected {
            let found = actual.get(name).cloned().unwrap_or(Json::Null);
            if found != *value {
                self.differ(format!("{what}.{name}"), value.clone(), found, span);
            }
        }
    }

    /// The first ended before the other began.
    fn order(&mut self, first: &StepPath, then: &StepPath, span: Span) {
        let of = |path: &StepPath| {
            let inside = [format!("{path}/"), format!("{path}[")];
            let mine = |e: &&Event| e.step.as_ref().is_some_and(|s| s == path || inside.iter().any(|i| s.as_str().starts_with(i)));
            self.course.events.iter().filter(mine).map(|e| e.seq).collect::<Vec<u64>>()
        };
        let what = format!("order of {first} and {then}");
        let (a, b) = (of(first), of(then));
        let ended = self.course.run.step(first).is_some_and(|s| s.status.is_final());
        match (a.last(), b.first()) {
            (Some(a), Some(b)) if ended && a < b => {}
            (None, _) => self.differ(what, format!("{first} ends before {then} begins"), format!("nothing happened to {first}"), span),
            (_, None) => self.differ(what, format!("{first} ends before {then} begins"), format!("nothing happened to {then}"), span),
            (Some(_), Some(_)) => {
                self.differ(what, format!("{first} ends before {then} begins"), format!("{then} began before {first} had ended"), span);
            }
        }
    }

    /// A mock for an instance that a fan-out does not have says something about nothing.
    fn unknown_instances(&mut self, case: &Case) {
        let said = case.mocks.iter().map(|m| (&m.path, m.span)).chain(case.answers.iter().map(|a| (&a.name, a.span)));
        for (path, span) in said.filter(|(p, _)| p.as_str().contains('[')).collect::<Vec<_>>() {
            let all: Vec<StepPath> = self.course.run.steps().map(|s| s.path).collect();
            let stem = stem(path);
            let known: Vec<&str> =
                all.iter().filter(|p| p.as_str().contains('[') && super::case::fits(&stem, p).is_some()).map(StepPath::as_str).collect();
            if !known.is_empty() && !all.iter().any(|p| super::case::fits(path, p).is_some()) {
                self.differ(path.as_str(), "an instance of this name", format!("there are {}", known.join(", ")), span);
            }
        }
    }
}

/// A path without the keys of its instances.
fn stem(path: &StepPath) -> StepPath {
    StepPath(path.as_str().split('/').map(|p| p.split('[').next().unwrap_or(p)).collect::<Vec<_>>().join("/"))
}

/// What was ready when everything stopped was still pending.
fn resting(status: StepStatus) -> StepStatus {
    if status == StepStatus::Ready { StepStatus::Pending } else { status }
}

fn bounds(min: Duration, max: Option<Duration>) -> String {
    match max {
        Some(max) if max == min => units::show(min),
        Some(max) => format!("{} to {}", units::show(min), units::show(max)),
        None => format!("at least {}", units::show(min)),
    }
}

fn took(events: &[Event]) -> Duration {
    let (first, last) = (events.first(), events.last());
    first.zip(last).and_then(|(a, b)| Duration::try_from(b.ts.duration_since(a.ts)).ok()).unwrap_or_default()
}

fn run_reason(events: &[Event]) -> Option<String> {
    events.iter().rev().find_map(|e| match &e.kind {
        EventKind::RunSuspended { reason, .. } => Some(reason.clone()),
        EventKind::RunFinished { error, .. } => error.clone(),
        _ => None,
    })
}

fn tree_outputs(events: &[Event]) -> Object {
    let finished =
        events.iter().rev().find_map(|e| if let EventKind::RunFinished { outputs, .. } = &e.kind { Some(outputs.clone()) } else { None });
    finished.unwrap_or_default()
}

fn of<'a>(events: &'a [Event], path: &'a StepPath) -> impl Iterator<Item = &'a Event> {
    events.iter().rev().filter(move |e| e.step.as_ref() == Some(path))
}

fn outputs(events: &[Event], path: &StepPath) -> Json {
    let found = of(events, path).find_map(|e| match &e.kind {
        EventKind::StepSucceeded { outputs, .. } | EventKind::StepCached { outputs, .. } => Some(outputs.clone()),
        _ => None,
    });
    found.unwrap_or(json!({}))
}

fn reason(course: &Course, path: &StepPath) -> Option<(String, String)> {
    of(&course.events, path).find_map(|e| match &e.kind {
        EventKind::StepSkipped { reason }
        | EventKind::StepBlocked { reason }
        | EventKind::StepCancelled { reason }
        | EventKind::StepCached { reason, .. } => Some((reason.code.clone(), reason.text.clone())),
        _ => None,
    })
}

fn error(course: &Course, path: &StepPath) -> Option<String> {
    of(&course.events, path).find_map(|e| match &e.kind {
        EventKind::StepFailed { error } | EventKind::StepTimedOut { error } | EventKind::StepInterrupted { error } => {
            Some(error.message.clone())
        }
        _ => None,
    })
}
