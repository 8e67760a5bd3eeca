use super::Role;
use serde_json::{Value, json};
use trees_runner::kind::Kind as _;

fn check(input: Value, expected: &[&str]) {
    let wrong = serde_json::from_value(input).map(|with| Role::validate(&with)).unwrap();
    assert_eq!(wrong.len(), expected.len(), "{wrong:?}");
    wrong.iter().zip(expected).for_each(|(wrong, expected)| assert!(wrong.contains(expected), "{expected}: {wrong}"));
}

#[test]
fn what_cannot_be_is_told_without_a_server() {
    check(json!({ "server": "postgres://a@b", "name": "x", "grants": { "d": ["connect", "create", "temporary"] } }), &[]);
    check(
        json!({ "server": "x", "name": "pg_x", "role_password": "", "connection_limit": -2, "member_of": [""], "grants": { "": [] } }),
        &[
            "server: write postgres://",
            "member_of: it is empty",
            "grants: it is empty",
            "`pg_` are PostgreSQL's",
            "at least -1",
            "role_password: it is empty",
        ],
    );
    assert!(serde_json::from_value::<super::With>(json!({ "server": "x", "name": "x", "superuser": true })).is_err());
}

mod with_postgres {
    use super::*;
    use crate::bench::Bench;
    use crate::postgres::bench::{killed_after, with, writes};
    use trees_runner::kind::Observation;
    use trees_servers::postgres::{PASSWORD, Postgres};

    const SECRET: &str = "role-canary-1";

    fn attributes(server: &Postgres, name: &str) -> String {
        server.ask(
            "postgres",
            &format!("SELECT rolcanlogin, rolcreatedb, rolcreaterole, rolconnlimit FROM pg_roles WHERE rolname = '{name}'"),
        )
    }

    async fn verify(bench: &Bench, with: Value) -> Result<(), String> {
        let out = super::super::Out { name: String::new(), login: true };
        Role::verify(&serde_json::from_value(with).unwrap(), &out, &bench.read()).await.map_err(|e| e.message)
    }

    fn login(server: &Postgres, name: &str, password: &str) -> bool {
        let mut psql = server.psql("postgres", "SELECT 1");
        psql.env("PGPASSWORD", password).args(["-U", name]).output().unwrap().status.success()
    }

