//! What is no plain file: it is refused at once, as the tree itself, as a sub-tree, as a file of params.

use super::verdicts;
use crate::place::Place;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

/// What stands in the place, with a file of each sort.
const NAMES: [&str; 9] =
    ["fifo.yaml", "folder.yaml", "loop.yaml", "missing.yaml", "dangling.yaml", "socket.yaml", "zero.yaml", "random.yaml", "null.yaml"];

fn place() -> (Place, UnixListener) {
    let place = Place::new();
    assert!(place.program("mkfifo").arg("fifo.yaml").status().unwrap().success());
    fs::create_dir(place.path("folder.yaml")).unwrap();
    symlink("loop.yaml", place.path("loop.yaml")).unwrap();
    symlink("nothing", place.path("dangling.yaml")).unwrap();
    symlink("/dev/zero", place.path("zero.yaml")).unwrap();
    symlink("/dev/urandom", place.path("random.yaml")).unwrap();
    symlink("/dev/null", place.path("null.yaml")).unwrap();
    let socket = UnixListener::bind(place.path("socket.yaml")).unwrap();
    (place, socket)
}

#[test]
fn what_is_no_file() {
    let (place, _socket) = place();
    // As a path: a bare name that is no file is looked up among the cookbooks.
    let paths: Vec<String> = NAMES.iter().map(|name| format!("./{name}")).collect();
    let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    for command in ["check", "run", "graph", "plan"] {
        for files in [&paths, &names] {
            // What is said of them goes beside them, under names of its own.
            let told = verdicts(&place, command, files);
            for (name, verdict) in files.iter().zip(told) {
                assert!(
                    verdict.code == 2 && verdict.stderr.contains(name.trim_start_matches("./")),
                    "{command} {name}: {} {}",
                    verdict.code,
                    verdict.stderr
                );
            }
        }
    }
    for name in NAMES {
        place.write("top.yaml", format!("tree: t\nsteps:\n  a: {{ run: x }}\n  b:\n    tree: ./{name}\n"));
        let told = verdicts(&place, "check --format json", &["top.yaml".to_owned()]);
        let found = told[0].diagnostics();
        let named = found.iter().any(|d| d["line"] == 5 && d["file"] == "top.yaml" || d["file"] == *name);
        assert!(told[0].code == 2 && named, "{name} as a sub-tree: {} {found:?} {}", told[0].code, told[0].stderr);
        place.write("good.yaml", "tree: t\nparams: { p: { required: false } }\nsteps: { a: { run: ':' } }\n");
        if name != "null.yaml" {
            let told = verdicts(&place, &format!("run --params ./{name}"), &["good.yaml".to_owned()]);
            assert_eq!(told[0].code, 2, "{name} as a file of params: {}", told[0].stderr);
        }
    }
    println!("malformed, no plain files: {} sorts, as tree, sub-tree and params", NAMES.len());
}

#[test]
fn circles_of_files() {
    let tree = |next: &str| format!("tree: t\nsteps:\n  a: {{ run: x }}\n  b:\n    tree: {next}\n");
    let mut tried = 0;
    for length in [1, 2, 3, 20, 63] {
        let place = Place::new();
        (0..length).for_each(|n| place.write(&format!("{n}.yaml"), tree(&format!("./{}.yaml", (n + 1) % length))));
        let told = verdicts(&place, "check --format json", &["0.yaml".to_owned()]);
        let found = told[0].diagnostics();
        assert_eq!((told[0].code, found.len()), (2, 1), "{length}: {found:?}");
        assert_eq!((&found[0]["code"], &found[0]["line"]), (&"include-cycle".into(), &5.into()), "{found:?}");
        let human = place.run(&["run", "0.yaml"]).expect(2);
        assert!(human.stderr.contains("0.yaml") && human.stderr.contains("->"), "{}", human.stderr);
        tried += 1;
    }
    // The same file by other names: through a folder, a link, a path that goes up.
    for by in ["./sub/../top.yaml", "./link.yaml", "./folder/top.yaml", "././top.yaml"] {
        let place = Place::new();
        place.write("sub/x", "");
        place.write("top.yaml", tree(by));
        symlink("top.yaml", place.path("link.yaml")).unwrap();
        symlink(".", place.path("folder")).unwrap();
        let told = verdicts(&place, "check --format json", &["top.yaml".to_owned()]);
        let found = told[0].diagnostics();
        assert!(told[0].code == 2 && found.iter().any(|d| d["line"] == 5), "{by}: {found:?}");
        tried += 1;
    }
    // A chain without end, and one file that names itself a thousand times.
    let place = Place::new();
    (0..200).for_each(|n| place.write(&format!("{n}.yaml"), tree(&format!("./{}.yaml", n + 1))));
    let told = verdicts(&place, "check --format json", &["0.yaml".to_owned()]);
    assert!(told[0].code == 2 && told[0].diagnostics().iter().any(|d| d["code"] == "too-deep"), "{}", told[0].stdout);
    let steps: String = (0..1_000).map(|n| format!("  s{n}: {{ tree: ./self.yaml }}\n")).collect();
    place.write("self.yaml", format!("tree: t\nsteps:\n{steps}"));
    let told = verdicts(&place, "check --format json", &["self.yaml".to_owned()]);
    assert_eq!((told[0].code, told[0].diagnostics().len()), (2, 1_000), "{}", told[0].stderr);
    println!("malformed, circles: {} of files", tried + 2);
}
