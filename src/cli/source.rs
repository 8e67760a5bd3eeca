//! Where a tree file comes from: a path, or a cookbook by its name.
//!
//! Names of texts are relative to the folder of the top tree file, so that what is recorded of a run
//! reads the same on every machine; [`TreeFile::prefix`] makes them paths that open from here.

use super::cookbook::shelf;
use crate::diagnose::Findings;
use crate::failure::Failure;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::language::{self, Checked, Loader, Source, join};
use trees_core::tree::Kinds;

/// No tree file is larger.
const LARGEST: u64 = 16 << 20;

/// A tree file that was found and read.
pub struct TreeFile {
    /// Its text.
    pub top: Source,
    /// The path as given, or `cookbook:NAME`.
    pub given: String,
    /// The folder the steps work in (absolute).
    pub dir: PathBuf,
    /// The folder of the top tree file (absolute).
    pub tree_dir: PathBuf,
    /// What stands before the names of its texts when they are shown.
    pub prefix: String,
    /// A cookbook of the binary; its files are not on disk yet.
    pub built_in: Option<shelf::BuiltIn>,
}

impl TreeFile {
    /// Finds and reads what FILE names.
    pub fn find(file: &str) -> Result<Self, Failure> {
        if file.contains('/') || Path::new(file).is_file() {
            return Self::at(Path::new(file), file.into());
        }
        match shelf::find(file)? {
            Some(shelf::Found::Folder(path)) => {
                crate::report::say(&format!("taking the cookbook {}", path.display()));
                let given = path.display().to_string();
                Self::at(&path, given)
            }
            Some(shelf::Found::BuiltIn(cookbook)) => {
                crate::report::say(&format!("taking the built-in cookbook {}", cookbook.name));
                Ok(Self {
                    top: cookbook.source()?,
                    given: format!("cookbook:{}", cookbook.name),
                    dir: here()?,
                    tree_dir: PathBuf::new(),
                    prefix: format!("cookbook:{}/", cookbook.name),
                    built_in: Some(cookbook),
                })
            }
            None => Self::at(Path::new(file), file.into()).map_err(|f| f.hint(shelf::names_hint())),
        }
    }

    fn at(path: &Path, given: String) -> Result<Self, Failure> {
        let text = read(path).map_err(Failure::wrong)?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let prefix = if folder.as_os_str().is_empty() { String::new() } else { format!("{}/", folder.display()) };
        let dir = here()?.join(folder);
        let dir = dir.canonicalize().map_err(|e| Failure::wrong(format!("cannot open the folder {}: {e}", dir.display())))?;
        Ok(Self { top: Source { name, text }, given, tree_dir: dir.clone(), dir, prefix: prefix.replace("//", "/"), built_in: None })
    }

    /// Puts the files of a built-in cookbook under the state folder, where its steps can read them.
    pub fn settle(&mut self, state: &Path) -> Result<(), Failure> {
        if let Some(cookbook) = &self.built_in {
            let tree = cookbook.unpack(state)?;
            self.tree_dir = tree.parent().unwrap_or(state).to_owned();
        }
        Ok(())
    }

    /// A text beside the tree file.
    pub fn beside(&self, name: &str) -> Result<Source, String> {
        match &self.built_in {
            Some(cookbook) => cookbook.load(name, &self.top.name),
            None => Disk { dir: self.dir.clone(), asked: RefCell::default() }.load(name, &self.top.name),
        }
    }

    /// Reads the text again; a cookbook of the binary does not change.
    pub fn reread(&mut self) -> Result<(), Failure> {
        if self.built_in.is_none() {
            self.top.text = read(&self.dir.join(&self.top.name)).map_err(Failure::wrong)?;
        }
        Ok(())
    }

    /// Checks it with its sub-trees.
    pub fn check(&self, kinds: &dyn Kinds) -> Checked {
        self.check_files(kinds).0
    }

    /// The same, with the names of the files that were asked for, whether they are there or not.
    pub fn check_files(&self, kinds: &dyn Kinds) -> (Checked, BTreeSet<String>) {
        if let Some(cookbook) = &self.built_in {
            return (language::check(self.top.clone(), cookbook, kinds), BTreeSet::new());
        }
        let disk = Disk { dir: self.dir.clone(), asked: RefCell::new(BTreeSet::from([self.top.name.clone()])) };
        let checked = language::check(self.top.clone(), &disk, kinds);
        (checked, disk.asked.into_inner())
    }

    /// What a check found, with the names people know.
    pub fn findings(&self, checked: &Checked) -> Findings {
        Findings { diagnostics: checked.diagnostics.clone(), sources: checked.sources.clone(), prefix: self.prefix.clone() }
    }
}

/// The current folder.
pub fn here() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|e| Failure::wrong(format!("the current folder cannot be found: {e}")))
}

/// Sub-trees from files, relative to a folder.
struct Disk {
    dir: PathBuf,
    asked: RefCell<BTreeSet<String>>,
}

impl Loader for Disk {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = join(from, path);
        self.asked.borrow_mut().insert(name.clone());
        let text = read(&self.dir.join(&name))?;
        Ok(Source { name, text })
    }
}

/// The text of a file; anything else is said in one sentence, without waiting on it.
pub fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let about = fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{shown}`"),
        _ => format!("cannot read `{shown}`: {e}"),
    })?;
    if about.is_dir() {
        return Err(format!("`{shown}` is a folder; name the tree file in it"));
    }
    if !about.is_file() {
        return Err(format!("`{shown}` is no regular file"));
    }
    if about.len() > LARGEST {
        return Err(format!("`{shown}` is larger than 16 MiB"));
    }
    let bytes = fs::read(path).map_err(|e| format!("cannot read `{shown}`: {e}"))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        format!("`{shown}` is not UTF-8 (line {line}, byte {at})")
    })
}
