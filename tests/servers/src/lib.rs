//! Real servers for tests, a file each: on loopback, on a free port, with all they write in a folder
//! of their own, ended with the test's process however that ends.
//!
//! What is needed stands in `packages`; `./test` installs it, and leaves out the tests of what cannot
//! be had here. For that, a test that needs a server stands in a module `with_<server>`, by the
//! server's name in `packages`.

#![expect(clippy::unwrap_used, reason = "a test whose server cannot be had fails")]

pub mod bind;
pub mod docker;
pub mod git;
pub mod mariadb;
pub mod names;
pub mod nginx;
pub mod pebble;
pub mod postgres;
pub mod powerdns;
pub mod smtp;
pub mod sshd;

mod daemon;

pub use daemon::Daemon;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A TCP port of 127.0.0.1 that nobody listens on at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program of a server; servers often stand where an ordinary user's PATH does not lead.
///
/// # Panics
/// When it is not there.
pub fn program(name: &str) -> PathBuf {
    found(name).unwrap_or_else(|| panic!("`{name}` is not installed: `./test` installs it (tests/servers/packages)"))
}

fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from);
    let postgres = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let mut folders = std::env::split_paths(&path).chain(usual).chain(postgres);
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
}

/// Whether the tests run as root; some servers refuse to, some need it.
pub fn is_root() -> bool {
    said(Command::new("id").arg("-u")).trim() == "0"
}

/// Standard output of a command that must succeed.
///
/// # Panics
/// When it does not; with what it said.
pub fn said(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{command:?}: {}\n{}{}", done.status, text(&done.stdout), text(&done.stderr));
    text(&done.stdout)
}

/// Writes a file and the folders above it.
pub fn write(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
