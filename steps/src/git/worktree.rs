//! `git/worktree`: a second work tree of a repository, on a branch of its own.

use super::{Git, empty_or_missing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `git/worktree`.
pub struct Worktree;

/// What `git/worktree` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The repository's folder, relative to the working folder.
    #[serde(default = "here")]
    pub repo: String,
    /// The new work tree's folder, relative to the working folder.
    pub path: String,
    /// The branch checked out there; made if it does not exist.
    pub branch: String,
    /// What a new branch begins at: a branch, tag or commit.
    #[serde(default = "head")]
    pub base: String,
}

fn here() -> String {
    ".".into()
}

fn head() -> String {
    "HEAD".into()
}

/// What `git/worktree` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The work tree's folder (absolute).
    pub path: String,
    /// Its branch.
    pub branch: String,
    /// The commit it is at.
    pub sha: String,
}

/// How a work tree is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    repo: PathBuf,
    path: PathBuf,
    branch: String,
    /// The commit that the branch was made at; `None`: it existed.
    made_at: Option<String>,
}

impl Kind for Worktree {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "git/worktree",
        summary: "Check a branch out into a folder of its own",
        doc: "Adds a work tree of the repository `repo` at `path` with `branch` checked out; the branch is made at `base` if it does not \
              exist. A work tree with that branch at that place is left as it is.\n\n\
              Taken back: the work tree that this step made, with all that is in it; the branch that it made, unless it has commits by then.",
        example: "tree: side-by-side\nsteps:\n  worktree:\n    uses: git/worktree\n    with: { path: .worktrees/fix, branch: fix, base: main }\n",
        effect: Effect::Local,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let bad =
            |name: &str, value: &str| (value.is_empty() || value.starts_with('-')).then(|| format!("{name}: `{value}` cannot stand here"));
        [bad("path", &with.path), bad("branch", &with.branch), bad("base", &with.base)].into_iter().flatten().collect()
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let (repo, path) = (cx.path(&with.repo), cx.path(&with.path));
        let Some(found) = find(Git::quiet(cx, &repo), &path).await? else { return Ok(Observation::Absent) };
        if found.branch == with.branch {
            return Ok(Observation::Satisfied(found));
        }
        let change = Change::new("branch", json!(found.branch), json!(with.branch));
        Ok(Observation::Differs(vec![change]))
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let (repo, path) = (cx.path(&with.repo), cx.path(&with.path));
        let git = Git::logged(cx, &repo);
        if let Some(found) = find(git, &path).await? {
            return taken(found, with);
        }
        if !empty_or_missing(&path) {
            return Err(KindError::new(format!(
                "`{}` is in the way: it is no work tree of `{}` and not empty",
                path.display(),
                repo.display()
            )));
        }
        let branch = format!("refs/heads/{}", with.branch);
        let exists = git.find(&["rev-parse", "-q", "--verify", &branch]).await?.is_some();
        let base = format!("{}^{{commit}}", with.base);
        let made_at = if exists { None } else { Some(git.run(&["rev-parse", "--verify", &base]).await?) };
        cx.intend(Record { repo: repo.clone(), path: path.clone(), branch: with.branch.clone(), made_at: made_at.clone() }).await?;
        git.run(&["worktree", "prune"]).await?;
        let place = path.display().to_string();
        match &made_at {
            Some(sha) => git.run(&["worktree", "add", "-b", &with.branch, &place, sha]).await?,
            None => git.run(&["worktree", "add", &place, &with.branch]).await?,
        };
        find(git, &path).await?.ok_or_else(|| KindError::new(format!("git made no work tree at `{}`", path.display())))
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        if !record.repo.exists() {
            return Ok(());
        }
        let git = Git::logged(cx, &record.repo);
        let ours = find(git, &record.path).await?.is_some_and(|found| found.branch == record.branch);
        if ours {
            git.run(&["worktree", "remove", "--force", "--force", &record.path.display().to_string()]).await?;
        }
        git.run(&["worktree", "prune"]).await?;
        let branch = format!("refs/heads/{}", record.branch);
        match (record.made_at, git.find(&["rev-parse", "-q", "--verify", &branch]).await?) {
            (Some(made_at), Some(now)) if made_at == now => git.run(&["update-ref", "-d", &branch, &made_at]).await.map(|_| ()),
            (Some(_), Some(_)) => {
                cx.log(format!("the branch {} has commits and is kept", record.branch));
                Ok(())
            }
            (_, _) => Ok(()),
        }
    }
}

