use super::{Database, plain};
use crate::bench::Bench;
use crate::postgres::bench::with;
use serde_json::{Value, json};
use trees_runner::kind::{Kind as _, Observation};
use trees_servers::postgres::PASSWORD;

fn check(input: Value, expected: &[&str]) {
    let wrong = serde_json::from_value(input).map(|with| Database::validate(&with)).unwrap();
    assert_eq!(wrong.len(), expected.len(), "{wrong:?}");
    wrong.iter().zip(expected).for_each(|(wrong, expected)| assert!(wrong.contains(expected), "{expected}: {wrong}"));
}

#[test]
fn what_cannot_be_is_told_without_a_server() {
    check(json!({ "server": "postgres://a@b", "name": "x" }), &[]);
    check(
        json!({ "server": "postgres://b", "name": "", "owner": "", "template": "\0", "extensions": ["x".repeat(64)] }),
        &["server: it names no user", "name: it is empty", "owner: it is empty", "template: it holds", "has 64 bytes"],
    );
    assert_eq!((plain("UTF-8"), plain("C.utf8")), ("utf8".into(), "cutf8".into()));
}

mod with_postgres {
    use super::*;
    use crate::period::Period;
    use crate::postgres::bench::{killed_after, writes};
    use crate::postgres::session::Access;
    use trees_servers::postgres::Postgres;

    fn there(server: &Postgres, name: &str) -> String {
        server.ask("postgres", &format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{name}'"))
    }

    #[tokio::test]
    async fn made_once_then_left_alone_and_taken_back() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        let step = || with(&server, json!({ "name": "d_made", "encoding": "utf-8", "locale": "C", "extensions": ["plpgsql", "pg_trgm"] }));
        assert!(matches!(bench.observe::<Database>(step()).await, Observation::Absent));
        assert_eq!(writes(&server, "d_made"), 0, "observing writes nothing");
        let (out, acted) = bench.run::<Database>(step()).await.unwrap();
        assert_eq!((out.owner.as_str(), out.encoding.as_str(), acted), ("postgres", "UTF8", true));
        let comment = server.ask("postgres", "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'd_made'");
        assert_eq!(comment, "trees:proof run 0123456789ab");
        let before = writes(&server, "d_made");
        assert!(before > 0 && !bench.run::<Database>(step()).await.unwrap().1);
        assert_eq!(writes(&server, "d_made"), before, "nothing is written the second time");
        bench.undo::<Database>().await.unwrap();
        assert_eq!(there(&server, "d_made"), "");
        assert_eq!(
            server.ask(
                "postgres",
                "SELECT count(*) FROM pg_database WHERE datname LIKE 'trees\\_%' AND shobj_description(oid, 'pg_database') IS NULL"
            ),
            "0"
        );
    }

