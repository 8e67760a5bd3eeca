//! The events on standard output, one JSON object a line, exactly as recorded. A thread of its own
//! writes, so that a slow reader never holds a run up; one that went away is no error.

use super::style::Line;
use super::view::{Tally, View};
use super::{out, say_line};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use trees_core::event::Event;
use trees_core::path::StepPath;
use trees_runner::listen::Listener;

/// The writer.
pub struct Json {
    words: Sender<Word>,
    thread: JoinHandle<View>,
}

/// What there is to be written.
enum Word {
    Event(Box<Event>),
    Note(Line),
    /// Nothing more comes, whoever still holds the other end.
    End,
}

/// What the driver tells.
struct Ear(Sender<Word>);

impl Json {
    /// Starts the writer.
    pub fn open(mut view: View) -> Self {
        let (words, waiting) = channel();
        let thread = thread::spawn(move || {
            let mut open = true;
            for word in waiting {
                match word {
                    // What cannot be read any more is taken from the queue all the same.
                    Word::Event(event) => {
                        open = open && serde_json::to_string(&event).is_ok_and(|text| out(&(text + "\n")));
                        view.event(&event);
                        view.take_said();
                    }
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
    fn event(&mut self, event: &Event) {
        // The writer ends only with the sender.
        drop(self.0.send(Word::Event(Box::new(event.clone()))));
    }

    fn output(&mut self, _step: &StepPath, _line: &str) {}

    fn progress(&mut self, _step: &StepPath, _fraction: Option<f64>, _text: &str) {}
}
