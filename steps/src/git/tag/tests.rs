use super::{Tag, tidy};
use crate::bench::Bench;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use trees_runner::kind::Kind as _;
use trees_servers::git::GitHttp;
use trees_servers::said;

fn with(extra: Value) -> Value {
    let mut with = json!({ "folder": "r", "name": "v1", "message": "Version 1\n\n# not a comment  \n", "push": "far.git" });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

fn place() -> (Bench, String) {
    let bench = Bench::new();
    let commit = bench.repository("r");
    bench.git(".", &["init", "-q", "--bare", "-b", "main", "far.git"]);
    (bench, commit)
}

fn tags(bench: &Bench, dir: &str) -> String {
    bench.git(dir, &["for-each-ref", "--format=%(objecttype) %(refname:short)", "refs/tags"])
}

#[tokio::test]
async fn tags_once_here_and_there_and_takes_both_back() {
    let (bench, commit) = place();
    assert_eq!(bench.drift::<Tag>(with(json!({}))).await, ["absent"]);
    let (out, acted) = bench.run::<Tag>(with(json!({}))).await.unwrap();
    assert!(acted && out.changed && out.commit == commit && out.object != commit);
    assert_eq!((tags(&bench, "r").as_str(), tags(&bench, "far.git").as_str()), ("tag v1", "tag v1"));
    assert_eq!(bench.git("r", &["for-each-ref", "--format=%(contents)", "refs/tags/v1"]), "Version 1\n\n# not a comment");
    let (again, acted) = bench.run::<Tag>(with(json!({}))).await.unwrap();
    assert_eq!((again.object, again.changed, acted), (out.object, false, false));
    bench.undo::<Tag>().await.unwrap();
    assert_eq!((tags(&bench, "r").as_str(), tags(&bench, "far.git").as_str()), ("", ""));
}

#[tokio::test]
async fn a_lightweight_tag_without_a_remote() {
    let (bench, first) = place();
    let with = json!({ "folder": "r", "name": "v1", "commit": "main" });
    let (out, _) = bench.run::<Tag>(with.clone()).await.unwrap();
    assert_eq!((&out.object, out.remote.as_str(), tags(&bench, "r").as_str()), (&first, "", "commit v1"));
    assert!(!bench.run::<Tag>(with.clone()).await.unwrap().1);
    let second = bench.commit("r", "two");
    assert_eq!(bench.drift::<Tag>(with.clone()).await, ["commit"]);
    let wrong = bench.run::<Tag>(with.clone()).await.unwrap_err();
    assert!(wrong.message.contains(&format!("already, of {first}, not of {second}")), "{wrong}");
    let mut moving = with;
    moving["move"] = json!(true);
    let (out, _) = bench.run::<Tag>(moving.clone()).await.unwrap();
    assert_eq!(out.commit, second);
    Tag::undo(&bench.intents()[1], &bench.cx()).await.unwrap();
    assert_eq!(bench.git("r", &["rev-parse", "v1"]), first);
    bench.undo::<Tag>().await.unwrap();
    assert_eq!(tags(&bench, "r"), "");
}

#[tokio::test]
async fn another_tag_elsewhere_is_an_error_unless_it_may_move() {
    let (bench, first) = place();
    bench.git("r", &["tag", "-a", "-m", "theirs", "v1"]);
    bench.git("r", &["push", "-q", "../far.git", "main", "v1"]);
    bench.git("r", &["tag", "-d", "v1"]);
    let theirs = bench.git("far.git", &["rev-parse", "v1"]);
    let second = bench.commit("r", "two");
    assert_eq!(bench.drift::<Tag>(with(json!({}))).await, ["tag", "remote"]);
    let wrong = bench.run::<Tag>(with(json!({}))).await.unwrap_err();
    assert!(
        wrong.message.contains("far.git` has a tag `v1` already, of ") && wrong.help.unwrap().contains("move: true"),
        "{}",
        wrong.message
    );
    let wrong = bench.run::<Tag>(with(json!({ "commit": first }))).await.unwrap_err().message;
    assert!(wrong.contains("already, with another message"), "{wrong}");
    assert!(bench.intents().is_empty() && tags(&bench, "r").is_empty());
    let (out, _) = bench.run::<Tag>(with(json!({ "move": true }))).await.unwrap();
    assert_eq!(bench.git("far.git", &["rev-parse", "v1^{commit}"]), second);
    assert_eq!(bench.git("far.git", &["rev-parse", "v1"]), out.object);
    bench.undo::<Tag>().await.unwrap();
    assert_eq!((bench.git("far.git", &["rev-parse", "v1"]), tags(&bench, "r")), (theirs, String::new()));
}

#[tokio::test]
async fn a_tag_that_only_the_remote_has_is_taken_from_there() {
    let (bench, _) = place();
    let (out, _) = bench.run::<Tag>(with(json!({}))).await.unwrap();
    bench.git("r", &["tag", "-d", "v1"]);
    bench.git("r", &["gc", "-q", "--prune=now"]);
    assert_eq!(bench.drift::<Tag>(with(json!({}))).await, ["tag", "remote"]);
    let (again, acted) = bench.run::<Tag>(with(json!({}))).await.unwrap();
    assert_eq!((again.object, acted), (out.object, true));
    bench.git("r", &["tag", "-d", "v1"]);
    bench.git("r", &["tag", "-a", "-m", "Version 1\n\n# not a comment", "--cleanup=whitespace", "v1", "HEAD"]);
    let now = bench.git("r", &["rev-parse", "v1"]);
    if now != again.commit && now != bench.git("far.git", &["rev-parse", "v1"]) {
        let wrong = bench.run::<Tag>(with(json!({}))).await.unwrap_err().message;
        assert!(wrong.contains("made separately"), "{wrong}");
    }
}

#[tokio::test]
async fn killed_between_the_tag_and_its_push() {
    let (bench, _) = place();
    bench.hook("pre-receive", "echo closed; exit 1");
    let wrong = bench.run::<Tag>(with(json!({}))).await.unwrap_err().message;
    assert!(wrong.contains("refused `v1` (pre-receive hook declined); it says: closed"), "{wrong}");
    let made = bench.git("r", &["rev-parse", "v1"]);
    bench.hook("pre-receive", "exit 0");
    let (out, acted) = bench.run::<Tag>(with(json!({}))).await.unwrap();
    assert_eq!((out.object, acted, bench.intents().len()), (made, true, 3), "the tag that was made is pushed");
    bench.undo::<Tag>().await.unwrap();
    assert_eq!((tags(&bench, "r").as_str(), tags(&bench, "far.git").as_str()), ("", ""));
    bench.undo::<Tag>().await.unwrap();
    bench.fill();
    assert_eq!(bench.run::<Tag>(with(json!({}))).await.unwrap_err().message, "the journal is full");
    assert_eq!(tags(&bench, "r"), "");
}

#[tokio::test]
async fn looking_writes_nothing_here_and_there() {
    let (bench, _) = place();
    // Somebody else's, which this repository does not know: a look could fetch it.
    bench.git(".", &["clone", "-q", "r", "other"]);
    bench.commit("other", "theirs");
    bench.git("other", &["tag", "-a", "-m", "theirs", "v1"]);
    bench.git("other", &["push", "-q", "../far.git", "v1"]);
    for (extra, expected) in
        [(json!({ "name": "v2" }), ["absent"].as_slice()), (json!({}), &["tag", "remote"]), (json!({ "push": null }), &["absent"])]
    {
        let before = (bench.files("r"), bench.files("far.git"));
        assert_eq!(bench.drift::<Tag>(with(extra)).await, expected);
        assert!((bench.files("r"), bench.files("far.git")) == before, "{expected:?}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_tags_nothing_and_a_token_is_recorded_nowhere() {
    let token = "token-0123456789";
    let bench = Bench::knowing(token);
    bench.repository("r");
    bench.git(".", &["init", "-q", "--bare", "-b", "main", "far.git"]);
    // `token-0123456789:` in base64.
    let server = GitHttp::start(&bench.path(""), "dG9rZW4tMDEyMzQ1Njc4OTo=");
    for wrong in ["", "me:token-wrong"] {
        let wrong = bench.run::<Tag>(with(json!({ "push": server.url(wrong, "far.git") }))).await.unwrap_err();
        assert!(!wrong.transient && !wrong.message.contains("token-wrong"), "{}", wrong.message);
        assert!(wrong.help.unwrap().contains("credential helper"));
    }
    assert!(bench.intents().is_empty() && tags(&bench, "r").is_empty() && tags(&bench, "far.git").is_empty());
    let (out, _) = bench.run::<Tag>(with(json!({ "push": server.url(token, "far.git") }))).await.unwrap();
    assert_eq!((out.remote, tags(&bench, "far.git").as_str()), (server.url("", "far.git"), "tag v1"));
    assert!(!json!(bench.intents()).to_string().contains(token));
    bench.undo::<Tag>().await.unwrap();
    assert_eq!((tags(&bench, "r").as_str(), tags(&bench, "far.git").as_str()), ("", ""));
}

#[tokio::test]
async fn what_somebody_moved_since_is_left_alone() {
    let (bench, _) = place();
    bench.run::<Tag>(with(json!({}))).await.unwrap();
    bench.commit("r", "two");
    bench.git("r", &["tag", "-f", "v1"]);
    bench.git("r", &["push", "-q", "-f", "../far.git", "v1"]);
    let records = bench.intents();
    Tag::undo(&records[1], &bench.cx()).await.unwrap();
    let wrong = Tag::undo(&records[0], &bench.cx()).await.unwrap_err().message;
    assert!(wrong.contains("was moved by somebody"), "{wrong}");
    let here = bench.git("r", &["rev-parse", "v1"]);
    assert_eq!(bench.git("far.git", &["rev-parse", "v1"]), here);
}

#[tokio::test]
async fn a_signed_tag_by_an_ssh_key() {
    let (bench, _) = place();
    // What signs and says so: enough of ssh-keygen for git.
    bench.write(
        "sign",
        "#!/bin/sh\nfor last; do :; done\nprintf '%s\\n' '-----BEGIN SSH SIGNATURE-----' x '-----END SSH SIGNATURE-----' > \"$last.sig\"\n",
    );
    std::fs::set_permissions(bench.path("sign"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = bench.path("sign").display().to_string();
    for (name, value) in [("gpg.format", "ssh"), ("gpg.ssh.program", program.as_str()), ("user.signingKey", "key::ssh-ed25519 AAAA")] {
        bench.git("r", &["config", name, value]);
    }
    bench.run::<Tag>(json!({ "folder": "r", "name": "v1", "message": "m" })).await.unwrap();
    let with = json!({ "folder": "r", "name": "v1", "message": "m", "sign": true });
    assert_eq!(bench.drift::<Tag>(with.clone()).await, ["sign"]);
    let wrong = bench.run::<Tag>(with).await.unwrap_err().message;
    assert!(wrong.contains("without a signature"), "{wrong}");
    let with = json!({ "folder": "r", "name": "v2", "message": "m", "sign": true });
    bench.run::<Tag>(with.clone()).await.unwrap();
    assert!(bench.git("r", &["cat-file", "tag", "v2"]).contains("-----BEGIN SSH SIGNATURE-----"));
    assert!(!bench.run::<Tag>(with).await.unwrap().1);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let (bench, _) = place();
    for (extra, expected) in [
        (json!({ "name": "a b" }), "name: `a b` is no name that git takes"),
        (json!({ "message": " \n" }), "message: it is empty"),
        (json!({ "message": null, "sign": true }), "sign: only a tag with a `message`"),
        (json!({ "commit": "nope" }), "has no branch, tag or commit `nope`"),
        (json!({ "push": "nope" }), "has no remote `nope`"),
    ] {
        let wrong = bench.run::<Tag>(with(extra)).await.unwrap_err().message;
        assert!(wrong.contains(expected), "{expected}: {wrong}");
    }
    assert_eq!(tidy("\n\na  \n\n\nb\n\n"), "a\n\nb");
}

#[tokio::test]
async fn what_the_remote_does_not_have_after_all_fails_the_step() {
    let (bench, commit) = place();
    let (out, _) = bench.run::<Tag>(with(json!({}))).await.unwrap();
    let given = serde_json::from_value(with(json!({}))).unwrap();
    Tag::verify(&given, &out, &bench.read()).await.unwrap();
    bench.git("far.git", &["update-ref", "refs/tags/v1", &commit]);
    let wrong = Tag::verify(&given, &out, &bench.read()).await.unwrap_err().message;
    assert!(wrong.contains(&format!("is {commit} right after {} was pushed", out.object)), "{wrong}");
    bench.git("far.git", &["tag", "-d", "v1"]);
    bench.undo::<Tag>().await.unwrap();
    assert_eq!((tags(&bench, "r").as_str(), tags(&bench, "far.git").as_str()), ("", ""));
}

#[tokio::test]
async fn a_tag_that_is_pushed_in_between_is_not_overwritten() {
    let (bench, _) = place();
    let (r, far) = (bench.path("r"), bench.path("far.git"));
    let push = move || {
        drop(said(Command::new("git").args(["push", "-q"]).arg(&far).arg("main:refs/tags/v1").current_dir(&r)));
    };
    let wrong = bench.apply_while::<Tag>(with(json!({ "move": true })), push).await.unwrap_err();
    assert!(wrong.message.contains("`v1` of") && wrong.message.contains("somebody pushed meanwhile"), "{wrong}");
    assert_eq!(tags(&bench, "far.git"), "commit v1");
}
