//! Merging in git's objects alone: no index, no files, and what is checked out stays as it is. Needs git 2.38.

use super::Git;
use std::path::PathBuf;
use std::sync::Arc;
use trees_runner::kind::{KindError, ReadCx};

/// What merging gave.
pub(super) enum Merged {
    /// The files of both.
    Tree(String),
    /// Files that both changed in a way that a person must settle.
    Conflicts(Vec<String>),
}

/// Merges two commits.
///
/// # Errors
/// When git cannot do that.
pub(super) async fn merged(git: Git<'_>, ours: &str, theirs: &str) -> Result<Merged, KindError> {
    let args = ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs];
    let done = git.ask(&args).await?;
    let mut parts = done.out.split('\0').filter(|part| !part.is_empty()).map(str::to_owned);
    match (done.code, parts.next()) {
        (Some(0), Some(tree)) => Ok(Merged::Tree(tree)),
        (Some(1), Some(_)) => Ok(Merged::Conflicts(parts.collect())),
        (Some(129), _) => Err(git.failed(&args, &done).help("`git/merge` needs git 2.38 or newer")),
        (_, _) => Err(git.failed(&args, &done)),
    }
}

/// Whether `ours` has all of `theirs`, though not its commits. What git computes for that goes to a folder aside.
///
/// # Errors
/// When git cannot tell.
pub(super) async fn is_in(git: Git<'_>, ours: &str, theirs: &str) -> Result<bool, KindError> {
    let objects = git.run(&["rev-parse", "--path-format=absolute", "--git-path", "objects"]).await?;
    let aside = tempfile::tempdir().map_err(|e| KindError::new(format!("cannot make a temporary folder: {e}")))?;
    let mut env = Vec::clone(&git.cx.env);
    let also = env.iter().find(|(name, _)| name == "GIT_ALTERNATE_OBJECT_DIRECTORIES").map(|(_, folders)| format!(":{folders}"));
    let folders = format!("{objects}{}", also.unwrap_or_default());
    env.retain(|(name, _)| name != "GIT_ALTERNATE_OBJECT_DIRECTORIES");
    env.push(("GIT_ALTERNATE_OBJECT_DIRECTORIES".into(), folders));
    env.push(("GIT_OBJECT_DIRECTORY".into(), aside.path().display().to_string()));
    let cx = ReadCx { env: Arc::new(env), ..git.cx.clone() };
    let git = Git { cx: &cx, ..git };
    match merged(git, ours, theirs).await? {
        Merged::Tree(tree) => Ok(tree == git.run(&["rev-parse", &format!("{ours}^{{tree}}")]).await?),
        Merged::Conflicts(_) => Ok(false),
    }
}

/// A commit of these files, signed where the configuration wants that.
///
/// # Errors
/// When git cannot make it.
pub(super) async fn commit_of(git: Git<'_>, tree: &str, parents: &[&str], message: &str) -> Result<String, KindError> {
    let signs = git.find(&["config", "--type=bool", "--get", "commit.gpgSign"]).await?.as_deref() == Some("true");
    let mut args = git.who().await?;
    args.extend(["commit-tree", tree, "-m", message]);
    parents.iter().for_each(|parent| args.extend(["-p", parent]));
    if signs {
        args.push("-S");
    }
    git.run(&args).await
}

/// Where a branch is checked out.
///
/// # Errors
/// When git cannot tell.
pub(super) async fn checked_out(git: Git<'_>, branch: &str) -> Result<Option<PathBuf>, KindError> {
    let list = git.run(&["worktree", "list", "--porcelain", "-z"]).await?;
    let line = format!("branch {branch}");
    let entry = list.split("\0\0").find(|entry| entry.split('\0').any(|l| l == line));
    Ok(entry.and_then(|entry| entry.split('\0').find_map(|l| l.strip_prefix("worktree "))).map(PathBuf::from))
}
