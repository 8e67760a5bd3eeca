//! A stage for one run: a script in, the lines of what followed out.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use trees_core::event::{Digests, ErrorReason, Event, EventKind, Object, Resolution, RunStarted, Selection, StepError};
use trees_core::language::{self, Loader, Source};
use trees_core::path::{RunId, StepPath};
use trees_core::run::{Choice, Decision, Effect, Input, Outcome, Prepared, Recovered, Run};
use trees_core::tree::{NoKinds, Tree};

/// The file `sub.yaml`, the text after a line of `---`.
struct Sub(String);

impl Loader for Sub {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = language::join(from, path);
        if name == "sub.yaml" { Ok(Source { name, text: self.0.clone() }) } else { Err(format!("no {name}")) }
    }
}

struct Stage {
    tree: Arc<Tree>,
    run: Run,
    now: Timestamp,
    journal: Vec<Event>,
    /// Locks are given at once unless somebody else has them.
    busy: bool,
}

/// Plays a script and compares. Words: `begin`, `resume [--force STEP]` (also after a crash), `STEP ok [JSON]`,
/// `STEP acted` (a verify follows), `STEP fail CODE`, `STEP timeout|signal|verify|stopped|already|undone`,
/// `wait SECONDS` (driven), `rest SECONDS` (not driven), `approve|reject NAME`, `resolve NAME
/// done|retry|fail`, `far` (done/failed/all leaves), `part --only STEP` (a new run with what the former did), `cancel [now]`, `interrupt`, `busy` (from now on locks are taken), `locked NAME`;
/// ` + ` joins those that arrive together.
pub fn check(tree: &str, script: &str, expected: &str) {
    let (top, sub) = tree.split_once("\n---\n").unwrap_or((tree, ""));
    let sub = format!("tree: sub\n{}", unindent(sub));
    let checked = language::check(Source { name: "top.yaml".into(), text: format!("tree: top\n{}", unindent(top)) }, &Sub(sub), &NoKinds);
    let tree = checked.tree.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut stage = Stage { run: fresh(&tree), tree, now, journal: Vec::new(), busy: false };
    let lines = |text: &str| text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect::<Vec<_>>();
    let seen: Vec<String> = lines(script).iter().map(|turn| stage.turn(turn)).collect();
    assert_eq!(seen.join("\n"), lines(expected).join("\n"), "\nseen:\n{}\n", seen.join("\n"));
}

