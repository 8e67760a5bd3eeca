//! PowerDNS with its SQLite backend and its HTTP API.

use crate::{Daemon, free_port, program, said, write};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Where Debian's package has the tables.
const SCHEMAS: [&str; 2] =
    ["/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql", "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql"];

/// A server that runs; caches are off, so that it answers what was written.
pub struct PowerDns {
    daemon: Daemon,
    /// Where it answers questions.
    pub port: u16,
    /// Where its API is.
    pub api: u16,
    /// The API's key.
    pub key: &'static str,
    zones: AtomicU32,
}

impl PowerDns {
    /// Starts one without zones.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (port, api, key) = (free_port(), free_port(), "key-of-the-api-0123");
        let dir = folder.path().display().to_string();
        let schema = SCHEMAS.iter().map(Path::new).find(|path| path.is_file()).unwrap();
        said(Command::new(program("sqlite3")).arg(folder.path().join("db")).arg(format!(".read {}", schema.display())));
        let config = format!(
            "launch=gsqlite3\ngsqlite3-database={dir}/db\ngsqlite3-pragma-synchronous=0\nsocket-dir={dir}\nlocal-address=127.0.0.1\nlocal-port={port}\n\
             api=yes\napi-key={key}\nwebserver=yes\nwebserver-address=127.0.0.1\nwebserver-port={api}\nwebserver-allow-from=127.0.0.1\n\
             cache-ttl=0\nnegquery-cache-ttl=0\nquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
             daemon=no\nguardian=no\nwrite-pid=no\ndisable-syslog=yes\nsecurity-poll-suffix=\n"
        );
        write(folder.path().join("pdns.conf"), &config);
        let mut command = Command::new(program("pdns_server"));
        command.arg(format!("--config-dir={dir}"));
        let daemon = Daemon::start(folder, &command).listening(api).listening(port);
        Self { daemon, port, api, key, zones: AtomicU32::new(0) }
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// Makes a new zone; its name without a dot at the end.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn zone(&self) -> String {
        let zone = format!("zone{}.test", self.zones.fetch_add(1, Ordering::SeqCst));
        let body = format!(r#"{{"name":"{zone}.","kind":"Native","nameservers":["ns1.{zone}."]}}"#);
        let (status, answer) = self.ask("POST", "zones", &body);
        assert_eq!(status, 201, "{answer}");
        zone
    }

    /// Changes sets of a zone by hand: the list of them as JSON.
    ///
    /// # Panics
    /// When it refuses.
    pub fn change(&self, zone: &str, rrsets: &str) {
        let (status, answer) = self.ask("PATCH", &format!("zones/{zone}."), &format!(r#"{{"rrsets":{rrsets}}}"#));
        assert_eq!(status, 204, "{answer}");
    }

    /// A zone with all that is in it, as JSON.
    ///
    /// # Panics
    /// When there is none.
    pub fn content(&self, zone: &str) -> String {
        let (status, answer) = self.ask("GET", &format!("zones/{zone}."), "");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// What it printed.
    pub fn printed(&self) -> String {
        self.daemon.printed()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.api)).unwrap();
        let head = format!(
            "{method} /api/v1/servers/localhost/{path} HTTP/1.0\r\nHost: localhost\r\nX-API-Key: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}
