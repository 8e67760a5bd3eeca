//! Kinds that speak HTTP.

pub mod check;
pub mod request;

mod way;

pub use way::Way;

use reqwest::{RequestBuilder, Response, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use trees_runner::kind::KindError;

/// The status codes that are fine: one, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Statuses {
    /// One.
    One(u16),
    /// Any of these.
    Any(Vec<u16>),
}

impl Statuses {
    fn allow(&self, status: u16) -> bool {
        match self {
            Self::One(one) => *one == status,
            Self::Any(any) => any.contains(&status),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::One(one) => one.to_string(),
            Self::Any(any) => any.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
        }
    }
}

/// Without a list, 200 to 299.
fn allowed(statuses: Option<&Statuses>, status: u16) -> bool {
    statuses.map_or((200..300).contains(&status), |s| s.allow(status))
}

fn wanted(statuses: Option<&Statuses>) -> String {
    statuses.map_or_else(|| "200 to 299".into(), Statuses::show)
}

/// A URL this family can ask.
///
/// # Errors
/// One sentence.
pub fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("url: `{text}` is no URL: {e}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        return Ok(url);
    }
    Err(format!("url: `{text}` is no address of HTTP: it must begin with http:// or https://"))
}

/// What is wrong with them, a sentence each.
pub fn check_headers(headers: &BTreeMap<String, String>) -> Vec<String> {
    let name = |name: &str| {
        reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err().then(|| format!("headers: `{name}` is no header's name"))
    };
    let value = |(name, value): (&String, &String)| {
        reqwest::header::HeaderValue::from_str(value)
            .is_err()
            .then(|| format!("headers: the value of `{name}` has characters no header may have"))
    };
    headers.keys().filter_map(|n| name(n)).chain(headers.iter().filter_map(value)).collect()
}

/// With these headers.
pub fn with_headers(mut request: RequestBuilder, headers: &BTreeMap<String, String>) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

/// A body read up to a limit.
pub struct Body {
    /// What was read, not UTF-8 replaced.
    pub text: String,
    /// There was more.
    pub cut: bool,
}

/// Reads at most `limit` bytes of the answer.
///
/// # Errors
/// When the connection breaks.
pub async fn body(mut response: Response, limit: usize) -> Result<Body, KindError> {
    let mut bytes = Vec::new();
    while bytes.len() <= limit {
        let Some(chunk) = response.chunk().await.map_err(|e| KindError::transient(format!("the answer broke off: {}", causes(&e))))? else {
            break;
        };
        bytes.extend_from_slice(&chunk);
    }
    let cut = bytes.len() > limit;
    bytes.truncate(limit);
    Ok(Body { text: String::from_utf8_lossy(&bytes).into_owned(), cut })
}

/// An error with the causes beneath it, without the URL (which may hold a password).
pub fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        cause = inner.source();
    }
    if error.is_timeout() && parts.is_empty() {
        parts.push("no answer in time".into());
    }
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}
