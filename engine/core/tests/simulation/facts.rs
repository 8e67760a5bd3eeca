//! What the world told a run, kept beside the journal: what a step came to is told by these words, not by the machine.

use trees_core::event::{ErrorReason, Resolution};

#[derive(Debug, Clone)]
pub struct Fact {
    /// The length of the journal when it was said.
    pub at: usize,
    /// It was said with the beginning of a sitting.
    pub first: bool,
    pub word: Word,
}

#[derive(Debug, Clone)]
pub enum Word {
    /// An action ended well and a verify follows.
    Acted {
        step: String,
        attempt: u32,
    },
    Ended {
        step: String,
        attempt: u32,
        end: End,
    },
    Answered {
        name: String,
        yes: bool,
    },
    Resolved {
        name: String,
        resolution: Resolution,
    },
    Cancelled,
    Interrupted,
    TakenBack {
        marked: Vec<String>,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    Good,
    Already,
    NotDone,
    Bad { reason: ErrorReason, code: Option<i32>, permanent: bool },
    Stopped,
}
