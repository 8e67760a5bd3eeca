//! Params and the environment as given: `-p k=v` over `--params FILE` over `TREES_PARAM_k` over
//! the tree's own defaults.

use super::check::print;
use crate::diagnose::Findings;
use crate::failure::{Exit, Failure};
use crate::report;
use std::env;
use std::path::{Path, PathBuf};
use trees_core::event::Object;
use trees_core::language::{self, Given};
use trees_core::tree::Tree;

/// Options that give params and the environment.
#[derive(clap::Args)]
pub struct Params {
    /// A param of the tree; may be given several times
    #[arg(short, long = "param", value_name = "KEY=VALUE")]
    params: Vec<String>,
    /// A YAML or JSON file with params
    #[arg(long = "params", value_name = "FILE")]
    params_file: Option<PathBuf>,
    /// The environment to work for
    #[arg(short, long, value_name = "ENV")]
    pub environment: Option<String>,
}

impl Params {
    /// Whether no param is given here.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty() && self.params_file.is_none()
    }

    /// The params as the tree will see them; what is wrong is drawn.
    pub fn resolve(&self, tree: &Tree, findings: Findings) -> Result<Result<Object, Exit>, Failure> {
        let mut given: Vec<(String, Given)> = Vec::new();
        for text in &self.params {
            let (key, value) = text.split_once('=').ok_or_else(|| no_pair(text))?;
            given.retain(|(k, _)| k != key);
            given.push((key.into(), Given::Text(value.into())));
        }
        let add = |given: &mut Vec<(String, Given)>, key: String, value: Given| {
            if !given.iter().any(|(k, _)| *k == key) {
                given.push((key, value));
            }
        };
        if let Some(path) = &self.params_file {
            for (key, value) in file(path)? {
                add(&mut given, key, Given::Value(value));
            }
        }
        for key in tree.params.keys() {
            if let Ok(value) = env::var(format!("TREES_PARAM_{key}")) {
                add(&mut given, key.clone(), Given::Text(value));
            }
        }
        Ok(language::params(tree, &given).map_err(|diagnostics| {
            print(&Findings { diagnostics, ..findings });
            Exit::WRONG
        }))
    }

    /// The file with params, if one was given.
    pub fn file(&self) -> Option<&Path> {
        self.params_file.as_deref()
    }

    /// The name of the environment: the one asked for, else the tree's default, `""` where it has none.
    pub fn environment(&self, tree: &Tree) -> Result<String, Failure> {
        environment(self.environment.as_deref(), tree)
    }
}

/// See [`Params::environment`].
pub fn environment(asked: Option<&str>, tree: &Tree) -> Result<String, Failure> {
    let names = || tree.environments.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match asked {
        Some(name) if tree.environments.contains_key(name) => Ok(name.into()),
        Some(name) if tree.environments.is_empty() => {
            Err(Failure::wrong(format!("the tree {} has no environments, so -e {name} means nothing", tree.name)))
        }
        Some(name) => Err(Failure::wrong(format!("the tree {} has no environment `{name}`; it has {}", tree.name, names()))),
        None if tree.environments.is_empty() => Ok(String::new()),
        None => match tree.environments.iter().find(|(_, e)| e.default) {
            Some((name, _)) => Ok(name.clone()),
            None => Err(Failure::wrong(format!("the tree {} has environments and none is the default", tree.name))
                .hint(format!("choose one with -e: {}", names()))),
        },
    }
}

/// What is wrong with a param without a value.
pub fn no_pair(text: &str) -> Failure {
    Failure::wrong(format!("`-p {text}` gives no value")).hint("write -p name=value")
}

/// The mapping in a params file; JSON is YAML too, once some of its letters are escaped.
pub fn file(path: &Path) -> Result<Object, Failure> {
    let text = as_yaml(super::source::read(path).map_err(Failure::wrong)?);
    let options = serde_yaml::options! { strict_booleans: true };
    let wrong = |e: &dyn std::fmt::Display| Failure::wrong(format!("{}: {}", path.display(), report::clean(&e.to_string())));
    let value: serde_json::Value = serde_yaml::from_str_with_options(&text, options).map_err(|e| wrong(&e))?;
    match value {
        serde_json::Value::Object(map) => Ok(map),
        serde_json::Value::Null => Ok(Object::new()),
        _ => Err(wrong(&"a params file is a mapping of names to values")),
    }
}

/// JSON allows letters in its strings that YAML wants escaped: DEL, the C1 controls and what is no letter at all.
fn as_yaml(text: String) -> String {
    let is_allowed = |c: char| matches!(c, '\u{0}'..='\u{7e}' | '\u{85}' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..);
    if text.chars().all(is_allowed) || serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
        return text;
    }
    text.chars().map(|c| if is_allowed(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_json_allows_and_yaml_does_not_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("params.json");
        let strings = ["\u{7f}", "\u{80}\u{85}\u{9b}6n", "\u{feff}x", "\u{ffff}", "\u{10ffff}", "\u{1}\n\t"];
        std::fs::write(&path, serde_json::json!({ "all": strings }).to_string()).unwrap();
        assert_eq!(file(&path).unwrap()["all"], serde_json::json!(strings));
        std::fs::write(&path, "{\"a\": 1, \"a\": \"\u{7f}\"}").unwrap();
        assert!(file(&path).unwrap_err().to_string().contains("duplicate"), "a name twice is an error as before");
    }
}
