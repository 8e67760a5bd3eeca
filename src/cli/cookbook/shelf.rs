//! Where cookbooks stand: `./cookbooks`, the user's, those built into the binary. A cookbook is a
//! folder NAME with the tree file NAME.yaml in it.

use crate::failure::Failure;
use include_dir::{Dir, File, include_dir};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_core::language::{Loader, Source, join};

static BUILT_IN: Dir<'_> = include_dir!("$OUT_DIR/cookbooks");

/// What a name was found to be.
pub enum Found {
    /// A tree file on disk.
    Folder(PathBuf),
    /// A cookbook of the binary.
    BuiltIn(BuiltIn),
}

/// A cookbook of the binary.
#[derive(Clone, Copy)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    folder: &'static Dir<'static>,
}

/// A cookbook as listed.
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: String,
    /// The text of its tree file.
    pub text: String,
}

/// The first cookbook of that name; `slackpath` and `slackpath.yaml` both name it.
pub fn find(name: &str) -> Result<Option<Found>, Failure> {
    let name = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name);
    for (folder, _) in folders() {
        let path = folder.join(name).join(format!("{name}.yaml"));
        if path.is_file() {
            return Ok(Some(Found::Folder(path)));
        }
    }
    Ok(built_in().find(|c| c.name == name).map(Found::BuiltIn))
}

/// All cookbooks, each name once: the one that `find` would take.
pub fn all() -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    for (folder, place) in folders() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(text) = super::super::source::read(&entry.path().join(format!("{name}.yaml"))) {
                all.push(Listed { name, place: place.clone(), text });
            }
        }
    }
    for cookbook in built_in() {
        let text = cookbook.tree().map(|f| String::from_utf8_lossy(f.contents()).into_owned()).unwrap_or_default();
        all.push(Listed { name: cookbook.name.into(), place: "built-in".into(), text });
    }
    // Sorting is stable: of one name the place looked at first stays.
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|b, a| a.name == b.name);
    all
}

/// A hint with the names there are.
pub fn names_hint() -> String {
    let names: Vec<String> = all().into_iter().map(|c| c.name).collect();
    if names.is_empty() { "there are no cookbooks".into() } else { format!("cookbooks there are: {}", names.join(", ")) }
}

/// The folders of cookbooks, the one that goes first first.
fn folders() -> Vec<(PathBuf, String)> {
    let own = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let own = own.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let own = own.map(|config| config.join("trees/cookbooks"));
    let here = (PathBuf::from("cookbooks"), "./cookbooks".to_owned());
    [here].into_iter().chain(own.map(|path| (path.clone(), path.display().to_string()))).collect()
}

fn built_in() -> impl Iterator<Item = BuiltIn> {
    let one = |folder: &'static Dir<'static>| {
        let cookbook = BuiltIn { name: folder.path().file_name()?.to_str()?, folder };
        cookbook.tree().map(|_| cookbook)
    };
    BUILT_IN.dirs().filter_map(one)
}

impl BuiltIn {
    fn tree(&self) -> Option<&'static File<'static>> {
        self.folder.get_file(format!("{0}/{0}.yaml", self.name))
    }

    /// The text of its tree file.
    pub fn source(&self) -> Result<Source, Failure> {
        self.load(&format!("{}.yaml", self.name), "").map_err(Failure::bug)
    }

    /// Its files with their paths, `NAME/…`.
    pub fn files(&self) -> Vec<&'static File<'static>> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder];
        while let Some(folder) = folders.pop() {
            folders.extend(folder.dirs());
            files.extend(folder.files());
        }
        files.sort_by_key(|f| f.path());
        files
    }

    /// Writes its files under the state folder, if they are not there; answers the tree file's path.
    pub fn unpack(&self, state: &Path) -> Result<PathBuf, Failure> {
        let files = self.files();
        let listing: Vec<String> = files.iter().map(|f| format!("{} {}", hash::bytes(f.contents()), f.path().display())).collect();
        let digest = hash::bytes(listing.join("\n").as_bytes());
        let shelf = state.join("cookbooks");
        let folder = shelf.join(&digest[..16]);
        let tree = folder.join(self.name).join(format!("{}.yaml", self.name));
        if !tree.is_file() {
            let wrong = |e: io::Error| Failure::new(crate::failure::Kind::State, format!("cannot write {}: {e}", folder.display()));
            self.write_aside(&shelf, &folder, &files).map_err(wrong)?;
        }
        Ok(tree)
    }

    /// Another process may do the same: written aside, renamed, the first one stays.
    fn write_aside(&self, shelf: &Path, folder: &Path, files: &[&File<'_>]) -> io::Result<()> {
        let aside = shelf.join(format!("new-{}-{}", std::process::id(), self.name));
        for file in files {
            let path = aside.join(file.path());
            fs::create_dir_all(path.parent().unwrap_or(&aside))?;
            fs::write(path, file.contents())?;
        }
        match fs::rename(&aside, folder) {
            Err(_) if folder.is_dir() => fs::remove_dir_all(&aside),
            done => done,
        }
    }
}

impl Loader for BuiltIn {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = join(from, path);
        let file = self.folder.get_file(format!("{}/{name}", self.name)).ok_or_else(|| format!("the cookbook has no file `{name}`"))?;
        let text = file.contents_utf8().ok_or_else(|| format!("`{name}` is not UTF-8"))?;
        Ok(Source { name, text: text.to_owned() })
    }
}
