//! From the start of a process to the moment when nothing of it is left.

use super::spawn::Child;
use super::{Ended, Exit, Stop, Stopper};
use crate::identity::{Marks, raw};
use crate::leftovers::{self, Known};
use crate::output::Pump;
use rustix::process::{Signal, WaitOptions, WaitStatus, kill_process_group, test_kill_process_group, waitpgid};
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use trees_points::{Point, hit};

/// How long output is awaited from what the process left.
const HELD: Duration = Duration::from_millis(200);
/// From SIGTERM to SIGKILL for what a process left.
const LEFT: Duration = Duration::from_millis(250);

/// How a process is seen to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// What it leaves in the background stays.
    pub(super) leave_running: bool,
    /// It stands for a script of sh.
    pub(super) numbered: bool,
}

pub(super) fn start(child: Child, pid: u32, pump: Pump, stopper: &Stopper, manner: Manner, marks: Marks) -> JoinHandle<io::Result<Exit>> {
    let known = Known::new(pid);
    let orders = stopper.0.subscribe();
    let signals = Signals { group: pid, sent: 0, next: None };
    let supervisor = Supervisor { child, known, pump, orders, signals, _stopper: stopper.clone(), manner, marks };
    tokio::spawn(supervisor.run())
}

struct Supervisor {
    child: Child,
    known: Known,
    pump: Pump,
    orders: watch::Receiver<Option<Stop>>,
    signals: Signals,
    /// Keeps the channel open.
    _stopper: Stopper,
    manner: Manner,
    marks: Marks,
}

impl Supervisor {
    async fn run(mut self) -> io::Result<Exit> {
        self.orders.mark_changed();
        let status = self.until_exit().await?;
        hit(Point::ChildEnded);
        let stopped = self.signals.sent > 0;
        drop(self.known);
        let held = drain(&mut self.pump, HELD).await;
        let mut leftovers = 0;
        if !self.manner.leave_running || stopped {
            leftovers += end_group(&mut self.signals, &mut self.orders, &mut self.pump).await;
            leftovers += leftovers::end_escaped(&self.marks, LEFT).await;
            self.pump.drain();
        }
        Ok(Exit { ended: ended(status, self.manner.numbered && !stopped), stopped, output: self.pump.finish(), held, leftovers })
    }

    async fn until_exit(&mut self) -> io::Result<WaitStatus> {
        loop {
            let open = self.pump.is_open();
            tokio::select! {
                status = self.child.wait() => return status,
                () = self.pump.step(), if open => {}
                _ = self.orders.changed() => {
                    let order = *self.orders.borrow_and_update();
                    self.signals.obey(order);
                }
                () = self.signals.due() => self.signals.escalate(),
            }
        }
    }
}

/// Reads what is there, and what comes for a while as long as somebody holds the pipe; whether
/// somebody still does.
async fn drain(pump: &mut Pump, at_most: Duration) -> bool {
    pump.drain();
    let until = Instant::now() + at_most;
    while pump.is_open() {
        if timeout_at(until, pump.step()).await.is_err() {
            return true;
        }
    }
    false
}

/// Ends what is left in the group of a process that has ended: at once by SIGTERM, or, where the
/// process was asked to end, by what was asked.
async fn end_group(signals: &mut Signals, orders: &mut watch::Receiver<Option<Stop>>, pump: &mut Pump) -> usize {
    if !signals.anyone() {
        return 0;
    }
    if signals.sent == 0 {
        signals.obey(Some(Stop::Terminate { kill_after: LEFT }));
    }
    let mut pause = Duration::from_millis(1);
    let mut reaped = 0;
    loop {
        reaped += signals.reap();
        if !signals.anyone() {
            return reaped.max(1);
        }
        let open = pump.is_open();
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(Duration::from_millis(50)),
            () = pump.step(), if open => {}
            _ = orders.changed() => {
                let order = *orders.borrow_and_update();
                signals.obey(order);
            }
            () = signals.due() => signals.escalate(),
        }
    }
}

/// Which signals the group got, and when it gets the next.
struct Signals {
    group: u32,
    /// Strength of the last one.
    sent: u8,
    next: Option<(Instant, Stop)>,
}

impl Signals {
    /// Sends the first signal of an order unless a stronger one went out, and plans the next.
    fn obey(&mut self, order: Option<Stop>) {
        let Some(order) = order.filter(|o| o.strength() > self.sent) else { return };
        self.sent = order.strength();
        let now = Instant::now();
        let (signal, next) = match order {
            Stop::Interrupt { term_after, kill_after } => (Signal::INT, Some((now + term_after, Stop::Terminate { kill_after }))),
            Stop::Terminate { kill_after } => (Signal::TERM, Some((now + kill_after, Stop::Kill))),
            Stop::Kill => (Signal::KILL, None),
        };
        self.next = next;
        if let Some(group) = raw(self.group) {
            let _ = kill_process_group(group, signal);
        }
    }

    async fn due(&self) {
        match self.next {
            Some((at, _)) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn escalate(&mut self) {
        let next = self.next.take().map(|(_, stop)| stop);
        self.obey(next);
    }

    /// Whether the group has a process.
    fn anyone(&self) -> bool {
        raw(self.group).is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    /// Reaps those of the group that came to us when their parents ended.
    fn reap(&self) -> usize {
        let Some(group) = raw(self.group) else { return 0 };
        std::iter::from_fn(|| waitpgid(group, WaitOptions::NOHANG).ok().flatten()).count()
    }
}

/// How it ended; by a signal of which nobody here knows, `numbered` as sh tells it (128 and its number).
fn ended(status: WaitStatus, numbered: bool) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, Some(signal)) if numbered => Ended::Code(128 + signal),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}
