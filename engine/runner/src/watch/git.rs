//! Whether git is at work in a folder: a checkout is one change, however long it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A lock that is older was left by a git that crashed.
const STALE: Duration = Duration::from_secs(60);

/// Whether git holds the index of the repository that a folder belongs to.
pub(super) fn is_at_work(dir: &Path) -> bool {
    let Some(folder) = dir.ancestors().find_map(|above| repository(&above.join(".git"))) else { return false };
    let age = folder.join("index.lock").metadata().and_then(|about| about.modified()).map(|at| at.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age < STALE)
}

/// What `.git` stands for: a folder, or in a further worktree a file that names one.
fn repository(git: &Path) -> Option<PathBuf> {
    if git.is_dir() {
        return Some(git.to_path_buf());
    }
    let text = fs::read_to_string(git).ok()?;
    Some(git.parent()?.join(text.strip_prefix("gitdir:")?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_repository_and_of_a_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        fs::create_dir_all(dir.join("repo/.git/worktrees/other")).unwrap();
        fs::create_dir_all(dir.join("repo/src")).unwrap();
        fs::create_dir_all(dir.join("other")).unwrap();
        fs::write(dir.join("other/.git"), "gitdir: ../repo/.git/worktrees/other\n").unwrap();
        let at_work = || (is_at_work(&dir.join("repo/src")), is_at_work(&dir.join("other")));
        assert_eq!(at_work(), (false, false));
        fs::write(dir.join("repo/.git/worktrees/other/index.lock"), "").unwrap();
        assert_eq!(at_work(), (false, true));
        let lock = fs::File::create(dir.join("repo/.git/index.lock")).unwrap();
        assert_eq!(at_work(), (true, true));
        lock.set_modified(std::time::SystemTime::now() - STALE * 2).unwrap();
        assert_eq!(at_work(), (false, true));
    }
}
