//! What changed on the targets since a run: the external steps of the run that succeeded are looked
//! at again, each with what it was given then. Nothing is driven and nothing changed.

use super::DriveError;
use super::look::{Eyes, Looked, Looker, Place, Seen, signalled};
use super::unknown::Lineage;
use crate::kind::Change;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use trees_core::event::Event;
use trees_core::path::{RunId, StepPath};
use trees_core::run::{Definitions, Run};
use trees_core::tree::{Action, Effect};

/// How one step's target stands.
#[derive(Debug, Clone, Serialize)]
pub struct Drift {
    /// The step.
    pub path: StepPath,
    /// `run`, or the kind.
    pub kind: String,
    /// It is as it was: `None` where that could not be told.
    pub holds: Option<bool>,
    /// Nothing can look at it.
    pub blind: bool,
    /// In words.
    pub reason: String,
    /// What differs: `old` is what was found, `new` what the run had made.
    pub changes: Vec<Change>,
}

/// Looks at the external steps of a recorded run, or only those that work for one environment. A signal ends it.
///
/// # Errors
/// When the record cannot be replayed, or a secret is missing.
pub fn drift(
    eyes: Eyes,
    id: RunId,
    environment: Option<&str>,
    definitions: &Definitions,
    recorded: &[Event],
) -> Result<Looked<Vec<Drift>>, DriveError> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tree = definitions.newest();
    let mut run = Run::new(id.clone(), definitions.clone(), eyes.kinds.as_kinds());
    run.replay(recorded)?;
    let facts = run.facts().map(|f| (f.environment.clone(), f.params.clone(), f.dir.clone())).unwrap_or_default();
    // Nobody has the secrets of what was not asked for.
    let selection = run.facts().and_then(|f| f.selection.as_deref());
    let place = Place { tree, selection, environment: &facts.0, params: &facts.1, dir: Path::new(&facts.2) };
    let mut looker = Looker::open(eyes, id, place, runtime.handle())?;
    // As many at once as the run had steps at once.
    let places = Arc::new(Semaphore::new(run.facts().map_or(1, |f| f.max_parallel.max(1) as usize)));
    runtime.block_on(async {
        let end = signalled();
        tokio::pin!(end);
        let (mut looks, mut signal) = (JoinSet::new(), None);
        let mut all = Vec::new();
        for view in run.steps().filter(|s| s.status.is_success() && !s.contains) {
            let Some(step) = Lineage::of(tree, &view.path).and_then(|l| l.step()) else { continue };
            let kind = match &step.action {
                Action::Run(_) => "run".to_owned(),
                Action::Uses { kind, .. } => kind.clone(),
                Action::Tree { .. } | Action::Approve { .. } => continue,
            };
            let instances = step.fan_out.is_some() && !view.path.as_str().ends_with(']');
            let elsewhere = environment.is_some() && run.environment(&view.path).as_deref() != environment;
            if step.effect != Effect::External || step.finally || instances || elsewhere {
                continue;
            }
            let at = all.len();
            all.push(Drift { path: view.path.clone(), kind, holds: None, blind: false, reason: String::new(), changes: Vec::new() });
            match looker.look(&run, &view.path, run.outputs(&view.path)) {
                Ok(look) => {
                    let places = Arc::clone(&places);
                    looks.spawn(async move {
                        let _place = places.acquire().await;
                        (at, look.see().await)
                    });
                }
                Err(error) => tell(&mut all, at, Seen::Unknown(error.message)),
            }
        }
        loop {
            tokio::select! {
                looked = looks.join_next() => match looked {
                    Some(Ok((at, seen))) => tell(&mut all, at, seen),
                    Some(Err(_)) => {}
                    None => break,
                },
                heard = &mut end, if signal.is_none() => {
                    signal = Some(heard);
                    looker.stop();
                }
            }
        }
        looker.close().await;
        Ok(signal.map_or(Ok(all), Err))
    })
}

fn tell(all: &mut [Drift], at: usize, seen: Seen) {
    let Some(drift) = all.get_mut(at) else { return };
    drift.blind = matches!(seen, Seen::Blind | Seen::Anew(_));
    let (holds, reason) = match seen {
        Seen::Done { text, .. } => (Some(true), text),
        Seen::Differs(changes) => {
            drift.changes = changes;
            (Some(false), "it is not as the run left it".into())
        }
        Seen::Absent => (Some(false), "it is not there any more".into()),
        Seen::NotDone => (Some(false), "its check says that it is not done any more".into()),
        Seen::Anew(_) => (None, "each run does it anew".into()),
        Seen::Blind => (None, "nothing looks at it: it has neither a check nor a kind that observes".into()),
        Seen::Unknown(why) => (None, format!("could not tell: {why}")),
    };
    (drift.holds, drift.reason) = (holds, reason);
}
