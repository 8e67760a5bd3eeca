//! What a command did to its state folder and said to its client, in order, as strace saw it.

use crate::place::Place;
use crate::sitting::Sitting;
use crate::strace;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

/// One.
pub struct Record {
    /// All that happened.
    pub happenings: Vec<Happening>,
    /// How many of them tell what was there before, all of it synced.
    pub before: usize,
}

/// Paths are relative to the state folder, "" being itself.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A file is there from now on; `emptied` where it was opened to be written anew.
    Opened { path: String, emptied: bool },
    /// Bytes at a place of a file.
    Written { path: String, at: u64, bytes: Vec<u8> },
    /// A new length.
    Cut { path: String, length: u64 },
    /// A file or folder was synced: what happened to it before number `before` is on the disk.
    Synced { path: String, before: usize },
    /// A new folder.
    Folder { path: String },
    /// A new name for a file.
    Renamed { from: String, to: String },
    /// A name is gone.
    Gone { path: String },
    /// The client was told this.
    Told(Vec<u8>),
}

/// All calls that change files, also those that the engine does not use today: they must not go
/// unnoticed.
const TRACE: &str = "trace=openat,open,creat,pwrite64,pwritev,pwritev2,write,writev,ftruncate,truncate,fallocate,fsync,fdatasync,\
                     sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,lseek,\
                     copy_file_range,sendfile,splice";

impl Record {
    /// Runs a command of a place to its end and writes down what happens.
    pub fn of(place: &Place, arguments: &[&str]) -> Self {
        let log = place.root().join("strace.log");
        let options = ["-y", "-xx", "-s", "16777216", "-o", log.to_str().unwrap(), "-e", TRACE];
        let there = there(&place.path(".trees"));
        let before = there.len();
        let told = Sitting::of(place, strace::around(place, &options, arguments)).end().expect(0);
        let text = fs::read_to_string(&log).unwrap();
        fs::remove_file(log).unwrap();
        let root = place.path(".trees").canonicalize().unwrap();
        let mut reader = Reader {
            root: root.to_str().unwrap().into(),
            open: HashMap::new(),
            offsets: HashMap::new(),
            appending: HashSet::new(),
            stdout: String::new(),
            happenings: there,
        };
        text.lines().for_each(|line| reader.line(line));
        let said: Vec<u8> =
            reader.happenings.iter().flat_map(|h| if let Happening::Told(b) = h { b.clone() } else { Vec::new() }).collect();
        assert_eq!(String::from_utf8(said).unwrap(), told.stdout, "strace saw all that was told");
        Self { happenings: reader.happenings, before }
    }
}

/// What stands in a folder, as if it had been made just now and synced.
fn there(root: &Path) -> Vec<Happening> {
    let mut all = Vec::new();
    if root.exists() {
        fill(root, root, &mut all);
    }
    let before = all.len();
    let paths: BTreeSet<String> = all.iter().filter_map(Happening::made).collect();
    all.extend(paths.into_iter().map(|path| Happening::Synced { path, before }));
    all
}

fn fill(root: &Path, folder: &Path, all: &mut Vec<Happening>) {
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    all.push(Happening::Folder { path: name(folder) });
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            fill(root, &path, all);
        } else {
            all.push(Happening::Opened { path: name(&path), emptied: false });
            all.push(Happening::Written { path: name(&path), at: 0, bytes: fs::read(&path).unwrap() });
        }
    }
}

impl Happening {
    /// What is there since then.
    fn made(&self) -> Option<String> {
        match self {
            Self::Opened { path, .. } | Self::Folder { path } => Some(path.clone()),
            Self::Written { .. } | Self::Cut { .. } | Self::Synced { .. } | Self::Renamed { .. } | Self::Gone { .. } | Self::Told(_) => {
                None
            }
        }
    }
}

struct Reader {
    root: String,
    /// Calls begun by a thread and not ended: what was written of them, and what had happened then.
    open: HashMap<String, (String, usize)>,
    /// Where the next write goes, by descriptor.
    offsets: HashMap<String, u64>,
    /// Descriptors whose writes go to the end.
    appending: HashSet<String>,
    /// The pipe to the client.
    stdout: String,
    happenings: Vec<Happening>,
}

