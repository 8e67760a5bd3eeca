//! What an ACME server says when it refuses, told whole: type, detail, the parts of it, when to come
//! again.

use instant_acme::{Error, Identifier, Problem, Subproblem};
use trees_runner::kind::KindError;

const TYPE: &str = "urn:ietf:params:acme:error:";
/// A wait up to this many seconds is one a retry may sit out.
const SOON: u64 = 300;

/// A request that failed: the error to show, and what the answer was.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// The problem's type (`rateLimited`), or the status where it is no problem document; empty where
    /// there is no answer.
    pub kind: String,
    /// What is shown.
    pub error: KindError,
}

/// An error of the ACME client, as a step's.
pub fn failed(what: &str, error: Error) -> KindError {
    match error {
        Error::Api(problem) => told(what, &problem, None),
        Error::Timeout(_) => KindError::transient(format!("{what}: the directory did not come to an end in time")),
        Error::Json(e) => KindError::new(format!("{what}: the answer is not what ACME asks for: {e}")),
        Error::Other(inner) => match inner.downcast::<Refused>() {
            Ok(refused) => KindError { message: format!("{what}: {}", refused.error.message), ..refused.error },
            Err(other) => KindError::new(format!("{what}: {other}")),
        },
        other => KindError::new(format!("{what}: {other}")),
    }
}

/// The directory answered, and its answer was no: asking again the same way is of no use.
pub fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Api(_) => true,
        Error::Other(inner) => inner.downcast_ref::<Refused>().is_some_and(|refused| !refused.kind.is_empty() && !refused.error.transient),
        _ => false,
    }
}

/// A problem document in words. `retry_after` is the header's value.
pub fn told(what: &str, problem: &Problem, retry_after: Option<&str>) -> KindError {
    let kind = short(problem.r#type.as_deref());
    let message = format!("{what}: {}", sentence(problem));
    let soon = retry_after.and_then(|text| text.trim().parse::<u64>().ok()).is_some_and(|seconds| seconds <= SOON);
    let transient = match kind {
        "rateLimited" => soon,
        "badNonce" | "serverInternal" | "connection" | "dns" => true,
        _ => problem.status.is_some_and(|status| status >= 500),
    };
    let error = if transient { KindError::transient(message) } else { KindError::new(message) };
    match help(kind, retry_after) {
        Some(help) => error.help(help),
        None => error,
    }
}

fn short(kind: Option<&str>) -> &str {
    kind.map_or("", |kind| kind.strip_prefix(TYPE).unwrap_or(kind))
}

/// `type: detail; for NAME: type: detail`.
fn sentence(problem: &Problem) -> String {
    let part = |kind: Option<&str>, detail: Option<&str>| {
        let parts = [Some(short(kind)).filter(|kind| !kind.is_empty()), detail];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(": ");
        if text.is_empty() { "refused without a word".into() } else { text }
    };
    let mut text = part(problem.r#type.as_deref(), problem.detail.as_deref());
    for Subproblem { identifier, r#type, detail, .. } in &problem.subproblems {
        let of = identifier.as_ref().map_or_else(String::new, |of| format!("for {}: ", identified(of)));
        text.push_str(&format!("; {of}{}", part(r#type.as_deref(), detail.as_deref())));
    }
    text
}

fn identified(identifier: &Identifier) -> String {
    identifier.authorized(false).to_string()
}

fn help(kind: &str, retry_after: Option<&str>) -> Option<String> {
    Some(match kind {
        "rateLimited" => match retry_after {
            Some(after) if after.bytes().all(|b| b.is_ascii_digit()) => {
                format!("the directory's limit is reached: it asks to come again in {after}s; try out with its staging directory")
            }
            Some(after) => {
                format!("the directory's limit is reached: it asks to come again at {after}; try out with its staging directory")
            }
            None => "the directory's limit is reached: come again later; try out with its staging directory".into(),
        },
        "accountDoesNotExist" => {
            "the directory does not know the account any more: remove the account's file, so that a new one is made".into()
        }
        "externalAccountRequired" => "this directory wants an account of its own site: give `eab_kid` and `eab_hmac`".into(),
        "rejectedIdentifier" => "the directory makes no certificate for this name".into(),
        "caa" => "the domain's CAA record does not allow this authority".into(),
        "connection" | "unauthorized" | "incorrectResponse" => {
            "the directory asks the name itself, from outside: does it lead to this server, and is the port open?".into()
        }
        "dns" => "does the name exist in DNS, as seen from outside?".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{failed, told};
    use instant_acme::{Error, Problem};
    use serde_json::json;

    fn problem(value: serde_json::Value) -> Problem {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_problem_is_told_whole() {
        let given = problem(
            json!({ "type": "urn:ietf:params:acme:error:malformed", "detail": "some were rejected", "status": 400, "subproblems": [
            { "type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not for us", "identifier": { "type": "dns", "value": "a.test" } },
            { "type": "about:blank" },
        ] }),
        );
        let error = told("cannot order", &given, None);
        assert_eq!(error.message, "cannot order: malformed: some were rejected; for a.test: rejectedIdentifier: not for us; about:blank");
        assert!(!error.transient);
    }

    #[test]
    fn whether_it_may_pass_and_when() {
        for (kind, status, after, transient, help) in [
            ("rateLimited", 429, Some("86400"), false, "in 86400s"),
            ("rateLimited", 429, Some("60"), true, "in 60s"),
            ("rateLimited", 429, Some("Wed, 21 Oct 2026 07:28:00 GMT"), false, "at Wed, 21 Oct"),
            ("rateLimited", 429, None, false, "come again later"),
            ("connection", 400, None, true, "port open"),
            ("unauthorized", 403, None, false, "port open"),
            ("serverInternal", 500, None, true, ""),
            ("externalAccountRequired", 403, None, false, "eab_kid"),
        ] {
            let given = problem(json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "status": status }));
            let error = told("x", &given, after);
            assert_eq!(error.transient, transient, "{kind} {after:?}");
            assert!(error.help.clone().unwrap_or_default().contains(help), "{kind}: {error:?}");
        }
        let nonsense = serde_json::from_str::<serde_json::Value>("<html>").unwrap_err();
        assert!(failed("x", Error::Json(nonsense)).message.starts_with("x: the answer is not what ACME asks for"));
    }
}
