//! `git/merge`: one branch into another, without touching what is checked out elsewhere.

use super::push::{here, ten_minutes};
use super::pushed::{Pushed, Update};
use super::reference::{branch, wrong_argument, wrong_name};
use super::tree::{Merged, checked_out, commit_of, is_in, merged};
use super::upstream::Upstream;
use super::{Git, change, repository};
use crate::period::{Limit, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `git/merge`.
pub struct Merge;

/// What `git/merge` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The repository's folder, relative to the working folder.
    #[serde(default = "here")]
    pub folder: String,
    /// What is merged: a branch (`fix`, `origin/fix`), tag or commit.
    pub branch: String,
    /// The local branch that it is merged into.
    pub into: String,
    /// `merge`: always a commit of its own that has both. `ff_only`: the branch moves forward, or the step fails.
    /// `squash`: all of it as one commit.
    #[serde(default)]
    pub strategy: Strategy,
    /// The message of the commit; without, one that names both branches.
    #[serde(default)]
    pub message: Option<String>,
    /// Push `into` afterwards: a remote of the repository's configuration, a URL, or a folder relative to the working
    /// folder.
    #[serde(default)]
    pub push: Option<String>,
    /// For each word with the remote.
    #[serde(default = "ten_minutes", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

/// How a branch takes another one in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Strategy {
    /// A commit of its own, with both as parents.
    #[default]
    Merge,
    /// Forward only.
    FfOnly,
    /// One commit with all of it.
    Squash,
}

/// What `git/merge` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The commit that `into` is at.
    pub commit: String,
    /// The commit that it was at.
    pub before: String,
    /// The commit that was merged.
    pub merged: String,
    /// The branch that it was merged into.
    pub branch: String,
    /// Where it was pushed to, without a password or token; empty where it was not.
    pub remote: String,
    /// Whether anything had to be done.
    pub changed: bool,
}

/// How a merge is taken back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Local(Local),
    Remote(Pushed),
}

/// The branch in the repository.
#[derive(Debug, Serialize, Deserialize)]
struct Local {
    folder: PathBuf,
    branch: String,
    before: String,
    after: String,
}

/// The two sides.
struct Sides<'a> {
    git: Git<'a>,
    into: String,
    ours: String,
    theirs: String,
    contained: bool,
}

impl Kind for Merge {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "git/merge",
        summary: "Merge a branch into another one",
        doc: include_str!("merge.md"),
        example: "tree: land\nsteps:\n  merge:\n    uses: git/merge\n    with: { branch: feature, into: main, strategy: squash, message: The feature, push: origin }\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong: Vec<String> = wrong_argument("branch", &with.branch).into_iter().chain(wrong_name("into", &with.into)).collect();
        wrong.extend(with.push.as_deref().and_then(|remote| wrong_argument("push", remote)));
        if with.message.as_deref().is_some_and(|message| message.trim().is_empty()) {
            wrong.push("message: it is empty".into());
        }
        if with.message.is_some() && with.strategy == Strategy::FfOnly {
            wrong.push("message: `strategy: ff_only` makes no commit that could have one".into());
        }
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let folder = cx.path(&with.folder);
        let sides = look(with, Git::quiet(cx, &folder)).await?;
        let mut changes = Vec::new();
        if !sides.contained {
            changes.push(change("commit", &sides.ours, format!("{} with {}", with.into, sides.theirs)));
        }
        let mut url = String::new();
        if let Some(remote) = &with.push {
            let upstream = Upstream::find(sides.git, remote, with.timeout).await?;
            let there = upstream.list(std::slice::from_ref(&sides.into)).await?.remove(&sides.into);
            let has = match &there {
                Some(there) => upstream.is_known_to_have(there, &sides.ours).await?,
                None => false,
            };
            if !has {
                changes.push(change("remote", there, &sides.ours));
            }
            url.clone_from(&upstream.url);
        }
        Ok(if changes.is_empty() {
            Observation::Satisfied(sides.out(with, &sides.ours, url, false))
        } else {
            Observation::Differs(changes)
        })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let folder = cx.path(&with.folder);
        let sides = look(with, Git::logged(cx, &folder)).await?;
        let upstream = match &with.push {
            Some(remote) => Some(Upstream::find(sides.git, remote, with.timeout).await?),
            None => None,
        };
        let commit = if sides.contained { sides.ours.clone() } else { make(with, cx, &sides).await? };
        let url = upstream.as_ref().map_or_else(String::new, |upstream| upstream.url.clone());
        let pushed = match &upstream {
            Some(upstream) => push(cx, upstream, &sides.into, &commit).await?,
            None => false,
        };
        Ok(sides.out(with, &commit, url, pushed || !sides.contained))
    }

    async fn verify(with: &With, out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        let folder = cx.path(&with.folder);
        let git = Git::quiet(cx, &folder);
        let now = git.reference(&branch(&with.into)).await?;
        let kept = match &now {
            Some(now) => git.contains(now, &out.commit).await?,
            None => false,
        };
        if !kept {
            let now = now.unwrap_or_default();
            return Err(KindError::new(format!("`{}` is {now} right after {} was merged into it", with.into, out.merged)));
        }
        let Some(remote) = &with.push else { return Ok(()) };
        Upstream::find(git, remote, with.timeout).await?.keeps(&branch(&with.into), &out.commit).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        match recorded(record)? {
            Record::Local(local) => local.undo(cx).await,
            Record::Remote(pushed) => pushed.undo(cx).await,
        }
    }
}

