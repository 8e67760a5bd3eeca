//! `git/push`: a branch, and tags, to a remote.

use super::pushed::{Pushed, Update};
use super::reference::{branch, tag, wrong_argument, wrong_name};
use super::upstream::Upstream;
use super::{Git, change, repository};
use crate::period::{Limit, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `git/push`.
pub struct Push;

/// What `git/push` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The repository's folder, relative to the working folder.
    #[serde(default = "here")]
    pub folder: String,
    /// A remote of the repository's configuration, or what git can push to: a URL, `user@host:path`, or a folder relative
    /// to the working folder.
    #[serde(default = "origin")]
    pub remote: String,
    /// What is pushed: a local branch, or a commit by any name that git knows; without, the branch that is checked out.
    #[serde(default)]
    pub branch: Option<String>,
    /// The branch at the remote; without, the one of the same name as the local branch.
    #[serde(default)]
    pub to: Option<String>,
    /// `never`: the branch at the remote only moves forward. `lease`: it may lose commits, but only those that the step
    /// found there when it looked. There is no other force.
    #[serde(default)]
    pub force: Force,
    /// Local tags to push along, by name.
    #[serde(default)]
    pub tags: Vec<String>,
    /// For each word with the remote.
    #[serde(default = "ten_minutes", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

/// Whether a branch at a remote may lose commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Force {
    /// It moves forward only.
    #[default]
    Never,
    /// It may lose what was found there.
    Lease,
}

pub(super) fn here() -> String {
    ".".into()
}

fn origin() -> String {
    "origin".into()
}

pub(super) fn ten_minutes() -> Period {
    Period::seconds(600)
}

/// What `git/push` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The commit that was to be pushed.
    pub commit: String,
    /// The commit of the remote's branch before; empty where there was no such branch.
    pub before: String,
    /// Where it was pushed to, without a password or token.
    pub remote: String,
    /// The branch at the remote.
    pub branch: String,
    /// Whether anything had to be pushed.
    pub changed: bool,
}

/// What there is to push and what is there.
struct Found<'a> {
    upstream: Upstream<'a>,
    commit: String,
    to: String,
    there: BTreeMap<String, String>,
    updates: Vec<Update>,
}

impl Kind for Push {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "git/push",
        summary: "Push a branch and tags to a remote",
        doc: include_str!("push.md"),
        example: "tree: publish\nsteps:\n  push:\n    uses: git/push\n    with: { folder: site, remote: origin, branch: main }\n",
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
        let source = with.branch.as_deref().and_then(|name| wrong_argument("branch", name));
        let to = with.to.as_deref().and_then(|name| wrong_name("to", name));
        let tags = with.tags.iter().filter_map(|name| wrong_name("tags", name));
        wrong_argument("remote", &with.remote).into_iter().chain(source).chain(to).chain(tags).collect()
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let folder = cx.path(&with.folder);
        let mut found = look(with, Git::quiet(cx, &folder)).await?;
        found.drop_what_is_known_to_be_there(with.force).await?;
        let changes: Vec<Change> = found.updates.iter().map(|u| change(&u.name, &u.before, &u.after)).collect();
        Ok(match changes.is_empty() {
            true => Observation::Satisfied(found.out(false)),
            false if found.there.is_empty() => Observation::Absent,
            false => Observation::Differs(changes),
        })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let folder = cx.path(&with.folder);
        let mut found = look(with, Git::logged(cx, &folder)).await?;
        found.check_tags()?;
        if found.has_it_already(with.force).await? {
            cx.log(format!("`{}` of `{}` has {} already, with commits on top", found.to, found.upstream.url, found.commit));
            let name = branch(&found.to);
            found.updates.retain(|update| update.name != name);
        }
        if found.updates.is_empty() {
            return Ok(found.out(false));
        }
        cx.intend(found.upstream.record(&found.updates)).await?;
        found.upstream.push(&found.updates).await.map_err(|e| stale(with.force, e))?;
        Ok(found.out(true))
    }

    async fn verify(with: &With, out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        let folder = cx.path(&with.folder);
        let upstream = Upstream::find(Git::quiet(cx, &folder), &with.remote, with.timeout).await?;
        upstream.keeps(&branch(&out.branch), &out.commit).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let pushed: Pushed = recorded(record)?;
        pushed.undo(cx).await
    }
}

/// A push that came too late may be made again where it takes nothing from anybody.
fn stale(force: Force, error: KindError) -> KindError {
    match force {
        Force::Lease if error.transient && error.message.contains("somebody pushed meanwhile") => {
            KindError { transient: false, ..error }.help("look at what was pushed; run the step again if that may be lost")
        }
        Force::Lease | Force::Never => error,
    }
}

