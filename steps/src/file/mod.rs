//! Kinds that write files.

pub mod template;
pub mod write;

mod metadata;
mod place;
mod render;

pub use metadata::Metadata;
pub(crate) use place::{Written, failed, replace};
pub use render::Rendered;
