//! `deploy/ssh` against real sshds on loopback: each is a host of its own, with a home folder of its own.

use super::Ssh;
use crate::bench::Bench;
use serde_json::json;
use trees_runner::kind::Kind as _;

mod farm;

mod with_sshd {
    //! What needs a host.

    mod changes;
    mod faults;
    mod fleets;
    mod hosts;
    mod reaching;
}

#[test]
fn what_cannot_be_is_refused() {
    for (field, value, expected) in [
        ("hosts", json!([]), "hosts: at least one"),
        ("hosts", json!(["a", "b", "a"]), "hosts: `a` is named twice"),
        ("hosts", json!(["-oProxyCommand=x"]), "is no host: write"),
        ("hosts", json!(["a; b"]), "is no host: write"),
        ("release", json!("../x"), "release: `../x` cannot be a folder's name"),
        ("command", json!(["./chat"]), "command: `./chat` is not among `files`"),
        ("command", json!(["a\0b"]), "command: a word cannot hold the byte 0"),
        ("env", json!({ "a-b": "" }), "env: `a-b` is no name"),
        ("env", json!({ "1A": "" }), "env: `1A` is no name"),
        ("env", json!({ "": "" }), "env: `` is no name"),
        ("env", json!({ "PPID": "" }), "env: `PPID` cannot be set"),
        ("env", json!({ "_trees_line": "" }), "env: `_trees_line` cannot be set"),
        ("root", json!("here"), "root: `here` is no folder there"),
        ("root", json!("/"), "root: `/` is no folder there"),
        ("root", json!("~/"), "root: `~/` is no folder there"),
        ("root", json!("/a/../../b"), "is no folder there"),
        ("root", json!("/a\nb"), "root: `/a\\nb` is no folder there"),
        ("host", json!("a b"), "host: write an address"),
        ("health", json!("/a b"), "health: a path has no spaces"),
        ("ssh", json!({ "options": { "StrictHostKeyChecking": "no" } }), "`StrictHostKeyChecking` is set by this step"),
    ] {
        let mut with = json!({ "hosts": ["a"], "name": "site", "release": "v1", "command": ["true"], "port": 80 });
        with[field] = value.clone();
        let wrong = Ssh::validate(&serde_json::from_value(with).unwrap());
        assert!(wrong.iter().any(|line| line.contains(expected)), "{field} {value}: {wrong:?}");
    }
    for (field, value, expected) in
        [("wave", json!("0%"), "a wave is"), ("supervise", json!("runit"), "unknown variant"), ("port", json!("http"), "is no port")]
    {
        let mut with = json!({ "hosts": ["a"], "name": "site", "release": "v1", "command": ["true"] });
        with[field] = value;
        let wrong = serde_json::from_value::<super::With>(with).unwrap_err().to_string();
        assert!(wrong.contains(expected), "{wrong}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_before_a_host_is_reached() {
    let bench = Bench::new();
    let with = |extra: serde_json::Value| {
        let mut with = json!({ "hosts": ["127.0.0.1:1"], "name": "site", "release": "v1", "command": ["true"] });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with
    };
    for (extra, expected) in [
        (json!({ "files": { "x": "nope" } }), "files: `x`: there is no"),
        (json!({ "ssh": { "identity": "nope" } }), "ssh.identity: there is no file"),
        (json!({ "ssh": { "known_hosts": "nope" } }), "ssh.known_hosts: there is no file"),
        (json!({ "ssh": { "config": "~/nope" } }), "home/nope`"),
    ] {
        let wrong = bench.run::<Ssh>(with(extra)).await.unwrap_err();
        assert!(wrong.message.contains(expected), "{expected}: {wrong}");
    }
    bench.write("odd/a\\b", "");
    let wrong = bench.run::<Ssh>(with(json!({ "files": { "x": "odd" } }))).await.unwrap_err();
    assert!(wrong.message.contains("cannot be sent"), "{wrong}");
}
