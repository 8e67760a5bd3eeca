//! A tag in the repository: what it says, how it is set, how that is taken back.

use super::With;
use crate::git::Git;
use crate::git::reference::tag;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// The tag in the repository. The object that it becomes is made with it: it is told by what it says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Local {
    pub folder: PathBuf,
    pub name: String,
    pub before: Option<String>,
    pub commit: String,
    /// The digest of its message.
    pub message: Option<String>,
}

/// What a tag says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub commit: String,
    /// Of an annotated tag, without its signature.
    pub message: Option<String>,
    pub signed: bool,
}

/// As git keeps a message: no white space at the ends of lines, no two empty lines, none at the ends.
pub(super) fn tidy(message: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in message.lines().map(str::trim_end) {
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n").trim_end().to_owned()
}

/// What stands for a message in a record.
pub(super) fn digest(message: String) -> String {
    hash::bytes(message.as_bytes())
}

/// What a tag that is here says.
pub(super) async fn said(git: Git<'_>, object: &str) -> Result<Said, KindError> {
    let commit = git.run(&["rev-parse", &format!("{object}^{{}}")]).await?;
    if git.run(&["cat-file", "-t", object]).await? != "tag" {
        return Ok(Said { commit, message: None, signed: false });
    }
    let text = git.run(&["cat-file", "tag", object]).await?;
    let body = text.split_once("\n\n").map_or("", |(_, body)| body);
    let (message, signed) = match body.find("-----BEGIN ") {
        Some(at) if at == 0 || body[..at].ends_with('\n') => (&body[..at], true),
        Some(_) | None => (body, false),
    };
    Ok(Said { commit, message: Some(tidy(message)), signed })
}

/// Only where it still is what it was.
pub(super) async fn set(git: Git<'_>, name: &str, to: &str, before: Option<&str>) -> Result<(), KindError> {
    let nothing = "0".repeat(to.len());
    git.run(&["update-ref", name, to, before.unwrap_or(&nothing)]).await.map(|_| ())
}

/// Makes an annotated tag, signed where that is wanted.
pub(super) async fn annotate(git: Git<'_>, with: &With, commit: &str, message: &str) -> Result<(), KindError> {
    let mut args = Git { log: None, ..git }.who().await?;
    args.extend(["tag", if with.sign { "-s" } else { "-a" }, "--cleanup=whitespace", "-m", message]);
    if with.moves {
        args.push("-f");
    }
    args.extend([with.name.as_str(), commit]);
    git.run(&args)
        .await
        .map(|_| ())
        .map_err(|e| if with.sign { e.help("can git sign here? See `git config gpg.format` and `user.signingKey`") } else { e })
}

impl Local {
    /// Puts back what was there, where the tag still is what this step made.
    ///
    /// # Errors
    /// When somebody moved it.
    pub async fn undo(&self, cx: &Cx) -> Result<(), KindError> {
        let git = Git::quiet(cx, &self.folder);
        if !self.folder.exists() {
            return Ok(());
        }
        let name = tag(&self.name);
        let now = git.reference(&name).await?;
        let Some(object) = now.clone().filter(|_| now != self.before) else { return Ok(()) };
        let said = said(git, &object).await?;
        if said.commit != self.commit || said.message.map(digest) != self.message {
            let message = format!("the tag `{}` of `{}` was moved by somebody after this step made it", self.name, self.folder.display());
            return Err(KindError::new(format!("{message}; it is left alone")).help("put it right by hand, then go on with the rollback"));
        }
        match &self.before {
            Some(before) => set(git, &name, before, Some(&object)).await,
            None => git.run(&["update-ref", "-d", &name, &object]).await.map(|_| ()),
        }
    }
}
