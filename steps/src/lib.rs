//! The catalogue of step kinds: a folder a family, a file a kind.
//!
//! A kind's file holds its typed inputs and outputs, its texts, its behaviour and its tests; adding
//! one is that file and a line in [`catalogue`]. Nothing here knows the journal, the screen or the
//! command line. Read [`Catalogue`] first, then a short kind such as [`tcp::check`].

pub mod container;
pub mod deploy;
pub mod dns;
pub mod file;
pub mod git;
pub mod http;
pub mod notify;
pub mod postgres;
pub mod secret;
pub mod tcp;
pub mod tls;

mod change;
mod command;
mod default;
mod kept;
mod lock;
mod number;
mod period;
mod whole;
mod window;

#[cfg(test)]
mod bench;

pub use number::Port;
pub use period::Period;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use trees_core::event::Json;
use trees_core::tree::{KindInfo, Kinds};
use trees_runner::kind::{AnyKind, erase};

/// All step kinds by name.
#[derive(Clone)]
pub struct Catalogue(BTreeMap<String, Arc<dyn AnyKind>>);

/// The step kinds of this build. Their schemas are made once.
pub fn catalogue() -> Catalogue {
    static ALL: LazyLock<Catalogue> = LazyLock::new(made);
    ALL.clone()
}

fn made() -> Catalogue {
    Catalogue::new([
        erase(container::build::Build),
        erase(container::run::Run),
        erase(deploy::process::Process),
        erase(deploy::route::Route),
        erase(deploy::ssh::Ssh),
        erase(dns::check::Check),
        erase(dns::record::Record),
        erase(file::template::Template),
        erase(file::write::Write),
        erase(git::clone::Clone),
        erase(git::commit::Commit),
        erase(git::merge::Merge),
        erase(git::push::Push),
        erase(git::tag::Tag),
        erase(git::worktree::Worktree),
        erase(http::check::Check),
        erase(http::request::Request),
        erase(notify::email::Email),
        erase(notify::webhook::Webhook),
        erase(postgres::backup::Backup),
        erase(postgres::database::Database),
        erase(postgres::migrate::Migrate),
        erase(postgres::role::Role),
        erase(secret::retire::Retire),
        erase(secret::rotate::Rotate),
        erase(tcp::check::Check),
        erase(tls::certificate::Certificate),
        erase(tls::check::Check),
    ])
}

impl Catalogue {
    /// A catalogue of these kinds.
    pub fn new(kinds: impl IntoIterator<Item = Arc<dyn AnyKind>>) -> Self {
        Self(kinds.into_iter().map(|kind| (kind.info().name.clone(), kind)).collect())
    }

    /// A kind by its name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn AnyKind>> {
        self.0.get(name)
    }

    /// All kinds, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnyKind>> {
        self.0.values()
    }
}

impl Kinds for Catalogue {
    fn kind(&self, name: &str) -> Option<&KindInfo> {
        self.get(name).map(|kind| kind.info())
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn wrong(&self, name: &str, with: &Json) -> Vec<String> {
        self.get(name).map(|kind| kind.validate(with)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::catalogue;
    use trees_core::tree::Kinds as _;

    #[test]
    fn every_kind_is_documented_and_its_inputs_are_closed() {
        let catalogue = catalogue();
        for kind in catalogue.iter() {
            let info = kind.info();
            assert!(info.name.split_once('/').is_some(), "{}", info.name);
            assert!(!info.summary.is_empty() && !info.summary.ends_with('.'), "{}: summary", info.name);
            assert!(info.doc.len() > 80 && info.example.contains(&format!("uses: {}", info.name)), "{}: texts", info.name);
            assert_eq!(info.input["additionalProperties"], false, "{}: unknown inputs must be denied", info.name);
            for (field, schema) in info.input["properties"].as_object().unwrap() {
                assert!(schema["description"].is_string(), "{}: `{field}` has no text", info.name);
            }
            assert!(!info.outputs.is_empty(), "{}: no outputs", info.name);
            for (name, _, text) in &info.outputs {
                assert!(!text.is_empty(), "{}: output `{name}` has no text", info.name);
            }
        }
        let names = catalogue.names();
        assert!(names.is_sorted() && names.len() > 7);
        assert!(catalogue.kind("file/write").is_some() && catalogue.kind("file/wrote").is_none());
    }
}
