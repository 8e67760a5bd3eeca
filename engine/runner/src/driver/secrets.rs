//! The values of all secrets that a run's steps name, found before anything runs.

mod kv;

use super::DriveError;
use crate::environment;
use crate::mask::Masker;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use trees_core::event::{Object, Selection};
use trees_core::journal::JournalError;
use trees_core::run::{Run, Secrets};
use trees_core::store::{Generate, SecretValue, Store};
use trees_core::tree::{Secret, SecretSource, Tree};

/// Values by the tree file that declares them, the environment and the name.
#[derive(Default)]
pub struct Vault {
    found: BTreeMap<(u32, String, String), Found>,
    /// Values that were in use before, which are masked like the others.
    former: Vec<String>,
}

struct Found {
    value: SecretValue,
    as_file: bool,
}

/// One secret as a step gets it.
#[derive(Clone)]
pub(super) struct Given {
    pub name: String,
    pub value: String,
    pub as_file: bool,
}

impl Vault {
    /// Finds every secret that a step names which `selection` asks for and `params` do not leave out. A sitting does it by itself; who asks before a run
    /// is made gives the answer to [`super::Driver::with_secrets`].
    ///
    /// # Errors
    /// [`DriveError::Unprepared`] names all that are missing.
    pub fn open(
        tree: &Arc<Tree>,
        selection: Option<&Selection>,
        environment: &str,
        params: &Object,
        dir: &Path,
        store: &dyn Store,
    ) -> Result<Self, DriveError> {
        let mut vault = Self::default();
        let mut missing = Vec::new();
        for (owner, environment, name) in Run::all_secrets(tree, selection, environment, params) {
            let place = owner.environments.get(&environment);
            let declared = place.and_then(|p| p.secrets.get(&name)).or_else(|| owner.secrets.get(&name)).cloned().unwrap_or_default();
            let seeker = Seeker { project: &tree.project, environment: &environment, name: &name, dir, store, tree: &owner };
            match seeker.find(&declared) {
                Ok(Some(value)) => drop(vault.found.insert((owner.source, environment, name), Found { value, as_file: declared.as_file })),
                Ok(None) if declared.optional => {}
                Ok(None) => missing.push(seeker.cure(&declared)),
                // All that is wrong is said at once.
                Err(DriveError::Unprepared(message)) => missing.push(message),
                Err(error) => return Err(error),
            }
        }
        if missing.is_empty() { Ok(vault) } else { Err(DriveError::Unprepared(missing.join("\n"))) }
    }

    /// Takes the values out of a text.
    pub fn masker(&self) -> Masker {
        Masker::new(self.all_values())
    }

    /// All values, for the masker.
    pub(super) fn all_values(&self) -> impl Iterator<Item = &str> {
        self.found.values().map(|f| f.value.value.as_str()).chain(self.former.iter().map(String::as_str))
    }

    /// Reads those of the store again.
    pub(super) fn refresh(&mut self, project: &str, store: &dyn Store) -> Result<(), JournalError> {
        for ((_, environment, name), found) in &mut self.found {
            if found.value.fingerprint.starts_with("store:")
                && let Some(newest) = store.secret(project, environment, name)?
                && newest.fingerprint != found.value.fingerprint
            {
                self.former.push(std::mem::replace(&mut found.value, newest).value);
            }
        }
        Ok(())
    }

    /// The values of some names; an optional one without a source reads
    /// as an empty string.
    pub(super) fn values(&self, source: u32, environment: &str, names: &[String]) -> Secrets {
        self.each(source, environment, names, |found| &found.value.value)
    }

    /// What stands for the values in digests, by name.
    pub(super) fn marks(&self, source: u32, environment: &str, names: &[String]) -> Secrets {
        self.each(source, environment, names, |found| &found.value.fingerprint)
    }

    fn each(&self, source: u32, environment: &str, names: &[String], part: impl Fn(&Found) -> &String) -> Secrets {
        let of = |name: &String| self.found.get(&(source, environment.to_owned(), name.clone())).map(|f| part(f).clone());
        names.iter().map(|name| (name.clone(), of(name).unwrap_or_default())).collect()
    }

    /// What a process is given.
    pub(super) fn given(&self, source: u32, environment: &str, names: &[String]) -> Vec<Given> {
        let found = |name: &String| {
            let found = self.found.get(&(source, environment.to_owned(), name.clone()))?;
            Some(Given { name: name.clone(), value: found.value.value.clone(), as_file: found.as_file })
        };
        names.iter().filter_map(found).collect()
    }
}

/// One search.
struct Seeker<'a> {
    project: &'a str,
    environment: &'a str,
    name: &'a str,
    dir: &'a Path,
    store: &'a dyn Store,
    tree: &'a Tree,
}

