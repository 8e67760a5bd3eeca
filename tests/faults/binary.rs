//! The binaries that are judged, built once a process by cargo where nobody names another.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The release binary, or what `TREES_FAULTS_BINARY` names: one that was broken on purpose.
pub fn release() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| given("TREES_FAULTS_BINARY").unwrap_or_else(|| build("trees", &["--release"])))
}

/// The debug binary that has the points of `trees_points`, or what `TREES_FAULTS_POINTS_BINARY` names.
/// It has a name of its own: its build overwrites no other.
pub fn with_failpoints() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = || build("trees-failpoints", &["--features", "failpoints"]);
    BUILT.get_or_init(|| given("TREES_FAULTS_POINTS_BINARY").unwrap_or_else(built))
}

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(|path| std::path::absolute(path).unwrap())
}

/// Builds a binary with more arguments for cargo; where it is.
fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--bin", name, "--message-format", "json-render-diagnostics"]).args(arguments);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    let printed = String::from_utf8(output.stdout).unwrap();
    let messages = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let executable = messages.filter_map(|m| m["executable"].as_str().map(PathBuf::from)).reduce(|_, last| last);
    executable.unwrap_or_else(|| panic!("{command:?} named no executable"))
}
