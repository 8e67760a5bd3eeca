//! Kinds for PostgreSQL: databases, roles, migrations, backups.
//!
//! `server` reads which server is meant, `session` talks to it: a `Reader` in a READ ONLY transaction for
//! observing, a `Writer` for the rest. What a kind makes it marks with a comment. Read [`database`] first.

pub mod backup;
pub mod database;
pub mod migrate;
pub mod role;

mod name;
mod password;
mod server;
mod session;
mod tls;

#[cfg(test)]
mod bench;

use name::literal;
use trees_core::event::Json;
use trees_runner::kind::{Change, KindError, Observation, ReadCx};

/// Whom what we make belongs to.
fn mark(cx: &ReadCx) -> String {
    match cx.environment.as_str() {
        "" => format!("trees:{}", cx.project),
        environment => format!("trees:{}/{environment}", cx.project),
    }
}

/// The comment on what a run makes: the mark, and the run.
fn comment(cx: &ReadCx) -> String {
    format!("{} run {}", mark(cx), cx.run.0)
}

/// Whom a comment names, where it is one of `trees`.
fn owner(comment: Option<&str>) -> Option<String> {
    let comment = comment?;
    let mark = comment.split_once(" run ").map_or(comment, |(mark, _)| mark);
    mark.starts_with("trees:").then(|| mark.to_owned())
}

/// What another project or environment made is left to it.
fn refuse_foreign(what: &str, comment: Option<&str>, cx: &ReadCx) -> Result<(), KindError> {
    match owner(comment) {
        Some(theirs) if theirs != mark(cx) => {
            Err(KindError::new(format!("{what} belongs to `{theirs}`, not to `{}`: it is left alone", mark(cx)))
                .help("choose another name, or hand it over by changing its comment (COMMENT ON … IS …)"))
        }
        Some(_) | None => Ok(()),
    }
}

fn change(field: impl Into<String>, old: impl Into<Json>, new: impl Into<Json>, comment: Option<&str>) -> Change {
    Change { field: field.into(), old: old.into(), new: new.into(), owner: owner(comment) }
}

/// `COMMENT ON … IS …`.
fn comment_on(what: &str, text: Option<&str>) -> Result<String, KindError> {
    let text = text.map_or(Ok("NULL".to_owned()), literal)?;
    Ok(format!("COMMENT ON {what} IS {text}"))
}

/// Whether what was seen when it was asked anew is what was wanted. What cannot be told is not.
fn holds<O>(what: &str, seen: Observation<O>) -> Result<(), KindError> {
    match seen {
        Observation::Satisfied(_) | Observation::Anew(_) => Ok(()),
        Observation::Unknown(why) => Err(KindError::new(format!("{what} cannot be verified: {why}"))),
        Observation::Absent => Err(KindError::new(format!("{what} is not there"))),
        Observation::Differs(changes) => {
            let fields: Vec<String> = changes.iter().map(|c| format!("{}: {} instead of {}", c.field, c.old, c.new)).collect();
            Err(KindError::new(format!("{what} differs: {}", fields.join("; "))))
        }
    }
}

fn changed_since(what: &str) -> String {
    format!("{what} was changed by somebody after this step: it is left alone")
}

#[cfg(test)]
mod tests {
    use super::{change, holds};
    use trees_runner::kind::Observation;

    #[test]
    fn what_cannot_be_told_is_not_verified() {
        let differs = Observation::Differs(vec![change("owner", "a", "b", None)]);
        for (seen, expected) in [
            (Observation::Satisfied(()), None),
            (Observation::Absent, Some("x is not there")),
            (differs, Some("x differs: owner: \"a\" instead of \"b\"")),
            (Observation::Unknown("no".into()), Some("x cannot be verified: no")),
        ] {
            assert_eq!(holds("x", seen).err().map(|e| e.message).as_deref(), expected);
        }
    }
}
