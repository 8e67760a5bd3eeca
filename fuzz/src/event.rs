//! Events: any line that is one says the same when it is written and read again, and any history of
//! them is taken or refused.

use super::tree::KINDS;
use super::trial::shop;
use std::sync::Arc;
use trees_core::event::Event;
use trees_core::path::RunId;
use trees_core::run::{Input, Recovered, RollBack, Run};

/// Lines; those that are events are also a history, numbered as they come.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut history: Vec<Event> = text.lines().filter_map(event).collect();
    let id = RunId("0123456789ab".into());
    for (event, seq) in history.iter_mut().zip(1..) {
        (event.run, event.seq) = (id.clone(), seq);
    }
    replayed(&history);
}

fn event(line: &str) -> Option<Event> {
    let event: Event = serde_json::from_str(line).ok()?;
    let written = text(&event);
    let again: Event = serde_json::from_str(&written).unwrap_or_else(|e| panic!("{written}: {e}"));
    assert_eq!(text(&again), written, "{line}");
    // Times are kept to the microsecond, all else as it came.
    assert_eq!(again.ts.as_microsecond(), serde_json::from_str::<Event>(&text(&again)).map_or(0, |e| e.ts.as_microsecond()));
    Some(again)
}

fn text(event: &Event) -> String {
    serde_json::to_string(event).unwrap_or_else(|e| panic!("{event:?}: {e}"))
}

/// Taken at once or one by one, the run stands the same; then it goes on or back, or says why not.
fn replayed(history: &[Event]) {
    let Some(tree) = shop() else { return };
    let fresh = || Run::new(RunId("0123456789ab".into()), Arc::clone(&tree), &*KINDS);
    let (mut whole, mut pieces) = (fresh(), fresh());
    let taken = whole.replay(history).is_ok();
    let each = history.iter().all(|event| pieces.replay(std::slice::from_ref(event)).is_ok());
    assert_eq!((taken, whole.status(), whole.seq()), (each, pieces.status(), pieces.seq()));
    assert!(whole.steps().eq(pieces.steps()));
    let Some(last) = history.last().filter(|_| taken) else { return };
    let resume = Recovered { epoch: 9, accept_changes: true, actor: "a".into(), ..Recovered::default() };
    let _ = whole.handle([Input::Recovered(Box::new(resume))], last.ts);
    let back = RollBack { epoch: 9, actor: "a".into(), ..RollBack::default() };
    let _ = pieces.handle([Input::RollBack(Box::new(back))], last.ts);
}