    #[tokio::test]
    async fn what_was_changed_by_hand_is_found_and_put_right_and_back() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        for statement in ["CREATE ROLE d_hand_1", "CREATE ROLE d_hand_2", "CREATE DATABASE d_hand OWNER d_hand_1"] {
            server.ask("postgres", statement);
        }
        let step = || with(&server, json!({ "name": "d_hand", "owner": "d_hand_2", "extensions": ["pg_trgm"] }));
        assert_eq!(bench.drift::<Database>(step()).await, ["owner", "extensions.pg_trgm"]);
        bench.run::<Database>(step()).await.unwrap();
        assert_eq!(bench.drift::<Database>(step()).await, Vec::<String>::new());
        server.ask("postgres", "ALTER DATABASE d_hand OWNER TO postgres");
        assert_eq!(bench.drift::<Database>(step()).await, ["owner"]);
        bench.undo::<Database>().await.unwrap();
        assert_eq!(there(&server, "d_hand"), "postgres", "somebody else's change stays");
        assert_eq!(server.ask("d_hand", "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'"), "0");
        server.ask("postgres", "ALTER DATABASE d_hand OWNER TO d_hand_1");
        bench.run::<Database>(step()).await.unwrap();
        bench.undo::<Database>().await.unwrap();
        assert_eq!(there(&server, "d_hand"), "d_hand_1");
        assert_eq!(server.ask("d_hand", "SELECT string_agg(extname, ' ') FROM pg_extension"), "plpgsql");
    }

    #[tokio::test]
    async fn an_extension_that_somebody_else_installed_or_uses_stays() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        server.ask("postgres", "CREATE DATABASE d_ext");
        bench.run::<Database>(with(&server, json!({ "name": "d_ext", "extensions": ["citext"] }))).await.unwrap();
        server.ask("d_ext", "CREATE TABLE t (c citext)");
        let wrong = bench.undo::<Database>().await.unwrap_err();
        assert!(wrong.message.contains("cannot remove the extension `citext`") && wrong.message.contains("2BP01"), "{}", wrong.message);
        server.ask("d_ext", "DROP TABLE t; DROP EXTENSION citext; CREATE EXTENSION citext");
        bench.undo::<Database>().await.unwrap();
        assert_eq!(server.ask("d_ext", "SELECT count(*) FROM pg_extension WHERE extname = 'citext'"), "1", "it is not ours");
    }

    #[tokio::test]
    async fn a_database_that_is_not_empty_stays_unless_told_otherwise() {
        let server = Postgres::shared();
        for (how, expected) in [("empty", "stays"), ("always", "goes"), ("never", "kept")] {
            let (bench, name) = (Bench::new(), format!("d_full_{how}"));
            let step = with(&server, json!({ "name": name, "drop_on_undo": how, "extensions": ["pg_trgm"] }));
            bench.run::<Database>(step).await.unwrap();
            server.ask(&name, "CREATE TABLE \"of others\" (a int)");
            let undone = bench.undo::<Database>().await;
            match expected {
                "stays" => {
                    let message = undone.unwrap_err().message;
                    assert!(message.contains("is not empty (1: public.\"of others\"): it is left alone"), "{message}");
                    server.ask(&name, "DROP TABLE \"of others\"");
                    bench.undo::<Database>().await.unwrap();
                    assert_eq!(there(&server, &name), "");
                }
                "goes" => assert_eq!((undone.map_err(|e| e.message), there(&server, &name).as_str()), (Ok(()), "")),
                _ => assert_eq!((undone.map_err(|e| e.message), there(&server, &name).as_str()), (Ok(()), "postgres")),
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_ours_is_left_alone() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        let step = |extra| {
            let mut step = with(&server, json!({ "name": "d_theirs" }));
            step.as_object_mut().unwrap().extend(Value::as_object(&extra).unwrap().clone());
            step
        };
        bench.run::<Database>(step(json!({}))).await.unwrap();
        for statement in ["DROP DATABASE d_theirs", "CREATE DATABASE d_theirs", "COMMENT ON DATABASE d_theirs IS 'trees:other/prod run 1'"]
        {
            server.ask("postgres", statement);
        }
        bench.undo::<Database>().await.unwrap();
        assert_eq!(there(&server, "d_theirs"), "postgres", "another database by that name");
        let wrong = bench.run::<Database>(step(json!({ "extensions": ["pg_trgm"] }))).await.unwrap_err();
        assert!(wrong.message.contains("belongs to `trees:other/prod`, not to `trees:proof`"), "{}", wrong.message);
        let Observation::Differs(changes) = bench.observe::<Database>(step(json!({ "encoding": "LATIN1" }))).await else { panic!() };
        assert_eq!((changes[0].field.as_str(), changes[0].owner.as_deref()), ("encoding", Some("trees:other/prod")));
        server.ask("postgres", "COMMENT ON DATABASE d_theirs IS NULL");
        let wrong = bench.run::<Database>(step(json!({ "encoding": "LATIN1" }))).await.unwrap_err();
        assert_eq!(wrong.message, "the database `d_theirs` has the encoding \"UTF8\", not \"LATIN1\"; that cannot be changed");
    }

    #[tokio::test]
    async fn killed_at_any_moment_the_next_attempt_settles_it() {
        let server = Postgres::shared();
        let step = || with(&server, json!({ "name": "d_killed", "extensions": ["pg_trgm"] }));
        let mut times = 1;
        loop {
            let bench = Bench::new();
            let ended = killed_after(times, bench.run::<Database>(step())).await.is_some();
            if times % 2 == 1 {
                bench.run::<Database>(step()).await.unwrap();
                assert_eq!(there(&server, "d_killed"), "postgres");
            }
            bench.undo::<Database>().await.unwrap();
            assert_eq!(there(&server, "d_killed"), "", "after {times}");
            if ended {
                break;
            }
            times += 3;
        }
        assert!(times > 10);
    }

    #[tokio::test]
    async fn what_an_attempt_that_was_killed_still_does_is_waited_for() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        let access = Access::of(&server.url(), Some(PASSWORD), Period::seconds(30), &bench.read()).unwrap();
        let other = access.at("postgres").write(&bench.cx()).await.unwrap();
        other.alone("the database `d_wait`").await.unwrap();
        let step = |timeout: &str| with(&server, json!({ "name": "d_wait", "timeout": timeout }));
        let wrong = bench.run::<Database>(step("300ms")).await.unwrap_err();
        assert!(
            wrong.transient && wrong.message.starts_with("cannot wait for what another attempt does to the database `d_wait`"),
            "{}",
            wrong.message
        );
        assert!(bench.intents().is_empty());
        other.close().await;
        bench.run::<Database>(step("30s")).await.unwrap();
        bench.undo::<Database>().await.unwrap();
    }

    #[tokio::test]
    async fn who_is_not_let_in_hears_why_and_no_password_is_shown() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        let mut step = with(&server, json!({ "name": "d_wrong" }));
        step["password"] = json!("canary-wrong");
        let wrong = bench.run::<Database>(step.clone()).await.unwrap_err();
        assert!(
            wrong.message.contains("password authentication failed") && wrong.message.contains("28P01") && !wrong.transient,
            "{}",
            wrong.message
        );
        assert!(!wrong.message.contains("canary") && wrong.help.unwrap().contains("`password` right"));
        step["password"] = json!(null);
        let wrong = bench.run::<Database>(step.clone()).await.unwrap_err();
        assert!(wrong.message.contains("asks for a password, and there is none"), "{}", wrong.message);
        step["server"] = json!(format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}", server.port));
        assert!(matches!(bench.observe::<Database>(step).await, Observation::Absent));
        assert!(bench.intents().is_empty());
        bench.fill();
        assert_eq!(bench.run::<Database>(with(&server, json!({ "name": "d_wrong" }))).await.unwrap_err().message, "the journal is full");
        assert_eq!(there(&server, "d_wrong"), "");
    }
}
