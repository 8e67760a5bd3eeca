//! What a server answers in place of what was asked for, in our words.

use std::error::Error as _;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use trees_runner::kind::{KindError, ReadCx};

/// An error with its causes.
pub fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text = format!("{text}: {e}");
        source = e.source();
    }
    text
}

/// In our words, with the server's.
pub fn told(error: &Error, with_password: bool, asked: &str, cx: &ReadCx) -> KindError {
    let Some(answer) = error.as_db_error() else {
        let text = chain(error);
        if text.ends_with("password missing") {
            return KindError::new(format!("{asked}: the server asks for a password, and there is none"))
                .help("write `password: \"{{ secrets.NAME }}\"`");
        }
        let lasting = text.contains("TLS handshake") || text.contains("authentication error") || text.contains("invalid configuration");
        return KindError { transient: !lasting, ..KindError::new(format!("{asked}: {}", cx.head(&text, 600))) };
    };
    let mut text = format!("{}: {}", answer.severity(), answer.message());
    for (what, more) in [("detail", answer.detail()), ("hint", answer.hint()), ("where", answer.where_())] {
        text.extend(more.map(|more| format!("; {what}: {more}")));
    }
    let code = answer.code().code();
    let wrong = KindError { transient: passing(code), ..KindError::new(format!("{asked}: {} (SQLSTATE {code})", cx.head(&text, 1000))) };
    match cure(answer.code(), with_password) {
        Some(cure) => wrong.help(cure),
        None => wrong,
    }
}

/// Classes of answers that may be others the next time: connections, resources, conflicts, a server that
/// starts or stops, something in use.
fn passing(code: &str) -> bool {
    ["08", "40", "53", "57P", "57014", "55006", "55P03"].iter().any(|class| code.starts_with(class))
}

fn cure(code: &SqlState, with_password: bool) -> Option<&'static str> {
    if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return Some(if with_password {
            "are the user and `password` right, and does pg_hba.conf let them in?"
        } else {
            "give `password`"
        });
    }
    if *code == SqlState::INVALID_CATALOG_NAME {
        return Some("a step with `postgres/database` before this one makes it");
    }
    (*code == SqlState::INSUFFICIENT_PRIVILEGE).then_some("connect as a role that may, or have it granted to this one")
}
