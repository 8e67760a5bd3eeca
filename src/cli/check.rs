//! `trees check`: validates tree files.

use super::global::{Format, Global};
use super::source::TreeFile;
use super::test;
use crate::diagnose::{Document, Excerpts, Findings, sarif};
use crate::failure::{Exit, Failure};
use crate::report::said::plural;
use crate::report::{out, out_json, say};
use std::sync::Arc;
use trees_core::diagnostic::{Diagnostic, Span};
use trees_core::language::{Source, Sources};
use trees_core::tree::Tree;

/// Check tree files without running anything.
///
/// All that is wrong is reported at once, each with file, line, column, the source line and a
/// proposal. Exit 2 if there are errors.
#[derive(clap::Args)]
pub struct Args {
    /// Tree files, test files, or names of cookbooks
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let format = global.known(&[Format::Human, Format::Plain, Format::Json, Format::Sarif])?;
    let kinds = trees_steps::catalogue();
    let mut all = Vec::new();
    let mut fine = Vec::new();
    for file in &args.files {
        if test::is_test_file(file) {
            match test::checked(file) {
                Err(failure) => all.push(unreadable(file, &failure)),
                Ok((findings, line)) => {
                    fine.push(line);
                    all.extend(findings);
                }
            }
            continue;
        }
        match TreeFile::find(file) {
            Err(failure) => all.push(unreadable(file, &failure)),
            Ok(source) => {
                let checked = source.check(&kinds);
                fine.extend(checked.tree.as_deref().map(|tree| fine_line(file, tree)));
                all.push(Findings { diagnostics: checked.diagnostics, sources: checked.sources, prefix: source.prefix });
            }
        }
    }
    match format {
        Some(Format::Json) => {
            out_json(&Document(&all));
        }
        Some(Format::Sarif) => out_json(&sarif(&all)),
        _ => {
            all.iter().for_each(print);
            if !global.quiet {
                out(&fine.concat());
            }
        }
    }
    let wrong = all.iter().any(|f| f.diagnostics.iter().any(|d| d.is_error() || args.strict));
    Ok(if wrong { Exit::WRONG } else { Exit::OK })
}

/// Draws what was found on standard error, with a count.
pub fn print(findings: &Findings) {
    let excerpts = Excerpts::of(findings, console::colors_enabled_stderr());
    for diagnostic in &findings.diagnostics {
        say(&excerpts.draw(diagnostic));
    }
    match findings.counts() {
        (0, 0) => {}
        (0, warnings) => say(&plural(warnings, "warning")),
        (errors, 0) => say(&plural(errors, "error")),
        (errors, warnings) => say(&format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))),
    }
}

/// Checks what is about to be used: draws what is wrong, gives the tree if nothing stops it.
pub fn tree(source: &TreeFile, kinds: &trees_steps::Catalogue) -> Result<(Arc<Tree>, Sources), Exit> {
    let checked = source.check(kinds);
    print(&source.findings(&checked));
    checked.tree.map(|tree| (tree, checked.sources)).ok_or(Exit::WRONG)
}

fn fine_line(file: &str, tree: &Tree) -> String {
    format!("{file}: {} is fine, {}\n", tree.name, plural(tree.steps.len(), "step"))
}

/// A file that could not be read, as a diagnostic like the others.
fn unreadable(file: &str, failure: &Failure) -> Findings {
    let mut diagnostic = Diagnostic::error("unreadable", Span::default(), failure.to_string());
    diagnostic.help = failure.hints.first().cloned();
    let source = Source { name: file.to_owned(), text: String::new() };
    Findings { diagnostics: vec![diagnostic], sources: Sources { files: vec![source] }, prefix: String::new() }
}
