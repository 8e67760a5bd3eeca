//! A tree tried without doing it: a test file's cases, each driven through the run state machine by
//! a world in which steps end as the case says and time is virtual.
//!
//! It executes nothing and reads no clock. Read [`Case`] first, then `world`, then `judge`.

mod case;
mod judge;
mod keys;
mod mock;
mod place;
mod read;
mod world;

pub use case::Case;
pub use judge::{Mismatch, Verdict};
pub use read::{read, tree_named};

use crate::event::{Json, Object};
use crate::run::IllegalEvent;
use crate::tree::{Kinds, Tree};
use std::sync::Arc;

/// Tries one case.
///
/// # Errors
/// On a bug in the state machine.
pub fn run(case: &Case, tree: &Arc<Tree>, kinds: &dyn Kinds) -> Result<Verdict, IllegalEvent> {
    Ok(judge::judge(case, &world::run(case, tree, kinds)?))
}

/// The JSON Schema of test files.
pub fn schema() -> Json {
    let mut definitions = Object::new();
    let mut top = crate::language::schema::record(&keys::FILE, &mut definitions);
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    top["title"] = "trees test".into();
    top["$defs"] = Json::Object(definitions);
    top
}
