//! Timelines of records that are written here, so that every time in them is known.

use super::record::Phase;
use super::{Time, Timeline, chart, document, page};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use trees_core::event::{Event, RunStatus};
use trees_core::journal::RunSummary;
use trees_core::language::{self, Source, Sources};

const SECOND: Time = 1_000_000;

/// A run of a tree; each event with its second.
fn timeline(tree: &str, status: RunStatus, events: &[(f64, Value)]) -> Timeline {
    let source = Source { name: "tree.yaml".into(), text: tree.into() };
    let checked = language::check(source, &Sources::default(), &trees_steps::catalogue());
    let tree = checked.tree.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    let begin: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let recorded: Vec<Event> = (1_u64..).zip(events).map(|(seq, (second, event))| written(seq, begin, *second, event)).collect();
    let run = RunSummary {
        run: trees_core::path::RunId("abcabcabcabc".into()),
        tree: tree.name.clone(),
        number: 3,
        file: "tree.yaml".into(),
        environment: String::new(),
        status,
        started: begin,
        finished: None,
        progress: None,
        seq: recorded.last().map_or(0, |e| e.seq),
        pid: None,
    };
    Timeline::of(run, &recorded, &tree)
}

fn written(seq: u64, begin: Timestamp, second: f64, event: &Value) -> Event {
    let mut event = event.clone();
    event["v"] = 1.into();
    event["run"] = "abcabcabcabc".into();
    event["seq"] = seq.into();
    event["ts"] = format!("{:.6}", begin + SignedDuration::from_secs_f64(second)).into();
    serde_json::from_value(event).unwrap()
}

fn started(max_parallel: u32) -> (f64, Value) {
    let event = json!({ "type": "run_started", "tree": "t", "project": "t", "number": 3, "file": "tree.yaml", "dir": "/w", "tree_dir": "/w",
        "environment": "", "params": {}, "definition": "", "epoch": 1, "trigger": "run", "version": "0", "max_parallel": max_parallel });
    (0.0, event)
}

fn step(second: f64, kind: &str, path: &str) -> (f64, Value) {
    (second, json!({ "type": kind, "step": path, "attempt": 1 }))
}

fn finished(second: f64) -> (f64, Value) {
    (second, json!({ "type": "run_finished", "status": "succeeded" }))
}

fn paths(timeline: &Timeline) -> Vec<&str> {
    timeline.critical.iter().map(|i| timeline.lanes[*i].path.as_str()).collect()
}

fn lane<'a>(timeline: &'a Timeline, path: &str) -> &'a super::record::Lane {
    timeline.lanes.iter().find(|lane| lane.path == path).unwrap()
}

const DIAMOND: &str = "tree: t
pools: { db: 1 }
steps:
  a: { run: ':' }
  b: { needs: a, pool: db, run: ':' }
  c: { needs: a, pool: db, run: ':' }
  d: { needs: [b, c], run: ':' }
finally:
  end: { run: ':' }
";

fn diamond() -> Timeline {
    let events = [
        started(4),
        step(0.0, "step_started", "a"),
        step(2.0, "step_succeeded", "a"),
        step(2.0, "step_started", "b"),
        step(5.0, "step_succeeded", "b"),
        step(5.0, "step_started", "c"),
        step(6.0, "step_succeeded", "c"),
        step(6.0, "step_started", "d"),
        step(7.0, "step_succeeded", "d"),
        step(7.0, "step_started", "end"),
        step(8.0, "step_succeeded", "end"),
        finished(8.0),
    ];
    timeline(DIAMOND, RunStatus::Succeeded, &events)
}

#[test]
fn the_critical_path_is_the_longest_chain_of_work() {
    let timeline = diamond();
    assert_eq!(paths(&timeline), ["a", "b", "d", "end"]);
    assert_eq!(timeline.critical_time, 7 * SECOND, "c waited for its pool only");
    assert_eq!((timeline.totals.wall, timeline.totals.work, timeline.totals.peak), (8 * SECOND, 8 * SECOND, 1));
    assert!((timeline.totals.average - 1.0).abs() < 1e-9);
}

