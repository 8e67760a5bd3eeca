//! `trees cookbook`: ready tree files, listed, shown, begun.

pub mod shelf;

use super::global::Global;
use super::init;
use crate::failure::{Exit, Failure};
use crate::report::{out, out_json, say, style};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use trees_core::language::{self, Source};

/// Cookbooks: tree files that are ready to run.
///
/// They stand in `./cookbooks`, in `$XDG_CONFIG_HOME/trees/cookbooks`, and in the binary, looked up
/// in this order. A cookbook is a folder NAME with the tree file NAME.yaml in it.
#[derive(clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the cookbooks
    List,
    /// Print a cookbook's tree file
    Show {
        /// Its name
        name: String,
    },
    /// Begin a cookbook of your own: NAME/NAME.yaml in ./cookbooks
    New {
        /// Its name: letters, digits, hyphens
        name: String,
        /// The folder of cookbooks
        #[arg(long, value_name = "DIR", default_value = "cookbooks")]
        dir: PathBuf,
    },
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    match args.command {
        Command::List => list(global),
        Command::Show { name } => show(&name, global),
        Command::New { name, dir } => new(&name, &dir),
    }
}

fn list(global: &Global) -> Result<Exit, Failure> {
    let all: Vec<(shelf::Listed, String)> = shelf::all().into_iter().map(|c| (summary(&c), c)).map(|(s, c)| (c, s)).collect();
    if global.json()? {
        let rows: Vec<Value> = all.iter().map(|(c, text)| json!({ "name": c.name, "place": c.place, "description": text })).collect();
        out_json(&json!({ "schema": "trees/cookbooks", "version": 1, "cookbooks": rows }));
        return Ok(Exit::OK);
    }
    let width = all.iter().map(|(c, _)| c.name.len()).max().unwrap_or(0);
    for (cookbook, text) in &all {
        out(&format!("{}  {text} ({})\n", style::pad(&cookbook.name, width), cookbook.place));
    }
    Ok(Exit::OK)
}

/// The description in a cookbook's tree file.
fn summary(cookbook: &shelf::Listed) -> String {
    let folder = shelf::find(&cookbook.name);
    let name = format!("{}.yaml", cookbook.name);
    let checked = match folder {
        Ok(Some(shelf::Found::BuiltIn(built_in))) => {
            language::check(Source { name, text: cookbook.text.clone() }, &built_in, &trees_steps::catalogue())
        }
        Ok(Some(shelf::Found::Folder(path))) => match super::source::TreeFile::find(&path.display().to_string()) {
            Ok(file) => file.check(&trees_steps::catalogue()),
            Err(_) => return "cannot be read".into(),
        },
        _ => return String::new(),
    };
    match checked.tree {
        Some(tree) => tree.description.lines().next().unwrap_or_default().to_owned(),
        None => "has errors: see trees check".into(),
    }
}

fn show(name: &str, global: &Global) -> Result<Exit, Failure> {
    let name = name.strip_suffix(".yaml").unwrap_or(name);
    let found = shelf::all().into_iter().find(|c| c.name == name);
    let found = found.ok_or_else(|| Failure::wrong(format!("there is no cookbook `{name}`")).hint(shelf::names_hint()))?;
    if global.json()? {
        out_json(&json!({ "schema": "trees/cookbook", "version": 1, "name": found.name, "place": found.place, "text": found.text }));
    } else {
        say(&format!("{} ({})", found.name, found.place));
        out(&found.text);
    }
    Ok(Exit::OK)
}

fn new(name: &str, dir: &Path) -> Result<Exit, Failure> {
    init::check_name(name)?;
    let folder = dir.join(name);
    let tree = folder.join(format!("{name}.yaml"));
    init::write_new(&tree, &init::first_tree(name))?;
    let readme = format!("# {name}\n\nWhat it does, its params, and how to run it:\n\n    trees run {name}\n");
    init::write_new(&folder.join("README.md"), &readme)?;
    say(&format!("made {}; run it with: trees run {name}", tree.display()));
    Ok(Exit::OK)
}
