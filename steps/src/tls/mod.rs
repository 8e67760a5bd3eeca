//! Certificates: `tls/check` looks at what a server shows, `tls/certificate` has one made by an ACME
//! directory and renews it.
//!
//! `leaf` reads a certificate, `wire` takes one from a server, `verdict` judges it. `acme` talks to a
//! directory, `board` puts up what proves the names to it, `folder` and `switch` keep what came of it,
//! `found` compares it with what is asked for.

pub mod certificate;
pub mod check;

mod acme;
mod board;
mod challenge;
mod folder;
mod found;
mod leaf;
mod material;
mod responder;
pub mod roots;
mod starttls;
mod switch;
mod trace;
mod verdict;
mod wire;

#[cfg(test)]
mod tests;
