//! `trees show`: one run with its steps, outputs, failures and what it deployed.

use super::attach::attach;
use super::global::Global;
use super::list::{marked, stamp};
use super::runs;
use super::story::{Retold, Story, Told};
use crate::failure::{Exit, Failure};
use crate::report::tone::Tone;
use crate::report::{Line, Paint, clean, out_json, out_line, said, tail::tail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use trees_core::event::{Changed, Event, Json, Selection, StepError, StepStatus};
use trees_core::journal::{Journal as _, RunSummary};
use trees_core::run::Definitions;
use trees_state::{Origin, State};
use trees_steps::deploy::{self, Deployment};

/// Lines of a failed step's log that are shown.
const TAIL: usize = 5;
/// Changed files that are named.
const CHANGED: usize = 5;
/// Failed steps that are shown with their log.
const TAILS: usize = 5;

/// Show a run: its steps, outputs, failures, deployments.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    #[arg(default_value = "@last")]
    run: String,
    /// Follow it on its screen until it ends or rests; the exit code is the run's. Ctrl-C leaves the
    /// screen and not the run
    #[arg(short, long)]
    follow: bool,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let state = runs::required(global)?;
    let run = runs::find(&state, &args.run)?;
    if args.follow {
        return attach(state, &run, global);
    }
    let recorded = state.load(&run.run, 0)?;
    let tree = runs::definitions(&state, &run.run).ok();
    let project = runs::facts(&recorded).map(|f| f.project.clone()).unwrap_or_default();
    let deployed = deploy::list(runs::folder(&state)).into_iter().filter(|d| d.project == project).collect();
    let origin = state.origins()?.remove(&run.run);
    let words = runs::words(&state, &run.run)?;
    let shown = Shown { deployed, origin, words, ..Shown::of(run, &recorded, tree) };
    match json {
        true => out_json(&shown.document()),
        false => shown.print(&state, global.quiet),
    }
    Ok(Exit::OK)
}

/// A run as it is shown: as it is now, or after one of its events.
pub struct Shown {
    run: RunSummary,
    story: Story,
    params: Json,
    changed: Option<Changed>,
    origin: Option<Origin>,
    selection: Option<Selection>,
    /// What was answered and not taken up yet, by step.
    words: BTreeMap<String, String>,
    deployed: Vec<Deployment>,
}

impl Shown {
    /// After the events given.
    pub fn of(run: RunSummary, recorded: &[Event], tree: Option<Definitions>) -> Self {
        let Retold { story, replayed, .. } = Retold::of(&run.run, recorded, tree);
        let run = RunSummary { progress: replayed.map(|replayed| replayed.progress()), ..run };
        let params = runs::facts(recorded).map(|f| Json::Object(f.params.clone())).unwrap_or_default();
        let changed = runs::facts(recorded).and_then(|f| f.changed.clone());
        let selection = runs::facts(recorded).and_then(|f| f.selection.as_deref().cloned());
        Self { run, story, params, changed, origin: None, selection, words: BTreeMap::new(), deployed: Vec::new() }
    }

    /// For programs.
    pub fn document(&self) -> Value {
        let mut document = marked(&self.run, self.origin.as_ref());
        document["schema"] = "trees/show".into();
        document["version"] = 1.into();
        document["params"] = self.params.clone();
        document["outputs"] = Json::Object(self.story.outputs.clone());
        document["reason"] = self.story.reason.clone().into();
        let asked = self.story.asked.iter();
        document["asked"] = asked.map(|(step, text)| json!({ "step": step, "message": text, "answer": self.words.get(step) })).collect();
        document["selection"] = json!(self.selection);
        document["deployments"] = json!(self.deployed);
        document["steps"] = self.story.steps.iter().map(step).collect();
        document
    }

    /// For people.
    pub fn print(&self, state: &State, quiet: bool) {
        head(self);
        steps(&self.story, quiet);
        failures(&self.story, state);
        foot(self);
        runs::tell_stopped(&self.run);
    }
}

fn step(told: &Told) -> Value {
    let reason = match (&told.reason, &told.error) {
        (_, Some(error)) => json!({ "code": error.reason, "text": error.message, "log": error.log }),
        (Some(reason), None) => json!(reason),
        (None, None) => Value::Null,
    };
    json!({
        "path": told.path, "kind": told.kind, "status": told.status, "reason": reason, "attempts": told.attempts,
        "started": told.started.map(stamp), "finished": told.finished.map(stamp), "outputs": told.outputs,
    })
}

fn print(line: &Line) {
    out_line(&line.painted_out());
}

