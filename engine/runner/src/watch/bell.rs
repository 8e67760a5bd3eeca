//! The doorbell: rung when something may have changed, answered when it is quiet again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After one change: so long must it be quiet.
const QUIET: Duration = Duration::from_millis(200);
/// However long changes came: a longer silence is not waited for.
const LONGEST: Duration = Duration::from_secs(2);
/// However they go on coming: after this they are answered.
const BOUND: Duration = Duration::from_secs(20);
/// A ring so soon after another tells nothing new: the answer comes later than both.
const ECHO: Duration = Duration::from_millis(50);
/// How often it is asked whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// When a burst of changes has ended. The longer it lasted the longer is the silence that ends it:
/// one save is answered at once, a checkout that pauses between folders only when it is done.
#[derive(Debug, Default)]
struct Burst {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Burst {
    fn heard(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// Whether it was heard of a moment ago.
    fn echoes(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.duration_since(last) < ECHO)
    }

    /// When it counts as ended, if nothing more is heard.
    fn ends(&self) -> Option<Instant> {
        let (first, last) = self.first.zip(self.last)?;
        let silence = (QUIET + last.duration_since(first) / 2).min(LONGEST);
        Some((last + silence).min(first + BOUND))
    }
}

/// Rung from any thread, answered by one.
#[derive(Debug, Default)]
pub struct Bell {
    burst: Mutex<Burst>,
    rung: Condvar,
}

impl Bell {
    /// Something may have changed.
    pub fn ring(&self) {
        self.burst().heard(Instant::now());
        self.rung.notify_all();
    }

    /// Something may have changed, if `what` says so; it is not asked right after another ring, as
    /// thousands of words come in a burst.
    pub fn ring_if(&self, what: impl FnOnce() -> bool) {
        let echoes = self.burst().echoes(Instant::now());
        if !echoes && what() {
            self.ring();
        }
    }

    /// Something else is to be looked at: whoever waits asks again whether it is over.
    pub fn wake(&self) {
        let _burst = self.burst();
        self.rung.notify_all();
    }

    /// Waits for a ring and the silence after it. False: it is over first.
    pub fn wait(&self, over: &dyn Fn() -> bool) -> bool {
        let mut burst = self.burst();
        loop {
            if over() {
                return false;
            }
            let left = burst.ends().map(|ends| ends.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                *burst = Burst::default();
                return true;
            }
            let patience = left.map_or(LOOK, |left| left.min(LOOK));
            burst = self.rung.wait_timeout(burst, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether it was rung and is not answered yet.
    pub fn is_rung(&self) -> bool {
        self.burst().first.is_some()
    }

    fn burst(&self) -> MutexGuard<'_, Burst> {
        self.burst.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes at these milliseconds: when the burst ends.
    #[track_caller]
    fn check(heard: impl IntoIterator<Item = u64>, ends: Option<u64>) {
        let start = Instant::now();
        let mut burst = Burst::default();
        heard.into_iter().for_each(|ms| burst.heard(start + Duration::from_millis(ms)));
        assert_eq!(burst.ends(), ends.map(|ms| start + Duration::from_millis(ms)));
    }

    #[test]
    fn a_burst_ends_after_a_silence_that_grows_with_it() {
        check([], None);
        check([0], Some(200));
        check([0, 10, 20], Some(230));
        check([5, 1005], Some(5 + 1000 + 200 + 500));
        check((0..=6000).step_by(10), Some(8000));
        // What never ends is answered all the same.
        check((0..=60_000).step_by(10), Some(20_000));
    }

    #[test]
    fn a_word_right_after_a_ring_is_not_looked_at() {
        let (bell, asked) = (Bell::default(), std::cell::Cell::new(0));
        let ring = |answer: bool| {
            bell.ring_if(|| {
                asked.set(asked.get() + 1);
                answer
            });
        };
        ring(false);
        assert!(!bell.is_rung());
        ring(true);
        assert!(bell.is_rung() && asked.get() == 2);
        let mut burst = Burst::default();
        let now = Instant::now();
        burst.heard(now);
        assert!(burst.echoes(now + ECHO / 2) && !burst.echoes(now + ECHO));
        // Whatever was passed over is older than the answer.
        assert!(ECHO * 2 < QUIET);
    }

    #[test]
    fn one_answer_for_many_rings_and_none_when_it_is_over() {
        let bell = Bell::default();
        assert!(!bell.wait(&|| true));
        (0..1000).for_each(|_| bell.ring());
        assert!(bell.is_rung() && bell.wait(&|| false));
        assert!(!bell.is_rung());
    }
}
