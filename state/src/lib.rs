//! The state folder `.trees/`: the SQLite journal with its projections, results, artifacts by
//! content, sealed secrets, locks. It implements [`trees_core::journal::Journal`] and
//! [`trees_core::store::Store`] and knows nothing of steps, screens or processes.
//!
//! Read [`State`] first, then `schema.rs` (what is kept), then `projection.rs` (what is derived).

mod artifacts;
mod audit;
mod body;
mod bundle;
mod database;
mod doctor;
mod error;
mod export;
mod filesystem;
mod find;
mod flock;
mod folder;
mod gc;
mod generate;
mod hold;
mod import;
mod journal;
mod listing;
mod locate;
mod locks;
mod master;
mod projection;
mod releases;
mod remains;
mod rotation;
mod schema;
mod sealed;
mod secrets;
mod state;
mod store;
mod writer;

pub use audit::{AuditFilter, Broken, Chain, Entry, Witness};
pub use bundle::{Item, Manifest, Sort};
pub use doctor::{Finding, Health, Judge};
pub use error::StateError;
pub use gc::{Gc, Removed};
pub use hold::{is_alive, stopped};
pub use import::{Imported, Origin};
pub use releases::ReleaseRow;
pub use remains::{Remains, lost_words};
pub use rotation::Rotation;
pub use secrets::SecretRow;
pub use state::{Durability, State};
