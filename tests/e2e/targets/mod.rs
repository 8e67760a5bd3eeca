//! Kinds that change something elsewhere, through the whole program against the real thing.

mod story;

use crate::git::git;
use std::fs;
use story::{Drift, Place};

/// One change by hand.
fn drift<'a>(step: &'a str, field: &'a str, spoil: &'a dyn Fn(), mend: &'a dyn Fn()) -> Drift<'a> {
    Drift { spoil, mend, step, field }
}

#[test]
fn git_merges_tags_and_pushes() {
    let tree = "
tree: t
steps:
  land: { uses: git/merge, with: { folder: code, branch: feature, into: main } }
  mark: { needs: land, uses: git/tag, with: { folder: code, name: v1, commit: main, message: The first, push: origin } }
  send: { needs: mark, uses: git/push, with: { folder: code, branch: main } }
";
    let place = Place::new(tree, &[]);
    let (code, shared, home) = (place.bench.path("code"), place.bench.path("shared.git"), place.bench.home());
    let at = |arguments: &[&str]| git(&code, &home, arguments);
    let there = |arguments: &[&str]| git(&shared, &home, arguments);
    place.bench.write("code/readme", "one");
    fs::write(home.join(".gitconfig"), "[user]\nname = t\nemail = t@localhost\n").unwrap();
    git(&place.bench.dir(), &home, &["init", "--quiet", "--bare", "shared.git"]);
    there(&["config", "core.logAllRefUpdates", "always"]);
    at(&["init", "--quiet", "--initial-branch=main"]);
    at(&["remote", "add", "origin", shared.to_str().unwrap()]);
    at(&["add", "."]);
    at(&["commit", "--quiet", "--message", "one"]);
    at(&["push", "--quiet", "origin", "main"]);
    let first = at(&["rev-parse", "main"]);
    at(&["checkout", "--quiet", "-b", "feature"]);
    place.bench.write("code/feature", "two");
    at(&["add", "."]);
    at(&["commit", "--quiet", "--message", "two"]);

    let refs = "for-each-ref --format=%(refname)%(objectname)".split(' ').collect::<Vec<_>>();
    let world = || {
        let local: Vec<String> = at(&refs).lines().filter(|line| !line.starts_with("refs/remotes/")).map(str::to_owned).collect();
        (local, there(&refs))
    };
    let pushes = || there(&["reflog", "--all", "--format=%gD %gs %H"]);
    let (landed, tagged) = (std::cell::RefCell::default(), std::cell::RefCell::default());
    let back = || {
        landed.replace(there(&["rev-parse", "main"]));
        there(&["update-ref", "refs/heads/main", &first]);
    };
    let forth = || drop(there(&["update-ref", "refs/heads/main", &landed.borrow()]));
    let untag = || {
        tagged.replace(there(&["rev-parse", "v1"]));
        there(&["tag", "--delete", "v1"]);
    };
    let tag = || drop(there(&["update-ref", "refs/tags/v1", &tagged.borrow()]));
    place.story(&world, &pushes, &[drift("send", "refs/heads/main", &back, &forth), drift("mark", "remote", &untag, &tag)]);
}

mod with_postgres {
    use super::{Place, drift};
    use trees_servers::postgres::{PASSWORD, Postgres};

