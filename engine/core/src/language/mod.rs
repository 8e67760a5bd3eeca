//! From text to a checked tree: YAML events, nodes with spans, `spec` as written, checks, [`Tree`].

mod action;
mod codes;
mod draft;
mod fan_out;
mod graph;
pub(crate) mod keys;
pub(crate) mod load;
mod names;
pub(crate) mod near;
pub(crate) mod nodes;
mod places;
mod reads;
pub(crate) mod schema;
mod session;
pub(crate) mod shape;
pub(crate) mod spec;
mod step;
pub(crate) mod typed;
mod vars;
mod with;

pub use codes::codes;

use crate::diagnostic::Diagnostic;
use crate::event::{Json, Object};
use crate::tree::{Kinds, Tree};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The texts a tree is made of; the first is the top tree's. Recorded with a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sources {
    /// In the order loaded; [`crate::diagnostic::Span::source`] indexes it.
    pub files: Vec<Source>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As shown to people, and what a sub-tree's relative path starts from.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Gives the text of a sub-tree's file.
pub trait Loader {
    /// `path` as written in the file `from` ([`Source::name`]); answers the name and the text.
    ///
    /// # Errors
    /// One sentence: missing, a folder, not UTF-8, too large.
    fn load(&self, path: &str, from: &str) -> Result<Source, String>;
}

impl Loader for Sources {
    fn load(&self, path: &str, from: &str) -> Result<Source, String> {
        let name = join(from, path);
        self.files.iter().find(|s| s.name == name).cloned().ok_or_else(|| format!("`{name}` is not among the recorded files"))
    }
}

/// What became of a text.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The tree, if nothing is wrong with it.
    pub tree: Option<Arc<Tree>>,
    /// All files read.
    pub sources: Sources,
    /// All that is wrong, by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks a tree file and all its sub-trees.
pub fn check(top: Source, loader: &dyn Loader, kinds: &dyn Kinds) -> Checked {
    session::check(top, loader, kinds)
}

/// Checks given parameters against the tree's and fills in the defaults. Scalars given as text
/// (`-p k=v`, `TREES_PARAM_k`) take the declared type; `list` and `object` are read as JSON.
///
/// # Errors
/// All that is wrong: unknown, missing, mistyped, out of range.
pub fn params(tree: &Tree, given: &[(String, Given)]) -> Result<Object, Vec<Diagnostic>> {
    typed::params(tree, given)
}

/// A parameter as given.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// From the command line or the environment.
    Text(String),
    /// From a file, a default or a parent tree.
    Value(Json),
}

/// The JSON Schema of tree files, with the kinds' inputs.
pub fn schema(kinds: &dyn Kinds) -> Json {
    schema::schema(kinds)
}

/// `path` relative to the folder of `from`, normalised, with `/`.
pub fn join(from: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.into();
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| !p.is_empty() && *p != "..") => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a relative path leads out of its folder.
fn outside(path: &str) -> bool {
    let mut depth = 0_i64;
    path.split('/').any(|part| {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth < 0
    })
}
