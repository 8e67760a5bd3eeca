//! `trees init` and `trees cookbook`.

use crate::bench::Bench;

#[test]
fn a_project_is_started_and_nothing_overwritten() {
    let bench = Bench::new();
    bench.run(&["init"]).expect(0);
    assert_eq!(bench.files(), ["tree.yaml"]);
    let text = bench.read("tree.yaml");
    assert!(text.starts_with("# yaml-language-server: $schema=.trees/tree.schema.json\ntree: work\n"), "{text}");
    assert_eq!(bench.read(".trees/.gitignore"), "*\n");
    assert!(bench.read(".trees/tree.schema.json").contains("\"steps\""));
    bench.run(&["check", "--strict", "tree.yaml"]).expect(0);
    let again = bench.run(&["init"]).expect(2);
    assert!(again.stderr.contains("already there") && again.stderr.contains("tree.yaml"), "{}", again.stderr);
    assert_eq!(bench.read("tree.yaml"), text);
}

#[test]
fn a_cookbook_is_copied() {
    let bench = Bench::new();
    bench.run(&["init", "slackpath", "--dir", "chat"]).expect(0);
    let files = bench.files();
    assert!(files.contains(&"chat/slackpath.yaml".to_owned()), "{files:?}");
    bench.run(&["check", "chat/slackpath.yaml"]).expect(0);
    bench.run(&["init", "slackpath", "--dir", "chat"]).expect(2);
    let unknown = bench.run(&["init", "slickpath"]).expect(2);
    assert!(unknown.stderr.contains("there is no cookbook `slickpath`") && unknown.stderr.contains("slackpath"), "{}", unknown.stderr);
}

#[test]
fn built_in_cookbooks_are_found_by_name() {
    let bench = Bench::new();
    let list = bench.run(&["cookbook", "list"]).expect(0).stdout;
    assert!(list.lines().any(|l| l.starts_with("slackpath") && l.ends_with("(built-in)")), "{list}");
    assert!(!list.contains("has errors"), "{list}");
    let shown = bench.run(&["cookbook", "show", "slackpath"]).expect(0).stdout;
    assert!(shown.contains("tree: slackpath"));
    for name in ["slackpath", "slackpath.yaml"] {
        let outcome = bench.run(&["check", name]).expect(0);
        assert!(outcome.stderr.contains("taking the built-in cookbook slackpath"), "{}", outcome.stderr);
    }
    assert_eq!(bench.files(), Vec::<String>::new());
}

#[test]
fn the_nearest_cookbook_is_taken() {
    let bench = Bench::new();
    let own = "tree: slackpath\ndescription: My own.\nsteps:\n  a: { run: \":\" }\n";
    let user = bench.home().join(".config/trees/cookbooks/slackpath");
    std::fs::create_dir_all(&user).unwrap();
    std::fs::write(user.join("slackpath.yaml"), own).unwrap();
    let outcome = bench.run(&["check", "slackpath"]).expect(0);
    assert!(outcome.stderr.contains(".config/trees/cookbooks/slackpath/slackpath.yaml"), "{}", outcome.stderr);
    bench.write("cookbooks/slackpath/slackpath.yaml", own);
    let outcome = bench.run(&["check", "slackpath.yaml"]).expect(0);
    assert!(outcome.stderr.contains("taking the cookbook cookbooks/slackpath/slackpath.yaml"), "{}", outcome.stderr);
    let list = bench.run(&["cookbook", "list"]).expect(0).stdout;
    assert!(list.contains("slackpath  My own. (./cookbooks)") || list.contains("My own. (./cookbooks)"), "{list}");
    // A file of that name goes first.
    bench.write("slackpath.yaml", own);
    assert!(bench.run(&["check", "slackpath.yaml"]).expect(0).stderr.is_empty());
}

#[test]
fn a_cookbook_of_ones_own() {
    let bench = Bench::new();
    bench.run(&["cookbook", "new", "greet"]).expect(0);
    assert_eq!(bench.files(), ["cookbooks/greet/README.md", "cookbooks/greet/greet.yaml"]);
    bench.run(&["check", "--strict", "greet"]).expect(0);
    bench.run(&["cookbook", "new", "greet"]).expect(2);
    assert!(bench.run(&["cookbook", "new", "../x"]).expect(2).stderr.contains("`../x` is no name"));
}
