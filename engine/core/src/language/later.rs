//! What checks today and runs in a later release.

use crate::diagnostic::{Diagnostic, Span};
use crate::tree::{Action, OnBusy, OnCrash, OnFailure, Secret, SecretSource, Tree};
use std::collections::HashSet;

/// What of a tree (its sub-trees included) this release checks but does not run yet.
pub fn later(tree: &Tree) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    top(tree, &mut found);
    let mut seen = HashSet::new();
    let mut open = vec![tree];
    while let Some(tree) = open.pop() {
        if seen.insert(tree.source) {
            secrets(tree, &mut found);
            steps(tree, &mut found);
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

/// `on_failure` and `on_busy` hold for the top tree only.
fn top(tree: &Tree, found: &mut Vec<Diagnostic>) {
    let failure = match tree.on_failure {
        OnFailure::Cancel => Some("cancel"),
        OnFailure::Rollback => Some("rollback"),
        OnFailure::Pause => Some("pause"),
        OnFailure::Continue | OnFailure::Stop => None,
    };
    found.extend(failure.map(|f| not_yet(tree.on_failure_at, &format!("`on_failure: {f}`"), "write `continue` or `stop` until then")));
    let busy = match tree.on_busy {
        OnBusy::Queue => Some("queue"),
        OnBusy::Skip => Some("skip"),
        OnBusy::CancelOld => Some("cancel_old"),
        OnBusy::Fail => Some("fail"),
        OnBusy::Allow => None,
    };
    found.extend(
        busy.map(|b| {
            not_yet(tree.on_busy_at, &format!("`on_busy: {b}`"), "write `allow`, or use `lock` on the steps that must not overlap")
        }),
    );
}

fn secrets(tree: &Tree, found: &mut Vec<Diagnostic>) {
    let all = tree.secrets.iter().chain(tree.environments.values().flat_map(|e| &e.secrets));
    let vault = |s: &Secret| s.from == Some(SecretSource::Vault);
    found.extend(all.filter(|(_, s)| vault(s)).map(|(name, s)| {
        not_yet(s.span, &format!("`from: vault` of the secret `{name}`"), "use `from: command` with the vault's own client until then")
    }));
}

fn steps(tree: &Tree, found: &mut Vec<Diagnostic>) {
    let undo_first = tree.steps.iter().filter(|s| s.on_crash == OnCrash::UndoFirst);
    found.extend(undo_first.map(|s| not_yet(s.span, &format!("`on_crash: undo_first` of `{}`", s.id), "write `ask` until then")));
}
