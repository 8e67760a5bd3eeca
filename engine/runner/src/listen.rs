//! What a screen hears of a sitting: events after they are durable, and, unrecorded, the newest
//! output line and the progress of each running step.

use trees_core::event::Event;
use trees_core::path::StepPath;

/// A screen. Called on the driver's thread, so it returns quickly and never fails.
pub trait Listener: Send {
    /// Durable events, in order; those of one commit together.
    fn events(&mut self, events: &[Event]);

    /// The newest line that a running step printed: masked, lossy UTF-8, not cleaned of control
    /// characters. At most a few a second for each step.
    fn output(&mut self, step: &StepPath, line: &str);

    /// Something to be said of the sitting itself, unrecorded.
    fn note(&mut self, text: &str);

    /// How far a running step is: 0 to 1, and what it is doing.
    fn progress(&mut self, step: &StepPath, fraction: Option<f64>, text: &str);
}
