//! Questions on the terminal: a thread reads lines from standard input while the run goes on; `y`
//! or `n` answers the question of the moment, which may have been answered elsewhere meanwhile.

use std::io::{self, BufRead as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What a person said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The approval step, or `environment:NAME`.
    pub name: String,
    /// Yes or no.
    pub yes: bool,
}

/// Questions and where their answers go.
pub struct Answers(Arc<Shared>);

struct Shared {
    question: Mutex<Option<String>>,
    to: Mutex<Box<dyn Fn(Answer) + Send>>,
    reading: AtomicBool,
}

impl Answers {
    /// Nothing is read before the first question.
    pub fn new(to: impl Fn(Answer) + Send + 'static) -> Self {
        Self(Arc::new(Shared { question: Mutex::new(None), to: Mutex::new(Box::new(to)), reading: AtomicBool::new(false) }))
    }

    /// Sets the question of the moment.
    pub fn ask(&self, question: Option<String>) {
        let some = question.is_some();
        *self.0.question.lock().unwrap_or_else(PoisonError::into_inner) = question;
        if some && !self.0.reading.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(&self.0);
            thread::spawn(move || shared.read());
        }
    }
}

impl Shared {
    fn read(&self) {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let Some(yes) = meaning(&line) else { continue };
            let question = self.question.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(name) = question {
                (self.to.lock().unwrap_or_else(PoisonError::into_inner))(Answer { name, yes });
            }
        }
    }
}

/// Yes, no, or something else.
fn meaning(line: &str) -> Option<bool> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::meaning;

    #[test]
    fn only_yes_and_no_are_answers() {
        assert_eq!(["y", " Yes ", "n", "NO", "", "maybe"].map(meaning), [Some(true), Some(true), Some(false), Some(false), None, None]);
    }
}
