//! Secrets: twelve canaries from every source, told in every form by steps that are careless or worse,
//! are found nowhere afterwards: not in the state folder, its database and WAL included, not in what any
//! command prints, not in the processes of other steps.

mod canaries;
mod processes;
mod tree;

use crate::place::{Place, Told};
use canaries::{Canary, canaries};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What was searched, and what for.
struct Search {
    /// Which canary in which form, and its bytes.
    needles: Vec<(String, Vec<u8>)>,
    found: Vec<String>,
    places: usize,
    bytes: usize,
}

impl Search {
    fn of(canaries: &[Canary]) -> Self {
        let needles = canaries.iter().flat_map(|c| c.traces().into_iter().map(|(form, bytes)| (format!("{} {form}", c.name), bytes)));
        Self { needles: needles.collect(), found: Vec::new(), places: 0, bytes: 0 }
    }

    /// Looks into some bytes.
    fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.places += 1;
        self.bytes += bytes.len();
        for (name, needle) in &self.needles {
            if let Some(at) = find(bytes, needle) {
                let near = &bytes[at.saturating_sub(60)..(at + needle.len() + 20).min(bytes.len())];
                self.found.push(format!("{name} in {place}: {:?}", String::from_utf8_lossy(near)));
            }
        }
    }

    /// Looks into what a command said.
    fn told(&mut self, command: &str, told: &Told) {
        self.bytes(&format!("standard output of {command}"), told.stdout.as_bytes());
        self.bytes(&format!("standard error of {command}"), told.stderr.as_bytes());
    }

    /// Looks into all files below a folder, their names included.
    fn folder(&mut self, folder: &Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()) {
                self.bytes("a file's name", path.as_os_str().as_encoded_bytes());
                let kind = fs::symlink_metadata(&path);
                if kind.as_ref().is_ok_and(fs::Metadata::is_dir) {
                    folders.push(path);
                } else if kind.is_ok_and(|m| m.is_file()) {
                    // The database and its WAL are read as the bytes that they are.
                    self.bytes(&path.display().to_string(), &fs::read(&path).unwrap_or_default());
                }
            }
        }
    }

    #[track_caller]
    fn nothing(&self) {
        assert!(self.found.is_empty(), "{} traces:\n{}", self.found.len(), self.found.join("\n"));
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == first).map(|n| from + n) {
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// A place with the canaries at their sources; what tells them is in `vault`, which is not searched.
fn place(canaries: &[Canary]) -> Place {
    let place = Place::with(tree::TREE);
    let vault = place.root().join("vault");
    fs::create_dir_all(vault.join("forms")).unwrap();
    for canary in canaries {
        canary.put(&place, &vault);
    }
    place
}

/// A command of this place; the canaries of the environment are in its environment.
fn run(place: &Place, canaries: &[Canary], arguments: &[&str]) -> Told {
    let mut command = place.command(arguments);
    command.envs(canaries.iter().filter(|c| c.is_of_the_environment()).map(|c| (c.name, &c.value)));
    Told::of(&command.output().unwrap())
}

/// The forms that the steps tell, as files that they print.
fn write_forms(canaries: &[Canary], vault: &Path) {
    for canary in canaries {
        for (form, text) in canary.forms() {
            fs::write(vault.join("forms").join(format!("{}.{form}", canary.name)), text).unwrap();
        }
    }
}

#[test]
fn canaries_are_found_nowhere() {
    let mut canaries = canaries();
    let place = place(&canaries);
    let vault = place.root().join("vault");
    let given = format!("vault={}", vault.display());
    // Once to have the generated ones; then all are known, and everything is told in every form.
    run(&place, &canaries, &["run", "tree.yaml", "-p", &given, "--only", "learn"]).expect(0);
    canaries.iter_mut().filter(|c| c.value.is_empty()).for_each(|c| c.value = fs::read_to_string(vault.join(c.name)).unwrap());
    write_forms(&canaries, &vault);
    let mut search = Search::of(&canaries);
    let human = run(&place, &canaries, &["run", "tree.yaml", "-p", &given]);
    search.told("run", &human);
    let (events, seen) = processes::watched(&place, &canaries, &["run", "tree.yaml", "-p", &given, "--format", "json"]);
    seen.search(&mut search);
    search.told("run --format json", &events);
    tree::is_as_told(&events, &canaries);
    search.folder(&place.path(".trees"));
    search.nothing();
    afterwards(&place, &canaries, &mut search);
    search.folder(&place.path(".trees"));
    search.folder(&place.root().join("home"));
    search.folder(&place.temporary());
    everywhere(&place, &mut search);
    search.bytes("/proc as another step sees it", &fs::read(vault.join("proc")).unwrap());
    search.nothing();
    bites(&place, &canaries);
    println!("secrets: {} looks at processes and at TMPDIR while it ran", seen.looks);
    println!(
        "secrets: {} canaries in {} forms, {} places and {} MB searched, 0 found",
        canaries.len(),
        canaries[0].forms().len(),
        search.places,
        search.bytes >> 20
    );
}

/// The whole place but where the canaries are at home, and what careless steps wrote themselves.
fn everywhere(place: &Place, search: &mut Search) {
    for path in fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["content", "named"].contains(&name.as_str()) {
            search.folder(&path);
        } else if path.is_file() && name != ".env" {
            search.bytes(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
    for path in fs::read_dir(place.root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        search.bytes(&path.display().to_string(), &fs::read(&path).unwrap());
    }
}

/// All commands that tell of a run.
fn afterwards(place: &Place, canaries: &[Canary], search: &mut Search) {
    let commands: &[&[&str]] = &[
        &["list"],
        &["show", "@last"],
        &["show", "@last", "--format", "json"],
        &["logs", "@last"],
        &["logs", "@last", "plain"],
        &["logs", "@last", "forms"],
        &["events", "@last"],
        &["replay", "@last", "--instant"],
        &["replay", "@last", "--verify"],
        &["timeline", "@last"],
        &["timeline", "@last", "--format", "json"],
        &["timeline", "@last", "--html", "timeline.html"],
        &["graph", "@last"],
        &["graph", "@last", "--format", "svg"],
        &["graph", "tree.yaml", "--format", "mermaid"],
        &["diff", "t#2", "t#3"],
        &["diff", "t#2", "t#3", "--format", "json"],
        &["why", "@last", "plain"],
        &["why", "@last", "request"],
        &["why", "@last", "outputs[ENV_A]"],
        &["export", "@last", "--output", "run.tar.gz"],
        &["audit"],
        &["audit", "--verify"],
        &["doctor"],
        &["drift", "@last"],
        &["secret", "list", "--project", "t"],
        &["check", "tree.yaml"],
        &["plan", "tree.yaml", "-p", "vault=x"],
        &["plan", "tree.yaml", "-p", "vault=x", "--format", "json"],
        &["resume", "@last"],
        &["gc", "--dry-run"],
        &["-vv", "show", "@last"],
    ];
    for arguments in commands {
        let told = run(place, canaries, arguments);
        assert!(told.code != 70 && told.code != 2, "{arguments:?}: {} {}", told.code, told.stderr);
        search.told(&arguments.join(" "), &told);
    }
    search.bytes("the page of the timeline", &fs::read(place.path("timeline.html")).unwrap());
    fs::create_dir(place.path("bundle")).unwrap();
    assert!(place.program("tar").args(["-xzf", "run.tar.gz", "-C", "bundle"]).status().unwrap().success());
    search.folder(&place.path("bundle"));
}

/// The search itself: what is put there on purpose is found.
fn bites(place: &Place, canaries: &[Canary]) {
    let mut search = Search::of(canaries);
    let folder: PathBuf = place.root().join("planted");
    for canary in canaries {
        for (form, text) in canary.forms() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("x"), format!("--{text}--")).unwrap();
            let before = search.found.len();
            search.folder(&folder);
            assert!(search.found.len() > before, "{} {form} is not found where it is", canary.name);
        }
    }
}

#[test]
fn the_wal_of_a_run_under_way_holds_none() {
    let mut canaries = canaries();
    canaries.retain(|c| !c.value.is_empty());
    let place = place(&canaries);
    let vault = place.root().join("vault");
    write_forms(&canaries, &vault);
    let given = format!("vault={}", vault.display());
    let mut text = String::new();
    let _ =
        write!(text, "{}", tree::TREE.replace("  request:", "  wait: { needs: [forms, outputs, named], run: \"echo up\" }\n  request:"));
    place.write("tree.yaml", text);
    let mut command = place.command(&["run", "tree.yaml", "-p", &given, "--format", "json"]);
    command.envs(canaries.iter().filter(|c| c.is_of_the_environment()).map(|c| (c.name, &c.value)));
    let mut sitting = crate::sitting::Sitting::of(&place, command);
    let started: Value = sitting.until("step_started", "wait");
    assert!(started["seq"].is_u64());
    // Killed: what was in the WAL stays in it.
    sitting.kill();
    let mut search = Search::of(&canaries);
    let wal = fs::read_dir(place.path(".trees")).unwrap().flatten().find(|e| e.path().to_string_lossy().ends_with("-wal"));
    assert!(wal.is_some_and(|e| e.metadata().unwrap().len() > 0), "there is no WAL");
    search.folder(&place.path(".trees"));
    search.nothing();
    println!("secrets, in the WAL: {} places searched, 0 found", search.places);
}
