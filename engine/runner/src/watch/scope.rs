//! What is watched: globs, single files and folders, and what never counts. Touches no file.

use crate::files::{Glob, is_never};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// Named one by one on the screen.
const FEW: usize = 4;

/// What is watched, seen from a working folder.
#[derive(Debug, Clone)]
pub struct Scope {
    dir: PathBuf,
    /// A `watch` of its own stands for all that the tree reads.
    named: bool,
    sets: Vec<Set>,
    /// Files, or folders with all in them.
    places: BTreeSet<PathBuf>,
    trees: BTreeSet<PathBuf>,
    never: BTreeSet<PathBuf>,
}

/// The globs of one step.
#[derive(Debug, Clone)]
struct Set {
    includes: Vec<Glob>,
    excludes: Vec<Glob>,
}

/// Where files are looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub path: PathBuf,
    /// How far below; `None`: however far.
    pub depth: Option<usize>,
}

impl Scope {
    /// Nothing yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, named: false, sets: Vec::new(), places: BTreeSet::new(), trees: BTreeSet::new(), never: BTreeSet::new() }
    }

    /// The globs of a step; `!` excludes.
    ///
    /// # Errors
    /// One sentence about the first that is none.
    pub fn add_globs(&mut self, globs: &[String]) -> Result<(), String> {
        let (mut includes, mut excludes) = (Vec::new(), Vec::new());
        for glob in globs {
            match glob.strip_prefix('!') {
                Some(rest) => excludes.push(Glob::new(rest)?),
                None => includes.push(Glob::new(glob)?),
            }
        }
        if !includes.is_empty() {
            self.sets.push(Set { includes, excludes });
        }
        Ok(())
    }

    /// A file, or a folder with all in it.
    pub fn add_place(&mut self, path: &Path) {
        self.places.insert(self.full(path));
    }

    /// A tree file.
    pub fn add_tree(&mut self, path: &Path) {
        self.trees.insert(self.full(path));
    }

    /// What never counts, with all in it: the state, artifacts.
    pub fn never(&mut self, path: &Path) {
        self.never.insert(self.full(path));
    }

    /// The globs that the tree names in `watch`: nothing that it reads is learned beside them.
    ///
    /// # Errors
    /// One sentence about the first that is none.
    pub fn name_globs(&mut self, globs: &[String]) -> Result<(), String> {
        self.named = !globs.is_empty();
        self.add_globs(globs)
    }

    /// A file that a step used, however it came to know of it.
    pub(super) fn learn(&mut self, path: &Path) {
        if !self.named && !self.takes(path) && !self.is_never(path) && !is_temporary(path) {
            self.places.insert(path.to_path_buf());
        }
    }

    fn full(&self, path: &Path) -> PathBuf {
        let mut full = PathBuf::new();
        for part in self.dir.join(path).components() {
            match part {
                Component::ParentDir => drop(full.pop()),
                Component::CurDir => {}
                Component::Prefix(_) | Component::RootDir | Component::Normal(_) => full.push(part),
            }
        }
        full
    }

    /// The working folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a file counts.
    pub fn takes(&self, path: &Path) -> bool {
        if self.is_never(path) {
            return false;
        }
        if path.ancestors().any(|above| self.places.contains(above) || self.trees.contains(above)) {
            return true;
        }
        let Ok(name) = path.strip_prefix(&self.dir) else { return false };
        let name = name.to_string_lossy();
        !is_temporary(path) && self.sets.iter().any(|set| set.takes(&name))
    }

    /// Whether nothing at or below a path counts, whatever is declared.
    pub(super) fn is_never(&self, path: &Path) -> bool {
        let hidden = || path.strip_prefix(&self.dir).is_ok_and(|name| name.components().any(|c| is_never(c.as_os_str())));
        path.ancestors().any(|above| self.never.contains(above)) || hidden()
    }

    /// Whether files that count may be at or below a path.
    pub(super) fn leads(&self, path: &Path) -> bool {
        self.roots().iter().any(|root| path.starts_with(&root.path) || root.path.starts_with(path))
    }

    /// Where files are looked for: the literal prefix of each glob, each file and folder.
    pub(super) fn roots(&self) -> Vec<Root> {
        let mut roots: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
        let globs = self.sets.iter().flat_map(|set| &set.includes).map(|glob| (self.dir.join(&glob.prefix), glob.depth()));
        let places = self.places.iter().chain(&self.trees).map(|path| (path.clone(), None));
        for (path, depth) in globs.chain(places) {
            let known = roots.entry(path).or_insert(depth);
            *known = known.zip(depth).map(|(a, b)| a.max(b));
        }
        roots.into_iter().map(|(path, depth)| Root { path, depth }).collect()
    }

    /// A path as people write it.
    pub fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).display().to_string()
    }

    /// Whether nothing but tree files is watched.
    pub fn is_bare(&self) -> bool {
        self.sets.is_empty() && self.places.is_empty()
    }

    /// What is watched, in a few words.
    pub fn title(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        let globs = self.sets.iter().flat_map(|set| &set.includes).map(|glob| glob.text.clone());
        for name in globs.chain(self.places.iter().map(|path| self.name(path))) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > FEW {
            names.truncate(FEW);
            names.push("…".into());
        }
        let trees = match self.trees.len() {
            0 => None,
            1 => Some("the tree file"),
            _ => Some("the tree files"),
        };
        match (names.is_empty(), trees) {
            (true, trees) => trees.unwrap_or("nothing").into(),
            (false, None) => names.join(", "),
            (false, Some(trees)) => format!("{} and {trees}", names.join(", ")),
        }
    }
}

