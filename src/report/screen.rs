//! The screen of a sitting: chosen once, heard by the driver, closed with the run's end.

use super::ask::{Answer, Answers};
use super::clock::Clock;
use super::echo;
use super::said::Said;
use super::shape::Shape;
use super::style::{Line, Paint};
use super::tail::tail;
use super::terminal::Terminal;
use super::view::{Tally, View};
use super::writer::Writer;
use super::{json, plain};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use trees_core::event::Event;
use trees_core::tree::Tree;
use trees_runner::listen::Listener;

/// Lines of a log that are shown under a failure.
const TAIL: usize = 20;
/// Failures whose log is shown; of the others only where it is.
const TAILS: usize = 10;

/// Which screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Bars on a terminal.
    Terminal,
    /// One line a transition.
    Plain,
    /// The events on standard output.
    Json,
}

impl Look {
    /// Bars where there is a terminal to draw them on.
    pub fn human() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        if std::io::stderr().is_terminal() && !dumb { Self::Terminal } else { Self::Plain }
    }

    /// Whether it can ask a person.
    pub fn asks(self) -> bool {
        self == Self::Terminal && echo::can_ask()
    }
}

/// What a screen needs to know beforehand.
pub struct Setup {
    /// Which one.
    pub look: Look,
    /// Only failures and the end.
    pub quiet: bool,
    /// The tree.
    pub tree: Arc<Tree>,
    /// How long earlier runs took.
    pub estimate: Option<Duration>,
    /// Approvals given beforehand.
    pub approved: Vec<String>,
    /// The state folder: logs are named relative to it.
    pub state: PathBuf,
    /// What was recorded before this sitting.
    pub before: Vec<Event>,
}

/// A screen at work.
pub enum Screen {
    /// Bars.
    Terminal(Terminal),
    /// Lines or events.
    Written(Writer),
}

impl Screen {
    /// Opens it with the clock that it goes by.
    pub fn open(setup: Setup, clock: Clock) -> Self {
        let mut view = View::new(Shape::new(setup.tree), setup.estimate);
        view.approve(&setup.approved);
        view.replay(&setup.before);
        let teller = Teller { state: setup.state, quiet: setup.quiet, tails: 0 };
        match setup.look {
            Look::Terminal => Self::Terminal(Terminal::open(view, teller, clock)),
            Look::Plain => Self::Written(plain::open(view, teller)),
            Look::Json => Self::Written(json::open(view)),
        }
    }

    /// Where answers to questions go; only a terminal asks.
    pub fn answers(&self, to: impl Fn(Answer) + Send + 'static) {
        if let Self::Terminal(terminal) = self {
            terminal.answers(Answers::new(to));
        }
    }

    /// What the driver tells.
    pub fn listener(&self) -> Box<dyn Listener> {
        match self {
            Self::Terminal(terminal) => Box::new(terminal.listener()),
            Self::Written(writer) => Box::new(writer.listener()),
        }
    }

    /// Where lines go that are no events; never waits for the terminal.
    pub fn notes(&self) -> Box<dyn Fn(Line) + Send> {
        match self {
            Self::Terminal(terminal) => Box::new(terminal.notes()),
            Self::Written(writer) => Box::new(writer.notes()),
        }
    }

    /// Closes it and leaves the terminal as it was found; tells how far the run came. None where `hurried` says yes and
    /// nobody reads what there still is to be written.
    pub fn close(self, hurried: impl FnMut() -> bool) -> Option<Tally> {
        match self {
            Self::Terminal(terminal) => Some(terminal.close()),
            Self::Written(writer) => writer.close(hurried),
        }
    }
}

/// Turns what is to be said into lines, with the ends of the logs of failures.
pub struct Teller {
    state: PathBuf,
    quiet: bool,
    tails: usize,
}

impl Teller {
    /// Whether only what matters is said.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The lines of one thing.
    pub fn tell(&mut self, said: &Said) -> Vec<Line> {
        if self.quiet && !said.important {
            return Vec::new();
        }
        let under = |text: &String| Line::default().with(Paint::Faint, "  │ ").with(Paint::Plain, text.clone());
        let mut lines = vec![said.line.clone()];
        lines.extend(said.more.iter().map(under));
        if let Some(log) = &said.log {
            let path = self.state.join(log);
            self.tails += 1;
            if self.tails <= TAILS {
                let end = tail(&path, TAIL).unwrap_or_default();
                lines.extend(end.iter().map(under));
            }
            lines.push(Line::default().with(Paint::Faint, format!("  log: {}", path.display())));
        }
        lines
    }
}
