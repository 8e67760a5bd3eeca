//! Every kind's example is a whole tree file that passes the checker, and the texts are readable.

use trees_core::language::{Source, Sources, check};
use trees_core::tree::{Action, Kinds as _};
use trees_steps::catalogue;

#[test]
fn every_example_is_a_tree_that_uses_its_kind() {
    let catalogue = catalogue();
    for name in catalogue.names() {
        let info = catalogue.kind(name).expect("a name of the catalogue");
        let source = Source { name: format!("{}.yaml", name.replace('/', "-")), text: info.example.clone() };
        let checked = check(source, &Sources::default(), &catalogue);
        assert!(checked.diagnostics.is_empty(), "{name}: {:#?}\n{}", checked.diagnostics, info.example);
        let tree = checked.tree.expect("a tree without diagnostics");
        let uses = tree.steps.iter().any(|step| matches!(&step.action, Action::Uses { kind, .. } if kind == name));
        assert!(uses, "{name}: its example does not use it");
    }
}
