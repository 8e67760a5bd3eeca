//! `trees secret`: values of the sealed store. They come from a hidden prompt or from standard
//! input, never from an argument, and are never printed.

use super::global::Global;
use super::runs;
use super::source::TreeFile;
use crate::failure::{Exit, Failure};
use crate::report::{out_json, out_line, say};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use trees_runner::mask;
use trees_state::{Rotation, State};

/// The sealed store of secrets.
#[derive(clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Set a secret; the value comes from a hidden prompt or from standard input
    Set {
        /// Its name, as the tree file names it
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// List names and versions, never values
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Give a secret a new value; the versions before stay until they are retired
    ///
    /// Random characters, as many as the value before has. A run that begins or is resumed afterwards gets the new
    /// value; once all that uses the secret has it, `trees secret remove NAME --old` retires the others.
    Rotate {
        /// Its name
        name: String,
        #[command(flatten)]
        place: Place,
        /// The new value comes from a hidden prompt or from standard input
        #[arg(long, conflicts_with_all = ["length", "charset"])]
        ask: bool,
        /// So many random characters
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=4096))]
        length: Option<u32>,
        /// Of which characters: alphanumeric, hex, base64url, ascii [default: alphanumeric]
        #[arg(long, value_name = "SET", value_parser = ["alphanumeric", "hex", "base64url", "ascii"], hide_possible_values = true)]
        charset: Option<String>,
    },
    /// Remove a secret
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        place: Place,
        /// Only the versions before the newest
        #[arg(long)]
        old: bool,
    },
}

/// Whose secrets.
#[derive(clap::Args)]
struct Place {
    /// Only for this environment [default: for all of the project]
    #[arg(short, long, value_name = "ENV", default_value = "", hide_default_value = true)]
    environment: String,
    /// The project, or a tree file of it [default: the one of tree.yaml here]
    #[arg(long, value_name = "PROJECT|FILE")]
    project: Option<String>,
}

impl Place {
    fn project(&self) -> Result<String, Failure> {
        match &self.project {
            Some(name) if !name.contains('/') && !name.ends_with(".yaml") && !name.ends_with(".yml") => Ok(name.clone()),
            Some(file) => of_file(file),
            None if Path::new("tree.yaml").is_file() => of_file("tree.yaml"),
            None => {
                Err(Failure::wrong("which project is meant?").hint("name it with --project NAME, or a tree file of it with --project FILE"))
            }
        }
    }
}

fn of_file(file: &str) -> Result<String, Failure> {
    let checked = TreeFile::find(file)?.check(&trees_steps::catalogue());
    let tree = checked.tree.ok_or_else(|| Failure::wrong(format!("{file} has errors")).hint(format!("see: trees check {file}")))?;
    Ok(tree.project.clone())
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    match args.command {
        Command::Set { name, place } => set(&name, &place, global),
        Command::List { place } => list(&place, global),
        Command::Rotate { name, place, ask, length, charset } => rotate(&name, &place, ask, &Rotation { length, charset }, global),
        Command::Remove { name, place, old: true } => retire(&name, &place, global),
        Command::Remove { name, place, old: false } => remove(&name, &place, global),
    }
}

fn set(name: &str, place: &Place, global: &Global) -> Result<Exit, Failure> {
    let project = place.project()?;
    let value = value(name)?;
    let version = runs::open(global)?.set_secret(&project, &place.environment, name, &value)?;
    say(&format!("set {name} of {}, version {version}", owner(&project, &place.environment)));
    if value.len() < mask::LEAST {
        say(&format!("  it has fewer than {} bytes: too short to be masked where a step prints it", mask::LEAST));
    }
    Ok(Exit::OK)
}

/// From a hidden prompt on a terminal, else all of standard input without its last line break.
fn value(name: &str) -> Result<String, Failure> {
    let value = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{name}: ")).map_err(|e| Failure::failed(format!("cannot read the value: {e}")))?
    } else {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(|e| Failure::failed(format!("cannot read the value: {e}")))?;
        let text = String::from_utf8(bytes).map_err(|_| Failure::wrong("the value is not UTF-8"))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        text.strip_suffix('\r').unwrap_or(text).to_owned()
    };
    if value.is_empty() {
        return Err(Failure::wrong("the value is empty").hint(format!("give it on standard input: trees secret set {name} < FILE")));
    }
    Ok(value)
}

fn list(place: &Place, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let project = place.project()?;
    let rows = match runs::existing(global)? {
        Some(state) => state.list_secrets(Some(&project))?,
        None => Vec::new(),
    };
    let rows = rows.into_iter().filter(|r| place.environment.is_empty() || r.environment == place.environment);
    if json {
        let rows: Vec<Value> = rows
            .map(|r| json!({ "name": r.name, "environment": r.environment, "version": r.version, "set": super::list::stamp(r.created) }))
            .collect();
        out_json(&json!({ "schema": "trees/secrets", "version": 1, "project": project, "secrets": rows }));
        return Ok(Exit::OK);
    }
    for row in rows {
        out_line(&format!(
            "{}  {}  version {}  {}",
            row.name,
            owner(&project, &row.environment),
            row.version,
            row.created.strftime("%Y-%m-%d %H:%M:%SZ")
        ));
    }
    Ok(Exit::OK)
}

fn rotate(name: &str, place: &Place, ask: bool, how: &Rotation, global: &Global) -> Result<Exit, Failure> {
    let project = place.project()?;
    let state = holder(name, &project, place, global)?;
    let value = if ask { Some(value(name)?) } else { None };
    let version = state.rotate_secret(&project, &place.environment, name, value.as_deref(), how)?;
    let owner = owner(&project, &place.environment);
    say(&format!("rotated {name} of {owner}, version {version}; the ones before stay until `trees secret remove {name} --old`"));
    Ok(Exit::OK)
}

/// The state, which has this secret.
fn holder(name: &str, project: &str, place: &Place, global: &Global) -> Result<State, Failure> {
    let none = || none(&owner(project, &place.environment), name);
    let state = runs::existing(global)?.ok_or_else(none)?;
    let rows = state.list_secrets(Some(project))?;
    let known = rows.iter().any(|row| row.name == name && row.environment == place.environment);
    known.then_some(state).ok_or_else(none)
}

fn none(owner: &str, name: &str) -> Failure {
    Failure::wrong(format!("{owner} has no secret {name}")).hint("`trees secret list` shows those there are")
}

fn retire(name: &str, place: &Place, global: &Global) -> Result<Exit, Failure> {
    let project = place.project()?;
    let state = holder(name, &project, place, global)?;
    let retired: Vec<String> = state.retire_secret(&project, &place.environment, name)?.iter().map(u64::to_string).collect();
    let owner = owner(&project, &place.environment);
    match retired.is_empty() {
        true => say(&format!("{name} of {owner} has no older versions")),
        false => say(&format!("retired {name} of {owner}, version {}", retired.join(", "))),
    }
    Ok(Exit::OK)
}

fn remove(name: &str, place: &Place, global: &Global) -> Result<Exit, Failure> {
    let project = place.project()?;
    let removed = match runs::existing(global)? {
        Some(state) => state.remove_secret(&project, &place.environment, name)?,
        None => false,
    };
    if !removed {
        return Err(none(&owner(&project, &place.environment), name));
    }
    say(&format!("removed {name} of {}", owner(&project, &place.environment)));
    Ok(Exit::OK)
}

fn owner(project: &str, environment: &str) -> String {
    if environment.is_empty() { project.to_owned() } else { format!("{project}/{environment}") }
}
