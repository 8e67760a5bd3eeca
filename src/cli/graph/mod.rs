//! `trees graph`: the steps and what they need, of a file or of a run.

mod draw;
mod svg;

use super::global::{Format, Global};
use super::runs;
use super::source::TreeFile;
use crate::failure::{Exit, Failure};
use crate::report::out;
use crate::report::said::status_after;
use draw::Drawing;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use trees_core::event::{Event, StepStatus};
use trees_core::journal::Journal as _;
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
    let (tree, statuses) = match subject(&args.subject, global)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let drawing = Drawing::of(&tree, &statuses);
    let text = match format {
        Format::Svg => svg::svg(&drawing)?,
        Format::Dot => drawing.dot(),
        Format::Mermaid => drawing.mermaid(),
        _ => drawing.text(),
    };
    out(&text);
    Ok(Exit::OK)
}

type Statuses = HashMap<String, StepStatus>;

/// A file where there is one, else a run, else a cookbook.
fn subject(name: &str, global: &Global) -> Result<Result<(Arc<Tree>, Statuses), Exit>, Failure> {
    let is_file = name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") || Path::new(name).is_file();
    if !is_file
        && let Some(state) = runs::existing(global)?
        && let Ok(run) = runs::find(&state, name)
    {
        let tree = runs::tree(&state, &run.run)?;
        return Ok(Ok((tree, statuses(&state.load(&run.run, 0)?))));
    }
    let source = TreeFile::find(name).map_err(|f| if is_file { f } else { f.hint("`trees list` shows the runs there are") })?;
    Ok(super::check::tree(&source, &trees_steps::catalogue()).map(|(tree, _)| (tree, Statuses::new())))
}

/// The status of each path after all events.
fn statuses(events: &[Event]) -> Statuses {
    let of = |event: &Event| Some((event.step.as_ref()?.0.clone(), status_after(&event.kind)?));
    events.iter().filter_map(of).collect()
}
