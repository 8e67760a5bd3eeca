//! Kinds that work with git repositories, through the system's git: the user's credentials, hooks,
//! signing and configuration hold.

pub mod clone;
pub mod commit;
pub mod merge;
pub mod push;
pub mod tag;
pub mod worktree;

mod pushed;
mod reference;
mod refusal;
mod remote;
mod tree;
mod upstream;

use crate::command::{self, Done};
use remote::without_password;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use trees_runner::kind::{Change, Cx, KindError, ReadCx};

/// git in a folder.
#[derive(Clone, Copy)]
struct Git<'a> {
    cx: &'a ReadCx,
    log: Option<&'a Cx>,
    dir: &'a Path,
}

impl<'a> Git<'a> {
    fn quiet(cx: &'a ReadCx, dir: &'a Path) -> Self {
        Self { cx, log: None, dir }
    }

    fn logged(cx: &'a Cx, dir: &'a Path) -> Self {
        Self { cx: &cx.read, log: Some(cx), dir }
    }

    /// Runs git, whatever its exit code.
    async fn ask(self, args: &[&str]) -> Result<Done, KindError> {
        command::run(self.cx, self.log, self.dir, "git", args).await
    }

    /// Runs git, which must succeed; gives standard output without the last newline.
    async fn run(self, args: &[&str]) -> Result<String, KindError> {
        let done = self.ask(args).await?;
        if done.ok() { Ok(done.out.trim_end().to_owned()) } else { Err(self.failed(args, &done)) }
    }

    /// Runs git; `None` where it fails.
    async fn find(self, args: &[&str]) -> Result<Option<String>, KindError> {
        let done = self.ask(args).await?;
        Ok(done.ok().then(|| done.out.trim_end().to_owned()))
    }

    /// The commit that a branch, tag or any other name of git leads to; `None` where it leads to none.
    async fn commit(self, name: &str) -> Result<Option<String>, KindError> {
        self.find(&["rev-parse", "-q", "--verify", &format!("{name}^{{commit}}")]).await
    }

    /// What a full name is.
    async fn reference(self, name: &str) -> Result<Option<String>, KindError> {
        self.find(&["rev-parse", "-q", "--verify", name]).await
    }

    /// Whether the object is here.
    async fn has(self, sha: &str) -> Result<bool, KindError> {
        Ok(self.find(&["cat-file", "-e", sha]).await?.is_some())
    }

    /// Whether the commit `old` is `new`, or in its history.
    async fn contains(self, new: &str, old: &str) -> Result<bool, KindError> {
        let args = ["merge-base", "--is-ancestor", old, new];
        let done = self.ask(&args).await?;
        match done.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            Some(_) | None => Err(self.failed(&args, &done)),
        }
    }

    /// What git must be told of who commits or tags: nothing where its configuration says it.
    async fn who(self) -> Result<Vec<&'static str>, KindError> {
        let known = self.find(&["var", "GIT_COMMITTER_IDENT"]).await?.is_some();
        let configured = known && self.find(&["config", "--get", "user.email"]).await?.is_some();
        Ok(if configured { Vec::new() } else { vec!["-c", "user.name=trees", "-c", "user.email=trees@localhost"] })
    }

    fn failed(self, args: &[&str], done: &Done) -> KindError {
        let said = if done.err.trim().is_empty() { &done.out } else { &done.err };
        let code = done.code.map_or_else(|| "was killed".into(), |code| format!("exited with {code}"));
        let asked: Vec<String> = args.iter().map(|arg| without_password(arg, &self.cx.mask)).collect();
        let message = format!("`git {}` in `{}` {code}: {}", asked.join(" "), self.dir.display(), self.cx.head(said, 800));
        KindError { transient: passing(said), ..KindError::new(message) }
    }
}

/// Failures of the network, which may pass.
fn passing(said: &str) -> bool {
    [
        "Could not resolve host",
        "Failed to connect",
        "Connection refused",
        "Connection timed out",
        "Connection reset",
        "Connection closed",
        "Network is unreachable",
        "No route to host",
        "Operation timed out",
        "unexpected disconnect",
        "early EOF",
        "The requested URL returned error: 5",
    ]
    .iter()
    .any(|part| said.contains(part))
}

