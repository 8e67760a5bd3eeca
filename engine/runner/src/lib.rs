//! What drives a run: the loop, the processes with their output, files by content, and the
//! contract of step kinds.
//!
//! Decisions are made in `trees-core` only; this crate performs them and reports what came of it.
//! Read [`kind::Kind`] to add a kind, `driver` for the loop, [`process::Launch`] for processes.

pub mod clock;
pub mod driver;
pub mod environment;
pub mod files;
pub mod http;
pub mod identity;
pub mod inputs;
pub mod kind;
pub mod leftovers;
pub mod listen;
pub mod mask;
pub mod output;
pub mod outputs;
pub mod process;
pub mod room;
pub mod scratch;
pub mod stop;
pub mod watch;
