//! A thread that writes what it hears, so that a slow reader never holds a run up.

use super::say_line;
use super::style::Line;
use super::view::{Tally, View};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use trees_core::event::Event;
use trees_core::path::StepPath;
use trees_runner::listen::Listener;

/// The thread, and the way to it.
pub struct Writer {
    words: Sender<Word>,
    thread: JoinHandle<View>,
}

/// What there is to be written.
enum Word {
    Events(Vec<Event>),
    Note(Line),
    /// Nothing more comes, whoever still holds the other end.
    End,
}

/// What the driver tells.
struct Ear(Sender<Word>);

impl Writer {
    /// Starts it; `write` gets each event.
    pub fn start(mut view: View, mut write: impl FnMut(&mut View, &Event) + Send + 'static) -> Self {
        let (words, waiting) = channel();
        let thread = thread::spawn(move || {
            for word in waiting {
                match word {
                    Word::Events(events) => events.iter().for_each(|event| write(&mut view, event)),
                    Word::Note(line) => say_line(&line),
                    Word::End => break,
                }
            }
            view
        });
        Self { words, thread }
    }

    /// What the driver tells.
    pub fn listener(&self) -> impl Listener + use<> {
        Ear(self.words.clone())
    }

    /// Where lines go that are no events.
    pub fn notes(&self) -> impl Fn(Line) + Send + 'static + use<> {
        let words = self.words.clone();
        move |line| drop(words.send(Word::Note(line)))
    }

    /// Waits until all is written.
    pub fn close(self) -> Tally {
        drop(self.words.send(Word::End));
        self.thread.join().map(|view| view.tally()).unwrap_or_default()
    }
}

impl Listener for Ear {
    fn events(&mut self, events: &[Event]) {
        // The writer ends only with the sender.
        drop(self.0.send(Word::Events(events.to_vec())));
    }

    fn output(&mut self, _step: &StepPath, _line: &str) {}

    fn note(&mut self, text: &str) {
        drop(self.0.send(Word::Note(Line::caution(text))));
    }

    fn progress(&mut self, _step: &StepPath, _fraction: Option<f64>, _text: &str) {}
}
