//! The chain of changes: one entry a change, and each way to break it is found and named.

use crate::bench::{Bench, bench, ended, new_run, open, run_with, started};
use rusqlite::Connection;
use trees_core::event::RunStatus;
use trees_core::journal::{Journal as _, RequestBody};
use trees_state::{AuditFilter, Gc, Health, State, Witness};

/// A state with four entries: two runs made, one asked, one taken up.
fn some() -> (Bench, Vec<String>) {
    let bench = bench();
    bench.state.testify(Witness { actor: "ann@box".into(), command: vec!["run".into(), "a.yaml".into()], ..Witness::default() });
    let first = ended(&bench.state, "a", RunStatus::Failed);
    let hold = run_with(&bench.state, "b", vec![(None, started("b"))]);
    let second = hold.run().clone();
    drop(hold);
    bench.state.ask(&second, "ann", &RequestBody::Cancel { now: false }).unwrap();
    drop(bench.state.hold(&first).unwrap());
    (bench, vec![first.0, second.0])
}

fn changes(state: &State) -> Vec<String> {
    state.audit(&AuditFilter::default()).unwrap().into_iter().map(|(entry, _)| entry.change).collect()
}

fn database(bench: &Bench) -> Connection {
    Connection::open(bench.dir.path().join(".trees/trees.db")).unwrap()
}

