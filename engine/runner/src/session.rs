//! A session of its own for each process, and the place where orphans come to.
//!
//! The one unsafe place of the product: what must happen between fork and exec cannot be said
//! otherwise in stable Rust.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Once;

/// The command will lead a session and process group of its own, without a controlling terminal:
/// opening `/dev/tty` fails at once there, and a Ctrl-C in the terminal does not reach it.
#[expect(unsafe_code, reason = "setsid must be called between fork and exec")]
pub fn detach(command: &mut Command) {
    // SAFETY: the closure runs in the forked child before exec; `setsid` is one system call,
    // async-signal-safe, and neither it nor the conversion of its error allocates or locks.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
}

/// From now on what outlives its parent below this process becomes a child of this process, so that
/// it can be found. Without effect where the system does not know this (macOS).
pub fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(target_os = "linux")]
        if let Err(e) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::debug!("cannot become the reaper of orphans: {e}");
        }
    });
}
