//! What is to be run or planned: a checked tree with its environment and params, before anything of
//! it is recorded.

use super::check;
use super::given::Params;
use super::source::TreeFile;
use crate::diagnose::Findings;
use crate::failure::{Exit, Failure};
use std::sync::Arc;
use std::thread;
use trees_core::event::{Json, Object, RunStarted};
use trees_core::hash;
use trees_core::language::Checked;
use trees_core::tree::Tree;

/// A tree that checks and can be run, with what was given for it.
pub struct Accepted {
    /// The tree.
    pub tree: Arc<Tree>,
    /// Its environment.
    pub environment: String,
    /// Its params.
    pub params: Object,
}

impl Accepted {
    /// Of a file that was checked; what is wrong with it or with the params is drawn.
    pub fn of(
        source: &TreeFile,
        checked: &Checked,
        given: impl FnOnce(&Tree, Findings) -> Result<(String, Result<Object, Exit>), Failure>,
    ) -> Result<Result<Self, Exit>, Failure> {
        check::print(&source.findings(checked));
        let Some(tree) = checked.tree.clone() else { return Ok(Err(Exit::WRONG)) };
        let (environment, params) = given(&tree, source.findings(checked))?;
        Ok(params.map(|params| Self { tree, environment, params }))
    }
}

/// A tree file that checks, with all that a run of it is given.
pub struct Proposal {
    /// Where it comes from.
    pub source: TreeFile,
    /// The tree.
    pub tree: Arc<Tree>,
    /// Its environment.
    pub environment: String,
    /// Its params.
    pub params: Object,
    /// The texts, to be recorded.
    pub definition: Json,
    /// Their digest.
    pub digest: String,
}

impl Proposal {
    /// Finds and checks a tree file; what is wrong with it is drawn.
    pub fn find(file: &str, given: &Params) -> Result<Result<Self, Exit>, Failure> {
        Self::with(file, |tree, findings| Ok((given.environment(tree)?, given.resolve(tree, findings)?)))
    }

    /// The same, with an environment and params from elsewhere.
    pub fn with(
        file: &str,
        given: impl FnOnce(&Tree, Findings) -> Result<(String, Result<Object, Exit>), Failure>,
    ) -> Result<Result<Self, Exit>, Failure> {
        let source = TreeFile::find(file)?;
        let kinds = trees_steps::catalogue();
        // What is wrong with a tree leaves no trace: nothing is made before it is checked.
        let checked = source.check(&kinds);
        let Accepted { tree, environment, params } = match Accepted::of(&source, &checked, given)? {
            Ok(accepted) => accepted,
            Err(exit) => return Ok(Err(exit)),
        };
        Ok(Ok(Self::of(source, tree, environment, params, &checked)?))
    }

    fn of(source: TreeFile, tree: Arc<Tree>, environment: String, params: Object, checked: &Checked) -> Result<Self, Failure> {
        let definition = serde_json::to_value(&checked.sources).map_err(Failure::bug)?;
        let digest = hash::json(&definition).map_err(Failure::bug)?;
        Ok(Self { source, tree, environment, params, definition, digest })
    }

    /// The first facts of a run of it; who holds the run fills in its number and epoch.
    pub fn facts(&self, jobs: Option<u32>) -> RunStarted {
        facts(&self.source, &self.tree, self.environment.clone(), self.params.clone(), self.digest.clone(), jobs)
    }
}

/// The first facts of a run; who holds it fills in its number and epoch.
pub fn facts(source: &TreeFile, tree: &Tree, environment: String, params: Object, definition: String, jobs: Option<u32>) -> RunStarted {
    let cores = thread::available_parallelism().map_or(4, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)).max(4);
    RunStarted {
        tree: tree.name.clone(),
        project: tree.project.clone(),
        number: 0,
        file: source.given.clone(),
        dir: source.dir.display().to_string(),
        tree_dir: source.tree_dir.display().to_string(),
        environment,
        params,
        definition,
        epoch: 0,
        trigger: "run".into(),
        changed: None,
        version: env!("CARGO_PKG_VERSION").into(),
        max_parallel: jobs.or(tree.max_parallel).unwrap_or(cores),
        approved: Vec::new(),
        pause_on_failure: false,
        selection: None,
    }
}
