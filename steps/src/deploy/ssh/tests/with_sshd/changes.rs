//! From release to release on one host.

use super::super::super::Ssh;
use super::super::farm::{Farm, Prober, Spy, kill, until, version};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use trees_runner::kind::{Kind as _, Observation};

#[tokio::test]
async fn serves_without_a_second_write_is_restarted_is_found_dead_and_is_removed_whole() {
    let farm = Farm::new(1);
    assert_eq!(farm.bench.drift::<Ssh>(farm.site("v1")).await, ["absent"]);
    assert_eq!(farm.listing(0).len(), 1, "a look writes nothing");
    let out = farm.deploy(farm.site("v1")).await;
    assert_eq!((farm.answer(), out.hosts[0].previous.as_str()), (version("v1"), ""));
    assert_eq!((out.hosts[0].host.clone(), out.hosts[0].url.clone()), (farm.hosts[0].host(), format!("http://127.0.0.1:{}", farm.port)));
    assert_eq!(farm.programs(0), [out.hosts[0].pid]);

    let before = farm.listing(0);
    let (again, acted) = farm.bench.run::<Ssh>(farm.site("v1")).await.unwrap();
    assert_eq!((again.hosts[0].pid, again.changed, acted), (out.hosts[0].pid, false, false));
    let same = Ssh::apply(&serde_json::from_value(farm.site("v1")).unwrap(), &farm.bench.cx()).await.unwrap();
    assert_eq!((same, farm.bench.intents().len()), (again, 1));
    assert_eq!(farm.listing(0), before, "nothing was written there");

    kill(out.hosts[0].pid);
    let status = farm.root(0).join("instances/000001/status");
    until("the restart", || std::fs::read_to_string(&status).is_ok_and(|text| text.contains("restarts 1\n") && text.contains("child ")));
    until("its answer", || farm.answer() == version("v1"));
    assert_eq!(farm.bench.drift::<Ssh>(farm.site("v1")).await, Vec::<String>::new());
    let supervisor = farm.supervisors(0)[0];
    kill(supervisor);
    until("the end of the supervisor", || !farm.supervisors(0).contains(&supervisor));
    assert_eq!(farm.bench.drift::<Ssh>(farm.site("v1")).await, [format!("{}: process", farm.hosts[0].host())]);
    farm.deploy(farm.site("v1")).await;
    assert_eq!((farm.answer(), farm.programs(0).len()), (version("v1"), 1));

    farm.bench.undo::<Ssh>().await.unwrap();
    assert_eq!((farm.answer(), farm.programs(0).len(), farm.supervisors(0).len()), (None, 0, 0));
    let left: Vec<_> = farm.listing(0).into_keys().skip(1).collect();
    assert_eq!(left, [farm.hosts[0].home().join("serving")], "all that it made is gone");
}

#[tokio::test]
async fn the_next_release_takes_its_place_and_gives_it_back() {
    let farm = Farm::new(1);
    farm.deploy(farm.site("v1")).await;
    let prober = Prober::start(farm.port);
    let out = farm.deploy(farm.site("v2")).await;
    assert_eq!((out.hosts[0].previous.as_str(), farm.current(0)), ("v1", version("v2")));
    until("the new answer", || farm.answer() == version("v2"));
    let mut heard = prober.heard();
    heard.retain(Option::is_some);
    assert_eq!(heard, [version("v1"), version("v2")], "never back and forth");
    assert_eq!((farm.programs(0).len(), farm.supervisors(0).len()), (1, 1));

    let records = farm.bench.intents();
    for _ in 0..2 {
        Ssh::undo(&records[1], &farm.bench.cx()).await.unwrap();
        assert_eq!((farm.answer(), farm.current(0), farm.programs(0).len()), (version("v1"), version("v1"), 1));
    }
    assert!(!farm.root(0).join("releases/v2").exists());
    assert!(!farm.bench.run::<Ssh>(farm.site("v1")).await.unwrap().1);
}

