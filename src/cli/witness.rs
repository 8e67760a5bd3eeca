//! What the audit says of whoever gave this command: person, place, words.

use super::runs;
use std::io::IsTerminal as _;
use trees_runner::mask::Masker;
use trees_state::Witness;

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who gave this command; what the masker knows is left out of its words.
pub fn here(masker: &Masker) -> Witness {
    let words = std::env::args_os().skip(1).filter(|word| word != "--detached");
    let remote = std::env::var("SSH_CONNECTION").ok().and_then(|text| text.split(' ').next().map(str::to_owned));
    Witness {
        actor: format!("{}@{}", runs::actor(), host()),
        uid: rustix::process::getuid().as_raw(),
        pid: std::process::id(),
        folder: std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default(),
        terminal: std::io::stdin().is_terminal() || std::io::stderr().is_terminal(),
        from: remote.filter(|address| !address.is_empty()),
        command: words.map(|word| masker.mask(&word.to_string_lossy()).into_owned()).collect(),
    }
}
