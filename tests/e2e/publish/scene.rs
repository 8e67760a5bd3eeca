//! A service in staging and production with real parts around it: nginx, a database, a name server, a directory that makes
//! certificates, a mail server, a program that hears a webhook.

use super::hook::{Hook, Message};
use super::web::Site;
use crate::bench::{Bench, Outcome, below, killed_at};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use trees_servers::pebble::{Options, Pebble};
use trees_servers::postgres::{PASSWORD, Postgres};
use trees_servers::powerdns::PowerDns;
use trees_servers::smtp::{Smtp, Ways};
use trees_servers::{free_port, said};

/// The steps of the tree that do something here, in their order.
pub const NODES: [&str; 19] = [
    "policy",
    "build",
    "stage",
    "staged",
    "pinned",
    "backup",
    "migrate",
    "certificate",
    "lane",
    "beside",
    "window",
    "route",
    "name",
    "named",
    "certified",
    "promote",
    "answers",
    "mail",
    "webhook",
];

/// Those that a failure at the end takes back, in the order of that.
pub const UNDONE: [&str; 6] = ["promote", "route", "beside", "migrate", "backup", "stage"];

const MAIL_PASSWORD: &str = "canary-of-the-mail-7Qx";
const WEBHOOK_SECRET: &str = "canary-of-the-hook-9Zt";

pub struct Scene {
    pub bench: Bench,
    /// Production, from outside.
    pub site: Site,
    staging: Site,
    zone: String,
    database: String,
    arguments: Vec<String>,
    postgres: Arc<Postgres>,
    powerdns: PowerDns,
    _pebble: Pebble,
    smtp: Smtp,
    hook: Hook,
}

/// A folder with the cookbook.
pub fn kitchen() -> Bench {
    let bench = Bench::new();
    let cookbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("cookbooks/publish");
    said(Command::new("cp").arg("-R").arg(cookbook.join(".")).arg(bench.dir()));
    bench
}

/// `-p name=value` of each.
pub fn arguments(given: &[(&str, String)]) -> Vec<String> {
    given.iter().flat_map(|(name, value)| ["-p".to_owned(), format!("{name}={value}")]).collect()
}

