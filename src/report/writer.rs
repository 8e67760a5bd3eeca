//! A thread that writes what it hears, so that a slow reader never holds a run up.

use super::say_line;
use super::style::Line;
use super::view::{Tally, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;
use trees_core::event::Event;
use trees_core::path::StepPath;
use trees_runner::listen::Listener;

/// Who has taken nothing for so long does not read any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread, and the way to it.
pub struct Writer {
    words: Sender<Word>,
    /// How many words were written.
    written: Arc<AtomicU64>,
    ended: Receiver<Tally>,
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
        let ((words, waiting), (end, ended)) = (channel(), channel());
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        thread::spawn(move || {
            for word in waiting {
                match word {
                    Word::Events(events) => events.iter().for_each(|event| write(&mut view, event)),
                    Word::Note(line) => say_line(&line),
                    Word::End => break,
                }
                count.fetch_add(1, Ordering::AcqRel);
            }
            // Nobody may wait for it any more.
            drop(end.send(view.tally()));
        });
        Self { words, written, ended }
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

    /// Waits until all is written, however slowly it is read; once `hurried` says yes only as long as it is read at all.
    pub fn close(self, mut hurried: impl FnMut() -> bool) -> Option<Tally> {
        drop(self.words.send(Word::End));
        let (mut before, mut hurry) = (self.written.load(Ordering::Acquire), false);
        loop {
            match self.ended.recv_timeout(PATIENCE) {
                Ok(tally) => return Some(tally),
                Err(RecvTimeoutError::Disconnected) => return Some(Tally::default()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            hurry |= hurried();
            let now = self.written.load(Ordering::Acquire);
            if hurry && now == before {
                return None;
            }
            before = now;
        }
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
