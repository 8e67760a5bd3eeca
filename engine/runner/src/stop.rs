//! Stands still as Ctrl-Z has it, where that signal is listened to for something else first.
//!
//! It is the system that decides whether somebody could let us go on, by our whole process group: for
//! that it must be this very signal, with nobody listening. Restoring what a signal does by itself has
//! no safe form.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// Returns when somebody lets us go on; at once, where nobody could.
///
/// # Errors
/// What the system says; we went on then.
#[expect(unsafe_code, reason = "there is no safe form that puts back what a signal does by itself")]
pub fn stand_still() -> io::Result<()> {
    let mut listens = MaybeUninit::uninit();
    // SAFETY: a `sigaction` of zeros is valid: `SIG_DFL`, no flags; its mask is initialised by
    // `sigemptyset`. `listens` is filled by the first call that succeeds, and what it is put back to is
    // what was there. `raise` is to this thread: it returns after the signal has had its effect.
    unsafe {
        let mut itself = MaybeUninit::<libc::sigaction>::zeroed();
        checked(libc::sigemptyset(&raw mut (*itself.as_mut_ptr()).sa_mask))?;
        checked(libc::sigaction(libc::SIGTSTP, itself.as_ptr(), listens.as_mut_ptr()))?;
        let raised = checked(libc::raise(libc::SIGTSTP));
        checked(libc::sigaction(libc::SIGTSTP, listens.as_ptr(), null_mut()))?;
        raised
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
