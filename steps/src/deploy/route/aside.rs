//! A copy of a configuration in which a new file stands in the place of a live one, so that nginx can
//! test it and no broken file is ever live: the files that lead to it by `include` are written
//! anew aside, all others stay where they are.

use super::syntax::{directives, quoted};
use crate::file::failed;
use globset::GlobBuilder;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use trees_runner::kind::KindError;

/// `include`s within `include`s; nginx itself has no limit but would never end on a circle.
const DEEPEST: usize = 16;

/// What is put in whose place.
pub struct Aside<'a> {
    /// The folder that relative paths of `include` begin at: the main file's.
    pub base: &'a Path,
    /// The live file, which need not exist.
    pub live: &'a Path,
    /// The file in its place.
    pub new: &'a Path,
    /// An empty folder for the files that are written anew.
    pub scratch: &'a Path,
}

impl Aside<'_> {
    /// The text of a main file that reads the new file; `None` where nothing includes the live one.
    ///
    /// # Errors
    /// When a file on the way cannot be read or written.
    pub fn main(&self, config: &Path) -> Result<Option<String>, KindError> {
        self.rewritten(config, 0)
    }

    fn rewritten(&self, file: &Path, depth: usize) -> Result<Option<String>, KindError> {
        if depth > DEEPEST {
            return Err(KindError::new(format!("`{}` is included within more than {DEEPEST} others, or by itself", file.display())));
        }
        let text = fs::read(file).map_err(|e| failed("cannot read", file, &e))?;
        let mut text = String::from_utf8_lossy(&text).into_owned();
        let mut changed = false;
        for directive in directives(&text).into_iter().rev() {
            let [name, pattern] = directive.words.as_slice() else { continue };
            if name == "include"
                && let Some(lines) = self.included(pattern, depth)?
            {
                text.replace_range(directive.span, &lines);
                changed = true;
            }
        }
        Ok(changed.then_some(text))
    }

    /// The lines in the place of an `include` that leads to the live file.
    fn included(&self, pattern: &str, depth: usize) -> Result<Option<String>, KindError> {
        let mut files = matching(&self.base.join(pattern));
        let takes_it = is_taken(&self.base.join(pattern), self.live);
        if takes_it {
            files.retain(|file| !same(file, self.live));
            files.insert(self.live.to_path_buf());
        }
        let mut changed = false;
        let mut lines = Vec::new();
        for file in files {
            let place = if takes_it && file == self.live {
                changed = true;
                self.new.to_path_buf()
            } else if let Some(text) = self.rewritten(&file, depth + 1)? {
                changed = true;
                self.keep(&text)?
            } else {
                file
            };
            lines.push(format!("include {};", quoted(&place.display().to_string())));
        }
        Ok(changed.then(|| lines.join(" ")))
    }

    fn keep(&self, text: &str) -> Result<PathBuf, KindError> {
        let number = fs::read_dir(self.scratch).into_iter().flatten().count();
        let path = self.scratch.join(format!("included-{number}"));
        fs::write(&path, text).map_err(|e| failed("cannot write", &path, &e))?;
        Ok(path)
    }
}

/// The files that a pattern of `include` names, sorted as nginx reads them.
fn matching(pattern: &Path) -> BTreeSet<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components().skip(1) {
        let part = part.as_os_str();
        found = found.iter().flat_map(|folder| below(folder, &part.to_string_lossy())).collect();
    }
    found.into_iter().filter(|path| path.is_file()).collect()
}

fn below(folder: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains(['*', '?', '[']) {
        return Some(folder.join(part)).filter(|path| path.exists()).into_iter().collect();
    }
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| fits(part, &name.to_string_lossy())).map(|name| folder.join(name)).collect()
}

/// As the shell does it: what begins with a dot must be asked for.
fn fits(part: &str, name: &str) -> bool {
    let glob = GlobBuilder::new(part).literal_separator(true).backslash_escape(true).build();
    (!name.starts_with('.') || part.starts_with('.')) && glob.is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

/// Whether a pattern would name a file, were it there.
fn is_taken(pattern: &Path, file: &Path) -> bool {
    let (Some(folder), Some(part)) = (pattern.parent(), pattern.file_name()) else { return false };
    let (Some(home), Some(name)) = (file.parent(), file.file_name()) else { return false };
    let mut folders = vec![PathBuf::from("/")];
    for part in folder.components().skip(1) {
        folders = folders.iter().flat_map(|folder| below(folder, &part.as_os_str().to_string_lossy())).collect();
    }
    fits(&part.to_string_lossy(), &name.to_string_lossy()) && folders.iter().any(|folder| same(folder, home))
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::Aside;
    use std::fs;
    use std::path::Path;

    fn check(files: &[(&str, &str)], expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for (name, text) in files {
            let path = base.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("BASE", &base.display().to_string())).unwrap();
        }
        fs::create_dir(base.join("aside")).unwrap();
        let aside = Aside { base: &base, live: &base.join("sites/b.conf"), new: Path::new("/new"), scratch: &base.join("aside") };
        let text = aside.main(&base.join("nginx.conf")).unwrap();
        assert_eq!(text.map(|text| text.replace(&base.display().to_string(), "BASE")).as_deref(), expected, "{files:?}");
        if expected.is_some_and(|text| text.contains("included-0")) {
            let text = fs::read_to_string(base.join("aside/included-0")).unwrap();
            assert!(text.contains("include \"/new\";"), "{text}");
        }
    }

    #[test]
    fn what_leads_to_the_live_file_leads_to_the_new_one() {
        let sites = [("sites/a.conf", "a"), ("sites/c.conf", "c"), ("sites/.hidden.conf", "")];
        let with = |main: &str, expected: Option<&str>| {
            let mut files = vec![("nginx.conf", main)];
            files.extend(sites);
            check(&files, expected);
        };
        let all = "http { include \"BASE/sites/a.conf\"; include \"/new\"; include \"BASE/sites/c.conf\"; }";
        with("http { include sites/*.conf; }", Some(all));
        with("http { include BASE/sites/*; }", Some(all));
        with("http { include BASE/s*s/?.conf; }", Some(all));
        with("# include sites/*;\nx;", None);
        with("include sites/*.com; include sites/a.conf;", None);
        with("include sites/b.conf;", Some("include \"/new\";"));
        with("include others/*;", None);
    }

    #[test]
    fn files_between_are_written_anew() {
        check(
            &[
                ("nginx.conf", "http { include x.conf; include y.conf; }"),
                ("x.conf", "include sites/*;"),
                ("y.conf", "y;"),
                ("sites/b.conf", "old"),
            ],
            Some("http { include \"BASE/aside/included-0\"; include y.conf; }"),
        );
    }

    #[test]
    fn a_circle_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nginx.conf"), "include nginx.conf;").unwrap();
        let aside = Aside { base: folder.path(), live: Path::new("/x"), new: Path::new("/new"), scratch: folder.path() };
        assert!(aside.main(&folder.path().join("nginx.conf")).unwrap_err().message.contains("or by itself"));
    }
}
