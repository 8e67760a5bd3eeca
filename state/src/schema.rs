//! What the database holds: the truth (`runs`, `events`, `definitions`, `requests`, `secrets`, `audit`) and
//! what is derived from it (the status columns of `runs`, `begun`, `results`, `uses`).
//!
//! A migration that was released is never edited; a new one is added below it.

use rusqlite_migration::{M, Migrations};

/// The newest schema this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Before the first release the tables changed without a number of their own: nothing leads here from there.
const MIGRATIONS: &[M<'_>] = &[M::up(""), M::up(FIRST), M::up(WITHOUT_STEPS), M::up(RELEASES)];

/// The oldest schema that something leads on from.
pub(crate) const OLDEST: i64 = 2;

/// What reads nothing, and can be prepared only where every table is as a schema says.
pub(crate) fn known(version: i64) -> Option<&'static str> {
    match version {
        2 => Some(
            "SELECT runs.imported, amendments.n, audit.n, audit_head.n, events.sum, results.sum, steps.digest
             FROM runs, amendments, audit, audit_head, events, results, steps WHERE 0",
        ),
        3 => Some(
            "SELECT runs.imported, amendments.n, audit.n, audit_head.n, events.sum, results.sum, begun.digest
             FROM runs, amendments, audit, audit_head, events, results, begun WHERE 0",
        ),
        VERSION => Some(
            "SELECT runs.imported, amendments.n, audit.n, audit_head.n, events.sum, results.sum, begun.digest, releases.sum, secrets.made_for
             FROM runs, amendments, audit, audit_head, events, results, begun, releases, secrets WHERE 0",
        ),
        _ => None,
    }
}

/// The number of a run's newest event, 0 before the first, where `runs` is asked.
pub(crate) const SEQ: &str = "coalesce((SELECT max(seq) FROM events WHERE run = runs.n), 0)";

/// All of them, in order.
pub(crate) fn migrations() -> Migrations<'static> {
    Migrations::from_slice(MIGRATIONS)
}

const FIRST: &str = "
-- the recorded sources, by digest
CREATE TABLE definitions (digest TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- numbers of runs go on when old runs are removed
CREATE TABLE trees (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tree TEXT NOT NULL,
    number INTEGER NOT NULL,
    definition TEXT NOT NULL REFERENCES definitions(digest),
    created INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    -- of a run from elsewhere: where from, as JSON
    imported TEXT,
    -- derived from here on
    file TEXT NOT NULL DEFAULT '',
    environment TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'pending',
    started INTEGER,
    finished INTEGER,
    done INTEGER,
    failed INTEGER,
    total INTEGER,
    UNIQUE (tree, number)
) STRICT;

-- definitions that resumes brought
CREATE TABLE amendments (
    n INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
    definition TEXT NOT NULL REFERENCES definitions(digest),
    UNIQUE (run, definition)
) STRICT;

CREATE TABLE events (
    run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    type TEXT NOT NULL,
    step TEXT,
    attempt INTEGER,
    actor TEXT,
    body TEXT,
    -- SQLite keeps no checksums of the pages in its file: what is believed carries one of its own
    sum BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
    ts INTEGER NOT NULL,
    actor TEXT NOT NULL,
    body TEXT NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX requests_open ON requests(run, id) WHERE taken = 0;
CREATE INDEX requests_run ON requests(run);

CREATE TABLE secrets (
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    sealed BLOB,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, name, environment, version)
) STRICT, WITHOUT ROWID;

-- who changed what; outlives what it is about
CREATE TABLE audit (
    n INTEGER PRIMARY KEY,
    run TEXT,
    body TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT;
CREATE INDEX audit_run ON audit(run);

-- the newest entry of the audit
CREATE TABLE audit_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    n INTEGER NOT NULL,
    digest TEXT NOT NULL
) STRICT;

-- derived
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

-- derived; outlives the run it comes from
CREATE TABLE results (
    digest BLOB NOT NULL,
    tree TEXT NOT NULL,
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    outputs TEXT,
    artifacts TEXT,
    ts INTEGER NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (digest, tree)
) STRICT, WITHOUT ROWID;

-- derived: the artifacts that a run's events name
CREATE TABLE uses (
    run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (run, sha256)
) STRICT, WITHOUT ROWID;
";

/// How steps stand is read from the events: a row for each was written twice and hardly read.
const WITHOUT_STEPS: &str = "
-- derived: attempts at work whose success will stand for others, by what it will stand for
CREATE TABLE begun (
    run INTEGER NOT NULL REFERENCES runs(n) ON DELETE CASCADE,
    path TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;
INSERT INTO begun SELECT run, path, digest FROM steps WHERE digest IS NOT NULL AND finished IS NULL;
DROP TABLE steps;
";

/// What each environment of a project was given.
const RELEASES: &str = "
-- derived; outlives the runs it comes from
CREATE TABLE releases (
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    number INTEGER NOT NULL,
    run TEXT NOT NULL,
    tree TEXT NOT NULL,
    status TEXT NOT NULL,
    ts INTEGER NOT NULL,
    -- what each step deployed, as JSON
    steps TEXT NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (project, environment, number),
    UNIQUE (run, project, environment)
) STRICT, WITHOUT ROWID;
-- of a version that a step made: the step's idempotency key
ALTER TABLE secrets ADD COLUMN made_for TEXT;
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_migrations_hold() {
        super::migrations().validate().unwrap();
        let mut db = rusqlite::Connection::open_in_memory().unwrap();
        for version in super::OLDEST..=super::VERSION {
            super::migrations().to_version(&mut db, usize::try_from(version).unwrap()).unwrap();
            db.prepare(super::known(version).unwrap()).unwrap();
        }
    }

    #[test]
    fn an_attempt_at_work_keeps_what_it_stands_for() {
        let mut db = rusqlite::Connection::open_in_memory().unwrap();
        super::migrations().to_version(&mut db, 2).unwrap();
        db.execute_batch(
            "INSERT INTO definitions VALUES ('d', '');
             INSERT INTO runs (n, id, tree, number, definition, created, epoch) VALUES (1, 'r', 't', 1, 'd', 0, 1);
             INSERT INTO steps VALUES (1, 'done', 'succeeded', 1, 1, 2, 2, x'01'), (1, 'at work', 'running', 1, 1, NULL, 3, x'02'),
                (1, 'other', 'running', 1, 1, NULL, 4, NULL);",
        )
        .unwrap();
        super::migrations().to_latest(&mut db).unwrap();
        let kept = db.query_row("SELECT group_concat(path), max(digest) FROM begun", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(kept, Ok(("at work".to_owned(), vec![2_u8])));
    }
}
