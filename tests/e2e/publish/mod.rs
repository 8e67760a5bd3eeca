//! The publish cookbook against real parts: what it does, and what is left after a failure or a kill at each of its steps.
//! Every third step in `./test`, all with `--all`.

mod hook;
mod scene;
mod web;

/// Those that are tried: all, or every third.
fn some<T: Copy>(all: &[T]) -> Vec<T> {
    let step = if std::env::var_os("TREES_TEST_ALL").is_some() { 1 } else { 3 };
    all.iter().copied().step_by(step).collect()
}

mod with_nginx {
    mod with_postgres {
        mod with_powerdns {
            mod with_pebble {
                mod with_smtp {
                    use crate::publish::scene::{NODES, Scene, UNDONE};
                    use crate::publish::some;
                    use crate::publish::web::Prober;

                    #[test]
                    fn one_build_goes_through_staging_to_production_and_a_second_run_changes_nothing() {
                        let scene = Scene::new();
                        assert!(scene.plan("v1").expect(10).stdout.contains("stage"));
                        scene.run("publish.yaml", "v1").expect(0);
                        let first = scene.standing();
                        assert_eq!((first["production"].as_str(), first["tables"].as_str()), ("v1", "trees_migrations visits"));
                        assert!(first["records"].contains("127.0.0.1"), "{}", first["records"]);
                        scene.told("v1", "v1 is in production");
                        let prober = Prober::start(&scene.site);
                        scene.run("publish.yaml", "v2").expect(0);
                        assert_eq!(prober.versions(), ["v1", "v2"], "no failed request, and never back");
                        scene.told("v2", "v2 is in production");
                        let staging = scene.release("staging", "demo", "v2");
                        let colours = ["demo-blue", "demo-green"].map(|name| scene.release("production", name, "v2"));
                        let production = colours.into_iter().find(|files| !files.is_empty()).unwrap_or_default();
                        assert!(staging.len() >= 2 && staging == production, "{:?}, {:?}", staging.keys(), production.keys());

                        let before = scene.standing();
                        scene.run("publish.yaml", "v2").expect(0);
                        assert_eq!(scene.standing(), before);
                        assert_eq!(prober.versions(), ["v2"]);
                        let shown =
                            scene.bench.run(&["env", "show", "publish.yaml", "-e", "production", "--format", "json"]).expect(0).json();
                        let releases = shown["releases"].as_array().unwrap();
                        assert!(releases.len() == 3 && releases.iter().all(|release| release["verified"] == true), "{releases:#?}");
                        let digests = scene.bench.run(&["show", "@last", "--format", "json"]).expect(0).json();
                        let of = |path: &str| {
                            let steps = digests["steps"].as_array().unwrap();
                            steps.iter().find(|step| step["path"] == path).unwrap()["outputs"]["digest"].clone()
                        };
                        assert!(of("stage").is_string() && of("stage") == of("beside"), "{} {}", of("stage"), of("beside"));
                        assert!(prober.asked() > 10);
                        scene.rests();
                    }

