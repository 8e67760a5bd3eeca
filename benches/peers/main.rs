//! `trees` beside what else runs a graph of commands, in interleaved rounds on the same graphs: a bare spawn loop (the
//! floor), xargs, make, ninja, go-task, doit, Snakemake, Dagu. What is missing is left out, and said.
//!
//! `cargo bench --bench peers` · `-- --write` puts table and picture into `docs/` · `-- --large` adds graphs of 10,000 ·
//! `-- --only NAME` one shape · `-- --rounds N`. `benches/peers/install` gets the others from the package registries.
//! `TREES_WORKFLOWS` names a file of real graphs (one JSON object a line with `path` and `parents`).

#![expect(clippy::expect_used, reason = "a bench that cannot start its processes has nothing to say")]

mod floor;
mod graph;
mod measure;
mod report;
mod tool;

use graph::Graph;
use measure::Sample;
use report::Row;
use std::path::{Path, PathBuf};
use tool::Tool;

/// How many commands at once.
const WIDTHS: [usize; 2] = [2, 16];

/// What is asked for.
struct Asked {
    large: bool,
    write: bool,
    only: Option<String>,
    rounds: usize,
}

impl Asked {
    fn read() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let value = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1).cloned();
        let rounds = value("--rounds").map_or(5, |text| text.parse().expect("--rounds is a number"));
        Self { large: has("--large"), write: has("--write"), only: value("--only"), rounds }
    }
}

fn main() {
    if floor::is_asked_for() {
        return floor::run();
    }
    let asked = Asked::read();
    let tools: Vec<Tool> = tool::all().into_iter().filter(Tool::is_there).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let graphs = graph::all(asked.large);
    let wanted = |graph: &&Graph| asked.only.as_ref().is_none_or(|only| graph.shape == *only);
    let mut rows = Vec::new();
    println!("{}", report::machine(asked.rounds));
    for graph in graphs.iter().filter(wanted) {
        for width in WIDTHS {
            let row = compare(graph, width, &tools, asked.rounds, folder.path());
            println!("{}", report::line(&row));
            rows.push(row);
        }
    }
    if asked.write {
        report::write(&rows, asked.rounds);
    }
}

/// All tools in turn, round after round.
fn compare(graph: &Graph, width: usize, tools: &[Tool], rounds: usize, folder: &Path) -> Row {
    let fit: Vec<&Tool> = tools.iter().filter(|tool| tool.takes(graph)).collect();
    let homes: Vec<PathBuf> = fit.iter().map(|tool| tool.prepare(graph, width, folder)).collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); fit.len()];
    for _ in 0..rounds {
        for ((tool, home), samples) in fit.iter().zip(&homes).zip(&mut samples) {
            samples.push(tool.measure(home, width));
        }
    }
    let names = fit.iter().map(|tool| tool.name);
    Row { shape: graph.shape.clone(), steps: graph.needs.len(), width, tools: names.zip(samples).collect() }
}
