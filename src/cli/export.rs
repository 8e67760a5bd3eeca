//! `trees export`: a run as one file, for a colleague.

use super::aside;
use super::gc::size;
use super::global::Global;
use super::runs;
use super::witness;
use crate::failure::{Exit, Failure};
use crate::report::said::plural;
use crate::report::{out_json, out_line, say};
use serde_json::json;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use trees_core::journal::RunSummary;
use trees_state::{Manifest, State};

/// Write a run with its events, tree, logs and artifacts into one file.
///
/// `trees import` takes it in elsewhere, to be shown and replayed there. It holds no secret values:
/// none are recorded, and logs are masked; artifacts are as their steps made them. The same run
/// gives the same bytes.
#[derive(clap::Args)]
pub struct Args {
    /// The run: its id or a prefix, @last, @last-failed, TREE@last, TREE#NUMBER
    #[arg(default_value = "@last")]
    run: String,
    /// The file to write, or a pipe or device to write into; `-` for standard output [default: RUN.trees.tgz]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let state = runs::required(global)?;
    let run = runs::find(&state, &args.run)?;
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.trees.tgz", run.run)));
    if file == Path::new("-") {
        if io::stdout().is_terminal() {
            return Err(Failure::wrong("an export is no text for a terminal").hint("name a file with -o, or send it on with |"));
        }
        export(&state, &run, &mut io::stdout().lock())?;
        return Ok(Exit::OK);
    }
    let (manifest, bytes) = aside::write(&file, |to| export(&state, &run, to))?;
    if json {
        out_json(&json!({
            "schema": "trees/exported", "version": 1, "run": run.run, "tree": run.tree, "number": run.number, "file": file.display().to_string(),
            "bytes": bytes, "logs": manifest.logs(), "artifacts": manifest.artifacts(), "missing": manifest.missing,
        }));
        return Ok(Exit::OK);
    }
    let content = format!("{}, {}", plural(manifest.logs(), "log"), plural(manifest.artifacts().len(), "artifact"));
    say(&format!("exported run {} ({} #{}), {content}, {}", run.run, run.tree, run.number, size(bytes)));
    if !manifest.missing.is_empty() {
        say(&format!("  {} had been cleared away and could not be exported", plural(manifest.missing.len(), "artifact")));
    }
    out_line(&file.display().to_string());
    Ok(Exit::OK)
}

fn export(state: &State, run: &RunSummary, to: &mut dyn Write) -> Result<Manifest, Failure> {
    Ok(state.export(&run.run, &witness::host(), to)?)
}
