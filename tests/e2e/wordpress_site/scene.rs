//! A machine for a WordPress site, with a database server, a name server and an ACME directory, and what the world sees of it.

use crate::bench::{Bench, Outcome, below, killed_at};
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use trees_servers::mariadb::{MariaDb, PASSWORD};
use trees_servers::pebble::{Options, Pebble};
use trees_servers::powerdns::PowerDns;
use trees_servers::{free_port, program, said};

const TREE: &str = "wordpress-site.yaml";
/// What the secrets of the site are, so that they can be looked for.
const SECRETS: [(&str, &str); 3] = [
    ("DB_PASSWORD", "canary-of-the-database-71'\\"),
    ("SITE_KEY", "canary-of-the-cookies-52"),
    ("ADMIN_PASSWORD", "canary-of-the-administrator-93"),
];

pub struct Scene {
    pub bench: Bench,
    pub mariadb: MariaDb,
    pub powerdns: PowerDns,
    pub pebble: Pebble,
    pub host: String,
    zone: String,
    http: u16,
    https: u16,
    roots: PathBuf,
    environment: &'static str,
    arguments: Vec<String>,
}

/// What stands on the machine and in the name server of the site.
#[derive(Debug, PartialEq)]
pub struct Standing {
    databases: Vec<String>,
    accounts: Vec<String>,
    records: Vec<Value>,
    routes: Vec<String>,
    certificate: bool,
    listening: bool,
}

impl Scene {
    /// For the site in production: its name proved over http, its database behind a socket.
    pub fn whole() -> Self {
        let mut scene = Self::of("production", "");
        let server = scene.mariadb.socket().display().to_string();
        scene.arguments.extend(["-p".to_owned(), format!("server={server}")]);
        scene
    }

    /// The same without what only a browser asks for, which is half of the files.
    pub fn new() -> Self {
        let mut scene = Self::whole();
        let source = scene.bench.home().join("wordpress");
        said(Command::new("cp").args(["-RL", "/usr/share/wordpress"]).arg(&source));
        let mut find = Command::new("find");
        find.arg(&source).args(["-type", "f", "!", "-name", "style.css", "(", "-false"]);
        for ending in ["js", "css", "png", "gif", "jpg", "svg"] {
            find.arg("-o").args(["-name", &format!("*.{ending}")]);
        }
        said(find.args([")", "-delete"]));
        scene.arguments.extend(["-p".to_owned(), format!("source={}", source.display())]);
        scene
    }

    /// The same in staging, which has a name, ports and a database of its own: the name proved by a record, the database behind
    /// a port.
    pub fn in_staging() -> Self {
        let mut scene = Self::of("staging", "staging_");
        scene.host = format!("staging.{}", scene.host);
        let server = format!("127.0.0.1:{}", scene.mariadb.port);
        scene.arguments.extend(["-e", "staging", "-p", "challenge=dns", "-p", &format!("server={server}")].map(str::to_owned));
        scene
    }

    fn of(environment: &'static str, before: &str) -> Self {
        let bench = Bench::new();
        let cookbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("cookbooks/wordpress-site");
        said(Command::new("cp").arg("-R").arg(cookbook.join(".")).arg(bench.dir()));
        let (mariadb, powerdns) = (MariaDb::start(), PowerDns::start());
        let (http, https) = (free_port(), free_port());
        let dns = format!("127.0.0.1:{}", powerdns.port);
        let pebble = Pebble::start(&Options { dns: Some(dns.clone()), ..Options::new(http) });
        let roots = bench.home().join("issuer.pem");
        let fetch = "echo file_get_contents($argv[1], false, stream_context_create(['ssl' => ['cafile' => $argv[2]]]));";
        fs::write(&roots, said(php().args(["-r", fetch, &pebble.issuer()]).arg(pebble.roots()))).unwrap();
        let zone = powerdns.zone();
        let host = format!("blog.{zone}");
        let given = [
            ("domain", host.clone()),
            ("outside", "false".into()),
            ("acme", pebble.directory()),
            ("acme_roots", pebble.roots().display().to_string()),
            ("ca", roots.display().to_string()),
            ("zone", zone.clone()),
            ("dns_api", powerdns.url()),
            ("dns_server", dns),
            ("window", "200ms".into()),
            ("drain", "2s".into()),
        ];
        let mut arguments: Vec<String> = given.into_iter().flat_map(|(name, value)| ["-p".to_owned(), format!("{name}={value}")]).collect();
        for (name, port) in [("port", free_port()), ("http", http), ("https", https)] {
            arguments.extend(["-p".to_owned(), format!("{before}{name}={port}")]);
        }
        let scene = Self { bench, mariadb, powerdns, pebble, host, zone, http, https, roots, environment, arguments };
        for (name, value) in SECRETS {
            let set = scene.bench.run_with_input(&["secret", "set", name, "--project", TREE], value);
            assert_eq!(set.code, 0, "{}", set.stderr);
        }
        scene
    }

    /// A command with all that this machine gives to a run, and parameters on top.
    fn command(&self, command: &[&str], more: &[&str]) -> Command {
        let mut all = command.to_vec();
        all.extend(self.arguments.iter().map(String::as_str));
        all.extend(more.iter().flat_map(|given| ["-p", given]));
        self.with_secrets(&all)
    }

    fn with_secrets(&self, arguments: &[&str]) -> Command {
        let mut command = self.bench.command(arguments);
        command.env("DB_ADMIN_PASSWORD", PASSWORD).env("DNS_KEY", self.powerdns.key);
        command
    }

    pub fn plan(&self, more: &[&str]) -> Outcome {
        Outcome::of(&self.command(&["plan", TREE], more).output().unwrap())
    }

