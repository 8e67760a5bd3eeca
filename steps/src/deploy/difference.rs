//! How the release that is there differs from the one that is wanted.

use super::record::Release;
use crate::change::difference;
use serde_json::json;
use std::collections::BTreeMap;
use trees_core::event::Json;
use trees_runner::kind::Change;
use trees_runner::mask::Masker;

/// One difference.
pub fn change(field: &str, old: Json, new: Json) -> Change {
    Change::new(field, old, new)
}

/// What differs, with `found` as the digests of the files that are there; never a value of the
/// environment, nor a command with a secret in it: nobody knows how it was called before.
pub fn differences(there: &Release, wanted: &Release, found: &BTreeMap<String, String>, mask: &Masker) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |field: &str, old: Json, new: Json| changes.extend(difference(field, old, new, mask));
    compare("release", json!(there.release), json!(wanted.release));
    compare("command", json!(there.start.command), json!(wanted.start.command));
    compare("host", json!(there.host), json!(wanted.host));
    compare("port", json!(there.port), json!(wanted.port));
    compare("health", json!(there.health), json!(wanted.health));
    for name in union(&there.files, &wanted.files) {
        let old = found.get(name).filter(|_| there.files.contains_key(name));
        compare(&format!("files.{name}"), json!(old), json!(wanted.files.get(name)));
    }
    for name in union(&there.start.env, &wanted.start.env) {
        let (old, new) = (there.start.env.get(name), wanted.start.env.get(name));
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
