//! Hosts that are down, slow, or answer nonsense.

use super::super::super::Ssh;
use super::super::farm::{Farm, until, version};
use crate::bench::Bench;
use serde_json::json;
use std::io::Write as _;
use std::net::TcpListener;
use trees_core::event::Json;
use trees_runner::kind::{Kind as _, erase, undo_all};
use trees_servers::sshd::Sshd;

#[tokio::test]
async fn a_host_that_is_down_is_named_and_nothing_is_changed_elsewhere() {
    let mut farm = Farm::new(2);
    farm.deploy(farm.all("v1")).await;
    let with = farm.all("v2");
    let down = farm.hosts.remove(1);
    let (port, name) = (down.port(), down.host());
    let folder = down.stop();
    let before = farm.listing(0);
    for done in [
        Ssh::observe(&serde_json::from_value(with.clone()).unwrap(), &farm.bench.read()).await.map(|_| ()),
        Ssh::apply(&serde_json::from_value(with.clone()).unwrap(), &farm.bench.cx()).await.map(|_| ()),
    ] {
        let wrong = done.unwrap_err();
        assert!(wrong.transient && wrong.message.starts_with(&format!("{name}: cannot connect: ")), "{wrong}");
        assert!(wrong.message.contains("Connection refused"), "{wrong}");
    }
    assert_eq!((farm.listing(0), farm.serving(0)), (before, version("v1")));
    let wrong = farm.undo_last(1).await.unwrap_err();
    assert!(wrong.transient && wrong.message.starts_with(&format!("release v1 was not taken back there: {name}: ")), "{wrong}");
    farm.hosts.push(Sshd::on(folder, port, &[]));
    farm.undo_last(2).await.unwrap();
    until("the end of all", || farm.processes().is_empty());
}

#[tokio::test]
async fn a_host_that_is_down_in_an_undo_is_named_and_the_others_are_taken_back() {
    let mut farm = Farm::new(3);
    farm.deploy(farm.all("v1")).await;
    farm.deploy(farm.all("v2")).await;
    let (port, name) = (farm.hosts[1].port(), farm.hosts[1].host());
    let folder = farm.hosts.remove(1).stop();
    // The newest first, as the runner does it.
    let records: Vec<Json> = farm.bench.intents().into_iter().rev().take(3).collect();
    let cx = farm.bench.cx();
    let wrong = undo_all(&*erase(Ssh), &records, &cx).await.unwrap_err();
    assert!(wrong.transient && wrong.message.starts_with(&format!("release v2 was not taken back there: {name}: ")), "{wrong}");
    assert_eq!(wrong.message.matches("was not taken back").count(), 1, "{wrong}");
    assert!((0..2).all(|host| farm.serving(host) == version("v1") && farm.current(host) == version("v1")));
    farm.hosts.insert(1, Sshd::on(folder, port, &[]));
    assert_eq!(farm.current(1), version("v2"));
    undo_all(&*erase(Ssh), &records, &cx).await.unwrap();
    assert!((0..3).all(|host| farm.serving(host) == version("v1") && farm.current(host) == version("v1")));
}

#[tokio::test]
async fn what_is_no_ssh_or_says_nothing_is_told_in_time() {
    let bench = Bench::new();
    bench.write("ssh_config", "");
    for (answer, limit) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "10"), (&b""[..], "1")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
            if answer.is_empty() {
                // It stays, and says nothing.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        let with = json!({
            "hosts": [format!("127.0.0.1:{port}")], "name": "site", "release": "v1", "command": ["true"],
            "ssh": { "config": "ssh_config", "options": { "ConnectTimeout": limit } },
        });
        let wrong = bench.run::<Ssh>(with).await.unwrap_err();
        assert!(wrong.transient && wrong.message.starts_with(&format!("127.0.0.1:{port}: cannot connect: ")), "{wrong}");
        server.join().unwrap();
    }
}

#[tokio::test]
async fn a_login_that_is_no_shell_is_told() {
    for (line, expected) in [
        ("ForceCommand echo hello there", "it gives us no shell: `hello there`"),
        ("ForceCommand exit 3", "it gives us no shell"),
        (
            "ForceCommand case $SSH_ORIGINAL_COMMAND in echo*) eval \"$SSH_ORIGINAL_COMMAND\" ;; *) echo nonsense ;; esac",
            "it does not answer as a shell does",
        ),
    ] {
        let farm = Farm::with(vec![Sshd::with(&[line])]);
        let wrong = farm.fails(farm.all("v1")).await;
        assert!(wrong.message.contains(expected), "{line}: {wrong}");
        assert_eq!(farm.listing(0).len(), 1);
    }
}

#[tokio::test]
async fn a_login_that_greets_does_not_disturb() {
    let farm = Farm::with(vec![Sshd::with(&["ForceCommand echo Welcome; echo; eval \"$SSH_ORIGINAL_COMMAND\""])]);
    farm.deploy(farm.site("v1")).await;
    assert_eq!(farm.answer(), version("v1"));
    farm.bench.undo::<Ssh>().await.unwrap();
}

#[tokio::test]
async fn a_step_that_is_cancelled_ends_at_once() {
    let farm = Farm::new(1);
    let with = farm.all("v1");
    farm.bench.cancel();
    let wrong = farm.fails(with).await;
    assert!(wrong.transient && wrong.message.contains("ended while connecting"), "{wrong}");
}

#[tokio::test]
async fn a_connection_that_is_lost_midway_fails_and_the_next_settles_it() {
    let mut farm = Farm::new(1);
    farm.deploy(farm.all("v1")).await;
    let mut with = farm.all("slow");
    with["command"] = json!(["sh", "-c", "sleep 1000"]);
    with["health_timeout"] = json!("2s");
    with["port"] = json!(farm.port);
    with["trial"] = json!(false);
    let task = {
        let (with, cx) = (serde_json::from_value(with.clone()).unwrap(), farm.bench.cx());
        tokio::spawn(async move { Ssh::apply(&with, &cx).await })
    };
    while farm.current(0).is_some() && !farm.root(0).join("instances/000002/status").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let host = farm.hosts.remove(0);
    let port = host.port();
    let home = host.home();
    // The sessions go with it, as on a machine that falls silent.
    for pid in Farm::connections(port) {
        let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    let folder = host.stop();
    let wrong = task.await.unwrap().unwrap_err();
    assert!(wrong.message.contains("does not come back either"), "{wrong}");
    farm.hosts.push(Sshd::on(folder, port, &[]));
    assert_eq!(farm.hosts[0].home(), home);
    farm.deploy(farm.all("v1")).await;
    assert_eq!((farm.serving(0), farm.programs(0).len()), (version("v1"), 1));
    until("the end of the other", || farm.supervisors(0).len() == 1);
}
