//! What a push changes at a remote, and how that is taken back.
//!
//! Each change is compared and set: git is told what was there when it was looked at, and pushes nothing where that
//! has changed. So nobody's push in between is lost, neither by the push nor by its undo.

use super::reference::short;
use super::refusal::refused;
use super::upstream::Upstream;
use super::{Git, repository};
use crate::period::Period;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use trees_runner::kind::{Cx, KindError};

/// A branch or tag of a remote and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Update {
    /// Its full name.
    pub name: String,
    /// What it is; `None`: it is not there.
    pub before: Option<String>,
    /// What it becomes; `None`: it goes.
    pub after: Option<String>,
}

/// How a push is taken back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pushed {
    folder: PathBuf,
    /// A remote of the repository's configuration, or a URL without what opens it.
    remote: String,
    /// Where it led.
    url: String,
    /// The step's `with` names the URL with what opens it, which no record holds.
    secret: bool,
    limit: Period,
    updates: Vec<Update>,
}

impl Upstream<'_> {
    /// Pushes all of it, or nothing.
    ///
    /// # Errors
    /// When the remote does not take it.
    pub async fn push(&self, updates: &[Update]) -> Result<(), KindError> {
        let text = |sha: &Option<String>| sha.clone().unwrap_or_default();
        let leases: Vec<String> = updates.iter().map(|u| format!("--force-with-lease={}:{}", u.name, text(&u.before))).collect();
        let changes: Vec<String> = updates.iter().map(|u| format!("{}:{}", text(&u.after), u.name)).collect();
        let mut args = vec!["push", "--porcelain", "--no-follow-tags"];
        if updates.len() > 1 {
            args.push("--atomic");
        }
        args.extend(leases.iter().map(String::as_str));
        args.push(&self.name);
        args.extend(changes.iter().map(String::as_str));
        let done = self.ask(&args).await?;
        if done.ok() { Ok(()) } else { Err(refused(self.cx(), &self.url, &done)) }
    }

    /// The record of a push that is about to be made.
    pub fn record(&self, updates: &[Update]) -> Pushed {
        let (remote, url) = (self.name.clone(), self.url.clone());
        Pushed { folder: self.dir.to_path_buf(), remote, url, secret: self.secret, limit: self.limit, updates: updates.to_vec() }
    }

    /// Whether a branch that is `there` at the remote has the commit `sha` in its history.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub async fn has_commit(&self, name: &str, there: &str, sha: &str) -> Result<bool, KindError> {
        if !self.git().has(there).await? {
            self.fetch(name).await?;
        }
        self.git().contains(there, sha).await
    }

    /// The same as far as this repository knows: nothing is fetched.
    ///
    /// # Errors
    /// When git cannot tell.
    pub async fn is_known_to_have(&self, there: &str, sha: &str) -> Result<bool, KindError> {
        Ok(self.git().has(there).await? && self.git().contains(there, sha).await?)
    }

    /// Whether a branch really has the commit that was pushed there, asked anew. Somebody may have pushed on top by
    /// now: what this repository does not know yet is that.
    ///
    /// # Errors
    /// When it does not.
    pub async fn keeps(&self, name: &str, sha: &str) -> Result<(), KindError> {
        let there = self.list(&[name.to_owned()]).await?.remove(name);
        let kept = match &there {
            Some(there) => !self.git().has(there).await? || self.git().contains(there, sha).await?,
            None => false,
        };
        if kept {
            return Ok(());
        }
        let (short, has) = (short(name), there.as_deref().unwrap_or("nothing"));
        Err(KindError::new(format!("`{short}` of `{}` is {has} right after {sha} was pushed there", self.url)))
    }
}

impl Pushed {
    /// Puts back what was there, where it still is what was pushed.
    ///
    /// # Errors
    /// When somebody pushed on top, or the remote does not take it.
    pub async fn undo(&self, cx: &Cx) -> Result<(), KindError> {
        let named = ["remote", "push"].into_iter().find_map(|field| cx.with.get(field)?.as_str());
        let remote = named.filter(|_| self.secret).unwrap_or(&self.remote);
        if repository(Git::quiet(cx, &self.folder)).await.is_err() {
            let message = format!("`{}` is gone, from which was pushed to `{}`; that is left as it is", self.folder.display(), self.url);
            return Err(KindError::new(message).help("put the remote's branches and tags back by hand, then go on with the rollback"));
        }
        let upstream = Upstream::find(Git::logged(cx, &self.folder), remote, self.limit).await?;
        if upstream.url != self.url {
            let message = format!("the remote `{}` leads to `{}` by now; it was pushed to `{}`", self.remote, upstream.url, self.url);
            return Err(KindError::new(message).help("let it lead there again, then go on with the rollback"));
        }
        self.put_back(cx, &upstream).await
    }

    async fn put_back(&self, cx: &Cx, upstream: &Upstream<'_>) -> Result<(), KindError> {
        let names: Vec<String> = self.updates.iter().map(|update| update.name.clone()).collect();
        let there = upstream.list(&names).await?;
        let (mut back, mut moved) = (Vec::new(), Vec::new());
        for update in &self.updates {
            let now = there.get(&update.name).cloned();
            if now == update.before {
                continue;
            }
            if now == update.after {
                back.push(Update { name: update.name.clone(), before: update.after.clone(), after: update.before.clone() });
            } else if is_on_top(upstream, update, now.as_deref()).await? {
                moved.push(short(&update.name));
            } else {
                cx.log(format!("`{}` of `{}` has nothing of this push any more and is left as it is", short(&update.name), self.url));
            }
        }
        for lost in back.iter().filter_map(|update| update.after.as_deref()) {
            if !upstream.git().has(lost).await? {
                let message = format!("the commit {lost}, which `{}` had before, is in `{}` no more", self.url, self.folder.display());
                return Err(KindError::new(message).help("fetch it from where it still is, then go on with the rollback"));
            }
        }
        if !back.is_empty() {
            upstream.push(&back).await?;
        }
        if moved.is_empty() {
            return Ok(());
        }
        let message = format!("somebody pushed to `{}` of `{}` on top of this step's push; it is left alone", moved.join("`, `"), self.url);
        Err(KindError::new(message).help("revert the commits there by hand, then go on with the rollback"))
    }
}

/// Whether what is there now was made from what this step pushed.
async fn is_on_top(upstream: &Upstream<'_>, update: &Update, now: Option<&str>) -> Result<bool, KindError> {
    match (now, &update.after) {
        (Some(now), Some(after)) if update.name.starts_with("refs/heads/") => upstream.has_commit(&update.name, now, after).await,
        (_, _) => Ok(false),
    }
}
