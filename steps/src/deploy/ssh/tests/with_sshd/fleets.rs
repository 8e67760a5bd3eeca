//! Several hosts: waves, a host that fails, locks.

use super::super::super::Ssh;
use super::super::farm::{Farm, kill, until, version};
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use trees_runner::kind::Kind as _;

#[tokio::test]
async fn hosts_are_deployed_to_one_after_another_or_in_waves() {
    let farm = Farm::new(3);
    let out = farm.deploy(farm.all("v1")).await;
    assert_eq!(out.hosts.iter().map(|on| on.host.clone()).collect::<Vec<_>>(), farm.names());
    let serve = |logged: &[String]| -> Vec<usize> {
        let lines = logged.iter().filter(|line| line.ends_with("release v1 serves"));
        lines.map(|line| farm.names().iter().position(|name| line.starts_with(name)).unwrap()).collect()
    };
    assert_eq!(serve(&farm.bench.logged()), [0, 1, 2], "one after another");
    assert!((0..3).all(|host| farm.serving(host) == version("v1")));

    // One that differs is put right; the others are not touched.
    kill(farm.supervisors(1)[0]);
    kill(farm.programs(1)[0]);
    until("the end", || farm.supervisors(1).is_empty() && farm.programs(1).is_empty());
    let before = (farm.listing(0), farm.listing(2));
    assert_eq!(farm.bench.drift::<Ssh>(farm.all("v1")).await, [format!("{}: process", farm.hosts[1].host())]);
    let out = farm.deploy(farm.all("v1")).await;
    assert_eq!(out.hosts.iter().map(|on| on.changed).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!((farm.listing(0), farm.listing(2)), before);

    let mut with = farm.all("v2");
    with["wave"] = json!("67%");
    let out = farm.deploy(with).await;
    assert!(out.hosts.iter().all(|on| on.previous == "v1"));
    let logged = farm.bench.logged();
    let at = |host: usize, text: &str| logged.iter().position(|line| line.starts_with(&farm.names()[host]) && line.contains(text)).unwrap();
    let (first, second, third) =
        (at(0, "sending 1 files of 1"), at(1, "release v2 serves"), logged.iter().rposition(|l| l.contains("sending")).unwrap());
    assert!(first < second && second < third, "the third waits for the first two: {logged:?}");

    farm.undo_last(3).await.unwrap();
    assert!((0..3).all(|host| farm.serving(host) == version("v1") && farm.programs(host).len() == 1));
}

#[tokio::test]
async fn a_host_that_fails_takes_all_back_and_leaves_the_rest() {
    let farm = Farm::new(3);
    farm.deploy(farm.all("v1")).await;
    let untouched = (farm.listing(2), farm.programs(2));
    std::fs::write(farm.hosts[1].home().join("fail-v2"), "").unwrap();
    let mut with = farm.all("v2");
    with["health_timeout"] = json!("3s");
    let wrong = farm.fails(with.clone()).await;
    let names = farm.names();
    let lines: Vec<&str> = wrong.message.lines().collect();
    assert_eq!(lines[0], "not deployed: a host failed");
    assert_eq!(lines[1], format!("{}: taken back to v1", names[0]));
    assert!(lines[2].starts_with(&format!("{}: release v2 is not healthy", names[1])), "{wrong}");
    assert!(wrong.message.contains("release v1 was put back and serves"), "{wrong}");
    assert_eq!(*lines.last().unwrap(), format!("{}: not touched", names[2]));
    assert!((0..3).all(|host| farm.serving(host) == version("v1") && farm.current(host) == version("v1")));
    assert!((0..3).all(|host| farm.programs(host).len() == 1 && !farm.root(host).join("lock").exists()));
    assert!((0..2).all(|host| !farm.root(host).join("releases/v2").exists()));
    let now = farm.listing(2);
    let files = |all: &std::collections::BTreeMap<std::path::PathBuf, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!((files(&now), farm.programs(2)), (files(&untouched.0), untouched.1));
    // Undoing what was taken back already is nothing more.
    let programs = (farm.programs(0), farm.programs(1));
    farm.undo_last(2).await.unwrap();
    assert_eq!((farm.programs(0), farm.programs(1)), programs);

    // The first deploy of all: nothing is left of it anywhere.
    let farm = Farm::new(2);
    std::fs::write(farm.hosts[1].home().join("fail-v1"), "").unwrap();
    let mut with = farm.all("v1");
    with["health_timeout"] = json!("3s");
    with["wave"] = json!(2);
    let wrong = farm.fails(with).await;
    assert!(wrong.message.contains("taken back to nothing"), "{wrong}");
    until("the end of all", || farm.processes().is_empty());
    assert!((0..2).all(|host| !farm.hosts[host].home().join(".trees").exists()), "{wrong}");
}

#[tokio::test]
async fn an_apply_that_was_cut_off_anywhere_is_settled_by_the_next() {
    let farm = Farm::new(1);
    farm.deploy(farm.site("v1")).await;
    for (round, after) in [300, 500, 700, 900, 1200, 1600].into_iter().enumerate() {
        let next = format!("r{round}");
        farm.cut_off(farm.site(&next), Duration::from_millis(after));
        let (out, _) = farm.bench.run::<Ssh>(farm.site(&next)).await.unwrap_or_else(|e| panic!("after {after} ms: {e}"));
        assert_eq!((out.release, farm.answer(), farm.current(0)), (next.clone(), version(&next), version(&next)));
        until("one instance", || farm.programs(0).len() == 1 && farm.supervisors(0).len() == 1);
    }
    // What was recorded for the last can be taken back, whatever was done of it.
    farm.cut_off(farm.site("last"), Duration::from_millis(900));
    farm.undo_last(1).await.unwrap();
    until("one instance", || farm.programs(0).len() == 1);
    assert_eq!(farm.answer(), farm.current(0));
}

#[tokio::test]
async fn a_trial_that_a_killed_deploy_left_is_ended_by_the_next() {
    let farm = Farm::new(1);
    farm.deploy(farm.site("v1")).await;
    let mut with = farm.site("bad");
    with["health_timeout"] = json!("10m");
    farm.cut_off_when(with, || farm.programs(0).len() == 2);
    assert_eq!((farm.answer(), farm.current(0)), (version("v1"), version("v1")));
    farm.deploy(farm.site("v2")).await;
    assert_eq!((farm.answer(), farm.programs(0).len()), (version("v2"), 1));
}

#[tokio::test]
async fn an_intent_alone_is_taken_back_to_what_was() {
    let farm = Farm::new(1);
    farm.deploy(farm.site("v1")).await;
    let pid = farm.programs(0);
    let mut record = farm.bench.intents()[0].clone();
    record["folder"] = json!("v2");
    record["previous"] = json!("v1");
    for _ in 0..2 {
        Ssh::undo(&record, &farm.bench.cx()).await.unwrap();
        assert_eq!((farm.programs(0), farm.current(0)), (pid.clone(), version("v1")));
    }
    // Another release was deployed since: it stays.
    farm.deploy(farm.site("v3")).await;
    Ssh::undo(&record, &farm.bench.cx()).await.unwrap();
    assert_eq!(farm.answer(), version("v3"));
}

#[tokio::test]
async fn two_names_of_one_machine_are_told() {
    let farm = Farm::new(1);
    let user = trees_servers::said(std::process::Command::new("id").arg("-un"));
    let mut with = farm.all("v1");
    with["hosts"] = json!([farm.hosts[0].host(), format!("{}@{}", user.trim(), farm.hosts[0].host())]);
    let wrong = farm.fails(with).await;
    assert!(wrong.message.contains("is the same deployment as that of another of `hosts`") && !wrong.transient, "{wrong}");
    until("the end of all", || farm.processes().is_empty());
    assert_eq!(farm.listing(0).len(), 1);
}

#[tokio::test]
async fn a_journal_that_is_full_changes_nothing() {
    let farm = Farm::new(2);
    farm.bench.fill();
    let wrong = farm.fails(farm.all("v1")).await;
    assert!(wrong.message.contains("the journal is full"), "{wrong}");
    until("the end of all", || farm.processes().is_empty());
    assert!(farm.listing(0).len() == 1 && farm.listing(1).len() == 1);
}

#[tokio::test]
async fn two_deploys_at_once_take_turns() {
    let farm = Farm::new(1);
    let (one, two) = (farm.site("v1"), farm.site("v2"));
    let (one, two) = tokio::join!(farm.bench.run::<Ssh>(one), farm.bench.run::<Ssh>(two));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert_eq!((farm.programs(0).len(), farm.answer()), (1, farm.current(0)));
    assert!(
        farm.bench.logged().iter().any(|line| line.contains("locked by run 0123456789ab, step step, on ")),
        "{:?}",
        farm.bench.logged()
    );
}

#[tokio::test]
async fn a_lock_whose_holder_is_dead_is_taken_over_and_one_that_is_silent_is_told() {
    let farm = Farm::new(1);
    farm.deploy(farm.site("v1")).await;
    let lock = farm.root(0).join("lock");
    let leave = |process: &str, beat: u64| {
        std::fs::create_dir_all(&lock).unwrap();
        std::fs::write(lock.join("holder"), "run dead, step x\n").unwrap();
        std::fs::write(lock.join("beat"), format!("{beat}\n")).unwrap();
        std::fs::write(lock.join("process"), format!("{process}\n")).unwrap();
    };
    leave("1 0@another-boot", 0);
    farm.deploy(farm.site("v2")).await;
    assert!(farm.bench.logged().iter().any(|line| line.contains("took over the lock of run dead")));
    assert!(!lock.exists());

    let mut sleeper = std::process::Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.id())).unwrap();
    let born = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    leave(&format!("{} {born}@{}", sleeper.id(), boot.trim()), 1000);
    let before = farm.listing(0);
    let wrong = farm.fails(farm.site("v3")).await;
    assert!(wrong.message.contains("the deployment is locked by run dead, step x, which has not been heard of for"), "{wrong}");
    assert!(wrong.help.unwrap().contains(&format!("rm -r {}", lock.display())));
    assert_eq!((farm.listing(0), farm.answer()), (before, version("v2")));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    farm.deploy(farm.site("v3")).await;
}
