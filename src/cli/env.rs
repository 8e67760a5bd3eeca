//! `trees env`: the environments of a tree file, with their values and what is deployed there.

use super::check;
use super::given::Params;
use super::global::Global;
use super::releases;
use super::runs;
use super::source::TreeFile;
use crate::failure::{Exit, Failure};
use crate::report::{out, out_json, say, style};
use serde_json::{Value, json};
use trees_core::event::{Json, Object};
use trees_core::expr::Template;
use trees_core::tree::{Environment, Secret, SecretSource, Tree};
use trees_steps::deploy::{self, Deployment};

/// The environments of a tree file.
#[derive(clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List them
    List {
        /// A tree file, or the name of a cookbook
        file: String,
    },
    /// Show one: its vars as computed, its variables, its secrets, what is deployed there, its releases
    Show {
        /// A tree file, or the name of a cookbook
        file: String,
        #[command(flatten)]
        params: Params,
    },
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let file = match &args.command {
        Command::List { file } | Command::Show { file, .. } => file,
    };
    let source = TreeFile::find(file)?;
    let checked = source.check(&trees_steps::catalogue());
    check::print(&source.findings(&checked));
    let Some(tree) = &checked.tree else { return Ok(Exit::WRONG) };
    match &args.command {
        Command::List { .. } => list(tree, global),
        Command::Show { params, .. } => {
            let environment = params.environment(tree)?;
            match params.resolve(tree, source.findings(&checked))? {
                Ok(values) => show(&source, tree, &environment, &values, global),
                Err(exit) => Ok(exit),
            }
        }
    }
}

fn list(tree: &Tree, global: &Global) -> Result<Exit, Failure> {
    if global.json()? {
        let one = |(name, e): (&String, &Environment)| json!({ "name": name, "default": e.default, "protected": e.protected });
        let all: Vec<Value> = tree.environments.iter().map(one).collect();
        out_json(&json!({ "schema": "trees/environments", "version": 1, "environments": all }));
        return Ok(Exit::OK);
    }
    if tree.environments.is_empty() {
        say(&format!("the tree `{}` has no environments", tree.name));
    }
    let width = tree.environments.keys().map(String::len).max().unwrap_or(0);
    for (name, environment) in &tree.environments {
        let mut words = Vec::new();
        if environment.default {
            words.push("default");
        }
        if environment.protected {
            words.push("protected");
        }
        out(&format!("{}  {}\n", style::pad(name, width), words.join(", ")));
    }
    Ok(Exit::OK)
}

fn show(source: &TreeFile, tree: &Tree, environment: &str, params: &Object, global: &Global) -> Result<Exit, Failure> {
    let here = tree.environments.get(environment);
    let mut names = Object::new();
    names.insert("params".into(), Json::Object(params.clone()));
    names.insert("environment".into(), environment.into());
    names.insert("project".into(), tree.project.clone().into());
    names.insert("tree".into(), json!({ "name": tree.name, "file": tree.file, "dir": source.tree_dir.display().to_string() }));
    let vars = evaluate(here.map_or(&tree.vars, |e| &e.vars), &mut names, "vars")?;
    let mut env = evaluate(&tree.env, &mut names, "env")?;
    env.extend(evaluate(here.map_or(&[][..], |e| &e.env), &mut names, "env")?);
    let secrets: Vec<Value> = tree.secrets.iter().chain(here.into_iter().flat_map(|e| &e.secrets)).map(secret).collect();
    let (deployed, history) = match runs::existing(global)? {
        Some(state) => (deploy::list(runs::folder(&state)), state.releases(&tree.project, environment)?),
        None => (Vec::new(), Vec::new()),
    };
    let deployed: Vec<Deployment> = deployed.into_iter().filter(|d| d.project == tree.project && d.environment == environment).collect();
    if global.json()? {
        out_json(&json!({
            "schema": "trees/environment", "version": 1, "tree": tree.name, "project": tree.project, "environment": environment,
            "protected": here.is_some_and(|e| e.protected), "vars": vars, "env": env, "secrets": secrets, "deployed": deployed,
            "releases": releases::document(&history),
        }));
        return Ok(Exit::OK);
    }
    let protected = if here.is_some_and(|e| e.protected) { " (protected)" } else { "" };
    out(&format!("{} {environment}{protected}\n", tree.project));
    section("vars", &vars);
    section("env", &env);
    for secret in &secrets {
        out(&format!("  secret {}  from {}\n", text(&secret["name"]), text(&secret["from"])));
    }
    deployed.iter().map(super::show::deployment).for_each(|line| indented(&line.painted_out()));
    releases::lines(&history).iter().for_each(|line| indented(&line.painted_out()));
    Ok(Exit::OK)
}

/// Computes values in the order of their references; each sees the ones before.
fn evaluate(templates: &[(String, Template)], names: &mut Object, scope: &str) -> Result<Object, Failure> {
    let mut values = Object::new();
    for (name, template) in templates {
        let value = template.evaluate(names).map_err(|e| Failure::wrong(format!("{scope}.{name}: {e}")))?;
        values.insert(name.clone(), value);
        names.insert(scope.into(), Json::Object(values.clone()));
    }
    Ok(values)
}

fn indented(line: &str) {
    out(&format!("  {line}\n"));
}

fn section(title: &str, values: &Object) {
    for (name, value) in values {
        out(&format!("  {title}.{name} = {}\n", text(value)));
    }
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn secret((name, secret): (&String, &Secret)) -> Value {
    let from = match secret.from {
        None => "environment, store, dotenv",
        Some(SecretSource::Environment) => "environment",
        Some(SecretSource::Store) => "store",
        Some(SecretSource::Dotenv) => "dotenv",
        Some(SecretSource::Generate) => "generate",
        Some(SecretSource::File) => "file",
        Some(SecretSource::Command) => "command",
        Some(SecretSource::Vault) => "vault",
    };
    json!({ "name": name, "from": from, "optional": secret.optional })
}
