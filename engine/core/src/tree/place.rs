//! Where a tree works: environments, and where secrets come from.

use crate::diagnostic::Span;
use crate::expr::Template;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run works.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Chosen when none is.
    pub default: bool,
    /// Nothing starts in it before an approval.
    pub protected: bool,
    /// All vars that hold in it (its own over the tree's), in the order of their references.
    pub vars: Vec<(String, Template)>,
    /// On top of the tree's `env`.
    pub env: Vec<(String, Template)>,
    /// After the tree's `dotenv`.
    pub dotenv: Vec<String>,
    /// On top of the tree's `secrets`.
    pub secrets: IndexMap<String, Secret>,
}

/// Where a secret comes from and how a step gets it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secret {
    /// `None`: the environment, else the store, else dotenv.
    pub from: Option<SecretSource>,
    /// For `file` and `vault`.
    pub path: Option<String>,
    /// For `command`: run by `sh -c`, its standard output without the last newline.
    pub command: Option<String>,
    /// The step gets a file's path in `$NAME_FILE` instead of the value in `$NAME`.
    pub as_file: bool,
    /// It may have no source.
    pub optional: bool,
    /// For `generate`: characters, 1 to 4096; default 32.
    pub length: Option<u32>,
    /// For `generate`: `alphanumeric` (default), `hex`, `base64url`, `ascii`.
    pub charset: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// The sources of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// The variable of that name of `trees` itself.
    Environment,
    /// The sealed store.
    Store,
    /// A dotenv file.
    Dotenv,
    /// Made once by a CSPRNG, kept in the store.
    Generate,
    /// A file's content without the last newline.
    File,
    /// A command's output.
    Command,
    /// A server with HashiCorp Vault's KV API, version 2 or 1: `path: mount/path#field`.
    Vault,
}
