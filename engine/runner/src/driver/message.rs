//! What reaches a driver's thread.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use trees_core::event::Json;
use trees_core::journal::JournalError;
use trees_core::path::StepPath;
use trees_core::run::Input;

/// A word for the driver.
pub(super) enum Message {
    /// For the state machine.
    Input(Box<Input>),
    /// A kind waits until its intent is durable.
    Intend { step: StepPath, attempt: u32, record: Json, pending: Pending },
    /// The newest line of a step.
    Output { step: StepPath, line: String },
    /// How far a step is.
    Progress { step: StepPath, fraction: Option<f64>, text: String },
    /// The disk under an attempt refused: the sitting ends, and what it did is for the resume.
    Broken(JournalError),
    /// Something to be said of the sitting itself.
    Note(String),
    /// `trees` was signalled.
    Signal(i32),
}

/// A kind that waits; dropped without a word, it hears that nothing was recorded.
pub(super) struct Pending(pub oneshot::Sender<()>);

impl Pending {
    pub fn done(self) {
        // A kind that was ended meanwhile does not listen any more.
        let _ = self.0.send(());
    }
}

/// Talks to a driver from any thread; words to one that has ended are lost.
#[derive(Clone)]
pub struct Handle(UnboundedSender<Message>);

impl Handle {
    pub(super) fn new() -> (Self, UnboundedReceiver<Message>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    pub(super) fn send(&self, message: Message) {
        drop(self.0.send(message));
    }

    pub(super) fn input(&self, input: Input) {
        self.send(Message::Input(Box::new(input)));
    }

    /// `trees` was signalled: the first time everything is asked to end, the second time told
    /// (SIGTERM), the third time killed.
    pub fn signal(&self, signal: i32) {
        self.send(Message::Signal(signal));
    }

    /// A person at the screen said yes to an approval step or to `environment:NAME`.
    pub fn approve(&self, name: &str, actor: &str) {
        self.input(Input::Approved { name: name.into(), actor: actor.into(), note: None });
    }

    /// A person at the screen said no.
    pub fn reject(&self, name: &str, actor: &str) {
        self.input(Input::Rejected { name: name.into(), actor: actor.into(), note: None });
    }
}

/// What must be said once, also by a task that panics or is thrown away: else the driver would wait
/// for ever.
pub(super) struct LastWord {
    handle: Handle,
    unsaid: Option<Input>,
}

impl LastWord {
    pub fn new(handle: Handle, unsaid: Input) -> Self {
        Self { handle, unsaid: Some(unsaid) }
    }

    pub fn say(&mut self, input: Input) {
        self.unsaid = None;
        self.handle.input(input);
    }

    /// There is no word on it: the disk refused.
    pub fn withhold(&mut self, error: JournalError) {
        self.unsaid = None;
        self.handle.send(Message::Broken(error));
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(input) = self.unsaid.take() {
            self.handle.input(input);
        }
    }
}
