//! One line a transition on standard error, without control characters: for pipes, files, CI.

use super::said;
use super::say_line;
use super::screen::Teller;
use super::style::Line;
use super::view::View;
use super::writer::Writer;
use trees_core::event::Event;

/// Starts the writer.
pub fn open(view: View, mut teller: Teller) -> Writer {
    Writer::start(view, move |view, event| lines(view, &mut teller, event).iter().for_each(say_line))
}

/// What one event says.
fn lines(view: &mut View, teller: &mut Teller, event: &Event) -> Vec<Line> {
    view.event(event);
    let mut lines: Vec<Line> = said::begun(event).into_iter().filter(|_| !teller.is_quiet()).collect();
    lines.extend(view.take_said().iter().flat_map(|said| teller.tell(said)));
    lines
}