async fn look<'a>(with: &With, git: Git<'a>) -> Result<Sides<'a>, KindError> {
    let quiet = Git { log: None, ..git };
    repository(quiet).await?;
    let into = branch(&with.into);
    let folder = git.dir.display();
    let ours = quiet.commit(&into).await?;
    let ours = ours.ok_or_else(|| KindError::new(format!("`{folder}` has no branch `{}` to merge into", with.into)))?;
    let theirs = quiet.commit(&with.branch).await?;
    let theirs = theirs.ok_or_else(|| {
        KindError::new(format!("`{folder}` has no branch, tag or commit `{}`", with.branch)).help("fetch it first, if it is elsewhere")
    })?;
    let contained = match with.strategy {
        Strategy::Merge | Strategy::FfOnly => quiet.contains(&ours, &theirs).await?,
        Strategy::Squash => quiet.contains(&ours, &theirs).await? || is_in(quiet, &ours, &theirs).await?,
    };
    Ok(Sides { git, into, ours, theirs, contained })
}

impl Sides<'_> {
    fn out(&self, with: &With, commit: &str, remote: String, changed: bool) -> Out {
        let (before, merged) = (self.ours.clone(), self.theirs.clone());
        Out { commit: commit.to_owned(), before, merged, branch: with.into.clone(), remote, changed }
    }
}

/// Makes the commit and moves the branch to it.
async fn make(with: &With, cx: &Cx, sides: &Sides<'_>) -> Result<String, KindError> {
    let quiet = Git { log: None, ..sides.git };
    let place = checked_out(quiet, &sides.into).await?;
    if let Some(place) = &place {
        clean(Git { dir: place, ..quiet }, &with.into).await?;
    }
    let after = match with.strategy {
        Strategy::FfOnly if quiet.contains(&sides.theirs, &sides.ours).await? => sides.theirs.clone(),
        Strategy::FfOnly => {
            let message = format!("`{}` has commits that `{}` does not have, so it cannot just move forward", with.into, with.branch);
            return Err(KindError::new(message).help("rebase it first; or `strategy: merge` or `squash`"));
        }
        Strategy::Merge | Strategy::Squash => match merged(quiet, &sides.ours, &sides.theirs).await? {
            Merged::Tree(tree) => {
                let parents: &[&str] = if with.strategy == Strategy::Merge { &[&sides.ours, &sides.theirs] } else { &[&sides.ours] };
                commit_of(quiet, &tree, parents, &message(with)).await?
            }
            Merged::Conflicts(files) => return Err(conflict(with, &files)),
        },
    };
    let (folder, before) = (sides.git.dir.to_path_buf(), sides.ours.clone());
    cx.intend(Record::Local(Local { folder, branch: sides.into.clone(), before, after: after.clone() })).await?;
    match &place {
        Some(place) => Git { dir: place, ..sides.git }.run(&["merge", "-q", "--ff-only", &after]).await?,
        None => move_branch(sides.git, &sides.into, &after, &sides.ours).await?,
    };
    cx.log(format!("merged {} into {}: {after}", with.branch, with.into));
    Ok(after)
}