                    #[test]
                    fn a_failure_at_any_step_leaves_production_as_it_was() {
                        let scene = Scene::new();
                        scene.run("publish.yaml", "v1").expect(0);
                        scene.bench.write("migrations/002_more.sql", "CREATE TABLE more (n int);");
                        scene.bench.write("migrations/002_more.down.sql", "DROP TABLE more;");
                        let (prober, before) = (Prober::start(&scene.site), scene.standing());
                        // The last two only tell how it went; `finally` comes after a failure before it.
                        let steps: Vec<Vec<&str>> = some(&NODES[..NODES.len() - 2]).into_iter().map(|node| vec![node]).collect();
                        let last = some(&["stands", "mail_failure", "webhook_failure"]).into_iter().map(|node| vec!["answers", node]);
                        let mut counts = Vec::new();
                        for (at, nodes) in steps.into_iter().chain(last).enumerate() {
                            let (node, version) = (nodes.join(" and "), format!("f{at}"));
                            let outcome = scene.run(&scene.broken(&nodes), &version);
                            assert!([1, 4].contains(&outcome.code), "{node}: exit {}\n{}", outcome.code, outcome.stderr);
                            for one in &nodes {
                                assert!(outcome.stderr.contains(&format!("✗ {one} failed")), "{one}: {}", outcome.stderr);
                            }
                            assert_eq!(scene.standing(), before, "{node}:\n{}", outcome.stderr);
                            scene.told(&version, &format!("is not in production: {} failed", nodes[0]));
                            let seen = prober.versions();
                            assert!(seen.last().is_some_and(|last| last == "v1"), "{node}: {seen:?}");
                            counts.push(format!("{node:26} exit {}, production answered {}", outcome.code, seen.join(", ")));
                        }
                        println!(
                            "a failure at each of {} steps, {} requests, 0 failed:\n{}",
                            counts.len(),
                            prober.asked(),
                            counts.join("\n")
                        );
                        scene.run("publish.yaml", "v2").expect(0);
                        assert_eq!(prober.versions(), ["v1", "v2"]);
                        scene.rests();
                    }

                    #[test]
                    fn a_message_that_cannot_be_sent_takes_nothing_back() {
                        let scene = Scene::new();
                        scene.run(&scene.broken(&["mail", "webhook"]), "v1").expect(0);
                        assert_eq!(scene.version(), "v1");
                        scene.rests();
                    }

                    #[test]
                    fn a_kill_before_and_after_any_step_is_gone_on_from() {
                        let scene = Scene::new();
                        scene.run("publish.yaml", "v1").expect(0);
                        let prober = Prober::start(&scene.site);
                        let (mut kills, mut late) = (0, 0);
                        for node in some(&NODES) {
                            for kind in ["step_started", "step_succeeded"] {
                                let version = format!("k{}", kills + late);
                                if scene.killed_at("publish.yaml", &version, kind, node) {
                                    kills += 1;
                                    let resumed = scene.resume();
                                    assert_eq!(resumed.code, 0, "{kind} {node}: {}", resumed.stderr);
                                } else {
                                    // What was as wanted already is cached, and never succeeds.
                                    late += 1;
                                }
                                assert_eq!(scene.version(), version, "{kind} {node}");
                                scene.told(&version, "is in production");
                                prober.versions();
                            }
                        }
                        println!("killed {kills} times ({late} came too late), {} requests, 0 failed", prober.asked());
                        assert!(kills > late);
                        scene.rests();
                    }

                    #[test]
                    fn a_kill_while_it_is_taken_back_is_gone_on_from() {
                        let scene = Scene::new();
                        scene.run("publish.yaml", "v1").expect(0);
                        scene.bench.write("migrations/002_more.sql", "CREATE TABLE more (n int);");
                        scene.bench.write("migrations/002_more.down.sql", "DROP TABLE more;");
                        let (prober, before, broken) = (Prober::start(&scene.site), scene.standing(), scene.broken(&["answers"]));
                        let mut kills = 0;
                        for node in some(&UNDONE) {
                            for kind in ["undo_started", "undo_succeeded"] {
                                let version = format!("u{kills}");
                                assert!(scene.killed_at(&broken, &version, kind, node), "no {kind} of {node}");
                                kills += 1;
                                let resumed = scene.resume();
                                assert!([1, 4].contains(&resumed.code), "{kind} {node}: exit {}\n{}", resumed.code, resumed.stderr);
                                assert_eq!(scene.standing(), before, "{kind} {node}:\n{}", resumed.stderr);
                                scene.told(&version, "is not in production: answers failed");
                                assert_eq!(prober.versions().last().unwrap(), "v1", "{kind} {node}");
                            }
                        }
                        println!("killed {kills} times while it was taken back, {} requests, 0 failed", prober.asked());
                        scene.rests();
                    }
                }
            }
        }
    }
}