impl Set {
    fn takes(&self, name: &str) -> bool {
        self.includes.iter().any(|glob| glob.takes(name)) && !self.excludes.iter().any(|glob| glob.excludes(name))
    }
}

/// What editors put beside a file while they work on it.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or(OsStr::new("")).to_string_lossy();
    let swap = name.starts_with('.') && [".swp", ".swo", ".swx"].iter().any(|end| name.ends_with(end));
    swap || name.ends_with('~') || name.starts_with(".#") || (name.starts_with('#') && name.ends_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(globs: &[&[&str]]) -> Scope {
        let mut scope = Scope::new("/tree".into());
        for set in globs {
            scope.add_globs(&set.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>()).unwrap();
        }
        scope
    }

    #[test]
    fn what_counts() {
        let mut scope = scope(&[&["src/**", "!src/gen"], &["*.toml"]]);
        scope.add_place(Path::new("./templates/"));
        scope.add_tree(Path::new("sub/../t.yaml"));
        scope.never(Path::new("src/out"));
        let check = |path: &str, expected: bool| assert_eq!(scope.takes(&Path::new("/tree").join(path)), expected, "{path}");
        for path in ["src/a.rs", "src/deep/b", "Cargo.toml", "templates/a/b~", "t.yaml", "src/.hidden"] {
            check(path, true);
        }
        for path in ["README.md", "sub/Cargo.toml", "src/gen/x", "src/out", "src/out/app", "src/.git/x", ".trees/db", "/elsewhere/src/a"] {
            check(path, false);
        }
        for path in ["src/.a.rs.swp", "src/a.rs~", "src/.#a.rs", "src/#a.rs#"] {
            check(path, false);
        }
    }

    #[test]
    fn roots_are_the_literal_prefixes() {
        let mut all = scope(&[&["src/**/*.rs", "!src/x"], &["*.toml", "a/*/x"], &["src/one"], &["a/b?/c/*"]]);
        all.add_tree(Path::new("t.yaml"));
        let shown: Vec<String> = all.roots().iter().map(|r| format!("{} {:?}", all.name(&r.path), r.depth)).collect();
        assert_eq!(shown, [" Some(1)", "a Some(3)", "src None", "src/one None", "t.yaml None"]);
        for (path, leads) in [("/tree/src/new", true), ("/tree/a", true), ("/", true), ("/tree/other/x", true), ("/elsewhere", false)] {
            assert_eq!(all.leads(Path::new(path)), leads, "{path}");
        }
    }

    #[test]
    fn a_few_words() {
        let mut all = scope(&[&["src/**"], &["src/**", "Cargo.toml"]]);
        assert_eq!(all.title(), "src/**, Cargo.toml");
        all.add_tree(Path::new("t.yaml"));
        assert_eq!(all.title(), "src/**, Cargo.toml and the tree file");
        ["a", "b", "c"].iter().for_each(|p| all.add_place(Path::new(p)));
        all.add_tree(Path::new("u.yaml"));
        assert_eq!(all.title(), "src/**, Cargo.toml, a, b, … and the tree files");
        assert_eq!(scope(&[]).title(), "nothing");
    }
}
