//! Hosts of other kinds: with systemd, without SHA-256, full, read-only, without what is needed.

use super::super::super::Ssh;
use super::super::farm::{Farm, until, version};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use trees_servers::sshd::Sshd;

/// A folder for PATH with links to these programs.
fn programs(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        let found =
            std::env::split_paths("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").map(|place| place.join(name)).find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), folder.path().join(name)).unwrap();
    }
    folder
}

const NEEDED: &[&str] = &[
    "sh", "tar", "find", "sed", "cat", "cp", "mv", "rm", "ln", "mkdir", "rmdir", "stat", "df", "date", "sleep", "tail", "wc", "id", "ls",
    "tr", "grep", "readlink", "cksum", "nohup",
];

fn on(path: &Path) -> Farm {
    Farm::with(vec![Sshd::with(&[&format!("SetEnv PATH={}", path.display())])])
}

#[tokio::test]
async fn a_host_with_little_is_enough() {
    let path = programs(NEEDED);
    let farm = on(path.path());
    farm.deploy(farm.site("v1")).await;
    assert_eq!(farm.answer(), version("v1"));
    let record = std::fs::read_to_string(farm.root(0).join("releases/v1.json")).unwrap();
    assert!(record.contains("\"version\":\"cksum "), "{record}");
    assert!(farm.bench.logged().iter().any(|line| line.contains("there is no `setsid`")));
    assert!(!farm.bench.run::<Ssh>(farm.site("v1")).await.unwrap().1);
    std::fs::write(farm.root(0).join("releases/v1/version"), "v2").unwrap();
    assert_eq!(farm.bench.drift::<Ssh>(farm.site("v1")).await, [format!("{}: files.version", farm.hosts[0].host())]);
    farm.deploy(farm.site("v2")).await;
    assert_eq!((farm.answer(), farm.programs(0).len()), (version("v2"), 1));
    farm.bench.undo::<Ssh>().await.unwrap();
    until("the end of all", || farm.processes().is_empty());
}

#[tokio::test]
async fn a_host_that_cannot_be_deployed_to_is_found_before_anything_is_changed() {
    let few: Vec<&str> = NEEDED.iter().copied().filter(|name| !["tar", "stat"].contains(name)).collect();
    let path = programs(&few);
    let farm = Farm::with(vec![Sshd::start(), Sshd::with(&[&format!("SetEnv PATH={}", path.path().display())])]);
    let name = farm.hosts[1].host();
    let wrong = farm.fails(farm.all("v1")).await;
    assert_eq!(wrong.message, format!("{name}: it has no tar, stat"));
    let mut with = farm.all("v1");
    with["root"] = json!("/dev/null/x");
    let wrong = farm.fails(with.clone()).await.message;
    assert!(wrong.contains("cannot write in `/dev/null`, for `/dev/null/x`") && wrong.contains("it has no tar"), "{wrong}");
    with["root"] = json!(farm.hosts[0].home().join("big"));
    with["supervise"] = json!("systemd");
    let wrong = farm.fails(with).await;
    assert!(wrong.message.contains("`systemctl --user` of "), "{wrong}");
    assert_eq!((farm.listing(0).len(), farm.listing(1).len()), (1, 1));
}

#[tokio::test]
async fn files_that_do_not_arrive_whole_are_never_started() {
    let path = programs(&NEEDED.iter().copied().filter(|name| *name != "tar").collect::<Vec<_>>());
    let tar = path.path().join("tar");
    std::fs::write(&tar, "#!/bin/sh\nPATH=/usr/bin:/bin tar \"$@\" && { [ ! -e version ] || echo damaged >> version; }\n").unwrap();
    std::fs::set_permissions(&tar, std::fs::Permissions::from_mode(0o755)).unwrap();
    let farm = on(path.path());
    let wrong = farm.fails(farm.site("v1")).await;
    assert!(wrong.transient && wrong.message.contains("`version` did not arrive as it is here"), "{wrong}");
    until("the end of all", || farm.processes().is_empty());
    assert_eq!(farm.listing(0).len(), 1, "nothing of it is left");
}

/// A `systemctl` that does for a user what systemd does: units are files in the folder of the user, and a unit
/// that is started is a shell that runs its ExecStart until it is stopped.
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$1" = --user ] || exit 1
shift
state=$HOME/.systemd-twin
units=$HOME/.config/systemd/user
mkdir -p "$state"
for last; do :; done
printf '%s\n' "$*" >> "$state/calls"
pid() { cat "$state/$1.pid" 2> /dev/null; }
case $1 in
  show-environment | daemon-reload) ;;
  enable) [ -f "$units/$last" ] && : > "$state/$last.enabled" ;;
  disable) rm -f "$state/$last.enabled" ;;
  start)
    line=$(sed -n 's/^ExecStart=//p' "$units/$last")
    log=$(sed -n 's/^StandardOutput=append://p' "$units/$last")
    eval "exec setsid $line" < /dev/null >> "$log" 2>&1 &
    echo $! > "$state/$last.pid" ;;
  stop | kill) kill -s TERM -- "-$(pid "$last")" 2> /dev/null; rm -f "$state/$last.pid" ;;
  show)
    now=$(pid "$last")
    if [ -n "$now" ] && kill -0 "$now" 2> /dev/null; then active=active; else active=failed now=0; fi
    [ ! -e "$state/stays" ] || case $last in *-000001.service) active=deactivating ;; esac
    case $3 in
      ActiveState) echo "ActiveState=$active" ;;
      MainPID) echo "MainPID=$now" ;;
      NRestarts) echo NRestarts=0 ;;
      Result) echo Result=success ;;
    esac ;;