#[test]
fn a_wait_has_its_cause() {
    let timeline = diamond();
    let c = lane(&timeline, "c");
    assert_eq!((c.needs, c.spent(Phase::Pool), c.spent(Phase::Places), c.spent(Phase::Run)), (2 * SECOND, 3 * SECOND, 0, SECOND));
    assert_eq!(lane(&timeline, "end").needs, 7 * SECOND);
    let places = timeline_of_two("tree: t\nsteps: { a: { run: ':' }, b: { run: ':' } }\n", 1);
    assert_eq!(lane(&places, "b").spent(Phase::Places), 2 * SECOND);
    let ready = timeline_of_two("tree: t\nsteps: { a: { run: ':' }, b: { run: ':' } }\n", 2);
    assert_eq!((lane(&ready, "b").spent(Phase::Places), lane(&ready, "b").spent(Phase::Start)), (0, 2 * SECOND));
}

/// `a` for two seconds, then `b` for one.
fn timeline_of_two(tree: &str, places: u32) -> Timeline {
    let events = [
        started(places),
        step(0.0, "step_started", "a"),
        step(2.0, "step_succeeded", "a"),
        step(2.0, "step_started", "b"),
        step(3.0, "step_succeeded", "b"),
        finished(3.0),
    ];
    timeline(tree, RunStatus::Succeeded, &events)
}

