//! `trees plan`: what a run would do, from the real targets, changing nothing; and saved plans.

use super::audit;
use super::drive;
use super::given::{Params, environment};
use super::global::Global;
use super::proposal::Proposal;
use super::runs;
use crate::diagnose::Findings;
use crate::failure::{Exit, Failure};
use crate::report::plan as page;
use crate::report::{out_json, out_lines, say};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::{Json, Object};
use trees_core::hash;
use trees_core::language::{self, Given};
use trees_runner::driver::{Eyes, Looked, Plan, Row, plan};
use trees_state::State;

/// Show what a run would do, from the real targets, changing nothing.
///
/// Each step is asked what it would find: its check, the observation of its kind, the cache. What
/// depends on the result of a step that would run is unknown until then. Exit 10: something would
/// be changed; 0: nothing; 1: it could not be told.
#[derive(clap::Args)]
pub struct Args {
    /// The tree file, or the name of a cookbook
    file: String,
    #[command(flatten)]
    params: Params,
    /// Save the plan; `trees run --plan` runs it while it holds
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let mut proposal = match Proposal::find(&args.file, &args.params)? {
        Ok(proposal) => proposal,
        Err(exit) => return Ok(exit),
    };
    // Without a state there is nothing to look at in one, and none is made.
    let place = tempfile::tempdir().map_err(Failure::failed)?;
    let state = match runs::existing(global)? {
        Some(state) => Arc::new(state),
        None => Arc::new(State::open(place.path().join("state"), global.durability.into())?),
    };
    proposal.source.settle(runs::folder(&state))?;
    let plan = match look(&proposal, None, state, global)? {
        Ok(plan) => plan,
        Err(signal) => return Ok(Exit::signal(signal)),
    };
    let document = document(&proposal, &plan)?;
    if let Some(path) = &args.out {
        fs::write(path, format!("{document:#}\n")).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))?;
    }
    if json {
        out_json(&document);
    } else {
        let name = (proposal.tree.name.as_str(), proposal.environment.as_str());
        out_lines(&page::lines(name, &plan, global.quiet));
        if let Some(path) = &args.out {
            say(&format!("saved; run it with: trees run {} --plan {}", args.file, path.display()));
        }
    }
    Ok(exit(&plan))
}

fn exit(plan: &Plan) -> Exit {
    match (plan.changes(), plan.unknown()) {
        (0, 0) => Exit::OK,
        (0, _) => Exit::FAILED,
        (_, _) => Exit::CHANGES,
    }
}

/// Plans a run of a proposal; a signal ends it.
pub fn look(proposal: &Proposal, jobs: Option<u32>, state: Arc<State>, global: &Global) -> Result<Looked<Plan>, Failure> {
    let eyes = Eyes { store: state, kinds: drive::kinds(), options: drive::options(global) };
    Ok(plan(eyes, &proposal.tree, proposal.facts(jobs))?)
}

fn document(proposal: &Proposal, plan: &Plan) -> Result<Value, Failure> {
    let steps = plan.steps.iter().map(row).collect::<Result<Vec<Value>, Failure>>()?;
    let mut document = json!({
        "schema": "trees/plan", "version": 1, "tree": proposal.tree.name, "file": proposal.source.given,
        "environment": proposal.environment, "params": proposal.params, "definition": proposal.digest,
        "changes": plan.changes(), "unknown": plan.unknown(), "exit": exit(plan).0, "steps": steps,
    });
    document["digest"] = hash::json(&document).map_err(Failure::bug)?.into();
    Ok(document)
}

fn row(row: &Row) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(row).map_err(Failure::bug)?;
    value["observed"] = hash::json(&json!([row.verdict, row.changes])).map_err(Failure::bug)?.into();
    Ok(value)
}

/// A plan that was saved.
pub struct Saved {
    path: PathBuf,
    document: Value,
}

