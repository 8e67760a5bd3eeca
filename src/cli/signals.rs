//! Signals to `trees`: they end no more than a sitting, in order; where none is under way, whoever
//! waits is told.

use crate::failure::Failure;
use crate::report::closing::signal_name;
use crate::report::said::took;
use crate::report::{self, Line, Paint};
use rustix::process::Signal as Process;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use trees_runner::driver::Handle;
use trees_runner::stop;

/// Where a screen's lines go that are no events.
type Notes = Box<dyn Fn(Line) + Send>;

/// Hears the signals of this process from when it is opened.
#[derive(Clone)]
pub struct Ears(Arc<Mutex<Heard>>);

struct Heard {
    grace: Duration,
    count: u32,
    first: Option<i32>,
    sitting: Option<(Handle, Notes)>,
    told: Box<dyn Fn() + Send>,
}

impl Ears {
    /// Opens them; `told` is called after each signal.
    pub fn open(grace: Duration, told: impl Fn() + Send + 'static) -> Result<Self, Failure> {
        let ears = Self(Arc::new(Mutex::new(Heard { grace, count: 0, first: None, sitting: None, told: Box::new(told) })));
        let heard = ears.clone();
        listen(move |number| heard.heard().hear(number))?;
        Ok(ears)
    }

    /// From here on a sitting gets the signals. One that came before counts too.
    pub fn sit(&self, handle: Handle, notes: Notes) {
        let mut heard = self.heard();
        if let Some(number) = heard.first {
            handle.signal(number);
        }
        heard.sitting = Some((handle, notes));
    }

    /// The sitting has ended.
    pub fn rest(&self) {
        self.heard().sitting = None;
    }

    /// The first signal that came.
    pub fn signal(&self) -> Option<i32> {
        self.heard().first
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn hear(&mut self, number: i32) {
        self.first.get_or_insert(number);
        if let Some((handle, note)) = &self.sitting {
            handle.signal(number);
            if let Some(text) = said(self.count, number, self.grace) {
                note(Line::default().with(Paint::Care, "! ").with(Paint::Plain, text));
            }
        }
        self.count = self.count.saturating_add(1);
        (self.told)();
    }
}

/// From here on the signals that would end the process come here, each by its number.
pub fn receiver() -> Result<Receiver<i32>, Failure> {
    let (to, signals) = channel();
    // Nobody listens any more once what waited has ended.
    listen(move |number| to.send(number).unwrap_or_default())?;
    Ok(signals)
}

/// From here on signals are heard, each by its number.
fn listen(hear: impl Fn(i32) + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::failed)?;
    let (mut interrupt, mut terminate, mut hangup, mut suspend) = {
        let _guard = runtime.enter();
        let listen = |kind: SignalKind| signal(kind).map_err(Failure::failed);
        let unless = |number: i32| if ignores(number) { Ok(None) } else { listen(SignalKind::from_raw(number)).map(Some) };
        let (hangup, suspend) = (unless(1)?, unless(Process::TSTP.as_raw())?);
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, hangup, suspend)
    };
    thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                hear(tokio::select! {
                    _ = interrupt.recv() => 2,
                    _ = terminate.recv() => 15,
                    () = received(&mut hangup) => 1,
                    () = received(&mut suspend) => {
                        suspended();
                        continue;
                    }
                });
            }
        });
    });
    Ok(())
}

/// What a signal does: the first ends the sitting, further Ctrl-C hurry it.
fn said(heard: u32, signal: i32, grace: Duration) -> Option<String> {
    let grace = took(grace);
    match (heard, signal) {
        (0, 2) => Some(format!("stopping: nothing new starts; steps get SIGTERM in {grace} (Ctrl-C again: now)")),
        (0, _) => Some(format!("{}: nothing new starts; steps get SIGTERM in {grace}", signal_name(signal))),
        (1, 2) => Some("steps got SIGTERM (Ctrl-C again: SIGKILL)".into()),
        (2, 2) => Some("steps got SIGKILL".into()),
        _ => None,
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Ctrl-Z: the terminal is put back as it was found, and we stand still until somebody lets us go on.
/// Where nobody could we go on at once. That is the system's to say: our parent may be a script that
/// stops with us while its shell looks after both.
fn suspended() {
    let asks = report::set_aside();
    // A system that does not stop us lets us go on.
    stop::stand_still().ok();
    report::take_up(asks);
}

/// Whether whoever started us wants a signal to have no effect (`nohup`). Read from the kernel's own
/// account; where there is none we do not know of it.
fn ignores(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|hex| u64::from_str_radix(hex, 16).ok()).is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}
