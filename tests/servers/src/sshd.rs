//! OpenSSH's server: each one is a host of its own, with a host key, a home folder and a port.

use crate::{Daemon, free_port, is_root, program, said, write};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A server that lets the user of the tests in, with one key.
pub struct Sshd {
    daemon: Daemon,
    port: u16,
}

impl Sshd {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more lines in its configuration.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with(lines: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let place = folder.path();
        for name in ["host_key", "key", "other_key"] {
            said(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(place.join(name)));
        }
        std::fs::copy(place.join("key.pub"), place.join("authorized_keys")).unwrap();
        std::fs::create_dir(place.join("home")).unwrap();
        Self::on(folder, free_port(), lines)
    }

    /// Starts one in the folder of another that was stopped, on its port.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn on(folder: TempDir, port: u16, lines: &[&str]) -> Self {
        if is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let place = folder.path().display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host_key\nAuthorizedKeysFile {place}/authorized_keys\n\
             PidFile {place}/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             MaxStartups 100\nMaxSessions 100\nPrintMotd no\n{}\n",
            lines.join("\n")
        );
        // One line of SetEnv counts; the home is ours whatever else is set.
        let (set, rest): (Vec<&str>, Vec<&str>) = config.lines().partition(|line| line.starts_with("SetEnv "));
        let set: String = set.iter().map(|line| line.trim_start_matches("SetEnv")).collect();
        write(folder.path().join("config"), &format!("{}\nSetEnv HOME={place}/home{set}\n", rest.join("\n")));
        let mut command = Command::new(program("sshd"));
        command.args(["-D", "-e", "-f"]).arg(folder.path().join("config"));
        Self { daemon: Daemon::start(folder, &command).listening(port), port }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As a host is written: address and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The home folder of those who log in.
    pub fn home(&self) -> PathBuf {
        self.folder().join("home")
    }

    /// Its folder: `key` is let in, `other_key` is not.
    pub fn folder(&self) -> &Path {
        self.daemon.folder()
    }

    /// A line for a file of known hosts.
    ///
    /// # Panics
    /// When its key cannot be read.
    pub fn known(&self) -> String {
        let key = std::fs::read_to_string(self.folder().join("host_key.pub")).unwrap();
        let words: Vec<&str> = key.split_whitespace().take(2).collect();
        format!("[127.0.0.1]:{} {}\n", self.port, words.join(" "))
    }

    /// What it wrote.
    pub fn printed(&self) -> String {
        self.daemon.printed()
    }

    /// Ends it, and every session on it; gives its folder.
    pub fn stop(self) -> TempDir {
        self.daemon.stop()
    }
}
