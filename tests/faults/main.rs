//! What breaks `trees`: crashes, power cuts, full disks, floods, bad input. Black box: the release
//! binary, a ledger that the steps write, verdicts from that ledger and what the client was told.
//! Read README.md beside this file first.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")]

mod binary;
mod chance;
mod injection;
mod kills;
mod ledger;
mod malformed;
mod place;
mod refusals;
mod sample;
mod secrets;
mod sitting;
mod verdict;
mod watching;
