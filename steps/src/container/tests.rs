//! `container/build` and `container/run`: what is refused without an engine, and all else with a
//! real Docker.

use super::build::Build;
use super::run::Run;
use crate::bench::{Bench, Server};
use serde_json::{Value, json};
use trees_runner::kind::Kind;

fn extended(mut with: Value, extra: &Value) -> Value {
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

fn refused<K: Kind>(with: Value, expected: &str) {
    let wrong = K::validate(&serde_json::from_value(with).unwrap());
    assert!(wrong.iter().any(|wrong| wrong.starts_with(expected)), "{expected}: {wrong:?}");
}

#[test]
fn what_cannot_be_built_or_run_is_refused() {
    for (extra, expected) in [
        (json!({ "file": "../Dockerfile" }), "file: `../Dockerfile` is not in the context"),
        (json!({ "tags": ["app"] }), "tags: `app` has no tag"),
        (json!({ "tags": ["a b:1"] }), "tags: `a b:1` is no image's name"),
        (json!({ "tags": [format!("a:1@sha256:{}", "a".repeat(64))] }), "tags: `a:1@"),
        (json!({ "labels": { "trees.x": "" } }), "labels: `trees.x` is one that trees sets itself"),
    ] {
        refused::<Build>(extended(json!({}), &extra), expected);
    }
    let run = json!({ "name": "web", "image": "app:1" });
    for (extra, expected) in [
        (json!({ "image": "app" }), "image: `app` may be another image tomorrow"),
        (json!({ "image": "app:latest" }), "image: `app:latest` may be another image tomorrow"),
        (json!({ "image": "a b" }), "image: `a b` is no image's name"),
        (json!({ "name": "a/b" }), "name: `a/b` cannot be a container's name"),
        (json!({ "release": "-" }), "release: `-` cannot stand"),
        (json!({ "ports": ["http"] }), "ports: `http` is no port"),
        (json!({ "ports": ["80"], "network": "host" }), "ports: with `network: host` there is nothing to publish"),
        (json!({ "volumes": ["data"] }), "volumes: `data` has no whole path"),
        (json!({ "restart": "sometimes" }), "restart: `sometimes` is none of"),
        (json!({ "env": { "A=B": "" } }), "env: `A=B` is no variable's name"),
        (json!({ "labels": { "trees.key": "" } }), "labels: `trees.key` is one"),
        (json!({ "health": { "port": 80, "path": "x" } }), "health: a path begins with `/`"),
        (json!({ "keep": 0 }), "keep: at least 1"),
    ] {
        refused::<Run>(extended(run.clone(), &extra), expected);
    }
    let fine = serde_json::from_value(extended(run, &json!({ "image": "app", "unpinned": true }))).unwrap();
    assert!(Run::validate(&fine).is_empty());
}

#[tokio::test]
async fn an_engine_that_is_down_is_named_by_both() {
    let bench = Bench::new();
    bench.write("Dockerfile", "FROM scratch");
    let build = bench.run::<Build>(json!({ "socket": "nowhere.sock" })).await.map(|_| ()).unwrap_err();
    let run = bench.run::<Run>(json!({ "name": "web", "image": "app:1", "socket": "nowhere.sock" })).await.map(|_| ()).unwrap_err();
    for wrong in [build, run] {
        assert!(wrong.transient && wrong.message.contains("no answer from the container engine at unix://"), "{wrong}");
    }
    assert!(bench.intents().is_empty());
}

#[tokio::test]
async fn a_look_only_asks() {
    let bench = Bench::new();
    bench.write("Dockerfile", "FROM scratch");
    let server = Server::start(|request| {
        let body = match request.split(' ').nth(1).unwrap() {
            "/version" => "{\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}",
            path if path.contains("/json?") => "[]",
            _ => return "HTTP/1.1 404 Not Found\r\n\r\n{\"message\":\"no such image\"}".into(),
        };
        format!("HTTP/1.1 200 OK\r\n\r\n{body}")
    })
    .await;
    let socket = server.url("").replace("http://", "tcp://");
    assert_eq!(bench.drift::<Build>(json!({ "socket": socket, "tags": ["app:1"] })).await, ["absent"]);
    assert_eq!(bench.drift::<Run>(json!({ "name": "web", "image": "app:1", "socket": socket })).await, ["absent"]);
    let asked = server.requests();
    assert!(asked.len() > 4 && asked.iter().all(|request| request.starts_with("GET /")), "{asked:?}");
    assert!(bench.intents().is_empty());
}

#[tokio::test]
async fn a_secret_is_no_build_argument() {
    let bench = Bench::knowing("canary-0123456789");
    bench.write("Dockerfile", "FROM scratch");
    let with = json!({ "socket": "nowhere.sock", "pull": true, "args": { "TOKEN": "canary-0123456789" } });
    let wrong = bench.run::<Build>(with).await.map(|_| ()).unwrap_err();
    assert!(wrong.message.starts_with("args: `TOKEN` is a secret") && !wrong.message.contains("canary"), "{wrong}");
}

mod with_docker {
    use super::{Bench, Build, Kind as _, Run, Value, extended, json};
    use crate::container::run;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use trees_runner::kind::{Cx, KindError, Observation};
    use trees_servers::docker::Docker;
    use trees_servers::free_port;

    /// An engine and a folder with a Dockerfile, under a name of the test's own.
    struct Yard {
        bench: Bench,
        docker: Arc<Docker>,
        name: &'static str,
        port: u16,
    }

    impl Yard {
        fn new(name: &'static str) -> Self {
            let yard = Self { bench: Bench::new(), docker: Docker::shared(), name, port: free_port() };
            yard.bench.write(
                "ctx/Dockerfile",
                &format!("FROM scratch\nARG GIVEN=none\nLABEL test={name} given=$GIVEN\nCOPY app /app\nCMD [\"/app\"]\n"),
            );
            std::fs::copy(yard.docker.app(), yard.bench.path("ctx/app")).unwrap();
            yard
        }

        fn socket(&self) -> Value {
            json!(self.docker.socket().display().to_string())
        }

        fn build(&self, extra: Value) -> Value {
            extended(json!({ "context": "ctx", "tags": [format!("{}:1", self.name)], "socket": self.socket() }), &extra)
        }

        fn run(&self, version: &str, extra: Value) -> Value {
            let with = json!({
                "name": self.name, "image": format!("{}:1", self.name), "release": version, "network": "host", "socket": self.socket(),
                "env": { "VERSION": version, "PORT": self.port.to_string() }, "drain": "2s", "restart": "no",
                "health": { "port": self.port, "path": "/", "every": "20ms", "first_ok_within": "20s" },
            });
            extended(with, &extra)
        }

        /// As a run of its own: what is made bears another key.
        fn cx(&self, key: &str) -> Cx {
            Cx { idempotency_key: key.into(), ..self.bench.cx() }
        }

        async fn deploy(&self, version: &str) -> run::Out {
            self.apply(version, json!({})).await.unwrap()
        }

        async fn apply(&self, version: &str, extra: Value) -> Result<run::Out, KindError> {
            Run::apply(&serde_json::from_value(self.run(version, extra)).unwrap(), &self.cx(version)).await
        }

        fn json(&self, path: &str) -> Value {
            let (status, body) = self.docker.ask("GET", path);
            if status == 200 { serde_json::from_str(&body).unwrap() } else { Value::Null }
        }

        fn image(&self, name: &str) -> Option<String> {
            self.json(&format!("/images/{name}/json"))["Id"].as_str().map(str::to_owned)
        }

        /// Names and states of the containers of this name, sorted.
        fn containers(&self) -> Vec<String> {
            let list = self.json("/containers/json?all=1");
            let ours = list.as_array().unwrap().iter().filter(|one| one["Labels"]["trees.name"] == self.name);
            let mut all: Vec<String> = ours
                .map(|one| format!("{} {}", one["Names"][0].as_str().unwrap().trim_start_matches('/'), one["State"].as_str().unwrap()))
                .collect();
            all.sort();
            all
        }

        fn answers(&self) -> String {
            answer(self.port)
        }
    }

    fn answer(port: u16) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
        };
        ask().unwrap_or_else(|e| e.to_string())
    }

    fn until(what: &str, mut so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[tokio::test]
    async fn an_image_is_built_once_and_taken_back() {
        let yard = Yard::new("builds");
        assert_eq!(yard.bench.drift::<Build>(yard.build(json!({}))).await, ["absent"]);
        let (out, acted) =
            yard.bench.run::<Build>(yard.build(json!({ "args": { "GIVEN": "x" }, "labels": { "own": "l" } }))).await.unwrap();
        assert!(acted && out.changed && out.size > 1000 && out.image.starts_with("sha256:"), "{out:?}");
        let labels = yard.json("/images/builds:1/json")["Config"]["Labels"].clone();
        assert_eq!((&labels["given"], &labels["own"], &labels["trees.owner"]), (&json!("x"), &json!("l"), &json!("trees:proof")));
        assert!(yard.bench.logged().iter().any(|line| line.to_lowercase().starts_with("step ")), "{:?}", yard.bench.logged());
        let with = yard.build(json!({ "args": { "GIVEN": "x" }, "labels": { "own": "l" } }));
        let (again, acted) = yard.bench.run::<Build>(with.clone()).await.unwrap();
        assert_eq!((again.image, again.changed, acted), (out.image.clone(), false, false));

        // Another tag for the same inputs is set without a build.
        let lines = yard.bench.logged().len();
        let two = extended(with.clone(), &json!({ "tags": ["builds:1", "builds:2"] }));
        assert_eq!(yard.bench.drift::<Build>(two.clone()).await, ["tags.builds:2"]);
        assert_eq!(yard.bench.run::<Build>(two).await.unwrap().0.image, out.image);
        assert_eq!((yard.bench.logged().len(), yard.image("builds:2")), (lines, Some(out.image.clone())));

        yard.bench.write("ctx/more", "1");
        assert_eq!(yard.bench.drift::<Build>(with.clone()).await, ["tags.builds:1"]);
        let (next, _) = yard.bench.run::<Build>(with.clone()).await.unwrap();
        assert!(next.image != out.image && yard.image("builds:1") == Some(next.image.clone()));
        yard.bench.write("ctx/.dockerignore", "more\n.dockerignore\n");
        let pulled = yard.bench.drift::<Build>(extended(with, &json!({ "pull": true }))).await;
        assert!(pulled[0].starts_with("unknown: `pull: true`"), "{pulled:?}");

        let records = yard.bench.intents();
        for record in [&records[2], &records[2]] {
            Build::undo(record, &yard.bench.cx()).await.unwrap();
            assert_eq!((yard.image("builds:1"), yard.image(&next.image)), (Some(out.image.clone()), None));
        }
        yard.bench.undo::<Build>().await.unwrap();
        assert_eq!((yard.image("builds:1"), yard.image("builds:2"), yard.image(&out.image)), (None, None, None));
    }

    #[tokio::test]
    async fn a_build_that_fails_says_the_engines_words_and_leaves_the_tag() {
        let yard = Yard::new("fails");
        let (out, _) = yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        for (dockerfile, expected) in [
            ("FROM scratch\nCOPY nothing /\n", "nothing"),
            ("FROM scratch\nBUILD\n", "nknown instruction: "),
            ("FROM scratch\nRUN [\"/no-program\"]\n", "/no-program"),
        ] {
            yard.bench.write("ctx/Dockerfile", dockerfile);
            let wrong = yard.bench.run::<Build>(yard.build(json!({}))).await.map(|_| ()).unwrap_err().message;
            assert!(wrong.starts_with("the image was not built: ") && wrong.contains(expected), "{wrong}");
            assert_eq!(yard.image("fails:1"), Some(out.image.clone()));
        }
        // Intended and killed before anything was done: an undo changes nothing.
        Build::undo(yard.bench.intents().last().unwrap(), &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.image("fails:1"), Some(out.image.clone()));
        let wrong = yard.bench.run::<Build>(yard.build(json!({ "file": "Nope" }))).await.map(|_| ()).unwrap_err();
        assert!(wrong.message.contains("there is no `Nope` in"), "{wrong}");
        yard.bench.fill();
        assert_eq!(
            yard.bench
                .run::<Build>(yard.build(json!({ "args": { "GIVEN": "y" } , "file": "./Dockerfile" })))
                .await
                .map(|_| ())
                .unwrap_err()
                .message,
            "the journal is full"
        );
    }

    #[tokio::test]
    async fn what_others_tagged_since_and_what_is_in_use_stays() {
        let yard = Yard::new("others");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        let first = yard.image("others:1").unwrap();
        yard.bench.write("ctx/more", "1");
        let (second, _) = yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        // Killed between the build and the tag: the image is there, the tag is not.
        yard.docker.ask("POST", &format!("/images/{first}/tag?repo=others&tag=1"));
        let (settled, _) = yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        assert_eq!(settled.image, second.image, "it is found by its label, not built again");
        let other = extended(yard.run("v1", json!({})), &json!({ "image": second.image }));
        Run::apply(&serde_json::from_value(other).unwrap(), &yard.cx("v1")).await.unwrap();
        Build::undo(&yard.bench.intents()[1], &yard.bench.cx()).await.unwrap();
        assert_eq!((yard.image("others:1"), yard.image(&second.image)), (Some(first.clone()), Some(second.image.clone())));
        assert!(yard.bench.logged().iter().any(|line| line.ends_with("stays: it is in use")), "{:?}", yard.bench.logged());
        yard.docker.ask("POST", &format!("/images/{}/tag?repo=others&tag=1", second.image));
        Build::undo(&yard.bench.intents()[0], &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.image("others:1"), Some(second.image));
        assert!(yard.bench.logged().iter().any(|line| line.contains("names another image by now")));
    }

    #[tokio::test]
    async fn a_container_runs_is_found_changed_and_is_taken_back() {
        let yard = Yard::new("runs");
        assert_eq!(yard.bench.drift::<Run>(yard.run("v1", json!({}))).await, ["absent"]);
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        let first = yard.deploy("v1").await;
        assert_eq!((first.container.as_str(), first.previous.as_str(), yard.answers().as_str()), ("runs-v1", "", "v1"));
        assert_eq!((first.address, first.changed), (format!("127.0.0.1:{}", yard.port), true));
        let (again, acted) = yard.bench.run::<Run>(yard.run("v1", json!({}))).await.unwrap();
        assert_eq!((again.id, again.changed, acted), (first.id.clone(), false, false));

        let second = yard.deploy("v2").await;
        assert_eq!((second.previous.as_str(), yard.answers().as_str()), ("runs-v1", "v2"));
        assert_eq!(yard.containers(), ["runs-v1 exited", "runs-v2 running"]);
        let Observation::Differs(changes) = yard.bench.observe::<Run>(yard.run("s3cret", json!({ "restart": "always" }))).await else {
            panic!("it differs")
        };
        assert_eq!(changes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), ["restart", "env.VERSION"]);
        assert!(!format!("{changes:?}").contains("s3cret"));

        yard.docker.ask("POST", "/containers/runs-v2/kill");
        until("its end", || yard.containers() == ["runs-v1 exited", "runs-v2 exited"]);
        assert_eq!(yard.bench.drift::<Run>(yard.run("v2", json!({}))).await, ["state"]);
        let third = Run::apply(&serde_json::from_value(yard.run("v2", json!({}))).unwrap(), &yard.cx("later")).await.unwrap();
        assert_eq!((third.container.as_str(), yard.answers().as_str()), ("runs-v2-2", "v2"));
        assert_eq!(yard.containers().len(), 2, "one is kept");

        yard.bench.write("ctx/more", "1");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        assert_eq!(yard.bench.drift::<Run>(yard.run("v2", json!({}))).await, ["image"]);
        let record = yard.bench.intents().into_iter().rfind(|record| record["key"] == "later").unwrap();
        for _ in 0..2 {
            Run::undo(&record, &yard.bench.cx()).await.unwrap();
            assert!(!yard.containers().iter().any(|found| found.starts_with("runs-v2-2")), "{:?}", yard.containers());
        }
        assert!(!json!(yard.bench.intents()).to_string().contains("VERSION"), "no environment in a record");
    }

    #[tokio::test]
    async fn the_one_before_comes_back_by_undo_and_not_over_a_newer_one() {
        let yard = Yard::new("back");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        yard.deploy("v1").await;
        yard.deploy("v2").await;
        let records: Vec<_> = yard.bench.intents().into_iter().filter(|record| record["key"].is_string()).collect();
        for _ in 0..2 {
            Run::undo(&records[1], &yard.bench.cx()).await.unwrap();
            assert_eq!((yard.answers().as_str(), yard.containers()), ("v1", vec!["back-v1 running".to_owned()]));
        }
        assert!(yard.bench.logged().iter().any(|line| line == "version v2 starts"), "what it wrote is kept");
        assert!(!yard.bench.run::<Run>(yard.run("v1", json!({}))).await.unwrap().1);
        // Intended and killed before anything was done.
        Run::undo(&records[1], &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.answers(), "v1");
        yard.deploy("v3").await;
        Run::undo(&records[0], &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.answers(), "v3");
        assert!(yard.bench.logged().iter().any(|line| line.contains("back-v3 was started since")));
    }

    #[tokio::test]
    async fn what_is_not_well_is_replaced_by_the_one_before() {
        let yard = Yard::new("unwell");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        let broken = |mode: &str| json!({ "env": { "VERSION": "v2", "PORT": yard.port.to_string(), "MODE": mode } });
        let wrong = yard.apply("v2", broken("crash")).await.unwrap_err();
        assert!(wrong.message.starts_with("unwell does not run: GET / on the container's port"), "{wrong}");
        assert!(wrong.message.contains("(exit code 3)") && wrong.message.contains("no configuration found"), "{wrong}");
        assert_eq!(yard.containers(), Vec::<String>::new());
        yard.deploy("v1").await;
        for (mode, expected) in [("crash", "(exit code 3)"), ("bad", "503: v2")] {
            let mut extra = broken(mode);
            extra["health"] = json!({ "port": yard.port, "path": "/", "every": "20ms", "first_ok_within": "500ms" });
            let wrong = yard.apply("v2", extra).await.unwrap_err();
            assert!(wrong.message.contains(expected) && wrong.message.ends_with("what ran before runs"), "{wrong}");
            assert_eq!((yard.answers().as_str(), yard.containers()), ("v1", vec!["unwell-v1 running".to_owned()]));
        }
        let wrong = yard.apply("v2", json!({ "command": ["/no-program"] })).await.unwrap_err();
        assert!(wrong.message.contains("/no-program") && wrong.message.ends_with("what ran before runs"), "{wrong}");
        let wrong = yard.apply("v2", json!({ "image": "nothing-here:1", "pull": "never" })).await.unwrap_err();
        assert!(wrong.message.contains("does not have the image `nothing-here:1`") && wrong.help.is_some(), "{wrong}");
        let nowhere = format!("127.0.0.1:{}/app:1", free_port());
        let registry = json!({ "username": "me", "password": "canary-5ecret" });
        let wrong = yard.apply("v2", json!({ "image": nowhere, "registry": registry })).await.unwrap_err();
        assert!(
            wrong.message.starts_with(&format!("cannot fetch the image `{nowhere}`: ")) && wrong.message.contains("refused"),
            "{wrong}"
        );
        assert!(wrong.transient && !format!("{wrong:?}").contains("canary"), "{wrong}");
        assert_eq!(yard.answers(), "v1");
    }

    #[tokio::test]
    async fn beside_the_one_before_and_without_a_gap() {
        let yard = Yard::new("beside");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        let on = |version: &str, port: u16| {
            json!({
                "replace": "beside", "restart": "always", "env": { "VERSION": version, "PORT": port.to_string() },
                "health": { "port": port, "path": "/", "every": "20ms" }
            })
        };
        yard.apply("v1", on("v1", yard.port)).await.unwrap();
        let port = free_port();
        let with = serde_json::from_value(yard.run("v2", on("v2", port))).unwrap();
        let cx = yard.cx("v2");
        let (done, both) = tokio::join!(Run::apply(&with, &cx), async {
            tokio::task::spawn_blocking(move || until("the new one", || answer(port) == "v2")).await.unwrap();
            true
        });
        assert!(done.unwrap().previous == "beside-v1" && both);
        assert_eq!(yard.containers(), ["beside-v1 exited", "beside-v2 running"]);
        let policy = yard.json("/containers/beside-v1/json")["HostConfig"]["RestartPolicy"]["Name"].clone();
        assert_eq!(policy, "no", "it must not come back with the engine");
        let wrong = yard.apply("v3", on("v3", port)).await.unwrap_err();
        assert!(wrong.message.ends_with("what ran before runs") && answer(port) == "v2", "{wrong}");
        let record = yard.bench.intents().into_iter().find(|record| record["key"] == "v2").unwrap();
        Run::undo(&record, &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.containers(), ["beside-v1 running"]);
        assert_eq!(yard.json("/containers/beside-v1/json")["HostConfig"]["RestartPolicy"]["Name"], "always");
        // A trial that a killed run left beside it is found.
        let extra = json!({ "replace": "beside", "env": { "VERSION": "v1", "PORT": yard.port.to_string() }, "restart": "always" });
        yard.docker.ask("POST", "/containers/beside-v1/stop?t=1");
        assert_eq!(yard.bench.drift::<Run>(yard.run("v1", extra)).await, ["state"]);
    }

    #[tokio::test]
    async fn a_deploy_that_was_cut_off_anywhere_is_settled_by_the_next() {
        let yard = Yard::new("cut");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        yard.deploy("v0").await;
        for (round, after) in [20, 60, 150, 300, 600].into_iter().enumerate() {
            let version = format!("r{round}");
            let with: run::With = serde_json::from_value(yard.run(&version, json!({}))).unwrap();
            let (cut, cx) = (with.clone(), yard.cx(&version));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let apply = super::super::rollout::apply(&cut, &cx);
                drop(runtime.block_on(async { tokio::time::timeout(Duration::from_millis(after), apply).await }));
            })
            .join()
            .unwrap();
            Run::apply(&with, &yard.cx(&version)).await.unwrap();
            assert_eq!(yard.answers(), version);
            let running: Vec<String> = yard.containers().into_iter().filter(|found| found.ends_with("running")).collect();
            assert_eq!(running, [format!("cut-{version} running")]);
        }
    }

    #[tokio::test]
    async fn a_retry_waits_for_the_attempt_that_was_given_up() {
        let yard = Yard::new("retries");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        yard.deploy("v1").await;
        let bad = json!({
            "env": { "VERSION": "v2", "PORT": yard.port.to_string(), "MODE": "bad" },
            "health": { "port": yard.port, "path": "/", "every": "20ms", "first_ok_within": "10m" },
        });
        let (with, cx) = (serde_json::from_value(yard.run("v2", bad)).unwrap(), yard.cx("v2"));
        let port = yard.port;
        tokio::select! {
            done = Run::apply(&with, &cx) => panic!("it cannot become well: {done:?}"),
            heard = tokio::task::spawn_blocking(move || until("the bad one", || answer(port) == "v2")) => heard.unwrap(),
        }
        let out = yard.deploy("v2").await;
        assert_eq!((out.container.as_str(), out.previous.as_str(), yard.answers().as_str()), ("retries-v2", "retries-v1", "v2"));
        assert_eq!(yard.containers(), ["retries-v1 exited", "retries-v2 running"]);
        let waited = "another step works on the container retries: waiting for it";
        assert!(yard.bench.logged().iter().any(|line| line == waited), "{:?}", yard.bench.logged());
    }

    #[tokio::test]
    async fn all_that_ran_before_is_kept_with_its_volumes_and_comes_back() {
        let yard = Yard::new("keeps");
        yard.bench.write("ctx/Dockerfile", "FROM scratch\nCOPY app /app\nVOLUME /data\nCMD [\"/app\"]\n");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        let labelled = |version: &str| extended(plain(""), &json!({ "labels": { "version": version } }));
        for version in ["v1", "v2"] {
            yard.apply(version, labelled(version)).await.unwrap();
        }
        let volume = |name: &str| yard.json(&format!("/containers/keeps-{name}/json"))["Mounts"][0]["Name"].as_str().unwrap().to_owned();
        let is_there = |volume: &str| yard.docker.ask("GET", &format!("/volumes/{volume}")).0 == 200;
        // Somebody started the one before again: two run.
        yard.docker.ask("POST", "/containers/keeps-v1/start");
        yard.apply("v3", labelled("v3")).await.unwrap();
        assert_eq!(yard.containers(), ["keeps-v1 exited", "keeps-v2 exited", "keeps-v3 running"]);
        let third = volume("v3");
        let record = yard.bench.intents().into_iter().find(|record| record["key"] == "v3").unwrap();
        Run::undo(&record, &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.containers(), ["keeps-v1 running", "keeps-v2 running"]);
        assert!(!is_there(&third), "what the step made is gone");

        let (first, second) = (volume("v1"), volume("v2"));
        for version in ["v4", "v5"] {
            yard.apply(version, labelled(version)).await.unwrap();
        }
        assert_eq!(yard.containers(), ["keeps-v4 exited", "keeps-v5 running"]);
        assert!(is_there(&first) && is_there(&second), "what older ones wrote stays");
    }

    /// Lets all through to the engine but what removes.
    fn without_delete(socket: std::path::PathBuf) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let one = move |mut asks: TcpStream, mut engine: UnixStream| -> std::io::Result<()> {
            let (mut back, mut answers) = (asks.try_clone()?, engine.try_clone()?);
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            let mut some = [0; 65536];
            loop {
                let read = asks.read(&mut some)?;
                if some[..read].starts_with(b"DELETE ") {
                    return asks.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 26\r\n\r\n{\"message\":\"not for you!\"}");
                }
                if read == 0 {
                    return Ok(());
                }
                engine.write_all(&some[..read])?;
            }
        };
        std::thread::spawn(move || {
            for asks in listener.incoming().flatten() {
                let engine = UnixStream::connect(&socket).unwrap();
                std::thread::spawn(move || one(asks, engine));
            }
        });
        format!("tcp://{address}")
    }

    #[tokio::test]
    async fn an_old_one_that_cannot_be_removed_stays_and_the_new_one_runs() {
        let yard = Yard::new("refused");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        yard.deploy("v1").await;
        yard.deploy("v2").await;
        let out = yard.apply("v3", json!({ "socket": without_delete(yard.docker.socket()) })).await.unwrap();
        assert_eq!((out.container.as_str(), yard.answers().as_str()), ("refused-v3", "v3"));
        assert_eq!(yard.containers(), ["refused-v1 exited", "refused-v2 exited", "refused-v3 running"]);
        let logged = yard.bench.logged();
        assert!(logged.iter().any(|line| line.starts_with("old containers stay: ") && line.contains("not for you!")), "{logged:?}");
    }

    /// Without a port.
    fn plain(mode: &str) -> Value {
        json!({ "network": "none", "env": { "MODE": mode }, "health": null })
    }

    #[tokio::test]
    async fn without_a_port_it_must_live_for_a_second() {
        let yard = Yard::new("plain");
        yard.bench.run::<Build>(yard.build(json!({}))).await.unwrap();
        let out = yard.apply("v1", plain("")).await.unwrap();
        assert_eq!((out.address.as_str(), yard.containers()), ("", vec!["plain-v1 running".to_owned()]));
        let mut again = plain("crash");
        again["restart"] = json!("on-failure:9");
        let wrong = yard.apply("v2", again).await.unwrap_err();
        assert!(
            wrong.message.contains("plain does not run: the container: ") && wrong.message.ends_with("what ran before runs"),
            "{wrong}"
        );
        let mut unreachable = plain("");
        unreachable["health"] = json!({ "port": 80, "first_ok_within": "100ms" });
        let wrong = yard.apply("v3", unreachable).await.unwrap_err();
        assert!(wrong.message.contains("port 80 cannot be reached from this machine: publish it with `ports`"), "{wrong}");
    }
}
