//! The publish cookbook against real parts: what it does, and what is left after a failure or a kill at each of its steps.
//! Every third step in `./test`, all with `--all`.

mod hook;
mod plain;
mod scene;
mod web;

/// Those that are tried: all, or every third.
fn some<T: Copy>(all: &[T]) -> Vec<T> {
    let step = if std::env::var_os("TREES_TEST_ALL").is_some() { 1 } else { 3 };
    all.iter().copied().step_by(step).collect()
}

mod with_nginx {
    use super::plain::Plain;

    fn both(version: &str) -> [Result<String, String>; 2] {
        [Ok(version.to_owned()), Ok(version.to_owned())]
    }

    #[test]
    fn without_a_yes_production_is_as_it_was() {
        let plain = Plain::new();
        // Nobody is there: staging has it, and the run waits.
        assert!(plain.run("v1", &[]).expect(3).stderr.contains("environment:production"));
        assert!(matches!(plain.versions(), [Ok(staging), Err(_)] if staging == "v1"));
        plain.bench.run(&["approve", "@last", "environment:production"]).expect(0);
        plain.bench.run(&["resume"]).expect(0);
        assert_eq!(plain.versions(), both("v1"));

        plain.run("v2", &[]).expect(3);
        assert_eq!(plain.versions(), [Ok("v2".into()), Ok("v1".into())]);
        plain.bench.run(&["reject", "@last", "environment:production", "--note", "not today"]).expect(0);
        plain.bench.run(&["resume"]).expect(4);
        assert_eq!(plain.versions(), both("v1"), "staging too");
    }

    #[test]
    fn what_is_missing_is_said_before_anything_is_touched() {
        let plain = Plain::new();
        for (param, secret) in [("database=postgres://a@127.0.0.1:1/b", "DATABASE_PASSWORD"), ("zone=zone.test", "DNS_KEY")] {
            let said = plain.run("v1", &["--approve", "*", "-p", param]).expect(2).stderr;
            assert!(said.contains(&format!("the secret {secret} of production is")), "{said}");
            assert!(!plain.bench.path("publish-build").exists());
        }
        for (version, param, words) in [("v1", "mail_user=ada", "the secret MAIL_PASSWORD"), ("latest", "app=demo", "named by its version")]
        {
            plain.run(version, &["--approve", "*", "-p", param]).expect(4);
            let log = plain.bench.run(&["logs", "@last", "policy"]).expect(0).stdout;
            assert!(log.contains(words), "{log}");
            assert!(!plain.bench.path("publish-build").exists());
        }
    }

    mod with_pebble {
        use crate::publish::plain::Plain;
        use crate::publish::web::Site;
        use std::fs;
        use trees_servers::free_port;
        use trees_servers::pebble::{Options, Pebble};

        #[test]
        fn without_a_zone_the_name_is_proved_over_http() {
            let port = free_port();
            let pebble = Pebble::start(&Options::new(port));
            let own = fs::read(pebble.roots()).unwrap();
            let root = Site::secure(pebble.management, "localhost", &own).get("/roots/0").unwrap();
            let roots = [own, root.into_bytes()].concat();
            let given =
                [("acme", pebble.directory()), ("acme_port", port.to_string()), ("roots", "roots.pem".into()), ("host", "app.test".into())];
            let plain = Plain::with(&given);
            plain.bench.write("roots.pem", &roots);
            let site = Site::secure(plain.site.port, "app.test", &roots);
            plain.run("v1", &["--approve", "*"]).expect(0);
            plain.run("v2", &["--approve", "*"]).expect(0);
            assert_eq!((site.version().unwrap().as_str(), pebble.orders()), ("v2", 1));
            // Too little is left: what serves goes on.
            plain.run("v3", &["--approve", "*", "-p", "days_left=1000"]).expect(4);
            assert_eq!(site.version().unwrap(), "v2");
            assert!(plain.bench.run(&["show", "@last"]).expect(0).stdout.contains("expires soon"));
        }
    }

    mod with_docker {
        use super::both;
        use crate::publish::plain::Plain;
        use crate::publish::web::Prober;
        use std::fs;
        use trees_servers::docker::Docker;

        const DOCKERFILE: &str = "FROM scratch\nARG VERSION\nENV VERSION=$VERSION\nCOPY app /app\nCMD [\"/app\"]\n";

        #[test]
        fn one_image_goes_through_staging_to_production() {
            let docker = Docker::shared();
            let given = [("containers", "true".into()), ("engine", docker.socket().display().to_string()), ("source", "image".into())];
            let plain = Plain::with(&given);
            plain.bench.write("image/Dockerfile", DOCKERFILE);
            fs::copy(docker.app(), plain.bench.path("image/app")).unwrap();
            plain.run("v1", &["--approve", "*"]).expect(0);
            assert_eq!(plain.versions(), both("v1"));
            let prober = Prober::start(&plain.site);
            plain.run("v2", &["--approve", "*"]).expect(0);
            prober.saw(&["v1", "v2"]);
            let image = plain.output("beside_container", "image");
            assert!(image.starts_with("sha256:") && image == plain.output("stage_container", "image"), "{image}");
            let failed = plain.run_broken("answers", "v3").expect(4);
            assert_eq!(plain.versions(), both("v2"), "{}\n{}", failed.stderr, plain.bench.run(&["logs", "@last"]).stdout);
            prober.saw(&["v2", "v3", "v2"]);
            plain.run("v4", &["--approve", "*"]).expect(0);
            plain.run("v4", &["--approve", "*"]).expect(0);
            assert_eq!(plain.versions(), both("v4"));
            prober.saw(&["v2", "v4"]);
        }
    }

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
                        prober.saw(&["v1", "v2"]);
                        scene.told("v2", "v2 is in production");
                        let staging = scene.release("staging", "demo", "v2");
                        let colours = ["demo-blue", "demo-green"].map(|name| scene.release("production", name, "v2"));
                        let production = colours.into_iter().find(|files| !files.is_empty()).unwrap_or_default();
                        assert!(staging.len() >= 2 && staging == production, "{:?}, {:?}", staging.keys(), production.keys());

                        let before = scene.standing();
                        scene.run("publish.yaml", "v2").expect(0);
                        assert_eq!(scene.standing(), before);
                        prober.saw(&["v2"]);
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
                        // A message that cannot be sent takes nothing back.
                        scene.run(&scene.broken(&["mail", "webhook"]), "v3").expect(0);
                        prober.saw(&["v2", "v3"]);
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
                        prober.saw(&["v1", "v2"]);
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
                        let undone = UNDONE.into_iter().flat_map(|node| [("undo_started", node), ("undo_succeeded", node)]);
                        let last = [("step_started", "stands"), ("step_succeeded", "stands"), ("step_started", "mail_failure")];
                        for (kind, node) in some(&undone.chain(last).collect::<Vec<_>>()) {
                            let version = format!("u{kills}");
                            assert!(scene.killed_at(&broken, &version, kind, node), "no {kind} of {node}");
                            kills += 1;
                            let resumed = scene.resume();
                            assert!([1, 4].contains(&resumed.code), "{kind} {node}: exit {}\n{}", resumed.code, resumed.stderr);
                            assert_eq!(scene.standing(), before, "{kind} {node}:\n{}", resumed.stderr);
                            scene.told(&version, "is not in production: answers failed");
                            assert_eq!(prober.versions().last().unwrap(), "v1", "{kind} {node}");
                        }
                        println!("killed {kills} times while it was taken back, {} requests, 0 failed", prober.asked());
                        scene.rests();
                    }
                }
            }
        }
    }
}
