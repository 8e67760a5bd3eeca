//! What inputs of several kinds are where nothing is said, named by their value.

use crate::period::Period;

pub fn yes() -> bool {
    true
}

pub fn one() -> u32 {
    1
}

pub fn five() -> usize {
    5
}

pub fn loopback() -> String {
    "127.0.0.1".into()
}

pub fn at_once() -> Period {
    Period::seconds(0)
}

pub fn half_a_second() -> Period {
    Period::millis(500)
}

pub fn a_second() -> Period {
    Period::seconds(1)
}

pub fn five_seconds() -> Period {
    Period::seconds(5)
}

pub fn ten_seconds() -> Period {
    Period::seconds(10)
}

pub fn half_a_minute() -> Period {
    Period::seconds(30)
}

pub fn a_minute() -> Period {
    Period::seconds(60)
}
