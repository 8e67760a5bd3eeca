//! Host keys, users, configurations.

use super::super::super::Ssh;
use super::super::farm::{Farm, version};
use serde_json::{Value, json};
use trees_servers::said;

fn fingerprint(farm: &Farm, host: usize) -> String {
    let key = farm.hosts[host].folder().join("host_key.pub");
    said(std::process::Command::new("ssh-keygen").arg("-lf").arg(key)).split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_host_key_that_is_not_known_is_refused_with_its_fingerprint_and_the_cure() {
    let farm = Farm::new(2);
    let mut with = farm.all("v1");
    with["ssh"]["known_hosts"] = json!(farm.hosts[0].known());
    let wrong = farm.fails(with.clone()).await;
    let host = farm.hosts[1].host();
    assert!(
        wrong.message.starts_with(&format!("{host}: its host key is not known: it offers ssh-ed25519 {}", fingerprint(&farm, 1))),
        "{wrong}"
    );
    assert!(!wrong.transient);
    let help = wrong.help.unwrap();
    assert!(help.contains(&format!("add what `ssh-keyscan -p {} 127.0.0.1` prints to `known_hosts`", farm.hosts[1].port())), "{help}");
    assert_eq!((farm.listing(0).len(), farm.listing(1).len()), (1, 1), "nothing was changed anywhere");

    // A file: what the message says is the cure.
    farm.bench.write("known hosts", &farm.hosts[0].known());
    with["ssh"]["known_hosts"] = json!("known hosts");
    let wrong = farm.fails(with.clone()).await;
    let file = farm.bench.path("known hosts");
    assert!(wrong.message.contains(&format!("{} has no such key for [127.0.0.1]:{}", file.display(), farm.hosts[1].port())), "{wrong}");
    let help = wrong.help.unwrap();
    let cure = help.rsplit("then `").next().unwrap().trim_end_matches('`');
    assert!(cure.starts_with("ssh-keyscan -p "), "{help}");
    said(std::process::Command::new("sh").args(["-c", cure]));
    farm.deploy(with).await;
    farm.bench.undo::<Ssh>().await.unwrap();
}

#[tokio::test]
async fn a_host_key_that_was_changed_is_refused_with_both_sides() {
    let farm = Farm::new(2);
    let other = farm.hosts[1].known().split_once(' ').unwrap().1.to_owned();
    let line = format!("[127.0.0.1]:{} {other}", farm.hosts[0].port());
    farm.bench.write("known", &line);
    let mut with = farm.all("v1");
    with["hosts"] = json!([farm.hosts[0].host()]);
    for known in [json!("known"), json!(line)] {
        with["ssh"]["known_hosts"] = known;
        let wrong = farm.fails(with.clone()).await;
        let start = format!("{}: its host key was CHANGED: it now offers ssh-ed25519 {}", farm.hosts[0].host(), fingerprint(&farm, 0));
        assert!(wrong.message.starts_with(&start) && !wrong.transient, "{wrong}");
        assert_eq!(farm.listing(0).len(), 1);
    }
    with["ssh"]["known_hosts"] = json!("known");
    let help = farm.fails(with.clone()).await.help.unwrap();
    let cures: Vec<&str> = help.split('`').filter(|part| part.starts_with("ssh-key")).collect();
    let [forget, scan] = cures.as_slice() else { panic!("{help}") };
    for cure in [forget, scan] {
        said(std::process::Command::new("sh").args(["-c", cure]));
    }
    assert_eq!(farm.bench.drift::<Ssh>(with).await, ["absent"]);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so() {
    let farm = Farm::new(1);
    let mut with = farm.all("v1");
    with["ssh"]["identity"] = json!(farm.hosts[0].folder().join("other_key"));
    let wrong = farm.fails(with.clone()).await;
    assert!(wrong.message.starts_with(&format!("{}: it does not let us in: ", farm.hosts[0].host())), "{wrong}");
    assert!(wrong.message.contains("Permission denied") && !wrong.transient, "{wrong}");
    assert!(wrong.help.unwrap().contains("authorized_keys"));
    with["ssh"]["identity"] = json!(farm.hosts[0].folder().join("key"));
    with["hosts"] = json!([format!("nobody-here@{}", farm.hosts[0].host())]);
    assert!(farm.fails(with).await.message.contains("it does not let us in"));
    assert_eq!(farm.listing(0).len(), 1);
}

#[tokio::test]
async fn names_and_options_of_a_configuration_hold_but_cannot_loosen_the_guards() {
    let farm = Farm::new(1);
    let port = farm.hosts[0].port();
    let known = farm.bench.path("known");
    farm.bench.write("known", &farm.hosts[0].known());
    let key = farm.hosts[0].folder().join("key");
    farm.bench.write(
        "ssh_config",
        &format!(
            "Host web\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  RemoteCommand touch evil\n  RequestTTY force\n  \
             StrictHostKeyChecking no\n  LocalForward {} 127.0.0.1:1\n  ExitOnForwardFailure yes\n",
            key.display(),
            known.display(),
            farm.hosts[0].port()
        ),
    );
    let mut with = farm.site("v1");
    with["hosts"] = json!(["web"]);
    with["ssh"] = json!({ "config": "ssh_config" });
    let out = farm.deploy(with.clone()).await;
    assert_eq!((out.hosts[0].host.as_str(), farm.answer()), ("web", version("v1")));
    farm.bench.undo::<Ssh>().await.unwrap();

    farm.bench.write("known", "");
    assert!(farm.fails(with.clone()).await.message.starts_with("web: its host key is not known"));
    // Through another host, as `ProxyJump` does it.
    farm.bench.write("known", &farm.hosts[0].known());
    let config = farm.bench.text("ssh_config").replace("  RemoteCommand touch evil\n  RequestTTY force\n", "");
    farm.bench.write(
        "ssh_config",
        &format!(
            "{config}Host inner\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {}\n  UserKnownHostsFile {}\n",
            key.display(),
            known.display()
        ),
    );
    with["hosts"] = json!(["inner"]);
    with["ssh"] = json!({ "config": "ssh_config", "options": { "ProxyJump": "web", "ConnectTimeout": 20 } });
    let jumped = farm.bench.run::<Ssh>(with.clone()).await;
    match jumped {
        Ok((out, _)) => assert_eq!((out.hosts[0].host.as_str(), farm.answer()), ("inner", version("v1"))),
        Err(wrong) => panic!("{wrong}"),
    }
    farm.bench.undo::<Ssh>().await.unwrap();
}

#[tokio::test]
async fn options_that_ssh_does_not_know_are_said() {
    let farm = Farm::new(1);
    let mut with: Value = farm.all("v1");
    with["ssh"]["options"] = json!({ "NoSuchOption": "x" });
    let wrong = farm.fails(with).await;
    assert!(wrong.message.contains("ssh refuses its configuration") && !wrong.transient, "{wrong}");
}
