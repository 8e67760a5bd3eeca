//! Kinds that ask a TCP port.

pub mod check;
