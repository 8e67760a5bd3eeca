//! `trees graph`: the steps and what they need, of a file or of a run.

mod draw;
mod place;
mod svg;
#[cfg(test)]
mod tests;

use super::global::{Format, Global};
use super::runs;
use super::source::TreeFile;
use super::story::Retold;
use crate::failure::{Exit, Failure};
use crate::report::out;
use crate::report::said::status_word;
use draw::{Drawing, Statuses};
use std::path::Path;
use std::sync::Arc;
use trees_core::event::Event;
use trees_core::journal::Journal as _;
use trees_core::path::RunId;
use trees_core::run::Definitions;
use trees_core::tree::Tree;

/// Draw the graph of a tree file, or of a run by status.
///
/// Needs that follow from references in expressions are dashed. Sub-trees are drawn in place.
#[derive(clap::Args)]
pub struct Args {
    /// A tree file, the name of a cookbook, or a run
    #[arg(value_name = "FILE|RUN")]
    subject: String,
}

/// Does it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let format = global.known(&[Format::Svg, Format::Dot, Format::Mermaid, Format::Text])?.unwrap_or(Format::Text);
    let Subject { tree, statuses, run } = match subject(&args.subject, global)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let drawing = Drawing { run, ..Drawing::of(&tree, &statuses) };
    let text = match format {
        Format::Svg => svg::svg(&drawing),
        Format::Dot => drawing.dot(),
        Format::Mermaid => drawing.mermaid(),
        _ => drawing.text(),
    };
    out(&text);
    Ok(Exit::OK)
}

/// What is drawn.
struct Subject {
    tree: Arc<Tree>,
    statuses: Statuses,
    /// Of a run: its number and how it stands.
    run: Option<String>,
}

/// A file where there is one, else a run, else a cookbook.
fn subject(name: &str, global: &Global) -> Result<Result<Subject, Exit>, Failure> {
    let is_file = name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") || Path::new(name).is_file();
    if !is_file
        && let Some(state) = runs::existing(global)?
        && let Ok(run) = runs::find(&state, name)
    {
        let definitions = runs::definitions(&state, &run.run)?;
        let tree = Arc::clone(definitions.newest());
        let (_, word) = status_word(run.status);
        let statuses = statuses(&run.run, &definitions, &state.load(&run.run, 0)?);
        return Ok(Ok(Subject { tree, statuses, run: Some(format!("#{} {word}", run.number)) }));
    }
    let source = TreeFile::find(name).map_err(|f| if is_file { f } else { f.hint("`trees list` shows the runs there are") })?;
    Ok(super::check::tree(&source, &trees_steps::catalogue()).map(|(tree, _)| Subject { tree, statuses: Statuses::default(), run: None }))
}

/// The status of each path after all events.
fn statuses(run: &RunId, definitions: &Definitions, events: &[Event]) -> Statuses {
    let Retold { story, .. } = Retold::of(run, events, Some(definitions.clone()));
    let mut statuses = Statuses::default();
    for (path, status) in story.steps.iter().filter_map(|told| Some((&told.path, told.status?))) {
        statuses.insert(path, status);
    }
    statuses
}
