//! `trees import`: takes in a run that was exported elsewhere.

use super::global::Global;
use super::runs;
use crate::failure::{Exit, Failure};
use crate::report::said::{plural, status_word};
use crate::report::{out_json, out_line, say};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufReader, Read};
use trees_core::path::RunId;
use trees_state::Imported;

/// Take in a run that was exported with `trees export`.
///
/// It keeps its id. It can be shown and replayed, its logs read; whether it can be resumed depends
/// on its working folder being there. A damaged or foreign file changes nothing.
#[derive(clap::Args)]
pub struct Args {
    /// The file, `-` for standard input
    file: String,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let json = global.json()?;
    let mut from: Box<dyn Read> = match args.file.as_str() {
        "-" => Box::new(io::stdin().lock()),
        file => Box::new(BufReader::new(open(file)?)),
    };
    let name = if args.file == "-" { "standard input" } else { &args.file };
    let state = runs::open(global)?;
    let (run, new) = match state.import(&mut *from, name)? {
        Imported::New { manifest, number } => {
            let (_, word) = status_word(manifest.status);
            let content = format!("{}, {}", plural(manifest.logs(), "log"), plural(manifest.artifacts().len(), "artifact"));
            say(&format!("imported run {} ({} #{number}, {word}) of {}: {content}", manifest.run, manifest.tree, manifest.host));
            if number != manifest.number {
                say(&format!("  there it was #{}, which is another run here", manifest.number));
            }
            say(&format!("  see it with: trees show {} (commands without RUN pass over it)", manifest.run));
            (manifest.run, true)
        }
        Imported::Already(run) => {
            say(&format!("run {run} is here already; nothing to do"));
            (run, false)
        }
    };
    tell(&run, new, json);
    Ok(Exit::OK)
}

fn tell(run: &RunId, new: bool, json: bool) {
    if json {
        out_json(&json!({ "schema": "trees/imported", "version": 1, "run": run, "new": new }));
    } else {
        out_line(&run.0);
    }
}

fn open(file: &str) -> Result<File, Failure> {
    let wrong = |error: io::Error| Failure::wrong(format!("cannot read {file}: {error}"));
    let open = File::open(file).map_err(wrong)?;
    if open.metadata().map_err(wrong)?.is_dir() {
        return Err(Failure::wrong(format!("{file} is a folder; name a file that `trees export` wrote")));
    }
    Ok(open)
}
