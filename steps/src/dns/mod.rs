//! Records of DNS zones: `dns/record` makes a set of them so, `dns/check` asks name servers.
//!
//! Read [`provider`] for who serves a zone and how its sets are read and written, then [`record`].
//! [`value`] is where every form of a value becomes one; nothing else compares texts.

pub mod check;
pub mod place;
pub mod provider;
pub mod record;
pub mod set;
pub mod value;

mod answer;
mod api;
mod ask;
mod authorities;
mod cloudflare;
mod powerdns;
mod quotes;
mod rfc2136;
mod secret;
mod update;

#[cfg(test)]
mod tests;

pub use secret::Secret;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Texts {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Texts {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Values in a message.
fn shown(values: &BTreeSet<String>) -> String {
    if values.is_empty() { "none".into() } else { values.iter().cloned().collect::<Vec<_>>().join(", ") }
}
