//! An independent reference: what must have become of a run, from the files as written and from what the world said.
//!
//! Naive on purpose: it knows the statuses by path, looks at all of them again for each event, and shares no code with
//! the machine. At each event it works out what had to happen to that step, and at each end what had to have happened
//! to all of them.

mod again;
mod back;
mod ends;
mod starts;
mod verdict;
mod written;

use crate::facts::{End, Fact, Word};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use trees_core::event::{ErrorReason, Event, EventKind, Resolution, RunStatus, StepStatus, WaitFor};
use written::{Written, containers, key_of, scope_of};

/// Seconds by which two ways of adding up times may differ.
const SLACK: f64 = 0.001;

/// What is wrong with an event, in words.
type Judged = Result<(), String>;

/// What is known of a step or an instance.
#[derive(Debug, Clone)]
struct Seen {
    status: StepStatus,
    attempt: u32,
    /// Attempts that count since it was last pending.
    tries: u64,
    undo_tries: u64,
    /// The event with which its last attempt, question or undo began.
    since: u64,
    /// The same, of an attempt or question that is not taken back.
    begun: u64,
    ended: u64,
    error: Option<(ErrorReason, Option<i32>)>,
    retry_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    /// Its action ended well, and that is recorded.
    recorded: bool,
    /// Something of it is in the world.
    acted: bool,
    /// Nobody knows whether something of it is in the world.
    unsettled: bool,
    /// It ended by what others did.
    follows: bool,
    /// A person is asked what became of it.
    asked: bool,
    doubted: bool,
    /// No try is left and this unknown outcome is being looked at.
    looks: Option<ErrorReason>,
    /// A cancel does not wait for what is unknown of it.
    given_up: bool,
    answered: Option<bool>,
    /// The driven time when it first began in this pass, and with this attempt.
    first: f64,
    last: f64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            status: StepStatus::Pending,
            attempt: 0,
            tries: 0,
            undo_tries: 0,
            since: 0,
            begun: 0,
            ended: 0,
            error: None,
            retry_at: None,
            expires_at: None,
            recorded: false,
            acted: false,
            unsettled: false,
            follows: false,
            asked: false,
            doubted: false,
            looks: None,
            given_up: false,
            answered: None,
            first: -1.0,
            last: 0.0,
        }
    }
}

/// Why nothing starts any more.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Halt {
    Stopped,
    Failing,
    Cancelled,
    TakenBack,
    Late,
}

/// A rollback under way.
#[derive(Debug, Clone, Default)]
struct Back {
    skip: BTreeSet<String>,
    cancelled: bool,
}

pub struct Reference<'a> {
    written: Written<'a>,
    facts: &'a [Fact],
    seen: BTreeMap<String, Seen>,
    /// The instances of fan-outs.
    fans: BTreeMap<String, Vec<String>>,
    gates: BTreeMap<String, Option<bool>>,
    halt: Option<Halt>,
    /// Sub-trees whose time is over.
    late: BTreeSet<String>,
    back: Option<Back>,
    status: RunStatus,
    pausing: bool,
    /// What ended well is looked at again in this sitting.
    looks: bool,
    /// From here on it does not know: a run taken up again whose own deadline had passed.
    leaves_out: bool,
    /// The number of the event with which this sitting began.
    sitting: u64,
    places: usize,
    /// Seconds in which a process drove the run; the last time seen.
    driven: f64,
    /// Of that, when the run's own time began anew, and when this sitting began.
    anew: f64,
    sat: f64,
    clock: Option<Timestamp>,
}

