//! The folder of a certificate: `versions/<n>-<mark>/` with the files of one certificate each,
//! `current` pointing to one of them, and links through `current` under the usual names. One rename of
//! `current` switches all files at once.
//!
//! All here only reads; `switch` writes.

use super::material::Material;
use crate::file::failed;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use trees_runner::kind::KindError;

/// Certificate and all that stands behind it.
pub const FULLCHAIN: &str = "fullchain.pem";
/// The private key.
pub const PRIVKEY: &str = "privkey.pem";
/// The certificate alone.
pub const CERT: &str = "cert.pem";
/// What stands behind it.
pub const CHAIN: &str = "chain.pem";
/// The names under which servers read them.
pub const FILES: [&str; 4] = [FULLCHAIN, PRIVKEY, CERT, CHAIN];
/// What stands beside them: whose it is, and what it was made for.
pub const NOTE: &str = "trees.json";
/// The link that names the version in use.
pub const CURRENT: &str = "current";
/// Where the versions are.
pub const VERSIONS: &str = "versions";

/// The folder of one certificate (absolute).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(pub PathBuf);

/// What a version was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// `trees:<project>/<environment>`.
    pub owner: String,
    /// The directory that made it.
    pub directory: String,
    /// The names that were asked for.
    pub names: Vec<String>,
}

/// A version as it is found.
#[derive(Debug)]
pub struct Version {
    /// Its name.
    pub name: String,
    /// Certificates and key; a file that is missing is an empty text.
    pub material: Material,
    /// The certificate alone.
    pub cert: String,
    /// What stands behind it.
    pub chain: String,
    /// The key's permission bits.
    pub mode: u32,
    /// What it was made for; `None`: nothing that can be read says so.
    pub note: Option<Note>,
}

impl Folder {
    /// The version in use.
    pub fn current(&self) -> Option<String> {
        let target = fs::read_link(self.0.join(CURRENT)).ok()?;
        let name = target.strip_prefix(VERSIONS).ok()?.to_str()?;
        number(name).map(|_| name.to_owned())
    }

    /// A version's folder.
    pub fn version(&self, name: &str) -> PathBuf {
        self.0.join(VERSIONS).join(name)
    }

    /// All versions, the oldest first.
    pub fn versions(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(VERSIONS)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| number(name).is_some());
        names.sort_by_key(|name| number(name));
        names
    }

    /// What is in a place of ours and was not put there by us.
    pub fn foreign(&self) -> Option<PathBuf> {
        let there = |path: &PathBuf| path.symlink_metadata().is_ok();
        let current = Some(self.0.join(CURRENT)).filter(|path| there(path) && self.current().is_none());
        current.or_else(|| FILES.iter().map(|name| self.0.join(name)).find(|path| there(path) && !is_ours(path)))
    }

    /// Which of the links under the usual names are missing.
    pub fn missing_links(&self) -> Vec<&'static str> {
        FILES.into_iter().filter(|name| self.0.join(name).symlink_metadata().is_err()).collect()
    }

    /// Reads a version.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(&self, name: &str) -> Result<Version, KindError> {
        let folder = self.version(name);
        let note = serde_json::from_str(&text(&folder.join(NOTE))?).ok();
        let mode = fs::metadata(folder.join(PRIVKEY)).map_or(0, |meta| meta.permissions().mode() & 0o7777);
        let material = Material { fullchain: text(&folder.join(FULLCHAIN))?, key: text(&folder.join(PRIVKEY))? };
        Ok(Version { name: name.into(), material, cert: text(&folder.join(CERT))?, chain: text(&folder.join(CHAIN))?, mode, note })
    }
}

/// The number of a version's name.
pub fn number(name: &str) -> Option<u64> {
    let (number, mark) = name.split_once('-')?;
    let plain = number.len() >= 4 && number.bytes().all(|b| b.is_ascii_digit()) && mark.bytes().all(|b| b.is_ascii_hexdigit());
    if plain { number.parse().ok() } else { None }
}

/// Where a link under a usual name leads.
pub fn through_current(name: &str) -> PathBuf {
    Path::new(CURRENT).join(name)
}

fn is_ours(path: &Path) -> bool {
    let target = fs::read_link(path).ok();
    target.is_some_and(|target| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| target == through_current(name)))
}

fn text(path: &Path) -> Result<String, KindError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(failed("cannot read", path, &e)),
    }
}
