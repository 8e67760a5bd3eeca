//! What a checker knows of the step kinds.

use super::{Effect, ValueType};
use crate::event::Json;

/// What the checker needs to know of a step kind; made by the catalogue.
#[derive(Debug, Clone)]
pub struct KindInfo {
    /// `family/kind`.
    pub name: String,
    /// One line.
    pub summary: String,
    /// More, in Markdown.
    pub doc: String,
    /// JSON Schema of `with`.
    pub input: Json,
    /// What it returns: name, type, one line.
    pub outputs: Vec<(String, ValueType, String)>,
    /// What it changes unless the step says otherwise.
    pub effect: Effect,
    /// It can look at its target without changing it.
    pub observes: bool,
    /// It can take its change back.
    pub undoes: bool,
    /// It only reads (`plan` does not count it).
    pub reads_only: bool,
    /// An attempt whose outcome is unknown is made again without asking: the target knows it by its key.
    pub repeats: bool,
    /// It deploys: its first use takes the lock project/environment.
    pub deploys: bool,
    /// Names in `with` whose values are paths of files read (their content belongs to the input hash).
    pub file_inputs: Vec<String>,
    /// Raised when its behaviour changes.
    pub revision: u32,
    /// A tree file that uses it; checked by a test.
    pub example: String,
}

/// The step kinds a checker knows.
pub trait Kinds {
    /// One by name.
    fn kind(&self, name: &str) -> Option<&KindInfo>;
    /// All names, sorted.
    fn names(&self) -> Vec<&str>;
    /// What a kind itself finds wrong in a `with` that is known as it is, each as `field: why`.
    fn wrong(&self, _name: &str, _with: &Json) -> Vec<String> {
        Vec::new()
    }
}

/// None at all: trees made of scripts need no catalogue.
#[derive(Debug, Clone, Copy)]
pub struct NoKinds;

impl Kinds for NoKinds {
    fn kind(&self, _name: &str) -> Option<&KindInfo> {
        None
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }
}
