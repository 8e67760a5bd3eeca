//! Names of runs and steps as they stand in events, commands and folders.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The id of a run: 12 lower-case Crockford base-32 letters. Made by the journal, never here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path of a step in a run: `build`, `smoke[general]`, `report/publish[eu]/upload`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepPath(pub String);

impl StepPath {
    /// The path of a step of the top tree.
    pub fn root(id: &str) -> Self {
        Self(id.into())
    }

    /// A path as a person writes it: `smoke:general` is `smoke[general]`.
    pub fn written(text: &str) -> Self {
        if text.starts_with("environment:") {
            return Self(text.into());
        }
        let segment = |part: &str| match part.split_once(':') {
            Some((id, key)) if !id.contains('[') => Self::root(id).instance(key).0,
            _ => part.to_owned(),
        };
        Self(text.split('/').map(segment).collect::<Vec<_>>().join("/"))
    }

    /// The path of a step in the sub-tree that runs at this path.
    #[must_use]
    pub fn child(&self, id: &str) -> Self {
        Self(format!("{}/{id}", self.0))
    }

    /// The path of one instance of this fan-out.
    #[must_use]
    pub fn instance(&self, key: &str) -> Self {
        Self(format!("{}[{}]", self.0, encode(key)))
    }

    /// The id of the step of the top tree that it names, or that it is in.
    pub fn top(&self) -> &str {
        self.0.split(['/', '[']).next().unwrap_or_default()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a folder for this path: bytes outside `[A-Za-z0-9._-]` percent-encoded, so that
    /// it is one path component; never `.` or `..`.
    pub fn folder(&self) -> String {
        let name = encode(&self.0);
        match name.strip_prefix('.') {
            Some(rest) => format!("%2E{rest}"),
            None => name,
        }
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Percent-encodes bytes outside `[A-Za-z0-9._-]` (and `,`, which joins the values of a matrix).
pub fn encode(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b',') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
