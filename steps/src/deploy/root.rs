//! A deployment's folder: `releases`, `current`, `instances` and the lock that lets one deploy at a
//! time work on it.

use super::instance::Instance;
use super::record::{Release, Role};
use crate::file::{failed, replace};
use crate::lock::{Locked, lock};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trees_core::hash;
use trees_runner::kind::{Cx, Keeper, KindError, SecretReader};
use walkdir::WalkDir;

/// The folder of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(pub PathBuf);

impl Root {
    /// Makes the folder and takes its lock, waiting for another deploy up to ten minutes.
    ///
    /// # Errors
    /// When it cannot be made, or the other deploy takes too long.
    pub async fn lock(&self, cx: &Cx) -> Result<Locked, KindError> {
        let what = format!("the deployment in `{}`", self.0.display());
        lock(&self.0.join("lock"), &what, Duration::from_secs(600), cx).await
    }

    /// The folder name of the release that `current` names.
    pub fn current(&self) -> Option<String> {
        Some(fs::read_link(self.0.join("current")).ok()?.file_name()?.to_str()?.to_owned())
    }

    /// Points `current` there, atomically.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn switch(&self, folder: &str) -> Result<(), KindError> {
        let (current, aside) = (self.0.join("current"), self.0.join(".current"));
        let _ = fs::remove_file(&aside);
        std::os::unix::fs::symlink(Path::new("releases").join(folder), &aside)
            .and_then(|()| fs::rename(&aside, &current))
            .map_err(|e| failed("cannot switch", &current, &e))
    }

    /// A release's folder.
    pub fn folder(&self, folder: &str) -> PathBuf {
        self.0.join("releases").join(folder)
    }

    fn record(&self, folder: &str) -> PathBuf {
        self.0.join("releases").join(format!("{folder}.json"))
    }

    /// What is recorded of a release whose folder is there, as it stands on the disk.
    fn recorded(&self, folder: &str) -> Option<Vec<u8>> {
        let text = fs::read(self.record(folder)).ok()?;
        self.folder(folder).is_dir().then_some(text)
    }

    /// What is recorded of a release whose folder is there, without how it is started.
    pub fn outside(&self, folder: &str) -> Option<Release> {
        Release::outside(&self.recorded(folder)?)
    }

    /// What is recorded of a release whose folder is there.
    ///
    /// # Errors
    /// When it was sealed with another master key.
    pub fn release(&self, folder: &str, secrets: &SecretReader) -> Result<Option<Release>, KindError> {
        let path = || format!("without that key, remove `{}`: it cannot be gone back to then", self.record(folder).display());
        self.recorded(folder).map_or(Ok(None), |text| Release::opened(&text, secrets).map_err(|e| e.help(path())))
    }

    /// The folder for a release: its name, with a mark where another content has that name.
    ///
    /// # Errors
    /// When what has that name was sealed with another master key.
    pub fn place(&self, release: &Release, secrets: &SecretReader) -> Result<String, KindError> {
        Ok(match self.release(&release.release, secrets)? {
            Some(there) if !same(&there, release) => marked(release),
            Some(_) | None => release.release.clone(),
        })
    }

    /// Copies the files aside, checks them and renames them into place; nothing where they are there.
    ///
    /// # Errors
    /// When a file cannot be copied, or changed meanwhile; when the master key cannot be used.
    pub fn stage(&self, release: &Release, sources: &[(String, PathBuf)], keeper: &dyn Keeper) -> Result<(), KindError> {
        let text = release.sealed(keeper)?;
        let to = self.folder(&release.folder);
        if self.outside(&release.folder).is_some() && digests(&to, release.files.keys()) == release.files {
            return replace(&self.record(&release.folder), &text, 0o600);
        }
        let aside = self.0.join("releases").join(".staging");
        remove(&aside)?;
        fs::create_dir_all(&aside).map_err(|e| failed("cannot make", &aside, &e))?;
        for (name, source) in sources {
            copy(source, &aside.join(name))?;
        }
        if digests(&aside, release.files.keys()) != release.files {
            return Err(KindError::transient("the files changed while they were copied"));
        }
        remove(&to)?;
        replace(&self.record(&release.folder), &text, 0o600)?;
        fs::rename(&aside, &to).map_err(|e| failed("cannot make", &to, &e))
    }

    /// All instances, the newest first.
    pub fn instances(&self) -> Vec<Instance> {
        let mut folders: Vec<PathBuf> = fs::read_dir(self.0.join("instances")).into_iter().flatten().flatten().map(|e| e.path()).collect();
        folders.sort_by(|a, b| b.cmp(a));
        folders.into_iter().filter_map(Instance::load).collect()
    }

    /// The newest living instance that serves this release.
    pub fn live(&self, folder: &str) -> Option<Instance> {
        self.instances().into_iter().find(|i| i.spec.role == Role::Live && i.spec.folder == folder && i.lives())
    }

    /// A folder for a new instance.
    pub fn next_instance(&self) -> PathBuf {
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u64>().ok();
        let last = fs::read_dir(self.0.join("instances")).into_iter().flatten().flatten().filter_map(number).max();
        self.0.join("instances").join(format!("{:06}", last.unwrap_or(0) + 1))
    }

    /// Removes the oldest releases and ended instances, never the named ones.
    pub fn prune(&self, keep: usize, kept: &[&str]) {
        let releases = fs::read_dir(self.0.join("releases")).into_iter().flatten().flatten();
        let mut old: Vec<_> = releases
            .filter(|e| e.path().is_dir())
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.file_name().to_str()?.to_owned())))
            .filter(|(_, name)| !kept.contains(&name.as_str()))
            .collect();
        old.sort();
        let surplus = (old.len() + kept.len()).saturating_sub(keep.max(kept.len()));
        for (_, name) in old.into_iter().take(surplus) {
            self.forget(&name);
        }
        for instance in self.instances().into_iter().filter(|i| !i.lives()).skip(keep) {
            let _ = fs::remove_dir_all(&instance.folder);
        }
    }

    /// Removes a release, unless `current` names it: what serves is never forgotten.
    pub fn forget(&self, folder: &str) {
        if self.current().as_deref() == Some(folder) {
            return;
        }
        let _ = fs::remove_dir_all(self.folder(folder));
        let _ = fs::remove_file(self.record(folder));
    }

    /// From now on `current` names nothing.
    pub fn unset(&self) {
        let _ = fs::remove_file(self.0.join("current"));
    }

    /// Removes what a deploy makes here, and the folder if nothing else is in it.
    pub fn clear(&self) {
        self.unset();
        let _ = fs::remove_dir_all(self.0.join("instances"));
        let _ = fs::remove_dir_all(self.0.join("releases").join(".staging"));
        let _ = fs::remove_dir(self.0.join("releases"));
        let names: Vec<_> = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        if names == ["lock"] {
            let _ = fs::remove_file(self.0.join("lock"));
            let _ = fs::remove_dir(&self.0);
        }
    }
}

