//! What is told of every kind that changes something elsewhere: it is made, made again without a write, changed by hand and
//! found out, and taken back.

use crate::bench::{Bench, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// A place with one tree file, `t.yaml`, and the secrets that it is given.
pub struct Place {
    pub bench: Bench,
    secrets: Vec<(&'static str, String)>,
}

/// What somebody does by hand.
pub type Hand<'a> = &'a dyn Fn();

/// A change by hand, how it is made good again, and what is said of it: the step and the field.
pub struct Drift<'a> {
    pub spoil: Hand<'a>,
    pub mend: Hand<'a>,
    pub step: &'a str,
    pub field: &'a str,
}

impl Place {
    pub fn new(tree: &str, secrets: &[(&'static str, &str)]) -> Self {
        let secrets = secrets.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { bench: Bench::with("t.yaml", tree), secrets }
    }

    fn trees(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.bench.command(arguments);
        command.envs(self.secrets.iter().map(|(name, value)| (name, value)));
        Outcome::of(&command.output().unwrap())
    }

    /// How each step of the newest run ended.
    fn ended(&self) -> BTreeMap<String, String> {
        let shown = self.trees(&["show", "@last", "--format", "json"]).expect(0).json();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        shown["steps"].as_array().unwrap().iter().map(|step| (word(&step["path"]), word(&step["status"]))).collect()
    }

    /// Tells it all. `world` is what stands at the target, `writes` tells how often it was written to.
    #[track_caller]
    pub fn story<W: PartialEq + std::fmt::Debug>(&self, world: &dyn Fn() -> W, writes: &dyn Fn() -> String, drifts: &[Drift<'_>]) {
        let before = world();
        self.trees(&["plan", "t.yaml"]).expect(10);
        self.trees(&["run", "t.yaml"]).expect(0);
        let (made, written) = (world(), writes());
        assert_ne!(made, before, "something is there now");

        assert!(self.trees(&["plan", "t.yaml"]).expect(0).stdout.contains("as they should be"));
        self.trees(&["run", "t.yaml"]).expect(0);
        assert!(self.ended().values().all(|status| status == "cached"), "{:?}", self.ended());
        self.trees(&["drift", "t#1"]).expect(0);
        assert_eq!((world(), writes()), (made, written), "a second run, a plan and a look write nothing");

        for drift in drifts {
            (drift.spoil)();
            let spoilt = (world(), writes());
            for command in [["drift", "t#1"], ["plan", "t.yaml"]] {
                let said = self.trees(&command).expect(10);
                let (_, after) = said.stdout.split_once(drift.step).unwrap_or_else(|| panic!("{command:?}: {}", said.stdout));
                assert!(after.contains(&format!("{}: ", drift.field)), "{command:?} names {}: {}", drift.field, said.stdout);
            }
            assert_eq!((world(), writes()), spoilt, "who looks mends nothing");
            (drift.mend)();
            self.trees(&["drift", "t#1"]).expect(0);
        }

        self.trees(&["rollback", "t#1", "--yes"]).expect(0);
        assert_eq!(world(), before, "all of it is taken back");
        self.trees(&["plan", "t.yaml"]).expect(10);
    }
}