esac
"#;

/// A folder for PATH with that `systemctl`.
fn programs_with_systemd() -> TempDir {
    let path = programs(&[NEEDED, &["setsid", "sha256sum", "env"]].concat());
    write(&path, "systemctl", SYSTEMCTL);
    path
}

fn write(path: &TempDir, name: &str, text: &str) {
    let file: PathBuf = path.path().join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

const LINGERS: &str = "#!/bin/sh\necho Linger=yes\n";

#[tokio::test]
async fn the_next_release_stays_where_the_one_before_cannot_be_ended() {
    let path = programs_with_systemd();
    write(&path, "loginctl", LINGERS);
    let farm = on(path.path());
    let site = |version: &str| {
        let mut with = farm.site(version);
        with["supervise"] = json!("systemd");
        with
    };
    farm.deploy(site("v1")).await;
    let stays = farm.hosts[0].home().join(".systemd-twin/stays");
    std::fs::write(&stays, "").unwrap();
    farm.deploy(site("v2")).await;
    assert_eq!((farm.answer(), farm.current(0)), (version("v2"), version("v2")));
    assert!(farm.root(0).join("releases/v2.json").is_file() && farm.root(0).join("releases/v2").is_dir());
    let told = format!("{}: the process in {} cannot be ended", farm.hosts[0].host(), farm.root(0).join("instances/000001").display());
    let logged = farm.bench.logged();
    assert!(logged.iter().any(|line| line.contains(&told) && line.contains("release v2 serves beside it")), "{logged:?}");
    std::fs::remove_file(stays).unwrap();
    farm.deploy(site("v3")).await;
    assert_eq!((farm.answer(), farm.programs(0).len()), (version("v3"), 1));
    farm.bench.undo::<Ssh>().await.unwrap();
}

#[tokio::test]
async fn systemd_supervises_where_it_stays() {
    let path = programs_with_systemd();
    let farm = on(path.path());
    let site = |version: &str, supervise: &str| {
        let mut with = farm.site(version);
        with["supervise"] = json!(supervise);
        with["env"]["SECRET"] = json!("s3cret \"quoted\" $HOME %h \\");
        with
    };
    // Without lingering it would end with our session.
    let wrong = farm.fails(site("v1", "systemd")).await;
    assert!(wrong.help.unwrap().contains("loginctl enable-linger"));
    write(&path, "loginctl", LINGERS);
    farm.deploy(site("v1", "auto")).await;
    let units = farm.hosts[0].home().join(".config/systemd/user");
    let unit = |n: usize| {
        std::fs::read_dir(&units).unwrap().flatten().find(|e| e.file_name().to_str().unwrap().ends_with(&format!("-{n:06}.service")))
    };
    let text = std::fs::read_to_string(unit(1).unwrap().path()).unwrap();
    assert!(
        text.contains("Description=site v1 (trees:proof)\n") && text.contains("Restart=always\n") && !text.contains("s3cret"),
        "{text}"
    );
    assert_eq!((farm.answer(), farm.supervisors(0).len(), farm.programs(0).len()), (version("v1"), 0, 1));
    assert!(!farm.bench.run::<Ssh>(site("v1", "systemd")).await.unwrap().1);
    let environment = std::fs::read(format!("/proc/{}/environ", farm.programs(0)[0])).unwrap();
    assert!(environment.split(|b| *b == 0).any(|line| line == b"SECRET=s3cret \"quoted\" $HOME %h \\"));

    let out = farm.deploy(site("v2", "systemd")).await;
    assert_eq!((farm.answer(), out.hosts[0].previous.as_str()), (version("v2"), "v1"));
    until("one", || farm.programs(0).len() == 1);
    assert!(unit(1).is_none() && unit(3).is_some(), "the trial was the second, and had no unit");
    assert_eq!(farm.bench.drift::<Ssh>(site("v2", "plain")).await, [format!("{}: supervise", farm.hosts[0].host())]);
    std::fs::write(farm.hosts[0].home().join("fail-v3"), "").unwrap();
    let mut with = site("v3", "auto");
    with["trial"] = json!(false);
    assert!(farm.fails(with).await.message.ends_with("release v2 was put back and serves"));
    assert_eq!(farm.answer(), version("v2"));
    farm.bench.undo::<Ssh>().await.unwrap();
    until("the end of all", || farm.processes().is_empty());
    assert_eq!(std::fs::read_dir(&units).unwrap().count(), 0);
}

#[tokio::test]
async fn a_host_that_lets_no_port_be_reached_is_told_with_the_cure() {
    let farm = Farm::with(vec![Sshd::with(&["AllowTcpForwarding no"])]);
    let mut with = farm.site("v1");
    let wrong = farm.fails(with.clone()).await;
    assert!(
        wrong.message.contains("its sshd does not let us reach the port") && wrong.message.contains("AllowTcpForwarding local"),
        "{wrong}"
    );
    until("the end of all", || farm.processes().is_empty());
    // Whether somebody listens is told by the host itself.
    with["health"] = json!(null);
    farm.deploy(with).await;
    assert_eq!(farm.answer(), version("v1"));
    farm.bench.undo::<Ssh>().await.unwrap();
}
