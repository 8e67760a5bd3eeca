//! `git/clone`: a repository's folder at a commit.

use super::remote::{reaching, without_password};
use super::{Git, empty_or_missing, is_repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `git/clone`.
pub struct Clone;

/// What `git/clone` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// What git can fetch from: a URL, `user@host:path`, or a folder relative to the working folder.
    pub url: String,
    /// The folder, relative to the working folder.
    pub dir: String,
    /// A branch, tag or full commit; without, the branch that the remote's HEAD names.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
    /// Fetch only so many commits.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub depth: Option<u32>,
}

/// What `git/clone` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The commit that is checked out.
    pub sha: String,
    /// The branch; empty where none is checked out.
    pub branch: String,
}

/// How a clone is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    dir: PathBuf,
    /// HEAD before, and the branch; `None`: the folder was made.
    before: Option<(String, Option<String>)>,
}

/// What the remote has under the name asked for.
struct Wanted {
    sha: String,
    /// The branch, if it is one.
    branch: Option<String>,
}

impl Kind for Clone {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "git/clone",
        summary: "Clone a repository, or bring a clone to a commit",
        doc: "Asks the remote which commit `ref` is and makes `dir` a clone at it: a new one is made aside and renamed; an existing one of \
              the same remote is fetched and moved, a branch only forward. Files changed by hand or commits of your own are never \
              overwritten: the step fails and names them. A clone that is there already is left as it is. Credentials come from git's own \
              helpers and the SSH agent; nothing prompts.\n\n\
              Taken back: the folder that it made is removed, or the commit that was checked out comes back.",
        example: "tree: fetch\nsteps:\n  source:\n    uses: git/clone\n    with: { url: https://example.org/service.git, dir: src/service, ref: v1.2.0, depth: 1 }\n",
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
        let reference = with.reference.as_deref().and_then(|reference| bad("ref", reference));
        [bad("url", &with.url), bad("dir", &with.dir), reference].into_iter().flatten().collect()
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let dir = cx.path(&with.dir);
        if !is_repository(&dir) {
            return Ok(Observation::Absent);
        }
        let git = Git::quiet(cx, &dir);
        let mut changes = Vec::new();
        let remote = remote(git).await?;
        let remote = remote.as_deref().map(|url| without_password(url, &cx.mask));
        if remote.as_deref() != Some(&address(with, cx)) {
            let shown = remote;
            changes.push(Change::new("url", json!(shown), json!(without_password(&with.url, &cx.mask))));
        }
        let wanted = wanted(with, cx).await?;
        let now = git.find(&["rev-parse", "-q", "--verify", "HEAD"]).await?;
        if now.as_deref() != Some(&wanted.sha) {
            changes.push(Change::new("sha", json!(now), json!(wanted.sha)));
        }
        Ok(if changes.is_empty() { Observation::Satisfied(out(git).await?) } else { Observation::Differs(changes) })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let dir = cx.path(&with.dir);
        let wanted = wanted(with, cx).await?;
        if is_repository(&dir) {
            update(with, cx, &dir, &wanted).await?;
        } else if empty_or_missing(&dir) {
            cx.intend(Record { dir: dir.clone(), before: None }).await?;
            make(with, cx, &dir, &wanted).await?;
        } else {
            return Err(KindError::new(format!("`{}` is in the way: it is no repository and not empty", dir.display())));
        }
        out(Git::quiet(cx, &dir)).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        if !record.dir.exists() {
            return Ok(());
        }
        let git = Git::logged(cx, &record.dir);
        match record.before {
            None => fs::remove_dir_all(&record.dir).map_err(|e| KindError::new(format!("cannot remove `{}`: {e}", record.dir.display()))),
            Some((sha, None)) => git.run(&["checkout", "-q", "--detach", &sha]).await.map(|_| ()),
            Some((sha, Some(branch))) => {
                git.run(&["checkout", "-q", &branch]).await?;
                git.run(&["reset", "-q", "--keep", &sha]).await.map(|_| ())
            }
        }
    }
}

/// The URL as git gets it: a folder's path made absolute, and no password or token in it.
fn address(with: &With, cx: &ReadCx) -> String {
    let folder = cx.path(&with.url);
    if folder.exists() { folder.display().to_string() } else { without_password(&with.url, &cx.mask) }
}

