//! Random trees, written as text and checked like any other.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use trees_core::language::{self, Loader, Source};
use trees_core::tree::{NoKinds, Tree};

/// xorshift64*: small, seeded, good enough to wander.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 0..n
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n.max(1)
    }

    pub fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap();
        &of[at]
    }
}

pub struct Forest {
    pub seed: u64,
    pub text: String,
    /// The files as written, by name: the top tree is `top`.
    pub written: BTreeMap<String, Value>,
    pub tree: Arc<Tree>,
}

struct Files(HashMap<String, String>);

impl Loader for Files {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = language::join(from, path);
        let text = self.0.get(&name).ok_or_else(|| format!("no {name}"))?;
        Ok(Source { name, text: text.clone() })
    }
}

impl Forest {
    pub fn grow(seed: u64) -> Self {
        Self::plant(seed, Sort::Wild)
    }

    /// Without conditions, rules and external steps.
    pub fn grow_calm(seed: u64) -> Self {
        Self::plant(seed, Sort::Calm)
    }

    /// Steps that can be taken back, and trees that are.
    pub fn grow_undoable(seed: u64) -> Self {
        Self::plant(seed, Sort::Undoable)
    }

    fn plant(seed: u64, sort: Sort) -> Self {
        let mut dice = Dice::new(seed);
        let (wild, undoable) = (sort != Sort::Calm, sort == Sort::Undoable);
        let (mut files, mut written) = (HashMap::new(), BTreeMap::new());
        for name in ["one", "two"] {
            let inner =
                Gardener { dice: &mut dice, wild, undoable, subs: if name == "two" { &["one"] } else { &[] }, top: false }.tree(name, 4);
            files.insert(format!("{name}.yaml"), serde_json::to_string_pretty(&inner).unwrap());
            written.insert(name.to_owned(), inner);
        }
        let top = Gardener { dice: &mut dice, wild, undoable, subs: &["one", "two"], top: true }.tree("top", 9);
        let text = serde_json::to_string_pretty(&top).unwrap();
        written.insert("top".to_owned(), top);
        let checked = language::check(Source { name: "top.yaml".into(), text: text.clone() }, &Files(files), &NoKinds);
        let tree = checked.tree.unwrap_or_else(|| panic!("seed {seed}: {:#?}\n{text}", checked.diagnostics));
        Self { seed, text, written, tree }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Calm,
    Wild,
    Undoable,
}

struct Gardener<'a> {
    dice: &'a mut Dice,
    wild: bool,
    undoable: bool,
    subs: &'a [&'a str],
    top: bool,
}

