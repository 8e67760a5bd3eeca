//! A mail server: aiosmtpd with a handler that keeps each message, with STARTTLS, logins and refusals where a test
//! wants them.

use crate::{Daemon, program, said, write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How the server is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ways<'a> {
    /// `starttls` or `implicit`; empty: no encryption.
    pub tls: &'a str,
    /// `USER:PASSWORD`, demanded; empty: nobody logs in.
    pub login: &'a str,
    /// What it says to a recipient (or to `MAIL`, `DATA`) instead of 250.
    pub answers: &'a [(&'a str, &'a str)],
}

/// The server.
pub struct Smtp {
    daemon: Daemon,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Smtp {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(ways: Ways<'_>) -> Self {
        let folder = TempDir::new().unwrap();
        let [port, messages, script] = ["port", "messages", "server.py"].map(|name| folder.path().join(name));
        fs::create_dir(&messages).unwrap();
        write(&script, include_str!("smtp.py"));
        let mut command = Command::new(interpreter());
        command.arg(&script).arg("--folder").arg(&messages);
        if !ways.tls.is_empty() {
            certify(folder.path());
            command.args(["--tls", ways.tls]);
            command.arg("--certificate").arg(folder.path().join("leaf.pem")).arg("--key").arg(folder.path().join("leaf.key"));
        }
        if !ways.login.is_empty() {
            command.args(["--login", ways.login]);
        }
        for (what, answer) in ways.answers {
            command.arg("--answer").arg(format!("{what}={answer}"));
        }
        let daemon = Daemon::start(folder, &command).until("a port", || port.exists());
        Self { daemon, port: fs::read_to_string(&port).unwrap().parse().unwrap() }
    }

    /// The certificate of the authority that certified it for 127.0.0.1.
    pub fn roots(&self) -> PathBuf {
        self.daemon.folder().join("ca.pem")
    }

    /// The messages it took, in order: lines `from …` and `to …`, an empty line, the message.
    ///
    /// # Panics
    /// When its folder cannot be read.
    pub fn messages(&self) -> Vec<String> {
        let folder = self.daemon.folder().join("messages");
        let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.file_name().is_some_and(|name| name != ".aside"));
        files.sort();
        files.iter().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).collect()
    }
}

/// The Python that aiosmtpd is installed for; the first one in PATH may be another.
fn interpreter() -> PathBuf {
    let text = fs::read_to_string(program("aiosmtpd")).unwrap();
    let line = text.lines().next().unwrap().trim_start_matches("#!").trim().to_owned();
    PathBuf::from(line.split(' ').next().unwrap())
}

/// An authority `ca.pem`, and `leaf.pem` with `leaf.key` for 127.0.0.1 by it.
fn certify(folder: &Path) {
    write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n");
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |args: &[&str]| drop(said(Command::new("openssl").args(args).current_dir(folder)));
    openssl(&[&["req", "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"], &new[..]].concat());
    openssl(&[&["req", "-subj", "/CN=leaf", "-keyout", "leaf.key", "-out", "leaf.csr"], &new[..]].concat());
    let sign = ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    openssl(&[&sign[..], &["-extfile", "names", "-out", "leaf.pem"]].concat());
}
