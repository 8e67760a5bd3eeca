//! A team chat over HTTP, with the standard library alone.
//!
//! [`server`] accepts connections, [`http`] reads requests, [`chat`] keeps messages, [`page`] draws.

pub mod chat;
pub mod config;
pub mod http;
pub mod json;
pub mod page;
pub mod routes;
pub mod server;
