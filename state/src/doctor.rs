//! Whether the state folder is well: each check as data, also where the folder cannot be opened.
//! What recorded events mean is not known here; who knows it judges them.

mod places;

use crate::audit::Chain;
use crate::database::Place;
use crate::error::{Fault, StateError};
use crate::folder;
use crate::hold::stopped;
use crate::remains::lost_words;
use crate::state::{Durability, State};
use rusqlite::Connection;
use serde::Serialize;
use std::path::Path;
use trees_core::event::{Event, RunStatus};
use trees_core::journal::{Journal as _, JournalError, RunFilter};
use trees_core::path::RunId;

/// Findings of one sort that are told.
const TOLD: usize = 5;

/// Whether the events of a run follow from one another: what is wrong with them, if something is.
pub type Judge<'a> = &'a dyn Fn(&State, &RunId, &[Event]) -> Option<Finding>;

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
    /// As it should be.
    pub fn good(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, health: Health::Good, text: text.into(), cure: None }
    }

    /// Worth knowing.
    pub fn note(check: &'static str, text: impl Into<String>, cure: &str) -> Self {
        Self { check, health: Health::Note, text: text.into(), cure: Some(cure.into()) }
    }

    /// Runs will fail, or have.
    pub fn bad(check: &'static str, text: impl Into<String>, cure: &str) -> Self {
        Self { check, health: Health::Bad, text: text.into(), cure: Some(cure.into()) }
    }

    /// What the state said when it refused; the cure stands behind the first semicolon.
    pub(crate) fn refused(check: &'static str, error: &JournalError) -> Self {
        let message = match error {
            JournalError::State { message, .. } | JournalError::Temporary { message, .. } => message.clone(),
            JournalError::Unknown(_)
            | JournalError::Fenced { .. }
            | JournalError::Held { .. }
            | JournalError::Answered { .. }
            | JournalError::Unkept(_) => error.to_string(),
        };
        match message.split_once("; ") {
            Some((text, cure)) => Self::bad(check, text, cure),
            None => Self { check, health: Health::Bad, text: message, cure: None },
        }
    }
}

impl State {
    /// Looks at a state folder that need not be well. Nothing is mended, and nothing left: one small
    /// file is written to see whether that can be done.
    #[must_use]
    pub fn doctor(folder: &Path, judge: Judge<'_>) -> Vec<Finding> {
        let mut found = vec![Finding::good("sqlite", format!("SQLite {}", rusqlite::version()))];
        let there = match folder::is_there(folder, &folder.join("trees.db")) {
            Ok(there) => there,
            Err(error) => {
                found.push(Finding::refused("folder", &error));
                return found;
            }
        };
        if !folder.exists() {
            found.push(Finding::good("folder", format!("there is no state at {} yet", folder.display())));
            return found;
        }
        found.extend(places::look(folder));
        if !there {
            found.push(places::missing(folder));
            return found;
        }
        match Self::open_existing(folder, Durability::Full) {
            Ok(Some(state)) => state.look(judge, &mut found),
            Ok(None) => found.push(places::missing(folder)),
            Err(StateError::Unusable { folder, message }) => {
                found.push(Finding::refused("database", &JournalError::State { folder, message }));
            }
            Err(error) => found.push(Finding { check: "database", health: Health::Bad, text: error.to_string(), cure: None }),
        }
        found
    }

    fn look(&self, judge: Judge<'_>, found: &mut Vec<Finding>) {
        found.extend(database(&self.place));
        found.extend(self.records(judge));
        found.push(self.chain_health());
        found.extend(self.key_health());
        found.extend(self.folders_health());
        found.extend(self.unfinished().unwrap_or_else(|error| vec![Finding::refused("runs", &error)]));
    }

    /// Whether what is recorded of each run can be read and taken up again.
    fn records(&self, judge: Judge<'_>) -> Vec<Finding> {
        let all = match self.runs(&RunFilter::default()) {
            Ok(all) => all,
            Err(error) => return vec![Finding::refused("events", &error)],
        };
        let (mut events, mut wrong) = (0, Vec::new());
        for run in &all {
            match self.load(&run.run, 0) {
                Ok(recorded) => {
                    events += recorded.len();
                    wrong.extend(judge(self, &run.run, &recorded));
                }
                Err(error) => wrong.push(Finding::refused("events", &error)),
            }
        }
        if wrong.is_empty() {
            return vec![Finding::good("events", format!("{events} of {} runs; they can be read and taken up again", all.len()))];
        }
        wrong.truncate(TOLD);
        wrong
    }

    /// Runs that somebody has to see to.
    fn unfinished(&self) -> Result<Vec<Finding>, JournalError> {
        let mut found = Vec::new();
        let all = self.runs(&RunFilter::default())?;
        let held = all.iter().filter_map(|run| stopped(&run.run, run.pid?));
        found.extend(held.take(TOLD).map(|(text, cure)| Finding::note("runs", text, &cure)));
        let mut resting = all.iter().filter(|run| run.status == RunStatus::Interrupted);
        if let Some(newest) = resting.next() {
            let text = format!("{} interrupted; the newest is {} of {}", resting.count() + 1, newest.run, newest.tree);
            found.push(Finding::note("runs", text, &format!("trees resume {}", newest.run)));
        }
        Ok(found)
    }

    fn folders_health(&self) -> Vec<Finding> {
        let strays = match self.strays() {
            Ok(strays) => strays,
            Err(error) => return vec![Finding::refused("folders", &error)],
        };
        let mut found = Vec::new();
        if !strays.idle.is_empty() {
            found.push(Finding::note("folders", format!("folders of runs that are not recorded: {}", strays.idle.len()), "trees gc"));
        }
        found.extend(lost_words(&strays.lost).map(|(text, cure)| Finding::bad("folders", text, cure)));
        found
    }

    fn chain_health(&self) -> Finding {
        match self.verify_audit() {
            Ok(Chain { broken: None, entries, .. }) => Finding::good("audit", format!("{entries} entries, the chain holds")),
            Ok(Chain { broken: Some(broken), .. }) => {
                Finding::bad("audit", broken.text, "see trees audit --verify; somebody or something changed the database by hand")
            }
            Err(error) => Finding::refused("audit", &error),
        }
    }

    fn key_health(&self) -> Option<Finding> {
        let checked = self.key_origin().and_then(|origin| {
            if origin.is_some() {
                self.check_sealed()?;
            }
            Ok(origin)
        });
        match checked {
            Ok(origin) => origin.map(|origin| Finding::good("master key", origin)),
            Err(error) => Some(Finding::refused("master key", &error)),
        }
    }
}

fn database(place: &Place) -> Vec<Finding> {
    match place.connect().and_then(|db| questions(&db)) {
        Ok(wrong) if wrong.is_empty() => vec![Finding::good("database", "whole; the events have no gaps")],
        Ok(wrong) => wrong.into_iter().map(|text| Finding::bad("database", text, "put back a copy of the state folder")).collect(),
        Err(fault) => vec![Finding::refused("database", &fault.explain(&place.folder))],
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
