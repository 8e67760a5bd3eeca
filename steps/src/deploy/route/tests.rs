//! `deploy/route`: what is refused without nginx, and all else with a real one.

use super::{Out, Route, With};
use crate::bench::Bench;
use serde_json::{Value, json};
use trees_runner::kind::Kind as _;

fn with(extra: Value) -> Value {
    let mut with = json!({ "name": "site", "listen": 8080, "to": { "blue": "127.0.0.1:1", "green": "127.0.0.1:2" } });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

#[test]
fn what_cannot_be_is_refused() {
    for (extra, expected) in [
        (json!({ "name": "../x" }), "name: `../x` cannot be a file's name"),
        (json!({ "to": "nowhere" }), "to: `nowhere` is no address"),
        (json!({ "active": "red" }), "active: `red` is none of blue, green"),
        (json!({ "listen": "here" }), "listen: `here` is no place to listen"),
        (json!({ "server_names": ["a; b"] }), "server_names: `a; b` is no host's name"),
        (json!({ "path": "api" }), "path: `api` is no path"),
        (json!({ "headers": { "X": "a\nb" } }), "headers: `X` has characters"),
        (json!({ "maintenance": "$5" }), "maintenance: `$` cannot stand"),
        (json!({ "directives": ["a\nb"] }), "directives: `a\nb` is not one line"),
        (json!({ "config": "nginx.conf" }), "config: it needs `folder`"),
        (json!({ "folder": "sites" }), "folder: it needs `config`"),
        (json!({ "config": "c", "folder": "f", "root": "r" }), "config and root: give one of them"),
        (json!({ "pid": "p" }), "prefix and pid: they need `config`"),
        (json!({ "verify": { "url": "ftp://x" } }), "verify.url: `ftp://x`"),
    ] {
        let with: With = serde_json::from_value(with(extra)).unwrap();
        let wrong = Route::validate(&with);
        assert!(wrong.iter().any(|wrong| wrong.starts_with(expected)), "{expected}: {wrong:?}");
    }
    assert!(Route::validate(&serde_json::from_value(with(json!({}))).unwrap()).is_empty());
    assert!(serde_json::from_value::<With>(with(json!({ "lisen": 1 }))).is_err());
    assert!(serde_json::from_value::<With>(with(json!({ "verify": { "url": "http://a/", "within": "0s" } }))).is_err());
}

#[test]
fn where_a_route_answers() {
    for (extra, expected) in [
        (json!({}), "http://127.0.0.1:8080"),
        (json!({ "listen": ["[::]:80"], "path": "/api/" }), "http://127.0.0.1/api/"),
        (json!({ "listen": "10.0.0.1:81" }), "http://10.0.0.1:81"),
        (json!({ "listen": 443, "server_names": ["*.x.test", "a.x.test"], "tls": { "certificate": "c", "key": "k" } }), "https://a.x.test"),
    ] {
        assert_eq!(super::url(&serde_json::from_value(with(extra)).unwrap()), expected);
    }
}

#[tokio::test]
async fn a_look_writes_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.drift::<Route>(with(json!({}))).await, ["absent"]);
    assert!(!bench.read().state.exists());
}

#[tokio::test]
async fn an_nginx_that_is_not_there_is_named_and_leaves_nothing() {
    let bench = Bench::new();
    let wrong = bench.run::<Route>(with(json!({ "program": "no-nginx-here" }))).await.map(|_| ()).unwrap_err();
    assert!(wrong.message.contains("cannot start `no-nginx-here`") && wrong.help.unwrap().contains("in PATH"), "{}", wrong.message);
    assert!(bench.intents().is_empty() && !bench.read().state.join("route/nginx/proof/default").exists());
}

mod site;
mod with_nginx;
