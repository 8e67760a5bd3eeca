use super::Push;
use crate::bench::Bench;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use trees_runner::kind::Kind as _;
use trees_servers::git::{GitDaemon, GitHttp};
use trees_servers::said;

fn with(extra: Value) -> Value {
    let mut with = json!({ "folder": "r", "remote": "far.git", "branch": "main" });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

/// A repository `r` with a commit and an empty remote `far.git`; gives the commit.
fn place() -> (Bench, String) {
    let bench = Bench::new();
    let commit = bench.repository("r");
    bench.git(".", &["init", "-q", "--bare", "-b", "trunk", "far.git"]);
    (bench, commit)
}

fn far(bench: &Bench, name: &str) -> String {
    bench.git("far.git", &["for-each-ref", "--format=%(objectname)", name])
}

/// Somebody else's clone with a commit on top, pushed.
fn others_push(bench: &Bench) -> String {
    bench.git(".", &["clone", "-q", "-b", "main", "far.git", "other"]);
    let commit = bench.commit("other", "theirs");
    bench.git("other", &["push", "-q", "origin", "HEAD:main"]);
    commit
}

/// How many pushes the remote got.
fn count(bench: &Bench) {
    bench.hook("pre-receive", "cat >> pushes");
}

fn pushes(bench: &Bench) -> usize {
    std::fs::read_to_string(bench.path("far.git/pushes")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn pushes_once_and_deletes_what_it_made() {
    let (bench, commit) = place();
    count(&bench);
    assert_eq!(bench.drift::<Push>(with(json!({}))).await, ["absent"]);
    assert_eq!(pushes(&bench), 0, "looking pushes nothing");
    let (out, acted) = bench.run::<Push>(with(json!({}))).await.unwrap();
    assert!(acted && out.changed);
    assert_eq!((&out.commit, out.before.as_str(), out.branch.as_str()), (&commit, "", "main"));
    assert_eq!(out.remote, bench.path("far.git").display().to_string());
    assert_eq!(far(&bench, "refs/heads/main"), commit);
    let (again, acted) = bench.run::<Push>(with(json!({}))).await.unwrap();
    assert_eq!((again.changed, acted, pushes(&bench)), (false, false, 1));
    bench.undo::<Push>().await.unwrap();
    assert_eq!((far(&bench, "refs/heads/"), pushes(&bench)), (String::new(), 2));
}

#[tokio::test]
async fn moves_forward_and_back_and_finds_drift() {
    let (bench, first) = place();
    bench.git("r", &["remote", "add", "origin", "../far.git"]);
    let with = |to: &str| json!({ "folder": "r", "to": to });
    bench.run::<Push>(with("main")).await.unwrap();
    let second = bench.commit("r", "two");
    assert_eq!(bench.drift::<Push>(with("main")).await, ["refs/heads/main"]);
    let (out, _) = bench.run::<Push>(with("main")).await.unwrap();
    assert_eq!((&out.before, &out.commit, out.remote.as_str()), (&first, &second, "../far.git"));
    assert_eq!(bench.git("r", &["rev-parse", "origin/main"]), second, "git follows what it pushed");
    let records = bench.intents();
    Push::undo(&records[1], &bench.cx()).await.unwrap();
    assert_eq!(far(&bench, "refs/heads/main"), first);
    bench.undo::<Push>().await.unwrap();
    assert_eq!(far(&bench, "refs/heads/"), "");
}

#[tokio::test]
async fn commits_of_others_are_never_lost() {
    let (bench, first) = place();
    bench.run::<Push>(with(json!({}))).await.unwrap();
    let theirs = others_push(&bench);
    let wrong = bench.undo::<Push>().await.unwrap_err().message;
    assert!(wrong.contains("somebody pushed to `main`") && wrong.contains("left alone"), "{wrong}");
    assert_eq!(far(&bench, "refs/heads/main"), theirs);
    let (out, _) = bench.run::<Push>(with(json!({}))).await.unwrap();
    assert_eq!((out.changed, &out.before, &out.commit), (false, &theirs, &first), "it is there, with theirs on top");
    assert!(bench.drift::<Push>(with(json!({}))).await.is_empty());
    assert_eq!(bench.drift::<Push>(with(json!({ "force": "lease" }))).await, ["refs/heads/main"]);
    bench.commit("r", "two");
    let wrong = bench.run::<Push>(with(json!({}))).await.unwrap_err();
    assert!(wrong.message.contains("cannot move forward") && wrong.help.unwrap().contains("force: lease"), "{}", wrong.message);
    assert_eq!((far(&bench, "refs/heads/main"), bench.intents().len()), (theirs, 1));
}

#[tokio::test]
async fn a_lease_replaces_what_was_found_and_gives_it_back() {
    let (bench, _) = place();
    bench.run::<Push>(with(json!({}))).await.unwrap();
    let theirs = others_push(&bench);
    let ours = bench.commit("r", "two");
    let (out, _) = bench.run::<Push>(with(json!({ "force": "lease" }))).await.unwrap();
    assert_eq!((&out.before, far(&bench, "refs/heads/main")), (&theirs, ours));
    Push::undo(&bench.intents()[1], &bench.cx()).await.unwrap();
    Push::undo(&bench.intents()[1], &bench.cx()).await.unwrap();
    assert_eq!(far(&bench, "refs/heads/main"), theirs);
}

/// A repository that is two commits ahead of its remote, and somebody else's push that is due.
fn race() -> (Bench, String, impl Fn() + Send + Sync + 'static) {
    let (bench, _) = place();
    bench.git("r", &["push", "-q", "../far.git", "main"]);
    bench.git(".", &["clone", "-q", "-b", "main", "far.git", "other"]);
    let theirs = bench.commit("other", "theirs");
    bench.commit("r", "two");
    let other = bench.path("other");
    let push = move || drop(said(Command::new("git").args(["push", "-q", "origin", "HEAD:main"]).current_dir(&other)));
    (bench, theirs, push)
}

#[tokio::test]
async fn a_push_in_between_is_not_overwritten() {
    for (force, transient) in [("never", true), ("lease", false)] {
        let (bench, theirs, push) = race();
        let wrong = bench.apply_while::<Push>(with(json!({ "force": force })), push).await.unwrap_err();
        assert!(wrong.message.contains("somebody pushed meanwhile") && wrong.transient == transient, "{force}: {wrong}");
        assert_eq!(far(&bench, "refs/heads/main"), theirs, "{force}");
    }
}

#[tokio::test]
async fn a_push_while_git_is_at_it_is_not_overwritten() {
    for (force, transient) in [("never", true), ("lease", false)] {
        let (bench, theirs, _) = race();
        // This repository's hook runs once git has seen what the remote has.
        let hook = bench.path("r/.git/hooks/pre-push");
        std::fs::write(&hook, "#!/bin/sh\nrm -f \"$0\"\nunset GIT_DIR\ngit -C ../other push -q origin HEAD:main\n").unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let wrong = bench.run::<Push>(with(json!({ "force": force }))).await.unwrap_err();
        assert!(wrong.message.contains("somebody pushed meanwhile") && wrong.transient == transient, "{force}: {wrong}");
        assert_eq!(far(&bench, "refs/heads/main"), theirs, "{force}");
        // The record is of a push that was never made.
        Push::undo(bench.intents().last().unwrap(), &bench.cx()).await.unwrap();
        assert_eq!(far(&bench, "refs/heads/main"), theirs);
    }
}

#[tokio::test]
async fn killed_before_and_after_the_push() {
    let (bench, commit) = place();
    bench.fill();
    assert_eq!(bench.run::<Push>(with(json!({}))).await.unwrap_err().message, "the journal is full");
    assert_eq!(far(&bench, "refs/heads/"), "", "no push before the intent is durable");
    let (bench, commit_here) = place();
    assert_eq!(commit.len(), commit_here.len());
    // Between the intent and the push: the remote refuses.
    bench.hook("pre-receive", "exit 1");
    bench.run::<Push>(with(json!({}))).await.unwrap_err();
    assert_eq!(bench.intents().len(), 1);
    bench.undo::<Push>().await.unwrap();
    // Between the push and its record.
    bench.hook("pre-receive", "exit 0");
    bench.run::<Push>(with(json!({}))).await.unwrap();
    let (out, acted) = bench.run::<Push>(with(json!({}))).await.unwrap();
    assert!(!acted && out.commit == commit_here);
    bench.undo::<Push>().await.unwrap();
    assert_eq!(far(&bench, "refs/heads/"), "");
}

#[tokio::test]
async fn tags_go_along_all_or_nothing() {
    let (bench, first) = place();
    bench.git("r", &["tag", "-a", "-m", "one", "v1"]);
    let object = bench.git("r", &["rev-parse", "v1"]);
    let with = with(json!({ "tags": ["v1"] }));
    bench.run::<Push>(with.clone()).await.unwrap();
    assert_eq!((far(&bench, "refs/heads/main"), far(&bench, "refs/tags/v1")), (first, object));
    assert!(!bench.run::<Push>(with.clone()).await.unwrap().1);
    bench.undo::<Push>().await.unwrap();
    assert_eq!(far(&bench, "refs/"), "");
    bench.git("far.git", &["fetch", "-q", "--no-tags", "../r", "main:refs/tags/v1"]);
    let wrong = bench.run::<Push>(with.clone()).await.unwrap_err();
    assert!(wrong.message.contains("has a tag `v1` already") && far(&bench, "refs/heads/").is_empty(), "{}", wrong.message);
    bench.git("far.git", &["tag", "-d", "v1"]);
    bench.hook("update", "case $1 in refs/tags/*) echo no tags here; exit 1;; esac");
    let wrong = bench.run::<Push>(with).await.unwrap_err().message;
    assert!(wrong.contains("refused `v1` (hook declined); it says: no tags here"), "{wrong}");
    assert_eq!(far(&bench, "refs/"), "");
}

#[tokio::test]
async fn a_hook_is_quoted_and_a_remote_that_is_not_there_named() {
    let (bench, commit) = place();
    bench.hook("pre-receive", "echo no pushes on Sundays; exit 1");
    let wrong = bench.run::<Push>(with(json!({}))).await.unwrap_err();
    assert!(
        !wrong.transient && wrong.message.contains("refused `main` (pre-receive hook declined); it says: no pushes on Sundays"),
        "{wrong}"
    );
    for (extra, transient, expected) in [
        (json!({ "remote": "origin" }), false, "has no remote `origin`; it has: none"),
        (json!({ "remote": "../nope.git" }), false, "does not appear to be a git repository"),
        (json!({ "remote": "http://me:a-password@127.0.0.1:1/x" }), true, "cannot ask `http://me@127.0.0.1"),
        (json!({ "branch": "nope" }), false, "has no branch or commit `nope`"),
        (json!({ "branch": commit }), false, "is no branch of"),
        (json!({ "folder": "nope" }), false, "no folder `"),
        (json!({ "folder": "." }), false, "not a git repository"),
        (json!({ "tags": ["nope"] }), false, "has no tag `nope`"),
        (json!({ "to": "a b" }), false, "to: `a b` is no name that git takes"),
        (json!({ "remote": "--upload-pack=x" }), false, "remote: `--upload-pack=x` cannot stand here"),
        (json!({ "force": "yes" }), false, "unknown variant `yes`"),
    ] {
        let wrong = bench.run::<Push>(with(extra)).await.unwrap_err();
        assert!(wrong.message.contains(expected) && wrong.transient == transient, "{expected}: {wrong:?}");
        assert!(!wrong.message.contains("a-password"), "{wrong}");
    }
    assert!(pushes(&bench) == 0 && far(&bench, "refs/").is_empty());
}

#[tokio::test]
async fn the_git_protocol_and_a_remote_of_several_addresses() {
    let (bench, commit) = place();
    let server = GitDaemon::start(&bench.path(""));
    let with = with(json!({ "remote": server.url("far.git") }));
    let (out, _) = bench.run::<Push>(with.clone()).await.unwrap();
    assert_eq!((out.remote, far(&bench, "refs/heads/main")), (server.url("far.git"), commit));
    assert!(!bench.run::<Push>(with).await.unwrap().1);
    bench.undo::<Push>().await.unwrap();
    assert_eq!(far(&bench, "refs/heads/"), "");
    bench.git("r", &["remote", "add", "two", "a"]);
    bench.git("r", &["remote", "set-url", "--push", "--add", "two", "b"]);
    bench.git("r", &["remote", "set-url", "--push", "--add", "two", "c"]);
    let wrong = bench.run::<Push>(json!({ "folder": "r", "remote": "two" })).await.unwrap_err().message;
    assert!(wrong.contains("pushes to several addresses"), "{wrong}");
}

#[tokio::test]
async fn a_token_opens_the_remote_and_its_undo_and_is_told_to_nobody_else() {
    let token = "token-0123456789";
    let bench = Bench::knowing(token);
    let commit = bench.repository("r");
    bench.git(".", &["init", "-q", "--bare", "-b", "trunk", "far.git"]);
    bench.write("../home/gitconfig", &format!("[trace2]\n\teventTarget = {}\n", bench.path("trace").display()));
    // `token-0123456789:` in base64.
    let server = GitHttp::start(&bench.path(""), "dG9rZW4tMDEyMzQ1Njc4OTo=");
    let wrong = bench.run::<Push>(with(json!({ "remote": server.url("", "far.git") }))).await.unwrap_err();
    assert!(!wrong.transient && wrong.help.unwrap().contains("credential helper"), "{}", wrong.message);
    let with = with(json!({ "remote": server.url(token, "far.git") }));
    let (out, _) = bench.run::<Push>(with.clone()).await.unwrap();
    assert_eq!((out.remote, far(&bench, "refs/heads/main")), (server.url("", "far.git"), commit));
    assert!(!bench.run::<Push>(with).await.unwrap().1);
    let heard = server.heard().len();
    let records = bench.intents();
    assert!(!json!(records).to_string().contains(token) && !bench.text("trace").contains(token));
    bench.undo::<Push>().await.unwrap();
    assert!(server.heard().len() > heard && far(&bench, "refs/heads/").is_empty());
    let left = Command::new("grep").args(["-rl", token, &bench.read().state.display().to_string()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "it has served");
}

#[tokio::test]
async fn a_remote_that_never_answers_is_given_up_and_a_cancel_is_heard() {
    let (bench, _) = place();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("git://{}/x", silent.local_addr().unwrap());
    let with = with(json!({ "remote": remote, "timeout": "200ms" }));
    let wrong = bench.run::<Push>(with).await.unwrap_err();
    assert!(wrong.transient && wrong.message.contains("no answer within 200ms"), "{wrong}");
    bench.cancel();
    let wrong = bench.run::<Push>(json!({ "folder": "r", "remote": remote })).await.unwrap_err();
    assert!(wrong.transient && wrong.message.contains("was ended"), "{wrong}");
    let nonsense = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("git://{}/x", nonsense.local_addr().unwrap());
    let answering = std::thread::spawn(move || std::io::Write::write_all(&mut nonsense.accept().unwrap().0, b"nonsense").unwrap());
    let bench = Bench::new();
    bench.repository("r");
    let wrong = bench.run::<Push>(json!({ "folder": "r", "remote": remote })).await.unwrap_err();
    assert!(wrong.message.starts_with("cannot ask `git://"), "{wrong}");
    answering.join().unwrap();
}

#[tokio::test]
async fn what_the_remote_does_not_have_after_all_fails_the_step_and_is_taken_back() {
    let (bench, first) = place();
    bench.run::<Push>(with(json!({}))).await.unwrap();
    let second = bench.commit("r", "two");
    let (out, _) = bench.run::<Push>(with(json!({}))).await.unwrap();
    let given = serde_json::from_value(with(json!({}))).unwrap();
    Push::verify(&given, &out, &bench.read()).await.unwrap();
    for (change, expected) in [(["refs/heads/main", first.as_str()], first.as_str()), (["-d", "refs/heads/main"], "nothing")] {
        bench.git("far.git", &[["update-ref"].as_slice(), &change].concat());
        let wrong = Push::verify(&given, &out, &bench.read()).await.unwrap_err().message;
        assert!(wrong.contains(&format!("is {expected} right after {second} was pushed")), "{wrong}");
    }
    bench.git("far.git", &["update-ref", "refs/heads/main", &second]);
    Push::undo(&bench.intents()[1], &bench.cx()).await.unwrap();
    assert_eq!(far(&bench, "refs/heads/main"), first);
}