fn taken(found: Out, with: &With) -> Result<Out, KindError> {
    if found.branch == with.branch {
        return Ok(found);
    }
    let on = if found.branch.is_empty() { "no branch" } else { &found.branch };
    Err(KindError::new(format!("the work tree at `{}` is on {on}, not on {}; it is left alone", found.path, with.branch))
        .help("give another `path`, or remove it with `git worktree remove`"))
}

/// The work tree at `path`, as git lists it.
async fn find(git: Git<'_>, path: &Path) -> Result<Option<Out>, KindError> {
    let Ok(real) = path.canonicalize() else { return Ok(None) };
    let list = git.run(&["worktree", "list", "--porcelain", "-z"]).await?;
    let of = |entry: &str, name: &str| entry.split('\0').find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let entry = list.split("\0\0").find(|entry| Path::new(&of(entry.trim_start_matches('\0'), "worktree ")) == real);
    Ok(entry.map(|entry| {
        let branch = of(entry, "branch ");
        Out { path: real.display().to_string(), branch: branch.trim_start_matches("refs/heads/").to_owned(), sha: of(entry, "HEAD ") }
    }))
}

#[cfg(test)]
mod tests {
    use super::Worktree;
    use crate::bench::Bench;
    use serde_json::{Value, json};

    fn with() -> Value {
        json!({ "repo": "r", "path": "w/fix", "branch": "fix", "base": "main" })
    }

    #[tokio::test]
    async fn makes_it_once_and_removes_what_it_made() {
        let bench = Bench::new();
        let sha = bench.repository("r");
        let (out, acted) = bench.run::<Worktree>(with()).await.unwrap();
        assert!(acted && bench.text("w/fix/a.txt") == "one\n");
        assert_eq!((out.branch.as_str(), &out.sha), ("fix", &sha));
        assert_eq!(bench.run::<Worktree>(with()).await.unwrap(), (out, false));
        bench.git("w/fix", &["switch", "-q", "-c", "other"]);
        assert_eq!(bench.drift::<Worktree>(with()).await, ["branch"]);
        let wrong = bench.run::<Worktree>(with()).await.unwrap_err().message;
        assert!(wrong.contains("is on other, not on fix"), "{wrong}");
        bench.git("w/fix", &["switch", "-q", "fix"]);
        bench.undo::<Worktree>().await.unwrap();
        assert!(!bench.path("w/fix").exists());
        assert_eq!(bench.git("r", &["branch", "--format=%(refname:short)"]), "main\nother");
    }

    #[tokio::test]
    async fn a_branch_with_commits_or_of_others_is_kept() {
        let bench = Bench::new();
        bench.repository("r");
        bench.run::<Worktree>(with()).await.unwrap();
        bench.write("w/fix/b.txt", "b");
        bench.commit("w/fix", "work");
        bench.undo::<Worktree>().await.unwrap();
        assert_eq!(bench.git("r", &["branch", "--format=%(refname:short)"]), "fix\nmain");
        bench.run::<Worktree>(with()).await.unwrap();
        bench.undo::<Worktree>().await.unwrap();
        assert_eq!(bench.git("r", &["branch", "--format=%(refname:short)"]), "fix\nmain");
    }

    #[tokio::test]
    async fn what_is_in_the_way_stays() {
        let bench = Bench::new();
        bench.repository("r");
        bench.write("w/fix/mine.txt", "mine");
        let wrong = bench.run::<Worktree>(with()).await.unwrap_err().message;
        assert!(wrong.contains("is in the way"), "{wrong}");
        assert_eq!(bench.text("w/fix/mine.txt"), "mine");
        let wrong = bench.run::<Worktree>(json!({ "repo": "r", "path": "x", "branch": "b", "base": "nope" })).await.unwrap_err().message;
        assert!(wrong.contains("nope") && wrong.contains("git rev-parse"), "{wrong}");
    }
}
