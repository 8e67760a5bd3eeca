//! What a plan says, as values.

use crate::kind::Change;
use serde::Serialize;
use trees_core::path::StepPath;

/// What a run would do, step by step in the order of the tree.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The steps and instances; what contains others only where it would not be entered.
    pub steps: Vec<Row>,
}

/// What would become of one step.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its path.
    pub path: StepPath,
    /// `run`, `approve`, `tree`, or the kind.
    pub kind: String,
    /// What.
    pub verdict: Verdict,
    /// It is a change: `plan` exits 10.
    pub counts: bool,
    /// Why, one sentence.
    pub reason: String,
    /// The tree file.
    pub file: String,
    /// The line of the step.
    pub line: u32,
    /// What differs.
    pub changes: Vec<Change>,
}

/// What would become of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It would run.
    Run,
    /// Its target differs and would be changed.
    Change,
    /// It is done.
    Done,
    /// An earlier result would stand for it.
    Cached,
    /// It only reads; it would ask.
    Ask,
    /// A person would be asked.
    Person,
    /// It does not apply.
    Skip,
    /// It could not be told, or only once the run gets there.
    Unknown,
    /// It would fail, or is blocked by what would.
    Fail,
}

impl Plan {
    /// How many changes there are.
    pub fn changes(&self) -> usize {
        self.steps.iter().filter(|row| row.counts).count()
    }

    /// How many steps could not be told.
    pub fn unknown(&self) -> usize {
        self.steps.iter().filter(|row| matches!(row.verdict, Verdict::Unknown | Verdict::Fail)).count()
    }
}
