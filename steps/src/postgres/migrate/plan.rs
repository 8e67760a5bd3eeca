//! What is to be done: files beside ledger.

use super::Allow;
use super::folder::{Migration, Mode};
use super::ledger::Entry;
use std::collections::BTreeMap;
use trees_runner::kind::KindError;

/// From here on numbers are times, between which nothing is missing.
const TIMES: i64 = 10_000_000;

/// The migrations that the database lacks, in order.
///
/// # Errors
/// When files and ledger do not go together.
pub fn pending<'a>(
    files: &'a BTreeMap<i64, Migration>,
    entries: &BTreeMap<i64, Entry>,
    allow: &[Allow],
) -> Result<Vec<&'a Migration>, KindError> {
    unchanged(files, entries)?;
    complete(files, entries, allow)?;
    let last = entries.values().filter(|entry| !entry.begun).map(|entry| entry.version).max();
    let mut pending = Vec::new();
    for migration in files.values() {
        match entries.get(&migration.version) {
            Some(entry) if entry.begun => settle(migration, entry)?,
            Some(_) => continue,
            None => {}
        }
        let late = last.filter(|last| migration.version < *last && !allow.contains(&Allow::OutOfOrder));
        if let Some(last) = late.filter(|_| !entries.contains_key(&migration.version)) {
            let newest = entries.get(&last).map_or("", |entry| entry.name.as_str());
            return Err(KindError::new(format!("`{}` comes before `{newest}`, which the database has already", migration.name))
                .help("give it a number at the end, or write `allow: [out_of_order]`"));
        }
        pending.push(migration);
    }
    Ok(pending)
}

fn unchanged(files: &BTreeMap<i64, Migration>, entries: &BTreeMap<i64, Entry>) -> Result<(), KindError> {
    let differs = |migration: &&Migration| entries.get(&migration.version).is_some_and(|e| !e.begun && e.sha256 != migration.up.sha256);
    let changed: Vec<String> = files.values().filter(differs).map(|migration| format!("`{}`", migration.up.path.display())).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(KindError::new(format!("changed since the database has it: {}", changed.join(", ")))
        .help("put the file back as it was, and write what is to change as a new migration"))
}

fn complete(files: &BTreeMap<i64, Migration>, entries: &BTreeMap<i64, Entry>, allow: &[Allow]) -> Result<(), KindError> {
    let gone: Vec<&str> = entries.values().filter(|entry| !files.contains_key(&entry.version)).map(|entry| entry.name.as_str()).collect();
    if !gone.is_empty() && !allow.contains(&Allow::Missing) {
        return Err(KindError::new(format!("the database has what is not among the files: {}", gone.join(", ")))
            .help("is the folder the right one, and as new as the database? `allow: [missing]` goes on without them"));
    }
    let numbers: Vec<&Migration> = files.values().filter(|migration| migration.version < TIMES).collect();
    let gap = numbers.windows(2).find(|pair| pair[1].version - pair[0].version > 1);
    match gap.filter(|_| !allow.contains(&Allow::Gaps)) {
        Some(pair) => Err(KindError::new(format!("a number is missing between `{}` and `{}`", pair[0].name, pair[1].name))
            .help("add the file that is missing, or write `allow: [gaps]`")),
        None => Ok(()),
    }
}

/// Of what was begun outside of a transaction nobody knows how far it came.
fn settle(migration: &Migration, entry: &Entry) -> Result<(), KindError> {
    if migration.up.mode == Mode::Repeatable {
        return Ok(());
    }
    Err(KindError::new(format!("`{}` was begun by the run {} outside of a transaction, and nothing says that it came to its end", migration.name, entry.by.0))
        .help(format!(
            "look what of it is there; then finish it by hand and set `took_ms` of version {} in the ledger, or take it back by hand and delete that row; \
             a file that may be run again says `-- trees: no transaction, repeatable`",
            migration.version
        )))
}

#[cfg(test)]
mod tests {
    use super::pending;
    use crate::postgres::migrate::Allow;
    use crate::postgres::migrate::folder::{Migration, read_script};
    use crate::postgres::migrate::ledger::Entry;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn file(version: i64, text: &str) -> Migration {
        let name = format!("{version}_x");
        Migration { version, up: read_script(Path::new(&format!("{name}.sql")), text).unwrap(), name, down: None }
    }

    /// Versions of files; versions of entries, negative ones only begun; what comes of it.
    fn check(files: &[i64], entries: &[i64], allow: &[Allow], expected: Result<&[i64], &str>) {
        let files: BTreeMap<i64, Migration> = files.iter().map(|v| (*v, file(*v, "SELECT 1"))).collect();
        let entry = |v: &i64| Entry {
            version: v.abs(),
            name: format!("{}_x", v.abs()),
            sha256: file(1, "SELECT 1").up.sha256,
            by: ("r".into(), "s".into()),
            begun: *v < 0,
        };
        let entries = entries.iter().map(|v| (v.abs(), entry(v))).collect();
        let found = pending(&files, &entries, allow).map(|all| all.iter().map(|m| m.version).collect::<Vec<_>>());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(wrong), Err(expected)) => assert!(wrong.message.contains(expected), "{}", wrong.message),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn files_and_ledger_must_go_together() {
        check(&[1, 2, 3], &[], &[], Ok(&[1, 2, 3]));
        check(&[1, 2, 3], &[1, 2], &[], Ok(&[3]));
        check(&[1, 2], &[1, 2], &[], Ok(&[]));
        check(&[1, 2, 3], &[1, 3], &[], Err("`2_x` comes before `3_x`"));
        check(&[1, 2, 3], &[1, 3], &[Allow::OutOfOrder], Ok(&[2]));
        check(&[1, 3], &[], &[], Err("between `1_x` and `3_x`"));
        check(&[1, 3], &[], &[Allow::Gaps], Ok(&[1, 3]));
        check(&[20_260_101, 20_260_301], &[], &[], Ok(&[20_260_101, 20_260_301]));
        check(&[2], &[1, 2], &[], Err("not among the files: 1_x"));
        check(&[2], &[1, 2], &[Allow::Missing], Ok(&[]));
        check(&[1, 2], &[1, -2], &[], Err("`2_x` was begun by the run r"));
    }

    #[test]
    fn a_changed_file_is_named_and_a_repeatable_one_is_run_again() {
        let files = BTreeMap::from([(1, file(1, "-- trees: no transaction, repeatable\n"))]);
        let entry = |begun| Entry { version: 1, name: "1_x".into(), sha256: "other".into(), by: ("r".into(), "s".into()), begun };
        assert_eq!(pending(&files, &BTreeMap::from([(1, entry(true))]), &[]).unwrap().len(), 1);
        let wrong = pending(&files, &BTreeMap::from([(1, entry(false))]), &[]).unwrap_err();
        assert_eq!(wrong.message, "changed since the database has it: `1_x.sql`");
    }
}
