//! BIND as the primary server of some zones that a key may change.

use crate::{Daemon, free_port, program, said, write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// How many zones there are; each test takes one.
const ZONES: usize = 40;
/// The key that may change the zones.
pub const KEY: &str = "trees-test";
/// A key that it knows and that may change nothing.
pub const POWERLESS: &str = "powerless";

/// A server that runs.
pub struct Bind {
    daemon: Daemon,
    /// Where it answers.
    pub port: u16,
    /// The secret of [`KEY`].
    pub secret: String,
    /// The secret of [`POWERLESS`].
    pub powerless: String,
    zones: AtomicUsize,
}

impl Bind {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let dir = folder.path().display().to_string();
        let keys = [KEY, POWERLESS].map(|name| said(Command::new(program("tsig-keygen")).args(["-a", "hmac-sha256", name])));
        let mut config = format!(
            "options {{ directory \"{dir}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file \"{dir}/pid\";\n\
             session-keyfile \"{dir}/session.key\"; recursion no; allow-transfer {{ none; }}; notify no; dnssec-validation no; }};\n\
             controls {{ }};\n{}{}",
            keys[0], keys[1]
        );
        for zone in (0..ZONES).map(zone) {
            write(
                folder.path().join(&zone),
                "$TTL 300\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 127.0.0.1\n*.wild IN A 192.0.2.99\n*.wild IN TXT anything\n",
            );
            let grant = format!("update-policy {{ grant {KEY} zonesub ANY; }}");
            config.push_str(&format!("zone \"{zone}\" {{ type primary; file \"{zone}\"; {grant}; }};\n"));
        }
        write(folder.path().join("named.conf"), &config);
        let mut command = Command::new(program("named"));
        command.args(["-g", "-n", "1", "-c"]).arg(folder.path().join("named.conf"));
        let daemon = Daemon::start(folder, &command).listening(port);
        let daemon = daemon.until("zones", || said_serial(port, &zone(ZONES - 1)).is_some());
        let [secret, powerless] = keys.map(|key| key.split('"').nth(3).unwrap().to_owned());
        Self { daemon, port, secret, powerless, zones: AtomicUsize::new(0) }
    }

    /// A zone that no other test has, without a dot at its end.
    ///
    /// # Panics
    /// When all are taken.
    pub fn zone(&self) -> String {
        let number = self.zones.fetch_add(1, Ordering::SeqCst);
        assert!(number < ZONES, "all zones are taken");
        zone(number)
    }

    /// The serial of a zone; each change raises it by one.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn serial(&self, zone: &str) -> u32 {
        said_serial(self.port, zone).unwrap()
    }

    /// The values of a name and type, sorted.
    pub fn values(&self, name: &str, kind: &str) -> Vec<String> {
        let mut lines: Vec<String> = dig(self.port, name, kind).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Changes a zone by hand, in the words of `nsupdate`.
    ///
    /// # Panics
    /// When it refuses.
    pub fn change(&self, zone: &str, lines: &str) {
        let script = self.daemon.folder().join(format!("update-{zone}"));
        write(&script, &format!("server 127.0.0.1 {}\nzone {zone}\n{lines}\nsend\n", self.port));
        said(Command::new(program("nsupdate")).args(["-y", &format!("hmac-sha256:{KEY}:{}", self.secret)]).arg(script));
    }

    /// What it printed.
    pub fn printed(&self) -> String {
        self.daemon.printed()
    }
}

fn zone(number: usize) -> String {
    format!("zone{number}.test")
}

fn dig(port: u16, name: &str, kind: &str) -> String {
    let (port, name) = (port.to_string(), format!("{name}."));
    said(Command::new(program("dig")).args(["@127.0.0.1", "-p", &port, "+short", "+tcp", "+norecurse", &name, kind]))
}

fn said_serial(port: u16, zone: &str) -> Option<u32> {
    let (port, name) = (port.to_string(), format!("{zone}."));
    let asked =
        Command::new(program("dig")).args(["@127.0.0.1", "-p", &port, "+short", "+tcp", "+norecurse", &name, "SOA"]).output().ok()?;
    String::from_utf8_lossy(&asked.stdout).split_whitespace().nth(2)?.parse().ok()
}
