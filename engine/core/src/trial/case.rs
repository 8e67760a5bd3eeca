//! One case as it is tried: everything checked, nothing left of the text but places for messages.

use crate::diagnostic::Span;
use crate::event::{ErrorReason, Json, Object, Resolution, RunStatus, StepStatus};
use crate::path::StepPath;
use std::collections::BTreeMap;
use std::time::Duration;

/// One course of a run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub span: Span,
    /// The params with their defaults.
    pub params: Object,
    /// The environment, `""` where there is none.
    pub environment: String,
    /// Faked secrets.
    pub secrets: BTreeMap<String, String>,
    /// Steps at once.
    pub max_parallel: u32,
    /// What becomes of steps.
    pub mocks: Vec<Mock>,
    /// What people say.
    pub answers: Vec<Answer>,
    /// When the run is cancelled, and whether external steps are ended too.
    pub cancel: Option<(Duration, bool)>,
    /// What must come of it.
    pub expect: Expect,
}

/// What becomes of the attempts of a step.
#[derive(Debug, Clone)]
pub struct Mock {
    /// The step or instance; without keys it stands for all instances.
    pub path: StepPath,
    /// Where it stands.
    pub span: Span,
    /// How its attempts end.
    pub end: End,
    /// So many end so, then it succeeds; `None`: all.
    pub times: Option<u32>,
    /// How long an attempt takes.
    pub takes: Duration,
    /// What it returns.
    pub outputs: Object,
    /// Its undo fails, each time.
    pub undo_fails: bool,
}

/// How an attempt ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Well.
    Well,
    /// It was done already.
    Done,
    /// With this error.
    Failed {
        /// Which sort.
        reason: ErrorReason,
        /// The exit code or signal.
        code: Option<i32>,
        /// What it says.
        message: String,
        /// The check said it, before the action.
        in_check: bool,
    },
}

/// What a person says.
#[derive(Debug, Clone)]
pub struct Answer {
    /// An approval step, `environment:NAME`, or a step whose outcome is unknown.
    pub name: StepPath,
    /// Where it stands.
    pub span: Span,
    /// What.
    pub word: Word,
    /// How long after the question.
    pub after: Duration,
    /// A word.
    pub note: Option<String>,
}

/// What can be said.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// Yes or no.
    Approve(bool),
    /// Nothing, until the question expires.
    Expire,
    /// What became of an attempt.
    Resolve(Resolution, Object),
}

/// What must come of a case.
#[derive(Debug, Clone)]
pub struct Expect {
    /// The run's status.
    pub status: (RunStatus, Span),
    /// A part of the run's reason.
    pub reason: Option<(String, Span)>,
    /// Steps.
    pub steps: Vec<ExpectStep>,
    /// Each list in this order.
    pub order: Vec<(Vec<StepPath>, Span)>,
    /// Outputs of the tree.
    pub outputs: Vec<(String, Json, Span)>,
    /// The least and the most virtual time.
    pub took: Option<(Duration, Option<Duration>, Span)>,
}

/// What must come of a step.
#[derive(Debug, Clone)]
pub struct ExpectStep {
    /// The step or instance.
    pub path: StepPath,
    /// Where it stands.
    pub span: Span,
    /// Its status.
    pub status: Option<StepStatus>,
    /// Its attempts.
    pub attempts: Option<u32>,
    /// The code of its reason or a part of the sentence.
    pub reason: Option<String>,
    /// A part of its error.
    pub error: Option<String>,
    /// Outputs.
    pub outputs: Object,
    /// Inputs of its kind.
    pub with: Object,
}

/// Whether a path, as written, stands for a step: ids are equal, and keys where it has some. The
/// number says how exactly.
pub fn fits(written: &StepPath, path: &StepPath) -> Option<usize> {
    let (a, b): (Vec<&str>, Vec<&str>) = (written.as_str().split('/').collect(), path.as_str().split('/').collect());
    if a.len() != b.len() {
        return None;
    }
    let mut exact = 0;
    for (a, b) in a.into_iter().zip(b) {
        match (a == b, a.contains('[')) {
            (true, _) => exact += 1,
            (false, false) if b.split('[').next() == Some(a) => {}
            (false, _) => return None,
        }
    }
    Some(exact)
}
