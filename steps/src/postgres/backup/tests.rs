use super::{Backup, major};
use serde_json::{Value, json};
use trees_runner::kind::Kind as _;

fn check(input: Value, expected: &[&str]) {
    let wrong = serde_json::from_value(input).map(|with| Backup::validate(&with)).unwrap();
    assert_eq!(wrong.len(), expected.len(), "{wrong:?}");
    wrong.iter().zip(expected).for_each(|(wrong, expected)| assert!(wrong.contains(expected), "{expected}: {wrong}"));
}

#[test]
fn what_cannot_be_is_told_without_a_server() {
    check(json!({ "server": "postgres://a@b/c", "folder": "b", "release": "v1.2_3-4" }), &[]);
    check(
        json!({ "server": "postgres://a@b", "folder": "b", "release": "a/b", "keep": 0 }),
        &["names no database", "release: `a/b` cannot", "keep: at least 1"],
    );
    assert_eq!(major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0)\n"), Some(15));
    assert_eq!(major("pg_dump (PostgreSQL) 17beta1"), Some(17));
    assert_eq!(major("pg_dump 9.6"), None);
}

mod with_postgres {
    use super::*;
    use crate::bench::Bench;
    use crate::postgres::bench::{killed_after, with, writes};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;
    use trees_runner::kind::Observation;
    use trees_servers::postgres::{PASSWORD, Postgres};