    #[test]
    fn postgres_makes_a_role_and_its_database() {
        let postgres = Postgres::start();
        let tree = format!(
            "
tree: t
secrets: {{ ADMIN: {{}}, SHOP: {{}} }}
x-server: &server {{ server: {}, password: '{{{{ secrets.ADMIN }}}}' }}
steps:
  role: {{ uses: postgres/role, with: {{ <<: *server, name: shop, role_password: '{{{{ secrets.SHOP }}}}', connection_limit: 7 }} }}
  database: {{ needs: role, uses: postgres/database, with: {{ <<: *server, name: shop, owner: shop }} }}
  backup: {{ needs: database, uses: postgres/backup, with: {{ <<: *server, database: shop, folder: backups, release: v1 }} }}
",
            postgres.url()
        );
        let place = Place::new(&tree, &[("ADMIN", PASSWORD), ("SHOP", "Shop-Owner-1")]);
        let ask = |statement: &str| postgres.ask("postgres", statement);
        let world = || {
            ask(
                "SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname = 'shop' UNION ALL SELECT datname, datdba::int FROM pg_database WHERE datname = 'shop'",
            )
        };
        // Each statement that it was sent stands in its log.
        let is_write = |line: &&str| ["CREATE ", "ALTER ", "COMMENT ", "GRANT ", "DROP "].iter().any(|word| line.contains(word));
        let writes = || postgres.logged().lines().filter(is_write).count().to_string() + &place.bench.files().join(" ");
        let dump = || place.bench.path("backups/shop-v1.dump");
        let whole = std::cell::RefCell::default();
        let spoil_dump = || {
            whole.replace(std::fs::read(dump()).unwrap());
            std::fs::write(dump(), "half").unwrap();
        };
        place.story(
            &world,
            &writes,
            &[
                drift("role", "connection_limit", &|| drop(ask("ALTER ROLE shop CONNECTION LIMIT 3")), &|| {
                    drop(ask("ALTER ROLE shop CONNECTION LIMIT 7"));
                }),
                drift("database", "owner", &|| drop(ask("ALTER DATABASE shop OWNER TO postgres")), &|| {
                    drop(ask("ALTER DATABASE shop OWNER TO shop"));
                }),
                drift("backup", "sha256", &spoil_dump, &|| std::fs::write(dump(), &*whole.borrow()).unwrap()),
            ],
        );
        assert!(dump().exists(), "a backup stays");
    }
}

mod with_powerdns {
    use super::{Place, drift};
    use trees_servers::powerdns::PowerDns;

    #[test]
    fn dns_makes_a_record() {
        let server = PowerDns::start();
        let zone = server.zone();
        let tree = format!(
            "
tree: t
secrets: {{ KEY: {{}} }}
steps:
  name:
    uses: dns/record
    with: {{ zone: {zone}, name: app, type: A, values: [192.0.2.1], ttl: 60s, provider: {{ powerdns: {{ url: {}, key: '{{{{ secrets.KEY }}}}' }} }} }}
",
            server.url()
        );
        let place = Place::new(&tree, &[("KEY", server.key)]);
        let set = |address: &str, ttl: u32| {
            let record = format!(
                r#"[{{"name":"app.{zone}.","type":"A","ttl":{ttl},"changetype":"REPLACE","records":[{{"content":"{address}","disabled":false}}]}}]"#
            );
            server.change(&zone, &record);
        };
        let world = || {
            let content: serde_json::Value = serde_json::from_str(&server.content(&zone)).unwrap();
            let mut sets = content["rrsets"].as_array().unwrap().clone();
            sets.retain(|set| set["type"] != "SOA");
            sets.sort_by_key(ToString::to_string);
            sets
        };
        // The serial of the zone goes up with each change.
        let writes = || server.content(&zone);
        let good = || set("192.0.2.1", 60);
        place.story(
            &world,
            &writes,
            &[drift("name", "values", &|| set("192.0.2.9", 60), &good), drift("name", "ttl", &|| set("192.0.2.1", 30), &good)],
        );
    }
}

mod with_pebble {
    use super::{Place, drift};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use trees_servers::free_port;
    use trees_servers::pebble::{Options, Pebble};

    #[test]
    fn acme_makes_a_certificate() {
        let port = free_port();
        let pebble = Pebble::start(&Options::new(port));
        let tree = format!(
            "
tree: t
steps:
  site:
    uses: tls/certificate
    with: {{ names: [shop.test], directory: '{}', roots: {}, folder: tls, challenge: {{ http: {{ port: {port} }} }} }}
",
            pebble.directory(),
            pebble.roots().display()
        );
        let place = Place::new(&tree, &[]);
        let world = || place.bench.files();
        let writes = || format!("{} {}", pebble.orders(), pebble.requests());
        let key = || fs::canonicalize(place.bench.path("tls/privkey.pem")).unwrap();
        let mode = |mode: u32| fs::set_permissions(key(), Permissions::from_mode(mode)).unwrap();
        let link = place.bench.path("tls/chain.pem");
        let unlink = || fs::remove_file(&link).unwrap();
        place.story(
            &world,
            &writes,
            &[
                drift("site", "privkey.mode", &|| mode(0o644), &|| mode(0o600)),
                drift("site", "chain.pem", &unlink, &|| std::os::unix::fs::symlink("current/chain.pem", &link).unwrap()),
            ],
        );
    }
}

