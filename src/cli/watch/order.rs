//! What is to be run and watched, as the tree file says it at this moment.

use crate::cli::given::Params;
use crate::cli::proposal::Accepted;
use crate::cli::run::Consent;
use crate::cli::source::TreeFile;
use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::Object;
use trees_core::language::Sources;
use trees_core::tree::Tree;
use trees_runner::watch::Scope;

/// A tree that can be run.
pub struct Order {
    /// The tree.
    pub tree: Arc<Tree>,
    /// Its texts.
    pub sources: Sources,
    /// The environment it works for.
    pub environment: String,
    /// Its params.
    pub params: Object,
    /// What it reads.
    pub scope: Scope,
}

impl Order {
    /// Checks the tree and all that was given. Where the tree or a param is wrong that is drawn, and
    /// the tree files are given in which it can be mended.
    pub fn read(source: &TreeFile, given: &Params, consent: &Consent, state: &Path) -> Result<Result<Self, Vec<PathBuf>>, Failure> {
        let kinds = trees_steps::catalogue();
        let (checked, files) = source.check_files(&kinds);
        let files: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
        let params = |tree: &Tree, findings| Ok((given.environment(tree)?, given.resolve(tree, findings)?));
        let Ok(Accepted { tree, environment, params }) = Accepted::of(source, &checked, params)? else { return Ok(Err(files)) };
        consent.fits(&tree)?;
        let mut scope = Scope::of(source.dir.clone(), &tree, &environment, &params, &kinds).map_err(Failure::wrong)?;
        files.iter().for_each(|file| scope.add_tree(file));
        if let Some(file) = given.file() {
            scope.add_place(&crate::cli::source::here()?.join(file));
        }
        scope.never(state);
        Ok(Ok(Self { tree, sources: checked.sources, environment, params, scope }))
    }
}
