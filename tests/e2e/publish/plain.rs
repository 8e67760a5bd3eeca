//! The cookbook with nothing but nginx, and what a test gives it besides.

use super::scene::{arguments, broken_tree, kitchen, ports};
use super::web::Site;
use crate::bench::{Bench, Outcome};
use trees_servers::free_port;

pub struct Plain {
    pub bench: Bench,
    pub site: Site,
    pub staging: Site,
    arguments: Vec<String>,
}

impl Plain {
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// One with more parameters.
    pub fn with(given: &[(&str, String)]) -> Self {
        let site = Site::plain(free_port());
        let places = ports(site.port);
        let staging = Site::plain(places[1].1.parse().unwrap());
        Self { bench: kitchen(), site, staging, arguments: [arguments(&places), arguments(given)].concat() }
    }

    /// Runs it, with what else stands on the command line.
    pub fn run(&self, version: &str, more: &[&str]) -> Outcome {
        self.run_file("publish.yaml", version, more)
    }

    fn run_file(&self, file: &str, version: &str, more: &[&str]) -> Outcome {
        let version = format!("version={version}");
        let mut all = vec!["run", file, "-p", &version];
        all.extend(self.arguments.iter().map(String::as_str));
        all.extend(more);
        self.bench.run(&all)
    }

    /// Runs it with a step that fails.
    pub fn run_broken(&self, step: &str, version: &str) -> Outcome {
        let text = broken_tree(&self.bench.read("publish.yaml"), step);
        self.bench.write("broken.yaml", text);
        self.run_file("broken.yaml", version, &["--approve", "*"])
    }

    /// What staging and production answer.
    pub fn versions(&self) -> [Result<String, String>; 2] {
        [&self.staging, &self.site].map(Site::version)
    }

    /// An output of a step of the newest run.
    pub fn output(&self, step: &str, name: &str) -> String {
        let shown = self.bench.run(&["show", "@last", "--format", "json"]).expect(0).json();
        let found = shown["steps"].as_array().unwrap().iter().find(|row| row["path"] == step).unwrap();
        found["outputs"][name].as_str().unwrap_or_else(|| panic!("{step} has no {name}: {found}")).to_owned()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.bench.end_deployments();
    }
}
