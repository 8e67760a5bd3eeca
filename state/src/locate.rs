//! Where the state folder is.

use crate::state::State;
use std::path::{Path, PathBuf};

impl State {
    /// The state folder for a command: what `--state` says, else `TREES_STATE`, else the nearest
    /// `.trees` upward from `cwd`, else beside the nearest `.git` upward, else in `cwd`. Nothing
    /// is made.
    #[must_use]
    pub fn locate(flag: Option<&Path>, environment: Option<&Path>, cwd: &Path) -> PathBuf {
        if let Some(given) = flag.or(environment.filter(|path| !path.as_os_str().is_empty())) {
            return cwd.join(given);
        }
        let upward = |wanted: &dyn Fn(&Path) -> bool| cwd.ancestors().find(|folder| wanted(folder));
        let beside = upward(&|folder| folder.join(".trees").is_dir()).or_else(|| upward(&|folder| folder.join(".git").exists()));
        beside.unwrap_or(cwd).join(".trees")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[track_caller]
    fn check(root: &Path, made: &[&str], given: [Option<&str>; 2], cwd: &str, expected: &str) {
        let home = tempfile::tempdir_in(root).unwrap();
        for folder in made {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        let cwd = home.path().join(cwd);
        fs::create_dir_all(&cwd).unwrap();
        let [flag, environment] = given.map(|text| text.map(Path::new));
        assert_eq!(State::locate(flag, environment, &cwd), home.path().join(expected));
    }

    #[test]
    fn the_nearest_wins() {
        let dir = tempfile::tempdir().unwrap();
        // A `.trees` here ends the search inside this folder.
        let no = [None, None];
        check(dir.path(), &[".trees", "a/.git"], no, "a/b", ".trees");
        check(dir.path(), &[".trees", "a/.trees", "a/b"], no, "a/b", "a/.trees");
        check(dir.path(), &["a/.git"], no, "a/b/c", "a/.trees");
        check(dir.path(), &["a/.git", "a/b/.git"], no, "a/b/c", "a/b/.trees");
        check(dir.path(), &[], no, "a", "a/.trees");
        check(dir.path(), &[".trees"], [Some("x"), Some("y")], "a", "a/x");
        check(dir.path(), &[".trees"], [None, Some("y/z")], "a", "a/y/z");
        check(dir.path(), &[".trees"], [None, Some("")], "a", ".trees");
    }
}