    #[tokio::test]
    async fn made_once_with_a_password_that_is_never_shown() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        let step = |password: &str| {
            let fields = json!({
                "name": "r_made", "role_password": password, "createdb": true, "connection_limit": 3,
                "member_of": ["pg_monitor"], "grants": { "postgres": ["create", "connect"] },
            });
            with(&server, fields)
        };
        assert!(matches!(bench.observe::<Role>(step(SECRET)).await, Observation::Absent));
        assert_eq!(writes(&server, "r_made"), 0);
        assert!(bench.run::<Role>(step(SECRET)).await.unwrap().1);
        assert_eq!(attributes(&server, "r_made"), "t|t|f|3");
        assert!(login(&server, "r_made", SECRET) && !login(&server, "r_made", "other"));
        let before = writes(&server, "r_made");
        assert!(!bench.run::<Role>(step(SECRET)).await.unwrap().1);
        assert_eq!((writes(&server, "r_made"), bench.drift::<Role>(step("another-1")).await), (before, vec!["role_password".to_owned()]));
        assert!(!server.logged().contains(SECRET) && server.logged().contains("SCRAM-SHA-256$4096:"));
        assert!(!format!("{:?}", bench.intents()).contains(SECRET));
        bench.undo::<Role>().await.unwrap();
        assert_eq!(attributes(&server, "r_made"), "");
    }

    #[tokio::test]
    async fn what_was_changed_by_hand_is_found_and_all_comes_back() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        server.ask("postgres", "CREATE ROLE r_hand LOGIN CREATEDB PASSWORD 'old-1'");
        let fields = json!({
            "name": "r_hand", "role_password": SECRET, "createdb": false, "createrole": true, "connection_limit": 5,
            "member_of": ["pg_monitor"], "grants": { "postgres": ["create"] },
        });
        let step = || with(&server, fields.clone());
        let all = ["createdb", "createrole", "connection_limit", "member_of.pg_monitor", "grants.postgres.create", "role_password"];
        assert_eq!(bench.drift::<Role>(step()).await, all);
        bench.run::<Role>(step()).await.unwrap();
        assert_eq!((attributes(&server, "r_hand").as_str(), login(&server, "r_hand", SECRET)), ("t|f|t|5", true));
        assert!(!format!("{:?}", bench.intents()).contains("SCRAM-SHA"), "no verifier in a record");
        bench.undo::<Role>().await.unwrap();
        assert_eq!((attributes(&server, "r_hand").as_str(), login(&server, "r_hand", "old-1")), ("t|t|f|-1", true));
        assert_eq!(bench.drift::<Role>(step()).await, all);
        bench.run::<Role>(step()).await.unwrap();
        server.ask("postgres", "ALTER ROLE r_hand CONNECTION LIMIT 9 PASSWORD 'by-hand-1'");
        bench.undo::<Role>().await.unwrap();
        assert_eq!((attributes(&server, "r_hand").as_str(), login(&server, "r_hand", "by-hand-1")), ("t|t|f|9", true));
    }

    #[tokio::test]
    async fn who_may_not_read_passwords_logs_in_to_compare_and_says_what_cannot_come_back() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        server.ask("postgres", "CREATE ROLE r_chief LOGIN CREATEROLE PASSWORD 'chief-1'; CREATE ROLE r_plain LOGIN PASSWORD 'old-1'");
        let step = |password: &str| {
            let mut step = with(&server, json!({ "name": "r_plain", "role_password": password }));
            step["server"] = json!(format!("postgres://r_chief@127.0.0.1:{}", server.port));
            step["password"] = json!("chief-1");
            step
        };
        assert_eq!(bench.drift::<Role>(step("old-1")).await, Vec::<String>::new());
        assert_eq!(bench.drift::<Role>(step(SECRET)).await, ["role_password"]);
        bench.run::<Role>(step(SECRET)).await.unwrap();
        assert!(login(&server, "r_plain", SECRET));
        let wrong = bench.undo::<Role>().await.unwrap_err();
        assert!(wrong.message.contains("stays the one that this step set") && wrong.message.contains("`r_chief`"), "{}", wrong.message);
        server.ask("postgres", "ALTER ROLE r_plain PASSWORD 'old-1'");
        bench.undo::<Role>().await.unwrap();
        server.ask("postgres", "ALTER ROLE r_plain NOLOGIN");
        let unknown = bench.drift::<Role>(step("old-1")).await;
        assert!(unknown[0].starts_with("unknown: the role may not log in"), "{unknown:?}");
        verify(&bench, step("old-1")).await.unwrap();
        assert!(bench.run::<Role>(step("old-1")).await.unwrap().1);
        let told = bench.logged();
        assert!(told.last().unwrap().starts_with("the password of the role `r_plain` is not verified: the role may not"), "{told:?}");
        // What else is wanted is verified none the less.
        let mut more = step("old-1");
        more["createdb"] = json!(true);
        let wrong = verify(&bench, more).await.unwrap_err();
        assert!(wrong.contains("differs: createdb: false instead of true"), "{wrong}");
    }

    #[tokio::test]
    async fn what_may_be_read_and_is_not_known_is_not_verified() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        server.ask("postgres", "CREATE ROLE r_odd LOGIN; UPDATE pg_authid SET rolpassword = 'odd' WHERE rolname = 'r_odd'");
        let step = || with(&server, json!({ "name": "r_odd", "role_password": SECRET }));
        let wrong = verify(&bench, step()).await.unwrap_err();
        assert!(wrong.starts_with("the role `r_odd` cannot be verified: what the server keeps"), "{wrong}");
        bench.run::<Role>(step()).await.unwrap();
        verify(&bench, step()).await.unwrap();
        assert!(bench.logged().iter().all(|line| !line.contains("not verified")));
    }

    #[tokio::test]
    async fn a_server_that_lets_everybody_in_says_nothing_of_a_password() {
        let (server, bench) = (Postgres::trusting(), Bench::new());
        server.ask("postgres", "CREATE ROLE chief LOGIN CREATEROLE; CREATE ROLE one LOGIN PASSWORD 'one-1'; CREATE ROLE bare LOGIN");
        let step = |user: &str, name: &str, password: &str| json!({ "server": format!("postgres://{user}@127.0.0.1:{}", server.port), "name": name, "role_password": password });
        assert_eq!(bench.drift::<Role>(step("postgres", "one", "one-1")).await, Vec::<String>::new());
        assert_eq!(bench.drift::<Role>(step("postgres", "one", "two-1")).await, ["role_password"]);
        assert_eq!(bench.drift::<Role>(step("postgres", "bare", "two-1")).await, ["role_password"]);
        let unknown = bench.drift::<Role>(step("chief", "one", "one-1")).await;
        assert!(unknown[0].starts_with("unknown: the server lets the role in without a password"), "{unknown:?}");
        assert!(bench.run::<Role>(step("chief", "one", "one-1")).await.unwrap().1);
    }

    #[tokio::test]
    async fn a_role_that_owns_something_or_is_not_ours_stays() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        let step = || with(&server, json!({ "name": "r_owner", "grants": { "postgres": ["create"] } }));
        bench.run::<Role>(step()).await.unwrap();
        server.ask("postgres", "CREATE DATABASE r_owned OWNER r_owner");
        let wrong = bench.undo::<Role>().await.unwrap_err();
        assert!(wrong.message.contains("owner of database r_owned") && wrong.help.is_some(), "{}", wrong.message);
        server.ask("postgres", "DROP DATABASE r_owned");
        server.ask("postgres", "COMMENT ON ROLE r_owner IS 'trees:other run 1'");
        bench.undo::<Role>().await.unwrap();
        assert_eq!(attributes(&server, "r_owner"), "t|f|f|-1");
        let mut more = step();
        more["createdb"] = json!(true);
        let wrong = bench.run::<Role>(more).await.unwrap_err();
        assert!(wrong.message.contains("belongs to `trees:other`"), "{}", wrong.message);
    }

    #[tokio::test]
    async fn killed_at_any_moment_the_next_attempt_settles_it() {
        let server = Postgres::shared();
        server.ask("postgres", "CREATE ROLE r_before LOGIN PASSWORD 'old-1'");
        for name in ["r_killed", "r_before"] {
            let step = || with(&server, json!({ "name": name, "role_password": SECRET, "createdb": true }));
            let mut times = 1;
            loop {
                let bench = Bench::new();
                let ended = killed_after(times, bench.run::<Role>(step())).await.is_some();
                if times % 2 == 1 {
                    bench.run::<Role>(step()).await.unwrap();
                    assert!(login(&server, name, SECRET));
                }
                bench.undo::<Role>().await.unwrap();
                let expected = if name == "r_killed" { "" } else { "t|f|f|-1" };
                assert_eq!(attributes(&server, name), expected, "after {times}");
                assert!(name == "r_killed" || login(&server, name, "old-1"));
                if ended {
                    break;
                }
                times += 3;
            }
        }
    }

    #[tokio::test]
    async fn wrong_credentials_and_a_wrong_database_are_named() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        let mut step = with(&server, json!({ "name": "r_wrong", "role_password": SECRET, "grants": { "nowhere": ["connect"] } }));
        let wrong = bench.run::<Role>(step.clone()).await.unwrap_err();
        assert!(wrong.message.contains("database \"nowhere\" does not exist") && !wrong.message.contains(SECRET), "{}", wrong.message);
        assert_eq!(attributes(&server, "r_wrong"), "", "all or nothing");
        step["password"] = json!("wrong");
        assert!(bench.run::<Role>(step.clone()).await.unwrap_err().message.contains("28P01"));
        step["password"] = json!(null);
        step["server"] = json!(format!("host=127.0.0.1 port={} user=postgres password={PASSWORD}", server.port));
        assert!(matches!(bench.observe::<Role>(step).await, Observation::Absent));
    }
}