    fn names(bench: &Bench) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(bench.path("backups")).into_iter().flatten().flatten().map(|e| e.file_name().display().to_string()).collect();
        names.sort();
        names
    }

    fn filled(server: &Postgres, database: &str) {
        server.ask("postgres", &format!("CREATE DATABASE {database}"));
        server.ask(
            database,
            "CREATE TABLE t (id int PRIMARY KEY, word text); INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 1000) n",
        );
    }

    const SUM: &str = "SELECT count(*) || ' ' || md5(string_agg(id || word, ',' ORDER BY id)) FROM t";

    #[tokio::test]
    async fn a_backup_can_be_restored_and_stays_after_a_rollback() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        filled(&server, "b_drill");
        let step = with(&server, json!({ "database": "b_drill", "folder": "backups" }));
        let (out, _) = bench.run::<Backup>(step.clone()).await.unwrap();
        assert!(out.server_version.starts_with("1") && out.size > 1000);
        let meta = fs::metadata(&out.path).unwrap();
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (out.size, 0o600));
        assert!(out.path.contains("/backups/b_drill-2") && out.path.ends_with("-0123456789ab.dump"), "{}", out.path);
        server.ask("postgres", "CREATE DATABASE b_restored");
        let mut restore = Command::new("pg_restore");
        restore.args(["-h", "127.0.0.1", "-U", "postgres", "-d", "b_restored", "-p", &server.port.to_string(), &out.path]);
        assert!(restore.env("PGPASSWORD", PASSWORD).status().unwrap().success());
        assert_eq!(server.ask("b_restored", SUM), server.ask("b_drill", SUM));
        let (again, _) = bench.run::<Backup>(step).await.unwrap();
        assert_eq!((again, names(&bench).len()), (out.clone(), 2), "the same run, the same step: the same backup");
        bench.undo::<Backup>().await.unwrap();
        assert_eq!(names(&bench).len(), 2);
        fs::write(&out.path, "broken").unwrap();
        let wrong = Backup::verify(
            &serde_json::from_value(with(&server, json!({ "database": "b_drill", "folder": "backups" }))).unwrap(),
            &out,
            &bench.read(),
        )
        .await
        .unwrap_err();
        assert!(wrong.message.contains("is not what was written"), "{}", wrong.message);
    }

    #[tokio::test]
    async fn of_a_release_there_is_one() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        filled(&server, "b_release");
        let step = with(&server, json!({ "database": "b_release", "folder": "backups", "release": "v1" }));
        assert!(matches!(bench.observe::<Backup>(step.clone()).await, Observation::Absent));
        let (out, acted) = bench.run::<Backup>(step.clone()).await.unwrap();
        assert!(acted && out.path.ends_with("/b_release-v1.dump"));
        assert!(!bench.run::<Backup>(step.clone()).await.unwrap().1);
        fs::write(&out.path, "damaged").unwrap();
        assert_eq!(bench.drift::<Backup>(step.clone()).await, ["sha256"]);
        assert!(bench.run::<Backup>(step.clone()).await.unwrap().1);
        fs::remove_file(bench.path("backups/b_release-v1.dump.json")).unwrap();
        let wrong = bench.run::<Backup>(step.clone()).await.unwrap_err();
        assert!(wrong.message.contains("was not made by this step"), "{}", wrong.message);
        assert_eq!(names(&bench), ["b_release-v1.dump"]);
        let mut step = step;
        step.as_object_mut().unwrap().remove("release");
        let unknown = bench.drift::<Backup>(step).await;
        assert_eq!(unknown, ["anew"]);
    }

    #[tokio::test]
    async fn older_ones_of_the_same_database_go_and_nothing_else() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        filled(&server, "b_keep");
        let step = |release: &str| with(&server, json!({ "database": "b_keep", "folder": "backups", "release": release, "keep": 2 }));
        bench.write("backups/b_keep-v0.dump", "somebody's");
        for release in ["v1", "v2", "v3"] {
            let with = serde_json::from_value(step(release)).unwrap();
            let cx = trees_runner::kind::Cx { idempotency_key: release.into(), ..bench.cx() };
            Backup::apply(&with, &cx).await.unwrap();
        }
        let left = ["b_keep-v0.dump", "b_keep-v2.dump", "b_keep-v2.dump.json", "b_keep-v3.dump", "b_keep-v3.dump.json"];
        assert_eq!(names(&bench), left);
        // An attempt that was killed before it came to that: the next one does it.
        let mut one = step("v3");
        one["keep"] = json!(1);
        let cx = trees_runner::kind::Cx { idempotency_key: "v3".into(), ..bench.cx() };
        Backup::apply(&serde_json::from_value(one).unwrap(), &cx).await.unwrap();
        assert_eq!(names(&bench), ["b_keep-v0.dump", "b_keep-v3.dump", "b_keep-v3.dump.json"]);
    }

    #[tokio::test]
    async fn a_plan_names_what_would_go_and_writes_nothing() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        filled(&server, "b_plan");
        let step = |extra: Value| {
            let mut step = with(&server, json!({ "database": "b_plan", "folder": "backups" }));
            step.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            step
        };
        let log = writes(&server, "b_plan");
        assert_eq!(bench.drift::<Backup>(step(json!({ "keep": 1 }))).await, ["anew"]);
        assert_eq!(bench.drift::<Backup>(step(json!({ "release": "v1", "keep": 1 }))).await, ["absent"]);
        assert!(!bench.path("backups").exists() && writes(&server, "b_plan") == log);
        for release in ["v1", "v2"] {
            let cx = trees_runner::kind::Cx { idempotency_key: release.into(), ..bench.cx() };
            Backup::apply(&serde_json::from_value(step(json!({ "release": release }))).unwrap(), &cx).await.unwrap();
        }
        bench.write("backups/theirs.dump", "somebody's");
        let (before, log_before) = (names(&bench), writes(&server, "b_plan"));
        for (extra, expected) in [
            (json!({ "keep": 3 }), vec!["anew"]),
            (json!({ "keep": 2 }), vec!["anew", "b_plan-v1.dump"]),
            (json!({ "keep": 1 }), vec!["anew", "b_plan-v2.dump", "b_plan-v1.dump"]),
            (json!({ "release": "v3" }), vec!["absent"]),
            (json!({ "release": "v3", "keep": 3 }), vec!["absent"]),
            (json!({ "release": "v3", "keep": 2 }), vec!["b_plan-v3.dump", "b_plan-v1.dump"]),
            (json!({ "release": "v1", "keep": 1 }), vec![]),
        ] {
            assert_eq!(bench.drift::<Backup>(step(extra.clone())).await, expected, "{extra}");
        }
        let Observation::Differs(changes) = bench.observe::<Backup>(step(json!({ "release": "v3", "keep": 2 }))).await else { panic!() };
        assert_eq!((&changes[1].new, changes[1].owner.as_deref()), (&json!("removed"), Some("trees:proof")));
        assert_eq!((names(&bench), writes(&server, "b_plan")), (before, log_before));
        // The backup of another release goes by number alone, as it was planned.
        let cx = trees_runner::kind::Cx { idempotency_key: "v3".into(), ..bench.cx() };
        Backup::apply(&serde_json::from_value(step(json!({ "release": "v3", "keep": 2 }))).unwrap(), &cx).await.unwrap();
        let dumps: Vec<String> = names(&bench).into_iter().filter(|name| name.ends_with(".dump")).collect();
        assert_eq!(dumps, ["b_plan-v2.dump", "b_plan-v3.dump", "theirs.dump"]);
    }

    #[tokio::test]
    async fn killed_at_any_moment_there_is_no_half_backup_by_that_name() {
        let server = Postgres::shared();
        filled(&server, "b_killed");
        let mut times = 1;
        loop {
            let bench = Bench::new();
            let step = || with(&server, json!({ "database": "b_killed", "folder": "backups" }));
            let ended = killed_after(times, bench.run::<Backup>(step())).await.is_some();
            if times % 2 == 0 {
                bench.undo::<Backup>().await.unwrap();
                assert!(names(&bench).iter().all(|name| !name.starts_with('.')), "{:?}", names(&bench));
            } else {
                let (out, _) = bench.run::<Backup>(step()).await.unwrap();
                assert!(out.size > 1000 && names(&bench).iter().filter(|name| name.ends_with(".dump")).count() == 1);
            }
            if ended {
                break;
            }
            times += 3;
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_and_leaves_no_file() {
        let (server, bench) = (Postgres::shared(), Bench::knowing("canary-wrong"));
        filled(&server, "b_wrong");
        let step = |extra: Value| {
            let mut step = with(&server, json!({ "database": "b_wrong", "folder": "backups" }));
            step.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            step
        };
        let tool = |name: &str, text: &str| {
            bench.write(&format!("bin/{name}"), text);
            fs::set_permissions(bench.path(format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let check = async |extra: Value, expected: &str| {
            let wrong = bench.run::<Backup>(step(extra)).await.map(|_| ()).unwrap_err();
            assert!(wrong.message.contains(expected) && !wrong.message.contains("canary"), "{expected}: {}", wrong.message);
            assert_eq!(names(&bench), Vec::<String>::new());
        };
        check(json!({ "password": "canary-wrong" }), "28P01").await;
        check(json!({ "database": "b_none" }), "3D000").await;
        check(json!({ "bin": "nowhere" }), "cannot start `").await;
        tool("pg_dump", "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.2'\n");
        check(json!({ "bin": "bin" }), "is of PostgreSQL 9 and cannot dump a server of 15").await;
        tool("pg_dump", "#!/bin/sh\necho nonsense\n");
        check(json!({ "bin": "bin" }), "says `nonsense`, which is no version").await;
        let version = "[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 99.1' && exit\n";
        tool("pg_dump", &format!("#!/bin/sh\n{version}echo \"no: $PGPASSWORD $*\" | tr -d '\\n' >&2; exit 3\n"));
        check(json!({ "bin": "bin", "password": PASSWORD }), "exited with 3: no: ").await;
        tool("pg_dump", &format!("#!/bin/sh\n{version}for a; do case $a in --file=*) echo half > \"${{a#--file=}}\";; esac; done\n"));
        std::os::unix::fs::symlink("/usr/bin/pg_restore", bench.path("bin/pg_restore")).unwrap();
        check(json!({ "bin": "bin" }), "cannot read the backup that was just made").await;
        tool("pg_dump", &format!("#!/bin/sh\n{version}exec sleep 600\n"));
        check(json!({ "bin": "bin", "dump_timeout": "300ms" }), "took longer than 300ms").await;
    }

    #[tokio::test]
    async fn the_password_stands_in_no_argument() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        filled(&server, "b_args");
        bench.write(
            "bin/pg_dump",
            "#!/bin/sh\n[ \"$1\" = --version ] || tr '\\0' ' ' < /proc/$$/cmdline > \"$HOME/args\"\nexec /usr/bin/pg_dump \"$@\"\n",
        );
        fs::set_permissions(bench.path("bin/pg_dump"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/usr/bin/pg_restore", bench.path("bin/pg_restore")).unwrap();
        bench.run::<Backup>(with(&server, json!({ "database": "b_args", "folder": "backups", "bin": "bin" }))).await.unwrap();
        let args = fs::read_to_string(bench.path("../home/args")).unwrap();
        assert!(args.contains("--no-password") && !args.contains(PASSWORD), "{args}");
    }
}
