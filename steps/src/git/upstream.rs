//! A remote that a repository pushes to: which one it is, what it has, and how it is asked without anybody at a
//! terminal.
//!
//! What is changed there, and taken back, stands in [`super::pushed`].

use super::Git;
use super::refusal::unreached;
use super::remote::{reaching, without_password};
use crate::command::Done;
use crate::period::Period;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use trees_core::units;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// A remote, from a repository's folder.
pub(super) struct Upstream<'a> {
    pub dir: &'a Path,
    log: Option<&'a Cx>,
    /// With what opens the remote in its environment.
    cx: ReadCx,
    /// What git pushes to: a remote of its configuration, or the URL without what opens it.
    pub name: String,
    /// What git asks and fetches from.
    asked: String,
    /// Where it leads, without what opens it.
    pub url: String,
    /// It was given with what opens it, or holds a secret otherwise.
    pub secret: bool,
    /// For each word with it.
    pub limit: Period,
}

impl<'a> Upstream<'a> {
    /// The remote of that name, or at that address.
    ///
    /// # Errors
    /// When there is no remote of that name, or it leads to several places.
    pub async fn find(git: Git<'a>, remote: &str, limit: Period) -> Result<Self, KindError> {
        let quiet = Git { log: None, ..git };
        // An address may hold what opens it, which stands in no command line.
        let may_be_name = !remote.contains(':');
        let urls = if may_be_name { quiet.find(&["remote", "get-url", "--push", "--all", remote]).await? } else { None };
        let configured = urls.is_some();
        let address = match &urls {
            Some(urls) if urls.lines().count() > 1 => {
                let message = format!("the remote `{remote}` of `{}` pushes to several addresses", git.dir.display());
                return Err(KindError::new(message).help("give one of them as `remote`"));
            }
            Some(url) => url.clone(),
            None => address(quiet, remote).await?,
        };
        let url = without_password(&address, &git.cx.mask);
        let fetched = if configured { quiet.find(&["remote", "get-url", remote]).await? } else { None };
        let asked = if fetched.as_ref() == Some(&address) { remote.to_owned() } else { url.clone() };
        let secret = !configured && (url != address || git.cx.mask.finds(&url));
        let cx = unattended(quiet, reaching(&address, git.cx)).await?;
        let name = if configured { remote.to_owned() } else { url.clone() };
        Ok(Self { dir: git.dir, log: git.log, cx, name, asked, url, secret, limit })
    }

    /// Without anything in the log.
    pub fn git(&self) -> Git<'_> {
        Git { cx: &self.cx, log: None, dir: self.dir }
    }

    /// What runs with it, for messages.
    pub fn cx(&self) -> &ReadCx {
        &self.cx
    }

    /// Runs git, whatever its exit code, within the limit.
    ///
    /// # Errors
    /// When it cannot be started, takes too long, or the attempt ends first.
    pub async fn ask(&self, args: &[&str]) -> Result<Done, KindError> {
        self.within(self.log, args).await
    }

    async fn within(&self, log: Option<&Cx>, args: &[&str]) -> Result<Done, KindError> {
        let cancel = self.cx.cancel.child_token();
        let cx = ReadCx { cancel: cancel.clone(), ..self.cx.clone() };
        let work = Git { cx: &cx, log, dir: self.dir }.ask(args);
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(self.limit.0) => cancel.cancel(),
        }
        let late = |_| KindError::transient(format!("`{}`: no answer within {}", self.url, units::show(self.limit.0)));
        work.await.map_err(late)
    }

    /// What these names are there: commits and tag objects; of an annotated tag `NAME^{}` is what it names.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn list(&self, names: &[String]) -> Result<BTreeMap<String, String>, KindError> {
        let wanted: Vec<String> = names.iter().flat_map(|name| [name.clone(), format!("{name}^{{}}")]).collect();
        let args: Vec<&str> = ["ls-remote", "-q", &self.asked].into_iter().chain(wanted.iter().map(String::as_str)).collect();
        let done = self.within(None, &args).await?;
        if !done.ok() {
            return Err(unreached(&self.cx, &format!("cannot ask `{}` what it has", self.url), &done));
        }
        let entry = |line: &str| line.split_once('\t').map(|(sha, name)| (name.to_owned(), sha.to_owned()));
        Ok(done.out.lines().filter_map(entry).filter(|(name, _)| wanted.contains(name)).collect())
    }

    /// Brings what a name is there into the repository's objects; none of its branches and tags changes.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub async fn fetch(&self, name: &str) -> Result<(), KindError> {
        let done = self.ask(&["fetch", "-q", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", &self.asked, name]).await?;
        if done.ok() { Ok(()) } else { Err(unreached(&self.cx, &format!("cannot fetch from `{}`", self.url), &done)) }
    }
}

/// What is no configured remote is an address, or a folder relative to the working folder.
async fn address(git: Git<'_>, remote: &str) -> Result<String, KindError> {
    let folder = git.cx.path(remote);
    if folder.exists() {
        return Ok(folder.display().to_string());
    }
    if remote.contains([':', '/']) {
        return Ok(remote.to_owned());
    }
    let there = git.run(&["remote"]).await?;
    let there = if there.is_empty() { "none".into() } else { there.lines().collect::<Vec<_>>().join(", ") };
    Err(KindError::new(format!("`{}` has no remote `{remote}`; it has: {there}", git.dir.display())).help("give one of them, or a URL"))
}

/// Nobody is there to answer a question of ssh. A command of the user's own choice for it is left as it is.
async fn unattended(git: Git<'_>, cx: ReadCx) -> Result<ReadCx, KindError> {
    let chosen = cx.env.iter().any(|(name, _)| name == "GIT_SSH_COMMAND" || name == "GIT_SSH");
    if chosen || git.find(&["config", "--get", "core.sshCommand"]).await?.is_some() {
        return Ok(cx);
    }
    let mut env = Vec::clone(&cx.env);
    env.push(("GIT_SSH_COMMAND".into(), "ssh -o BatchMode=yes".into()));
    Ok(ReadCx { env: Arc::new(env), ..cx })
}

#[cfg(test)]
mod tests {
    use super::{Git, unattended};
    use crate::bench::Bench;

    #[tokio::test]
    async fn ssh_asks_nothing_unless_somebody_chose_how_it_runs() {
        let bench = Bench::new();
        bench.repository("r");
        let (cx, dir) = (bench.read(), bench.path("r"));
        let chosen = || async {
            let cx = unattended(Git::quiet(&cx, &dir), cx.clone()).await.unwrap();
            cx.env.iter().find(|(name, _)| name == "GIT_SSH_COMMAND").map(|(_, command)| command.clone())
        };
        assert_eq!(chosen().await.unwrap(), "ssh -o BatchMode=yes");
        bench.git("r", &["config", "core.sshCommand", "mine"]);
        assert_eq!(chosen().await, None);
    }
}
