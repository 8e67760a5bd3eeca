//! What checks today and runs in a later release.

use crate::diagnostic::{Diagnostic, Span};
use crate::tree::{Action, Secret, SecretSource, Tree};
use std::collections::HashSet;

/// What of a tree (its sub-trees included) this release checks but does not run yet.
pub fn later(tree: &Tree) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![tree];
    while let Some(tree) = open.pop() {
        if seen.insert(tree.source) {
            secrets(tree, &mut found);
            open.extend(
                tree.steps.iter().filter_map(|s| if let Action::Tree { tree, .. } = &s.action { Some(tree.as_ref()) } else { None }),
            );
        }
    }
    found.sort_by_key(|d| d.span);
    found
}

fn not_yet(span: Span, what: &str, instead: &str) -> Diagnostic {
    Diagnostic::error("later", span, format!("{what} comes in a later release")).help(instead)
}

fn secrets(tree: &Tree, found: &mut Vec<Diagnostic>) {
    let all = tree.secrets.iter().chain(tree.environments.values().flat_map(|e| &e.secrets));
    let vault = |s: &Secret| s.from == Some(SecretSource::Vault);
    found.extend(all.filter(|(_, s)| vault(s)).map(|(name, s)| {
        not_yet(s.span, &format!("`from: vault` of the secret `{name}`"), "use `from: command` with the vault's own client until then")
    }));
}
