//! What breaks `trees`: crashes, power cuts, full disks, floods, bad input. Black box: the release
//! binary, a ledger that the steps write, verdicts from that ledger and what the client was told.
//! Read README.md beside this file first.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")]
#![expect(dead_code, reason = "the cases come one by one")]

mod binary;
mod chance;
mod injection;
mod kills;
mod ledger;
mod malformed;
mod place;
mod sample;
mod secrets;
mod sitting;
mod verdict;
mod watching;
