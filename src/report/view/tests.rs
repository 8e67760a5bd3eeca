//! The lines of the moment, and what is said above, without a terminal.

use super::View;
use crate::report::shape::Shape;
use crate::report::style::Line;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use trees_core::event::Event;
use trees_core::language::{self, Source, Sources};
use trees_core::path::StepPath;
use trees_core::tree::Tree;

/// A tree of so many steps `step-1`, `step-2` … without needs.
fn wide(count: usize) -> Arc<Tree> {
    let mut text = String::from("tree: wide\nsteps:\n");
    for n in 1..=count {
        writeln!(text, "  step-{n}: {{ run: \":\" }}").unwrap();
    }
    tree(&text)
}

fn tree(text: &str) -> Arc<Tree> {
    let source = Source { name: "tree.yaml".into(), text: text.into() };
    let checked = language::check(source, &Sources::default(), &trees_steps::catalogue());
    checked.tree.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
}

/// Events one second apart.
struct Teller {
    view: View,
    seq: u64,
}

impl Teller {
    fn new(tree: Arc<Tree>, estimate: Option<Duration>) -> Self {
        let mut teller = Self { view: View::new(Shape::new(tree), estimate), seq: 0 };
        teller.tell(json!({ "type": "run_started", "tree": "chat", "project": "chat", "number": 3, "file": "tree.yaml", "dir": "/w", "tree_dir": "/w",
            "environment": "", "params": {}, "definition": "", "epoch": 1, "trigger": "run", "version": "0", "max_parallel": 4 }));
        teller
    }

    fn now(&self) -> Timestamp {
        "2026-11-21T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(i64::try_from(self.seq).unwrap())
    }

    fn tell(&mut self, mut event: Value) {
        self.seq += 1;
        event["v"] = 1.into();
        event["run"] = "abcabcabcabc".into();
        event["seq"] = self.seq.into();
        event["ts"] = format!("{:.6}", self.now()).into();
        self.view.event(&serde_json::from_value::<Event>(event).unwrap());
    }

    fn step(&mut self, step: &str, kind: &str) {
        self.tell(json!({ "type": kind, "step": step, "attempt": 1 }));
    }

    fn block(&mut self, step: &str, need: &str, status: &str) {
        let reason = json!({ "code": "need_failed", "text": format!("it needs {need}, which is {status}"), "values": { need: status } });
        self.tell(json!({ "type": "step_blocked", "step": step, "reason": reason }));
    }

    fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let lines = self.view.lines(width, height, self.now());
        assert!(lines.len() < height.max(3), "{} lines on {height}", lines.len());
        for line in &lines {
            assert!(line.width() <= width, "wider than {width}: {}", line.plain());
        }
        lines.iter().map(Line::plain).collect()
    }

    fn said(&mut self) -> Vec<String> {
        self.view.take_said().iter().map(|said| said.line.plain()).collect()
    }
}

/// Five running steps with output, progress and a second attempt, at three widths.
fn five() -> Teller {
    let mut teller = Teller::new(wide(40), Some(Duration::from_secs(95)));
    for n in 1..=5 {
        teller.step(&format!("step-{n}"), "step_started");
    }
    teller.step("step-5", "step_succeeded");
    teller.tell(json!({ "type": "step_started", "step": "step-6", "attempt": 2 }));
    let path = |n: usize| StepPath(format!("step-{n}"));
    teller.view.output(&path(1), "\u{1b}[32mCompiling\u{1b}[0m serde v1.0.229 (a long way from here to there)\r\n");
    teller.view.progress(&path(2), Some(0.5), "pushing layers");
    teller.view.output(&path(3), "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字");
    teller
}

#[test]
fn five_steps_at_80_columns() {
    assert_eq!(
        five().lines(80, 24),
        [
            "• step-1    6s Compiling serde v1.0.229 (a long way from here to there)",
            "• step-2    5s ██████████░░░░░░░░░░  50% pushing layers",
            "• step-3    4s 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字",
            "• step-4    3s",
            "• step-6    0s try 2",
            "chat #3 █░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 1/40 7s of about 1m35s",
        ]
    );
}

#[test]
fn five_steps_at_40_columns() {
    assert_eq!(
        five().lines(40, 24),
        [
            "• step-1    6s Compiling serde v1.0.229…",
            "• step-2    5s ████░░░░  50% pushing la…",
            "• step-3    4s 漢字漢字漢字漢字漢字漢字…",
            "• step-4    3s",
            "• step-6    0s try 2",
            "chat #3 ░░░░░░░░░░░░░░░░░░░░░░░░ 1/40 7s",
        ]
    );
}

