//! `git/commit`: what changed in a folder, committed.

use super::{Git, is_repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `git/commit`.
pub struct Commit;

/// What `git/commit` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The repository's folder, relative to the working folder.
    #[serde(default = "here")]
    pub dir: String,
    /// The message.
    pub message: String,
    /// Files and folders to commit, relative to `dir`; without, all that changed.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Make `dir` a repository if it is none itself.
    #[serde(default)]
    pub init: bool,
    /// `Name <mail>`; without, git's own configuration, and where that is silent `trees <trees@localhost>`.
    #[serde(default)]
    pub author: Option<String>,
}

fn here() -> String {
    ".".into()
}

/// What `git/commit` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The commit that HEAD names.
    pub sha: String,
    /// The branch; empty where none is checked out.
    pub branch: String,
}

/// How a commit is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    dir: PathBuf,
    /// The folder was no repository.
    made: bool,
    /// HEAD before; `None`: there was no commit.
    head: Option<String>,
    message: String,
}

impl Kind for Commit {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "git/commit",
        summary: "Commit what changed",
        doc: "Adds `paths`, or all that changed and is not ignored, and commits. Where nothing changed nothing is done, and the outputs \
              name the commit that is there. With `init: true` a folder that is no repository of its own becomes one, also inside \
              another repository; its branch is `main` unless git's configuration says otherwise. The user's hooks and signing hold.\n\n\
              Taken back: HEAD goes back to the commit before and the files stay as they are; a repository that this step made is \
              removed, its files stay. When others committed on top, nothing is done and the undo says so.",
        example: "tree: snapshot\nsteps:\n  commit:\n    uses: git/commit\n    with: { dir: site, init: true, message: Snapshot, author: \"Ada <ada@example.org>\" }\n",
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
        let mut wrong = Vec::new();
        if with.message.trim().is_empty() {
            wrong.push("message: it is empty".into());
        }
        if let Some(author) = with.author.as_ref().filter(|author| person(author).is_none()) {
            wrong.push(format!("author: `{author}` is not of the form `Name <mail>`"));
        }
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let dir = cx.path(&with.dir);
        if !dir.is_dir() || with.init && !is_repository(&dir) {
            return Ok(Observation::Absent);
        }
        let git = Git::quiet(cx, &dir);
        let changed = changed(git, with).await?;
        Ok(match (changed.is_empty(), head(git).await?) {
            (true, Some(sha)) => Observation::Satisfied(out(git, sha).await?),
            (true, None) => Observation::Absent,
            (false, _) => Observation::Differs(changed),
        })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let dir = cx.path(&with.dir);
        if !dir.is_dir() {
            return Err(KindError::new(format!("no folder `{}` to commit", dir.display())));
        }
        let git = Git::logged(cx, &dir);
        let made = with.init && !is_repository(&dir);
        let before = if made { None } else { repository_head(git).await? };
        if !made && changed(git, with).await?.is_empty() {
            let sha =
                before.ok_or_else(|| KindError::new(format!("nothing to commit in `{}`, and there is no commit yet", dir.display())))?;
            return out(git, sha).await;
        }
        cx.intend(Record { dir: dir.clone(), made, head: before, message: with.message.trim().to_owned() }).await?;
        if made {
            init(git).await?;
        }
        commit(git, with).await?;
        let sha = git.run(&["rev-parse", "HEAD"]).await?;
        cx.log(format!("committed {sha}"));
        out(git, sha).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        if !is_repository(&record.dir) && (record.made || !record.dir.exists()) {
            return Ok(());
        }
        let git = Git::logged(cx, &record.dir);
        let now = head(git).await?;
        if now != record.head {
            let above = commits_above(git, &record).await?;
            if above.len() != 1 {
                return Err(KindError::new(format!(
                    "`{}` has other commits than the one this step made; it is left alone",
                    record.dir.display()
                ))
                .help("take the commit back by hand, then go on with the rollback"));
            }
        }
        if record.made {
            return remove_repository(&record.dir);
        }
        match (&record.head, now) {
            (before, now) if *before == now => Ok(()),
            (Some(before), _) => git.run(&["reset", "-q", "--mixed", before]).await.map(|_| ()),
            (None, _) => {
                git.run(&["update-ref", "-d", "HEAD"]).await?;
                git.run(&["rm", "-r", "-q", "--cached", "."]).await.map(|_| ())
            }
        }
    }
}

