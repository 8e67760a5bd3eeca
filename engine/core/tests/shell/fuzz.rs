//! Random scripts: what the scanner lets through never runs a value. That it never panics and loses
//! no text is held by the test `fuzz` of the workspace. One process a shell runs them all.

use super::bound;
use super::pieces::Generator;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn bytes_choose_scripts_too() {
    assert_eq!(Generator::from_bytes(&[1, 2, 3]).script(), Generator::from_bytes(&[1, 2, 3]).script());
}

/// What would run if a value were code, in one place or another.
const HOSTILE: [&str; 4] = [
    "'; touch PWNED; \"; touch PWNED; $(touch PWNED) `touch PWNED`\nE\ntouch PWNED\n}; touch PWNED\n) ; touch PWNED;;\n",
    "a[$(touch PWNED)]",
    "$(touch PWNED)",
    "touch PWNED",
];

/// Runs all scripts of a folder in subshells of one process; whether a value ran.
fn ran(shell: &str, scripts: &Path, value: &str) -> bool {
    let work = tempfile::tempdir().unwrap();
    let driver = "ulimit -t 20; for f in \"$D\"/*; do ( . \"$f\" ) </dev/null >/dev/null 2>&1; done";
    let mut command = Command::new(shell);
    command.args(["-c", driver]).current_dir(work.path()).env_clear().env("PATH", "/usr/bin:/bin").env("D", scripts).env("TREES_V1", value);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.is_ok(), "{shell} does not start");
    work.path().join("PWNED").exists()
}

fn hostile(shell: &str, seed: u64, count: usize) -> Vec<String> {
    let mut generator = Generator::new(seed);
    let texts: Vec<String> =
        std::iter::repeat_with(|| generator.script()).filter_map(|s| bound(&s).ok()).map(|s| s.text).take(count).collect();
    let folder = tempfile::tempdir().unwrap();
    for (n, text) in texts.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{n:05}")), text).unwrap();
    }
    let values: Vec<&str> = HOSTILE.into_iter().filter(|value| ran(shell, folder.path(), value)).collect();
    let mut guilty = Vec::new();
    for text in if values.is_empty() { &[] } else { &texts[..] } {
        let alone = tempfile::tempdir().unwrap();
        std::fs::write(alone.path().join("0"), text).unwrap();
        guilty.extend(values.iter().filter(|v| ran(shell, alone.path(), v)).map(|v| format!("{shell} {text:?} runs {v:?}")));
    }
    guilty
}

#[test]
fn no_value_ever_runs() {
    let seed = std::env::var("TREES_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(11);
    let count = std::env::var("TREES_FUZZ_COUNT").ok().and_then(|s| s.parse().ok()).unwrap_or(400);
    let guilty: Vec<String> =
        ["bash", "dash"].into_iter().filter(|s| super::super::there(s)).flat_map(|s| hostile(s, seed, count)).collect();
    assert!(guilty.is_empty(), "{}", guilty.join("\n"));
}
