//! The certificate that is found in the folder, compared with the one that is asked for. Only reads.

use super::acme::directory;
use super::certificate::{Out, With};
use super::folder::{CERT, CHAIN, FULLCHAIN, Folder, PRIVKEY, Version};
use super::leaf::Leaf;
use crate::period::Period;
use jiff::Timestamp;
use serde_json::json;
use std::net::IpAddr;
use trees_core::units;
use trees_runner::kind::{Change, KindError, Observation, ReadCx};

/// The folder that is asked for.
pub fn folder(with: &With, cx: &ReadCx) -> Folder {
    Folder(cx.path(&with.folder))
}

/// Whose certificates this project and environment make.
pub fn owner(cx: &ReadCx) -> String {
    let separator = if cx.environment.is_empty() { "" } else { "/" };
    format!("trees:{}{separator}{}", cx.project, cx.environment)
}

/// A certificate as it is found in the folder.
pub struct Found {
    /// The version in use.
    pub version: Version,
    /// What is returned of it; `None`: what is there is no certificate.
    pub out: Option<Out>,
    /// What differs.
    pub changes: Vec<Change>,
    /// Certificate and key are good: only what stands around them is put right.
    pub good: bool,
}

impl Found {
    /// The same as `observe` says it.
    pub fn observation(self) -> Observation<Out> {
        match self.out {
            Some(out) if self.changes.is_empty() => Observation::Satisfied(out),
            Some(_) | None => Observation::Differs(self.changes),
        }
    }
}

/// Reads what is in the folder and compares it; `None` where there is none of ours.
///
/// # Errors
/// When it belongs to somebody else, or cannot be read.
pub fn look(with: &With, cx: &ReadCx) -> Result<Option<Found>, KindError> {
    let folder = folder(with, cx);
    if let Some(path) = folder.foreign() {
        let foreign = format!("`{}` was not made by this step, and is left alone", path.display());
        return Err(KindError::new(foreign).help("give a folder of its own, or move the file away"));
    }
    let Some(current) = folder.current() else { return Ok(None) };
    let version = folder.read(&current)?;
    if let Some(note) = version.note.as_ref().filter(|note| note.owner != owner(cx)) {
        let other = format!("the certificate in `{}` belongs to {}, not to {}", with.folder, note.owner, owner(cx));
        return Err(KindError::new(other).help("give each project and environment a folder of its own"));
    }
    let leaf = version.material.leaf();
    let mut changes = leaf
        .as_ref()
        .map_or_else(|why| vec![Change::new("fullchain", json!(why), json!("a certificate"))], |leaf| unfit(with, &version, leaf));
    let good = changes.is_empty();
    changes.extend(astray(&folder, &version));
    let out = leaf.ok().map(|leaf| out(&folder, leaf));
    Ok(Some(Found { version, out, changes, good }))
}

/// Why another certificate is needed.
fn unfit(with: &With, version: &Version, leaf: &Leaf) -> Vec<Change> {
    let mut changes = Vec::new();
    let asked = version.note.as_ref().map(|note| sorted(&note.names));
    let wanted = sorted(&with.names);
    let has = sorted(&leaf.names);
    if asked.is_some_and(|asked| asked != wanted) || wanted.iter().any(|name| !has.contains(name)) {
        changes.push(Change::new("names", json!(leaf.names), json!(with.names)));
    }
    let made_by = version.note.as_ref().map(|note| note.directory.as_str());
    if made_by != Some(directory(&with.directory)) {
        changes.push(Change::new("directory", json!(made_by), json!(directory(&with.directory))));
    }
    if leaf.key != with.key.name() {
        changes.push(Change::new("key", json!(leaf.key), json!(with.key.name())));
    }
    if !version.material.key_fits() {
        let there = if version.material.key.is_empty() { "missing" } else { "of another certificate" };
        changes.push(Change::new("privkey", json!(there), json!("of this certificate")));
    }
    let due = with.renew_before.map_or_else(|| leaf.last_third(), |before| before_end(leaf, before));
    if Timestamp::now() >= due {
        let left = leaf.days_left(Timestamp::now());
        let rule = with
            .renew_before
            .map_or_else(|| "in the last third of its life".to_owned(), |before| format!("{} before", units::show(before.0)));
        changes.push(Change::new(
            "not_after",
            json!(leaf.not_after.to_string()),
            json!(format!("later: {left} days are left, it is renewed {rule}")),
        ));
    }
    changes
}

fn before_end(leaf: &Leaf, before: Period) -> Timestamp {
    let seconds = i64::try_from(before.0.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(leaf.not_after.as_second().saturating_sub(seconds)).unwrap_or(Timestamp::MIN)
}

/// What is not as it was written, around a certificate that is good.
fn astray(folder: &Folder, version: &Version) -> Vec<Change> {
    let mut changes = Vec::new();
    let (cert, chain) = version.material.parts();
    for (field, found, wanted) in [("cert", &version.cert, cert), ("chain", &version.chain, chain)] {
        if *found != wanted {
            changes.push(Change::new(field, json!(if found.is_empty() { "missing" } else { "changed" }), json!("as in fullchain")));
        }
    }
    if version.mode != 0o600 && !version.material.key.is_empty() {
        changes.push(Change::new("privkey.mode", json!(format!("{:04o}", version.mode)), json!("0600")));
    }
    changes.extend(folder.missing_links().into_iter().map(|name| Change::new(name, json!("missing"), json!("a link"))));
    changes
}

/// What is returned of a certificate in the folder.
pub fn out(folder: &Folder, leaf: Leaf) -> Out {
    let path = |name: &str| folder.0.join(name).display().to_string();
    Out {
        fullchain: path(FULLCHAIN),
        privkey: path(PRIVKEY),
        cert: path(CERT),
        chain: path(CHAIN),
        names: leaf.names,
        issuer: leaf.issuer,
        not_after: leaf.not_after.to_string(),
        fingerprint: leaf.fingerprint,
    }
}

/// Names to compare: in one form, in one order.
pub fn sorted(names: &[String]) -> Vec<String> {
    let mut names = plain(names);
    names.sort();
    names
}

/// Names in the one form in which they are asked for and compared.
pub fn plain(names: &[String]) -> Vec<String> {
    let one = |name: &String| name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string());
    names.iter().map(one).collect()
}
