//! Asking again and again until an answer holds: the window of `http/check`, `tcp/check` and of
//! the health of a deploy, with the last probes kept for the error.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use trees_core::units;
use trees_runner::kind::{KindError, ReadCx};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// So many good answers in a row.
    pub ok_in_row: u32,
    /// Between two probes.
    pub every: Duration,
    /// A row must have begun by then.
    pub first_ok_within: Duration,
    /// A row must last so long.
    pub stable_for: Duration,
}

/// One answer: good or not, in words.
pub struct Probe<T> {
    /// What was seen, if it was good.
    pub good: Option<T>,
    /// Status, start of the body, or the error.
    pub text: String,
    /// No later answer can be good.
    pub last: bool,
}

impl<T> Probe<T> {
    /// A good answer.
    pub fn good(value: T, text: impl Into<String>) -> Self {
        Self { good: Some(value), text: text.into(), last: false }
    }

    /// A bad answer.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { good: None, text: text.into(), last: false }
    }

    /// A bad answer after which asking is of no use.
    pub fn hopeless(text: impl Into<String>) -> Self {
        Self { good: None, text: text.into(), last: true }
    }
}

const KEPT: usize = 5;

impl Window {
    /// Probes until the window is passed; gives the last good answer and how many probes it took.
    ///
    /// # Errors
    /// When it is not passed in time; the message ends with the last probes.
    pub async fn pass<T, F: Future<Output = Probe<T>>>(
        &self,
        cx: &ReadCx,
        what: &str,
        mut probe: impl FnMut() -> F,
    ) -> Result<(T, u32), KindError> {
        let begun = Instant::now();
        let mut seen = Seen::default();
        let mut row: Option<(Instant, u32)> = None;
        loop {
            let asked = Instant::now();
            let answer = tokio::select! {
                () = cx.cancel.cancelled() => return Err(KindError::transient(format!("{what}: ended while asking\n{}", seen.text()))),
                answer = probe() => answer,
            };
            seen.note(asked - begun, asked.elapsed(), &answer.text);
            row = answer.good.is_some().then(|| row.map_or((asked, 1), |(since, count)| (since, count + 1)));
            match (row, answer.good) {
                (Some((since, count)), Some(value)) if count >= self.ok_in_row && asked - since >= self.stable_for => {
                    return Ok((value, seen.count));
                }
                (Some(_), _) => {}
                (None, _) if answer.last => return Err(self.failed(what, &seen, "cannot become good")),
                (None, _) if begun.elapsed() >= self.first_ok_within => {
                    return Err(self.failed(
                        what,
                        &seen,
                        &format!("no good answer that held within {}", units::show(self.first_ok_within)),
                    ));
                }
                (None, _) => {}
            }
            let pause = if row.is_some() { self.every } else { self.every.min(self.first_ok_within.saturating_sub(begun.elapsed())) };
            cx.sleep(pause).await?;
        }
    }

    fn failed(&self, what: &str, seen: &Seen, why: &str) -> KindError {
        let asked = count(seen.count, "probe");
        KindError::transient(format!("{what}: {why}; {asked} asked, the last: {}\n{}", seen.newest, seen.text()))
    }
}

fn count(number: u32, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[derive(Default)]
struct Seen {
    count: u32,
    /// The first line of the newest answer: an error is often shown by its first line alone.
    newest: String,
    last: VecDeque<String>,
}

impl Seen {
    fn note(&mut self, at: Duration, took: Duration, text: &str) {
        self.count += 1;
        self.newest = text.lines().next().unwrap_or_default().into();
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(format!("  after {:.1}s, in {} ms: {text}", at.as_secs_f64(), took.as_millis()));
    }

    fn text(&self) -> String {
        self.last.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{Probe, Window};
    use crate::bench::Bench;
    use std::time::Duration;

    /// `+` is a good answer, `-` a bad one, `!` a hopeless one; the last repeats. Time is virtual.
    async fn check(window: Window, answers: &str) -> Result<u32, String> {
        let bench = Bench::new();
        let answers: Vec<char> = answers.chars().collect();
        let mut next = 0;
        let passed = window
            .pass(&bench.read(), "it", || {
                let answer = answers[next.min(answers.len() - 1)];
                next += 1;
                async move {
                    match answer {
                        '+' => Probe::good((), "fine"),
                        '!' => Probe::hopeless("gone"),
                        _ => Probe::bad("503"),
                    }
                }
            })
            .await;
        passed.map(|((), probes)| probes).map_err(|e| e.message)
    }

    fn window(ok_in_row: u32, stable_for: u64) -> Window {
        Window {
            ok_in_row,
            every: Duration::from_secs(1),
            first_ok_within: Duration::from_secs(5),
            stable_for: Duration::from_secs(stable_for),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_must_be_long_enough_and_last() {
        assert_eq!(check(window(1, 0), "+").await, Ok(1));
        assert_eq!(check(window(1, 0), "---+").await, Ok(4));
        assert_eq!(check(window(3, 0), "+-+++").await, Ok(5));
        assert_eq!(check(window(1, 4), "+").await, Ok(5));
        let wrong = check(window(2, 0), "+-").await.unwrap_err();
        assert!(wrong.starts_with("it: no good answer that held within 5s; 6 probes asked, the last: 503\n"), "{wrong}");
        assert_eq!(wrong.lines().count(), 6);
        assert!(check(window(1, 0), "-!").await.unwrap_err().contains("2 probes"));
    }
}
