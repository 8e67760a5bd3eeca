//! What every deploy asks of its inputs, wherever it deploys to.

use std::collections::BTreeMap;
use std::path::{Component, Path};

/// The inputs that all deploys have.
pub struct Asked<'a> {
    /// The deployment.
    pub name: &'a str,
    /// The release.
    pub release: &'a str,
    /// Program and arguments.
    pub command: &'a [String],
    /// Name in the release, and what is copied there.
    pub files: &'a BTreeMap<String, String>,
    /// How many releases stay.
    pub keep: usize,
    /// What is asked.
    pub health: Option<&'a str>,
    /// There is a port.
    pub has_port: bool,
}

impl Asked<'_> {
    /// What is wrong with them, a sentence each.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !is_id(self.release) {
            wrong.push(format!("release: `{}` cannot be a folder's name: use letters, digits, `.`, `_` and `-`", self.release));
        }
        if self.name.is_empty() {
            wrong.push("name: it is empty".into());
        }
        if self.command.first().is_none_or(String::is_empty) {
            wrong.push("command: it names no program".into());
        }
        if self.keep == 0 {
            wrong.push("keep: at least 1".into());
        }
        if self.health.is_some_and(|path| !path.starts_with('/')) {
            wrong.push("health: a path begins with `/`".into());
        }
        if self.health.is_some() && !self.has_port {
            wrong.push("health: it needs `port`".into());
        }
        let plain = |name: &str| !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        wrong.extend(self.files.keys().filter(|name| !plain(name)).map(|name| format!("files: `{name}` leaves the release's folder")));
        let program = self.command.first().and_then(|program| program.strip_prefix("./"));
        if let Some(program) = program.filter(|program| !self.files.keys().any(|name| Path::new(program).starts_with(name))) {
            wrong.push(format!("command: `./{program}` is not among `files`"));
        }
        wrong
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