async fn remote(git: Git<'_>) -> Result<Option<String>, KindError> {
    git.find(&["config", "--get", "remote.origin.url"]).await
}

async fn out(git: Git<'_>) -> Result<Out, KindError> {
    let branch = git.find(&["symbolic-ref", "-q", "--short", "HEAD"]).await?.unwrap_or_default();
    Ok(Out { sha: git.run(&["rev-parse", "HEAD"]).await?, branch })
}

fn is_commit(reference: &str) -> bool {
    reference.len() == 40 && reference.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Asks the remote; a full commit needs no asking.
async fn wanted(with: &With, cx: &ReadCx) -> Result<Wanted, KindError> {
    let name = with.reference.as_deref().unwrap_or("HEAD");
    if is_commit(name) {
        return Ok(Wanted { sha: name.to_lowercase(), branch: None });
    }
    let reaching = reaching(&with.url, cx);
    let listed = Git::quiet(&reaching, &cx.dir).run(&["ls-remote", "--symref", &address(with, cx), name, &format!("{name}^{{}}")]).await?;
    let sha_of = |wanted: &str| {
        listed
            .lines()
            .filter(|line| !line.starts_with("ref: "))
            .find_map(|line| line.split_once('\t').filter(|(_, name)| *name == wanted).map(|(sha, _)| sha.to_owned()))
    };
    let head = listed.lines().find_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"));
    let found = match with.reference {
        None => sha_of("HEAD").map(|sha| Wanted { sha, branch: head.map(str::to_owned) }),
        Some(_) => {
            let branch = sha_of(&format!("refs/heads/{name}")).map(|sha| Wanted { sha, branch: Some(name.into()) });
            let tag = || sha_of(&format!("refs/tags/{name}^{{}}")).or_else(|| sha_of(&format!("refs/tags/{name}")));
            branch.or_else(|| tag().map(|sha| Wanted { sha, branch: None }))
        }
    };
    found.ok_or_else(|| KindError::new(format!("`{}` has no branch or tag `{name}`", without_password(&with.url, &cx.mask))))
}

async fn fetch(with: &With, git: Git<'_>, wanted: &Wanted) -> Result<(), KindError> {
    let depth = with.depth.map(|depth| format!("--depth={depth}"));
    let what = match (&wanted.branch, &with.reference) {
        (Some(branch), _) => format!("+refs/heads/{branch}:refs/remotes/origin/{branch}"),
        (None, Some(reference)) if !is_commit(reference) => format!("+refs/tags/{reference}:refs/tags/{reference}"),
        (None, _) => wanted.sha.clone(),
    };
    let mut args = vec!["fetch", "-q"];
    args.extend(depth.as_deref());
    args.extend(["origin", &what]);
    Git { cx: &reaching(&with.url, git.cx), ..git }.run(&args).await.map(|_| ())
}

/// Clones aside and renames.
async fn make(with: &With, cx: &Cx, dir: &Path, wanted: &Wanted) -> Result<(), KindError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = dir.with_file_name(format!(".{name}.trees-partial"));
    let io = |what: &str, e: std::io::Error| KindError::new(format!("cannot {what} `{}`: {e}", aside.display()));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|e| io("remove", e))?;
    }
    fs::create_dir_all(&aside).map_err(|e| io("make", e))?;
    let git = Git::logged(cx, &aside);
    git.run(&["init", "-q", "-b", wanted.branch.as_deref().unwrap_or("main")]).await?;
    git.run(&["remote", "add", "origin", &address(with, cx)]).await?;
    fetch(with, git, wanted).await?;
    check_out(git, wanted).await?;
    if dir.exists() {
        fs::remove_dir(dir).map_err(|e| io("replace", e))?;
    }
    fs::rename(&aside, dir).map_err(|e| io("rename", e))
}

async fn check_out(git: Git<'_>, wanted: &Wanted) -> Result<(), KindError> {
    let Some(branch) = &wanted.branch else { return git.run(&["checkout", "-q", "--detach", &wanted.sha]).await.map(|_| ()) };
    let upstream = format!("origin/{branch}");
    if git.find(&["rev-parse", "-q", "--verify", &format!("refs/heads/{branch}")]).await?.is_none() {
        return git.run(&["checkout", "-q", "-B", branch, "--track", &upstream]).await.map(|_| ());
    }
    git.run(&["checkout", "-q", branch]).await?;
    git.run(&["merge", "-q", "--ff-only", &wanted.sha])
        .await
        .map(|_| ())
        .map_err(|e| e.help("the clone has commits of its own: push or remove them"))
}

