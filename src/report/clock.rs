//! The time that a screen goes by: that of a sitting, or a recorded one that passes at a pace of its own.

use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use trees_runner::clock as runner;

/// A clock; copies of it show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    recorded: Option<Arc<Recorded>>,
    sitting: runner::Clock,
}

#[derive(Debug)]
struct Recorded {
    speed: f64,
    mark: Mutex<Mark>,
}

/// At this moment it showed this time; it stands still at the next.
#[derive(Debug, Clone, Copy)]
struct Mark {
    moment: runner::Clock,
    shows: Timestamp,
    still: Timestamp,
}

impl From<runner::Clock> for Clock {
    /// That of a sitting.
    fn from(sitting: runner::Clock) -> Self {
        Self { recorded: None, sitting }
    }
}

impl Clock {
    /// A recorded time that begins now and passes `speed` times as fast as the wall's.
    pub fn recorded(begin: Timestamp, speed: f64) -> Self {
        let mark = Mark { moment: runner::Clock::default(), shows: begin, still: begin };
        Self { recorded: Some(Arc::new(Recorded { speed, mark: Mutex::new(mark) })), sitting: mark.moment }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let Some(recorded) = &self.recorded else { return self.sitting.now() };
        let mark = *recorded.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = SignedDuration::try_from_secs_f64(mark.moment.passed().as_secs_f64() * recorded.speed);
        let now = passed.ok().and_then(|passed| mark.shows.checked_add(passed).ok());
        now.map_or(mark.still, |now| now.min(mark.still))
    }

    /// Goes on from a time at once: what lies before it is not waited for.
    pub fn jump(&self, to: Timestamp) {
        self.set(|mark| *mark = Mark { moment: runner::Clock::default(), shows: to, still: to });
    }

    /// Lets it run up to a time, and no further before it is told so.
    pub fn run_to(&self, time: Timestamp) {
        self.set(|mark| mark.still = mark.still.max(time));
    }

    /// How long it is until it shows a time; none where it shows it already or is a sitting's.
    pub fn until(&self, time: Timestamp) -> Duration {
        let Some(recorded) = &self.recorded else { return Duration::ZERO };
        let mark = *recorded.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = time.duration_since(mark.shows).as_secs_f64().max(0.0) / recorded.speed;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).saturating_sub(mark.moment.passed())
    }

    fn set(&self, change: impl FnOnce(&mut Mark)) {
        if let Some(recorded) = &self.recorded {
            change(&mut recorded.mark.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_recorded_time_passes_at_its_pace_and_stands_still_at_the_next_mark() {
        let clock = Clock::recorded(at(1000), 1e9);
        assert_eq!(clock.now(), at(1000), "it stands still before it is told how far to run");
        clock.run_to(at(1005));
        std::thread::yield_now();
        assert!(clock.until(at(1005)) < Duration::from_micros(1));
        while clock.now() < at(1005) {}
        assert_eq!(clock.now(), at(1005), "and no further");
        let slow = Clock::recorded(at(1000), 0.5);
        let left = slow.until(at(1100));
        assert!(left <= Duration::from_secs(200) && left > Duration::from_secs(100), "{left:?}");
        slow.jump(at(2000));
        assert_eq!((slow.now(), slow.until(at(1100))), (at(2000), Duration::ZERO));
    }
}