#[test]
fn people_and_retries_are_waited_for_and_rest_is_left_out() {
    let error = json!({ "reason": "exit", "code": 1, "message": "no" });
    let events = [
        started(4),
        (0.0, json!({ "type": "step_started", "step": "a", "attempt": 1 })),
        (1.0, json!({ "type": "attempt_failed", "step": "a", "attempt": 1, "error": error, "retry_at": "2026-11-21T12:00:02Z" })),
        (2.0, json!({ "type": "step_started", "step": "a", "attempt": 2 })),
        (3.0, json!({ "type": "step_succeeded", "step": "a", "attempt": 2 })),
        (3.0, json!({ "type": "approval_requested", "step": "ask", "message": "?", "shown": "" })),
        (4.0, json!({ "type": "run_suspended", "status": "waiting", "reason": "waits" })),
        (104.0, json!({ "type": "run_resumed", "epoch": 2 })),
        (104.5, json!({ "type": "approval_given", "step": "ask" })),
        (104.5, json!({ "type": "step_succeeded", "step": "ask" })),
        finished(105.0),
    ];
    let tree = "tree: t\nsteps: { a: { retry: { attempts: 2 }, run: ':' }, ask: { needs: a, approve: { message: '?' } } }\n";
    let timeline = timeline(tree, RunStatus::Succeeded, &events);
    assert_eq!((timeline.end, timeline.totals.rest, timeline.totals.wall), (5 * SECOND, 100 * SECOND, 105 * SECOND));
    assert_eq!(timeline.sittings, [4 * SECOND]);
    let a = lane(&timeline, "a");
    assert_eq!((a.spent(Phase::Retry), a.spent(Phase::Run), a.attempts), (SECOND, 2 * SECOND, 2));
    assert_eq!(a.segments.iter().map(|s| s.failed).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(lane(&timeline, "ask").spent(Phase::Person), 101_500_000);
    assert_eq!(paths(&timeline), ["a", "ask"]);
}

#[test]
fn a_lock_and_the_approval_of_an_environment_are_waited_for() {
    let lock = timeline_of_two("tree: t\nsteps: { a: { lock: x, run: ':' }, b: { lock: x, run: ':' } }\n", 2);
    assert_eq!((lane(&lock, "b").spent(Phase::Lock), lane(&lock, "b").spent(Phase::Start)), (2 * SECOND, 0));
    let events = [
        started(2),
        (0.0, json!({ "type": "approval_requested", "step": "environment:prod", "message": "?", "shown": "" })),
        (3.0, json!({ "type": "approval_given", "step": "environment:prod" })),
        step(3.0, "step_started", "a"),
        step(4.0, "step_succeeded", "a"),
        finished(4.0),
    ];
    let tree =
        "tree: t\nenvironments: { dev: { default: true }, prod: { protected: true } }\nsteps: { a: { environment: prod, run: ':' } }\n";
    let gate = timeline(tree, RunStatus::Succeeded, &events);
    assert_eq!((lane(&gate, "a").spent(Phase::Person), lane(&gate, "a").needs), (3 * SECOND, 0));
    // What the gate and the step waited for is one and the same.
    assert_eq!(gate.totals.waits.iter().find(|(phase, _)| *phase == Phase::Person).unwrap().1, 3 * SECOND);
}

#[test]
fn instances_and_sub_trees_are_leaves_of_their_own() {
    let tree = "tree: t\nsteps:\n  a: { foreach: { items: [x, y], as: i }, run: 'echo {{ i }}' }\n  b: { needs: [{ step: a, by: key }], foreach: { items: [x, y], as: i }, run: 'echo {{ i }}' }\n";
    let items = json!([{ "key": "x", "value": "x" }, { "key": "y", "value": "y" }]);
    let expanded = |path: &str| (0.0, json!({ "type": "step_expanded", "step": path, "items": items }));
    let events = [
        started(4),
        expanded("a"),
        step(0.0, "step_started", "a[x]"),
        step(0.0, "step_started", "a[y]"),
        expanded("b"),
        step(1.0, "step_succeeded", "a[x]"),
        step(1.0, "step_started", "b[x]"),
        step(2.0, "step_succeeded", "b[x]"),
        step(4.0, "step_succeeded", "a[y]"),
        step(4.0, "step_started", "b[y]"),
        step(5.0, "step_succeeded", "b[y]"),
        finished(5.0),
    ];
    let timeline = timeline(tree, RunStatus::Succeeded, &events);
    assert_eq!(timeline.lanes.len(), 4);
    assert_eq!(lane(&timeline, "b[x]").needs, SECOND, "only its own instance is waited for");
    assert_eq!((paths(&timeline), timeline.critical_time), (vec!["a[y]", "b[y]"], 5 * SECOND));
}

#[test]
fn the_chart_fits_every_width() {
    let timeline = diamond();
    for width in chart::NARROWEST..=chart::WIDEST {
        for line in chart::lines(&timeline, width) {
            assert!(line.width() <= width, "wider than {width}: {}", line.plain());
        }
    }
    let lines: Vec<String> = chart::lines(&timeline, 60).iter().map(|line| line.plain().trim_end().to_owned()).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    t #3 succeeded
      run abcabcabcabc, started 2026-11-21 12:00:00Z
          0                  4.0s                   8.0s
    ◆ a   ███████████                                       2.0s
    ◆ b              █████████████████                      3.0s
      c              ░░░░░░░░░░░░░░░░░██████                1.0s
    ◆ d                                     ██████          1.0s
    ◆ end                                         ██████    1.0s
      █ runs   ░ waits for its turn   ◆ on the critical path

    wall time      8.0s
    work           8.0s, 1.0 steps at once on average
                   1 at most
    waited for     needs 17s, pools 3.0s
    critical path  7.0s, 4 steps: a b d end
    ");
}

#[test]
fn the_document_has_its_keys() {
    let document = document::document(&diamond());
    assert_eq!(document["schema"], "trees/timeline");
    assert_eq!(document["critical_path"], json!({ "seconds": 7.0, "steps": ["a", "b", "d", "end"] }));
    assert_eq!(document["totals"]["waiting"]["pools"], 3.0);
    assert_eq!(document["steps"][2]["segments"][0], json!({ "phase": "pools", "from": 2.0, "to": 5.0, "failed": false }));
}

#[test]
fn nothing_in_a_page_becomes_markup() {
    let evil = "</title><script>window.hacked=1</script><img src=x onerror=alert(1)>\" onfocus=\"alert(2)";
    let error = json!({ "reason": "exit", "code": 1, "message": evil });
    let path = format!("a[{evil}]");
    let events = [
        started(4),
        (0.0, json!({ "type": "step_expanded", "step": "a", "items": [{ "key": evil, "value": 1 }] })),
        (0.0, json!({ "type": "step_started", "step": path, "attempt": 1 })),
        (1.0, json!({ "type": "step_failed", "step": path, "attempt": 1, "error": error })),
        finished(1.0),
    ];
    let mut timeline =
        timeline("tree: t\nsteps: { a: { foreach: { items: [1], as: i }, run: 'echo {{ i }}' } }\n", RunStatus::Failed, &events);
    timeline.run.tree = evil.into();
    timeline.run.file = evil.into();
    let page = page::page(&timeline).unwrap();
    assert!(page.contains("&lt;script&gt;window.hacked=1"), "the names are there");
    assert_eq!(page.matches("<script").count(), 1, "the page's own script only");
    assert!(!page.contains("<img") && !page.contains("\" onfocus"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<link rel=\"stylesheet"), "it loads nothing");
}

#[test]
fn a_page_tells_the_same_facts_as_the_chart() {
    let page = page::page(&diamond()).unwrap();
    for part in [
        "<title>t #3: timeline</title>",
        "aria-label=\"c: succeeded, began after 2.0s, ran 1.0s, waited for its pool 3.0s\"",
        "aria-label=\"b: succeeded, began after 2.0s, ran 3.0s, on the critical path\"",
        "Critical path: 7.0s",
        "<th scope=\"row\">end</th>",
        "1.0 steps at once on average, 1 at most",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
}
