use super::Merge;
use crate::bench::Bench;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use trees_runner::kind::Kind as _;
use trees_servers::git::GitHttp;

fn with(extra: Value) -> Value {
    let mut with = json!({ "folder": "r", "branch": "fix", "into": "main" });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

/// A repository on the branch `other`, with `main` and `fix`, which has a file of its own; gives the commits of both.
fn place() -> (Bench, String, String) {
    let bench = Bench::new();
    let main = bench.repository("r");
    bench.git("r", &["switch", "-q", "-c", "fix"]);
    bench.write("r/fix.txt", "fixed\n");
    let fix = bench.commit("r", "fix");
    bench.git("r", &["switch", "-q", "-c", "other", "main"]);
    (bench, main, fix)
}

/// A commit on `main`, which is not checked out.
fn on_main(bench: &Bench, file: &str, text: &str) -> String {
    bench.git("r", &["switch", "-q", "main"]);
    bench.write(&format!("r/{file}"), text);
    let commit = bench.commit("r", "on main");
    bench.git("r", &["switch", "-q", "other"]);
    commit
}

fn main(bench: &Bench) -> String {
    bench.git("r", &["rev-parse", "main"])
}

#[tokio::test]
async fn merges_once_beside_what_is_checked_out_and_goes_back() {
    let (bench, _, fix) = place();
    let before = on_main(&bench, "b.txt", "b\n");
    bench.write("r/a.txt", "changed by hand\n");
    assert_eq!(bench.drift::<Merge>(with(json!({}))).await, ["commit"]);
    let (out, acted) = bench.run::<Merge>(with(json!({}))).await.unwrap();
    assert!(acted && out.changed);
    assert_eq!((&out.before, &out.merged, &out.commit), (&before, &fix, &main(&bench)));
    assert_eq!(bench.git("r", &["log", "-1", "--format=%P %an: %s", "main"]), format!("{before} {fix} trees: Merge fix into main"));
    assert_eq!(bench.git("r", &["ls-tree", "--name-only", "main"]), "a.txt\nb.txt\nfix.txt");
    assert_eq!((bench.text("r/a.txt").as_str(), bench.git("r", &["branch", "--show-current"]).as_str()), ("changed by hand\n", "other"));
    let (again, acted) = bench.run::<Merge>(with(json!({}))).await.unwrap();
    assert_eq!((again.commit, again.changed, acted), (out.commit, false, false));
    bench.undo::<Merge>().await.unwrap();
    assert_eq!(main(&bench), before);
}

#[tokio::test]
async fn each_strategy_makes_what_it_says() {
    for (strategy, parents, subject) in [("merge", 2, "m"), ("squash", 1, "m"), ("ff_only", 1, "fix")] {
        let (bench, before, fix) = place();
        let message = (strategy != "ff_only").then_some("m");
        let with = with(json!({ "strategy": strategy, "message": message }));
        let (out, _) = bench.run::<Merge>(with.clone()).await.unwrap();
        assert_eq!(out.commit == fix, strategy == "ff_only");
        let log = bench.git("r", &["log", "-1", "--format=%P|%s", "main"]);
        let (above, said) = log.split_once('|').unwrap();
        assert_eq!((above.split(' ').count(), said), (parents, subject), "{strategy}");
        assert!(!bench.run::<Merge>(with).await.unwrap().1, "{strategy}");
        bench.undo::<Merge>().await.unwrap();
        assert_eq!(main(&bench), before);
    }
}

#[tokio::test]
async fn a_conflict_lists_the_files_and_changes_nothing() {
    let (bench, _, _) = place();
    let before = on_main(&bench, "fix.txt", "otherwise\n");
    // The second would make objects that the first has made: the one that computes while looking is first.
    for strategy in ["squash", "merge"] {
        let objects = bench.git("r", &["count-objects"]);
        assert_eq!(bench.drift::<Merge>(with(json!({ "strategy": strategy }))).await, ["commit"]);
        assert_eq!(bench.git("r", &["count-objects"]), objects, "looking makes no objects");
        let wrong = bench.run::<Merge>(with(json!({ "strategy": strategy }))).await.unwrap_err();
        assert!(wrong.message.contains("changed the same in: fix.txt; nothing was changed"), "{wrong}");
    }
    let wrong = bench.run::<Merge>(with(json!({ "strategy": "ff_only" }))).await.unwrap_err();
    assert!(wrong.message.contains("cannot just move forward"), "{wrong}");
    assert!(main(&bench) == before && bench.intents().is_empty());
}

#[tokio::test]
async fn where_it_is_checked_out_the_files_follow_if_they_are_clean() {
    let (bench, before, _) = place();
    bench.git("r", &["worktree", "add", "-q", "../w", "main"]);
    bench.write("w/a.txt", "mine\n");
    let wrong = bench.run::<Merge>(with(json!({}))).await.unwrap_err().message;
    assert!(wrong.contains("is checked out at") && wrong.contains("a.txt") && bench.intents().is_empty(), "{wrong}");
    bench.git("w", &["checkout", "-q", "a.txt"]);
    bench.write("w/untracked", "mine\n");
    bench.run::<Merge>(with(json!({}))).await.unwrap();
    assert_eq!((bench.text("w/fix.txt").as_str(), bench.git("w", &["status", "--short"]).as_str()), ("fixed\n", "?? untracked"));
    bench.write("w/a.txt", "mine\n");
    let wrong = bench.undo::<Merge>().await.unwrap_err().message;
    assert!(wrong.contains("not committed"), "{wrong}");
    bench.git("w", &["checkout", "-q", "a.txt"]);
    bench.undo::<Merge>().await.unwrap();
    assert!(!bench.path("w/fix.txt").exists() && main(&bench) == before && bench.text("w/untracked") == "mine\n");
}

#[tokio::test]
async fn what_was_built_on_it_is_kept() {
    let (bench, before, _) = place();
    bench.run::<Merge>(with(json!({}))).await.unwrap();
    let theirs = on_main(&bench, "c.txt", "c");
    let wrong = bench.undo::<Merge>().await.unwrap_err().message;
    assert!(wrong.contains("has commits on top"), "{wrong}");
    assert_eq!(main(&bench), theirs);
    bench.git("r", &["branch", "-f", "main", &before]);
    let other = on_main(&bench, "d.txt", "d");
    bench.undo::<Merge>().await.unwrap();
    assert_eq!(main(&bench), other, "nothing of it is there any more");
}

#[tokio::test]
async fn killed_between_the_intent_and_the_move() {
    let (bench, before, _) = place();
    bench.fill();
    assert_eq!(bench.run::<Merge>(with(json!({}))).await.unwrap_err().message, "the journal is full");
    assert_eq!(main(&bench), before);
    let (bench, before, _) = place();
    let refuse = bench.path("r/.git/hooks/reference-transaction");
    std::fs::write(&refuse, "#!/bin/sh\ntest \"$1\" != prepared\n").unwrap();
    std::fs::set_permissions(&refuse, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.run::<Merge>(with(json!({}))).await.unwrap_err();
    assert_eq!((bench.intents().len(), main(&bench)), (1, before.clone()));
    std::fs::remove_file(&refuse).unwrap();
    bench.undo::<Merge>().await.unwrap();
    bench.run::<Merge>(with(json!({}))).await.unwrap();
    assert!(bench.intents().len() == 2 && main(&bench) != before);
    bench.undo::<Merge>().await.unwrap();
    assert_eq!(main(&bench), before);
}

/// The same with a remote `origin`, which has `main`; and the commit of that.
fn shared() -> (Bench, String) {
    let (bench, before, _) = place();
    bench.git(".", &["init", "-q", "--bare", "-b", "main", "far.git"]);
    bench.git("r", &["remote", "add", "origin", "../far.git"]);
    bench.git("r", &["push", "-q", "origin", "main"]);
    (bench, before)
}

fn far(bench: &Bench) -> String {
    bench.git("far.git", &["rev-parse", "main"])
}

/// Somebody else's commit on top of the remote's.
fn others_push(bench: &Bench) -> String {
    bench.git(".", &["clone", "-q", "far.git", "theirs"]);
    let theirs = bench.commit("theirs", "theirs");
    bench.git("theirs", &["push", "-q"]);
    theirs
}

#[tokio::test]
async fn what_somebody_pushed_on_top_is_left_as_it_is() {
    for strategy in ["merge", "squash"] {
        let (bench, before) = shared();
        let pushing = with(json!({ "push": "origin", "strategy": strategy }));
        let given = serde_json::from_value(pushing.clone()).unwrap();
        let (out, _) = bench.run::<Merge>(pushing.clone()).await.unwrap();
        let theirs = others_push(&bench);
        Merge::verify(&given, &out, &bench.read()).await.unwrap();
        assert_eq!(bench.drift::<Merge>(pushing.clone()).await, ["remote"], "what is there is not known here");
        let (again, acted) = bench.run::<Merge>(pushing.clone()).await.unwrap();
        assert!(acted && !again.changed && again.commit == out.commit && far(&bench) == theirs);
        assert!(!bench.run::<Merge>(pushing.clone()).await.unwrap().1, "now it is, and it is well");
        Merge::verify(&given, &again, &bench.read()).await.unwrap();
        bench.git("far.git", &["update-ref", "refs/heads/main", &before]);
        let wrong = Merge::verify(&given, &out, &bench.read()).await.unwrap_err().message;
        assert!(wrong.contains(&format!("`main` of `../far.git` is {before} right after {} was pushed", out.commit)), "{wrong}");
        assert_eq!(bench.drift::<Merge>(pushing).await, ["remote"]);
    }
}

#[tokio::test]
async fn killed_between_the_merge_and_its_push() {
    let (bench, before) = shared();
    let pushing = with(json!({ "push": "origin" }));
    // Before the push is recorded: from the merge on the remote is not there.
    let (there, away) = (bench.path("far.git"), bench.path("away.git"));
    let (from, to) = (there.clone(), away.clone());
    bench.apply_while::<Merge>(pushing.clone(), move || std::fs::rename(&from, &to).unwrap()).await.unwrap_err();
    std::fs::rename(&away, &there).unwrap();
    let merged = main(&bench);
    assert!(merged != before && far(&bench) == before);
    let (out, acted) = bench.run::<Merge>(pushing.clone()).await.unwrap();
    assert_eq!((out.commit, far(&bench), acted), (merged.clone(), merged, true), "the merge that was made is pushed");

    // After it is recorded: the remote refuses.
    let (bench, before) = shared();
    bench.hook("pre-receive", "echo closed; exit 1");
    let wrong = bench.run::<Merge>(pushing.clone()).await.unwrap_err();
    assert!(!wrong.transient && wrong.message.contains("refused `main` (pre-receive hook declined); it says: closed"), "{wrong}");
    let merged = main(&bench);
    assert!(merged != before && far(&bench) == before && bench.intents().len() == 2);
    bench.hook("pre-receive", "exit 0");
    let (out, acted) = bench.run::<Merge>(pushing.clone()).await.unwrap();
    assert_eq!((out.commit, far(&bench), acted), (merged.clone(), merged, true));
    bench.undo::<Merge>().await.unwrap();
    assert_eq!((main(&bench), far(&bench)), (before.clone(), before));

    // And taken back where it stopped.
    let (bench, before) = shared();
    bench.hook("pre-receive", "exit 1");
    bench.run::<Merge>(pushing).await.unwrap_err();
    bench.undo::<Merge>().await.unwrap();
    assert_eq!((main(&bench), far(&bench)), (before.clone(), before));
}

#[tokio::test]
async fn who_is_not_let_in_merges_nothing_and_a_token_is_recorded_nowhere() {
    let token = "token-0123456789";
    let (bench, before) = shared();
    // `me:token-0123456789` in base64.
    let server = GitHttp::start(&bench.path(""), "bWU6dG9rZW4tMDEyMzQ1Njc4OQ==");
    let pushing = |token: &str| with(json!({ "push": server.url(token, "far.git") }));
    for wrong in ["", "me:token-wrong"] {
        let wrong = bench.run::<Merge>(pushing(wrong)).await.unwrap_err();
        assert!(!wrong.transient && !wrong.message.contains("token-wrong"), "{}", wrong.message);
        assert!(wrong.help.unwrap().contains("credential helper"));
    }
    assert!(bench.intents().is_empty() && main(&bench) == before && far(&bench) == before);
    let (out, _) = bench.run::<Merge>(pushing(&format!("me:{token}"))).await.unwrap();
    assert_eq!((out.remote, far(&bench)), (server.url("me", "far.git"), main(&bench)));
    assert!(!json!(bench.intents()).to_string().contains(token));
    bench.undo::<Merge>().await.unwrap();
    assert_eq!((main(&bench), far(&bench)), (before.clone(), before));
}

#[tokio::test]
async fn pushes_what_it_merged_and_takes_both_back() {
    let (bench, before) = shared();
    let far = || far(&bench);
    let pushing = with(json!({ "push": "origin", "strategy": "squash" }));
    let (out, _) = bench.run::<Merge>(pushing.clone()).await.unwrap();
    assert_eq!((far(), out.remote.as_str()), (out.commit.clone(), "../far.git"));
    assert!(!bench.run::<Merge>(pushing.clone()).await.unwrap().1);
    bench.git("far.git", &["update-ref", "refs/heads/main", &before]);
    assert_eq!(bench.drift::<Merge>(pushing.clone()).await, ["remote"]);
    let (again, _) = bench.run::<Merge>(pushing.clone()).await.unwrap();
    assert_eq!((far(), again.changed), (out.commit, true));
    bench.undo::<Merge>().await.unwrap();
    assert_eq!((far(), main(&bench)), (before.clone(), before.clone()));
    others_push(&bench);
    let wrong = bench.run::<Merge>(pushing).await.unwrap_err().message;
    assert!(wrong.contains("merged, but `main`"), "{wrong}");
    assert!(main(&bench) != before);
    Merge::undo(bench.intents().last().unwrap(), &bench.cx()).await.unwrap();
    assert_eq!(main(&bench), before);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let (bench, _, _) = place();
    for (extra, expected) in [
        (json!({ "into": "nope" }), "has no branch `nope` to merge into"),
        (json!({ "branch": "nope" }), "has no branch, tag or commit `nope`"),
        (json!({ "branch": "-x" }), "branch: `-x` cannot stand here"),
        (json!({ "message": "m", "strategy": "ff_only" }), "makes no commit that could have one"),
        (json!({ "message": " " }), "message: it is empty"),
        (json!({ "folder": "." }), "not a git repository"),
    ] {
        let wrong = bench.run::<Merge>(with(extra)).await.unwrap_err().message;
        assert!(wrong.contains(expected), "{expected}: {wrong}");
    }
    bench.git("r", &["switch", "-q", "--orphan", "lone"]);
    bench.commit("r", "lone");
    let wrong = bench.run::<Merge>(with(json!({ "branch": "lone" }))).await.unwrap_err().message;
    assert!(wrong.contains("unrelated histories"), "{wrong}");
}

#[tokio::test]
async fn a_branch_that_moves_meanwhile_is_not_overwritten() {
    let (bench, before, fix) = place();
    // What signs the commit moves the branch: after the look, before the merge is set.
    bench.write("sign", "#!/bin/sh\ncat > /dev/null\ngit update-ref refs/heads/main fix\nexit 1\n");
    std::fs::set_permissions(bench.path("sign"), std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.git("r", &["config", "gpg.program", &bench.path("sign").display().to_string()]);
    bench.git("r", &["config", "commit.gpgSign", "true"]);
    let wrong = bench.run::<Merge>(with(json!({}))).await.unwrap_err().message;
    assert!(wrong.contains("commit-tree") && main(&bench) == fix, "signing is asked for: {wrong}");
    bench.git("r", &["update-ref", "refs/heads/main", &before]);
    bench.write(
        "sign",
        "#!/bin/sh\ncat > /dev/null\ngit update-ref refs/heads/main fix\necho '[GNUPG:] SIG_CREATED ' >&2\necho '-----BEGIN PGP SIGNATURE-----'\n",
    );
    let wrong = bench.run::<Merge>(with(json!({}))).await.unwrap_err();
    assert!(wrong.transient && wrong.message.contains("but expected"), "{wrong}");
    assert_eq!(main(&bench), fix);
    let given = serde_json::from_value(with(json!({}))).unwrap();
    let (out, acted) = bench.run::<Merge>(with(json!({}))).await.unwrap();
    assert!(!acted && out.commit == fix);
    Merge::verify(&given, &out, &bench.read()).await.unwrap();
    bench.git("r", &["update-ref", "refs/heads/main", &before]);
    let wrong = Merge::verify(&given, &out, &bench.read()).await.unwrap_err().message;
    assert!(wrong.contains(&format!("`main` is {before} right after {fix} was merged")), "{wrong}");
}