#[tokio::test]
async fn an_unhealthy_release_leaves_the_one_before_untouched() {
    let farm = Farm::new(1);
    let pid = farm.deploy(farm.site("v1")).await.hosts[0].pid;
    for (bad, expected) in [("bad", "503: bad"), ("crash", "the process has ended: exit status: 9")] {
        let prober = Prober::start(farm.port);
        let mut with = farm.site(bad);
        with["health_timeout"] = json!("2s");
        let wrong = farm.fails(with).await;
        assert_eq!(prober.heard(), [version("v1")], "no request went wrong");
        let start = format!("{}: release {bad} is not healthy; what served before it still serves\n", farm.hosts[0].host());
        assert!(wrong.message.starts_with(&start), "{wrong}");
        assert!(wrong.message.contains(expected) && wrong.message.contains(&format!("version {bad} starts")), "{wrong}");
        assert_eq!((farm.current(0), farm.root(0).join(format!("releases/{bad}")).exists()), (version("v1"), false));
        assert_eq!(farm.programs(0), [pid]);
    }
    farm.bench.undo::<Ssh>().await.unwrap();
    assert!(!farm.root(0).exists());
}

#[tokio::test]
async fn what_fails_only_on_the_real_port_is_replaced_by_the_one_before() {
    let farm = Farm::new(1);
    farm.deploy(farm.site("v1")).await;
    let mut with = farm.site("v2");
    with["env"]["FAIL_ON"] = json!(format!("real {}", farm.port));
    let wrong = farm.fails(with.clone()).await;
    assert!(
        wrong.message.contains("release v2 is not healthy") && wrong.message.ends_with("release v1 was put back and serves"),
        "{wrong}"
    );
    assert_eq!((farm.answer(), farm.current(0), farm.programs(0).len()), (version("v1"), version("v1"), 1));

    with["release"] = json!("v3");
    with["trial"] = json!(false);
    std::fs::remove_file(farm.root(0).join("releases/v1/version")).unwrap();
    let wrong = farm.fails(with).await;
    assert!(wrong.message.contains("release v1 does not come back either"), "{wrong}");
}

#[tokio::test]
async fn a_first_release_that_is_unhealthy_leaves_nothing() {
    let farm = Farm::new(1);
    let wrong = farm.fails(farm.site("crash")).await;
    assert!(wrong.message.contains(": release crash is not healthy\n"), "{wrong}");
    assert_eq!((farm.listing(0).len(), farm.programs(0).len(), farm.supervisors(0).len()), (1, 0, 0));
    farm.bench.undo::<Ssh>().await.unwrap();
    assert_eq!(farm.listing(0).len(), 1);
}

#[tokio::test]
async fn drift_names_the_field_and_no_value_of_the_environment() {
    let farm = Farm::new(1);
    let host = farm.hosts[0].host();
    farm.deploy(farm.site("v1")).await;
    std::fs::write(farm.root(0).join("releases/v1/version"), "by hand").unwrap();
    assert_eq!(farm.bench.drift::<Ssh>(farm.site("v1")).await, [format!("{host}: files.version")]);
    let mut with = farm.site("v1");
    with["env"]["TOKEN"] = json!("s3cret");
    with["command"].as_array_mut().unwrap().push(json!("--quiet"));
    let Observation::Differs(changes) = farm.bench.observe::<Ssh>(with).await else { panic!("it differs") };
    assert!(!format!("{changes:?}").contains("s3cret"));
    let fields: Vec<&str> = changes.iter().map(|c| c.field.strip_prefix(&format!("{host}: ")).unwrap()).collect();
    assert_eq!(fields, ["command", "files.version", "env.TOKEN"]);
    farm.deploy(farm.site("v1")).await;
    assert_eq!((farm.answer(), farm.current(0)), (version("v1"), version("v1")));

    let mut with = farm.site("v1");
    with["env"]["TOKEN"] = json!("s3cret-canary");
    let spy = Spy::start("s3cret-canary");
    let out = farm.deploy(with).await;
    assert_eq!(spy.found(), Vec::<String>::new(), "it stood in no command line");
    assert_eq!(out.release, "v1");
    assert!(farm.current(0).unwrap().starts_with("v1+"), "the same name with another content");
    assert!(!json!(farm.bench.intents()).to_string().contains("s3cret"));
}

