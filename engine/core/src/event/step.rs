//! What events say of a step: what its attempts are made of, what they left, why they came out so.

use super::Json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an attempt is made of; equal digests, equal results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// SHA-256 of the definition's canonical JSON.
    pub definition: String,
    /// SHA-256 of the inputs' canonical JSON.
    pub input: String,
    /// Digest of each ingredient by its name (`file:src/main.rs`, `env:RUST_LOG`, `value:TREES_V1`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ingredients: BTreeMap<String, String>,
    /// The result may stand for a later attempt with equal digests (`cache: true`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reusable: bool,
}

/// One item of a fan-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Unique in its fan-out, at most 200 bytes.
    pub key: String,
    /// The item, or the object of a matrix's axes.
    pub value: Json,
}

/// An artifact kept by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// The declared path, relative to the working folder.
    pub path: String,
    /// SHA-256 of the content (of a folder: of its canonical listing).
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// Why a step was skipped, blocked or reused: for `trees why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable snake_case code: `need_skipped`, `need_failed`, `condition`, `inputs`, `check`, …
    pub code: String,
    /// One sentence.
    pub text: String,
    /// The tree file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The values that decided.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Which sort.
    pub reason: ErrorReason,
    /// The exit code or signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// One or a few lines, secrets masked.
    pub message: String,
    /// The log file, relative to the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The sort of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorReason {
    /// A process ended with a code that is no success, or a kind said no.
    Exit,
    /// A process was ended by a signal.
    Signal,
    /// `timeout` or `deadline`.
    Timeout,
    /// It could not be started, or its values could not be computed.
    Spawn,
    /// `check` or `verify` said no.
    Verify,
    /// Outputs or artifacts are missing, extra or mistyped.
    Output,
    /// Its outcome is unknown.
    Interrupted,
}

/// What a step waits for, besides its needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// A person's yes.
    Approval,
    /// A lock held by another run.
    Lock,
    /// A person's decision on an unknown outcome (`trees resolve`).
    Decision,
}

/// How an unknown outcome was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It happened.
    Done,
    /// Do it again.
    Retry,
    /// It failed.
    Fail,
    /// Taken back by hand.
    Undone,
    /// It counts as succeeded and is not done (`--skip`).
    Skip,
}
