//! The faults that `bite` makes: each still applies to the product as it is, and names a case and the words that catch it.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn each_applies_and_says_what_catches_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in fs::read_dir(root.join("tests/faults/bites")).unwrap() {
        let patch = entry.unwrap().path();
        let text = fs::read_to_string(&patch).unwrap();
        for head in ["Fault: ", "Case: ", "Caught: "] {
            assert!(text.lines().take(4).any(|line| line.starts_with(head)), "{}: no `{head}`", patch.display());
        }
        let applied = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root).output().unwrap();
        assert!(applied.status.success(), "{}: {}", patch.display(), String::from_utf8_lossy(&applied.stderr));
        count += 1;
    }
    assert!(count >= 8, "{count} faults");
}
