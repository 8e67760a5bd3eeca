//! One line a transition on standard error, without control characters: for pipes, files, CI.

use super::said;
use super::say_line;
use super::screen::Teller;
use super::style::Line;
use super::view::{Tally, View};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use trees_core::event::Event;
use trees_core::path::StepPath;
use trees_runner::listen::Listener;

/// The writer.
pub struct Plain {
    words: Sender<Word>,
    thread: JoinHandle<View>,
}

/// What there is to be said.
enum Word {
    Event(Box<Event>),
    Note(Line),
    /// Nothing more comes, whoever still holds the other end.
    End,
}

/// What the driver tells.
struct Ear(Sender<Word>);

impl Plain {
    /// Starts the writer.
    pub fn open(mut view: View, mut teller: Teller) -> Self {
        let (words, waiting) = channel();
        let thread = thread::spawn(move || {
            for word in waiting {
                match word {
                    Word::Event(event) => lines(&mut view, &mut teller, &event).iter().for_each(say_line),
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

    /// Waits until all is said.
    pub fn close(self) -> Tally {
        drop(self.words.send(Word::End));
        self.thread.join().map(|view| view.tally()).unwrap_or_default()
    }
}

/// What one event says.
fn lines(view: &mut View, teller: &mut Teller, event: &Event) -> Vec<Line> {
    view.event(event);
    let mut lines: Vec<Line> = said::begun(event).into_iter().filter(|_| !teller.is_quiet()).collect();
    lines.extend(view.take_said().iter().flat_map(|said| teller.tell(said)));
    lines
}

impl Listener for Ear {
    fn event(&mut self, event: &Event) {
        // The writer ends only with the sender.
        drop(self.0.send(Word::Event(Box::new(event.clone()))));
    }

    fn output(&mut self, _step: &StepPath, _line: &str) {}

    fn progress(&mut self, _step: &StepPath, _fraction: Option<f64>, _text: &str) {}
}
