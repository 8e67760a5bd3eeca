//! Kinds that work on the versions of secrets of the store. No value ever passes through them.

pub mod retire;
pub mod rotate;
