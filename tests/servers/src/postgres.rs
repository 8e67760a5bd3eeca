//! PostgreSQL.

use crate::{Daemon, free_port, is_root, program, said, write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use tempfile::TempDir;

/// The superuser's password.
pub const PASSWORD: &str = "Tree-Owner-1";

/// A cluster of its own. Its superuser is `postgres` with [`PASSWORD`]; on 127.0.0.1 a password is asked
/// for (SCRAM-SHA-256), over TLS too where it was started with it. Every statement stands in its log.
pub struct Postgres {
    daemon: Daemon,
    /// Where it listens.
    pub port: u16,
}

impl Postgres {
    /// Starts one without TLS.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        Self::made(false, "127.0.0.1/32 scram-sha-256")
    }

    /// Starts one that speaks TLS with a certificate for `localhost`, signed by the authority in
    /// [`Postgres::authority`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with_tls() -> Self {
        Self::made(true, "127.0.0.1/32 scram-sha-256")
    }

    /// Starts one that lets everybody in.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn trusting() -> Self {
        Self::made(false, "127.0.0.1/32 trust")
    }

    /// One for all tests that use it at the same time.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    fn made(tls: bool, hosts: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("trees-pg-").tempdir().unwrap();
        let data = folder.path().join("data");
        write(folder.path().join("password"), PASSWORD);
        if tls {
            certificates(folder.path());
        }
        own(&folder);
        let mut initdb = plain("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]);
        said(initdb.arg("--pwfile").arg(folder.path().join("password")).current_dir(folder.path()));
        write(data.join("pg_hba.conf"), &format!("local all all scram-sha-256\nhost all all {hosts}\n"));
        let port = free_port();
        let mut postgres = plain("postgres");
        postgres.arg("-D").arg(&data).arg("-k").arg(folder.path()).current_dir(folder.path());
        let port_text = port.to_string();
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1"),
            ("port", port_text.as_str()),
            ("fsync", "off"),
            ("log_statement", "all"),
            ("max_connections", "200"),
            ("shared_buffers", "16MB"),
        ];
        if tls {
            settings.extend([("ssl", "on"), ("ssl_cert_file", "../server.pem"), ("ssl_key_file", "../server.key")]);
        }
        postgres.args(settings.iter().map(|(name, value)| format!("--{name}={value}")));
        let daemon = Daemon::start(folder, &postgres).listening(port);
        let mut ready = plain("pg_isready");
        ready.args(["-h", "127.0.0.1", "-p", &port_text, "-q"]).current_dir("/");
        Self { daemon: daemon.until("being ready", move || ready.status().is_ok_and(|status| status.success())), port }
    }

    /// `postgres://postgres@127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    /// What it logged so far, every statement among it.
    pub fn logged(&self) -> String {
        self.daemon.printed()
    }

    /// The folder of its socket.
    pub fn socket(&self) -> &Path {
        self.daemon.folder()
    }

    /// The certificate of the authority that signed that of the server.
    pub fn authority(&self) -> std::path::PathBuf {
        self.daemon.folder().join("authority.pem")
    }

    /// Asks as the superuser; columns with `|` between, a line a row.
    ///
    /// # Panics
    /// When that fails.
    pub fn ask(&self, database: &str, statement: &str) -> String {
        said(&mut self.psql(database, statement)).trim_end().to_owned()
    }

    /// The same, as a command.
    pub fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        psql.args(["-d", database, "-c", statement]).env("PGPASSWORD", PASSWORD).env("PGSSLMODE", "prefer");
        psql
    }

    /// Sends its process a signal by name.
    pub fn signal(&self, name: &str) {
        self.daemon.signal(name);
    }
}

/// A program of PostgreSQL as an ordinary user: it refuses to be root. Ended by the kernel with its
/// parent; becoming another user forgets that, so it is said after.
fn plain(name: &str) -> Command {
    let path = program(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new(program("setpriv"));
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "TERM", "--"]).arg(path);
    command
}

fn own(folder: &TempDir) {
    if is_root() {
        said(Command::new("chown").arg("-R").arg("postgres:").arg(folder.path()));
    }
}

fn certificates(folder: &Path) {
    let openssl = |args: &[&str]| drop(said(Command::new(program("openssl")).args(args).current_dir(folder)));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(
        &[&["req", "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "authority.key", "-out", "authority.pem"][..], &key]
            .concat(),
    );
    openssl(&[&["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"][..], &key].concat());
    write(folder.join("names"), "subjectAltName=DNS:localhost\n");
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "authority.pem",
        "-CAkey",
        "authority.key",
        "-CAcreateserial",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
    said(Command::new("chmod").arg("600").arg(folder.join("server.key")));
}