impl Gardener<'_> {
    fn tree(&mut self, name: &str, most: u64) -> Value {
        let count = 1 + self.dice.below(most);
        let steps = self.steps("s", count);
        let mut tree = Map::new();
        tree.insert("tree".into(), name.into());
        tree.insert("steps".into(), Value::Object(steps));
        if self.dice.percent(40) {
            let count = 1 + self.dice.below(2);
            let finally = self.steps("f", count);
            tree.insert("finally".into(), Value::Object(finally));
        }
        if self.top {
            tree.insert("max_parallel".into(), (1 + self.dice.below(4)).into());
            tree.insert("pools".into(), json!({ "small": 1, "wide": 2 }));
            tree.insert("environments".into(), json!({ "lab": { "default": true }, "live": { "protected": true } }));
            if self.wild && self.dice.percent(20) {
                tree.insert("on_failure".into(), "stop".into());
            }
            if self.undoable && self.dice.percent(70) {
                tree.insert("on_failure".into(), (*self.dice.pick(&["rollback", "rollback", "pause", "cancel"])).into());
            }
            if self.wild && self.dice.percent(10) {
                tree.insert("deadline".into(), format!("{}s", 20 + self.dice.below(200)).into());
            }
        }
        Value::Object(tree)
    }

    fn steps(&mut self, prefix: &str, count: u64) -> Map<String, Value> {
        let mut steps: Map<String, Value> = Map::new();
        for at in 0..count {
            let step = self.step(prefix, at, &steps);
            steps.insert(format!("{prefix}{at}"), step);
        }
        steps
    }

    fn step(&mut self, prefix: &str, at: u64, before: &Map<String, Value>) -> Value {
        let mut step = Map::new();
        let main = prefix == "s";
        self.action(&mut step, main);
        self.needs(&mut step, prefix, at, before);
        let leaf = step.contains_key("run");
        if step.contains_key("approve") {
            return Value::Object(step);
        }
        if self.dice.percent(30) {
            step.insert("retry".into(), json!({ "attempts": 1 + self.dice.below(3), "delay": "2s", "factor": 2, "jitter": 0.1 }));
        }
        if self.dice.percent(15) && self.top && leaf {
            step.insert("pool".into(), (*self.dice.pick(&["small", "wide"])).into());
        }
        if self.dice.percent(10) {
            // A lock of a sub-tree is always taken before one of its leaves.
            step.insert("lock".into(), if leaf { (*self.dice.pick(&["left", "right"])).into() } else { "outer".into() });
        }
        if self.wild {
            self.wild_keys(&mut step, leaf, main);
        }
        if self.undoable && main {
            self.undo_keys(&mut step, leaf);
        }
        Value::Object(step)
    }

    fn undo_keys(&mut self, step: &mut Map<String, Value>, leaf: bool) {
        if !self.dice.percent(if leaf { 70 } else { 20 }) {
            return;
        }
        let mut undo = json!({ "run": ":" });
        if self.dice.percent(30) {
            undo["retry"] = json!({ "attempts": 2, "delay": "1s" });
        }
        if self.dice.percent(15) && leaf {
            undo["when"] = "started".into();
        }
        step.insert("undo".into(), undo);
        if self.dice.percent(20) && leaf {
            step.insert("effect".into(), "external".into());
            step.insert("on_crash".into(), "undo_first".into());
        }
        if self.dice.percent(5) && leaf {
            step.insert("pivot".into(), true.into());
        }
    }

    fn action(&mut self, step: &mut Map<String, Value>, main: bool) {
        let roll = self.dice.below(100);
        if roll < 15 && !self.subs.is_empty() {
            let sub = self.dice.pick(self.subs);
            step.insert("tree".into(), format!("./{sub}.yaml").into());
        } else if roll < 22 && main {
            let mut approve = json!({ "message": "go?" });
            if self.wild && self.dice.percent(30) {
                approve["timeout"] = "60s".into();
            }
            step.insert("approve".into(), approve);
        } else {
            step.insert("run".into(), ":".into());
        }
        if !step.contains_key("approve") && self.dice.percent(20) {
            let items: Vec<String> = (0..self.dice.below(4)).map(|i| format!("k{i}")).collect();
            step.insert("foreach".into(), json!({ "items": items }));
            if self.dice.percent(30) {
                step.insert("max_parallel".into(), 1.into());
            }
            if self.wild && self.dice.percent(30) {
                step.insert("tolerate".into(), 1.into());
            }
        }
    }

    fn needs(&mut self, step: &mut Map<String, Value>, prefix: &str, at: u64, before: &Map<String, Value>) {
        let mut needs: Vec<Value> = Vec::new();
        for other in 0..at {
            if self.dice.percent(30) {
                needs.push(format!("{prefix}{other}").into());
            }
        }
        let partner = before.iter().find(|(_, s)| s.get("foreach").is_some() && s.get("foreach") == step.get("foreach"));
        if let (Some((id, _)), true) = (partner, self.dice.percent(50)) {
            needs.retain(|n| n != id);
            needs.push(json!({ "step": id, "by": "key" }));
        }
        if needs.is_empty() {
            return;
        }
        let rules =
            ["all_succeeded", "none_failed", "none_failed_min_one_succeeded", "all_done", "one_succeeded", "one_failed", "all_failed"];
        if self.wild && self.dice.percent(30) {
            let rule = *self.dice.pick(&rules);
            step.insert("needs".into(), json!({ "steps": needs, "rule": rule }));
        } else {
            step.insert("needs".into(), needs.into());
        }
        if self.wild && self.dice.percent(10) {
            step.insert("if".into(), (*self.dice.pick(&["failed()", "not failed()", "environment == 'lab'", "environment == 'x'"])).into());
        }
    }

    fn wild_keys(&mut self, step: &mut Map<String, Value>, leaf: bool, main: bool) {
        if self.dice.percent(15) {
            step.insert("allow_failure".into(), true.into());
        }
        if self.dice.percent(10) && self.top && main {
            step.insert("environment".into(), "live".into());
        }
        if self.dice.percent(20) && leaf {
            step.insert("effect".into(), "external".into());
            step.insert("on_crash".into(), (*self.dice.pick(&["ask", "fail", "rerun"])).into());
        }
        if self.dice.percent(15) {
            step.insert("verify".into(), json!({ "run": ":" }));
        }
        if self.dice.percent(10) {
            step.insert("check".into(), json!({ "run": ":" }));
        }
        if self.dice.percent(15) {
            step.insert("timeout".into(), "30s".into());
        }
        if self.dice.percent(10) {
            step.insert("deadline".into(), "90s".into());
        }
    }
}
