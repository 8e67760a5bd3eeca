//! What is to be run and watched, as the tree file says it at this moment.

use crate::cli::check;
use crate::cli::given::Params;
use crate::cli::run::Consent;
use crate::cli::source::TreeFile;
use crate::diagnose::Findings;
use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::Object;
use trees_core::language::{self, Sources};
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
        check::print(&source.findings(&checked));
        let Some(tree) = checked.tree.clone() else { return Ok(Err(files)) };
        let later = language::later(&tree);
        if !later.is_empty() {
            check::print(&Findings { diagnostics: later, ..source.findings(&checked) });
            return Ok(Err(files));
        }
        let environment = given.environment(&tree)?;
        let Ok(params) = given.resolve(&tree, source.findings(&checked))? else { return Ok(Err(files)) };
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
