//! The environment of a step: little of that of `trees`, then what the tree says, then what the
//! engine says.

mod dotenv;

pub use dotenv::{DotenvError, parse as parse_dotenv};

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use trees_core::event::Json;

/// What a step gets of the environment of `trees` without asking.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TERM",
    "XDG_*",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "KUBECONFIG",
    "CARGO_HOME",
    "RUSTUP_*",
    "GOPATH",
    "JAVA_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "CARGO_HTTP_CAINFO",
    "NIX_SSL_CERT_FILE",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CI",
];

/// What the engine itself sets; never inherited, so that a `trees` inside a step passes none of them on.
const OURS: &[&str] = &["TREES_RUN_ID", "TREES_STEP", "TREES_ATTEMPT", "TREES_OUTPUT", "TREES_INPUTS", "TREES_IDEMPOTENCY_KEY"];

/// Bytes of one value that may stand in the environment; a larger one is only in `$TREES_INPUTS`.
pub const LARGEST: usize = 100 << 10;

/// Grows layer by layer; a later layer wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// What the allow list and `env_pass` (names, `*` for any characters) take of an environment,
    /// mostly [`std::env::vars_os`].
    pub fn inherited(own: impl IntoIterator<Item = (OsString, OsString)>, pass: &[String]) -> Self {
        let wanted = |name: &OsStr| {
            let name = name.to_string_lossy();
            let bound = name.strip_prefix("TREES_V").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            let patterns = ALLOWED.iter().copied().chain(pass.iter().map(String::as_str));
            !bound && !OURS.contains(&&*name) && patterns.into_iter().any(|p| matches(p, &name))
        };
        let mut all: BTreeMap<OsString, OsString> = own.into_iter().filter(|(name, _)| wanted(name)).collect();
        all.entry("PATH".into()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".into());
        all.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
        Self(all)
    }

    /// Puts a layer on top.
    pub fn add<K: Into<OsString>, V: Into<OsString>>(&mut self, layer: impl IntoIterator<Item = (K, V)>) -> &mut Self {
        self.0.extend(layer.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// One variable on top.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> &mut Self {
        self.add([(name.into(), value.into())])
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// For a process.
    pub fn into_pairs(self) -> Vec<(OsString, OsString)> {
        self.0.into_iter().collect()
    }

    /// For a step kind; what is not UTF-8 is left out.
    pub fn to_text(&self) -> Vec<(String, String)> {
        self.0.iter().filter_map(|(k, v)| Some((k.to_str()?.to_owned(), v.to_str()?.to_owned()))).collect()
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// The text of a value bound to a variable of a script: strings as they are, others as JSON.
///
/// # Errors
/// When the value is too large for the environment or holds a NUL, which no variable can.
pub fn bound(variable: &str, value: &Json) -> Result<String, String> {
    let text = match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() > LARGEST {
        let size = text.len().div_ceil(1 << 10);
        return Err(format!(
            "a value of {size} KiB is too large for a variable of the script (at most 100 KiB): read it as `{variable}` from the JSON file $TREES_INPUTS, or pass it as an artifact"
        ));
    }
    if text.contains('\0') {
        return Err(format!("a value bound to `{variable}` holds a NUL byte, which no environment variable can"));
    }
    Ok(text)
}

/// Reads dotenv files one after the other; a missing one is skipped.
///
/// # Errors
/// With file and line of the first thing that is wrong.
pub fn read_dotenv(folder: &Path, names: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for name in names {
        match std::fs::read(folder.join(name)) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8: a dotenv file must be"))?;
                all.extend(parse_dotenv(&text).map_err(|e| format!("{name}:{}: {}", e.line, e.message))?);
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("cannot read {name}: {e}")),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(pass: &[&str], own: &[&str], expected: &[&str]) {
        let pass: Vec<String> = pass.iter().map(|p| (*p).into()).collect();
        let environment = Environment::inherited(own.iter().map(|n| ((*n).into(), "x".into())), &pass);
        let names: Vec<String> = environment.to_text().into_iter().map(|(k, _)| k).collect();
        let mut expected: Vec<&str> = expected.iter().copied().chain(["GIT_TERMINAL_PROMPT", "PATH"]).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(names, expected);
    }

    #[test]
    fn what_is_inherited() {
        check(&[], &[], &[]);
        check(
            &[],
            &["PATH", "HOME", "AWS_KEY", "SECRET", "LC_ALL", "LCX", "XDG_RUNTIME_DIR", "RUSTUP_HOME"],
            &["HOME", "LC_ALL", "XDG_RUNTIME_DIR", "RUSTUP_HOME"],
        );
        check(&[], &["https_proxy", "NO_PROXY", "SSL_CERT_FILE", "CI", "CI_TOKEN"], &["https_proxy", "NO_PROXY", "SSL_CERT_FILE", "CI"]);
        check(&["AWS_*"], &["AWS_KEY", "AWS_", "AWS", "MY_AWS_KEY"], &["AWS_KEY", "AWS_"]);
        check(
            &["*_TOKEN", "A*B*C", "EXACT"],
            &["X_TOKEN", "X_TOKENS", "A1B2C", "ABC", "ACB", "EXACT", "EXACTLY"],
            &["X_TOKEN", "A1B2C", "ABC", "EXACT"],
        );
    }

    #[test]
    fn the_marks_of_an_outer_run_are_never_inherited() {
        check(&["TREES_*", "*"], &["TREES_RUN_ID", "TREES_STEP", "TREES_ATTEMPT", "TREES_OUTPUT", "TREES_INPUTS", "TREES_V1"], &[]);
        check(&["TREES_*"], &["TREES_STATE", "TREES_IDEMPOTENCY_KEY", "TREES_V", "TREES_V12"], &["TREES_STATE", "TREES_V"]);
    }

    #[test]
    fn a_later_layer_wins() {
        let mut environment = Environment::inherited([("PATH".into(), "/own".into())], &[]);
        environment.add([("A", "dotenv"), ("B", "dotenv")]).add([("B", "tree")]).set("PATH", "/step");
        assert_eq!(
            environment.to_text(),
            [
                ("A".into(), "dotenv".into()),
                ("B".into(), "tree".into()),
                ("GIT_TERMINAL_PROMPT".into(), "0".into()),
                ("PATH".into(), "/step".into()),
            ]
        );
    }

    #[test]
    fn values_as_variables() {
        assert_eq!(bound("TREES_V1", &json!("a b\n")), Ok("a b\n".into()));
        assert_eq!(bound("TREES_V1", &json!(3)), Ok("3".into()));
        assert_eq!(bound("TREES_V1", &json!(["a", {"b": null}])), Ok(r#"["a",{"b":null}]"#.into()));
        assert!(bound("TREES_V1", &json!("x".repeat(LARGEST))).is_ok());
        assert_eq!(
            bound("TREES_V2", &json!("x".repeat(LARGEST + 1))).unwrap_err(),
            "a value of 101 KiB is too large for a variable of the script (at most 100 KiB): read it as `TREES_V2` from the JSON file $TREES_INPUTS, or pass it as an artifact"
        );
        assert!(bound("TREES_V2", &json!("a\0b")).is_err());
    }

    #[test]
    fn dotenv_files_are_read_in_order_and_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "X=1\nY=2\n").unwrap();
        std::fs::write(folder.path().join("b"), "X=3\n").unwrap();
        std::fs::write(folder.path().join("bad"), "X=1\nno equals\n").unwrap();
        std::fs::write(folder.path().join("latin"), b"X=\xe9\n").unwrap();
        let read = |names: &[&str]| read_dotenv(folder.path(), &names.iter().map(|n| (*n).into()).collect::<Vec<String>>());
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<Vec<(String, String)>>();
        assert_eq!(read(&["a", "none", "b"]), Ok(pairs(&[("X", "1"), ("Y", "2"), ("X", "3")])));
        assert_eq!(read(&["bad"]).unwrap_err(), "bad:2: `no equals` is no assignment: write NAME=value");
        assert_eq!(read(&["latin"]).unwrap_err(), "latin is not UTF-8: a dotenv file must be");
    }
}
