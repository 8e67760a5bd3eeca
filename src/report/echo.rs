//! Keeps what a person types off the screen while bars are drawn: an echoed return key would move
//! them. Only the echo is switched, and put back as it was found.

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
    let Ok(found) = tcgetattr(io::stdin()) else { return };
    let mut quiet = found.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    if tcsetattr(io::stdin(), OptionalActions::Now, &quiet).is_ok() {
        *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

/// Whether it was off; it is no more.
pub fn set_aside() -> bool {
    let was_off = FOUND.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    restore();
    was_off
}

/// Puts it back as it was found.
pub fn restore() {
    if let Some(found) = FOUND.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // There is nobody to tell where the terminal is gone.
        tcsetattr(io::stdin(), OptionalActions::Now, &found).ok();
    }
}
