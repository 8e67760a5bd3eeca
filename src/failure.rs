//! What stops a command, and the exit code that says so. The table of codes is the contract's.
//!
//! Diagnostics of a tree file are no failure of this sort: they are printed, then [`Exit::WRONG`].

use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use trees_core::journal::JournalError;
use trees_state::stopped;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Done.
    pub const OK: Self = Self(0);
    /// The run failed or was cancelled; could not tell.
    pub const FAILED: Self = Self(1);
    /// The command line, the tree or its params are wrong.
    pub const WRONG: Self = Self(2);
    /// A person or a decision is waited for.
    pub const WAITING: Self = Self(3);
    /// Failed and fully taken back.
    pub const ROLLED_BACK: Self = Self(4);
    /// Taking back is stuck.
    pub const STUCK: Self = Self(5);
    /// Changes were found.
    pub const CHANGES: Self = Self(10);
    /// A bug.
    pub const BUG: Self = Self(70);

    /// Ended by a signal.
    pub fn signal(number: i32) -> Self {
        Self(u8::try_from(128 + number).unwrap_or(1))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// Which sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Could not be done, or could not be told.
    Failed,
    /// The command line, the tree or its params are wrong.
    Wrong,
    /// The run is held by a living process.
    Held,
    /// The state cannot be written or is damaged.
    State,
    /// A bug.
    Bug,
}

impl Kind {
    /// Its exit code.
    pub fn exit(self) -> Exit {
        match self {
            Self::Failed => Exit::FAILED,
            Self::Wrong => Exit::WRONG,
            Self::Held => Exit(6),
            Self::State => Exit(7),
            Self::Bug => Exit::BUG,
        }
    }
}

/// Why a command stops: one message, its cause, the cure.
#[derive(Debug)]
pub struct Failure {
    /// Which sort.
    pub kind: Kind,
    /// What is wrong; its own sources are printed after it.
    pub source: Box<dyn Error + Send + Sync>,
    /// What may help, one sentence each.
    pub hints: Vec<String>,
}

impl Failure {
    /// Of a sort, with a message.
    pub fn new(kind: Kind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into(), hints: Vec::new() }
    }

    /// The command line, the tree or its params are wrong.
    pub fn wrong(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Wrong, source)
    }

    /// It could not be done.
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Failed, source)
    }

    /// A bug.
    pub fn bug(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Bug, source).hint("this is a bug in trees; please report it with this text and `trees doctor`")
    }

    /// What is told of it beside the message: the cures, or of a state that cannot be used, where nobody
    /// said how to go on, that the command can be given again.
    pub fn way_on(&self) -> Vec<&str> {
        match self.kind {
            Kind::State if self.hints.is_empty() => vec!["when that is mended, run the command again"],
            Kind::Failed | Kind::Wrong | Kind::Held | Kind::State | Kind::Bug => self.hints.iter().map(String::as_str).collect(),
        }
    }

    /// Adds a cure.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut text = self.source.to_string();
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Many errors repeat their cause in their own text.
            if !text.contains(&next) {
                write!(f, ": {next}")?;
            }
            text = next;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let kind = match &error {
            JournalError::Fenced { .. } | JournalError::Held { .. } => Kind::Held,
            JournalError::Unknown(_) | JournalError::Answered { .. } => Kind::Wrong,
            JournalError::State { .. } | JournalError::Temporary { .. } => Kind::State,
            JournalError::Unkept(_) => Kind::Failed,
        };
        let hint = match &error {
            JournalError::Held { run, pid } => match stopped(run, *pid) {
                Some((text, cure)) => Some(format!("{text}: {cure}")),
                None => Some(format!("follow it with `trees show {run} -f`, or end it with `trees cancel {run}`")),
            },
            JournalError::Unknown(_) => Some("`trees list` shows the runs there are".to_owned()),
            JournalError::Answered { .. } => Some("the first word counts; it is taken up when the run goes on".to_owned()),
            JournalError::Fenced { .. } | JournalError::State { .. } | JournalError::Temporary { .. } | JournalError::Unkept(_) => None,
        };
        Self { hints: hint.into_iter().collect(), ..Self::new(kind, error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trees_core::path::RunId;

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let code = |kind: Kind| kind.exit().0;
        assert_eq!([Kind::Failed, Kind::Wrong, Kind::Held, Kind::State, Kind::Bug].map(code), [1, 2, 6, 7, 70]);
        assert_eq!([1, 2, 15].map(|n| Exit::signal(n).0), [129, 130, 143]);
    }

    #[test]
    fn a_held_run_says_how_to_follow_it() {
        let failure = Failure::from(JournalError::Held { run: RunId("abc".into()), pid: 0 });
        assert_eq!(failure.kind, Kind::Held);
        assert_eq!(failure.to_string(), "run abc is held by process 0");
        assert_eq!(failure.hints, ["follow it with `trees show abc -f`, or end it with `trees cancel abc`"]);
    }
}