async fn update(with: &With, cx: &Cx, dir: &Path, wanted: &Wanted) -> Result<(), KindError> {
    let git = Git::logged(cx, dir);
    let remote = remote(git).await?.as_deref().map(|url| without_password(url, &cx.mask));
    if remote.as_deref() != Some(&address(with, cx)) {
        let shown = remote.unwrap_or_else(|| "nothing".into());
        return Err(KindError::new(format!("`{}` is a clone of {shown}; it is left alone", dir.display()))
            .help("give another `dir`, or remove that folder"));
    }
    let dirty = git.run(&["status", "--porcelain", "--untracked-files=no"]).await?;
    if !dirty.is_empty() {
        return Err(KindError::new(format!("`{}` has changes that are not committed:\n{dirty}", dir.display())).help("commit or undo them"));
    }
    let now = git.find(&["rev-parse", "-q", "--verify", "HEAD"]).await?;
    let branch = git.find(&["symbolic-ref", "-q", "--short", "HEAD"]).await?;
    cx.intend(Record { dir: dir.to_path_buf(), before: now.map(|sha| (sha, branch)) }).await?;
    fetch(with, git, wanted).await?;
    check_out(git, wanted).await
}

#[cfg(test)]
mod tests {
    use super::Clone;
    use crate::bench::Bench;
    use serde_json::{Value, json};
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    fn with(reference: Option<&str>) -> Value {
        json!({ "url": "r", "dir": "deep/c", "ref": reference })
    }

    #[tokio::test]
    async fn clones_once_follows_the_branch_and_goes_back() {
        let bench = Bench::new();
        let first = bench.repository("r");
        let (out, acted) = bench.run::<Clone>(with(None)).await.unwrap();
        assert!(acted && bench.text("deep/c/a.txt") == "one\n");
        assert_eq!((&out.sha, out.branch.as_str()), (&first, "main"));
        assert_eq!(bench.run::<Clone>(with(None)).await.unwrap(), (out, false));
        bench.write("r/a.txt", "two\n");
        let second = bench.commit("r", "two");
        assert_eq!(bench.drift::<Clone>(with(Some("main"))).await, ["sha"]);
        assert_eq!(bench.run::<Clone>(with(Some("main"))).await.unwrap().0.sha, second);
        assert_eq!(bench.text("deep/c/a.txt"), "two\n");
        let records = bench.intents();
        <Clone as trees_runner::kind::Kind>::undo(&records[1], &bench.cx()).await.unwrap();
        assert_eq!(bench.git("deep/c", &["rev-parse", "HEAD"]), first);
        bench.undo::<Clone>().await.unwrap();
        assert!(!bench.path("deep/c").exists());
    }

