use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

/// A folder that is watched by its globs.
fn watch(globs: &[&str], poll: bool) -> (tempfile::TempDir, PathBuf, Watch) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap();
    let mut scope = Scope::new(dir.clone());
    scope.add_globs(&globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>()).unwrap();
    let watch = Watch::open(scope, poll, Arc::default());
    (folder, dir, watch)
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Waits until exactly these have changed, in one burst or several.
#[track_caller]
fn check(watch: &mut Watch, expected: &[&str], what: &str) {
    let mut changed = BTreeSet::new();
    let begun = Instant::now();
    while !changed.iter().eq(expected) {
        assert!(watch.wait(&|| begun.elapsed() > Duration::from_secs(60)), "{what}: {changed:?}");
        changed.extend(watch.look().iter().map(|path| watch.scope().name(path)));
    }
}

fn every_way_to_change(poll: bool) {
    let (_folder, dir, mut watch) = watch(&["src/**", "*.toml", "later/**"], poll);
    assert!(watch.seen().is_empty());
    write(&dir, "src/a", "1");
    check(&mut watch, &["src/a"], "a folder that appears later");
    write(&dir, ".a.new", "2");
    fs::rename(dir.join(".a.new"), dir.join("src/a")).unwrap();
    check(&mut watch, &["src/a"], "a save by rename");
    write(&dir, "elsewhere/deep/x", "1");
    fs::rename(dir.join("elsewhere"), dir.join("later")).unwrap();
    check(&mut watch, &["later/deep/x"], "a folder that is moved in");
    write(&dir, "later/deep/x", "2");
    check(&mut watch, &["later/deep/x"], "a file in it");
    fs::remove_dir_all(dir.join("src")).unwrap();
    check(&mut watch, &["src/a"], "a folder that is removed");
    write(&dir, "src/a", "3");
    write(&dir, "Cargo.toml", "x");
    check(&mut watch, &["Cargo.toml", "src/a"], "it comes back");
    symlink("nowhere", dir.join("src/link")).unwrap();
    check(&mut watch, &["src/link"], "a link");
}

#[test]
fn what_the_system_tells() {
    every_way_to_change(false);
}

#[test]
fn what_a_look_again_and_again_finds() {
    every_way_to_change(true);
}

#[test]
fn a_file_is_changed_by_its_content_alone() {
    let (_folder, dir, mut watch) = watch(&["src/**"], false);
    write(&dir, "src/a", "1");
    check(&mut watch, &["src/a"], "a new file");
    write(&dir, "src/a", "1");
    assert!(watch.look().is_empty());
    write(&dir, "src/a", "2");
    assert_eq!(watch.look().len(), 1, "the same size within the same moment");
}

#[test]
fn folders_that_git_ignores_are_not_entered_unless_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap();
    fs::create_dir(dir.join(".git")).unwrap();
    write(&dir, ".gitignore", "target/\n*.log\nnode_modules\n!kept/node_modules\n");
    write(&dir, "app/.gitignore", "/out\n");
    for name in ["target/x", "a/node_modules/x", "kept/node_modules/x", "app/out/x", "app/src/out/x", "b.log", ".git/HEAD", "build/gen/x"] {
        write(&dir, name, name);
    }
    write(&dir, ".git/info/exclude", "build\n");
    let mut scope = Scope::new(dir.clone());
    scope.add_globs(&["**".into()]).unwrap();
    let found = |scope: &Scope| walk::walk(scope).files.keys().map(|path| scope.name(path)).collect::<Vec<_>>();
    let all = [".gitignore", "app/.gitignore", "app/src/out/x", "b.log", "kept/node_modules/x"];
    assert_eq!(found(&scope), all);
    scope.add_globs(&["build/gen/*".into()]).unwrap();
    scope.add_place(Path::new("target/x"));
    let mut more = [all.as_slice(), &["build/gen/x", "target/x"]].concat();
    more.sort_unstable();
    assert_eq!(found(&scope), more);
}

#[test]
fn another_scope_keeps_what_was_seen() {
    let (_folder, dir, mut watch) = watch(&["a"], false);
    write(&dir, "a", "1");
    check(&mut watch, &["a"], "a new file");
    write(&dir, "a", "2");
    write(&dir, "b", "1");
    let mut scope = Scope::new(dir.clone());
    scope.add_globs(&["a".into(), "b".into()]).unwrap();
    watch.turn(scope);
    assert_eq!(watch.seen().len(), 2);
    assert_eq!(watch.look().iter().map(|path| watch.scope().name(path)).collect::<Vec<_>>(), ["a"], "the change of `a` is not lost");
}
