//! The time of a sitting: the wall's when it began, moved on by a clock that nobody sets and that
//! does not stand still while the machine sleeps. Events, the times of output and screens go by it.
//!
//! The wall's clock may be set forth or back while steps run: no deadline, retry or recorded time
//! may notice. Where the wall is behind what is recorded already, time goes on from there: a retry
//! that is due in a minute is due in a minute.

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::Boottime;
/// Elsewhere this one counts sleep too.
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

/// A clock that began once; copies of it show the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Timestamp,
    at: Duration,
}

impl Default for Clock {
    /// Begins now.
    fn default() -> Self {
        Self::after(None)
    }
}

impl Clock {
    /// Begins now, or at the newest recorded time where that is later.
    pub fn after(newest: Option<Timestamp>) -> Self {
        let wall = Timestamp::now();
        Self { began: newest.map_or(wall, |newest| newest.max(wall)), at: steady() }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.at(self.passed())
    }

    /// How long ago it began.
    pub fn passed(&self) -> Duration {
        steady().saturating_sub(self.at)
    }

    /// The time when so much had passed.
    pub fn at(&self, passed: Duration) -> Timestamp {
        let passed = SignedDuration::try_from(passed).unwrap_or_default();
        self.began.checked_add(passed).unwrap_or(self.began)
    }
}

fn steady() -> Duration {
    let time = clock_gettime(STEADY);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_what_is_recorded() {
        let future = Timestamp::now().checked_add(SignedDuration::from_hours(5)).unwrap();
        let clock = Clock::after(Some(future));
        let first = clock.now();
        assert!(first >= future && first < future.checked_add(SignedDuration::from_secs(60)).unwrap());
        while clock.now() == first {}
        assert!(clock.now() > first);
    }

    #[test]
    fn it_is_the_walls_where_nothing_later_is_recorded() {
        let before = Timestamp::now();
        let clock = Clock::after(Some(Timestamp::UNIX_EPOCH));
        assert!(clock.now() >= before && Clock::after(None).now() >= before);
    }
}
