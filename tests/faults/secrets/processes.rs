//! What others may see while a run goes on: the command line of every process of it, the environment of every one
//! that was given no secret, and all that is temporary. Looked at again and again, until the run has ended.

use super::{Canary, Search};
use crate::place::{Place, Told};
use crate::sitting::Sitting;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// All that was seen, each thing once.
#[derive(Default)]
pub struct Seen {
    things: BTreeSet<(String, Vec<u8>)>,
    /// How often was looked.
    pub looks: u32,
}

/// Runs a command of a place to its end and looks all the while.
pub fn watched(place: &Place, canaries: &[Canary], arguments: &[&str]) -> (Told, Seen) {
    let mut command = place.command(arguments);
    command.envs(canaries.iter().filter(|c| c.is_of_the_environment()).map(|c| (c.name, &c.value)));
    let mut sitting = Sitting::of(place, command);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = Seen::default();
            while !over.load(Ordering::Acquire) {
                seen.look(place);
            }
            seen
        });
        let told = sitting.end();
        over.store(true, Ordering::Release);
        (told, watcher.join().unwrap())
    })
}

impl Seen {
    fn look(&mut self, place: &Place) {
        self.looks += 1;
        let mark = place.root().as_os_str().as_encoded_bytes();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let is_ours = environ.windows(mark.len()).any(|part| part == mark);
            if !is_ours {
                continue;
            }
            let step = environ.split(|b| *b == 0).find_map(|pair| pair.strip_prefix(b"TREES_STEP=")).map(<[u8]>::to_vec);
            // The engine itself was given what is in its environment, a step what it asked for; a careless one calls
            // programs with its secret as an argument.
            match step {
                Some(step) if step == OTHER.as_bytes() => drop(self.things.insert(("the environment of another step".into(), environ))),
                Some(_) => continue,
                None => {}
            }
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            self.things.insert(("a command line".into(), command));
        }
        self.folder(&place.temporary());
    }

    /// What is staged, unless it is a step's own: its outputs, its TMPDIR and the values it is given are.
    fn folder(&mut self, folder: &Path) {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            self.things.insert(("a temporary file's name".into(), path.as_os_str().as_encoded_bytes().to_vec()));
            if path.is_dir() {
                self.folder(&path);
            } else if !path.ends_with("outputs") {
                // It may be gone by now.
                self.things.insert((path.display().to_string(), fs::read(&path).unwrap_or_default()));
            }
        }
    }

    /// Has it all searched.
    pub fn search(&self, search: &mut Search) {
        assert!(self.looks > 1 && self.things.iter().any(|(what, _)| what.contains("another step")), "nothing was seen");
        self.things.iter().for_each(|(what, bytes)| search.bytes(what, bytes));
    }
}

/// The step that is given no secret.
const OTHER: &str = "other";
