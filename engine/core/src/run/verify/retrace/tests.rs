use super::*;
use crate::event::{Digests, ErrorReason, RunStarted, StepError};
use crate::language::{self, Source, Sources};
use crate::path::RunId;
use crate::run::input::{Outcome, Prepared};
use crate::tree::NoKinds;
use std::collections::VecDeque;

fn started() -> RunStarted {
    let facts = serde_json::json!({
        "tree": "t", "project": "t", "number": 1, "file": "t.yaml", "dir": "/", "tree_dir": "/", "environment": "", "params": {},
        "definition": "", "epoch": 1, "trigger": "run", "version": "0", "max_parallel": 1,
    });
    serde_json::from_value(facts).unwrap()
}

/// The events of a run in which every step fails in a way that no retry can help: that is guessed second.
fn driven(run: &mut Run) -> Vec<Event> {
    let (mut events, mut words) = (Vec::new(), VecDeque::from([Input::Started(Box::new(started()))]));
    let mut now = Timestamp::UNIX_EPOCH;
    while let Some(word) = words.pop_front() {
        now += SignedDuration::from_millis(1);
        let decision = run.handle([word], now).unwrap();
        events.extend(decision.events);
        words.extend(decision.effects.into_iter().filter_map(|effect| match effect {
            Effect::Prepare { step } => {
                let digests = Digests { definition: String::new(), input: String::new(), ingredients: [].into(), reusable: false };
                Some(Input::Prepared { step, result: Ok(Box::new(Prepared { digests, cached: None, lost: None })) })
            }
            Effect::Launch { step, attempt, .. } => {
                let error = StepError { reason: ErrorReason::Exit, code: Some(1), message: String::new(), log: None };
                let outcome = Outcome::Failed { error, permanent: true };
                Some(Input::Ended { step, attempt, outcome })
            }
            Effect::Lock { .. } | Effect::Unlock { .. } | Effect::Stop { .. } => None,
        }));
    }
    events
}

#[test]
fn a_long_record_is_not_heard_again_from_its_beginning_for_each_wrong_guess() {
    let steps: String = (0..300).map(|n| format!("  s{n}: {{ run: 'exit 1', retry: {{ attempts: 2 }}, allow_failure: true }}\n")).collect();
    let top = Source { name: "t.yaml".into(), text: format!("tree: t\nmax_parallel: 1\nsteps:\n{steps}") };
    let tree = language::check(top, &Sources::default(), &NoKinds).tree.unwrap();
    let (id, definitions) = (RunId("r".into()), tree.into());
    let scene = Scene { id: &id, definitions: &definitions, kinds: &NoKinds, pace: Pace::Free };
    let events = driven(&mut Run::new(id.clone(), definitions.clone(), &NoKinds));
    let mut retrace = Retrace::of(scene, &[], &events).unwrap();
    let turns = retrace.trace().unwrap().len();
    assert!(turns > 500 && retrace.again > turns, "{turns} turns, {} heard again", retrace.again);
    assert!(retrace.again < turns * APART, "{turns} turns, {} heard again", retrace.again);
}
