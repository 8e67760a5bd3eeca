//! The files of a folder of migrations: which there are, what each says, how it is taken back.

use super::statements::{Statement, statements};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_runner::kind::KindError;

/// One migration.
#[derive(Debug, Clone)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// The name of its file without `.sql`.
    pub name: String,
    /// Its file.
    pub up: Script,
    /// The file that takes it back.
    pub down: Option<Script>,
}

/// A file of statements.
#[derive(Debug, Clone)]
pub struct Script {
    /// Where it is.
    pub path: PathBuf,
    /// What it says; line ends are `\n`.
    pub text: String,
    /// The digest of that.
    pub sha256: String,
    /// Its first line says what holds for it.
    pub mode: Mode,
}

/// What the first line of a file may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: it runs in one transaction.
    Transaction,
    /// `-- trees: no transaction`: each statement for itself.
    Alone,
    /// `-- trees: no transaction, repeatable`: the same, and it may be run again.
    Repeatable,
}

/// The migrations of a folder by number.
///
/// # Errors
/// When the folder cannot be read, or what is in it is no set of migrations.
pub fn read(folder: &Path) -> Result<BTreeMap<i64, Migration>, KindError> {
    let wrong = |e: std::io::Error| KindError::new(format!("cannot read the folder `{}`: {e}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "sql") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut found: BTreeMap<i64, Migration> = BTreeMap::new();
    let (downs, ups): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| name(path).ends_with(".down"));
    for path in ups {
        let name = name(&path);
        let version = version(&name).ok_or_else(|| no_migration(&path))?;
        let migration = Migration { version, up: script(&path)?, name, down: None };
        if let Some(other) = found.insert(version, migration) {
            return Err(KindError::new(format!("`{}` and `{}` have the same number", other.up.path.display(), path.display())));
        }
    }
    for path in downs {
        let name = name(&path);
        let name = name.trim_end_matches(".down");
        let migration = version(name).and_then(|version| found.get_mut(&version)).filter(|migration| migration.name == name);
        let migration =
            migration.ok_or_else(|| KindError::new(format!("`{}` takes back `{name}.sql`, which is not there", path.display())))?;
        migration.down = Some(script(&path)?);
    }
    Ok(found)
}

fn no_migration(path: &Path) -> KindError {
    KindError::new(format!("`{}` is no migration: write NUMBER_NAME.sql, like 001_users.sql", path.display()))
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// `001_users`, `V1__users`, `20260101120000-users`.
fn version(name: &str) -> Option<i64> {
    let name = name.strip_prefix(['V', 'v']).unwrap_or(name);
    let digits = name.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = name.split_at(digits);
    (rest.len() > 1 && rest.starts_with(['_', '-'])).then(|| number.parse().ok())?
}

fn script(path: &Path) -> Result<Script, KindError> {
    let text = fs::read(path).map_err(|e| KindError::new(format!("cannot read `{}`: {e}", path.display())))?;
    let text = String::from_utf8(text).map_err(|_| KindError::new(format!("`{}` is not UTF-8", path.display())))?;
    read_script(path, &text)
}

/// Reads what a file says.
///
/// # Errors
/// When it cannot be run as it is.
pub fn read_script(path: &Path, text: &str) -> Result<Script, KindError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let script = Script { path: path.into(), sha256: hash::bytes(text.as_bytes()), mode: mode(path, &text)?, text };
    let own = |statement: &&Statement| script.mode == Mode::Transaction && ends_transaction(statement);
    let found = script.statements();
    if let Some(statement) = found.iter().find(own) {
        return Err(script
            .wrong(statement.line, "begins or ends a transaction, and the file runs in one already")
            .help("leave it out, or write `-- trees: no transaction` as the first line; each statement then stands for itself"));
    }
    if let Some(statement) = found.iter().find(|s| s.words.first().is_some_and(|w| w == "COPY") && s.words.iter().any(|w| w == "STDIN")) {
        return Err(script.wrong(statement.line, "copies from a terminal, which a migration has none of").help("write INSERT"));
    }
    Ok(script)
}

fn ends_transaction(statement: &Statement) -> bool {
    let word = |n: usize| statement.words.get(n).map_or("", String::as_str);
    match word(0) {
        "BEGIN" | "COMMIT" | "END" | "ABORT" => true,
        "ROLLBACK" => !statement.words.iter().any(|word| word == "TO"),
        "START" | "PREPARE" => word(1) == "TRANSACTION",
        _ => false,
    }
}

fn mode(path: &Path, text: &str) -> Result<Mode, KindError> {
    let first = text.lines().next().unwrap_or_default().trim();
    let Some(said) = first.strip_prefix("--").map(str::trim).and_then(|rest| rest.strip_prefix("trees:")) else {
        return Ok(Mode::Transaction);
    };
    match said.trim() {
        "no transaction" => Ok(Mode::Alone),
        "no transaction, repeatable" => Ok(Mode::Repeatable),
        other => Err(KindError::new(format!(
            "`{}`, line 1: `trees: {other}` is neither `no transaction` nor `no transaction, repeatable`",
            path.display()
        ))),
    }
}

impl Script {
    /// What it consists of.
    pub fn statements(&self) -> Vec<Statement> {
        statements(&self.text)
    }

    /// An error with its place.
    pub fn wrong(&self, line: usize, what: &str) -> KindError {
        KindError::new(format!("`{}`, line {line}: {what}", self.path.display()))
    }
}

impl Migration {
    /// What becomes of it in a rollback, in a word.
    pub fn way_back(&self) -> &'static str {
        if self.down.is_some() { "can be taken back" } else { "irreversible" }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, read, read_script, version};
    use std::path::Path;

    #[test]
    fn a_number_and_a_name() {
        for (name, expected) in [
            ("001_users", Some(1)),
            ("V12__users", Some(12)),
            ("20260101120000-users", Some(20_260_101_120_000)),
            ("1_", None),
            ("users", None),
            ("1", None),
            ("1users", None),
            ("99999999999999999999_x", None),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_set_of_migrations_is_named() {
        for (files, expected) in [
            (&["users.sql"][..], "users.sql` is no migration"),
            (&["1_a.sql", "001_b.sql"], "001_b.sql` and `"),
            (&["1_a.sql", "1_b.down.sql"], "takes back `1_b.sql`, which is not there"),
            (&["1_a.sql", "notes.txt", "1_a.down.sql"], ""),
        ] {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|file| std::fs::write(folder.path().join(file), "SELECT 1").unwrap());
            match read(folder.path()) {
                Ok(found) => assert!(expected.is_empty() && found[&1].down.is_some()),
                Err(wrong) => assert!(!expected.is_empty() && wrong.message.contains(expected), "{}", wrong.message),
            }
        }
        assert!(read(Path::new("/nowhere")).unwrap_err().message.starts_with("cannot read the folder `/nowhere`"));
    }

    #[test]
    fn a_file_says_how_it_runs() {
        let read = |text: &str| read_script(Path::new("1_a.sql"), text);
        assert_eq!(read("SELECT 1").unwrap().mode, Mode::Transaction);
        assert_eq!(read("-- trees: no transaction\r\nBEGIN; COMMIT").unwrap().mode, Mode::Alone);
        assert_eq!(read("--trees: no transaction, repeatable\n").unwrap().mode, Mode::Repeatable);
        assert_eq!(read("SELECT 1;\r\n").unwrap().sha256, read("\u{feff}SELECT 1;\n").unwrap().sha256);
        assert_eq!(read("SAVEPOINT a; ROLLBACK TO a; DO $$ BEGIN COMMIT; END $$").unwrap().mode, Mode::Transaction);
        for (text, expected) in [
            ("-- trees: fast", "line 1: `trees: fast` is neither"),
            ("SELECT 1;\nCOMMIT;", "`1_a.sql`, line 2: begins or ends a transaction"),
            ("start transaction", "line 1: begins or ends"),
            ("COPY a FROM stdin;", "line 1: copies from a terminal"),
        ] {
            let wrong = read(text).unwrap_err().message;
            assert!(wrong.contains(expected), "{expected}: {wrong}");
        }
    }
}
