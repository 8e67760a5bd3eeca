//! The cookbook wordpress-site against a real WordPress, PHP, database, name server, ACME directory and nginx: what it does, that
//! a second run changes nothing, and what is left after a failure, a kill, a rollback. Every third kill in `./test`, all with
//! `--all`.

mod scene;

mod with_nginx {
    mod with_powerdns {
        mod with_pebble {
            mod with_mariadb {
                mod with_wordpress {
                    use crate::wordpress_site::scene::Scene;
                    use std::path::PathBuf;

                    const NONE: [PathBuf; 0] = [];

                    #[test]
                    fn a_site_from_nothing_and_a_second_run_changes_nothing() {
                        let scene = Scene::whole();
                        let nothing = scene.standing();
                        assert!(scene.plan(&[]).expect(10).stdout.contains("install"));
                        assert_eq!(scene.standing(), nothing);
                        let title = "title=Grüße \"from\" $HOME & <more> 'of it'";
                        scene.up(&[title]);
                        assert_eq!(scene.title(), "Grüße &quot;from&quot; $HOME &amp; &lt;more&gt; &#039;of it&#039;");
                        assert!(scene.logs_in("canary-of-the-administrator-93") && !scene.logs_in("another"));
                        let answer = scene.plainly();
                        let place = format!("Location: {}/about?a=b\r\n", scene.url());
                        assert!(answer.starts_with("HTTP/1.1 301") && answer.contains(&place), "{answer}");
                        scene.bench.write("wordpress-data/production/uploads/2026/11/a.txt", "an upload");
                        scene.bench.write("wordpress-data/production/uploads/b.php", "<?php echo 'run';");
                        assert_eq!(scene.asked("/wp-content/uploads/2026/11/a.txt", None).2, "an upload");
                        for closed in ["/wp-content/uploads/b.php", "/wp-config.php", "/wp-admin/install.php", "/.htaccess", "/router.php"]
                        {
                            assert_eq!(scene.asked(closed, None).0, 404, "{closed}");
                        }

                        let (standing, made, orders) = (scene.standing(), scene.made(), scene.pebble.orders());
                        scene.plan(&[title]).expect(0);
                        scene.up(&[title]);
                        assert_eq!((scene.standing(), scene.made(), scene.pebble.orders()), (standing, made, orders));
                        scene.drift().expect(0);

                        // By the roots of another authority it is not believed.
                        let (url, roots) = (scene.url(), scene.pebble.roots());
                        let with = format!("url: '{url}', address: 127.0.0.1, roots: {}, first_ok_within: 1ms", roots.display());
                        scene.bench.write("other.yaml", format!("tree: o\nsteps:\n  a: {{ uses: http/check, with: {{ {with} }} }}\n"));
                        let refused = scene.bench.run(&["run", "other.yaml"]).expect(1).stderr;
                        assert!(refused.contains("UnknownIssuer"), "{refused}");
                        assert_eq!(scene.betrayed(), NONE);
                    }

                    #[test]
                    fn staging_has_a_name_a_database_and_a_certificate_of_its_own() {
                        let scene = Scene::in_staging();
                        let nothing = scene.standing();
                        scene.up(&["database=my_site"]);
                        assert_eq!((scene.title().as_str(), scene.logs_in("canary-of-the-administrator-93")), ("A new site", true));
                        assert_eq!(scene.mariadb.ask("SELECT db FROM mysql.db WHERE user = 'my_site_staging'"), r"my\\_site\\_staging");
                        let made = scene.made();
                        scene.up(&["database=my_site"]);
                        assert_eq!(scene.made(), made);
                        scene.rollback("wordpress-site#1").expect(0);
                        assert_eq!(scene.standing(), nothing);
                        assert_eq!(scene.betrayed(), NONE);
                    }

