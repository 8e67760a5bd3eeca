//! A state folder of the oldest schema that something leads on from, of a run that was killed: led over by the next command, which is
//! killed on the way. Nothing is lost, and the one after that goes on.

use crate::place::Place;
use crate::scenes::{LOG, Stage, resume_after};
use rusqlite::Connection;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use trees_points::Point;

/// What schema 2 had in the place of `begun`: a row for each step.
const BACK: &str = "
CREATE TABLE steps (
    run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
    path TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    started INTEGER,
    finished INTEGER,
    settled INTEGER NOT NULL,
    digest BLOB,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;
INSERT INTO steps SELECT run, path, 'running', 1, 1, NULL, 1, digest FROM begun;
DROP TABLE begun;
DROP TABLE releases;
ALTER TABLE secrets DROP COLUMN made_for;
PRAGMA user_version = 2;
";

/// On the way to the newest schema.
const WAY: [Point; 3] = [Point::BeforeMigration, Point::LogChosen, Point::AfterMigration];

fn opened(place: &Place) -> Connection {
    Connection::open(place.path(".trees/trees.db")).unwrap()
}

/// Makes it one of schema 2.
fn back(place: &Place) {
    let db = opened(place);
    assert_eq!(version(&db), 4, "a newer schema needs its own way back here");
    db.execute_batch(BACK).unwrap();
}

fn version(db: &Connection) -> u32 {
    db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// Plays it; what was killed, as the binary wrote it down.
fn played(shot: Option<String>) -> String {
    let place = resume_after(&Stage { shot }, back);
    assert_eq!(version(&opened(&place)), 4, "it was led over");
    let log = fs::read_to_string(place.root().join(LOG)).unwrap();
    log.lines().find(|line| line.starts_with("killed ")).unwrap_or_default().to_owned()
}

#[test]
fn an_older_schema_killed_on_the_way_to_the_newest() {
    assert_eq!(played(None), "");
    let mut killed = 0;
    for (point, who) in WAY.iter().flat_map(|point| ["engine", "both"].map(|who| (point.name(), who))) {
        let shot = format!("{point}:1:{who}");
        let log = catch_unwind(AssertUnwindSafe(|| played(Some(shot.clone())))).unwrap_or_else(|panic| {
            eprintln!("killed at {shot}");
            resume_unwind(panic)
        });
        assert!(log.contains(point), "{shot} was not reached: {log}");
        killed += 1;
    }
    println!("upgrade: a state of schema 2 led over, killed at {} points, {killed} times: 0 violations", WAY.len());
}
