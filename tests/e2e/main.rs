//! End to end: the built binary in folders of its own, without the network, the person's home or
//! their environment. Read [`bench`] first.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod audit;
mod bench;
mod catalogue;
#[path = "../shared/chance.rs"]
#[expect(dead_code, reason = "the fault suite draws in more ways")]
mod chance;
mod changes;
mod check;
mod cookbooks;
#[cfg(target_os = "linux")]
mod detached;
mod diff;
mod docs;
mod doctor;
mod export;
#[path = "../shared/git.rs"]
mod git;
mod graph;
mod kills;
mod language;
mod laws;
mod live;
mod messages;
mod nothing;
mod plans;
#[cfg(target_os = "linux")]
#[path = "../shared/terminal.rs"]
#[expect(dead_code, reason = "the fault suite hangs up too")]
mod pty;
mod publish;
mod reference;
mod releases;
mod remains;
mod replay;
mod reversal;
mod rollback;
mod runs;
mod secrets;
mod select;
mod shell;
mod sittings;
mod slackpath;
mod start;
mod storage;
mod targets;
mod templates;
#[cfg(target_os = "linux")]
mod terminal;
mod timeline;
mod trials;
#[path = "../shared/twelve.rs"]
mod twelve;
mod unreadable;
mod vault;
mod verify;
#[cfg(target_os = "linux")]
#[path = "../shared/waiting.rs"]
mod waiting;
mod watch;
mod wordpress_site;
mod workflows;