/// `Name <mail>` in two.
fn person(text: &str) -> Option<(&str, &str)> {
    let (name, mail) = text.trim().strip_suffix('>')?.split_once('<')?;
    let (name, mail) = (name.trim(), mail.trim());
    (!name.is_empty() && !mail.is_empty() && !text.contains(['\n', '\0']) && !mail.contains('<')).then_some((name, mail))
}

async fn head(git: Git<'_>) -> Result<Option<String>, KindError> {
    git.find(&["rev-parse", "-q", "--verify", "HEAD"]).await
}

async fn repository_head(git: Git<'_>) -> Result<Option<String>, KindError> {
    git.run(&["rev-parse", "--git-dir"]).await.map_err(|e| e.help("write `init: true` to make it a repository"))?;
    head(git).await
}

async fn out(git: Git<'_>, sha: String) -> Result<Out, KindError> {
    let branch = git.find(&["symbolic-ref", "-q", "--short", "HEAD"]).await?.unwrap_or_default();
    Ok(Out { sha, branch })
}

fn pathspec(with: &With) -> Vec<&str> {
    let paths = with.paths.iter().map(String::as_str);
    if with.paths.is_empty() { vec!["--", "."] } else { ["--"].into_iter().chain(paths).collect() }
}

/// What a commit would take in.
async fn changed(git: Git<'_>, with: &With) -> Result<Vec<Change>, KindError> {
    let args: Vec<&str> =
        ["status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all"].into_iter().chain(pathspec(with)).collect();
    let status = git.run(&args).await?;
    let change = |entry: &str| {
        let (state, path) = entry.split_at_checked(3)?;
        let old = if state.contains('?') || state.contains('A') { Json::Null } else { json!("committed") };
        let new = if state.contains('D') { Json::Null } else { json!("changed") };
        Some(Change::new(path, old, new))
    };
    Ok(status.split('\0').filter_map(change).collect())
}

async fn init(git: Git<'_>) -> Result<(), KindError> {
    let configured = git.find(&["config", "--get", "init.defaultBranch"]).await?.filter(|name| !name.is_empty());
    git.run(&["init", "-q", "-b", configured.as_deref().unwrap_or("main")]).await.map(|_| ())
}

async fn commit(git: Git<'_>, with: &With) -> Result<(), KindError> {
    let add: Vec<&str> = ["add", "-A"].into_iter().chain(pathspec(with)).collect();
    git.run(&add).await?;
    let configured =
        git.find(&["var", "GIT_AUTHOR_IDENT"]).await?.is_some() && git.find(&["config", "--get", "user.email"]).await?.is_some();
    let (name, mail) = with.author.as_deref().and_then(person).unwrap_or(("trees", "trees@localhost"));
    let (user_name, user_mail) = (format!("user.name={name}"), format!("user.email={mail}"));
    let author = format!("--author={name} <{mail}>");
    let mut args = Vec::new();
    if !configured {
        args.extend(["-c", &user_name, "-c", &user_mail]);
    }
    args.extend(["commit", "-q", "-m", &with.message]);
    if with.author.is_some() {
        args.push(&author);
    }
    if !with.paths.is_empty() {
        args.extend(pathspec(with));
    }
    git.run(&args).await.map(|_| ())
}

/// The commits since the record; must be the one that was made.
async fn commits_above(git: Git<'_>, record: &Record) -> Result<Vec<String>, KindError> {
    let range = record.head.as_ref().map_or_else(|| "HEAD".to_owned(), |head| format!("{head}..HEAD"));
    let commits = git.run(&["rev-list", "--max-count=2", &range]).await?;
    let message = git.run(&["log", "-1", "--format=%B"]).await?;
    let ours = message.trim() == record.message;
    Ok(commits.lines().filter(|_| ours).map(str::to_owned).collect())
}

fn remove_repository(dir: &Path) -> Result<(), KindError> {
    let git = dir.join(".git");
    std::fs::remove_dir_all(&git).map_err(|e| KindError::new(format!("cannot remove `{}`: {e}", git.display())))
}

#[cfg(test)]
mod tests {
    use super::{Commit, person};
    use crate::bench::Bench;
    use serde_json::{Value, json};

    fn with(extra: Value) -> Value {
        let mut with = json!({ "dir": "r", "message": "second", "author": "Ada L <ada@example.org>" });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with
    }