                    #[test]
                    fn a_failure_at_the_end_takes_all_of_it_back() {
                        let scene = Scene::new();
                        let nothing = scene.standing();
                        let failed = scene.run(scene.broken(), &[]).expect(4);
                        assert!(failed.stderr.contains("✗ front failed"), "{}", failed.stderr);
                        assert_eq!(scene.standing(), nothing);

                        scene.up(&["title=First"]);
                        let standing = scene.standing();
                        scene.run(scene.broken(), &["title=Second", "version=v2"]).expect(4);
                        assert_eq!((scene.title().as_str(), scene.standing()), ("First", standing));
                        scene.up(&["title=Second", "version=v2"]);
                        assert_eq!(scene.title(), "Second");
                        assert_eq!(scene.betrayed(), NONE);
                    }

                    #[test]
                    fn a_rollback_goes_to_the_release_before_and_then_to_nothing() {
                        let scene = Scene::new();
                        // A database and a table of somebody else.
                        scene.mariadb.ask("CREATE DATABASE wordpress; CREATE TABLE wordpress.other (n int)");
                        let before = scene.standing();
                        scene.up(&["title=First"]);
                        scene.up(&["title=Second", "version=v2"]);
                        assert_eq!(scene.title(), "Second");
                        scene.rollback("wordpress-site#2").expect(0);
                        assert_eq!(scene.title(), "First");
                        assert!(scene.tables().len() > 10);
                        scene.rollback("wordpress-site#1").expect(0);
                        assert_eq!((scene.standing(), scene.tables()), (before, vec!["other".to_owned()]));
                        let run = scene.bench.run(&["show", "wordpress-site#1", "--format", "json"]).expect(0).json()["run"].clone();
                        let kept = scene.bench.read(&format!("wordpress-data/production/kept/wordpress-{}.sql", run.as_str().unwrap()));
                        assert!(kept.contains("CREATE TABLE `wp_posts`") && kept.contains("Hello world!"));

                        // The database is not taken from under a later release.
                        scene.up(&["title=First"]);
                        scene.up(&["title=Second", "version=v2"]);
                        let stuck = scene.rollback("wordpress-site#3").expect(5).stderr;
                        assert!(stuck.contains("serves a release of a later run: take that back first"), "{stuck}");
                        assert!(scene.tables().len() > 10);
                        scene.up(&["title=Second", "version=v2"]);
                        assert_eq!(scene.title(), "Second");
                        assert_eq!(scene.betrayed(), NONE);
                    }

                    #[test]
                    fn tables_of_another_site_are_neither_used_nor_dropped() {
                        let scene = Scene::new();
                        scene.mariadb.ask("CREATE DATABASE wordpress; CREATE TABLE wordpress.wp_posts (n int)");
                        let before = scene.standing();
                        let failed = scene.run("wordpress-site.yaml", &[]).expect(4);
                        assert!(failed.stderr.contains("in wordpress are tables wp_… of something else"), "{}", failed.stderr);
                        assert_eq!((scene.standing(), scene.tables()), (before, vec!["wp_posts".to_owned()]));
                    }

                    #[test]
                    fn a_kill_at_any_step_is_gone_on_from_and_taken_back() {
                        let scene = Scene::new();
                        let nothing = scene.standing();
                        let moments = [
                            ("step_started", "install"),
                            ("step_started", "database"),
                            ("step_succeeded", "account"),
                            ("step_started", "site"),
                            ("step_started", "account"),
                            ("step_succeeded", "install"),
                            ("step_started", "certificate"),
                            ("step_started", "build"),
                            ("step_succeeded", "http"),
                            ("step_started", "https"),
                            ("step_succeeded", "certificate"),
                            ("step_started", "front"),
                        ];
                        let step = if std::env::var_os("TREES_TEST_ALL").is_some() { 1 } else { 3 };
                        for (kind, node) in moments.into_iter().step_by(step) {
                            assert!(scene.killed_at(kind, node), "{kind} {node} never came");
                            scene.resume().expect(0);
                            assert_eq!(scene.title(), "A new site", "{kind} {node}");
                            scene.rollback("@last").expect(0);
                            assert_eq!(scene.standing(), nothing, "{kind} {node}: resumed, then taken back");

                            assert!(scene.killed_at(kind, node), "{kind} {node} never came");
                            scene.rollback("@last").expect(0);
                            assert_eq!(scene.standing(), nothing, "{kind} {node}: taken back");
                        }
                        assert_eq!(scene.betrayed(), NONE);
                    }
                }
            }
        }
    }
}
