//! An event as a row: what has a column of its own is not said again in the body, and an event
//! that says nothing more has none.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use trees_core::event::{Event, EventKind, Json};
use trees_core::path::{RunId, StepPath};

const OPEN: &str = r#"{"type":""#;

/// The type's word and what else the kind holds, as JSON; `None` where there is nothing else.
pub(crate) fn encode(kind: &EventKind) -> Result<(String, Option<String>), serde_json::Error> {
    let text = serde_json::to_string(kind)?;
    // The tag comes first: serde writes an internally tagged enum so.
    let tagged = text.strip_prefix(OPEN).and_then(|rest| rest.split_once('"'));
    let Some((word, rest)) = tagged else {
        return Err(serde::ser::Error::custom("an event does not begin with its type"));
    };
    let body = rest.strip_prefix(',').map(|fields| format!("{{{fields}"));
    Ok((word.into(), body))
}

/// The columns of one row of `events`.
pub(crate) struct Columns {
    pub(crate) seq: u64,
    pub(crate) ts: i64,
    pub(crate) word: String,
    pub(crate) step: Option<String>,
    pub(crate) attempt: Option<u32>,
    pub(crate) actor: Option<String>,
    pub(crate) body: Option<String>,
}

/// What a row is checked with when it is read.
pub(crate) type Sum = [u8; 16];

/// The sum over texts, each apart from the next; none is another than an empty one.
pub(crate) fn sum<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> Sum {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update([u8::from(text.is_some())]);
        hash.update(text.map_or(0, str::len).to_le_bytes());
        hash.update(text.unwrap_or_default().as_bytes());
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

impl Columns {
    /// The sum over the row of a run.
    pub(crate) fn sum(&self, run: &RunId) -> Sum {
        let (seq, ts, attempt) = (self.seq.to_string(), self.ts.to_string(), self.attempt.map(|attempt| attempt.to_string()));
        let always = [run.0.as_str(), &seq, &ts, &self.word].map(Some);
        sum(always.into_iter().chain([self.step.as_deref(), attempt.as_deref(), self.actor.as_deref(), self.body.as_deref()]))
    }
}

/// A definition, if it is what its digest says.
pub(crate) fn definition(digest: &str, body: &str) -> Result<Json, String> {
    let json: Json = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let same = trees_core::hash::json(&json).is_ok_and(|found| found == digest);
    if same { Ok(json) } else { Err("it is not as it was written".into()) }
}

/// The event that a row was made of.
pub(crate) fn decode(run: &RunId, row: Columns) -> Result<Event, String> {
    let fields = match &row.body {
        Some(body) => body.strip_prefix('{').map(|fields| format!(",{fields}")),
        None => Some("}".into()),
    };
    let text = fields.map(|fields| format!("{OPEN}{}\"{fields}", row.word));
    let seq = row.seq;
    let broken = |why: &dyn std::fmt::Display| format!("event {seq} of run {run}: {why}");
    let text = text.ok_or_else(|| broken(&"its body is no object"))?;
    let kind = serde_json::from_str(&text).map_err(|error| broken(&error))?;
    let ts = Timestamp::from_microsecond(row.ts).map_err(|error| broken(&error))?;
    Ok(Event { v: 1, run: run.clone(), seq, ts, step: row.step.map(StepPath), attempt: row.attempt, actor: row.actor, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trees_core::event::{RunStatus, WaitFor};

    #[track_caller]
    fn check(kind: EventKind, word: &str, body: Option<&str>) {
        let (got, text) = encode(&kind).unwrap();
        assert_eq!((got.as_str(), text.as_deref()), (word, body));
        let columns = Columns { seq: 1, ts: 0, word: got, step: None, attempt: None, actor: None, body: text };
        assert_eq!(decode(&RunId("r".into()), columns).unwrap().kind, kind);
    }

    #[test]
    fn a_body_holds_only_what_no_column_says() {
        check(EventKind::UndoStarted, "undo_started", None);
        check(EventKind::StepStarted { digests: None, idempotency_key: None }, "step_started", None);
        check(EventKind::StepSucceeded { outputs: "a".into(), artifacts: [].into() }, "step_succeeded", Some(r#"{"outputs":"a"}"#));
        check(EventKind::StepWaiting { what: WaitFor::Lock, on: "\"".into() }, "step_waiting", Some(r#"{"for":"lock","on":"\""}"#));
        check(
            EventKind::RunSuspended { status: RunStatus::Paused, reason: String::new(), signal: None, progress: None },
            "run_suspended",
            Some(r#"{"status":"paused","reason":""}"#),
        );
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named() {
        let columns = |word: &str, body: Option<&str>| Columns {
            seq: 7,
            ts: 0,
            word: word.into(),
            step: None,
            attempt: None,
            actor: None,
            body: body.map(str::to_owned),
        };
        let run = RunId("r".into());
        for (word, body) in [("nonsense", None), ("step_skipped", None), ("undo_started", Some("x")), ("undo_started", Some("{"))] {
            let error = decode(&run, columns(word, body)).unwrap_err();
            assert!(error.starts_with("event 7 of run r: "), "{error}");
        }
    }
}