#[test]
fn five_steps_at_200_columns() {
    let lines = five().lines(200, 50);
    assert_eq!(lines[1], "• step-2    5s ██████████░░░░░░░░░░  50% pushing layers");
    assert_eq!(lines[5], "chat #3 █░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 1/40 7s of about 1m35s");
}

#[test]
fn five_hundred_steps_leave_room() {
    let mut teller = Teller::new(wide(500), None);
    for n in 1..=500 {
        teller.step(&format!("step-{n}"), "step_started");
    }
    for width in [40, 80, 200] {
        let lines = teller.lines(width, 24);
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[0], "• step-1  8m19s");
        assert_eq!(lines[20], "  +480 more");
        assert!(lines[21].ends_with(" 0/500 8m20s"), "{}", lines[21]);
    }
    // Absurd sizes are survived.
    for (width, height) in [(0, 0), (1, 1), (3, 2), (10, 5)] {
        teller.view.lines(width, height, teller.now());
    }
}

#[test]
fn a_cascade_is_one_line_with_its_cause() {
    let mut teller = Teller::new(wide(9), None);
    teller.step("step-1", "step_started");
    teller.tell(json!({ "type": "step_failed", "step": "step-1", "attempt": 1,
        "error": { "reason": "exit", "code": 1, "message": "exit code 1", "log": "runs/a/1/output.log" } }));
    teller.block("step-2", "step-1", "failed");
    teller.block("step-3", "step-2", "blocked");
    teller.block("step-4", "step-3", "blocked");
    teller.block("step-5", "step-1", "failed");
    assert_eq!(teller.said(), ["✗ step-1 failed after 1.0s: exit code 1", "⊘ step-2, step-3, step-4 and 1 more blocked: step-1 failed"]);
    assert_eq!(teller.lines(80, 24), ["chat #3 ██████████████████████░░░░░░░░░░░░░░░░░░ 5/9 6s · 1 failed"]);
}

#[test]
fn questions_stand_above_the_bar_until_answered() {
    let mut teller = Teller::new(tree("tree: t\nsteps:\n  ship: { approve: { message: Go? } }\n"), None);
    teller.tell(json!({ "type": "approval_requested", "step": "ship", "attempt": 1, "message": "Go \u{1b}[31mon?", "shown": "x" }));
    assert_eq!(teller.lines(60, 24)[0], "? Go on? [ship] y/n");
    assert_eq!(teller.lines(15, 24)[0], "? Go… [shi… y/n", "what to press stays in sight");
    assert_eq!(teller.view.question(), Some(("ship", "Go on?")));
    assert_eq!(teller.said(), ["! ship asks: Go on? (trees approve abcabcabcabc ship)"]);
    teller.tell(json!({ "type": "approval_given", "step": "ship", "actor": "ann", "note": "fine" }));
    assert_eq!(teller.said(), ["✓ ship approved by ann (fine)"]);
    assert_eq!(teller.view.question(), None);
}

#[test]
fn fan_outs_and_sub_trees_count_their_leaves() {
    let text = "tree: t\nsteps:\n  fan: { foreach: { items: [a, b, c], as: x }, run: \"echo {{ x }}\" }\n  one: { run: \":\" }\n";
    let mut teller = Teller::new(tree(text), None);
    let items: Vec<Value> = ["a", "b", "c"].iter().map(|k| json!({ "key": k, "value": k })).collect();
    teller.tell(json!({ "type": "step_expanded", "step": "fan", "items": items }));
    for key in ["a", "b", "c"] {
        teller.step(&format!("fan[{key}]"), "step_started");
        teller.step(&format!("fan[{key}]"), "step_succeeded");
    }
    teller.tell(json!({ "type": "step_succeeded", "step": "fan", "outputs": [] }));
    assert!(teller.lines(80, 24)[0].contains(" 3/4 "), "{:?}", teller.lines(80, 24));
    assert_eq!(teller.said(), ["… fan has 3 instances", "✓ fan[a] succeeded 1.0s", "✓ fan[b] succeeded 1.0s", "✓ fan[c] succeeded 1.0s"]);
}

