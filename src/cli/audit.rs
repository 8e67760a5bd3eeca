//! `trees audit`: who changed what, and whether that record is whole.

use super::global::Global;
use super::list::stamp;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::said::plural;
use crate::report::{Line, Paint, clean, out, out_json, out_line, say, style};
use serde_json::{Value, json};
use trees_state::{AuditFilter, Chain, Entry, State};

/// Show who changed what, the newest last.
///
/// Every command that changes the state writes an entry in the transaction of its change: who, when,
/// from where, which command, what was there before and after. Each entry holds the digest of the
/// one before it.
#[derive(clap::Args)]
pub struct Args {
    /// Walk the chain of digests and name the first link that does not hold; exit 1 then
    #[arg(long, conflicts_with_all = ["run", "limit"])]
    verify: bool,
    /// Only what was done to this run, also to one that is gone
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// At most so many, the newest; 0 for all
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let state = runs::existing(global)?;
    if args.verify {
        let chain = state.map_or_else(|| Ok(Chain { entries: 0, head: String::new(), broken: None }), |s| s.verify_audit())?;
        return Ok(verified(&chain, json));
    }
    let entries = match &state {
        Some(state) => state.audit(&AuditFilter { run: meant(state, args.run.as_deref())?, limit: args.limit })?,
        None => Vec::new(),
    };
    if json {
        let rows: Vec<Value> = entries.iter().map(row).collect();
        out_json(&json!({ "schema": "trees/audit", "version": 1, "entries": rows }));
    } else if entries.is_empty() {
        say("nothing was changed here yet");
    } else {
        out(&entries.iter().map(|(entry, _)| line(entry).painted_out() + "\n").collect::<String>());
    }
    Ok(Exit::OK)
}

/// The id of a run that is there, or the beginning of one that was.
fn meant(state: &State, text: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match runs::find(state, text) {
        Ok(run) => Ok(Some(run.run.0)),
        Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) => Ok(Some(text.into())),
        Err(failure) => Err(failure),
    }
}

fn verified(chain: &Chain, json: bool) -> Exit {
    if json {
        let mut document = json!(chain);
        document["schema"] = "trees/audit-check".into();
        document["version"] = 1.into();
        out_json(&document);
    } else {
        match &chain.broken {
            Some(broken) => out_line(&format!("broken at entry {} ({}): {}", broken.n, broken.why, clean(&broken.text))),
            None if chain.entries == 0 => out_line("the chain holds: no entries"),
            None => out_line(&format!("the chain holds: {}, the newest is {}", entries(chain.entries), chain.head)),
        };
    }
    if chain.broken.is_some() { Exit::FAILED } else { Exit::OK }
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}

fn row((entry, digest): &(Entry, String)) -> Value {
    let mut row = json!(entry);
    row["ts"] = stamp(entry.ts).into();
    row["digest"] = digest.as_str().into();
    row
}

/// One entry in one line.
fn line(entry: &Entry) -> Line {
    let words: Vec<String> = entry.witness.command.iter().map(|word| quoted(word)).collect();
    let line = Line::default()
        .with(Paint::Faint, format!("{:>4}  {}  ", entry.n, entry.ts.strftime("%Y-%m-%d %H:%M:%SZ")))
        .with(Paint::Strong, clean(&entry.witness.actor))
        .with(Paint::Plain, format!("  {}", summary(entry)))
        .with(Paint::Faint, format!("  trees {}", words.join(" ")));
    style::columns().map_or(line.clone(), |columns| line.fit(columns))
}

/// A word of a command as one types it.
pub fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&b));
    if plain { word.into() } else { format!("'{}'", clean(word).replace('\'', "'\\''")) }
}

/// What was done, in a few words.
fn summary(entry: &Entry) -> String {
    let run = entry.run.as_deref().unwrap_or_default();
    let (before, after) = (&entry.before, &entry.after);
    match entry.change.as_str() {
        "run_created" => format!("made run {run} ({} #{})", text(&after["tree"]), after["number"]),
        "run_held" => format!("took up run {run} ({}, seq {})", text(&before["status"]), before["seq"]),
        "run_asked" => format!("asked run {run} to {}", asked(&after["asks"])),
        "run_amended" => format!("gave run {run} another tree"),
        "run_imported" => format!("imported run {run} ({} #{})", text(&after["tree"]), after["number"]),
        "runs_removed" => format!("removed {}", plural(before["runs"].as_array().map_or(0, Vec::len), "run")),
        "artifacts_removed" => {
            format!("removed {}", plural(before["artifacts"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0), "artifact"))
        }
        "secret_set" => format!("set {}", secret(after)),
        "secret_rotated" => format!("rotated {}", secret(after)),
        "secret_retired" => format!("retired the versions before {}", secret(after)),
        "secret_generated" => format!("generated {}", secret(after)),
        "secret_withdrawn" => format!("withdrew {}", secret(before)),
        "secret_removed" => format!("removed {}", secret(before)),
        other => clean(other),
    }
}

fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

fn asked(asks: &Value) -> String {
    match asks["step"].as_str() {
        Some(step) => format!("{} {}", text(&asks["type"]), clean(step)),
        None => text(&asks["type"]),
    }
}

fn secret(there: &Value) -> String {
    let environment = text(&there["environment"]);
    let owner = if environment.is_empty() { text(&there["project"]) } else { format!("{}/{environment}", text(&there["project"])) };
    format!("{} of {owner}, version {}", text(&there["secret"]), there["version"])
}
