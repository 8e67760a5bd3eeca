//! How the release that is there differs from the one that is wanted.

use super::record::Release;
use serde_json::json;
use std::collections::BTreeMap;
use trees_core::event::Json;
use trees_runner::kind::Change;

/// One difference.
pub fn change(field: &str, old: Json, new: Json) -> Change {
    Change::new(field, old, new)
}

/// What differs, with `found` as the digests of the files that are there; never a value of the
/// environment, which may be secret.
pub fn differences(there: &Release, wanted: &Release, found: &BTreeMap<String, String>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |field: &str, old: Json, new: Json| {
        if old != new {
            changes.push(change(field, old, new));
        }
    };
    compare("release", json!(there.release), json!(wanted.release));
    compare("command", json!(there.command), json!(wanted.command));
    compare("host", json!(there.host), json!(wanted.host));
    compare("port", json!(there.port), json!(wanted.port));
    compare("health", json!(there.health), json!(wanted.health));
    for name in union(&there.files, &wanted.files) {
        let old = found.get(name).filter(|_| there.files.contains_key(name));
        compare(&format!("files.{name}"), json!(old), json!(wanted.files.get(name)));
    }
    for name in union(&there.env, &wanted.env) {
        let (old, new) = (there.env.get(name), wanted.env.get(name));
        if old != new {
            changes.push(change(&format!("env.{name}"), json!(old.map(|_| "set")), json!(new.map(|_| "set otherwise"))));
        }
    }
    changes
}

fn union<'a>(a: &'a BTreeMap<String, String>, b: &'a BTreeMap<String, String>) -> Vec<&'a String> {
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    names
}