    #[tokio::test]
    async fn a_tag_and_a_commit_and_a_shallow_one() {
        let bench = Bench::new();
        let first = bench.repository("r");
        bench.git("r", &["tag", "-a", "-m", "x", "v1"]);
        bench.git("r", &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        bench.commit("r", "two");
        for reference in ["v1", first.as_str()] {
            let (out, _) = bench.run::<Clone>(with(Some(reference))).await.unwrap();
            assert_eq!((&out.sha, out.branch.as_str()), (&first, ""));
            assert!(!bench.run::<Clone>(with(Some(reference))).await.unwrap().1);
        }
        let shallow = json!({ "url": format!("file://{}", bench.path("r").display()), "dir": "s", "depth": 1 });
        bench.run::<Clone>(shallow).await.unwrap();
        assert_eq!(bench.git("s", &["rev-list", "--count", "HEAD"]), "1");
    }

    #[tokio::test]
    async fn what_is_yours_is_never_overwritten() {
        let bench = Bench::new();
        bench.repository("r");
        bench.run::<Clone>(with(None)).await.unwrap();
        bench.commit("r", "two");
        bench.write("deep/c/a.txt", "mine\n");
        let wrong = bench.run::<Clone>(with(None)).await.unwrap_err().message;
        assert!(wrong.contains("not committed") && wrong.contains("a.txt"), "{wrong}");
        bench.commit("deep/c", "mine");
        let wrong = bench.run::<Clone>(with(None)).await.unwrap_err();
        assert!(wrong.help.unwrap().contains("commits of its own"));
        bench.repository("other");
        assert_eq!(bench.drift::<Clone>(json!({ "url": "other", "dir": "deep/c" })).await[0], "url");
        let wrong = bench.run::<Clone>(json!({ "url": "other", "dir": "deep/c" })).await.unwrap_err().message;
        assert!(wrong.contains("is a clone of"), "{wrong}");
        bench.write("full/x", "");
        assert!(bench.run::<Clone>(json!({ "url": "r", "dir": "full" })).await.unwrap_err().message.contains("is in the way"));
        assert_eq!(bench.text("deep/c/a.txt"), "mine\n");
    }

    /// A server that wants a password: what it was given.
    fn guarded() -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                // The user of the URL alone is tried first.
                let given = head.iter().find_map(|line| line.strip_prefix("Authorization: Basic ").map(str::to_owned));
                let given = given.filter(|given| given != "bWU6");
                let status = if given.is_some() { "404 Not Found" } else { "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"" };
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                if let Some(given) = given {
                    return given;
                }
            }
        });
        (port, server)
    }

    #[tokio::test]
    async fn a_password_in_a_url_is_told_to_its_server_and_stands_in_no_command_line() {
        let bench = Bench::new();
        let (port, server) = guarded();
        let url = format!("http://me:p%40ss@127.0.0.1:{port}/r.git");
        let wrong = bench.run::<Clone>(json!({ "url": url, "dir": "c" })).await.unwrap_err();
        assert!(wrong.message.contains("not found") && wrong.message.contains("http://me@127.0.0.1"), "{}", wrong.message);
        assert_eq!(server.join().unwrap(), "bWU6cEBzcw==");
    }

    #[tokio::test]
    async fn a_token_for_a_user_is_told_to_its_server_and_stands_in_no_command_line_and_no_configuration() {
        let token = "token-0123456789";
        let commit = "0123456789abcdef0123456789abcdef01234567";
        // Another helper hears nothing of it.
        let config = "[credential]\n\thelper = \"!cat >> heard #\"\n[trace2]\n\teventTarget = ";
        for reference in [None, Some(commit)] {
            let bench = Bench::knowing(token);
            bench.write("../home/gitconfig", &format!("{config}{}\n", bench.path("trace").display()));
            let (port, server) = guarded();
            let url = format!("http://{token}@127.0.0.1:{port}/r.git");
            let wrong = bench.run::<Clone>(json!({ "url": url, "dir": "c", "ref": reference })).await.unwrap_err();
            assert!(wrong.message.contains("not found") && !wrong.message.contains(token), "{}", wrong.message);
            assert_eq!(server.join().unwrap(), "dG9rZW4tMDEyMzQ1Njc4OTo=");
            let trace = bench.text("trace");
            assert!(trace.contains(&format!("http://127.0.0.1:{port}/r.git")) && !trace.contains(token), "{trace}");
            assert!(!bench.path("heard").exists() && !bench.path(".c.trees-partial/heard").exists());
            if reference.is_some() {
                let config = bench.text(".c.trees-partial/.git/config");
                assert!(config.contains(&format!("url = http://127.0.0.1:{port}/r.git")) && !config.contains(token), "{config}");
            }
        }
    }

    #[tokio::test]
    async fn a_remote_that_is_not_there_is_named_and_nothing_left() {
        let bench = Bench::new();
        bench.repository("r");
        let wrong = bench.run::<Clone>(with(Some("nope"))).await.unwrap_err().message;
        assert!(wrong.contains("`r` has no branch or tag `nope`"), "{wrong}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let wrong = bench.run::<Clone>(json!({ "url": format!("http://u:a-password@127.0.0.1:{port}/r"), "dir": "c" })).await.unwrap_err();
        assert!(wrong.transient && wrong.message.contains("ls-remote") && !wrong.message.contains("a-password"), "{}", wrong.message);
        assert!(!bench.path("c").exists() && bench.intents().is_empty());
    }
}
