//! Pebble, an ACME directory that checks challenges as a real one does and keeps all in memory.

use crate::names::Names;
use crate::{Daemon, free_port, program, write};
use rcgen::generate_simple_self_signed;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// What is special of one.
pub struct Options {
    /// Where it asks names for http-01.
    pub http_port: u16,
    /// Whom it asks for names; without, a server for which each name is this machine.
    pub dns: Option<String>,
    /// How long its certificates last, in seconds.
    pub life: u64,
    /// A name it makes no certificate for.
    pub blocked: Option<&'static str>,
    /// The key id and base64url key of the one account it takes; without, it takes all.
    pub external: Option<(&'static str, &'static str)>,
    /// Of 100 good nonces it refuses so many.
    pub refused_nonces: u8,
}

impl Options {
    /// One that asks names at this port, with certificates of 90 days.
    pub fn new(http_port: u16) -> Self {
        Self { http_port, dns: None, life: 90 * 24 * 60 * 60, blocked: None, external: None, refused_nonces: 0 }
    }
}

/// A pebble that runs.
pub struct Pebble {
    daemon: Daemon,
    _names: Option<Names>,
    port: u16,
    /// Where it tells of itself, over https: `/roots/0` is the root of what it certifies.
    pub management: u16,
}

impl Pebble {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(options: &Options) -> Self {
        let folder = TempDir::new().unwrap();
        let own = generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        write(folder.path().join("own.pem"), &own.cert.pem());
        write(folder.path().join("own.key"), &own.signing_key.serialize_pem());
        let (port, management) = (free_port(), free_port());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let list = |name: Option<&str>| name.map_or_else(String::new, |name| format!("\"{name}\""));
        let accounts = options.external.map_or_else(String::new, |(id, key)| format!("\"{id}\": \"{key}\""));
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "{}", "privateKey": "{}", "httpPort": {}, "tlsPort": {}, "ocspResponderURL": "",
            "externalAccountBindingRequired": {}, "externalAccountMACKeys": {{{accounts}}}, "domainBlocklist": [{}],
            "certificateValidityPeriod": {}, "profiles": {{"default": {{"description": "", "validityPeriod": {}}}}}}}}}"#,
            file("own.pem"),
            file("own.key"),
            options.http_port,
            free_port(),
            options.external.is_some(),
            list(options.blocked),
            options.life,
            options.life,
        );
        write(folder.path().join("config.json"), &config);
        let names = options.dns.is_none().then(Names::start);
        let dns = options.dns.clone().or_else(|| names.as_ref().map(Names::address)).unwrap_or_default();
        let mut command = Command::new(program("pebble"));
        command.args(["-config", &file("config.json"), "-dnsserver", &dns]);
        command.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]);
        command.env("PEBBLE_WFE_NONCEREJECT", options.refused_nonces.to_string());
        let daemon = Daemon::start(folder, &command).listening(port).listening(management);
        Self { daemon, _names: names, port, management }
    }

    /// The address of its directory.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Where it tells the root that stands behind its certificates; its own TLS is to be trusted by [`Pebble::roots`].
    pub fn issuer(&self) -> String {
        format!("https://127.0.0.1:{}/roots/0", self.management)
    }

    /// The certificate its own TLS is to be trusted by.
    pub fn roots(&self) -> PathBuf {
        self.daemon.folder().join("own.pem")
    }

    /// So many orders were placed.
    pub fn orders(&self) -> usize {
        self.daemon.printed().matches("Added order").count()
    }

    /// So many accounts were made.
    pub fn accounts(&self) -> usize {
        self.daemon.printed().matches("accounts in memory").count()
    }

    /// So many requests came, whatever they asked.
    pub fn requests(&self) -> usize {
        self.daemon.printed().matches("calling handler()").count()
    }

    /// Holds it still, or lets it go on (`STOP`, `CONT`).
    pub fn signal(&self, name: &str) {
        self.daemon.signal(name);
    }
}