impl Seeker<'_> {
    fn find(&self, declared: &Secret) -> Result<Option<SecretValue>, DriveError> {
        match declared.from {
            None => match self.variable()? {
                Some(value) => Ok(Some(value)),
                None => match self.stored()? {
                    Some(value) => Ok(Some(value)),
                    None => self.dotenv(),
                },
            },
            Some(SecretSource::Environment) => self.variable(),
            Some(SecretSource::Store) => Ok(self.stored()?),
            Some(SecretSource::Dotenv) => self.dotenv(),
            Some(SecretSource::Generate) => {
                let how = Generate {
                    length: declared.length.unwrap_or(32),
                    charset: declared.charset.clone().unwrap_or_else(|| "alphanumeric".into()),
                };
                Ok(Some(self.store.generated(self.project, self.environment, self.name, &how)?))
            }
            Some(SecretSource::File) => self.file(declared.path.as_deref().unwrap_or_default()),
            Some(SecretSource::Command) => self.command(declared.command.as_deref().unwrap_or_default()),
            Some(SecretSource::Vault) => {
                let found = kv::read(declared.path.as_deref().unwrap_or_default(), self.name);
                found
                    .map_err(|why| DriveError::Unprepared(format!("the secret {}: {why}", self.name)))?
                    .map_or(Ok(None), |v| self.marked(v))
            }
        }
    }

    fn marked(&self, value: String) -> Result<Option<SecretValue>, DriveError> {
        let fingerprint = self.store.fingerprint(&value)?;
        Ok(Some(SecretValue { value, fingerprint }))
    }

    fn variable(&self) -> Result<Option<SecretValue>, DriveError> {
        match std::env::var(self.name) {
            Ok(value) => self.marked(value),
            Err(_) => Ok(None),
        }
    }

    fn stored(&self) -> Result<Option<SecretValue>, JournalError> {
        self.store.secret(self.project, self.environment, self.name)
    }

    fn dotenv(&self) -> Result<Option<SecretValue>, DriveError> {
        let place = self.tree.environments.get(self.environment);
        let names: Vec<String> = self.tree.dotenv.iter().chain(place.into_iter().flat_map(|p| &p.dotenv)).cloned().collect();
        let pairs = environment::read_dotenv(self.dir, &names).map_err(DriveError::Unprepared)?;
        let value = pairs.into_iter().rev().find(|(name, _)| name == self.name);
        value.map_or(Ok(None), |(_, value)| self.marked(value))
    }

    fn file(&self, path: &str) -> Result<Option<SecretValue>, DriveError> {
        match std::fs::read_to_string(self.dir.join(path)) {
            Ok(text) => self.marked(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(DriveError::Unprepared(format!("the secret {} cannot be read from {path}: {e}", self.name))),
        }
    }

    fn command(&self, command: &str) -> Result<Option<SecretValue>, DriveError> {
        let wrong = |what: String| DriveError::Unprepared(format!("the command of the secret {} {what}", self.name));
        let output = Command::new("sh").args(["-c", command]).current_dir(self.dir).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|e| wrong(format!("cannot be started: {e}")))?;
        if !output.status.success() {
            return Err(wrong(format!("ended with {}", output.status)));
        }
        let text = String::from_utf8(output.stdout).map_err(|_| wrong("printed no UTF-8".into()))?;
        self.marked(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// One line: what is missing, where it was looked for, what to do.
    fn cure(&self, declared: &Secret) -> String {
        let name = self.name;
        let of = if self.environment.is_empty() { String::new() } else { format!(" of {}", self.environment) };
        let place = match declared.from {
            None => "neither in the environment, the secret store nor dotenv",
            Some(SecretSource::Environment) => "not in the environment",
            Some(SecretSource::Store) => "not in the secret store",
            Some(SecretSource::Dotenv) => "not in dotenv",
            Some(SecretSource::File) => "not there as a file",
            Some(SecretSource::Vault) => "not in the vault",
            Some(SecretSource::Generate | SecretSource::Command) => "without a value",
        };
        let flag = if self.environment.is_empty() { String::new() } else { format!(" -e {}", self.environment) };
        let cure = match declared.from {
            Some(SecretSource::Environment) => format!("set the variable {name}"),
            Some(SecretSource::Dotenv) => format!("write {name}=… to a file of `dotenv:`"),
            Some(SecretSource::File) => format!("write {}", declared.path.as_deref().unwrap_or_default()),
            Some(SecretSource::Vault) => {
                let path = declared.path.as_deref().unwrap_or_default();
                let path = if path.contains('#') { path.to_owned() } else { format!("{path}#{name}") };
                format!("write it there, at {path}")
            }
            None | Some(SecretSource::Store | SecretSource::Generate | SecretSource::Command) => {
                format!("`trees secret set {name}{flag} --project {}`", self.project)
            }
        };
        format!("the secret {name}{of} is {place}: {cure}, or `optional: true`")
    }
}
