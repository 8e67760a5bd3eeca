//! The tree files as written: what a path stands for, read each time anew.

use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, Copy)]
pub struct Written<'a>(pub &'a BTreeMap<String, Value>);

/// `a/b[k]` stands in `a`; a step of the top tree in ``.
pub fn scope_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(scope, _)| scope)
}

/// `a/b[k]` is an instance of `a/b`.
pub fn group_of(path: &str) -> &str {
    if path.ends_with(']') { path.rsplit_once('[').map_or(path, |(group, _)| group) } else { path }
}

pub fn key_of(path: &str) -> Option<&str> {
    path.strip_suffix(']')?.rsplit_once('[').map(|(_, key)| key)
}

fn id_of(path: &str) -> &str {
    let group = group_of(path);
    group.rsplit_once('/').map_or(group, |(_, id)| id)
}

pub fn join(scope: &str, id: &str) -> String {
    if scope.is_empty() { id.to_owned() } else { format!("{scope}/{id}") }
}

/// The fan-out or sub-tree that it is a part of.
pub fn container(path: &str) -> Option<&str> {
    let whole = if key_of(path).is_some() { group_of(path) } else { scope_of(path) };
    (!whole.is_empty()).then_some(whole)
}

/// What it is a part of, directly or not.
pub fn containers(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(container(path), |at| container(at))
}

impl<'a> Written<'a> {
    pub fn tree(self, scope: &str) -> &'a Value {
        let name = if scope.is_empty() {
            "top"
        } else {
            self.step(scope)["tree"].as_str().and_then(|t| t.strip_prefix("./")).and_then(|t| t.strip_suffix(".yaml")).unwrap_or("")
        };
        &self.0[name]
    }

    pub fn step(self, path: &str) -> &'a Value {
        let (tree, id) = (self.tree(scope_of(path)), id_of(path));
        tree["steps"].get(id).unwrap_or(&tree["finally"][id])
    }

    pub fn is_known(self, path: &str) -> bool {
        containers(path).all(|c| !self.step(c).is_null()) && !self.step(path).is_null()
    }

    /// The steps of a tree at work.
    pub fn steps(self, scope: &str) -> Vec<String> {
        let tree = self.tree(scope);
        let ids = ["steps", "finally"].iter().filter_map(|part| tree[*part].as_object()).flat_map(|o| o.keys());
        ids.map(|id| join(scope, id)).collect()
    }

    pub fn is_finally(self, path: &str) -> bool {
        self.tree(scope_of(path))["finally"].get(id_of(path)).is_some()
    }

    pub fn in_finally(self, path: &str) -> bool {
        self.is_finally(path) || containers(path).any(|c| self.is_finally(c))
    }

    pub fn has(self, path: &str, key: &str) -> bool {
        self.step(path).get(key).is_some()
    }

    pub fn text(self, path: &str, key: &str) -> &'a str {
        self.step(path)[key].as_str().unwrap_or("")
    }

    pub fn is_tree(self, path: &str) -> bool {
        self.has(path, "tree") && !self.is_whole(path)
    }

    /// The fan-out itself, not one of its instances.
    pub fn is_whole(self, path: &str) -> bool {
        key_of(path).is_none() && self.has(path, "foreach")
    }

    pub fn is_leaf(self, path: &str) -> bool {
        self.has(path, "run") && !self.is_whole(path)
    }

    pub fn is_approval(self, path: &str) -> bool {
        self.has(path, "approve")
    }

    pub fn items(self, path: &str) -> Vec<String> {
        let items = self.step(path)["foreach"]["items"].as_array();
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// What it needs, and whether key by key.
    pub fn needs(self, path: &str) -> Vec<(String, bool)> {
        let needs = &self.step(path)["needs"];
        let list = needs.get("steps").unwrap_or(needs).as_array();
        let scope = scope_of(path);
        let one = |need: &Value| match need.as_str() {
            Some(id) => (join(scope, id), false),
            None => (join(scope, need["step"].as_str().unwrap_or("")), true),
        };
        list.into_iter().flatten().map(one).collect()
    }

    pub fn rule(self, path: &str) -> &'a str {
        let asks = self.text(path, "if").contains("failed()");
        self.step(path)["needs"]["rule"].as_str().unwrap_or(if asks { "all_done" } else { "all_succeeded" })
    }

    /// Under these a step may begin before all that it needs has ended.
    pub fn is_early(self, path: &str) -> bool {
        matches!(self.rule(path), "one_succeeded" | "one_failed")
    }

    pub fn attempts(self, path: &str) -> u64 {
        self.step(path)["retry"]["attempts"].as_u64().unwrap_or(1)
    }

    pub fn undo_attempts(self, path: &str) -> u64 {
        self.step(path)["undo"]["retry"]["attempts"].as_u64().unwrap_or(1)
    }

    pub fn allows_failure(self, path: &str) -> bool {
        self.step(path)["allow_failure"] == true
    }

    pub fn is_external(self, path: &str) -> bool {
        self.text(path, "effect") == "external" || (self.is_leaf(path) && self.has(path, "undo"))
    }

    pub fn on_crash(self, path: &str) -> &'a str {
        let by_effect = if self.is_external(path) { "ask" } else { "rerun" };
        let by_check = if self.has(path, "check") && self.is_leaf(path) { "check" } else { by_effect };
        self.step(path)["on_crash"].as_str().unwrap_or(by_check)
    }

    /// The environment that it works for.
    pub fn environment(self, path: &str) -> &'a str {
        let own = std::iter::once(path).chain(containers(path)).find_map(|at| self.step(at)["environment"].as_str());
        own.unwrap_or("lab")
    }

    pub fn on_failure(self) -> &'a str {
        self.0["top"]["on_failure"].as_str().unwrap_or("continue")
    }

    /// Seconds.
    pub fn seconds(self, path: &str, key: &str) -> Option<f64> {
        let text = if path.is_empty() { self.0["top"][key].as_str() } else { self.step(path)[key].as_str() };
        text?.strip_suffix('s')?.parse().ok()
    }
}
