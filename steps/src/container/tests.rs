//! `container/build`: what is refused without an engine, and all else with a
//! real Docker.

use super::build::Build;
use crate::bench::Bench;
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
fn what_cannot_be_built_is_refused() {
    for (extra, expected) in [
        (json!({ "file": "../Dockerfile" }), "file: `../Dockerfile` is not in the context"),
        (json!({ "tags": ["app"] }), "tags: `app` has no tag"),
        (json!({ "tags": ["a b:1"] }), "tags: `a b:1` is no image's name"),
        (json!({ "tags": [format!("a:1@sha256:{}", "a".repeat(64))] }), "tags: `a:1@"),
        (json!({ "labels": { "trees.x": "" } }), "labels: `trees.x` is one that trees sets itself"),
    ] {
        refused::<Build>(extended(json!({}), &extra), expected);
    }
}

#[tokio::test]
async fn an_engine_that_is_down_is_named() {
    let bench = Bench::new();
    bench.write("Dockerfile", "FROM scratch");
    let build = bench.run::<Build>(json!({ "socket": "nowhere.sock" })).await.map(|_| ()).unwrap_err();
    assert!(build.transient && build.message.contains("no answer from the container engine at unix://"), "{build}");
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
    use super::{Bench, Build, Kind as _, Value, extended, json};
    use std::sync::Arc;
    use trees_servers::docker::Docker;

    /// An engine and a folder with a Dockerfile, under a name of the test's own.
    struct Yard {
        bench: Bench,
        docker: Arc<Docker>,
        name: &'static str,
    }

    impl Yard {
        fn new(name: &'static str) -> Self {
            let yard = Self { bench: Bench::new(), docker: Docker::shared(), name };
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

        fn json(&self, path: &str) -> Value {
            let (status, body) = self.docker.ask("GET", path);
            if status == 200 { serde_json::from_str(&body).unwrap() } else { Value::Null }
        }

        fn image(&self, name: &str) -> Option<String> {
            self.json(&format!("/images/{name}/json"))["Id"].as_str().map(str::to_owned)
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
        assert!(yard.bench.log().iter().any(|line| line.starts_with("Step ")), "{:?}", yard.bench.log());
        let with = yard.build(json!({ "args": { "GIVEN": "x" }, "labels": { "own": "l" } }));
        let (again, acted) = yard.bench.run::<Build>(with.clone()).await.unwrap();
        assert_eq!((again.image, again.changed, acted), (out.image.clone(), false, false));

        // Another tag for the same inputs is set without a build.
        let lines = yard.bench.log().len();
        let two = extended(with.clone(), &json!({ "tags": ["builds:1", "builds:2"] }));
        assert_eq!(yard.bench.drift::<Build>(two.clone()).await, ["tags.builds:2"]);
        assert_eq!(yard.bench.run::<Build>(two).await.unwrap().0.image, out.image);
        assert_eq!((yard.bench.log().len(), yard.image("builds:2")), (lines, Some(out.image.clone())));

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
            ("FROM scratch\nBUILD\n", "unknown instruction: BUILD"),
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
        Build::undo(&yard.bench.intents()[1], &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.image("others:1"), Some(first.clone()));
        yard.docker.ask("POST", &format!("/images/{}/tag?repo=others&tag=1", second.image));
        Build::undo(&yard.bench.intents()[0], &yard.bench.cx()).await.unwrap();
        assert_eq!(yard.image("others:1"), Some(second.image));
        assert!(yard.bench.log().iter().any(|line| line.contains("names another image by now")));
    }
}