/// Four free ports: where it listens in staging and production, and the two places behind.
pub fn ports(port: u16) -> [(&'static str, String); 6] {
    let free = || free_port().to_string();
    let [window, drain] = [("window", "200ms".to_owned()), ("drain", "2s".to_owned())];
    [("port", port.to_string()), ("staging_port", free()), ("blue", free()), ("green", free()), window, drain]
}

impl Scene {
    pub fn new() -> Self {
        let bench = kitchen();
        let (postgres, powerdns, hook) = (Postgres::shared(), PowerDns::start(), Hook::start());
        let (zone, port) = (powerdns.zone(), free_port());
        let dns = format!("127.0.0.1:{}", powerdns.port);
        let pebble = Pebble::start(&Options { dns: Some(dns.clone()), ..Options::new(free_port()) });
        let smtp = Smtp::start(Ways { tls: "starttls", login: &format!("publish:{MAIL_PASSWORD}"), ..Ways::default() });
        let own = fs::read(pebble.roots()).unwrap();
        let root = Site::secure(pebble.management, "localhost", &own).get("/roots/0").unwrap();
        let roots = [own, root.into_bytes(), fs::read(smtp.roots()).unwrap()].concat();
        bench.write("roots.pem", &roots);
        let database = format!("publish_{port}");
        postgres.ask("postgres", &format!("CREATE DATABASE {database}"));
        let places = ports(port);
        let staging = Site::plain(places[1].1.parse().unwrap());
        let given = [
            ("database", format!("{}/{database}", postgres.url())),
            ("migrations", "migrations".into()),
            ("zone", zone.clone()),
            ("dns_api", powerdns.url()),
            ("dns_server", dns),
            ("acme", pebble.directory()),
            ("roots", "roots.pem".into()),
            ("mail_to", "ada@example.org".into()),
            ("mail_from", "publish@example.org".into()),
            ("mail_host", "127.0.0.1".into()),
            ("mail_port", smtp.port.to_string()),
            ("mail_user", "publish".into()),
            ("webhook", hook.url()),
        ];
        let arguments = [arguments(&places), arguments(&given)].concat();
        let site = Site::secure(port, &format!("app.{zone}"), &roots);
        Self { bench, site, staging, zone, database, arguments, postgres, powerdns, _pebble: pebble, smtp, hook }
    }

    /// A command with all that this scene gives to a run.
    pub fn command(&self, command: &[&str], file: &str, version: &str) -> Command {
        let mut all = command.to_vec();
        let version = format!("version={version}");
        all.extend([file, "-p", &version]);
        all.extend(self.arguments.iter().map(String::as_str));
        self.with_secrets(&all)
    }

    fn with_secrets(&self, arguments: &[&str]) -> Command {
        let mut command = self.bench.command(arguments);
        command.env("DATABASE_PASSWORD", PASSWORD).env("DNS_KEY", self.powerdns.key);
        command.env("MAIL_PASSWORD", MAIL_PASSWORD).env("WEBHOOK_SECRET", WEBHOOK_SECRET);
        command
    }

    pub fn plan(&self, version: &str) -> Outcome {
        Outcome::of(&self.command(&["plan"], "publish.yaml", version).output().unwrap())
    }

    pub fn run(&self, file: &str, version: &str) -> Outcome {
        Outcome::of(&self.command(&["run", "--approve", "*"], file, version).output().unwrap())
    }

    pub fn resume(&self) -> Outcome {
        Outcome::of(&self.with_secrets(&["resume", "@last", "--yes"]).output().unwrap())
    }

    /// Runs until an event of this type of a step is told, and kills `trees` then. Whether it was.
    pub fn killed_at(&self, file: &str, version: &str, kind: &str, step: &str) -> bool {
        let mut command = self.command(&["run", "--approve", "*", "--format", "json"], file, version);
        killed_at(&mut command, kind, step)
    }

    /// The same tree with steps that fail: their verify, or what they do where nothing is to do on them.
    pub fn broken(&self, steps: &[&str]) -> String {
        let text = steps.iter().fold(self.bench.read("publish.yaml"), |text, step| broken_tree(&text, step));
        let name = format!("broken-{}.yaml", steps.join("-"));
        self.bench.write(&name, text);
        name
    }

    /// What production answers.
    pub fn version(&self) -> String {
        self.site.version().unwrap()
    }

    /// All that a run of the tree changes, as it is now.
    pub fn standing(&self) -> BTreeMap<&'static str, String> {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let route = below(&self.bench.path(".trees")).into_iter().find(|path| path.ends_with("routes/demo.conf")).unwrap_or_default();
        let certificate = fs::read_link(self.bench.path("publish-tls/demo/current")).unwrap_or_default();
        BTreeMap::from([
            ("production", self.version()),
            ("staging", self.staging.version().unwrap_or_default()),
            ("records", self.records()),
            ("tables", self.tables()),
            ("promoted", read(self.bench.path("publish-state/demo.json"))),
            ("route", read(route)),
            ("certificate", certificate.display().to_string()),
        ])
    }

    /// What the name server has in the zone.
    fn records(&self) -> String {
        let zone: Value = serde_json::from_str(&self.powerdns.content(&self.zone)).unwrap();
        let sets = zone["rrsets"].as_array().unwrap().iter().filter(|set| set["type"] != "SOA" && set["type"] != "NS");
        let one = |set: &Value| format!("{} {} {}", set["name"], set["type"], set["records"]);
        sets.map(one).collect::<Vec<_>>().join("\n")
    }

    /// The tables of the database.
    fn tables(&self) -> String {
        let asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
        self.postgres.ask(&self.database, asked).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The contents of a deployed release, by file.
    pub fn release(&self, environment: &str, name: &str, release: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let root = self.bench.path(&format!(".trees/deploy/publish/{environment}/{name}/releases/{release}"));
        let files = below(&root).into_iter().map(|path| (path.strip_prefix(&root).unwrap().to_owned(), fs::read(&path).unwrap()));
        files.filter(|(path, _)| !path.components().any(|part| part.as_os_str() == "__pycache__")).collect()
    }

    /// The mails about a version: their subjects, by id; one that came twice is there once.
    pub fn mails(&self, version: &str) -> BTreeMap<String, String> {
        let about = format!("Subject: demo {version} ");
        let header = |mail: &str, name: &str| mail.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        let ours = self.smtp.messages().into_iter().filter(|mail| mail.contains(&about));
        ours.map(|mail| (header(&mail, "Message-ID: "), header(&mail, "Subject: "))).collect()
    }

    /// What the webhook was told of a version, by id.
    pub fn calls(&self, version: &str) -> BTreeMap<String, Message> {
        let ours = self.hook.messages().into_iter().filter(|message| message.body["version"] == version);
        ours.map(|message| (message.id.clone(), message)).collect()
    }

    /// One mail and one call tell how the run of a version ended.
    #[track_caller]
    pub fn told(&self, version: &str, ended: &str) {
        let (mails, calls) = (self.mails(version), self.calls(version));
        assert!(mails.len() == 1 && mails.values().all(|subject| subject.contains(ended)), "{version} {ended}: {mails:?}");
        assert!(calls.len() == 1 && calls.values().all(|call| call.signed), "{version}: {calls:?}");
    }

    /// Nobody holds a lock, and no secret stands anywhere as it is, in no message either.
    #[track_caller]
    pub fn rests(&self) {
        let locks = below(&self.bench.path(".trees/locks"));
        let held: Vec<_> = locks.iter().filter(|path| File::open(path).unwrap().try_lock().is_err()).collect();
        assert!(!locks.is_empty() && held.is_empty(), "{held:?} of {locks:?}");
        let secrets = [PASSWORD, self.powerdns.key, MAIL_PASSWORD, WEBHOOK_SECRET];
        assert_eq!(self.bench.holding(&secrets), Vec::<PathBuf>::new());
        let has = |text: &str| secrets.iter().any(|secret| text.contains(secret));
        assert!(!self.smtp.messages().iter().any(|mail| has(mail)));
        assert!(!self.hook.messages().iter().any(|message| has(&message.body.to_string())));
    }
}

/// The text of the tree with a step that fails.
pub fn broken_tree(text: &str, step: &str) -> String {
    let begins = |line: &&str| !line.is_empty() && !line.starts_with("   ");
    let head = format!("  {step}:");
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| *line == head).unwrap_or_else(|| panic!("no step {step}")) + 1;
    let end = lines[at..].iter().position(begins).map_or(lines.len(), |length| at + length);
    let own = lines[at..end].iter().filter(|line| !line.starts_with("    verify:")).map(|line| format!("{line}\n")).collect::<String>();
    let own = own.trim_end();
    let fails = "    verify: { run: 'exit 1' }";
    let own = match step {
        "lane" => format!("{own}\n      root: /proc/nowhere"),
        "name" => format!("{}\n{fails}", own.replace("{{ params.address }}", "127.0.0.9")),
        "certificate" => format!("{}\n{fails}", own.replace("      names:", "      key: rsa-2048\n      names:")),
        _ => format!("{own}\n{fails}"),
    };
    format!("{}\n{own}\n\n{}\n", lines[..at].join("\n"), lines[end..].join("\n"))
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.bench.end_deployments();
    }
}