mod with_docker {
    use super::{Place, drift};
    use serde_json::Value;
    use trees_servers::docker::Docker;
    use trees_servers::free_port;

    #[test]
    fn an_image_is_built_and_runs() {
        let (docker, port) = (Docker::shared(), free_port());
        let tree = format!(
            "
tree: t
steps:
  image: {{ uses: container/build, with: {{ context: context, tags: ['story:1'], socket: {0} }} }}
  web:
    needs: image
    uses: container/run
    with:
      name: story
      image: story:1
      network: host
      env: {{ PORT: '{port}', VERSION: v1 }}
      health: {{ port: {port}, every: 50ms }}
      drain: 1s
      socket: {0}
",
            docker.socket().display()
        );
        let place = Place::new(&tree, &[]);
        place.bench.write("context/Dockerfile", "FROM scratch\nLABEL story=1\nCOPY app /app\nCMD [\"/app\"]\n");
        std::fs::copy(docker.app(), place.bench.path("context/app")).unwrap();
        let list = |path: &str| -> Vec<Value> { serde_json::from_str(&docker.ask("GET", path).1).unwrap() };
        // Other tests may use the same engine.
        let ours = || {
            let mut containers = list("/containers/json?all=1");
            containers.retain(|container| container["Labels"]["trees.name"] == "story");
            containers
        };
        let image = || list("/images/json").into_iter().find(|image| image["RepoTags"][0] == "story:1").map(|image| image["Id"].clone());
        let world = || (ours().iter().map(|container| (container["Id"].clone(), container["State"].clone())).collect::<Vec<_>>(), image());
        // When it was started last.
        let started = |container: &Value| {
            let (_, text) = docker.ask("GET", &format!("/containers/{}/json", container["Id"].as_str().unwrap()));
            serde_json::from_str::<Value>(&text).unwrap()["State"]["StartedAt"].to_string()
        };
        let writes = || ours().iter().map(started).collect();
        let act = |word: &str| {
            let container = ours().pop().unwrap();
            let (status, said) = docker.ask("POST", &format!("/containers/{}/{word}", container["Id"].as_str().unwrap()));
            assert_eq!(status, 204, "{said}");
        };
        let answers = || while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {};
        let start = || {
            act("start");
            answers();
        };
        place.story(&world, &writes, &[drift("web", "state", &|| act("stop?t=1"), &start)]);
    }
}

mod with_sshd {
    use super::{Place, drift};
    use std::fs;
    use trees_servers::sshd::Sshd;

    #[test]
    fn a_program_is_deployed_to_another_machine() {
        let host = Sshd::start();
        let tree = format!(
            "
tree: t
steps:
  serve:
    uses: deploy/ssh
    with:
      hosts: ['{}']
      name: idle
      release: v1
      command: [./serve]
      files: {{ serve: serve.sh }}
      env: {{ MODE: still }}
      drain: 1s
      supervise: plain
      ssh: {{ config: ssh_config, identity: {}, known_hosts: '{}' }}
",
            host.host(),
            host.folder().join("key").display(),
            host.known().trim()
        );
        let place = Place::new(&tree, &[]);
        place.bench.write("ssh_config", "");
        place.bench.write("serve.sh", "#!/bin/sh\nexec sleep 100000\n");
        fs::set_permissions(place.bench.path("serve.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let root = host.home().join(".trees/deploy/t/default/idle");
        let world = || (fs::read_link(root.join("current")).ok(), fs::read_dir(root.join("releases")).map(Iterator::count).ok());
        let starts = || fs::read_dir(root.join("instances")).map_or(0, Iterator::count).to_string();
        let file = root.join("releases/v1/serve");
        let text = fs::read(place.bench.path("serve.sh")).unwrap();
        place.story(
            &world,
            &starts,
            &[drift("serve", "files.serve", &|| fs::write(&file, "#!/bin/sh\nexec sleep 5\n").unwrap(), &|| {
                fs::write(&file, &text).unwrap()
            })],
        );
        assert!(!root.join("instances").exists(), "nothing runs there any more");
    }
}