#[tokio::test]
async fn only_the_files_of_the_one_that_serves_hold_a_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    let farm = Farm::new(1);
    let holding = || -> Vec<PathBuf> {
        let holds = |path: &PathBuf| path.is_file() && std::fs::read(path).unwrap().windows(12).any(|bytes| bytes == b"canary-s3cre");
        farm.listing(0).into_keys().filter(holds).collect()
    };
    let with = |version: &str| {
        let mut with = farm.site(version);
        with["env"]["TOKEN"] = json!("canary-s3cret");
        with["command"].as_array_mut().unwrap().push(json!("--skip=canary-s3cret"));
        with
    };
    farm.deploy(with("v1")).await;
    farm.deploy(with("v2")).await;
    // Tried and served: v1 first, then the trial and v2 itself.
    let live = farm.root(0).join("instances/000003");
    let argument = std::fs::read_dir(live.join("argv")).unwrap().count() - 1;
    assert_eq!(holding(), [live.join(format!("argv/{argument:06}")), live.join("env/TOKEN")]);
    for path in holding() {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o77, 0, "{} is read by its owner alone", path.display());
    }
    let mut bad = with("bad");
    bad["health_timeout"] = json!("1s");
    farm.fails(bad).await;
    assert_eq!(holding().len(), 2);
    // What a killed supervisor left goes with the next deploy, and a rollback still knows how v2 is started.
    kill(farm.supervisors(0)[0]);
    kill(farm.programs(0)[0]);
    until("their end", || farm.processes().is_empty());
    farm.deploy(with("v3")).await;
    assert_eq!((holding().len(), live.join("argv").exists()), (2, false));
    farm.undo_last(1).await.unwrap();
    assert_eq!((farm.answer(), holding().len()), (version("v2"), 2));
    farm.bench.undo::<Ssh>().await.unwrap();
    assert_eq!(holding(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_release_sealed_with_another_master_key_is_deployed_over_and_not_gone_back_to() {
    let farm = Farm::new(1);
    farm.deploy(farm.site("v1")).await;
    let path = farm.root(0).join("releases/v1.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((&record["command"], &record["env"]), (&json!([]), &json!({})));
    record["sealed"] = json!("YW5vdGhlciBrZXk=");
    std::fs::write(&path, format!("{record}\n")).unwrap();
    let Observation::Differs(changes) = farm.bench.observe::<Ssh>(farm.site("v1")).await else { panic!("it differs") };
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].field, format!("{}: release", farm.hosts[0].host()));
    assert_eq!(changes[0].old, "v1, whose start is not known here: release v1 of site (proof) cannot be opened");

    let out = farm.deploy(farm.site("v2")).await;
    assert_eq!((out.hosts[0].previous.as_str(), farm.answer()), ("v1", version("v2")));
    let wrong = farm.undo_last(1).await.unwrap_err();
    assert!(wrong.message.ends_with("release v1 of site (proof) cannot be opened"), "{wrong}");
    assert!(wrong.help.unwrap().contains("the same TREES_MASTER_KEY on all machines"));
    assert_eq!((farm.answer(), farm.current(0)), (version("v2"), version("v2")));
    // Whether it is the same cannot be told: it counts as another content.
    farm.deploy(farm.site("v1")).await;
    assert!(farm.current(0).unwrap().starts_with("v1+") && farm.answer() == version("v1"));
}

#[tokio::test]
async fn every_byte_of_arguments_and_environment_arrives() {
    let farm = Farm::new(1);
    let hostile = [
        "",
        "a b",
        "it's",
        "\"q\"",
        "back\\slash\\",
        "$(touch evil) `touch evil` ${HOME}",
        "a\nb\n\n",
        "\t",
        "*",
        "-n",
        "ünï€\u{81}\u{88}",
        "'\\''",
        "%s\\n",
        "{port}-not",
        "; exit 3",
        "\u{1}\u{7f}",
        "!!",
    ];
    let script = "for word; do printf '%s\\0' \"$word\"; done > arguments; env -0 > environment; exec sleep 1000";
    let mut command = vec!["sh", "-c", script, "sh"];
    command.extend(hostile);
    let env: serde_json::Map<String, Value> =
        hostile.iter().enumerate().map(|(n, value)| (format!("H{n}"), json!(value))).chain([("value".into(), json!("x"))]).collect();
    let mut with = farm.all("v1");
    with["files"] = json!({ "a folder/with 'quotes' $(x)": "v1/version" });
    with["command"] = json!(command);
    with["env"] = Value::Object(env.clone());
    with["root"] = json!("~/it's a $(touch evil) folder");
    farm.deploy(with.clone()).await;
    let folder = farm.hosts[0].home().join("it's a $(touch evil) folder/releases/v1");
    until("the environment", || std::fs::read(folder.join("environment")).is_ok_and(|bytes| bytes.ends_with(b"\0")));
    let expected: Vec<u8> = hostile.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    assert_eq!(String::from_utf8(std::fs::read(folder.join("arguments")).unwrap()).unwrap(), String::from_utf8(expected).unwrap());
    let bytes = std::fs::read(folder.join("environment")).unwrap();
    let there: Vec<&[u8]> = bytes.split(|b| *b == 0).collect();
    for (name, value) in env {
        let line = format!("{name}={}", value.as_str().unwrap());
        assert!(there.contains(&line.as_bytes()), "{line:?}");
    }
    assert!(!there.iter().any(|line| line.starts_with(b"SSH_") || line.starts_with(b"LC_ALL=")), "nothing of our session is in it");
    assert!(folder.join("a folder/with 'quotes' $(x)").is_file());
    assert!(!farm.listing(0).keys().any(|path| path.ends_with("evil")), "nothing was run");
    assert!(!farm.bench.run::<Ssh>(with).await.unwrap().1);
    farm.bench.undo::<Ssh>().await.unwrap();
}

#[tokio::test]
async fn files_arrive_with_their_modes_and_only_what_changed_is_sent() {
    use std::os::unix::fs::PermissionsExt as _;
    let farm = Farm::new(1);
    let mut with = farm.all("v1");
    farm.bench.write("tool", "#!/bin/sh\nexec sleep 1000\n");
    std::fs::set_permissions(farm.bench.path("tool"), std::fs::Permissions::from_mode(0o750)).unwrap();
    std::fs::create_dir_all(farm.bench.path("v1/empty")).unwrap();
    farm.bench.write("v1/big", &"x".repeat(3 << 20));
    with["files"] = json!({ "bin/tool": "tool", "data": "v1" });
    with["command"] = json!(["./bin/tool"]);
    with["keep"] = json!(2);
    farm.deploy(with.clone()).await;
    let release = farm.root(0).join("releases/v1");
    assert_eq!(std::fs::metadata(release.join("bin/tool")).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(release.join("data/empty").is_dir() && std::fs::metadata(release.join("data/big")).unwrap().len() == 3 << 20);
    for next in ["v2", "v3"] {
        farm.bench.write("v1/version", next);
        with["release"] = json!(next);
        farm.deploy(with.clone()).await;
    }
    assert!(!release.exists() && farm.root(0).join("releases/v2").exists(), "`keep` of them stay");
    assert_eq!(std::fs::read_to_string(farm.root(0).join("current/data/version")).unwrap(), "v3");
    let sent: Vec<String> = farm.bench.logged().into_iter().filter(|line| line.contains("sending")).collect();
    assert!(sent[0].contains("sending 3 files of 3 (30") && sent[2].contains("sending 1 files of 3 ("), "{sent:?}");
}

#[tokio::test]
async fn an_attempt_that_is_given_up_puts_the_release_before_back() {
    let farm = Farm::new(1);
    let first = farm.deploy(farm.site("v1")).await.hosts[0].pid;
    let mut with = farm.site("bad");
    with["trial"] = json!(false);
    with["health_timeout"] = json!("10m");
    let with = serde_json::from_value(with).unwrap();
    let cx = farm.bench.cx();
    tokio::select! {
        done = Ssh::apply(&with, &cx) => panic!("it cannot become healthy: {done:?}"),
        () = async { while farm.answer() != version("bad") { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
    }
    while farm.answer() != version("v1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (out, _) = farm.bench.run::<Ssh>(farm.site("v1")).await.unwrap();
    assert!(out.hosts[0].pid != first && farm.current(0) == version("v1"));
}