#[test]
fn a_resumed_sitting_counts_what_was_before() {
    let mut first = Teller::new(wide(4), None);
    first.step("step-1", "step_started");
    first.step("step-1", "step_succeeded");
    let before: Vec<Event> = Vec::new();
    first.view.replay(&before);
    assert!(first.said().is_empty());
    first.tell(json!({ "type": "run_resumed", "epoch": 2 }));
    assert!(first.lines(80, 24)[0].contains(" 1/4 0s"), "{:?}", first.lines(80, 24));
}

#[test]
fn a_step_that_waits_for_its_next_try_has_a_line() {
    let mut teller = Teller::new(wide(2), None);
    teller.step("step-1", "step_started");
    teller.tell(json!({ "type": "attempt_failed", "step": "step-1", "attempt": 1, "retry_at": "2026-11-21T12:01:00Z",
        "error": { "reason": "exit", "code": 1, "message": "exited with 1", "log": null } }));
    assert_eq!(teller.lines(60, 24)[0], "~ step-1   57s until try 2");
    teller.tell(json!({ "type": "step_started", "step": "step-1", "attempt": 2 }));
    assert_eq!(teller.lines(60, 24)[0], "• step-1    0s try 2");
    assert_eq!(teller.lines(60, 24).len(), 2);
}

#[test]
fn a_resume_counts_what_failed_as_open_and_a_fan_once() {
    let text = "tree: t\nsteps:\n  fan: { foreach: { items: [a, b], as: x }, run: \"echo {{ x }}\" }\n  may: { allow_failure: true, run: \":\" }\n";
    let mut teller = Teller::new(tree(text), None);
    let items = json!([{ "key": "a", "value": "a" }, { "key": "b", "value": "b" }]);
    let error = json!({ "reason": "exit", "code": 1, "message": "exited with 1", "log": null });
    teller.tell(json!({ "type": "step_expanded", "step": "fan", "items": items }));
    teller.step("fan[a]", "step_succeeded");
    teller.tell(json!({ "type": "step_failed", "step": "fan[b]", "attempt": 1, "error": error }));
    teller.tell(json!({ "type": "step_failed", "step": "fan", "error": error }));
    teller.tell(json!({ "type": "step_failed", "step": "may", "attempt": 1, "error": error }));
    assert!(teller.lines(60, 24)[0].contains(" 3/3 "), "{:?}", teller.lines(60, 24));
    teller.tell(json!({ "type": "run_finished", "status": "failed", "outputs": {} }));
    teller.tell(json!({ "type": "run_resumed", "epoch": 2 }));
    teller.tell(json!({ "type": "step_expanded", "step": "fan", "items": items }));
    assert!(teller.lines(60, 24)[0].contains(" 2/3 "), "{:?}", teller.lines(60, 24));
}

#[test]
fn the_tally_is_what_the_end_tells() {
    let mut teller = Teller::new(tree("tree: t\nsteps:\n  ship: { approve: { message: Go? } }\n  b: { needs: ship, run: \":\" }\n"), None);
    teller.tell(json!({ "type": "approval_requested", "step": "ship", "attempt": 1, "message": "Go?", "shown": "x" }));
    teller.tell(json!({ "type": "run_suspended", "status": "waiting", "reason": "waiting for a person: ship" }));
    assert_eq!(teller.view.question(), None);
    let tally = teller.view.tally();
    assert_eq!((tally.total, tally.questions), (2, vec![("ship".into(), "Go?".into())]));
}

#[test]
fn a_long_error_is_told_line_by_line() {
    let mut teller = Teller::new(wide(1), None);
    teller.step("step-1", "step_started");
    let message = "not healthy; 2 probes, the last:\n  refused\n  refused";
    teller.tell(json!({ "type": "step_failed", "step": "step-1", "attempt": 1,
        "error": { "reason": "verify", "message": message, "log": null } }));
    let said = teller.view.take_said();
    assert_eq!(said[0].line.plain(), "✗ step-1 failed after 1.0s: not healthy; 2 probes, the last:");
    assert_eq!(said[0].more, ["  refused", "  refused"]);
}

#[test]
fn nobody_is_asked_what_was_approved_beforehand() {
    let mut teller = Teller::new(tree("tree: t\nsteps:\n  ship: { approve: { message: Go? } }\n"), None);
    teller.view.approve(&["*".into()]);
    teller.tell(json!({ "type": "approval_requested", "step": "ship", "attempt": 1, "message": "Go?", "shown": "x" }));
    assert_eq!(teller.view.question(), None);
    teller.tell(json!({ "type": "approval_given", "step": "ship", "actor": "--approve" }));
    assert_eq!(teller.said(), ["✓ ship approved by --approve"]);
}
