//! The publish cookbook against a real database, name server and nginx: what it does, and what is left after a failure or
//! a kill at each of its steps. Every third step in `./test`, all with `--all`.

pub mod scene;

mod with_nginx {
    mod with_postgres {
        mod with_powerdns {
            use crate::publish::scene::{NODES, Prober, Scene};

            /// The steps that are tried: all, or every third.
            fn some() -> Vec<&'static str> {
                let step = if std::env::var_os("TREES_TEST_ALL").is_some() { 1 } else { 3 };
                NODES.into_iter().step_by(step).collect()
            }

            #[test]
            fn one_build_goes_through_staging_to_production_and_a_second_run_changes_nothing() {
                let scene = Scene::new();
                assert!(scene.plan("v1").expect(10).stdout.contains("stage"));
                scene.run("publish.yaml", "v1").expect(0);
                assert_eq!(scene.version(), "v1");
                assert_eq!(scene.tables(), ["trees_migrations", "visits"]);
                assert_eq!(scene.records()["records"][0]["content"], "127.0.0.1");
                let prober = Prober::start(scene.port);
                scene.run("publish.yaml", "v2").expect(0);
                assert_eq!(prober.versions(), ["v1", "v2"], "no failed request, and never back");
                let staging = scene.release("staging", "demo", "v2");
                let colours = ["demo-blue", "demo-green"].map(|name| scene.release("production", name, "v2"));
                let production = colours.into_iter().find(|files| !files.is_empty()).unwrap_or_default();
                assert!(staging.len() >= 2 && staging == production, "the same bytes: {:?}, {:?}", staging.keys(), production.keys());

                let (before, tables) = (scene.records(), scene.tables());
                scene.plan("v2").expect(0);
                scene.run("publish.yaml", "v2").expect(0);
                assert_eq!((scene.records(), scene.tables()), (before, tables));
                assert_eq!(prober.versions(), ["v2"]);
                let shown = scene.bench.run(&["env", "show", "publish.yaml", "-e", "production", "--format", "json"]).expect(0).json();
                let releases = shown["releases"].as_array().unwrap();
                assert!(releases.len() == 3 && releases.iter().all(|release| release["verified"] == true), "{releases:#?}");
                assert_eq!(scene.betrayed(), Vec::<std::path::PathBuf>::new());
                assert!(prober.asked() > 10);
            }

            #[test]
            fn a_failure_at_any_step_leaves_production_as_it_was() {
                let scene = Scene::new();
                scene.run("publish.yaml", "v1").expect(0);
                let prober = Prober::start(scene.port);
                scene.bench.write("migrations/002_more.sql", "CREATE TABLE more (n int);");
                scene.bench.write("migrations/002_more.down.sql", "DROP TABLE more;");
                let (records, tables) = (scene.records(), scene.tables());
                let mut counts = Vec::new();
                for (at, node) in some().into_iter().enumerate() {
                    let outcome = scene.run(&scene.broken(node), &format!("f{at}"));
                    assert!([1, 4].contains(&outcome.code), "{node}: exit {}\n{}", outcome.code, outcome.stderr);
                    assert!(outcome.stderr.contains(&format!("✗ {node} failed")), "{node}: {}", outcome.stderr);
                    assert_eq!(
                        (scene.version(), scene.records(), scene.tables()),
                        ("v1".into(), records.clone(), tables.clone()),
                        "{node}"
                    );
                    let seen = prober.versions();
                    assert!(seen.last().is_some_and(|last| last == "v1"), "{node}: {seen:?}");
                    counts.push(format!("{node:8} exit {}, production answered {}", outcome.code, seen.join(", ")));
                }
                println!("a failure at each of {} steps, {} requests, 0 failed:\n{}", counts.len(), prober.asked(), counts.join("\n"));
                scene.run("publish.yaml", "v2").expect(0);
                assert_eq!(scene.version(), "v2");
                assert_eq!(scene.betrayed(), Vec::<std::path::PathBuf>::new());
            }

            #[test]
            fn a_kill_before_and_after_any_step_is_gone_on_from() {
                let scene = Scene::new();
                scene.run("publish.yaml", "v1").expect(0);
                let prober = Prober::start(scene.port);
                let (mut kills, mut late) = (0, 0);
                for node in some() {
                    for kind in ["step_started", "step_succeeded"] {
                        let version = format!("k{}", kills + late);
                        if scene.killed_at(&version, kind, node) {
                            kills += 1;
                            let resumed = scene.resume();
                            assert_eq!(resumed.code, 0, "{kind} {node}: {}", resumed.stderr);
                        } else {
                            // What was as wanted already is cached, and never succeeds.
                            late += 1;
                        }
                        assert_eq!(scene.version(), version, "{kind} {node}");
                        prober.versions();
                    }
                }
                println!("killed {kills} times ({late} came too late), {} requests, 0 failed", prober.asked());
                assert!(kills > late);
                assert_eq!(scene.betrayed(), Vec::<std::path::PathBuf>::new());
            }
        }
    }
}