fn head(shown: &Shown) {
    let Shown { run, story, changed, origin, selection, .. } = shown;
    let (paint, word) = said::status_word(run.status);
    let name = format!("{} #{}", run.tree, run.number);
    let environment = if run.environment.is_empty() { String::new() } else { format!(" in {}", run.environment) };
    print(&Line::default().with(Paint::Strong, format!("{name} ")).with(paint, word).with(Paint::Plain, environment));
    let took = run.finished.map(|end| said::took(Duration::try_from(end.duration_since(run.started)).unwrap_or_default()));
    let took = took.map(|t| format!(", took {t}")).unwrap_or_default();
    print(&Line::default().with(Paint::Faint, format!("  run {}, started {}{took}", run.run, run.started.strftime("%Y-%m-%d %H:%M:%SZ"))));
    print(&Line::default().with(Paint::Faint, format!("  {}", run.file)));
    if let Some(Changed { count, files }) = changed {
        let more = usize::try_from(*count).unwrap_or(usize::MAX).saturating_sub(CHANGED);
        let more = if more > 0 { format!(" and {} more", said::plural(more, "file")) } else { String::new() };
        let files = files.iter().take(CHANGED).map(|name| clean(name)).collect::<Vec<_>>().join(", ");
        print(&Line::default().with(Paint::Faint, format!("  started by a change of {files}{more}")));
    }
    if let Some(origin) = origin {
        let text = format!("  imported from {} of {}, {}", origin.file, origin.host, origin.at.strftime("%Y-%m-%d %H:%M:%SZ"));
        print(&Line::default().with(Paint::Care, clean(&text)));
    }
    if let Some(selection) = selection {
        print(&Line::default().with(Paint::Faint, format!("  {}", part(selection))));
    }
    if let Some(reason) = &story.reason {
        print(&Line::default().with(Paint::Plain, format!("  {}", clean(reason))));
    }
    if let Some(failure) = &story.failure {
        print(&Line::default().with(Paint::Bad, format!("  taken back {}", said::cause(failure))));
    }
    let counts: Vec<String> = story.counts().iter().map(|(status, n)| format!("{n} {}", status.as_str().replace('_', " "))).collect();
    print(&Line::default().with(Paint::Plain, format!("  {}", counts.join(", "))));
}

/// What of the tree was asked for.
fn part(selection: &Selection) -> String {
    match (&selection.of, selection.is_partial()) {
        (Some(of), true) => format!("{selection}, results of run {of}"),
        (Some(of), false) => format!("run {of} again"),
        (None, _) => selection.to_string(),
    }
}

fn steps(story: &Story, quiet: bool) {
    let shown: Vec<&Told> = story.steps.iter().filter(|s| !quiet || s.status.is_some_and(StepStatus::is_failure)).collect();
    let width = shown.iter().map(|s| s.path.len()).max().unwrap_or(0).min(40);
    for told in shown {
        let status = told.status.unwrap_or(StepStatus::Pending);
        let paint = Tone::of(Some(status)).paint();
        let took = told.started.zip(told.finished).map(|(a, b)| said::took(Duration::try_from(b.duration_since(a)).unwrap_or_default()));
        let mut line = Line::default().with(Paint::Plain, format!("  {:width$}  ", told.path));
        line = line.with(paint, format!("{:<11}", status.as_str())).with(Paint::Faint, format!(" {:>6}", took.unwrap_or_default()));
        if told.attempts > 1 {
            line = line.with(Paint::Care, format!("  {} attempts", told.attempts));
        }
        let why = told.error.as_ref().map(said::message).or_else(|| told.reason.as_ref().map(|r| clean(&r.text)));
        print(&line.with(Paint::Plain, why.map(|w| format!("  {w}")).unwrap_or_default()));
    }
}

fn failures(story: &Story, state: &State) {
    let failed = story.steps.iter().filter(|s| s.status.is_some_and(StepStatus::is_failure));
    let told: Vec<(&str, &StepError)> = failed.filter_map(|s| Some((s.path.as_str(), s.error.as_ref()?))).collect();
    // What was taken back since has no error of its own any more.
    let answered = story.failure.iter().filter_map(|f| Some((f.step.as_str(), f.error.as_ref()?)));
    let answered: Vec<_> = answered.filter(|(path, _)| told.iter().all(|(other, _)| other != path)).collect();
    for (name, error) in
        answered.into_iter().chain(told).filter(|(_, error)| error.log.is_some() || !said::more(error).is_empty()).take(TAILS)
    {
        let path = error.log.as_ref().map(|log| runs::folder(state).join(log));
        let place = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        print(&Line::default().with(Paint::Bad, format!("{name}: ")).with(Paint::Faint, place));
        let output = path.and_then(|path| tail(&path, TAIL).ok()).unwrap_or_default();
        for line in said::more(error).into_iter().chain(output) {
            print(&Line::default().with(Paint::Faint, "  │ ").with(Paint::Plain, line));
        }
    }
}

fn foot(Shown { run, story, words, deployed, .. }: &Shown) {
    for (name, value) in &story.outputs {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        print(&Line::default().with(Paint::Strong, format!("{name} = ")).with(Paint::Plain, text));
    }
    for (name, message) in &story.asked {
        let (label, next) = match words.get(name) {
            Some(word) => ("answered: ", format!("{}; taken up by: trees resume {}", clean(word), run.run)),
            None => ("asked: ", format!("trees approve {} {name}", run.run)),
        };
        print(&Line::default().with(Paint::Care, label).with(Paint::Plain, format!("{} ({next})", clean(message))));
    }
    deployed.iter().map(deployment).for_each(|line| print(&line));
}

/// What is deployed, on one line.
pub fn deployment(deployed: &Deployment) -> Line {
    let place = if deployed.environment.is_empty() { String::new() } else { format!(" in {}", deployed.environment) };
    let port = deployed.port.map(|p| format!(" on port {p}")).unwrap_or_default();
    let line = Line::default().with(Paint::Strong, format!("deployed {}{place}", deployed.name));
    let line = line.with(Paint::Plain, format!(", release {}{port}", clean(&deployed.release)));
    let line = match (deployed.alive, deployed.pid) {
        (true, Some(pid)) => line.with(Paint::Good, format!(", process {pid} lives")),
        (true, None) => line.with(Paint::Care, ", being started again"),
        (false, _) => line.with(Paint::Bad, ", not running"),
    };
    let restarts = if deployed.restarts > 0 { format!(", {} restarts", deployed.restarts) } else { String::new() };
    let log = deployed.log.as_ref().map(|l| format!(", log {}", l.display())).unwrap_or_default();
    line.with(Paint::Faint, format!("{restarts}{log}"))
}
