//! The reference pages of the book are what the binary writes.

use crate::bench::Bench;
use std::fs;
use std::path::Path;

#[test]
fn the_committed_reference_is_current() {
    let bench = Bench::new();
    bench.run(&["__docs", "reference"]).expect(0);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    for name in bench.files() {
        let path = committed.join(name.strip_prefix("reference/").unwrap());
        let there = fs::read_to_string(&path).unwrap_or_default();
        let cure = "run `cargo run -- __docs docs/reference` and commit";
        assert!(there == bench.read(&name), "{} is not current: {cure}", path.display());
    }
}