fn unindent(text: &str) -> String {
    let margin = text.lines().filter(|l| !l.trim().is_empty()).map(|l| l.len() - l.trim_start().len()).min().unwrap_or(0);
    text.lines().map(|l| l.get(margin..).unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn fresh(tree: &Arc<Tree>) -> Run {
    Run::new(RunId("r".into()), Arc::clone(tree), &NoKinds)
}

impl Stage {
    fn turn(&mut self, turn: &str) -> String {
        if turn == "far" {
            let far = self.run.progress();
            return format!("{}/{}/{}", far.done, far.failed, far.total);
        }
        if let Some(seconds) = turn.strip_prefix("rest ") {
            self.now += SignedDuration::from_secs(seconds.parse().unwrap());
            return "-".into();
        }
        let mut inputs: Vec<Input> = match turn.strip_prefix("part ") {
            Some(options) => self.part(options),
            None => turn.split(" + ").filter_map(|word| self.input(word)).collect(),
        };
        let (mut events, mut asked) = (Vec::new(), Vec::new());
        loop {
            let Decision { events: new, effects } = self.run.handle(std::mem::take(&mut inputs), self.now).unwrap();
            events.extend(new.iter().filter_map(told));
            self.journal.extend(new);
            for effect in effects {
                match effect {
                    Effect::Prepare { step } => inputs.push(Input::Prepared { step, result: Ok(Box::new(prepared())) }),
                    Effect::Launch { step, attempt, mode } => asked.push(format!("{step}#{attempt} {mode:?}").to_lowercase()),
                    Effect::Stop { step, attempt, .. } => asked.push(format!("stop {step}#{attempt}")),
                    Effect::Lock { name } if self.busy => inputs.push(Input::LockBusy { name, holder: "another".into() }),
                    Effect::Lock { name } => inputs.push(Input::Locked { name }),
                    Effect::Unlock { name } => asked.push(format!("unlock {name}")),
                }
            }
            if inputs.is_empty() {
                let asked = if asked.is_empty() { String::new() } else { format!(" > {}", asked.join(", ")) };
                return format!("{}{asked}", if events.is_empty() { "-".into() } else { events.join(" ") });
            }
        }
    }

    /// A new run of a part, with the results of the one before.
    fn part(&mut self, options: &str) -> Vec<Input> {
        let words: Vec<&str> = options.split_whitespace().collect();
        let given = |option: &str| words.chunks(2).filter(|w| w[0] == option).map(|w| StepPath(w[1].into())).collect::<Vec<_>>();
        let selection = Selection { only: given("--only"), from: given("--from").pop(), skip: given("--skip"), ..Selection::default() };
        let source = std::mem::replace(&mut self.run, fresh(&self.tree));
        self.journal.clear();
        let course = Choice::of(&self.tree, &selection).unwrap().with(&source).unwrap();
        let started = RunStarted { selection: Some(Box::new(selection)), ..facts(&self.tree) };
        vec![Input::Started(Box::new(started)), Input::Selected(Box::new(course))]
    }

    fn input(&mut self, word: &str) -> Option<Input> {
        let words: Vec<&str> = word.split_whitespace().collect();
        let actor = "me".to_owned();
        let name = || words[1].to_owned();
        Some(match words[0] {
            "begin" => Input::Started(Box::new(facts(&self.tree))),
            "resume" => {
                self.run = fresh(&self.tree);
                self.run.replay(&self.journal).unwrap();
                let force = words.get(2).map(|step| StepPath((*step).into()));
                Input::Recovered(Box::new(Recovered { epoch: 2, force: force.into_iter().collect(), ..Recovered::default() }))
            }
            "wait" => {
                self.now += SignedDuration::from_secs(words[1].parse().unwrap());
                Input::Woke
            }
            "busy" => {
                self.busy = true;
                return None;
            }
            "locked" => Input::Locked { name: name() },
            "approve" => Input::Approved { name: name(), actor, note: None },
            "reject" => Input::Rejected { name: name(), actor, note: None },
            "resolve" => {
                let resolution = match words[2] {
                    "done" => Resolution::Done,
                    "retry" => Resolution::Retry,
                    _ => Resolution::Fail,
                };
                Input::Resolved { name: name(), resolution, outputs: Object::new(), actor, note: None }
            }
            "cancel" => Input::Cancel { actor, now: words.len() > 1 },
            "interrupt" => Input::Interrupt,
            step => self.attempted(step, &words[1..]),
        })
    }

    fn attempted(&self, step: &str, words: &[&str]) -> Input {
        let step = StepPath(step.into());
        let attempt = self.run.step(&step).unwrap_or_else(|| panic!("no {step}")).attempt;
        let outputs: Object = words.get(1).filter(|_| words[0] == "ok").map(|j| serde_json::from_str(j).unwrap()).unwrap_or_default();
        let artifacts = BTreeMap::new();
        let failed =
            |reason, code| Outcome::Failed { error: StepError { reason, code, message: "so".into(), log: None }, permanent: false };
        let outcome = match words[0] {
            "acted" => return Input::ActionDone { step, attempt, outputs, artifacts },
            "ok" => Outcome::Succeeded { outputs, artifacts },
            "fail" => failed(ErrorReason::Exit, Some(words[1].parse().unwrap())),
            "timeout" => failed(ErrorReason::Timeout, None),
            "signal" => failed(ErrorReason::Signal, Some(9)),
            "verify" => failed(ErrorReason::Verify, None),
            "stopped" => Outcome::Stopped,
            "already" => Outcome::AlreadyDone { code: "check", text: "it is".into(), outputs, artifacts },
            "undone" => Outcome::NotDone,
            other => panic!("what is `{other}`?"),
        };
        Input::Ended { step, attempt, outcome }
    }
}

fn prepared() -> Prepared {
    Prepared {
        digests: Digests { definition: "d".into(), input: "i".into(), ingredients: BTreeMap::new(), reusable: false },
        cached: None,
        lost: None,
    }
}

fn facts(tree: &Tree) -> RunStarted {
    RunStarted {
        tree: tree.name.clone(),
        project: tree.project.clone(),
        number: 1,
        file: "top.yaml".into(),
        dir: "/w".into(),
        tree_dir: "/w".into(),
        environment: String::new(),
        params: Object::new(),
        definition: String::new(),
        epoch: 1,
        trigger: "run".into(),
        changed: None,
        version: "0".into(),
        max_parallel: tree.max_parallel.unwrap_or(8),
        approved: Vec::new(),
        pause_on_failure: false,
        selection: None,
    }
}

/// An event as a word; the first of a sitting goes without saying.
fn told(event: &Event) -> Option<String> {
    let word = serde_json::to_value(&event.kind).unwrap()["type"].as_str().unwrap().to_owned();
    let word = word.strip_prefix("step_").unwrap_or(&word).to_owned();
    let attempt = event.attempt.map(|a| format!("#{a}")).unwrap_or_default();
    Some(match (&event.kind, &event.step) {
        (EventKind::RunStarted(_) | EventKind::RunResumed { .. }, _) => return None,
        (EventKind::RunFinished { status, outputs, .. }, _) if outputs.is_empty() => format!("={}", status.as_str()),
        (EventKind::RunFinished { status, outputs, .. }, _) => format!("={}{}", status.as_str(), serde_json::to_string(outputs).unwrap()),
        (EventKind::RunSuspended { status, .. }, _) => format!("~{}", status.as_str()),
        (EventKind::StepSucceeded { .. }, Some(step)) => format!("{step}:ok"),
        (_, Some(step)) => format!("{step}:{word}{attempt}"),
        (_, None) => word,
    })
}