    #[tokio::test]
    async fn commits_once_and_goes_back_keeping_the_files() {
        let bench = Bench::new();
        let first = bench.repository("r");
        bench.write("r/b.txt", "two\n");
        assert_eq!(bench.drift::<Commit>(with(json!({}))).await, ["b.txt"]);
        let (out, acted) = bench.run::<Commit>(with(json!({}))).await.unwrap();
        assert!(acted && out.sha != first && out.branch == "main");
        assert_eq!(bench.git("r", &["log", "-1", "--format=%an %ae %cn: %s"]), "Ada L ada@example.org Ada L: second");
        assert_eq!(bench.run::<Commit>(with(json!({}))).await.unwrap(), (out, false));
        bench.undo::<Commit>().await.unwrap();
        assert_eq!(bench.git("r", &["rev-parse", "HEAD"]), first);
        assert_eq!((bench.text("r/b.txt").as_str(), bench.git("r", &["status", "--short"]).as_str()), ("two\n", "?? b.txt"));
    }

    #[tokio::test]
    async fn a_repository_is_made_inside_another_and_removed_again() {
        let bench = Bench::new();
        bench.repository(".");
        bench.write("r/x.txt", "x");
        let mut with = with(json!({ "init": true }));
        with.as_object_mut().unwrap().remove("author");
        let (out, _) = bench.run::<Commit>(with.clone()).await.unwrap();
        assert_eq!(bench.git("r", &["rev-parse", "--show-toplevel"]), bench.path("r").canonicalize().unwrap().display().to_string());
        assert_eq!(bench.git("r", &["log", "--format=%an <%ae>"]), "trees <trees@localhost>");
        assert_eq!(bench.run::<Commit>(with).await.unwrap(), (out, false));
        bench.undo::<Commit>().await.unwrap();
        assert!(!bench.path("r/.git").exists() && bench.text("r/x.txt") == "x");
    }

    #[tokio::test]
    async fn what_others_did_is_never_taken_back() {
        let bench = Bench::new();
        bench.repository("r");
        bench.write("r/b.txt", "two\n");
        bench.run::<Commit>(with(json!({}))).await.unwrap();
        let theirs = bench.commit("r", "theirs");
        let wrong = bench.undo::<Commit>().await.unwrap_err();
        assert!(wrong.message.contains("other commits"), "{}", wrong.message);
        assert_eq!(bench.git("r", &["rev-parse", "HEAD"]), theirs);
    }

    #[tokio::test]
    async fn killed_between_the_intent_and_the_commit() {
        let bench = Bench::new();
        bench.write("r/x.txt", "x");
        bench.git("r", &["init", "-q"]);
        bench.run::<Commit>(with(json!({}))).await.unwrap();
        bench.undo::<Commit>().await.unwrap();
        assert_eq!(bench.git("r", &["status", "--short"]), "?? x.txt", "back to a repository without a commit");
        bench.undo::<Commit>().await.unwrap();
        bench.run::<Commit>(with(json!({}))).await.unwrap();
        assert_eq!(bench.git("r", &["rev-list", "--count", "HEAD"]), "1");
    }

    #[tokio::test]
    async fn only_the_paths_named_and_the_users_configuration() {
        let bench = Bench::new();
        bench.repository("r");
        bench.git("r", &["config", "user.name", "Configured"]);
        bench.git("r", &["config", "user.email", "c@example.org"]);
        bench.write("r/b.txt", "b");
        bench.write("r/c.txt", "c");
        let (_, acted) = bench.run::<Commit>(json!({ "dir": "r", "message": "m", "paths": ["b.txt"] })).await.unwrap();
        assert!(acted);
        assert_eq!(bench.git("r", &["status", "--short"]), "?? c.txt");
        assert_eq!(bench.git("r", &["log", "-1", "--format=%an"]), "Configured");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let bench = Bench::new();
        bench.path("r");
        for (with, expected) in [
            (with(json!({})), "no folder `"),
            (with(json!({ "message": " " })), "message: it is empty"),
            (with(json!({ "author": "ada" })), "author: `ada` is not of the form"),
            (with(json!({ "dir": ".", "init": false })), "not a git repository"),
        ] {
            let wrong = bench.run::<Commit>(with).await.unwrap_err().message;
            assert!(wrong.contains(expected), "{expected}: {wrong}");
        }
        assert_eq!(person("A B <a@b>"), Some(("A B", "a@b")));
        assert_eq!(person("<a@b>"), None);
    }
}
