//! What a watch says between its runs, on standard error.

use super::Paths;
use crate::report::closing::signal_name;
use crate::report::said::plural;
use crate::report::{Line, Paint, clean, say_line};
use std::path::Path;
use trees_core::event::Changed;
use trees_runner::watch::{Scope, Watch};

/// Named one by one on the screen.
const FEW: usize = 3;
/// Named one by one in the record of a run.
const RECORDED: usize = 100;

/// Why a run starts.
pub enum Cause {
    /// It was asked for.
    Asked,
    /// Files changed while none worked.
    Changed(Paths),
    /// Files changed while the run of this number worked, after its steps had used them.
    Meanwhile(Paths, u64),
}

impl Cause {
    /// These changed too before the run began. What was asked for needs no cause.
    pub fn also(&mut self, changed: Paths) {
        match self {
            Self::Asked => {}
            Self::Changed(paths) | Self::Meanwhile(paths, _) => paths.extend(changed),
        }
    }

    /// What is recorded of it.
    pub fn recorded(&self, scope: &Scope) -> Option<Changed> {
        let (Self::Changed(paths) | Self::Meanwhile(paths, _)) = self else { return None };
        let files = paths.iter().take(RECORDED).map(|path| scope.name(path)).collect();
        Some(Changed { count: u64::try_from(paths.len()).unwrap_or(u64::MAX), files })
    }
}

/// Tells people; quiet, only what a person must know.
pub struct Teller {
    /// Only that.
    pub quiet: bool,
}

impl Teller {
    /// What is waited for. Once: that the system does not tell of changes, that there is nothing.
    pub fn waiting(&self, watch: &mut Watch) {
        if let Some(why) = watch.blinded() {
            care(format!("the system does not tell of changes ({why}): looking at the files twice a second"));
        }
        let scope = watch.scope();
        let files = plural(watch.seen().len(), "file");
        self.faint(format!("waiting for changes in {}, {files}; Ctrl-C ends", scope.title()));
        if scope.is_bare() {
            self.faint("  no step declares `inputs`, nor the tree `watch`: nothing else starts a run".into());
        }
    }

    /// A run starts.
    pub fn starts(&self, cause: &Cause, scope: &Scope, number: u64) {
        match cause {
            Cause::Asked => {}
            Cause::Changed(paths) => self.strong(format!("{} → run #{number}", changed(paths, scope))),
            Cause::Meanwhile(paths, while_at) => {
                self.strong(format!("{} while run #{while_at} worked → run #{number}", changed(paths, scope)));
            }
        }
    }

    /// A run is cancelled for a new one.
    pub fn overtakes(&self, paths: &Paths, scope: &Scope) {
        self.strong(format!("{}: this run is cancelled, a new one follows", changed(paths, scope)));
    }

    /// What runs change themselves.
    pub fn own(&self, paths: &Paths, scope: &Scope) {
        if !paths.is_empty() {
            let them = if paths.len() == 1 { "it is" } else { "they are" };
            let text = format!(
                "{} in two runs in a row, as if by the run itself: {them} ignored until a change while none runs",
                changed(paths, scope)
            );
            care(text);
        }
    }

    /// It is over.
    pub fn ended(&self, signal: i32) {
        self.faint(format!("watching ended by {}", signal_name(signal)));
    }

    fn strong(&self, text: String) {
        if !self.quiet {
            say_line(&Line::default().with(Paint::Strong, text));
        }
    }

    fn faint(&self, text: String) {
        if !self.quiet {
            say_line(&Line::default().with(Paint::Faint, text));
        }
    }
}

fn care(text: String) {
    say_line(&Line::default().with(Paint::Care, "! ").with(Paint::Plain, text));
}

/// `3 files changed: src/a.rs, src/b.rs, src/c.rs`.
fn changed(paths: &Paths, scope: &Scope) -> String {
    let name = |path: &std::path::PathBuf| clean(&scope.name(Path::new(path)));
    let mut names: Vec<String> = paths.iter().take(FEW).map(name).collect();
    if paths.len() > FEW {
        names.push("…".into());
    }
    format!("{} changed: {}", plural(paths.len(), "file"), names.join(", "))
}
