//! The events on standard output, one JSON object a line, exactly as recorded. A reader that went
//! away is no error.

use super::out;
use super::view::View;
use super::writer::Writer;

/// Starts the writer.
pub fn open(view: View) -> Writer {
    let mut open = true;
    Writer::start(view, move |view, event| {
        open = open && serde_json::to_string(event).is_ok_and(|text| out(&(text + "\n")));
        view.event(event);
        view.take_said();
    })
}
