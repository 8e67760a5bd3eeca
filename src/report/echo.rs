//! Keeps what a person types off the screen while bars are drawn: an echoed return key would move
//! them. Only the echo is switched, and put back as it was found; never from the background, where the
//! terminal is somebody else's and touching it would stop us.

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};

static FOUND: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether a person at this terminal can be asked: it is one, and we are in its foreground (else
/// reading would stop us).
pub fn can_ask() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

/// Switches the echo off; nothing happens where that is not possible.
pub fn off() {
    if !can_ask() {
        return;
    }
    let Ok(modes) = tcgetattr(io::stdin()) else { return };
    let mut quiet = modes.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    if tcsetattr(io::stdin(), OptionalActions::Now, &quiet).is_ok() {
        // What could not be put back meanwhile is still what was found.
        FOUND.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(modes);
    }
}

/// Whether it was off; it is no more, unless the terminal is somebody else's by now.
pub fn set_aside() -> bool {
    let was_off = FOUND.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    restore();
    was_off
}

/// Puts it back as it was found, once we may.
pub fn restore() {
    if let Some(found) = FOUND.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| can_ask()) {
        // There is nobody to tell where the terminal is gone.
        tcsetattr(io::stdin(), OptionalActions::Now, &found).ok();
    }
}