    pub fn drift(&self) -> Outcome {
        Outcome::of(&self.with_secrets(&["drift", TREE]).output().unwrap())
    }

    pub fn run(&self, tree: &str, more: &[&str]) -> Outcome {
        Outcome::of(&self.command(&["run", tree, "--approve", "*"], more).output().unwrap())
    }

    /// A run of the cookbook as it is, which must succeed.
    #[track_caller]
    pub fn up(&self, more: &[&str]) -> Outcome {
        self.run(TREE, more).expect(0)
    }

    pub fn resume(&self) -> Outcome {
        Outcome::of(&self.with_secrets(&["resume", "--yes", "--approve", "*"]).output().unwrap())
    }

    pub fn rollback(&self, run: &str) -> Outcome {
        Outcome::of(&self.with_secrets(&["rollback", run, "--yes"]).output().unwrap())
    }

    /// Runs until an event of this type of a step is told, and kills `trees` then. Whether it was.
    pub fn killed_at(&self, kind: &str, step: &str) -> bool {
        killed_at(&mut self.command(&["run", TREE, "--approve", "*", "--format", "json"], &[]), kind, step)
    }

    /// The same tree whose last look at the front page finds something else.
    pub fn broken(&self) -> &'static str {
        let text = self.bench.read(TREE);
        let broken = text.replace("contains: 'content=\"{{ vars.title }}\"'", "contains: 'content=\"{{ vars.title }} it is not\"'");
        assert_ne!(text, broken);
        self.bench.write("broken.yaml", broken.replace("      stable_for:", "      first_ok_within: 1s\n      stable_for:"));
        "broken.yaml"
    }

    /// The status, where it leads, and the body of what the site answers over https, by its name and its certificate.
    pub fn asked(&self, path: &str, body: Option<&str>) -> (u16, String, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/wordpress_site/ask.php");
        let mut ask = php();
        ask.arg(script).args([&self.host, &self.https.to_string()]).arg(&self.roots).arg(path).args(body);
        let answer = said(&mut ask);
        let (head, body) = answer.split_once('\n').unwrap();
        let (status, place) = head.split_once(' ').unwrap();
        (status.parse().unwrap(), place.to_owned(), body.to_owned())
    }

    /// The title of the front page.
    pub fn title(&self) -> String {
        let (status, _, page) = self.asked("/", None);
        assert_eq!(status, 200, "{page}");
        let after = page.split_once("<title>").unwrap_or_else(|| panic!("no title: {page}")).1;
        after.split_once("</title>").unwrap().0.to_owned()
    }

    /// Whether the administrator gets in with a password.
    pub fn logs_in(&self, password: &str) -> bool {
        let (status, place, _) = self.asked("/wp-login.php", Some(&format!("log=admin&pwd={password}")));
        status == 302 && place == format!("{}/wp-admin/", self.url())
    }

    /// A path in what the site keeps.
    pub fn data(&self, name: &str) -> PathBuf {
        self.bench.path("wordpress-data").join(self.environment).join(name)
    }

    pub fn url(&self) -> String {
        format!("https://{}:{}", self.host, self.https)
    }

    /// What a plain request to the port without the certificate is answered with: its head.
    pub fn plainly(&self) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        write!(stream, "GET /about?a=b HTTP/1.0\r\nHost: {}\r\n\r\n", self.host).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn standing(&self) -> Standing {
        let lines = |statement: &str| self.mariadb.ask(statement).lines().map(str::to_owned).collect();
        let zone: Value = serde_json::from_str(&self.powerdns.content(&self.zone)).unwrap();
        let ours = |set: &&Value| set["name"].as_str().is_some_and(|name| name.ends_with(&format!("{}.", self.host)));
        let routes = self.bench.path(".trees/deploy/wordpress-site");
        let routes = below(&routes).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "conf"));
        let routes = routes.filter(|path| path.parent().is_some_and(|folder| folder.ends_with("routes")));
        Standing {
            databases: lines(
                "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')",
            ),
            accounts: lines("SELECT concat(user, '@', host) FROM mysql.user"),
            records: zone["rrsets"].as_array().unwrap().iter().filter(ours).cloned().collect(),
            routes: routes.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect(),
            certificate: self.data("tls/fullchain.pem").exists(),
            listening: [self.http, self.https].into_iter().any(|port| TcpStream::connect(("127.0.0.1", port)).is_ok()),
        }
    }

    /// How many things were made, changed and taken away at the database server since it began, and how many releases and
    /// processes there were.
    pub fn made(&self) -> (String, usize, usize) {
        let statements = "'Com_create_db','Com_create_table','Com_create_user','Com_grant','Com_alter_table','Com_drop_table',\
                          'Com_drop_db','Com_drop_user'";
        let asked = format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({statements})");
        let folder = |name: &str| {
            let site = self.bench.path(".trees/deploy/wordpress-site").join(self.environment).join("site").join(name);
            fs::read_dir(site).map_or(0, Iterator::count)
        };
        (self.mariadb.ask(&asked), folder("releases"), folder("instances"))
    }

    /// The tables of the site's database.
    pub fn tables(&self) -> Vec<String> {
        let asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'wordpress' ORDER BY 1";
        self.mariadb.ask(asked).lines().map(str::to_owned).collect()
    }

    /// Files in which a secret stands as it is.
    pub fn betrayed(&self) -> Vec<PathBuf> {
        let mut secrets: Vec<&str> = SECRETS.into_iter().map(|(_, value)| value).collect();
        secrets.extend([PASSWORD, self.powerdns.key]);
        self.bench.holding(&secrets)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.bench.end_deployments();
    }
}

fn php() -> Command {
    Command::new(program("php"))
}