#[test]
fn each_change_has_an_entry() {
    let (bench, runs) = some();
    assert_eq!(changes(&bench.state), ["run_created", "run_created", "run_asked", "run_held"]);
    let all = bench.state.audit(&AuditFilter::default()).unwrap();
    assert_eq!(all.iter().map(|(entry, _)| entry.n).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(all.windows(2).all(|pair| pair[1].0.previous == pair[0].1));
    assert_eq!(all[0].0.witness.actor, "ann@box");
    assert_eq!(all[3].0.before["status"], "failed");
    assert_eq!((all[3].0.before["seq"].as_i64(), all[3].0.after["epoch"].as_i64()), (Some(2), Some(2)));
    let of = |run: &str, limit| bench.state.audit(&AuditFilter { run: Some(run.into()), limit }).unwrap().len();
    assert_eq!((of(&runs[0], 0), of(&runs[1], 0), of(&runs[1], 1)), (2, 2, 1));
    let chain = bench.state.verify_audit().unwrap();
    assert_eq!((chain.entries, chain.head, chain.broken), (4, all[3].1.clone(), None));
}

#[test]
fn secrets_are_named_and_never_told() {
    let bench = bench();
    bench.state.set_secret("p", "", "TOKEN", "canary-1").unwrap();
    bench.state.set_secret("p", "", "TOKEN", "canary-2").unwrap();
    bench.state.remove_secret("p", "", "TOKEN").unwrap();
    assert!(!bench.state.remove_secret("p", "", "TOKEN").unwrap(), "nothing changed, nothing is said");
    assert_eq!(changes(&bench.state), ["secret_set", "secret_set", "secret_removed"]);
    let all = bench.state.audit(&AuditFilter::default()).unwrap();
    assert_eq!((&all[1].0.before["version"], &all[1].0.after["version"]), (&1.into(), &2.into()));
    let text = serde_json::to_string(&all.iter().map(|(entry, _)| entry).collect::<Vec<_>>()).unwrap();
    assert!(!text.contains("canary") && text.contains("TOKEN"), "{text}");
}

#[test]
fn what_is_refused_leaves_no_entry() {
    let bench = bench();
    let unknown = trees_core::path::RunId("aaaaaaaaaaaa".into());
    assert!(bench.state.ask(&unknown, "ann", &RequestBody::Cancel { now: false }).is_err());
    assert!(bench.state.hold(&unknown).is_err());
    assert!(changes(&bench.state).is_empty());
}

#[test]
fn a_change_that_cannot_be_written_down_is_not_made() {
    let (bench, runs) = some();
    database(&bench).execute_batch("DROP TABLE audit_head").unwrap();
    assert!(bench.state.create(&new_run("a")).is_err());
    assert!(bench.state.set_secret("p", "", "TOKEN", "value").is_err());
    let first = trees_core::path::RunId(runs[0].clone());
    let second = trees_core::path::RunId(runs[1].clone());
    assert!(bench.state.ask(&second, "ann", &RequestBody::Cancel { now: true }).is_err());
    assert!(bench.state.hold(&first).is_err());
    assert!(bench.state.gc(&Gc { keep: Some(0), ..Gc::default() }).is_err());
    let count =
        |table: &str| -> i64 { database(&bench).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap() };
    assert_eq!(["runs", "requests", "secrets", "audit"].map(count), [2, 1, 0, 4]);
    let epoch: i64 = database(&bench).query_row("SELECT max(epoch) FROM runs", [], |row| row.get(0)).unwrap();
    assert_eq!(epoch, 2);
}

#[test]
fn what_is_cleared_away_stays_in_the_chain() {
    let (bench, runs) = some();
    let removed = bench.state.gc(&Gc { keep: Some(0), ..Gc::default() }).unwrap();
    assert_eq!(removed.runs.len(), 1);
    let all = bench.state.audit(&AuditFilter::default()).unwrap();
    let last = &all.last().unwrap().0;
    assert_eq!((last.change.as_str(), &last.before["runs"][0]["run"]), ("runs_removed", &runs[0].as_str().into()));
    assert_eq!(bench.state.verify_audit().unwrap().broken, None);
    assert_eq!(open(&bench.dir).verify_audit().unwrap().broken, None);
    bench.state.rebuild().unwrap();
    assert_eq!(bench.state.verify_audit().unwrap().broken, None);
}

#[track_caller]
fn check(harm: &str, n: u64, why: &str) {
    let (bench, _) = some();
    database(&bench).execute_batch(harm).unwrap();
    let broken = bench.state.verify_audit().unwrap().broken.unwrap();
    assert_eq!((broken.n, broken.why), (n, why), "{harm}: {}", broken.text);
    let found = State::doctor(&bench.dir.path().join(".trees"), &|_, _, _| None);
    let audit = found.iter().find(|f| f.check == "audit").unwrap();
    assert_eq!((audit.health, &audit.text), (Health::Bad, &broken.text));
    // What comes later hides nothing.
    bench.state.set_secret("p", "", "TOKEN", "value").unwrap();
    let later = bench.state.verify_audit().unwrap().broken.unwrap();
    assert_eq!(later.n, n, "{harm}: {}", later.text);
}

#[test]
fn the_first_broken_link_is_named() {
    check("UPDATE audit SET body = replace(body, 'ann@box', 'bob@box') WHERE n = 2", 2, "changed");
    check("UPDATE audit SET digest = 'ff' WHERE n = 3", 3, "changed");
    check("DELETE FROM audit WHERE n = 1", 1, "missing");
    check("DELETE FROM audit WHERE n IN (2, 3)", 2, "missing");
    check("UPDATE audit SET n = 9 WHERE n = 2; UPDATE audit SET n = 2 WHERE n = 3; UPDATE audit SET n = 3 WHERE n = 9", 2, "reordered");
    check("DELETE FROM audit WHERE n > 2", 3, "cut");
    check("DELETE FROM audit", 1, "cut");
}

#[test]
fn a_cut_with_its_head_is_known_by_the_runs_that_are_there() {
    let (bench, runs) = some();
    database(&bench).execute_batch("DELETE FROM audit; DELETE FROM audit_head").unwrap();
    let broken = bench.state.verify_audit().unwrap().broken.unwrap();
    assert_eq!((broken.n, broken.why), (1, "cut"));
    assert!(broken.text.contains(&runs[0]), "{}", broken.text);
}

#[test]
fn an_entry_rewritten_with_its_digest_breaks_the_next() {
    let (bench, _) = some();
    let db = database(&bench);
    let body: String = db.query_row("SELECT body FROM audit WHERE n = 2", [], |row| row.get(0)).unwrap();
    let body = body.replace("ann@box", "bob@box");
    db.execute("UPDATE audit SET body = ?1, digest = ?2 WHERE n = 2", (&body, trees_core::hash::bytes(body.as_bytes()))).unwrap();
    let broken = bench.state.verify_audit().unwrap().broken.unwrap();
    assert_eq!((broken.n, broken.why), (3, "replaced"), "{}", broken.text);
    // The newest too.
    let (bench, _) = some();
    let db = database(&bench);
    let body: String = db.query_row("SELECT body FROM audit WHERE n = 4", [], |row| row.get(0)).unwrap();
    let body = body.replace("ann@box", "bob@box");
    db.execute("UPDATE audit SET body = ?1, digest = ?2 WHERE n = 4", (&body, trees_core::hash::bytes(body.as_bytes()))).unwrap();
    let broken = bench.state.verify_audit().unwrap().broken.unwrap();
    assert_eq!((broken.n, broken.why), (4, "replaced"), "{}", broken.text);
}

#[test]
fn events_changed_after_somebody_saw_them_are_found() {
    let (bench, runs) = some();
    let db = database(&bench);
    db.execute("UPDATE events SET body = '{\"status\":\"succeeded\"}' WHERE type = 'run_finished'", []).unwrap();
    let broken = bench.state.verify_audit().unwrap().broken.unwrap();
    assert_eq!((broken.n, broken.why), (4, "record"));
    assert!(broken.text.contains(&runs[0]), "{}", broken.text);
}

#[test]
fn each_event_is_read_once_however_often_a_run_is_taken_up() {
    let (bench, runs) = some();
    let run = trees_core::path::RunId(runs[1].clone());
    let mut hold = bench.state.hold(&run).unwrap();
    for seq in 2..5_u64 {
        let event = crate::bench::event(&run, seq, Some("s"), crate::bench::begins("in"));
        bench.state.append(&run, seq - 1, hold.epoch(), &[event], &[]).unwrap();
        drop(hold);
        hold = bench.state.hold(&run).unwrap();
    }
    let all = bench.state.audit(&AuditFilter { run: Some(run.0), limit: 0 }).unwrap();
    let seen = |entry: &trees_state::Entry| (entry.before["since"].as_i64(), entry.before["seq"].as_i64());
    let held: Vec<_> = all.iter().filter(|(entry, _)| entry.change == "run_held").map(|(entry, _)| seen(entry)).collect();
    assert_eq!(held, [(None, Some(1)), (Some(1), Some(2)), (Some(2), Some(3)), (Some(3), Some(4))]);
    assert_eq!(bench.state.verify_audit().unwrap().broken, None);
    // What an entry did not read itself it knows by the one before.
    database(&bench).execute_batch("UPDATE events SET body = '{}' WHERE seq = 3 AND step = 's'").unwrap();
    let broken = bench.state.verify_audit().unwrap().broken.unwrap();
    assert_eq!((broken.n, broken.why), (all[4].0.n, "record"), "{}", broken.text);
}

#[test]
fn another_tree_of_a_run_is_a_change() {
    let (bench, runs) = some();
    let run = trees_core::path::RunId(runs[0].clone());
    let (first, other) = (new_run("a").digest, new_run("b"));
    bench.state.amend(&run, &other.digest, &other.definition).unwrap();
    bench.state.amend(&run, &other.digest, &other.definition).unwrap();
    let (entry, _) = bench.state.audit(&AuditFilter::default()).unwrap().pop().unwrap();
    assert_eq!((entry.n, entry.change.as_str(), &entry.run), (5, "run_amended", &Some(run.0)));
    assert_eq!((&entry.before["definition"], &entry.after["definition"]), (&first.into(), &other.digest.into()));
    assert_eq!(bench.state.verify_audit().unwrap().broken, None);
}
