//! What was put up for a directory, and how it is taken away.

use super::challenge::Challenge;
use crate::dns::place::Place;
use crate::dns::provider::Provider;
use crate::dns::set::{Set, mark};
use crate::dns::value::Type;
use crate::file::failed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// How often a set of records is read anew because somebody else was faster.
const TRIES: u32 = 5;
/// How long a record of ours may be kept by those who ask, in seconds.
const TTL: u32 = 60;

/// Something that was put up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Trace {
    /// A file in a web root.
    File {
        /// The file.
        path: PathBuf,
        /// The digest of its content.
        sha256: String,
        /// The folders made for it, the outermost first.
        folders: Vec<PathBuf>,
    },
    /// A value among the TXT records of a name.
    Txt {
        /// Who serves the zone; its secrets stand here as stars.
        provider: Box<Provider>,
        /// The zone.
        zone: String,
        /// The whole name.
        name: String,
        /// The value.
        value: String,
    },
}

impl Trace {
    /// Takes it away; nothing where it is away already, or not ours any more.
    ///
    /// # Errors
    /// When it cannot be taken away.
    pub async fn remove(&self, cx: &Cx) -> Result<(), KindError> {
        match self {
            Self::File { path, sha256, folders } => remove_file(path, sha256, folders),
            Self::Txt { provider, zone, name, value } => {
                let provider = with_secrets(provider, cx)?;
                let at = Place::new(zone, name, Type::Txt).map_err(KindError::new)?;
                let without = |found: &Set| {
                    let values: BTreeSet<String> = found.values.iter().filter(|there| *there != value).cloned().collect();
                    if values.is_empty() { Set::none() } else { Set { values, ..found.clone() } }
                };
                change(&provider, &at, cx, without).await
            }
        }
    }
}

fn remove_file(path: &PathBuf, sha256: &str, folders: &[PathBuf]) -> Result<(), KindError> {
    match std::fs::read(path) {
        Ok(content) if hash::bytes(&content) == sha256 => std::fs::remove_file(path).map_err(|e| failed("cannot remove", path, &e))?,
        Ok(_) => {}
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(e) => return Err(failed("cannot read", path, &e)),
    }
    for folder in folders.iter().rev() {
        // What is not empty is in use by somebody else.
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}

/// Adds a value to the records of a name; those of others stay.
///
/// # Errors
/// When the provider refuses.
pub async fn add(provider: &Provider, at: &Place, value: &str, cx: &Cx) -> Result<(), KindError> {
    let with = |found: &Set| {
        let values: BTreeSet<String> = found.values.iter().cloned().chain([value.to_owned()]).collect();
        if found.is_there() { Set { values, ..found.clone() } } else { Set { values, ttl: TTL, mark: Some(mark(cx)), ..Set::none() } }
    };
    change(provider, at, cx, with).await
}

/// Makes a set so, as it is found; anew where somebody else was faster.
async fn change(provider: &Provider, at: &Place, cx: &Cx, new: impl Fn(&Set) -> Set) -> Result<(), KindError> {
    let mut tries = 0;
    loop {
        let found = provider.read(cx, at).await?;
        let wanted = new(&found);
        if wanted.values == found.values {
            return Ok(());
        }
        tries += 1;
        match provider.write(cx, at, &found, &wanted).await {
            Err(e) if e.transient && tries < TRIES => {}
            written => return written,
        }
    }
}

/// The provider as recorded, with the secrets that the step has now.
fn with_secrets(recorded: &Provider, cx: &Cx) -> Result<Provider, KindError> {
    let now = cx.with.get("challenge").and_then(|challenge| Challenge::deserialize(challenge).ok()).and_then(|challenge| challenge.dns);
    now.and_then(|now| recorded.with_secrets_of(&now.provider)).ok_or_else(|| {
        KindError::new("cannot take away a record in DNS: the step has no credentials for its provider any more")
            .help("secrets are not recorded: `challenge.dns.provider` must be there, and of the same sort, while a run may be taken back")
    })
}
