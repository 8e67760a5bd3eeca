//! Kinds that tell somebody something. A message that was sent cannot be looked for, so after a crash it is sent again,
//! with the same id: it comes at least once, and who gets it can drop what came twice.

pub mod email;
pub mod webhook;

mod delivery;
mod mail;
mod server;
mod signature;
