//! What a step's process finds around it, the same for an attempt and for a person's shell.

use super::prepare::Dotenv;
use super::secrets::Given;
use crate::environment::{self, Environment};
use crate::identity::Marks;
use crate::inputs;
use crate::scratch::{Scratch, SecretFiles};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use trees_core::event::{Json, Object};
use trees_core::run::Task;

/// The file behind `$TREES_OUTPUT`, in the scratch folder.
pub(super) const OUTPUTS: &str = "outputs";

/// What the environment of a step is made of.
pub(super) struct Surroundings<'a> {
    pub inherited: &'a Environment,
    pub dotenv: &'a Dotenv,
    pub task: &'a Task,
    pub secrets: &'a [Given],
    pub marks: &'a Marks,
}

impl Surroundings<'_> {
    /// What is inherited, then dotenv, then `env`.
    pub fn layers(&self) -> Environment {
        let mut env = self.inherited.clone();
        env.add(self.dotenv.iter().cloned()).add(self.task.env.iter().cloned());
        env
    }

    /// A folder for the secrets that are files, where there are some.
    pub fn secret_files(&self, fallback: &Path) -> Result<Option<SecretFiles>, Unset> {
        if !self.secrets.iter().any(|s| s.as_file) {
            return Ok(None);
        }
        SecretFiles::new(&self.marks.run, fallback).map(Some).map_err(|e| Unset::file(fallback, e))
    }

    /// All variables of a process that reads these values.
    pub fn variables(
        &self,
        bound: &[(String, Json)],
        scratch: &mut Scratch,
        output: &Path,
        files: Option<&SecretFiles>,
    ) -> Result<Vec<(OsString, OsString)>, Unset> {
        let mut env = self.layers();
        for (name, value) in bound {
            env.set(name, environment::bound(name, value).map_err(Unset::Value)?);
        }
        let values: Object = bound.iter().cloned().collect();
        let file = if values.is_empty() { scratch.nothing() } else { scratch.file(inputs::FILE) };
        if !values.is_empty() {
            inputs::write(&file, &values).map_err(|e| Unset::file(&file, e))?;
        }
        env.set("TREES_INPUTS", file);
        env.set("TREES_OUTPUT", output).set("TMPDIR", scratch.tmp()).set("TREES_IDEMPOTENCY_KEY", &self.task.idempotency_key);
        for secret in self.secrets.iter().filter(|s| !s.as_file) {
            env.set(&secret.name, &secret.value);
        }
        for secret in self.secrets.iter().filter(|s| s.as_file) {
            let Some(files) = files else { continue };
            let path = files.add(&secret.name, &secret.value).map_err(|e| Unset::file(files.path(), e))?;
            env.set(format!("{}_FILE", secret.name), path);
        }
        env.add(self.marks.variables());
        Ok(env.into_pairs())
    }
}

/// Why the surroundings of a process could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Unset {
    /// A value cannot be one of a variable.
    #[error("{0}")]
    Value(String),
    /// A file.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Unset {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.into(), source }
    }
}
