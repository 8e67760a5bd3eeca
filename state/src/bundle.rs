//! What an exported run is made of: a gzipped tar that begins with `manifest.json`, which names each
//! entry that follows, in order, with its size and digest.

use crate::artifacts::leaves;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Component, Path};
use trees_core::event::RunStatus;
use trees_core::path::RunId;

/// The schema of the manifest.
pub(crate) const SCHEMA: &str = "trees/export";
/// The newest form that this program writes and reads.
pub(crate) const VERSION: u64 = 1;
/// The first entry.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The events, one a line, as `trees events` prints them.
pub(crate) const EVENTS: &str = "events.jsonl";
/// The recorded sources.
pub(crate) const DEFINITION: &str = "definition.json";
/// The sources that resumes brought, by digest, where there are some.
pub(crate) const AMENDMENTS: &str = "amendments.json";
/// The logs of the steps with their times, as they stand in the run's folder.
pub(crate) const STEPS: &str = "steps";
/// The log of a detached run.
pub(crate) const DETACHED: &str = "detached.log";
/// Artifacts by their digests: files or folders.
pub(crate) const ARTIFACTS: &str = "artifacts";

/// The list of contents, with what stands in no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `trees/export`.
    pub schema: String,
    /// The version of the form.
    pub version: u64,
    /// The version of `trees` that wrote it.
    pub made_by: String,
    /// The machine that the run was driven on, or was exported on first.
    pub host: String,
    /// The run.
    pub run: RunId,
    /// Its tree.
    pub tree: String,
    /// Its number in the tree.
    pub number: u64,
    /// Its status.
    pub status: RunStatus,
    /// When it was made, in microseconds since 1970.
    pub created: i64,
    /// The digest of the recorded sources.
    pub definition: String,
    /// What follows, in order.
    pub files: Vec<Item>,
    /// Artifacts that had been cleared away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its path in the file.
    pub path: String,
    /// What it is.
    pub sort: Sort,
    /// Bytes of a file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// SHA-256 of a file's content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// Where a link leads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// A file.
    File,
    /// A file that can be executed.
    Executable,
    /// A folder; its entries follow.
    Folder,
    /// A link inside an artifact.
    Link,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field by reference")]
fn is_zero(size: &u64) -> bool {
    *size == 0
}

impl Manifest {
    /// One entry by its path.
    pub(crate) fn item(&self, path: &str) -> Option<&Item> {
        self.files.iter().find(|item| item.path == path)
    }

    /// The digests of the artifacts in it.
    #[must_use]
    pub fn artifacts(&self) -> BTreeSet<&str> {
        self.files.iter().filter_map(|item| artifact(&item.path)).collect()
    }

    /// How many logs are in it; the index of the times in one is none.
    #[must_use]
    pub fn logs(&self) -> usize {
        self.files.iter().filter(|item| item.path.starts_with("steps/") && item.path.ends_with(".log")).count()
    }

    /// Refuses paths that leave the folder and whatever else an export never holds.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (mut seen, mut folders) = (BTreeSet::new(), BTreeSet::new());
        for item in &self.files {
            let path = item.path.as_str();
            if !is_inside(path) {
                return Err(format!("its entry {path:?} leads out of the folder it is unpacked in"));
            }
            if !seen.insert(path) {
                return Err(format!("its entry {path:?} is there twice"));
            }
            let fits = match artifact(path) {
                // A parent that was not named as a folder may be a link.
                Some(sha256) => path.len() == ARTIFACTS.len() + 1 + sha256.len() || parent(path).is_some_and(|p| folders.contains(p)),
                None => {
                    item.sort == Sort::File && (path.starts_with("steps/") || [EVENTS, DEFINITION, AMENDMENTS, DETACHED].contains(&path))
                }
            };
            if item.sort == Sort::Link && (!fits || leads_out(path, &item.target)) {
                return Err(format!("its link {path:?} leads out of its folder"));
            }
            if !fits {
                return Err(format!("its entry {path:?} belongs to no run"));
            }
            if item.sort == Sort::Folder {
                folders.insert(path);
            }
        }
        match [EVENTS, DEFINITION].into_iter().find(|name| !seen.contains(name)) {
            Some(name) => Err(format!("it has no {name}")),
            None => Ok(()),
        }
    }
}

/// Whether a link of an artifact leads out of it.
fn leads_out(path: &str, target: &str) -> bool {
    let inner = path.strip_prefix("artifacts/").and_then(|rest| rest.split_once('/'));
    inner.is_none_or(|(_, inner)| target.is_empty() || leaves(Path::new(inner), Path::new(target)))
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// The digest of the artifact that a path is of.
fn artifact(path: &str) -> Option<&str> {
    let digest = path.strip_prefix("artifacts/")?.split('/').next()?;
    let hex = digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex.then_some(digest)
}

/// A relative path of plain names, written in the one way there is.
fn is_inside(path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    plain && !path.is_empty() && !path.contains('\0') && path.split('/').all(|part| !part.is_empty() && part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_folder_are_inside() {
        for path in ["a", "a/b", "steps/x/1/output.log", "..a/b", "a/b..", "é"] {
            assert!(is_inside(path), "{path}");
        }
        for path in ["", "/a", "../a", "a/../b", "a/..", "./a", "a/./b", "a//b", "a/", "/", "..", "a\0b"] {
            assert!(!is_inside(path), "{path:?}");
        }
    }
}
