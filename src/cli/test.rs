//! `trees test`: the cases beside a tree, each with its steps mocked and time virtual.

use super::check;
use super::global::Global;
use super::source::{self, TreeFile};
use crate::diagnose::Findings;
use crate::failure::{Exit, Failure};
use crate::report::junit::{self, Suite, junit};
use crate::report::said::{plural, took};
use crate::report::{Line, Paint, clean, out_json, out_line};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::Json;
use trees_core::language::{self, Source, Sources};
use trees_core::tree::Tree;
use trees_core::trial::{self, Case, Mismatch, Verdict};

/// How a test file's name ends.
const ENDINGS: [&str; 2] = [".test.yaml", ".test.yml"];

/// Try a tree without doing it: its steps mocked, time virtual.
///
/// The cases stand in NAME.test.yaml beside the tree file NAME.yaml: what becomes of steps, what
/// people answer, and what must come of it. Nothing is executed, a retry of hours takes no time.
/// Exit 1 if a case fails, 2 if a file is wrong.
#[derive(clap::Args)]
pub struct Args {
    /// The tree file, the name of a cookbook, or the test file
    file: String,
    /// Only the cases whose names contain this
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Write the results as JUnit XML, for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// A case with what came of it.
struct Tried {
    case: Case,
    verdict: Verdict,
}

/// A test file with its tree.
struct Trials {
    tree: Arc<Tree>,
    /// The test file as told to people.
    file: String,
    /// What was found in the tree.
    findings: Findings,
    /// Its cases, or all that is wrong with it.
    cases: Result<Vec<Case>, Findings>,
}

impl Trials {
    /// Finds both files and reads them; or what is wrong with the tree.
    fn find(file: &str) -> Result<Result<Self, Findings>, Failure> {
        let (tree_file, tests) = files(file)?;
        let kinds = trees_steps::catalogue();
        let checked = tree_file.check(&kinds);
        let of_tree = tree_file.findings(&checked);
        let Some(tree) = checked.tree else { return Ok(Err(of_tree)) };
        let file = format!("{}{}", tree_file.prefix, tests.name);
        let cases = trial::read(&tests, &tree, &kinds);
        let findings = |diagnostics| Findings { diagnostics, sources: Sources { files: vec![tests] }, prefix: tree_file.prefix.clone() };
        Ok(Ok(Self { tree, file, findings: of_tree, cases: cases.map_err(findings) }))
    }
}

/// Whether a name is that of a test file.
pub fn is_test_file(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Checks a test file and its tree: what is wrong with each, and a line where the test file is fine.
pub fn checked(file: &str) -> Result<(Vec<Findings>, String), Failure> {
    let trials = match Trials::find(file)? {
        Ok(trials) => trials,
        Err(of_tree) => return Ok((vec![of_tree], String::new())),
    };
    Ok(match trials.cases {
        Ok(cases) => (vec![trials.findings], format!("{file}: {} is fine, {}\n", trials.tree.name, plural(cases.len(), "case"))),
        Err(of_cases) => (vec![trials.findings, of_cases], String::new()),
    })
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let Trials { tree, file, findings, cases } = match Trials::find(&args.file)? {
        Ok(trials) => trials,
        Err(findings) => {
            check::print(&findings);
            return Ok(Exit::WRONG);
        }
    };
    check::print(&findings);
    let cases = match cases {
        Ok(cases) => cases,
        Err(findings) => {
            check::print(&findings);
            return Ok(Exit::WRONG);
        }
    };
    let chosen: Vec<Case> = cases.into_iter().filter(|c| args.case.as_ref().is_none_or(|part| c.name.contains(part.as_str()))).collect();
    if chosen.is_empty() {
        return Err(Failure::wrong(format!("no case has `{}` in its name", args.case.as_deref().unwrap_or_default())));
    }
    let kinds = trees_steps::catalogue();
    let mut tried = Vec::with_capacity(chosen.len());
    for case in chosen {
        let verdict = trial::run(&case, &tree, &kinds).map_err(Failure::bug)?;
        if !json {
            print(&case, &verdict, &file, global.quiet);
        }
        tried.push(Tried { case, verdict });
    }
    if let Some(path) = &args.junit {
        write(path, &tree.name, &file, &tried)?;
    }
    let failed = tried.iter().filter(|t| !t.verdict.mismatches.is_empty()).count();
    if json {
        out_json(&document(&tree, &file, &tried, failed));
    } else {
        let (paint, said) = if failed == 0 { (Paint::Good, "passed".to_owned()) } else { (Paint::Bad, format!("{failed} failed")) };
        out_line(&Line::default().with(Paint::Plain, format!("{}: ", plural(tried.len(), "case"))).with(paint, said).painted_out());
    }
    Ok(if failed == 0 { Exit::OK } else { Exit::FAILED })
}

fn document(tree: &Tree, file: &str, tried: &[Tried], failed: usize) -> Value {
    let cases: Vec<Value> = tried.iter().map(row).collect();
    json!({
        "schema": "trees/test", "version": 1, "file": file, "tree": tree.name,
        "passed": tried.len() - failed, "failed": failed, "cases": cases,
    })
}

/// The tree file and its test file, whichever of them is named.
fn files(file: &str) -> Result<(TreeFile, Source), Failure> {
    if let Some(stem) = ENDINGS.iter().find_map(|e| file.strip_suffix(e)) {
        let text = source::read(Path::new(file)).map_err(Failure::wrong)?;
        let name = Path::new(file).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let tests = Source { name, text };
        let tree = trial::tree_named(&tests).map_or_else(|| format!("{stem}.yaml"), |named| language::join(file, &named));
        let found = TreeFile::find(if tree.contains('/') { tree } else { format!("./{tree}") }.as_str())?;
        // Names of texts start at the tree file; this one is told as it was given.
        let name = file.strip_prefix(&found.prefix).unwrap_or(&tests.name).to_owned();
        return Ok((
            TreeFile { prefix: file.strip_suffix(name.as_str()).unwrap_or_default().to_owned(), ..found },
            Source { name, ..tests },
        ));
    }
    let found = TreeFile::find(file)?;
    let stem = found.top.name.strip_suffix(".yaml").or_else(|| found.top.name.strip_suffix(".yml")).unwrap_or(&found.top.name).to_owned();
    let tests = ENDINGS.iter().find_map(|ending| found.beside(&format!("{stem}{ending}")).ok());
    let tests = tests.ok_or_else(|| {
        // A file that is there and cannot be read says why.
        let why = found.beside(&format!("{stem}.test.yaml")).err().unwrap_or_default();
        Failure::wrong(format!("no cases for {}: {why}", found.given))
            .hint(format!("write them to {}{stem}.test.yaml; its form: trees schema --tests", found.prefix))
    })?;
    Ok((found, tests))
}

fn print(case: &Case, verdict: &Verdict, file: &str, quiet: bool) {
    let name = clean(&case.name);
    let time = if verdict.took.is_zero() { String::new() } else { format!(", {} of virtual time", took(verdict.took)) };
    let about = format!("  {} after {}{time}", verdict.status.replace('_', " "), plural(verdict.steps.len(), "step"));
    if verdict.mismatches.is_empty() {
        if !quiet {
            out_line(&Line::default().with(Paint::Good, "✓ ").with(Paint::Plain, name).with(Paint::Faint, about).painted_out());
        }
        return;
    }
    out_line(&Line::default().with(Paint::Bad, "✗ ").with(Paint::Strong, name).with(Paint::Faint, about).painted_out());
    for mismatch in &verdict.mismatches {
        let place = format!("    {file}:{} ", mismatch.span.line);
        out_line(&Line::default().with(Paint::Faint, place).with(Paint::Plain, sentence(mismatch)).painted_out());
    }
    for (path, status, why) in &verdict.steps {
        let why = why.as_deref().map(|w| format!(": {}", clean(w.lines().next().unwrap_or_default()))).unwrap_or_default();
        out_line(&Line::default().with(Paint::Faint, format!("      {path} {}{why}", status.phrase())).painted_out());
    }
}

fn sentence(mismatch: &Mismatch) -> String {
    format!("{}: expected {}, was {}", mismatch.what, shown(&mismatch.expected), shown(&mismatch.actual))
}

/// A text as it is, other values as JSON.
fn shown(value: &Json) -> String {
    match value {
        Json::Null => "nothing".into(),
        Json::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

fn row(tried: &Tried) -> Value {
    let Tried { case, verdict } = tried;
    let failures: Vec<Value> = verdict
        .mismatches
        .iter()
        .map(|m| json!({ "what": m.what, "expected": m.expected, "actual": m.actual, "line": m.span.line, "column": m.span.column }))
        .collect();
    let steps: Vec<Value> =
        verdict.steps.iter().map(|(path, status, why)| json!({ "path": path, "status": status.as_str(), "reason": why })).collect();
    let status = if failures.is_empty() { "passed" } else { "failed" };
    json!({
        "case": case.name, "line": case.span.line, "status": status, "run": verdict.status,
        "took_ms": u64::try_from(verdict.took.as_millis()).unwrap_or(u64::MAX), "failures": failures, "steps": steps,
    })
}

fn write(path: &Path, tree: &str, file: &str, tried: &[Tried]) -> Result<(), Failure> {
    let case = |t: &Tried| junit::Case {
        name: t.case.name.clone(),
        line: t.case.span.line,
        took: t.verdict.took,
        failures: t.verdict.mismatches.iter().map(|m| format!("{file}:{} {}", m.span.line, sentence(m))).collect(),
    };
    let suite = Suite { name: tree, file, cases: tried.iter().map(case).collect() };
    let text = junit(&suite).map_err(Failure::bug)?;
    fs::write(path, text).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))
}