/// Walks through a journal; the first event that had to be otherwise, and how.
pub fn judge(files: &BTreeMap<String, Value>, facts: &[Fact], journal: &[Event]) -> Result<(), (u64, String)> {
    let mut reference = Reference {
        written: Written(files),
        facts,
        seen: BTreeMap::new(),
        fans: BTreeMap::new(),
        gates: BTreeMap::new(),
        halt: None,
        late: BTreeSet::new(),
        back: None,
        status: RunStatus::Pending,
        pausing: false,
        looks: false,
        leaves_out: false,
        sitting: 0,
        places: files["top"]["max_parallel"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(4),
        driven: 0.0,
        anew: 0.0,
        sat: 0.0,
        clock: None,
    };
    journal.iter().try_for_each(|event| reference.hear(event).map_err(|wrong| (event.seq, wrong)))
}

impl Reference<'_> {
    fn hear(&mut self, event: &Event) -> Judged {
        if self.leaves_out {
            return Ok(());
        }
        if let Some(last) = self.clock {
            self.driven += event.ts.duration_since(last).as_secs_f64();
            self.clock = Some(event.ts);
        }
        match (&event.kind, &event.step) {
            (EventKind::RunStarted(_), _) => {
                (self.status, self.sitting, self.clock) = (RunStatus::Running, event.seq, Some(event.ts));
                Ok(())
            }
            (EventKind::RunResumed { .. }, _) => {
                self.sit(event);
                self.resume();
                Ok(())
            }
            (EventKind::RollbackStarted(how), _) => {
                let skip = how.skip.iter().map(|s| s.0.clone()).collect();
                self.begin_back(event, how.epoch.is_some(), skip)
            }
            (EventKind::CancelRequested { .. }, _) => {
                self.said(event, |word| matches!(word, Word::Cancelled))?;
                match &mut self.back {
                    Some(back) => back.cancelled = true,
                    None => self.halt = Some(Halt::Cancelled),
                }
                Ok(())
            }
            (EventKind::RunSuspended { status, reason, .. }, _) => {
                self.rests(event, *status, reason)?;
                (self.status, self.clock) = (*status, None);
                Ok(())
            }
            (EventKind::RunFinished { status, error, .. }, _) => {
                self.finishes(*status, error.as_deref())?;
                (self.status, self.clock) = (*status, None);
                if *status != RunStatus::RollbackStuck {
                    self.back = None;
                }
                Ok(())
            }
            (_, None) => Err("of no step".into()),
            (_, Some(step)) => match step.as_str().strip_prefix("environment:") {
                Some(environment) => self.hear_gate(event, environment),
                None => {
                    let path = step.as_str();
                    if !self.written.is_known(path) {
                        return Err("no such step".into());
                    }
                    self.hear_step(event, path)
                }
            },
        }
    }

    /// A process takes the run up.
    fn sit(&mut self, event: &Event) {
        (self.sitting, self.clock, self.pausing) = (event.seq, Some(event.ts), self.status == RunStatus::Paused);
        self.sat = self.driven;
        for answer in self.gates.values_mut().filter(|a| **a == Some(false)) {
            *answer = None;
        }
    }

    fn hear_gate(&mut self, event: &Event, environment: &str) -> Judged {
        match &event.kind {
            EventKind::ApprovalRequested { .. } => {
                self.gates.insert(environment.to_owned(), None);
                let wants = |path: &String| self.written.environment(path) == environment && self.may_begin(path).is_ok();
                if !self.live().iter().any(wants) {
                    return Err("nothing could start in that environment".into());
                }
            }
            EventKind::ApprovalGiven { .. } | EventKind::ApprovalRejected { .. } => {
                let yes = matches!(event.kind, EventKind::ApprovalGiven { .. });
                let name = format!("environment:{environment}");
                self.said(event, |word| matches!(word, Word::Answered { name: n, yes: y } if *n == name && *y == yes))?;
                self.gates.insert(environment.to_owned(), Some(yes));
            }
            _ => return Err("not of an environment".into()),
        }
        Ok(())
    }

    fn hear_step(&mut self, event: &Event, path: &str) -> Judged {
        match &event.kind {
            EventKind::StepStarted { .. } => self.starts(event, path),
            EventKind::StepExpanded { items } => self.expands(path, &items.iter().map(|i| i.key.clone()).collect::<Vec<_>>()),
            EventKind::ApprovalRequested { expires_at, .. } => self.asks(event, path, *expires_at),
            EventKind::ApprovalGiven { .. } | EventKind::ApprovalRejected { .. } => {
                let yes = matches!(event.kind, EventKind::ApprovalGiven { .. });
                self.is_waiting(path)?;
                self.said(event, |word| matches!(word, Word::Answered { name, yes: y } if name == path && *y == yes))?;
                self.seen_mut(path).answered = Some(yes);
                if !yes {
                    self.end(event, path, StepStatus::Rejected);
                }
                Ok(())
            }
            EventKind::ApprovalExpired => {
                self.is_waiting(path)?;
                ensure(self.seen(path).expires_at.is_some_and(|at| at <= event.ts), "its time is not over")
            }
            EventKind::StepWaiting { what, .. } => {
                let seen = self.seen(path);
                let doubtful = self.written.on_crash(path) == "ask" || (self.written.on_crash(path) == "fail" && seen.doubted);
                ensure(*what == WaitFor::Decision && seen.status == StepStatus::Interrupted && doubtful, "nobody has to be asked")?;
                let seen = self.seen_mut(path);
                (seen.status, seen.asked) = (StepStatus::Waiting, true);
                Ok(())
            }
            EventKind::StepResolved { resolution, .. } => self.resolved(event, path, *resolution),
            EventKind::StepReopened { .. } => self.reopens(path),
            EventKind::UndoStarted => self.undo_starts(event, path),
            EventKind::UndoSucceeded => self.undone(event, path),
            EventKind::UndoFailed { .. } => self.undo_fails(event, path),
            EventKind::AttemptFailed { retry_at, .. } if self.seen(path).status == StepStatus::Undoing => {
                self.undo_is_tried_again(event, path, *retry_at)
            }
            _ => self.ends(event, path),
        }
    }

    fn is_waiting(&self, path: &str) -> Judged {
        let seen = self.seen(path);
        ensure(self.written.is_approval(path) && seen.status == StepStatus::Waiting, "it asked nothing")
    }

    fn resolved(&mut self, event: &Event, path: &str, resolution: Resolution) -> Judged {
        let marked = |word: &Word| matches!(word, Word::TakenBack { marked } if marked.iter().any(|m| m == path));
        let said = |word: &Word| matches!(word, Word::Resolved { name, resolution: r } if name == path && *r == resolution);
        self.said(event, |word| said(word) || (resolution == Resolution::Undone && marked(word)))?;
        let open = [StepStatus::Pending, StepStatus::Waiting, StepStatus::Interrupted, StepStatus::RetryWait];
        ensure(resolution == Resolution::Undone || open.contains(&self.seen(path).status), "there was nothing to resolve")?;
        let seen = self.seen_mut(path);
        seen.unsettled = false;
        match resolution {
            Resolution::Done => {
                (seen.acted, seen.recorded) = (true, false);
                self.end(event, path, StepStatus::Succeeded);
            }
            Resolution::Retry => {
                seen.recorded = false;
                self.renew(path);
            }
            Resolution::Fail => {
                seen.error = seen.error.map(|(_, code)| (ErrorReason::Exit, code));
                self.end(event, path, StepStatus::Failed);
            }
            Resolution::Undone => {
                self.is_gone(path);
                self.seen_mut(path).status = StepStatus::Undone;
            }
            Resolution::Skip => return Err("nobody skips here".into()),
        }
        Ok(())
    }

    /// What was said between the beginning of an attempt and an event about it.
    fn end_of(&self, event: &Event, path: &str) -> Option<End> {
        let since = self.seen(path).since;
        let mut words = self.facts.iter().rev().filter(|f| f.at as u64 >= since && (f.at as u64) < event.seq);
        words.find_map(|f| match &f.word {
            Word::Ended { step, attempt, end } if step == path && Some(*attempt) == event.attempt => Some(*end),
            _ => None,
        })
    }

    fn said(&self, event: &Event, fits: impl Fn(&Word) -> bool) -> Judged {
        let since = |f: &Fact| f.at as u64 >= self.sitting || (f.first && f.at as u64 + 1 == self.sitting);
        let mut words = self.facts.iter().filter(|f| since(f) && (f.at as u64) < event.seq);
        ensure(words.any(|f| fits(&f.word)), "nobody said so")
    }

    /// A signal came in this sitting.
    fn is_interrupted(&self, event: &Event) -> bool {
        self.said(event, |word| matches!(word, Word::Interrupted)).is_ok()
    }

    fn seen(&self, path: &str) -> Seen {
        self.seen.get(path).cloned().unwrap_or_default()
    }

    fn seen_mut(&mut self, path: &str) -> &mut Seen {
        self.seen.entry(path.to_owned()).or_default()
    }

    /// It has ended.
    fn is_over(&self, path: &str) -> bool {
        let seen = self.seen(path);
        seen.status.is_final() || seen.given_up
    }

    fn is_allowed(&self, path: &str) -> bool {
        matches!(self.seen(path).status, StepStatus::Failed | StepStatus::TimedOut) && self.written.allows_failure(path)
    }

    fn has_failed(&self, path: &str) -> bool {
        self.seen(path).status.is_failure() && !self.is_allowed(path)
    }

    /// The steps of a tree at work with the instances of its fan-outs.
    fn members(&self, scope: &str) -> Vec<String> {
        let steps = self.written.steps(scope);
        steps.into_iter().flat_map(|step| std::iter::once(step.clone()).chain(self.instances(&step))).collect()
    }

    fn instances(&self, group: &str) -> Vec<String> {
        self.fans.get(group).into_iter().flatten().map(|key| format!("{group}[{key}]")).collect()
    }

    /// All that is in a tree at work.
    fn all_in(&self, scope: &str) -> Vec<String> {
        let inner = |m: String| {
            let below = if self.written.is_tree(&m) && self.seen.contains_key(&m) { self.all_in(&m) } else { Vec::new() };
            std::iter::once(m).chain(below)
        };
        self.members(scope).into_iter().flat_map(inner).collect()
    }

    /// Of that, what stands in trees that are at work.
    fn live(&self) -> Vec<String> {
        self.all_in("").into_iter().filter(|p| self.is_live(p)).collect()
    }

    fn is_live(&self, path: &str) -> bool {
        containers(path).all(|c| self.seen(c).status == StepStatus::Running)
    }

    fn end(&mut self, event: &Event, path: &str, status: StepStatus) {
        if self.seen(path).status == StepStatus::Pending {
            self.fans.remove(path);
        }
        let seen = self.seen_mut(path);
        (seen.status, seen.ended, seen.retry_at, seen.expires_at, seen.answered) = (status, event.seq, None, None, None);
        if status.is_failure() {
            self.note_failure(path);
        }
    }

    /// A failure that is bound to be one of the run stops it, as its tree says.
    fn note_failure(&mut self, path: &str) {
        if self.is_allowed(path) || self.back.is_some() || !self.decides(path) {
            return;
        }
        let halt = match self.written.on_failure() {
            "stop" | "rollback" => Halt::Stopped,
            "cancel" => Halt::Failing,
            "pause" => {
                self.pausing |= self.halt.is_none();
                return;
            }
            _ => return,
        };
        self.halt.get_or_insert(halt);
    }

    fn decides(&self, path: &str) -> bool {
        let tolerated = |at: &str| key_of(at).is_some() && self.written.has(at, "tolerate");
        let own = !self.written.in_finally(path) && !tolerated(path);
        let above = |c: &str| {
            // Of a fan-out only its instance counts here.
            let again = self.written.is_tree(c) && self.seen(c).tries < self.written.attempts(c);
            !self.written.is_whole(c) && (tolerated(c) || again || self.written.allows_failure(c))
        };
        own && !containers(path).any(above)
    }

    /// What keeps it from starting.
    fn halted(&self, path: &str) -> Option<Halt> {
        for at in std::iter::once(path).chain(containers(path)) {
            if self.written.is_finally(at) {
                return None;
            }
            if self.late.contains(scope_of(at)) && !scope_of(at).is_empty() {
                return Some(Halt::Late);
            }
        }
        self.halt
    }

    /// Whether its time, or that of what it is in, may be over.
    fn may_be_late(&self, path: &str) -> bool {
        let run = self.written.seconds("", "deadline").is_some_and(|d| self.driven - self.anew + SLACK >= d);
        let trees = |c: &str| self.written.is_tree(c) && self.may_have_passed(c);
        run || containers(path).any(trees) || trees(path)
    }

    /// Whether a limit of a sub-tree may have passed. That of an attempt which goes on in another sitting begins anew.
    fn may_have_passed(&self, path: &str) -> bool {
        let seen = self.seen(path);
        let over = |key: &str, from: f64| self.written.seconds(path, key).is_some_and(|limit| self.driven - from + SLACK >= limit);
        over("timeout", seen.last.max(self.sat)) || over("deadline", seen.first)
    }

    /// Which of them it was shows by what happens.
    fn note_late(&mut self, path: &str) {
        if let Some(late) = containers(path).find(|c| self.written.is_tree(c) && self.may_have_passed(c)) {
            self.late.insert(late.to_owned());
            return;
        }
        self.halt = match self.halt {
            None | Some(Halt::Stopped | Halt::Failing) => Some(Halt::Late),
            other => other,
        };
    }
}

fn ensure(holds: bool, wrong: &str) -> Judged {
    if holds { Ok(()) } else { Err(wrong.to_owned()) }
}
