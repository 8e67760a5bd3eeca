//! What a failure means and what follows it: retries, exit codes, what is allowed to fail.

use std::time::Duration;

/// How many failed instances count as success.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerate {
    /// So many.
    Count(u32),
    /// So many in a hundred.
    Percent(f64),
}

/// How often and when an attempt is made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// In all, at least 1.
    pub attempts: u32,
    /// Before the second.
    pub delay: Duration,
    /// Each delay times this, at least 1.
    pub factor: f64,
    /// No delay longer.
    pub max_delay: Option<Duration>,
    /// 0 to 1: each delay times uniform(1-jitter, 1+jitter).
    pub jitter: f64,
    /// What is tried again.
    pub on: Vec<RetryOn>,
    /// `on` was written on the step itself.
    pub on_explicit: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            delay: Duration::ZERO,
            factor: 1.0,
            max_delay: None,
            jitter: 0.0,
            on: vec![RetryOn::Failure],
            on_explicit: false,
        }
    }
}

/// What is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// Any failure but a timeout or spawn.
    Failure,
    /// A timeout.
    Timeout,
    /// It could not be started.
    Spawn,
    /// This exit code.
    Exit(i32),
    /// This signal (also exit 128 + signal).
    Signal(i32),
}

/// What exit codes mean; 0 ok, 75 retry, 77 skip unless remapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitCodes {
    /// Success.
    pub ok: Vec<i32>,
    /// Does not apply.
    pub skip: Vec<i32>,
    /// Try again.
    pub retry: Vec<i32>,
}

impl Default for ExitCodes {
    fn default() -> Self {
        Self { ok: vec![0], skip: vec![77], retry: vec![75] }
    }
}

/// Failures that count as success.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AllowFailure {
    /// None.
    #[default]
    No,
    /// All.
    Any,
    /// These exit codes.
    Codes(Vec<i32>),
}