impl Reader {
    /// A write may reach the disk from its begin on, a sync is sure only at its end.
    fn line(&mut self, line: &str) {
        let Some((thread, rest)) = line.split_once(' ') else { return };
        let rest = rest.trim_start();
        let before = self.happenings.len();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            self.open.insert(thread.into(), (begun.into(), before));
        } else if let Some((_, end)) = rest.split_once(" resumed>") {
            if let Some((begun, before)) = self.open.remove(thread) {
                self.call(&format!("{begun}{end}"), before);
            }
        } else {
            self.call(rest, before);
        }
    }

    /// A whole call.
    fn call(&mut self, text: &str, before: usize) {
        let (Some((name, rest)), Some((_, answer))) = (text.split_once('('), text.rsplit_once(" = ")) else { return };
        if answer.starts_with('-') || answer.starts_with('?') {
            return;
        }
        let paths = self.paths(rest);
        let [path, ..] = &paths[..] else { return self.elsewhere(name, rest, answer) };
        let path = path.clone();
        let descriptor = rest.split('<').next().unwrap_or_default().to_owned();
        let number = |text: &str| text.trim().trim_end_matches(')').trim().parse::<u64>().unwrap();
        let arguments = || rest.rsplit_once(" = ").unwrap().0;
        match name {
            "openat" | "open" | "creat" => self.opened(rest, path, answer),
            "pwrite64" => {
                let at = number(arguments().rsplit_once(',').unwrap().1);
                self.happenings.push(Happening::Written { path, at, bytes: string(rest) });
            }
            "write" => {
                let bytes = string(rest);
                let at = if self.appending.contains(&descriptor) { self.length(&path) } else { self.offsets[&descriptor] };
                self.offsets.insert(descriptor, at + u64::try_from(bytes.len()).unwrap());
                self.happenings.push(Happening::Written { path, at, bytes });
            }
            "lseek" => drop(self.offsets.insert(descriptor, number(answer))),
            "ftruncate" => {
                let length = number(arguments().rsplit_once(',').unwrap().1);
                self.happenings.push(Happening::Cut { path, length });
            }
            "fsync" | "fdatasync" => self.happenings.push(Happening::Synced { path, before }),
            "rename" | "renameat" | "renameat2" => {
                let [from, to] = &paths[..] else { panic!("out of the folder: {text}") };
                self.happenings.push(Happening::Renamed { from: from.clone(), to: to.clone() });
            }
            "unlink" | "unlinkat" => self.happenings.push(Happening::Gone { path }),
            "mkdir" | "mkdirat" => self.happenings.push(Happening::Folder { path }),
            _ => panic!("the model knows no {name}: {text}"),
        }
    }

    /// Nothing of the state folder: of interest is only what the client is told.
    fn elsewhere(&mut self, name: &str, rest: &str, answer: &str) {
        let ("write", Some((pipe, _))) = (name, rest.strip_prefix("1<").and_then(|rest| rest.split_once('>'))) else { return };
        let mut bytes = string(rest);
        // Steps have pipes of their own as standard output.
        if self.stdout.is_empty() && bytes.starts_with(b"{\"v\":") {
            pipe.clone_into(&mut self.stdout);
        }
        if self.stdout == pipe {
            bytes.truncate(answer.trim().parse().unwrap());
            self.happenings.push(Happening::Told(bytes));
        }
    }

    /// How long a file is that is only ever appended to.
    fn length(&self, wanted: &str) -> u64 {
        let changed = self.happenings.iter().rev().find_map(|happening| match happening {
            Happening::Written { path, at, bytes } if path == wanted => Some(at + u64::try_from(bytes.len()).unwrap()),
            Happening::Cut { path, length } if path == wanted => Some(*length),
            Happening::Opened { path, emptied: true } if path == wanted => Some(0),
            _ => None,
        });
        changed.unwrap_or(0)
    }

    fn opened(&mut self, rest: &str, path: String, answer: &str) {
        let descriptor = answer.split('<').next().unwrap_or_default().to_owned();
        self.appending.remove(&descriptor);
        if rest.contains("O_APPEND") {
            self.appending.insert(descriptor.clone());
        }
        self.offsets.insert(descriptor, 0);
        if rest.contains("O_CREAT") || rest.contains("O_TRUNC") {
            self.happenings.push(Happening::Opened { path, emptied: rest.contains("O_TRUNC") });
        }
    }

    /// The paths below the state folder that a call names: quoted, or of its descriptor.
    fn paths(&self, rest: &str) -> Vec<String> {
        let arguments = rest.rsplit_once(" = ").map_or(rest, |(arguments, _)| arguments);
        let mut found = Vec::new();
        let end = arguments.len().min(16_384);
        // Written bytes come after the descriptor and are no paths.
        let arguments =
            if arguments.starts_with(|c: char| c.is_ascii_digit()) { &arguments[..arguments.find('>').unwrap_or(end)] } else { arguments };
        for part in arguments.split(['"', '<', '>', ',']).filter(|part| part.starts_with("\\x")) {
            let path = String::from_utf8(bytes(part)).unwrap();
            let inside = path.strip_prefix(&self.root).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            found.extend(inside.map(|path| path.trim_start_matches('/').to_owned()));
        }
        found
    }
}

/// The bytes that a call writes.
fn string(rest: &str) -> Vec<u8> {
    let (Some(from), Some(to)) = (rest.find('"'), rest.rfind('"')) else { panic!("nothing written: {}", &rest[..80]) };
    assert!(!rest[to..].starts_with("\"..."), "strace cut a string");
    bytes(&rest[from + 1..to])
}

/// `\x61\x62` as bytes.
fn bytes(hex: &str) -> Vec<u8> {
    hex.split("\\x").skip(1).map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap()).collect()
}
