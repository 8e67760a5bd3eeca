//! Folders that git ignores as a whole: `target`, `node_modules`.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What the `.gitignore` files say, from the top of the repository down; without a repository from
/// the working folder down. Read once for each look.
pub(super) struct Ignored {
    top: PathBuf,
    known: RefCell<HashMap<PathBuf, Rc<Gitignore>>>,
}

impl Ignored {
    pub fn new(dir: &Path) -> Self {
        let top = dir.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(dir);
        Self { top: top.to_path_buf(), known: RefCell::default() }
    }

    /// Whether a folder is ignored, where those above it are not.
    pub fn is_ignored(&self, folder: &Path) -> bool {
        for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.top)) {
            match self.of(above).matched(folder, true) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }

    fn of(&self, folder: &Path) -> Rc<Gitignore> {
        let make = || {
            let mut builder = GitignoreBuilder::new(folder);
            // What is wrong in one of its lines is git's to say.
            drop(builder.add(folder.join(".gitignore")));
            if folder == self.top {
                drop(builder.add(folder.join(".git/info/exclude")));
            }
            Rc::new(builder.build().unwrap_or_else(|_| Gitignore::empty()))
        };
        Rc::clone(self.known.borrow_mut().entry(folder.to_path_buf()).or_insert_with(make))
    }
}