/// The same files, command, environment and place.
pub fn same(a: &Release, b: &Release) -> bool {
    let run = |release: &Release| (release.start.command.clone(), release.start.env.clone());
    a.files == b.files && run(a) == run(b) && a.host == b.host && a.port == b.port && a.health == b.health
}

/// The name of a release's folder with a mark of its content, for where another content has the name.
pub fn marked(release: &Release) -> String {
    let content = hash::json(&(&release.files, &release.start.command, &release.start.env, &release.host, release.port, &release.health))
        .unwrap_or_default();
    format!("{}+{}", release.release, content.get(..8).unwrap_or_default())
}

/// Digest and mode of each file under its name in the release.
///
/// # Errors
/// When a source is missing or cannot be read.
pub fn digest_sources(sources: &[(String, PathBuf)]) -> Result<BTreeMap<String, String>, KindError> {
    let digested = |path: PathBuf| digest(&path).ok_or_else(|| KindError::new(format!("files: cannot read `{}`", path.display())));
    list_sources(sources)?.into_iter().map(|(name, path)| Ok((name, digested(path)?))).collect()
}

/// Each file under its name in the release.
///
/// # Errors
/// When a source is missing or cannot be read.
pub fn list_sources(sources: &[(String, PathBuf)]) -> Result<BTreeMap<String, PathBuf>, KindError> {
    let mut all = BTreeMap::new();
    for (name, source) in sources {
        if !source.exists() {
            return Err(KindError::new(format!("files: `{name}`: there is no `{}`", source.display())));
        }
        for entry in WalkDir::new(source).follow_links(true) {
            let entry = entry.map_err(|e| KindError::new(format!("files: `{name}`: {e}")))?;
            if entry.file_type().is_file() {
                let below = entry.path().strip_prefix(source).unwrap_or(Path::new(""));
                let path = if below.as_os_str().is_empty() { name.clone() } else { format!("{name}/{}", below.display()) };
                all.insert(path, entry.into_path());
            }
        }
    }
    Ok(all)
}

/// Of these files; one that is missing is missing.
pub fn digests<'a>(folder: &Path, names: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    names.filter_map(|name| Some((name.clone(), digest(&folder.join(name))?))).collect()
}

fn digest(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    Some(format!("{} {mode:03o}", hash::bytes(&fs::read(path).ok()?)))
}

fn copy(source: &Path, to: &Path) -> Result<(), KindError> {
    for entry in WalkDir::new(source).follow_links(true) {
        let entry = entry.map_err(|e| KindError::new(e.to_string()))?;
        let below = entry.path().strip_prefix(source).unwrap_or(Path::new(""));
        let place = if below.as_os_str().is_empty() { to.to_path_buf() } else { to.join(below) };
        let done = if entry.file_type().is_dir() {
            fs::create_dir_all(&place)
        } else {
            fs::create_dir_all(place.parent().unwrap_or(to))
                .and_then(|()| fs::copy(entry.path(), &place))
                .and_then(|_| File::open(&place)?.sync_all())
        };
        done.map_err(|e| failed("cannot copy to", &place, &e))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), KindError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("cannot remove", path, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}