async fn look<'a>(with: &With, git: Git<'a>) -> Result<Found<'a>, KindError> {
    let quiet = Git { log: None, ..git };
    repository(quiet).await?;
    let (commit, to) = source(with, quiet).await?;
    let mut wanted = vec![(branch(&to), commit.clone())];
    for name in &with.tags {
        let object = quiet.reference(&tag(name)).await?;
        let object = object.ok_or_else(|| KindError::new(format!("`{}` has no tag `{name}`", git.dir.display())))?;
        wanted.push((tag(name), object));
    }
    let upstream = Upstream::find(git, &with.remote, with.timeout).await?;
    let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    let there = upstream.list(&names).await?;
    let update = |(name, sha): (String, String)| Update { before: there.get(&name).cloned(), after: Some(sha), name };
    let updates = wanted.into_iter().map(update).filter(|update| update.before != update.after).collect();
    Ok(Found { upstream, commit, to, there, updates })
}

/// The commit, and the branch it goes to.
async fn source(with: &With, git: Git<'_>) -> Result<(String, String), KindError> {
    let folder = git.dir.display();
    let local = match &with.branch {
        Some(name) => git.reference(&branch(name)).await?.is_some().then(|| name.clone()),
        None => git.find(&["symbolic-ref", "-q", "--short", "HEAD"]).await?,
    };
    let name = match (&local, &with.branch) {
        (Some(local), _) => branch(local),
        (None, Some(name)) => name.clone(),
        (None, None) => "HEAD".into(),
    };
    let commit = git.commit(&name).await?.ok_or_else(|| {
        let shown = local.as_ref().or(with.branch.as_ref()).map_or("HEAD", String::as_str);
        KindError::new(format!("`{folder}` has no branch or commit `{shown}`"))
    })?;
    match with.to.clone().or(local) {
        Some(to) => Ok((commit, to)),
        None => {
            let shown = with.branch.as_deref().unwrap_or("HEAD");
            let message = format!("`{shown}` is no branch of `{folder}`, so it cannot be told which branch of the remote it is for");
            Err(KindError::new(message).help("write `to: BRANCH`"))
        }
    }
}

impl Found<'_> {
    fn out(&self, changed: bool) -> Out {
        let before = self.there.get(&branch(&self.to)).cloned().unwrap_or_default();
        Out { commit: self.commit.clone(), before, remote: self.upstream.url.clone(), branch: self.to.clone(), changed }
    }

    /// A tag is never moved along the way.
    fn check_tags(&self) -> Result<(), KindError> {
        let moved = self.updates.iter().find(|update| update.name.starts_with("refs/tags/") && update.before.is_some());
        let Some(update) = moved else { return Ok(()) };
        let (name, before) = (update.name.trim_start_matches("refs/tags/"), update.before.as_deref().unwrap_or_default());
        Err(KindError::new(format!("`{}` has a tag `{name}` already, and it is another one: {before}", self.upstream.url))
            .help("tags stay where they are; `git/tag` with `move: true` moves one"))
    }

    /// A branch that is ahead is as it should be; here only as far as this repository knows what it is ahead by.
    async fn drop_what_is_known_to_be_there(&mut self, force: Force) -> Result<(), KindError> {
        let name = branch(&self.to);
        let Some(there) = self.there.get(&name).filter(|_| force == Force::Never) else { return Ok(()) };
        if self.upstream.is_known_to_have(there, &self.commit).await? {
            self.updates.retain(|update| update.name != name);
        }
        Ok(())
    }

    /// Whether the branch at the remote has the commit in its history. Where it must move forward, it is checked that it can.
    async fn has_it_already(&self, force: Force) -> Result<bool, KindError> {
        let name = branch(&self.to);
        let Some(before) = self.updates.iter().find(|update| update.name == name).and_then(|update| update.before.clone()) else {
            return Ok(false);
        };
        // An undo needs it here, too.
        let on_top = self.upstream.has_commit(&name, &before, &self.commit).await?;
        match force {
            Force::Lease => Ok(false),
            Force::Never if on_top => Ok(true),
            Force::Never if self.upstream.git().contains(&self.commit, &before).await? => Ok(false),
            Force::Never => Err(self.diverged(&before)),
        }
    }

    fn diverged(&self, before: &str) -> KindError {
        let message = format!(
            "`{}` of `{}` is at {before} and has commits that {} does not have, so it cannot move forward",
            self.to, self.upstream.url, self.commit
        );
        KindError::new(message).help("fetch and merge them first; or `force: lease`, if they may be lost")
    }
}

#[cfg(test)]
mod tests;
