//! The bars: draws what the view says, ten times a second, and scrolls what happened above. Thin:
//! what the lines are is decided in [`View`].
//!
//! All lines are one bar of `indicatif`: a bar for each would be drawn when its own turn comes, and
//! show steps that ended long ago.

use super::ask::Answers;
use super::clock::Clock;
use super::screen::Teller;
use super::style::Line;
use super::view::{Tally, View};
use super::{echo, mute, set_bars, style};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;
use trees_core::event::Event;
use trees_core::path::StepPath;
use trees_runner::listen::Listener;

const TICK: Duration = Duration::from_millis(100);
/// A terminal that takes nothing for so long (Ctrl-S, and nobody there) is not waited for at the end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines that are written at once.
const CHUNK: usize = 100;

/// The screen.
pub struct Terminal {
    shared: Arc<Shared>,
    thread: Thread,
    /// Hears of the drawer's end.
    ended: Receiver<()>,
}

struct Shared {
    view: Mutex<View>,
    answers: Mutex<Option<Answers>>,
    closed: AtomicBool,
    /// How often the terminal took something.
    taken: AtomicU64,
}

/// What the driver tells.
struct Ear(Arc<Shared>);

impl Terminal {
    /// Starts drawing.
    pub fn open(view: View, teller: Teller, clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            view: Mutex::new(view),
            answers: Mutex::new(None),
            closed: AtomicBool::new(false),
            taken: AtomicU64::new(0),
        });
        let drawer = Drawer::new(Arc::clone(&shared), teller, clock);
        let (end, ended) = channel();
        let thread = thread::spawn(move || drawer.work(end)).thread().clone();
        Self { shared, thread, ended }
    }

    /// Where answers go.
    pub fn answers(&self, answers: Answers) {
        *lock(&self.shared.answers) = Some(answers);
    }

    /// What the driver tells.
    pub fn listener(&self) -> impl Listener + use<> {
        Ear(Arc::clone(&self.shared))
    }

    /// Where lines go that are no events.
    pub fn notes(&self) -> impl Fn(Line) + Send + 'static + use<> {
        let shared = Arc::clone(&self.shared);
        move |line| lock(&shared.view).note(line)
    }

    /// Says what is left and takes the bars away.
    pub fn close(self) -> Tally {
        self.shared.closed.store(true, Ordering::Release);
        self.thread.unpark();
        let mut taken = self.shared.taken.load(Ordering::Acquire);
        while self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            if std::mem::replace(&mut taken, self.shared.taken.load(Ordering::Acquire)) == self.shared.taken.load(Ordering::Acquire) {
                mute();
                break;
            }
        }
        lock(&self.shared.view).tally()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draws.
struct Drawer {
    shared: Arc<Shared>,
    teller: Teller,
    clock: Clock,
    bar: ProgressBar,
    /// Lines drawn last.
    lines: usize,
    /// Columns when it was last drawn.
    width: usize,
}

impl Drawer {
    fn new(shared: Arc<Shared>, teller: Teller, clock: Clock) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
        set_bars(Some(bar.clone()));
        Self { shared, teller, clock, bar, lines: 0, width: style::size().1 }
    }

    /// `end` is dropped when all is drawn.
    fn work(mut self, end: Sender<()>) {
        echo::off();
        while !self.shared.closed.load(Ordering::Acquire) {
            self.ask();
            self.draw();
            thread::park_timeout(TICK);
        }
        self.draw();
        self.bar.finish_and_clear();
        set_bars(None);
        echo::restore();
        drop(end);
    }

    fn draw(&mut self) {
        let (height, width) = style::size();
        if self.width != width {
            self.reflow(width);
        }
        let (said, lines) = {
            let mut view = lock(&self.shared.view);
            (view.take_said(), view.lines(width.saturating_sub(1), height, self.clock.now()))
        };
        let above: Vec<String> = said.iter().flat_map(|s| self.teller.tell(s)).map(|line| line.painted()).collect();
        self.lines = lines.len();
        let rows = lines.iter().map(Line::painted).collect::<Vec<_>>().join("\n");
        self.bar.set_message(rows);
        if !above.is_empty() {
            self.bar.suspend(|| self.scroll(&above));
        }
        self.shared.taken.fetch_add(1, Ordering::AcqRel);
    }

    /// With line ends of their own, so that they can be copied and survive a resize.
    fn scroll(&self, above: &[String]) {
        for lines in above.chunks(CHUNK) {
            // A terminal that is gone is told by the signal that follows.
            drop(std::io::stderr().lock().write_all((lines.join("\n") + "\n").as_bytes()));
            self.shared.taken.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Takes the bars off a terminal that changed its width. They are drawn without line ends, each
    /// filled to the old width, so that a terminal has wrapped them anew as one long line.
    fn reflow(&mut self, width: usize) {
        let (bars, old) = (self.lines, std::mem::replace(&mut self.width, width));
        let rows = (bars * old).div_ceil(width.max(1));
        let term = Term::stderr();
        if rows > bars {
            drop(term.move_cursor_up(rows - bars));
        } else {
            drop(term.write_str(&"\n".repeat(bars - rows)));
        }
        self.bar.suspend(|| drop(term.clear_to_end_of_screen()));
    }

    /// Hands the question of the moment to the person.
    fn ask(&self) {
        if let Some(answers) = &*lock(&self.shared.answers) {
            answers.ask(lock(&self.shared.view).question().map(|(name, _)| name.to_owned()));
        }
    }
}

impl Listener for Ear {
    fn events(&mut self, events: &[Event]) {
        let mut view = lock(&self.0.view);
        events.iter().for_each(|event| view.event(event));
    }

    fn output(&mut self, step: &StepPath, line: &str) {
        lock(&self.0.view).output(step, line);
    }

    fn note(&mut self, text: &str) {
        lock(&self.0.view).note(Line::caution(text));
    }

    fn progress(&mut self, step: &StepPath, fraction: Option<f64>, text: &str) {
        lock(&self.0.view).progress(step, fraction, text);
    }
}
