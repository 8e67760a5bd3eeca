//! What `tls/certificate` knows without a directory: its inputs, what is in the folder.

use super::authority::{Authority, DAY, HOUR, Shown};
use crate::bench::Bench;
use crate::tls::certificate::{Certificate, Record};
use crate::tls::folder::Folder;
use crate::tls::material::Material;
use crate::tls::switch::Switch;
use crate::tls::trace::Trace;
use serde_json::{Value, json};
use std::fs;
use trees_runner::kind::{Kind as _, Observation};

pub fn with(extra: Value) -> Value {
    let mut with = json!({
        "names": ["a.test", "b.test"],
        "directory": "http://127.0.0.1:9/dir",
        "folder": "tls/a",
        "challenge": { "http": { "folder": "web" } },
    });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

#[tokio::test]
async fn wrong_inputs_are_named_before_anything_is_asked() {
    let bench = Bench::new();
    for (extra, expected) in [
        (json!({ "names": [] }), "names: give at least one"),
        (json!({ "names": ["a b.test"] }), "names: `a b.test` is no name"),
        (json!({ "names": ["a.test."] }), "names: `a.test.` is no name"),
        (json!({ "names": ["a.test", "A.test"] }), "names: `a.test` stands there twice"),
        (json!({ "names": ["*.a.test"] }), "names: `*.a.test` cannot be proved over HTTP"),
        (json!({ "directory": "letsencrypd" }), "`letsencrypd` is no URL"),
        (json!({ "folder": "" }), "folder: it is empty"),
        (json!({ "email": "ops" }), "email: it has no `@`"),
        (json!({ "eab_kid": "k" }), "eab_kid: it goes with `eab_hmac`"),
        (json!({ "eab_kid": "k", "eab_hmac": "?" }), "eab_hmac: it is no base64url"),
        (json!({ "challenge": {} }), "challenge: give exactly one of `http` and `dns`"),
        (json!({ "challenge": { "http": {} } }), "exactly one of `folder` and `port`"),
        (json!({ "challenge": { "http": { "folder": "web", "port": 80 } } }), "exactly one of `folder` and `port`"),
        (json!({ "challenge": { "http": { "folder": "web", "address": "::1" } } }), "challenge.http.address: it goes with `port`"),
        (by_dns("example.test"), "challenge.dns: name: `_acme-challenge.a.test.` is not in the zone example.test."),
        (json!({ "names": ["192.0.2.1"], "challenge": by_dns("test")["challenge"] }), "names: `192.0.2.1` is an address"),
        (json!({ "key": "dsa" }), "unknown variant `dsa`"),
        (json!({ "timeout": "0s" }), "can never be met"),
        (json!({ "renew": "30d" }), "unknown field `renew`"),
    ] {
        let wrong = bench.run::<Certificate>(with(extra.clone())).await.expect_err(expected);
        assert!(wrong.message.contains(expected), "{extra}: {expected}: {}", wrong.message);
        assert!(!wrong.message.contains("?"), "the secret is not shown");
    }
    let good = json!({ "names": ["a.test", "192.0.2.1"], "directory": "letsencrypt", "eab_kid": "k", "eab_hmac": "c2VjcmV0" });
    assert!(Certificate::validate(&serde_json::from_value(with(good)).unwrap()).is_empty());
    let wildcard = json!({ "names": ["*.a.test", "a.test"], "challenge": by_dns("a.test")["challenge"] });
    assert!(Certificate::validate(&serde_json::from_value(with(wildcard)).unwrap()).is_empty());
}

fn by_dns(zone: &str) -> Value {
    json!({ "challenge": { "dns": { "zone": zone, "provider": { "powerdns": { "url": "http://127.0.0.1:1", "key": "k" } } } } })
}

/// Puts a certificate in place as `apply` does.
fn place(bench: &Bench, shown: &Shown) -> Switch {
    let material = Material { fullchain: shown.pem.clone(), key: shown.key.serialize_pem() };
    let switch = Switch::plan(&Folder(bench.path("tls/a")), &material.leaf().unwrap(), &bench.path("order.json"));
    let note = json!({ "owner": "trees:proof", "directory": "http://127.0.0.1:9/dir", "names": ["a.test", "b.test"] });
    switch.stage(&material, &serde_json::from_value(note).unwrap()).unwrap();
    switch.switch().unwrap();
    switch
}

#[tokio::test]
async fn each_difference_is_named() {
    let bench = Bench::new();
    let authority = Authority::new("Proof Root");
    assert_eq!(bench.drift::<Certificate>(with(json!({}))).await, ["absent"]);
    assert!(!bench.path("tls").exists(), "observing makes nothing");
    place(&bench, &authority.signs(&["a.test", "b.test"], -HOUR, 90 * DAY));
    let check = async |extra: Value, expected: &[&str]| {
        assert_eq!(bench.drift::<Certificate>(with(extra.clone())).await, expected, "{extra}");
    };
    check(json!({}), &[]).await;
    check(json!({ "names": ["b.test", "A.test"] }), &[]).await;
    check(json!({ "names": ["a.test"] }), &["names"]).await;
    check(json!({ "names": ["a.test", "b.test", "c.test"] }), &["names"]).await;
    check(json!({ "directory": "letsencrypt" }), &["directory"]).await;
    check(json!({ "key": "rsa-2048" }), &["key"]).await;
    check(json!({ "renew_before": "89d" }), &[]).await;
    check(json!({ "renew_before": "91d" }), &["not_after"]).await;
    let key = bench.path("tls/a/current/privkey.pem");
    let kept = fs::read(&key).unwrap();
    fs::write(&key, Authority::new("x").signs(&["a.test"], 0, DAY).key.serialize_pem()).unwrap();
    check(json!({}), &["privkey"]).await;
    fs::write(&key, kept).unwrap();
    check(json!({}), &[]).await;
    fs::write(bench.path("tls/a/current/cert.pem"), "x").unwrap();
    fs::remove_file(bench.path("tls/a/chain.pem")).unwrap();
    check(json!({}), &["cert", "chain.pem"]).await;
    fs::write(bench.path("tls/a/current/fullchain.pem"), "x").unwrap();
    check(json!({}), &["fullchain", "cert", "chain.pem"]).await;
}

#[tokio::test]
async fn the_last_third_of_its_life_is_when_it_is_renewed() {
    for (from, until, expected) in
        [(-59, 31, vec![]), (-61, 29, vec!["not_after"]), (-3, 3, vec![]), (-5, 1, vec!["not_after"]), (-90, -1, vec!["not_after"])]
    {
        let bench = Bench::new();
        place(&bench, &Authority::new("Proof Root").signs(&["a.test", "b.test"], from * DAY, until * DAY));
        assert_eq!(bench.drift::<Certificate>(with(json!({}))).await, expected, "{from} {until}");
    }
}

#[tokio::test]
async fn what_others_made_is_left_alone() {
    let bench = Bench::new();
    bench.write("tls/a/privkey.pem", "theirs");
    for _ in 0..2 {
        let wrong = bench.run::<Certificate>(with(json!({}))).await.unwrap_err();
        assert!(wrong.message.contains("privkey.pem` was not made by this step"), "{}", wrong.message);
    }
    assert_eq!(bench.text("tls/a/privkey.pem"), "theirs");
    fs::remove_file(bench.path("tls/a/privkey.pem")).unwrap();
    place(&bench, &Authority::new("Proof Root").signs(&["a.test", "b.test"], -HOUR, 90 * DAY));
    let note = bench.text("tls/a/current/trees.json").replace("trees:proof", "trees:other/live");
    bench.write("tls/a/current/trees.json", &note);
    let wrong = bench.run::<Certificate>(with(json!({}))).await.unwrap_err();
    assert!(wrong.message.contains("belongs to trees:other/live, not to trees:proof"), "{}", wrong.message);
}

#[tokio::test]
async fn a_switch_is_taken_back_whole_twice_and_half_way() {
    let bench = Bench::new();
    let authority = Authority::new("Proof Root");
    let made = || authority.signs(&["a.test", "b.test"], -HOUR, 90 * DAY);
    let undo = async |switch: &Switch| {
        let record = serde_json::to_value(Record::Switch(switch.clone())).unwrap();
        Certificate::undo(&record, &bench.cx()).await.unwrap();
    };
    let first = place(&bench, &made());
    let fingerprint = |bench: &Bench| bench.text("tls/a/fullchain.pem");
    let before = fingerprint(&bench);
    let second = place(&bench, &made());
    assert_eq!(second.previous.as_ref(), Some(&first.version));
    undo(&second).await;
    undo(&second).await;
    assert_eq!(fingerprint(&bench), before);
    assert_eq!(Folder(bench.path("tls/a")).versions(), std::slice::from_ref(&first.version));
    // Intent, and nothing done.
    let planned = Switch { version: "0002-00000000".into(), previous: Some(first.version.clone()), ..second.clone() };
    undo(&planned).await;
    // Written, not switched to.
    fs::create_dir_all(bench.path("tls/a/versions/0002-00000000")).unwrap();
    fs::create_dir_all(bench.path("tls/a/versions/.0002-00000000")).unwrap();
    undo(&planned).await;
    assert_eq!(Folder(bench.path("tls/a")).versions(), std::slice::from_ref(&first.version));
    assert_eq!(fs::read_dir(bench.path("tls/a/versions")).unwrap().count(), 1);
    // Another run came after.
    let third = place(&bench, &made());
    let fourth = place(&bench, &made());
    undo(&third).await;
    assert_eq!(Folder(bench.path("tls/a")).current(), Some(fourth.version.clone()));
    undo(&fourth).await;
    undo(&third).await;
    undo(&first).await;
    undo(&first).await;
    assert!(!bench.path("tls").exists(), "all that was made is gone");
}

#[tokio::test]
async fn a_file_put_up_is_taken_away_if_it_is_ours_still() {
    let bench = Bench::new();
    let trace = |content: &str| {
        let (path, folder) = (bench.path("web/token"), bench.path("web"));
        Record::Trace(Trace::File { path, sha256: trees_core::hash::bytes(content.as_bytes()), folders: vec![folder] })
    };
    let undo = async |content: &str| Certificate::undo(&serde_json::to_value(trace(content)).unwrap(), &bench.cx()).await.unwrap();
    undo("ours").await;
    bench.write("web/token", "theirs");
    undo("ours").await;
    assert_eq!(bench.text("web/token"), "theirs");
    bench.write("web/other", "");
    undo("theirs").await;
    assert!(!bench.path("web/token").exists() && bench.path("web/other").exists(), "a folder in use stays");
}

#[tokio::test]
async fn a_version_before_that_is_gone_is_said() {
    let bench = Bench::new();
    let made = || Authority::new("Proof Root").signs(&["a.test", "b.test"], -HOUR, 90 * DAY);
    let first = place(&bench, &made());
    let second = place(&bench, &made());
    fs::remove_dir_all(bench.path("tls/a/versions").join(&first.version)).unwrap();
    let record = serde_json::to_value(Record::Switch(second.clone())).unwrap();
    let wrong = Certificate::undo(&record, &bench.cx()).await.unwrap_err();
    assert!(wrong.message.contains("is gone"), "{}", wrong.message);
    assert_eq!(Folder(bench.path("tls/a")).current(), Some(second.version));
    assert!(matches!(bench.observe::<Certificate>(with(json!({}))).await, Observation::Satisfied(_)));
}
