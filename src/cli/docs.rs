//! The hidden command that writes the reference pages of the book from what the binary knows.

use super::steps::{cell, properties};
use crate::failure::{Exit, Failure};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::tree::Kinds as _;
use trees_core::{expr, language};

const MADE: &str = "<!-- made by `trees __docs`; do not edit -->\n\n";

/// Write the reference pages.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the reference, docs/reference
    dir: PathBuf,
}

/// Does it.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    for (path, text) in pages() {
        let path = args.dir.join(path);
        write(&path, &format!("{MADE}{text}")).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))?;
    }
    Ok(Exit::OK)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text)
}

/// All pages by their paths.
fn pages() -> Vec<(String, String)> {
    let catalogue = trees_steps::catalogue();
    let kinds = || catalogue.names().into_iter().filter_map(|name| catalogue.kind(name));
    let mut pages: Vec<(String, String)> = vec![
        ("cli.md".into(), cli()),
        ("keys.md".into(), keys()),
        ("diagnostics.md".into(), codes()),
        ("expressions.md".into(), expressions()),
    ];
    let mut index = String::from("# Step kinds\n\n| kind | |\n| --- | --- |\n");
    for kind in kinds() {
        let file = format!("{}.md", kind.name.replace('/', "-"));
        writeln!(index, "| [{}]({file}) | {} |", kind.name, kind.summary).unwrap_or_default();
        pages.push((format!("steps/{file}"), super::steps::page(kind)));
    }
    pages.push(("steps/README.md".into(), index));
    pages
}

/// Every key of a tree file, from the schema that `trees schema` prints.
fn keys() -> String {
    let schema = language::schema(&trees_steps::catalogue());
    let mut text = String::from("# Keys of a tree file\n\n");
    record(&mut text, &schema, "Tree", &schema);
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten().filter(|(name, _)| !name.contains(':')) {
        record(&mut text, &schema, name, definition);
    }
    text
}

fn record(text: &mut String, root: &Value, name: &str, schema: &Value) {
    let about = schema["description"].as_str().unwrap_or_default();
    write!(text, "## {name}\n\n{about}\n\n| key | type | | |\n| --- | --- | --- | --- |\n").unwrap_or_default();
    let mut rows = Vec::new();
    properties(root, schema, &mut rows);
    rows.push("\n".into());
    text.push_str(&rows.concat());
}

/// The codes of diagnostics.
fn codes() -> String {
    let rows = language::codes().iter().map(|(code, about)| format!("| `{code}` | {} |\n", cell(about)));
    format!("# Diagnostics\n\nWhat `trees check` finds, by its code.\n\n| code | |\n| --- | --- |\n{}", rows.collect::<String>())
}

/// What an expression may use.
fn expressions() -> String {
    let names = expr::scope_names().iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let mut text = format!("# Expressions\n\nNames in scope: {names}; in a fan-out also the name given by `as`.\n\n");
    for (title, form, entries) in
        [("Filters", "x | ", expr::filters()), ("Functions", "", expr::functions()), ("Tests", "x is ", expr::tests())]
    {
        write!(text, "## {title}\n\n| | arguments | |\n| --- | --- | --- |\n").unwrap_or_default();
        for entry in entries {
            let argument = |a: &expr::Argument| if a.required { format!("`{}`", a.name) } else { format!("`{}` (optional)", a.name) };
            let arguments = entry.arguments.iter().map(argument).collect::<Vec<_>>().join(", ");
            writeln!(text, "| `{}` | {arguments} | {} |", cell(&format!("{form}{}", entry.name)), cell(entry.about)).unwrap_or_default();
        }
        text.push('\n');
    }
    text
}

/// Every command with its options, from the definition that parses them.
fn cli() -> String {
    let mut root = super::definition().term_width(100);
    root.build();
    let mut text = String::from("# The command line\n\n");
    section(&mut text, root.clone(), 2);
    text
}

fn section(text: &mut String, mut command: clap::Command, depth: usize) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    writeln!(text, "{} {name}\n\n```text\n{}\n```\n", "#".repeat(depth), help.join("\n").trim_end()).unwrap_or_default();
    let inner: Vec<clap::Command> = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help").cloned().collect();
    for command in inner {
        section(text, command, (depth + 1).min(3));
    }
}
