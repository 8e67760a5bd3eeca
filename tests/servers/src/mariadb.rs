//! MariaDB.

use crate::{Daemon, free_port, is_root, program, said, write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

/// The administrator's password.
pub const PASSWORD: &str = "Tree-Keeper-1";

const SMALL_LOG: &str = "--innodb-log-file-size=8M";

/// A server of its own with nothing in it, behind a socket and on a port of 127.0.0.1. Its administrator is `root` with
/// [`PASSWORD`].
pub struct MariaDb {
    daemon: Daemon,
    /// Where it listens.
    pub port: u16,
}

impl MariaDb {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("trees-my-").tempdir().unwrap();
        let mut install = Command::new(program("mariadb-install-db"));
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", SMALL_LOG]);
        install.arg(format!("--datadir={}", folder.path().join("data").display())).args(user());
        said(&mut install);
        let others = "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';\nFLUSH PRIVILEGES;\n";
        write(folder.path().join("first.sql"), &format!("{others}ALTER USER root@localhost IDENTIFIED BY '{PASSWORD}';\n"));
        let port = free_port();
        let mut server = Command::new(program("mariadbd"));
        let file = |option: &str, name: &str| format!("--{option}={}", folder.path().join(name).display());
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0", SMALL_LOG]);
        server.args([file("datadir", "data"), file("socket", "socket"), file("pid-file", "pid"), file("init-file", "first.sql")]);
        server.arg(format!("--port={port}")).args(user());
        let daemon = Daemon::start(folder, &server).listening(port);
        Self { daemon, port }
    }

    /// One for all tests that use it at the same time.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.daemon.folder().join("socket")
    }

    /// Asks as the administrator; columns with tabs between, a line a row.
    ///
    /// # Panics
    /// When that fails.
    pub fn ask(&self, statement: &str) -> String {
        let mut client = Command::new(program("mariadb"));
        client.arg("--no-defaults").arg(format!("--socket={}", self.socket().display()));
        client.args(["--user=root", "--batch", "--skip-column-names", "--execute", statement]).env("MYSQL_PWD", PASSWORD);
        said(&mut client).trim_end().to_owned()
    }
}

/// It refuses to be root unless that is said.
fn user() -> Option<&'static str> {
    is_root().then_some("--user=root")
}
