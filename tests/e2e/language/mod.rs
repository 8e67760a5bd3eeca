//! The pages about the tree language, judged line by line from outside: real tree files, the built
//! binary, real processes. [`Ran`] is what a test looks at.

mod approvals;
mod caching;
mod fan_out;
mod finally;
mod finish;
mod outputs;
mod params;
mod processes;
mod retry;
mod rules;
mod secrets;
mod sub_trees;
mod surroundings;
mod values;

use crate::bench::{Bench, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;

/// A tree that ran, and where.
pub struct Ran {
    /// The folder.
    pub bench: Bench,
    /// How the last command ended.
    pub outcome: Outcome,
}

/// A folder with a tree file, before it runs.
pub fn tree(text: &str) -> Bench {
    Bench::with("t.yaml", format!("tree: t\n{text}"))
}

/// Writes a tree file and runs it.
#[track_caller]
pub fn run(text: &str) -> Ran {
    run_in(tree(text), &[])
}

/// Runs the tree file of a folder with further arguments.
#[track_caller]
pub fn run_in(bench: Bench, arguments: &[&str]) -> Ran {
    let mut all = vec!["run", "t.yaml", "--format", "json"];
    all.extend(arguments);
    let outcome = bench.run(&all);
    Ran { bench, outcome }
}

/// What a tree is refused with, before anything runs.
#[track_caller]
pub fn refused(text: &str) -> String {
    let ran = run(text).code(2);
    assert_eq!(ran.outcome.stdout, "", "something ran");
    ran.outcome.stderr
}

impl Ran {
    /// Fails with all that was printed unless the command ended so.
    #[track_caller]
    pub fn code(mut self, code: i32) -> Self {
        self.outcome = self.outcome.expect(code);
        self
    }

    /// Another command in the same folder.
    pub fn then(mut self, arguments: &[&str]) -> Self {
        self.outcome = self.bench.run(arguments);
        self
    }

    /// The same tree again.
    pub fn again(self, arguments: &[&str]) -> Self {
        run_in(self.bench, arguments)
    }

    /// Goes on with the newest run.
    pub fn resume(self, arguments: &[&str]) -> Self {
        let mut all = vec!["resume", "@last", "--format", "json"];
        all.extend(arguments);
        self.then(&all)
    }

    /// The events the last command printed.
    pub fn events(&self) -> Vec<Value> {
        self.outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The types of the events of a step, in order.
    pub fn story(&self, step: &str) -> String {
        let of = |event: &Value| (event["step"] == step).then(|| event["type"].as_str().unwrap().to_owned());
        self.events().iter().filter_map(of).collect::<Vec<_>>().join(" ")
    }

    /// The newest event of a type about a step.
    #[track_caller]
    pub fn event(&self, step: &str, kind: &str) -> Value {
        let found = self.events().into_iter().rfind(|e| e["step"] == step && e["type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} of {step}:\n{}{}", self.outcome.stdout, self.outcome.stderr))
    }

    /// The newest run as `trees show` gives it.
    pub fn show(&self) -> Value {
        self.bench.run(&["show", "@last", "--format", "json"]).expect(0).json()
    }

    /// The steps of the newest run by their paths.
    pub fn steps(&self) -> BTreeMap<String, Value> {
        let steps = self.show()["steps"].as_array().unwrap().clone();
        steps.into_iter().map(|step| (step["path"].as_str().unwrap().to_owned(), step)).collect()
    }

    /// `path=status` of all steps, sorted by path.
    pub fn statuses(&self) -> String {
        let of = |(path, step): (&String, &Value)| format!("{path}={}", step["status"].as_str().unwrap());
        self.steps().iter().map(of).collect::<Vec<_>>().join(" ")
    }

    /// The code of the reason of a step's end.
    pub fn reason(&self, step: &str) -> String {
        self.steps()[step]["reason"]["code"].as_str().unwrap_or("").to_owned()
    }

    /// The text of the reason of a step's end.
    pub fn text(&self, step: &str) -> String {
        self.steps()[step]["reason"]["text"].as_str().unwrap_or("").to_owned()
    }

    /// The outputs of a step.
    pub fn outputs(&self, step: &str) -> Value {
        self.steps()[step]["outputs"].clone()
    }

    /// What a step printed.
    #[track_caller]
    pub fn log(&self, step: &str) -> String {
        self.bench.run(&["logs", "@last", step]).expect(0).stdout
    }
}

/// Fails unless the text has it.
#[track_caller]
pub fn has(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in:\n{text}");
}
