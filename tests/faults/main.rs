//! What breaks `trees`: crashes, power cuts, full disks, floods, bad input. Black box: the release
//! binary, a ledger that the steps write, verdicts from that ledger and what the client was told.
//! Read README.md beside this file first.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")]

mod binary;
mod bites;
mod calls;
mod chance;
mod clocks;
mod descent;
mod disk;
mod floods;
#[path = "../shared/git.rs"]
mod git;
mod injection;
mod kills;
mod ledger;
mod limits;
mod malformed;
#[path = "../shared/chance.rs"]
mod numbers;
mod owners;
mod pipes;
mod place;
mod points;
mod power;
mod refusals;
mod rollback;
mod sample;
mod scale;
mod scenes;
mod secrets;
mod signals;
mod sitting;
mod strace;
#[path = "../shared/terminal.rs"]
mod terminal;
#[path = "../shared/twelve.rs"]
mod twelve;
mod undo;
mod upgrade;
mod verdict;
mod verified;
#[path = "../shared/waiting.rs"]
mod waiting;
mod wal;
mod watching;