fn message(with: &With) -> String {
    let verb = if with.strategy == Strategy::Squash { "Squash" } else { "Merge" };
    with.message.clone().unwrap_or_else(|| format!("{verb} {} into {}", with.branch, with.into))
}

fn conflict(with: &With, files: &[String]) -> KindError {
    let shown = trees_core::units::few(files, 20);
    let message = format!("`{}` and `{}` changed the same in: {shown}; nothing was changed", with.branch, with.into);
    KindError::new(message).help(format!("merge {} into {} by hand, settle that, and run the step again", with.into, with.branch))
}

async fn clean(git: Git<'_>, name: &str) -> Result<(), KindError> {
    let dirty = git.run(&["status", "--porcelain", "--untracked-files=no"]).await?;
    if dirty.is_empty() {
        return Ok(());
    }
    let message = format!("`{name}` is checked out at `{}` with changes that are not committed:\n{dirty}", git.dir.display());
    Err(KindError::new(message).help("commit or undo them, or check out another branch there"))
}

/// Only where it still is what it was.
async fn move_branch(git: Git<'_>, name: &str, to: &str, before: &str) -> Result<String, KindError> {
    let moved = git.run(&["update-ref", "-m", "trees: git/merge", name, to, before]).await;
    moved.map_err(|e| KindError { transient: e.message.contains("but expected"), ..e })
}

/// Whether anything had to be pushed.
async fn push(cx: &Cx, upstream: &Upstream<'_>, name: &str, commit: &str) -> Result<bool, KindError> {
    let before = upstream.list(&[name.to_owned()]).await?.remove(name);
    let Some(there) = before.as_deref().filter(|there| *there != commit) else {
        if before.is_some() {
            return Ok(false);
        }
        return send(cx, upstream, Update { name: name.to_owned(), before, after: Some(commit.to_owned()) }).await;
    };
    if upstream.has_commit(name, there, commit).await? {
        return Ok(false);
    }
    if !upstream.git().contains(commit, there).await? {
        let short = super::reference::short(name);
        let message =
            format!("merged, but `{short}` of `{}` is at {there} and has commits that `{short}` here does not have", upstream.url);
        return Err(KindError::new(message).help("take the merge back, fetch, and run the step again"));
    }
    send(cx, upstream, Update { name: name.to_owned(), before, after: Some(commit.to_owned()) }).await
}

async fn send(cx: &Cx, upstream: &Upstream<'_>, update: Update) -> Result<bool, KindError> {
    let update = [update];
    cx.intend(Record::Remote(upstream.record(&update))).await?;
    upstream.push(&update).await?;
    Ok(true)
}

impl Local {
    async fn undo(&self, cx: &Cx) -> Result<(), KindError> {
        if !self.folder.exists() {
            return Ok(());
        }
        let git = Git::quiet(cx, &self.folder);
        let short = super::reference::short(&self.branch);
        let now = git.reference(&self.branch).await?;
        match now {
            Some(now) if now == self.before => return Ok(()),
            Some(now) if now == self.after => {}
            Some(now) if git.contains(&now, &self.after).await? => {
                let message = format!("`{short}` of `{}` has commits on top of this step's merge; it is left alone", self.folder.display());
                return Err(KindError::new(message).help("revert the merge by hand, then go on with the rollback"));
            }
            Some(_) | None => {
                cx.log(format!("`{short}` has nothing of this merge any more and is left as it is"));
                return Ok(());
            }
        }
        match checked_out(git, &self.branch).await? {
            Some(place) => {
                let git = Git { dir: &place, ..Git::logged(cx, &self.folder) };
                clean(Git { log: None, ..git }, short).await?;
                git.run(&["reset", "-q", "--keep", &self.before]).await.map(|_| ())
            }
            None => move_branch(git, &self.branch, &self.before, &self.after).await.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests;
