//! Test files: any text is cases or has errors, and each case comes to a verdict.

use super::places;
use super::tree::KINDS;
use std::sync::{Arc, LazyLock};
use trees_core::language::{self, Source, Sources};
use trees_core::tree::Tree;
use trees_core::trial;

/// What the cases are about.
pub const TREE: &str = r#"tree: shop
params: { n: { type: integer, default: 2 } }
environments: { prod: { default: true } }
on_failure: rollback
steps:
  fetch: { run: "true", outputs: { sha: string } }
  build: { needs: fetch, run: "true", retry: { attempts: 2, delay: 1s }, undo: "true", effect: external }
  each: { needs: build, foreach: [one, two], run: "echo {{ item }}", allow_failure: true }
  ask: { needs: each, approve: { message: "go on?", timeout: 24h } }
  ship: { needs: ask, run: "true", if: params.n > 1, on_crash: ask, effect: external, timeout: 10m }
finally:
  sweep: { run: "true" }
"#;

/// That tree, checked.
pub fn shop() -> Option<Arc<Tree>> {
    static SHOP: LazyLock<Option<Arc<Tree>>> =
        LazyLock::new(|| language::check(Source { name: "tree.yaml".into(), text: TREE.into() }, &Sources::default(), &*KINDS).tree);
    SHOP.clone()
}

/// Any text as a test file of that tree.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source { name: "test.yaml".into(), text: text.into() };
    let _ = trial::tree_named(&source);
    let tree = shop().unwrap_or_else(|| panic!("the tree of this target does not check"));
    match trial::read(&source, &tree, &*KINDS) {
        Ok(cases) => {
            for case in &cases {
                let verdict = trial::run(case, &tree, &*KINDS);
                assert!(verdict.is_ok(), "{text}: {:?}", verdict.err());
            }
        }
        Err(found) => {
            assert!(!found.is_empty(), "{text:?} is refused without a word");
            places::hold(&found, &[text]);
        }
    }
}
