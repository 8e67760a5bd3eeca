//! The whole example of the language page.

use crate::bench::check;
use trees_core::tree::{Action, Effect, FanOut, NeedKind, OnCrash, Rule};

const REPORT: &str = "tree: report\nparams: { app: { type: string } }\nsteps:\n  write: { run: \"echo {{ params.app }}\" }\n";

#[test]
fn the_example_of_the_language_page_checks() {
    let checked = check(include_str!("example.yaml"), &[("report.yaml", REPORT)]);
    assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
    let tree = checked.tree.expect("nothing is wrong");
    assert_eq!((tree.name.as_str(), tree.project.as_str()), ("slackpath", "slackpath"));
    assert_eq!(checked.sources.files.len(), 2);
    assert_eq!(tree.environments.keys().collect::<Vec<_>>(), ["staging", "production"]);
    let order: Vec<&str> = tree.order.iter().map(|i| tree.steps[*i as usize].id.as_str()).collect();
    assert_eq!(order.len(), 9);
    for step in &tree.steps {
        let at = |id: u32| tree.order.iter().position(|o| *o == id).expect("every step has a place");
        let own = at(tree.index[&step.id]);
        assert!(step.needs.iter().all(|n| at(n.step) < own), "{} comes after its needs", step.id);
    }
    assert_eq!(order.last(), Some(&"cleanup"));
}

#[test]
fn the_steps_of_the_example_mean_what_the_page_says() {
    let checked = check(include_str!("example.yaml"), &[("report.yaml", REPORT)]);
    let tree = checked.tree.expect("nothing is wrong");
    let step = |id: &str| tree.step(id).expect("it stands in the example");
    let test = step("test");
    assert!(test.cache && test.pool.as_deref() == Some("compile"));
    assert_eq!((test.retry.attempts, test.timeout.map(|t| t.as_secs())), (3, Some(600)));
    let stage = step("stage");
    assert_eq!((stage.effect, stage.on_crash), (Effect::External, OnCrash::Check));
    let needs: Vec<(&str, NeedKind)> = stage.needs.iter().map(|n| (tree.steps[n.step as usize].id.as_str(), n.kind)).collect();
    assert_eq!(needs, [("build", NeedKind::Succeeded)]);
    assert!(matches!(step("smoke").fan_out.as_deref(), Some(FanOut::Foreach { name, .. }) if name == "channel"));
    assert!(matches!(step("suites").fan_out.as_deref(), Some(FanOut::Matrix { axes, exclude }) if axes.len() == 2 && exclude.len() == 1));
    let notify = step("notify");
    assert_eq!((notify.effect, notify.on_crash), (Effect::External, OnCrash::Ask));
    assert_eq!(notify.undo.as_ref().and_then(|u| u.retry.as_ref()).map(|r| r.attempts), Some(5));
    let report = step("report");
    assert_eq!(report.rule, Rule::NoneFailed);
    assert!(matches!(&report.action, Action::Tree { tree, .. } if tree.name == "report"));
    assert!(step("cleanup").finally);
    let image: Vec<&str> = tree.environments["production"].vars.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(image.len(), 3);
}