/// The folder of `with`, which must be in a repository.
async fn repository(git: Git<'_>) -> Result<(), KindError> {
    if !git.dir.is_dir() {
        return Err(KindError::new(format!("no folder `{}`", git.dir.display())));
    }
    git.run(&["rev-parse", "--git-dir"]).await.map(|_| ())
}

fn change(field: impl Into<String>, old: impl Serialize, new: impl Serialize) -> Change {
    Change::new(field, json!(old), json!(new))
}

/// Whether the folder itself is a repository or a work tree (not a folder inside one).
fn is_repository(dir: &Path) -> bool {
    dir.join(".git").exists()
}

fn empty_or_missing(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(!dir.exists(), |mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use crate::bench::Bench;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::Arc;
    use trees_core::event::Json;
    use trees_runner::kind::{BoxFuture, Cx, Kind, KindError, Port};

    /// What somebody else does right when an intent is recorded: after the look, before the change.
    struct Meanwhile<F>(F);

    impl<F: Fn() + Send + Sync> Port for Meanwhile<F> {
        fn log(&self, _line: &str) {}

        fn progress(&self, _fraction: Option<f64>, _text: &str) {}

        fn intend(&self, _record: Json) -> BoxFuture<'static, Result<(), KindError>> {
            (self.0)();
            Box::pin(async { Ok(()) })
        }
    }

    impl Bench {
        /// Acts once, while somebody else does something in between.
        pub async fn apply_while<K: Kind>(&self, with: Json, meanwhile: impl Fn() + Send + Sync + 'static) -> Result<K::Out, KindError> {
            let cx = Cx { port: Arc::new(Meanwhile(meanwhile)), ..self.cx() };
            K::apply(&serde_json::from_value(with).unwrap(), &cx).await
        }

        /// All files of a folder and what is in them.
        pub fn files(&self, dir: &str) -> BTreeMap<PathBuf, Vec<u8>> {
            let (mut folders, mut files) = (vec![self.path(dir)], BTreeMap::new());
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        let content = std::fs::read(&path).unwrap();
                        files.insert(path, content);
                    }
                }
            }
            files
        }

        /// Makes a hook of the remote `far.git`.
        pub fn hook(&self, name: &str, text: &str) {
            let path = self.path(format!("far.git/hooks/{name}"));
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        /// Runs git in a folder of the bench; it must succeed.
        pub fn git(&self, dir: &str, args: &[&str]) -> String {
            let mut command = Command::new("git");
            command.args(args).current_dir(self.path(dir)).env_clear().envs(self.read().env.iter().map(|(n, v)| (n, v)));
            let who = [("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@b"), ("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@b")];
            let done = command.envs(who).output().unwrap();
            assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        }

        /// A repository with one commit on `main`; gives the commit.
        pub fn repository(&self, dir: &str) -> String {
            self.write(&format!("{dir}/a.txt"), "one\n");
            self.git(dir, &["init", "-q", "-b", "main"]);
            self.commit(dir, "one")
        }

        pub fn commit(&self, dir: &str, message: &str) -> String {
            self.git(dir, &["add", "-A"]);
            self.git(dir, &["commit", "-q", "--allow-empty", "-m", message]);
            self.git(dir, &["rev-parse", "HEAD"])
        }
    }

    #[tokio::test]
    async fn a_secret_is_taken_out_of_a_message_before_it_is_cut() {
        let secret = "canary-0123456789abcdef";
        let bench = Bench::knowing(secret);
        bench.repository("r");
        let (cx, dir) = (bench.read(), bench.path("r"));
        for length in 700..800 {
            let name = format!("{}{secret}", "x".repeat(length));
            let wrong = super::Git::quiet(&cx, &dir).run(&["rev-parse", "--verify", &name]).await.unwrap_err();
            let said = wrong.message.rsplit_once("128: ").unwrap().1.to_owned();
            assert!(!said.contains("canary-0123"), "{said}");
        }
    }
}
