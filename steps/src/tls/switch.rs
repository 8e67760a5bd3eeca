//! A new version takes the place of the one before: written aside, named, switched to by one rename;
//! and the way back.

use super::acme::pending::forget;
use super::folder::{CERT, CHAIN, CURRENT, FULLCHAIN, Folder, NOTE, Note, PRIVKEY, VERSIONS, number, through_current};
use super::leaf::Leaf;
use super::material::Material;
use crate::file::{failed, replace};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use trees_runner::kind::{Cx, KindError};

/// So many versions stay, the one in use among them.
const KEPT: usize = 3;

/// How a switch is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The certificate's folder.
    pub folder: PathBuf,
    /// The version that is made.
    pub version: String,
    /// The version in use before; `None`: there was none.
    pub previous: Option<String>,
    /// The folders that are made, the outermost first.
    pub folders: Vec<PathBuf>,
    /// The links that are made.
    pub links: Vec<String>,
    /// The file of the order it comes from.
    pub order: PathBuf,
}

impl Switch {
    /// What putting this certificate in place changes.
    pub fn plan(folder: &Folder, leaf: &Leaf, order: &Path) -> Self {
        let previous = folder.current();
        let next = previous.as_deref().and_then(number).unwrap_or(0) + 1;
        let versions = folder.0.join(VERSIONS);
        let mut folders: Vec<PathBuf> = versions.ancestors().take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
        folders.reverse();
        Self {
            folder: folder.0.clone(),
            version: format!("{next:04}-{}", leaf.fingerprint.get(..8).unwrap_or_default()),
            previous,
            folders,
            links: folder.missing_links().into_iter().map(str::to_owned).collect(),
            order: order.to_path_buf(),
        }
    }

    /// Writes the version aside and names it; what a try before left of it is written anew.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn stage(&self, material: &Material, note: &Note) -> Result<(), KindError> {
        let folder = Folder(self.folder.clone()).version(&self.version);
        let aside = folder.with_file_name(format!(".{}", self.version));
        remove(&aside)?;
        remove(&folder)?;
        let (cert, chain) = material.parts();
        let note = serde_json::to_vec_pretty(note).map_err(|e| KindError::new(format!("cannot write the note: {e}")))?;
        replace(&aside.join(PRIVKEY), material.key.as_bytes(), 0o600)?;
        replace(&aside.join(FULLCHAIN), material.fullchain.as_bytes(), 0o644)?;
        replace(&aside.join(CERT), cert.as_bytes(), 0o644)?;
        replace(&aside.join(CHAIN), chain.as_bytes(), 0o644)?;
        replace(&aside.join(NOTE), &note, 0o644)?;
        fs::rename(&aside, &folder).map_err(|e| failed("cannot name", &folder, &e))?;
        synced(&folder)
    }

    /// Has all readers see the version.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn switch(&self) -> Result<(), KindError> {
        for name in &self.links {
            let link = self.folder.join(name);
            match std::os::unix::fs::symlink(through_current(name), &link) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed("cannot make the link", &link, &e)),
                Ok(()) | Err(_) => {}
            }
        }
        point(&self.folder, &self.version)
    }

    /// Back to the version before, or to none.
    ///
    /// # Errors
    /// When the version before is gone, or the folder cannot be written.
    pub fn undo(&self, cx: &Cx) -> Result<(), KindError> {
        let folder = Folder(self.folder.clone());
        let current = folder.current();
        if current.is_some() && current.as_ref() != Some(&self.version) && current != self.previous {
            cx.log(format!("`{}` has a newer certificate by now: it is left alone", self.folder.display()));
            return Ok(());
        }
        if current.as_ref() == Some(&self.version) {
            self.back(&folder)?;
        }
        remove(&folder.version(&self.version))?;
        remove(&folder.version(&format!(".{}", self.version)))?;
        forget(&self.order)?;
        for made in self.folders.iter().rev() {
            // What is not empty is in use by somebody else.
            let _ = fs::remove_dir(made);
        }
        Ok(())
    }

    fn back(&self, folder: &Folder) -> Result<(), KindError> {
        if let Some(previous) = self.previous.as_ref().filter(|previous| !folder.version(previous).is_dir()) {
            let gone = format!("the certificate before, `{}`, is gone", folder.version(previous).display());
            return Err(KindError::new(gone).help("the one in use stays; put another in its place by a run"));
        }
        for link in self.links.iter().map(|name| self.folder.join(name)).filter(|link| link.is_symlink()) {
            fs::remove_file(&link).map_err(|e| failed("cannot remove", &link, &e))?;
        }
        match &self.previous {
            Some(previous) => point(&self.folder, previous),
            None => {
                let current = self.folder.join(CURRENT);
                fs::remove_file(&current).map_err(|e| failed("cannot remove", &current, &e))
            }
        }
    }
}

/// Removes what is neither in use nor among the newest.
pub fn prune(folder: &Folder, used: &[&str]) {
    let versions = folder.versions();
    for old in versions.iter().rev().skip(KEPT).filter(|old| !used.contains(&old.as_str())) {
        let _ = fs::remove_dir_all(folder.version(old));
    }
}

/// Points `current` there by one rename.
fn point(folder: &Path, version: &str) -> Result<(), KindError> {
    let (current, aside) = (folder.join(CURRENT), folder.join(".current"));
    let _ = fs::remove_file(&aside);
    std::os::unix::fs::symlink(Path::new(VERSIONS).join(version), &aside)
        .and_then(|()| fs::rename(&aside, &current))
        .map_err(|e| failed("cannot switch", &current, &e))?;
    synced(&current)
}

/// The name survives a loss of power.
fn synced(path: &Path) -> Result<(), KindError> {
    let folder = path.parent().unwrap_or(path);
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed("cannot write", folder, &e))
}

fn remove(folder: &Path) -> Result<(), KindError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("cannot remove", folder, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}
