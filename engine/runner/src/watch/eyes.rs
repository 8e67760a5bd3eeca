//! What rings the bell: the system's word about folders, or a look at all files again and again.

use super::bell::Bell;
use super::scope::Scope;
use super::walk::walk;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often all files are looked at while nothing changes.
const CALM: Duration = Duration::from_millis(500);
/// And while something does, so that the end of a burst is heard.
const BUSY: Duration = Duration::from_millis(100);

/// The scope at present, as the other threads see it.
type Shared = Arc<Mutex<Arc<Scope>>>;

/// Looks at folders.
pub(super) struct Eyes {
    scope: Shared,
    bell: Arc<Bell>,
    how: How,
    folders: BTreeSet<PathBuf>,
    blinded: Option<String>,
}

enum How {
    /// The system tells.
    Told(RecommendedWatcher),
    /// A thread looks; it ends when this is dropped.
    Looks { _end: Sender<()> },
}

impl Eyes {
    pub fn open(poll: bool, bell: Arc<Bell>, scope: &Arc<Scope>) -> Self {
        let shared: Shared = Arc::new(Mutex::new(Arc::clone(scope)));
        let how = match poll {
            true => Ok(looks(&bell, &shared)),
            false => told(&bell, &shared).map(How::Told),
        };
        let (how, blinded) = match how {
            Ok(how) => (how, None),
            Err(error) => (looks(&bell, &shared), Some(error.to_string())),
        };
        Self { scope: shared, bell, how, folders: BTreeSet::new(), blinded }
    }

    /// Why it was given up to be told, once.
    pub fn blinded(&mut self) -> Option<String> {
        self.blinded.take()
    }

    /// Another scope.
    pub fn turn(&mut self, scope: &Arc<Scope>) {
        *self.scope.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(scope);
    }

    /// Watches exactly these folders; whether one of them is new.
    pub fn watch(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let new: Vec<&PathBuf> = folders.difference(&self.folders).collect();
        let gone: Vec<&PathBuf> = self.folders.difference(folders).collect();
        if new.is_empty() && gone.is_empty() {
            return false;
        }
        let any = !new.is_empty();
        if let How::Told(watcher) = &mut self.how
            && let Err(error) = change(watcher, &new, &gone)
        {
            self.blinded = Some(error.to_string());
            self.how = looks(&self.bell, &self.scope);
        }
        self.folders.clone_from(folders);
        any
    }
}

/// Tells the system. A folder that is gone meanwhile is seen by the next look.
fn change(watcher: &mut RecommendedWatcher, new: &[&PathBuf], gone: &[&PathBuf]) -> notify::Result<()> {
    let mut paths = watcher.paths_mut();
    // The system has forgotten what was removed.
    gone.iter().for_each(|folder| drop(paths.remove(folder)));
    for folder in new {
        match paths.add(folder, RecursiveMode::NonRecursive) {
            Err(error) if folder.is_dir() => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    paths.commit()
}

fn told(bell: &Arc<Bell>, scope: &Shared) -> notify::Result<RecommendedWatcher> {
    let (bell, scope) = (Arc::clone(bell), Arc::clone(scope));
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        bell.ring_if(|| {
            let scope = Arc::clone(&scope.lock().unwrap_or_else(PoisonError::into_inner));
            rings(&event, &scope)
        });
    })
}

/// Whether a word of the system is about a file of the scope, or may be. An error and a queue that
/// overflowed may be about anything.
fn rings(event: &notify::Result<Event>, scope: &Scope) -> bool {
    let Ok(event) = event else { return true };
    if event.need_rescan() {
        return true;
    }
    let folders = match &event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Data(_)) => false,
        EventKind::Access(_) => return false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    };
    event.paths.iter().any(|path| scope.takes(path) || (folders && !scope.is_never(path) && !path.is_file() && scope.leads(path)))
}

/// A thread that looks at the time stamps of all files.
fn looks(bell: &Arc<Bell>, scope: &Shared) -> How {
    let (end, ended) = channel();
    let (bell, scope) = (Arc::clone(bell), Arc::clone(scope));
    thread::spawn(move || poll(&bell, &scope, &ended));
    How::Looks { _end: end }
}

fn poll(bell: &Bell, scope: &Shared, ended: &Receiver<()>) {
    let present = || Arc::clone(&scope.lock().unwrap_or_else(PoisonError::into_inner));
    let mut at = present();
    let mut before = walk(&at);
    // What changed before the first look is found by whoever answers.
    bell.ring();
    let mut pause = BUSY;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let now = present();
        let found = walk(&now);
        let differs = found != before || !Arc::ptr_eq(&now, &at);
        pause = if differs { BUSY } else { CALM };
        if differs {
            bell.ring();
        }
        (at, before) = (now, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind, RenameMode};
    use std::fs;

    #[test]
    fn what_rings() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("src/new")).unwrap();
        fs::write(dir.join("notes"), "x").unwrap();
        let mut scope = Scope::new(dir.clone());
        scope.add_globs(&["src/**/*.rs".into()]).unwrap();
        let check = |kind: EventKind, path: &str, expected: bool| {
            let event = Event::new(kind).add_path(dir.join(path));
            assert_eq!(rings(&Ok(event), &scope), expected, "{kind:?} {path}");
        };
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        check(written, "src/a.rs", true);
        check(data, "src/a.rs", true);
        check(data, "src/a.txt", false);
        check(renamed, "src/a.rs", true);
        check(EventKind::Access(AccessKind::Open(AccessMode::Any)), "src/a.rs", false);
        check(EventKind::Create(CreateKind::Folder), "src/new", true);
        check(EventKind::Remove(RemoveKind::Folder), "src/old", true);
        check(EventKind::Create(CreateKind::Any), "notes", false);
        check(EventKind::Create(CreateKind::Any), "elsewhere", false);
        check(EventKind::Create(CreateKind::Folder), ".git/x", false);
        assert!(rings(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &scope), "the queue overflowed");
        assert!(rings(&Err(notify::Error::generic("lost")), &scope));
    }
}
