use super::Migrate;
use crate::bench::Bench;
use serde_json::{Value, json};
use trees_runner::kind::{Kind as _, Observation};

fn check(input: Value, expected: &[&str]) {
    let wrong = serde_json::from_value(input).map(|with| Migrate::validate(&with)).unwrap();
    assert_eq!(wrong.len(), expected.len(), "{wrong:?}");
    wrong.iter().zip(expected).for_each(|(wrong, expected)| assert!(wrong.contains(expected), "{expected}: {wrong}"));
}

#[test]
fn what_cannot_be_is_told_without_a_server() {
    check(json!({ "server": "postgres://a@b/c", "folder": "m", "allow": ["gaps", "out_of_order", "missing"] }), &[]);
    check(json!({ "server": "postgres://a@b", "folder": "m", "database": "d", "table": "s.t" }), &[]);
    check(json!({ "server": "postgres://a@b", "folder": "m", "table": "s." }), &["names no database", "table: it is empty"]);
}

mod with_postgres {
    use super::*;
    use crate::postgres::bench::{killed_after, with, writes};
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use trees_servers::postgres::Postgres;

    struct Place {
        server: Arc<Postgres>,
        bench: Bench,
        database: String,
    }

    impl Place {
        fn new(database: &str) -> Self {
            let server = Postgres::shared();
            server.ask("postgres", &format!("CREATE DATABASE {database}"));
            Self { server, bench: Bench::new(), database: database.into() }
        }

        fn file(&self, name: &str, text: &str) {
            self.bench.write(&format!("migrations/{name}.sql"), text);
        }

        /// Three files, the first two with a way back.
        fn three(&self) {
            for (name, up, down) in [
                ("001_users", "CREATE TABLE users (id int PRIMARY KEY)", Some("DROP TABLE users")),
                (
                    "002_mail",
                    "ALTER TABLE users ADD mail text; INSERT INTO users VALUES (1, 'a')",
                    Some("ALTER TABLE users DROP mail; DELETE FROM users"),
                ),
                (
                    "003_index",
                    "-- trees: no transaction\nCREATE INDEX CONCURRENTLY i1 ON users (mail);\nCREATE INDEX CONCURRENTLY i2 ON users (mail);",
                    Some("DROP INDEX i1, i2"),
                ),
            ] {
                self.file(name, up);
                down.into_iter().for_each(|down| self.file(&format!("{name}.down"), down));
            }
        }

        fn step(&self, extra: Value) -> Value {
            let mut step = with(&self.server, json!({ "database": self.database, "folder": "migrations" }));
            step.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            step
        }

        fn ask(&self, statement: &str) -> String {
            self.server.ask(&self.database, statement)
        }

        fn ledger(&self) -> String {
            self.ask("SELECT string_agg(name, ' ' ORDER BY version) FROM trees_migrations WHERE took_ms >= 0")
        }

        async fn run(&self) -> Result<(super::super::Out, bool), String> {
            self.bench.run::<Migrate>(self.step(json!({}))).await.map_err(|e| e.message)
        }
    }