impl Saved {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |e: &str| Failure::wrong(format!("{} is no saved plan: {e}", path.display())).hint("make one with `trees plan FILE --out F`");
        let text = super::source::read(path).map_err(Failure::wrong)?;
        let document: Value = serde_json::from_str(&text).map_err(|e| wrong(&e.to_string()))?;
        if document["schema"] != "trees/plan" || document["version"] != 1 {
            return Err(wrong("it does not say `\"schema\": \"trees/plan\"`, version 1"));
        }
        let mut content = document.clone();
        let digest = content.as_object_mut().and_then(|o| o.remove("digest"));
        if digest != hash::json(&content).ok().map(Json::from) {
            return Err(wrong("it was changed since it was saved"));
        }
        Ok(Self { path: path.to_owned(), document })
    }

    /// The tree file with the params and the environment of the plan.
    pub fn proposal(&self, file: &str, given: &Params) -> Result<Result<Proposal, Exit>, Failure> {
        let saved = self.document["environment"].as_str().unwrap_or_default();
        let found = Proposal::with(file, |tree, findings| {
            let asked = given.environment.as_deref().or(Some(saved)).filter(|name| !name.is_empty());
            let params = if given.is_empty() { self.params(tree, findings) } else { given.resolve(tree, findings)? };
            Ok((environment(asked, tree)?, params))
        })?;
        let Ok(proposal) = &found else { return Ok(found) };
        let mut wrong = Vec::new();
        if self.document["tree"] != proposal.tree.name.as_str() {
            wrong.push(format!("it is of the tree {}, not of {}", self.document["tree"].as_str().unwrap_or_default(), proposal.tree.name));
        } else if self.document["definition"] != proposal.digest.as_str() {
            wrong.push("the tree file or one of its sub-trees was changed".into());
        }
        if saved != proposal.environment {
            wrong.push(format!("it is for the environment {saved}, not {}", proposal.environment));
        }
        wrong.extend(self.other_params(&proposal.params));
        self.refuse(wrong)?;
        Ok(found)
    }

    fn params(&self, tree: &trees_core::tree::Tree, findings: Findings) -> Result<Object, Exit> {
        let saved = self.document["params"].as_object().cloned().unwrap_or_default();
        // A param that the tree has no more is told with the tree's change.
        let given: Vec<(String, Given)> =
            saved.into_iter().filter(|(k, _)| tree.params.contains_key(k)).map(|(k, v)| (k, Given::Value(v))).collect();
        language::params(tree, &given).map_err(|diagnostics| {
            super::check::print(&Findings { diagnostics, ..findings });
            Exit::WRONG
        })
    }

    fn other_params(&self, now: &Object) -> Vec<String> {
        let saved = self.document["params"].as_object().cloned().unwrap_or_default();
        let names: std::collections::BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
        let differs = names.into_iter().filter(|name| saved.get(*name) != now.get(*name));
        let shown = |value: Option<&Json>| value.map_or_else(|| "nothing".to_owned(), Json::to_string);
        differs.map(|name| format!("the param {name} was {}, now {}", shown(saved.get(name)), shown(now.get(name)))).collect()
    }

    /// Whether everything is still observed as it was.
    pub fn holds(&self, now: &Plan) -> Result<(), Failure> {
        let saved = self.document["steps"].as_array().cloned().unwrap_or_default();
        let of = |path: &str| saved.iter().find(|row| row["path"] == path);
        let mut wrong = Vec::new();
        for found in &now.steps {
            let path = found.path.as_str();
            let now = row(found)?;
            match of(path) {
                Some(then) if then["observed"] == now["observed"] => {}
                Some(then) => wrong.push(format!("{path} was to be {}, now {}", told(then), told(&now))),
                None => wrong.push(format!("{path} is new")),
            }
        }
        let gone = saved.iter().filter_map(|row| row["path"].as_str()).filter(|p| !now.steps.iter().any(|r| r.path.as_str() == *p));
        wrong.extend(gone.map(|path| format!("{path} is gone")));
        self.refuse(wrong)
    }

    /// The command that made it, as far as params can stand in one.
    fn again(&self) -> String {
        let mut words = vec!["trees".to_owned(), "plan".into(), self.document["file"].as_str().unwrap_or("FILE").into()];
        if let Some(environment) = self.document["environment"].as_str().filter(|name| !name.is_empty()) {
            words.extend(["-e".into(), environment.into()]);
        }
        for (name, value) in self.document["params"].as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.extend(["-p".into(), format!("{name}={text}")]);
        }
        words.extend(["--out".into(), self.path.display().to_string()]);
        words.iter().map(|word| audit::quoted(word)).collect::<Vec<_>>().join(" ")
    }

    fn refuse(&self, wrong: Vec<String>) -> Result<(), Failure> {
        if wrong.is_empty() {
            return Ok(());
        }
        let text = format!("the plan {} does not hold any more:\n  {}", self.path.display(), wrong.join("\n  "));
        Err(Failure::wrong(text).hint(format!("plan again, with the params of then: {}", self.again())))
    }
}

/// What a row says would be done, with the fields that differ.
fn told(row: &Value) -> String {
    let fields: Vec<&str> = row["changes"].as_array().into_iter().flatten().filter_map(|c| c["field"].as_str()).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
    format!("{}{fields}", page::word(row["verdict"].as_str().unwrap_or_default()))
}
