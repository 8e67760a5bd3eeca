//! Whether the state folder is well: each check as data, also where the folder cannot be opened.

use crate::audit::Chain;
use crate::database::Place;
use crate::error::{Fault, sql_message};
use crate::state::{Durability, State};
use crate::{filesystem, folder};
use rusqlite::Connection;
use serde::Serialize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use trees_core::event::RunStatus;
use trees_core::journal::{JournalError, RunFilter};

/// Less is said to be little.
const LITTLE: u64 = 256 << 20;

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Good,
    /// Worth knowing; nothing fails.
    Note,
    /// Runs will fail, or have.
    Bad,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, a few words.
    pub check: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found, one sentence.
    pub text: String,
    /// What to do, where there is something to do.
    pub cure: Option<String>,
}

impl Finding {
    fn good(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, health: Health::Good, text: text.into(), cure: None }
    }

    fn note(check: &'static str, text: impl Into<String>, cure: &str) -> Self {
        Self { check, health: Health::Note, text: text.into(), cure: Some(cure.into()) }
    }

    fn bad(check: &'static str, text: impl Into<String>, cure: &str) -> Self {
        Self { check, health: Health::Bad, text: text.into(), cure: Some(cure.into()) }
    }
}

impl State {
    /// Looks at a state folder that need not be well. Nothing is made or mended.
    #[must_use]
    pub fn doctor(folder: &Path) -> Vec<Finding> {
        let mut found = vec![Finding::good("sqlite", format!("SQLite {}", rusqlite::version()))];
        let database = folder.join("trees.db");
        let Ok(there) = folder::is_there(folder, &database) else {
            let (text, cure) = folder::unreadable(&database);
            found.push(Finding::bad("folder", text, &cure));
            return found;
        };
        if !folder.exists() {
            found.push(Finding::good("folder", format!("there is no state at {} yet", folder.display())));
            return found;
        }
        found.push(mode(folder));
        found.push(file_system(folder));
        found.push(space(folder));
        if !there {
            found.push(Finding::good("database", "there is no database yet"));
            return found;
        }
        match Self::open_existing(folder, Durability::Full) {
            Ok(Some(state)) => state.look(&mut found),
            Ok(None) => found.push(Finding::good("database", "there is no database yet")),
            Err(error) => found.push(Finding { check: "database", health: Health::Bad, text: error.to_string(), cure: None }),
        }
        found
    }

    fn look(&self, found: &mut Vec<Finding>) {
        found.extend(database(&self.place));
        found.push(self.chain_health());
        found.extend(self.key_health());
        found.extend(self.folders_health());
        let resting = RunFilter { statuses: vec![RunStatus::Interrupted], ..RunFilter::default() };
        if let Ok(runs) = self.runs(&resting)
            && let Some(newest) = runs.first()
        {
            let cure = format!("trees resume {}", newest.run);
            found.push(Finding::note(
                "runs",
                format!("{} interrupted; the newest is {} of {}", runs.len(), newest.run, newest.tree),
                &cure,
            ));
        }
    }

    fn folders_health(&self) -> Vec<Finding> {
        let strays = match self.strays() {
            Ok(strays) => strays,
            Err(error) => return vec![Finding { check: "folders", health: Health::Bad, text: error.to_string(), cure: None }],
        };
        let mut found = Vec::new();
        if !strays.idle.is_empty() {
            found.push(Finding::note("folders", format!("{} folders of runs that are not recorded", strays.idle.len()), "trees gc"));
        }
        if let Some(first) = strays.lost.first() {
            let text = format!("the record of {} runs that have begun is lost, {first} among them", strays.lost.len());
            let cure = "put back a copy of the state folder, or let their logs go too: trees gc --lost";
            found.push(Finding::bad("folders", text, cure));
        }
        found
    }

    fn chain_health(&self) -> Finding {
        match self.verify_audit() {
            Ok(Chain { broken: None, entries, .. }) => Finding::good("audit", format!("{entries} entries, the chain holds")),
            Ok(Chain { broken: Some(broken), .. }) => {
                Finding::bad("audit", broken.text, "see trees audit --verify; somebody or something changed the database by hand")
            }
            Err(error) => Finding { check: "audit", health: Health::Bad, text: error.to_string(), cure: None },
        }
    }

    fn key_health(&self) -> Option<Finding> {
        let wrong = match self.key_origin() {
            Ok(origin) => return origin.map(|origin| Finding::good("master key", origin)),
            Err(JournalError::State { message, .. }) => message,
            Err(error) => error.to_string(),
        };
        let (text, cure) = wrong.split_once("; ").unwrap_or((&wrong, "see to its owner and mode"));
        Some(Finding::bad("master key", text, cure))
    }
}

fn mode(folder: &Path) -> Finding {
    match folder.metadata() {
        Ok(there) if !there.is_dir() => Finding::bad("folder", format!("{} is no folder", folder.display()), "move it away"),
        Ok(there) if there.permissions().mode() & 0o077 != 0 => {
            let text = format!("others may enter {} (mode {:03o})", folder.display(), there.permissions().mode() & 0o777);
            Finding::bad("folder", text, &format!("chmod 700 {}", folder.display()))
        }
        Ok(_) => Finding::good("folder", "nobody else may enter it"),
        Err(error) => Finding::bad("folder", format!("{}: {error}", folder.display()), "see to its owner and mode"),
    }
}

fn file_system(folder: &Path) -> Finding {
    match filesystem::network(folder) {
        Ok(None) => Finding::good("file system", "local"),
        Ok(Some(name)) => {
            Finding::bad("file system", format!("{name}, over the network"), "choose a local folder with --state or TREES_STATE")
        }
        Err(error) => Finding::bad("file system", error.to_string(), "see to the mount"),
    }
}

fn space(folder: &Path) -> Finding {
    match filesystem::free(folder) {
        Ok(free) if free < LITTLE => Finding::note("space", format!("{} MiB free", free >> 20), "trees gc, or free some space"),
        Ok(free) => Finding::good("space", format!("{} MiB free", free >> 20)),
        Err(error) => Finding::note("space", error.to_string(), "see to the mount"),
    }
}

fn database(place: &Place) -> Vec<Finding> {
    match place.connect().and_then(|db| questions(&db)) {
        Ok(wrong) if wrong.is_empty() => vec![Finding::good("database", "whole; the events have no gaps")],
        Ok(wrong) => wrong.into_iter().map(|text| Finding::bad("database", text, "put back a copy of the state folder")).collect(),
        Err(fault) => {
            let text = match fault {
                Fault::Sql(error) => sql_message(&error),
                Fault::Refused(error) => error.to_string(),
                Fault::Damaged(text) => text,
            };
            vec![Finding { check: "database", health: Health::Bad, text, cure: None }]
        }
    }
}

fn questions(db: &Connection) -> Result<Vec<String>, Fault> {
    let texts = |sql: &str| -> Result<Vec<String>, Fault> {
        let mut statement = db.prepare(sql)?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    };
    let mut wrong = texts("PRAGMA quick_check(5)")?;
    wrong.retain(|line| line != "ok");
    wrong.extend(texts("SELECT 'a row of ' || \"table\" || ' points nowhere' FROM pragma_foreign_key_check LIMIT 5")?);
    wrong.extend(texts(
        "SELECT 'the events of run ' || r.id || ' have a gap' FROM runs r JOIN
         (SELECT run, count(*) AS n, max(seq) AS last FROM events GROUP BY run) e ON e.run = r.n
         WHERE e.n <> e.last LIMIT 5",
    )?);
    Ok(wrong)
}