    #[tokio::test]
    async fn applied_once_with_its_ledger_and_taken_back_by_the_files_of_then() {
        let place = Place::new("m_once");
        place.three();
        // A name that no other test's writes have.
        let step = || place.step(json!({ "table": "once_ledger" }));
        let Observation::Differs(changes) = place.bench.observe::<Migrate>(step()).await else { panic!() };
        let planned: Vec<String> = changes.iter().map(|c| format!("{}: {}", c.field, c.new)).collect();
        let expected =
            ["applied (can be taken back)", "applied (can be taken back)", "applied (can be taken back, outside of a transaction)"];
        assert_eq!(
            planned,
            ["001_users", "002_mail", "003_index"].iter().zip(expected).map(|(n, e)| format!("{n}: \"{e}\"")).collect::<Vec<_>>()
        );
        assert_eq!(place.ask("SELECT to_regclass('once_ledger') IS NULL"), "t", "the plan wrote nothing");
        let (out, acted) = place.bench.run::<Migrate>(step()).await.unwrap();
        assert_eq!((out.applied.join(" ").as_str(), out.version, acted), ("001_users 002_mail 003_index", 3, true));
        assert_eq!(place.ask("SELECT string_agg(name, ' ' ORDER BY version) FROM once_ledger"), "001_users 002_mail 003_index");
        assert_eq!(place.ask("SELECT DISTINCT run || ' ' || step FROM once_ledger"), "0123456789ab step");
        let before = writes(&place.server, "once_ledger");
        let (out, acted) = place.bench.run::<Migrate>(step()).await.unwrap();
        assert_eq!((out.applied.len(), out.version, acted), (0, 3, false));
        assert_eq!(writes(&place.server, "once_ledger"), before);
        std::fs::remove_dir_all(place.bench.path("migrations")).unwrap();
        place.bench.undo::<Migrate>().await.unwrap();
        assert_eq!(place.ask("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0", "the ledger is gone too");
    }

    #[tokio::test]
    async fn a_file_that_fails_leaves_nothing_of_itself_and_tells_its_line() {
        let place = Place::new("m_fails");
        place.three();
        place.file("002_mail", "ALTER TABLE users ADD mail text;\n\nSELECT nothing;\n");
        let wrong = place.run().await.unwrap_err();
        assert!(wrong.starts_with("line 3: cannot run `") && wrong.contains("002_mail.sql") && wrong.contains("42703"), "{wrong}");
        assert_eq!(
            (place.ledger().as_str(), place.ask("SELECT count(*) FROM pg_attribute WHERE attname = 'mail'").as_str()),
            ("001_users", "0")
        );
        place.file("002_mail", "ALTER TABLE users ADD mail text");
        assert_eq!(place.run().await.unwrap().0.applied, ["002_mail", "003_index"]);
        place.bench.undo::<Migrate>().await.unwrap();
        assert_eq!(place.ask("SELECT to_regclass('users') IS NULL"), "t", "what both attempts applied");
    }

    #[tokio::test]
    async fn what_has_no_way_back_is_named_before_anything_is_touched() {
        let place = Place::new("m_forth");
        place.three();
        std::fs::remove_file(place.bench.path("migrations/002_mail.down.sql")).unwrap();
        let Observation::Differs(changes) = place.bench.observe::<Migrate>(place.step(json!({}))).await else { panic!() };
        assert_eq!(changes[1].new, "applied (irreversible)");
        place.run().await.unwrap();
        let wrong = place.bench.undo::<Migrate>().await.unwrap_err();
        assert_eq!(wrong.message, "irreversible, for want of a `.down.sql`: 002_mail; nothing is taken back");
        assert_eq!(place.ledger(), "001_users 002_mail 003_index");
    }

    #[tokio::test]
    async fn what_others_applied_on_top_keeps_ours_in_place() {
        let place = Place::new("m_others");
        place.three();
        place.run().await.unwrap();
        place.ask("INSERT INTO trees_migrations VALUES (4, '004_theirs', 'x', now(), 'other', 'step', 1)");
        let wrong = place.bench.undo::<Migrate>().await.unwrap_err();
        assert_eq!(wrong.message, "`004_theirs` was applied on top by the run other; nothing is taken back");
        let wrong = place.run().await.unwrap_err();
        assert!(wrong.contains("not among the files: 004_theirs"), "{wrong}");
        place.ask("DELETE FROM trees_migrations WHERE version = 4; UPDATE trees_migrations SET run = 'earlier' WHERE version = 1");
        place.bench.undo::<Migrate>().await.unwrap();
        assert_eq!(place.ledger(), "001_users", "only what this run applied, and the ledger with it");
    }

    #[tokio::test]
    async fn of_a_database_that_is_gone_nothing_is_taken_back() {
        let place = Place::new("m_gone");
        place.three();
        place.run().await.unwrap();
        place.server.ask("postgres", "DROP DATABASE m_gone WITH (FORCE)");
        place.bench.undo::<Migrate>().await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_file_is_an_error_that_names_it() {
        let place = Place::new("m_changed");
        place.three();
        place.run().await.unwrap();
        place.file("001_users", "CREATE TABLE users (id bigint)");
        let wrong = place.run().await.unwrap_err();
        assert!(wrong.starts_with("changed since the database has it: `") && wrong.ends_with("001_users.sql`"), "{wrong}");
    }

    #[tokio::test]
    async fn a_file_may_set_what_it_likes_and_the_ledger_is_still_written() {
        let place = Place::new("m_sets");
        place.ask("CREATE ROLE m_sets_role; GRANT CREATE ON SCHEMA public TO m_sets_role");
        place.file(
            "1_a",
            "SELECT set_config('search_path', '', false); SET ROLE m_sets_role; SET statement_timeout = 1; SET statement_timeout = 0",
        );
        place.file("2_b", "CREATE TABLE in_public (a int)");
        place.run().await.unwrap();
        assert_eq!(place.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'in_public' AND schemaname = 'public'"), "postgres");
        assert_eq!(place.ledger(), "1_a 2_b");
    }

    #[tokio::test]
    async fn one_at_a_time_and_who_is_in_the_way_is_named() {
        let place = Place::new("m_lock");
        place.three();
        // The same table, however it is called.
        let key = super::super::Ledger::new("public.trees_migrations").unwrap().key();
        let mut other = place.server.psql("m_lock", &format!("SELECT pg_advisory_lock({key}); SELECT pg_sleep(60)")).spawn().unwrap();
        let held = || {
            place.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = 'm_lock')")
        };
        let begun = Instant::now();
        while held() != "1" {
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
        let wrong = place.bench.run::<Migrate>(place.step(json!({ "wait": "50ms" }))).await.unwrap_err();
        assert!(
            wrong.transient
                && wrong.message.contains("another migration of this database goes on, process ")
                && wrong.message.contains("(psql)"),
            "{}",
            wrong.message
        );
        assert!(place.bench.intents().is_empty());
        other.kill().unwrap();
        other.wait().unwrap();
        place.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'm_lock' AND application_name = 'psql' AND pid <> pg_backend_pid()");
        let second = Bench::new();
        let (first, second) = tokio::join!(place.run(), async {
            std::fs::create_dir_all(second.path("migrations")).unwrap();
            for entry in std::fs::read_dir(place.bench.path("migrations")).unwrap().flatten() {
                std::fs::copy(entry.path(), second.path("migrations").join(entry.file_name())).unwrap();
            }
            second.run::<Migrate>(place.step(json!({}))).await.map_err(|e| e.message)
        });
        let applied = [first.unwrap().0.applied.len(), second.unwrap().0.applied.len()];
        assert!(applied == [3, 0] || applied == [0, 3], "{applied:?}");
    }

    #[tokio::test]
    async fn what_is_broken_off_is_cancelled_at_the_server_and_leaves_nothing() {
        let place = Place::new("m_broken");
        place.file("1_slow", "CREATE TABLE slow (a int); SELECT pg_sleep(600)");
        let running = || {
            place.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = 'm_broken' AND state = 'active' AND query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()")
        };
        for how in ["limit", "cancelled", "dropped"] {
            let step = place.step(if how == "limit" { json!({ "statement_timeout": "300ms" }) } else { json!({}) });
            let bench = Bench::new();
            bench.write("migrations/1_slow.sql", &place.bench.text("migrations/1_slow.sql"));
            let until = async {
                let begun = Instant::now();
                while running() != "1" {
                    assert!(begun.elapsed() < Duration::from_secs(60));
                    tokio::task::yield_now().await;
                }
                bench.cancel();
            };
            match how {
                "limit" => {
                    let wrong = bench.run::<Migrate>(step).await.unwrap_err();
                    assert!(wrong.message.contains("statement timeout") && wrong.transient, "{}", wrong.message);
                }
                "cancelled" => {
                    let (ended, ()) = tokio::join!(bench.run::<Migrate>(step), until);
                    assert!(ended.unwrap_err().message.contains("ended while waiting"));
                }
                _ => {
                    let work = bench.run::<Migrate>(step);
                    tokio::select! { _ = work => panic!("it cannot end"), () = until => {} }
                }
            }
            let begun = Instant::now();
            while running() != "0" {
                assert!(begun.elapsed() < Duration::from_secs(60), "{how}: it still runs");
                tokio::task::yield_now().await;
            }
            assert_eq!(place.ask("SELECT to_regclass('slow') IS NULL"), "t");
        }
        assert_eq!(place.ask("SELECT count(*) FROM trees_migrations"), "0");
    }

    #[tokio::test]
    async fn half_of_a_file_without_a_transaction_is_not_guessed_about() {
        let place = Place::new("m_half");
        place.file("1_half", "-- trees: no transaction\nCREATE TABLE a (a int);\nCREATE TABLE\n  a (b int);");
        let wrong = place.run().await.unwrap_err();
        assert!(wrong.starts_with("line 3: ") && wrong.ends_with("; the 1 before it in the file stay done"), "{wrong}");
        let wrong = place.run().await.unwrap_err();
        assert!(wrong.contains("`1_half` was begun by the run 0123456789ab outside of a transaction"), "{wrong}");
        let wrong = place.bench.undo::<Migrate>().await.unwrap_err();
        assert!(wrong.message.contains("nobody knows how far it came: 1_half; nothing is taken back"), "{}", wrong.message);
        place.file("1_half", "-- trees: no transaction, repeatable\nCREATE TABLE IF NOT EXISTS a (a int)");
        assert_eq!(place.run().await.unwrap().0.applied, ["1_half"]);
        place.file("2_none", "-- trees: no transaction\nSELECT 1/0");
        assert!(place.run().await.unwrap_err().contains("22012"));
        assert_eq!(place.ask("SELECT count(*) FROM trees_migrations"), "1", "nothing of it was done");
    }

    #[tokio::test]
    async fn killed_at_any_moment_the_next_attempt_settles_it() {
        let place = Place::new("m_killed");
        place.three();
        // Without a transaction only where it may be run again.
        place.file("003_index", "-- trees: no transaction, repeatable\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i1 ON users (mail)");
        place.file("003_index.down", "DROP INDEX IF EXISTS i1");
        let mut times = 1;
        loop {
            let bench = Bench::new();
            for entry in std::fs::read_dir(place.bench.path("migrations")).unwrap().flatten() {
                bench.write(&format!("migrations/{}", entry.file_name().display()), &std::fs::read_to_string(entry.path()).unwrap());
            }
            let ended = killed_after(times, bench.run::<Migrate>(place.step(json!({})))).await.is_some();
            let half = times % 2 == 0 && bench.undo::<Migrate>().await.is_err_and(|e| e.message.contains("nobody knows how far"));
            if half || times % 2 == 1 {
                bench.run::<Migrate>(place.step(json!({}))).await.unwrap();
                assert_eq!(place.ledger(), "001_users 002_mail 003_index", "after {times}");
                assert_eq!(place.ask("SELECT count(*) FROM users"), "1", "once, after {times}");
            }
            bench.undo::<Migrate>().await.unwrap();
            assert_eq!(place.ask("SELECT to_regclass('users') IS NULL AND to_regclass('trees_migrations') IS NULL"), "t", "after {times}");
            if ended {
                break;
            }
            times += 3;
        }
        assert!(times > 20);
    }

    #[tokio::test]
    async fn a_way_back_that_was_killed_half_way_is_told_and_not_run_again() {
        let place = Place::new("m_back");
        place.three();
        place.file("003_index.down", "-- trees: no transaction\nDROP INDEX CONCURRENTLY i1;\nDROP INDEX CONCURRENTLY i2");
        let (mut times, mut told) = (1, 0);
        loop {
            let bench = Bench::new();
            for entry in std::fs::read_dir(place.bench.path("migrations")).unwrap().flatten() {
                bench.write(&format!("migrations/{}", entry.file_name().display()), &std::fs::read_to_string(entry.path()).unwrap());
            }
            bench.run::<Migrate>(place.step(json!({}))).await.unwrap();
            let ended = killed_after(times, bench.undo::<Migrate>()).await.is_some();
            if let Err(wrong) = bench.undo::<Migrate>().await {
                assert!(wrong.message.contains("nobody knows how far it came: 003_index; nothing"), "after {times}: {}", wrong.message);
                told += 1;
                place.ask("DROP INDEX IF EXISTS i1, i2; DELETE FROM trees_migrations WHERE version = 3");
                bench.undo::<Migrate>().await.unwrap();
            }
            assert_eq!(place.ask("SELECT to_regclass('users') IS NULL AND to_regclass('trees_migrations') IS NULL"), "t", "after {times}");
            if ended {
                break;
            }
            times += 2;
        }
        assert!(told > 1, "{told} of {times}");
    }

    #[tokio::test]
    async fn a_way_back_of_which_nothing_was_done_leaves_the_ledger_as_it_was() {
        let place = Place::new("m_refused");
        place.file("1_a", "CREATE TABLE a (a int)");
        place.file("1_a.down", "-- trees: no transaction\nDROP TABLE b;\nDROP TABLE a");
        place.run().await.unwrap();
        let ledger = || place.ask("SELECT took_ms IS NOT NULL, applied_at, took_ms, sha256 FROM trees_migrations");
        let before = ledger();
        for _ in 0..2 {
            let wrong = place.bench.undo::<Migrate>().await.unwrap_err().message;
            assert!(wrong.starts_with("line 2: ") && wrong.contains("42P01"), "{wrong}");
            assert!(before.starts_with('t') && ledger() == before, "{before}: {}", ledger());
        }
        place.ask("CREATE TABLE b (b int)");
        place.bench.undo::<Migrate>().await.unwrap();
        assert_eq!(place.ask("SELECT to_regclass('a') IS NULL AND to_regclass('trees_migrations') IS NULL"), "t");
    }

    #[tokio::test]
    async fn a_file_may_take_as_long_as_all_its_statements() {
        let place = Place::new("m_long");
        place.file("1_long", &"SELECT pg_sleep(1.7);\n".repeat(5));
        let (out, _) = place.bench.run::<Migrate>(place.step(json!({ "statement_timeout": "3s" }))).await.unwrap();
        assert_eq!(out.applied, ["1_long"]);
    }

    #[tokio::test]
    async fn wrong_credentials_are_named_and_nothing_is_recorded() {
        let place = Place { bench: Bench::knowing("canary-wrong"), ..Place::new("m_wrong") };
        place.three();
        let step = |password: &str| place.step(json!({ "password": password }));
        let wrong = place.bench.run::<Migrate>(step("canary-wrong")).await.unwrap_err();
        assert!(!wrong.transient && wrong.message.contains("28P01") && !wrong.message.contains("canary"), "{}", wrong.message);
        assert!(wrong.help.unwrap().contains("password") && place.bench.intents().is_empty());
        assert_eq!(place.ask("SELECT to_regclass('trees_migrations') IS NULL"), "t");
        place.run().await.unwrap();
        // The password has changed since: the record holds none, and the step's is the wrong one now.
        assert!(place.bench.run::<Migrate>(step("canary-wrong")).await.is_err());
        let wrong = place.bench.undo::<Migrate>().await.unwrap_err();
        assert!(wrong.message.contains("28P01") && !wrong.message.contains("canary"), "{}", wrong.message);
        assert_eq!(place.ledger(), "001_users 002_mail 003_index");
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_yet_is_planned_and_not_migrated() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        bench.write("migrations/1_a.sql", "SELECT 1");
        let step = with(&server, json!({ "database": "m_none", "folder": "migrations" }));
        assert!(matches!(bench.observe::<Migrate>(step.clone()).await, Observation::Absent));
        let wrong = bench.run::<Migrate>(step).await.unwrap_err();
        assert!(wrong.message.contains("3D000") && wrong.help.unwrap().contains("postgres/database"), "{}", wrong.message);
    }
}
